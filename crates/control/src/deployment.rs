//! Deployments: move pods from one template to the next by scaling ReplicaSets.
//!
//! Each reconciliation plans at most one step (`plan.rs`: create the set of the present template,
//! scale, roll, clean up) together with the status (`status.rs`) and applies both. The watch event
//! of the change wakes the next reconciliation, so no reconciliation has to guess the result of its
//! own writes.

mod plan;
mod revision;
mod scale;
mod status;

use std::sync::Arc;

use events::{EventRecorder, EventType};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};

use crate::claim::claim;
use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, code, ignore_not_found, namespace_terminates, server_message};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, controller_of, delete_params, group_of, uid};
use crate::pods::{is_finished, namespace};
use crate::queue::{Requeue, WorkQueue};
use crate::selector::Selector;
use plan::DeploymentAction;

const WORKERS: usize = 8;
const COMPONENT: &str = "deployment-controller";

struct Controller {
    context: ControllerContext,
    deployments: Arc<Cache<Deployment>>,
    sets: Arc<Cache<ReplicaSet>>,
    pods: Arc<Cache<Pod>>,
    recorder: EventRecorder,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    informers.deployments.enqueue_changes(&queue);
    wake_by_sets(informers, &queue);
    wake_by_pods(informers, &queue);
    let controller = Arc::new(Controller {
        context: context.clone(),
        deployments: Arc::clone(&informers.deployments.cache),
        sets: Arc::clone(&informers.replica_sets.cache),
        pods: Arc::clone(&informers.pods.cache),
        recorder: context.recorder(COMPONENT),
    });
    let synced = vec![
        informers.deployments.cache.synced(),
        informers.replica_sets.cache.synced(),
        informers.pods.cache.synced(),
    ];
    context.run("deployment", queue, WORKERS, synced, controller);
}

fn deployment_of(set: &ReplicaSet) -> Option<ObjectKey> {
    let owner = controller_of(&set.metadata)?;
    let ours = owner.kind == "Deployment" && group_of(&owner.api_version) == "apps";
    ours.then(|| {
        ObjectKey::new(
            set.metadata.namespace.as_deref().unwrap_or_default(),
            &owner.name,
        )
    })
}

fn wake_by_sets(informers: &mut Informers, queue: &WorkQueue<ObjectKey>) {
    let (queue, deployments) = (queue.clone(), Arc::clone(&informers.deployments.cache));
    informers.replica_sets.subscribe(move |change| {
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
                    queue.add(ObjectKey::of(&*deployment));
                }
            }
        }
    });
}

/// Wakes `Recreate` deployments, which wait until the last old pod has ended. Only the pod shows
/// that, not its ReplicaSet.
fn wake_by_pods(informers: &mut Informers, queue: &WorkQueue<ObjectKey>) {
    let (queue, sets, deployments) = (
        queue.clone(),
        Arc::clone(&informers.replica_sets.cache),
        Arc::clone(&informers.deployments.cache),
    );
    informers.pods.subscribe(move |change| {
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

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(deployment) = self.deployments.get(key) else {
            return Ok(Requeue::OnChange);
        };
        let selector = selector_of(&deployment).map_err(ReconcileError::Plan)?;
        if selector.is_empty() {
            self.recorder.event(
                &*deployment,
                EventType::Warning,
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            );
            return Ok(Requeue::OnChange);
        }
        let mut candidates = self.sets.controlled_by(uid(&deployment.metadata));
        candidates.extend(self.sets.adoptable(&key.namespace, &selector));
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
        if let Some(DeploymentError::Create { name, error }) = &failure
            && !namespace_terminates(error)
        {
            let message = format!(
                "Failed to create new replica set {name:?}: {}",
                server_message(error)
            );
            self.recorder.event(
                &*deployment,
                EventType::Warning,
                "ReplicaSetCreateError",
                message.clone(),
            );
            updated =
                status::with_failed_creation(updated.as_ref().unwrap_or(&deployment), message, now);
        }
        if let Some(DeploymentError::Collision) = &failure {
            updated = Some(revision::with_collision(
                updated.as_ref().unwrap_or(&deployment),
            ));
        }
        if let Some(updated) = updated {
            self.context
                .replace_status(&updated, &self.deployments)
                .await?;
        }
        match failure {
            None => Ok(plan.recheck.map_or(Requeue::OnChange, Requeue::After)),
            Some(DeploymentError::Create { error, .. }) if namespace_terminates(&error) => {
                Ok(Requeue::OnChange)
            }
            Some(DeploymentError::Create { error, .. } | DeploymentError::Other(error)) => {
                Err(error.into())
            }
            // The watch event of the new collision count wakes the next reconciliation.
            Some(DeploymentError::Collision) => Ok(Requeue::OnChange),
        }
    }
}

impl Controller {
    fn has_running_pods(&self, set: &ReplicaSet) -> bool {
        self.pods
            .controlled_by(uid(&set.metadata))
            .iter()
            .any(|pod| !is_finished(pod))
    }

    async fn apply(
        &self,
        deployment: &Deployment,
        action: DeploymentAction,
    ) -> Result<(), DeploymentError> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let api = self.context.namespaced::<ReplicaSet>(namespace);
        match action {
            DeploymentAction::Create(set) => self.create(deployment, *set).await,
            DeploymentAction::Change(change) => {
                let name = change.set.metadata.name.as_deref().unwrap_or_default();
                let patch = serde_json::json!({
                    "metadata": {"resourceVersion": change.set.metadata.resource_version,
                        "annotations": change.annotations},
                    "spec": {"replicas": change.replicas,
                        "minReadySeconds": change.min_ready_seconds},
                });
                ignore_not_found(
                    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                        .await,
                )
                .map_err(DeploymentError::Other)?;
                self.record_scaling(
                    deployment,
                    name,
                    scale::replicas_of(&change.set),
                    change.replicas,
                );
                Ok(())
            }
            DeploymentAction::Remove(set) => {
                let how = DeleteParams {
                    propagation_policy: Some(PropagationPolicy::Background),
                    ..delete_params(&set.metadata)
                };
                ignore_not_found(
                    api.delete(set.metadata.name.as_deref().unwrap_or_default(), &how)
                        .await,
                )
                .map_err(DeploymentError::Other)?;
                Ok(())
            }
        }
    }

    async fn create(
        &self,
        deployment: &Deployment,
        set: ReplicaSet,
    ) -> Result<(), DeploymentError> {
        let api = self
            .context
            .namespaced::<ReplicaSet>(deployment.metadata.namespace.as_deref().unwrap_or_default());
        let name = set.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &set).await {
            Ok(created) => {
                self.record_scaling(deployment, &name, 0, scale::replicas_of(&created));
                Ok(())
            }
            Err(error) if code(&error) == 409 => {
                // Either the cache does not show this set yet, or another template has the same
                // hash.
                let there =
                    ignore_not_found(api.get(&name).await).map_err(DeploymentError::Other)?;
                let ours = there.is_some_and(|there| {
                    controller_of(&there.metadata)
                        .is_some_and(|owner| owner.uid == uid(&deployment.metadata))
                        && revision::same_template(deployment, &there)
                });
                if ours {
                    Ok(())
                } else {
                    Err(DeploymentError::Collision)
                }
            }
            Err(error) => Err(DeploymentError::Create { name, error }),
        }
    }

    fn record_scaling(&self, deployment: &Deployment, name: &str, from: i32, to: i32) {
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

enum DeploymentError {
    /// The new set was refused.
    Create {
        name: String,
        error: kube::Error,
    },
    /// The name is taken by a set with another template.
    Collision,
    Other(kube::Error),
}
