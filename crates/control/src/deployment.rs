//! Deployments: ReplicaSets of one template after the other.
//!
//! Each pass takes the newest state, plans at most one stage (`plan.rs`: make the set of the
//! present template, scale, roll, tidy up) together with the status (`status.rs`), and applies it.
//! The change comes back through the watch and wakes the next pass, so a pass never has to guess
//! what its own writes did.

mod plan;
mod revision;
mod scale;
mod status;

use std::sync::Arc;

use events::{EventRecorder, EventType};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};

use crate::caches::{Cache, Caches};
use crate::claim::claim;
use crate::context::Context;
use crate::error::{Error, code, namespace_terminates, told, unless_gone};
use crate::meta::{Key, controller_of, group_of, uid};
use crate::pods::{is_finished, namespace};
use crate::queue::{Outcome, Queue};
use crate::selector::Selector;
use plan::Action;

const WORKERS: usize = 8;
const COMPONENT: &str = "deployment-controller";

struct Controller {
    context: Context,
    deployments: Arc<Cache<Deployment>>,
    sets: Arc<Cache<ReplicaSet>>,
    pods: Arc<Cache<Pod>>,
    recorder: EventRecorder,
}

pub(crate) fn start(context: &Context, caches: &mut Caches) {
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    caches
        .deployments
        .subscribe(move |change| wake.add(Key::of(change.latest())));
    wake_by_sets(caches, &queue);
    wake_by_pods(caches, &queue);
    let controller = Arc::new(Controller {
        context: context.clone(),
        deployments: Arc::clone(&caches.deployments.cache),
        sets: Arc::clone(&caches.replica_sets.cache),
        pods: Arc::clone(&caches.pods.cache),
        recorder: context.recorder(COMPONENT),
    });
    let synced = vec![
        caches.deployments.cache.synced(),
        caches.replica_sets.cache.synced(),
        caches.pods.cache.synced(),
    ];
    context.work("deployment", queue, WORKERS, synced, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

fn deployment_of(set: &ReplicaSet) -> Option<Key> {
    let owner = controller_of(&set.metadata)?;
    let ours = owner.kind == "Deployment" && group_of(&owner.api_version) == "apps";
    ours.then(|| {
        Key::new(
            set.metadata.namespace.as_deref().unwrap_or_default(),
            &owner.name,
        )
    })
}

fn wake_by_sets(caches: &mut Caches, queue: &Queue<Key>) {
    let (queue, deployments) = (queue.clone(), Arc::clone(&caches.deployments.cache));
    caches.replica_sets.subscribe(move |change| {
        for owner in change.states().filter_map(|set| deployment_of(set)) {
            queue.add(owner);
        }
        let set = change.latest();
        if controller_of(&set.metadata).is_none() && change.new.is_some() {
            for deployment in
                deployments.in_namespace(set.metadata.namespace.as_deref().unwrap_or_default())
            {
                if selector_of(&deployment)
                    .is_ok_and(|selector| selector.matches(set.metadata.labels.as_ref()))
                {
                    queue.add(Key::of(&*deployment));
                }
            }
        }
    });
}

/// `Recreate` waits until the last old pod has ended or is gone; that shows at the pod, not at its
/// set.
fn wake_by_pods(caches: &mut Caches, queue: &Queue<Key>) {
    let (queue, sets, deployments) = (
        queue.clone(),
        Arc::clone(&caches.replica_sets.cache),
        Arc::clone(&caches.deployments.cache),
    );
    caches.pods.subscribe(move |change| {
        let Some(old) = &change.old else { return };
        let ended = change
            .new
            .as_ref()
            .is_none_or(|new| is_finished(new) && !is_finished(old));
        let Some(owner) =
            controller_of(&old.metadata).filter(|owner| ended && owner.kind == "ReplicaSet")
        else {
            return;
        };
        let set = sets.find(namespace(old), &owner.name);
        if let Some(key) = set.as_deref().and_then(deployment_of)
            && deployments
                .get(&key)
                .is_some_and(|deployment| scale::is_recreate(&deployment))
        {
            queue.add(key);
        }
    });
}

fn selector_of(deployment: &Deployment) -> Result<Selector, String> {
    let selector: Option<&LabelSelector> = deployment.spec.as_ref().map(|spec| &spec.selector);
    Selector::compile(selector)
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, Error> {
        let Some(deployment) = self.deployments.get(key) else {
            return Ok(Outcome::Done);
        };
        let selector = selector_of(&deployment).map_err(Error::Plan)?;
        if selector.is_empty() {
            self.recorder.event(
                &*deployment,
                EventType::Warning,
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            );
            return Ok(Outcome::Done);
        }
        let mut candidates = self.sets.controlled_by(uid(&deployment.metadata));
        candidates.extend(self.sets.loose_selected(&key.namespace, &selector));
        let sets = claim(&self.context, &*deployment, &selector, candidates, |_| true).await?;
        let now = self.context.now();
        let plan = plan::plan(&deployment, &sets, |set| self.has_running_pods(set), now);
        let mut failure = None;
        for action in plan.actions {
            if let Err(error) = self.apply(&deployment, action).await {
                failure = Some(error);
                break;
            }
        }
        let mut updated = plan.updated;
        if let Some(Failure::Create { name, error }) = &failure
            && !namespace_terminates(error)
        {
            let message = format!("Failed to create new replica set {name:?}: {}", told(error));
            self.recorder.event(
                &*deployment,
                EventType::Warning,
                "ReplicaSetCreateError",
                message.clone(),
            );
            updated =
                status::with_failed_creation(updated.as_ref().unwrap_or(&deployment), message, now);
        }
        if let Some(Failure::Collision) = &failure {
            updated = Some(revision::with_collision(
                updated.as_ref().unwrap_or(&deployment),
            ));
        }
        if let Some(updated) = updated {
            let api = self.context.namespaced::<Deployment>(&key.namespace);
            unless_gone(
                api.replace_status(&key.name, &PostParams::default(), &updated)
                    .await,
            )?;
        }
        match failure {
            None => Ok(plan.recheck.map_or(Outcome::Done, Outcome::After)),
            Some(Failure::Create { error, .. }) if namespace_terminates(&error) => {
                Ok(Outcome::Done)
            }
            Some(Failure::Create { error, .. } | Failure::Other(error)) => Err(error.into()),
            // The status with the new count comes back and wakes the next pass.
            Some(Failure::Collision) => Ok(Outcome::Done),
        }
    }

    fn has_running_pods(&self, set: &ReplicaSet) -> bool {
        self.pods
            .controlled_by(uid(&set.metadata))
            .iter()
            .any(|pod| !is_finished(pod))
    }

    async fn apply(&self, deployment: &Deployment, action: Action) -> Result<(), Failure> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let api = self.context.namespaced::<ReplicaSet>(namespace);
        match action {
            Action::Create(set) => self.create(deployment, *set).await,
            Action::Change(change) => {
                let name = change.set.metadata.name.as_deref().unwrap_or_default();
                let patch = serde_json::json!({
                    "metadata": {"resourceVersion": change.set.metadata.resource_version, "annotations": change.annotations},
                    "spec": {"replicas": change.replicas, "minReadySeconds": change.min_ready_seconds},
                });
                unless_gone(
                    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                        .await,
                )
                .map_err(Failure::Other)?;
                self.tell_scaled(
                    deployment,
                    name,
                    scale::replicas_of(&change.set),
                    change.replicas,
                );
                Ok(())
            }
            Action::Remove(set) => {
                let precondition = Preconditions {
                    uid: set.metadata.uid.clone(),
                    resource_version: None,
                };
                let how = DeleteParams {
                    preconditions: Some(precondition),
                    propagation_policy: Some(PropagationPolicy::Background),
                    ..DeleteParams::default()
                };
                unless_gone(
                    api.delete(set.metadata.name.as_deref().unwrap_or_default(), &how)
                        .await,
                )
                .map_err(Failure::Other)?;
                Ok(())
            }
        }
    }

    async fn create(&self, deployment: &Deployment, set: ReplicaSet) -> Result<(), Failure> {
        let api = self
            .context
            .namespaced::<ReplicaSet>(deployment.metadata.namespace.as_deref().unwrap_or_default());
        let name = set.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &set).await {
            Ok(created) => {
                self.tell_scaled(deployment, &name, 0, scale::replicas_of(&created));
                Ok(())
            }
            Err(error) if code(&error) == 409 => {
                // Either this very set, not yet seen here, or another template with the same hash.
                let there = unless_gone(api.get(&name).await).map_err(Failure::Other)?;
                let ours = there.is_some_and(|there| {
                    controller_of(&there.metadata)
                        .is_some_and(|owner| owner.uid == uid(&deployment.metadata))
                        && revision::same_template(deployment, &there)
                });
                if ours {
                    Ok(())
                } else {
                    Err(Failure::Collision)
                }
            }
            Err(error) => Err(Failure::Create { name, error }),
        }
    }

    fn tell_scaled(&self, deployment: &Deployment, name: &str, from: i32, to: i32) {
        let direction = match from.cmp(&to) {
            std::cmp::Ordering::Less => "up",
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Greater => "down",
        };
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        self.recorder
            .event(deployment, EventType::Normal, "ScalingReplicaSet", message);
    }
}

enum Failure {
    /// The new set was refused.
    Create {
        name: String,
        error: kube::Error,
    },
    /// Its name is taken by a set of another template.
    Collision,
    Other(kube::Error),
}
