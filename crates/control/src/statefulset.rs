//! StatefulSets: pods with stable names.
//!
//! The name is the identity, so a successor can only be created when its predecessor is gone.
//! `plan.rs` looks at the pods by ordinal and decides what may happen now: in order, one at a time,
//! unless the set allows parallel changes. Fixed names make creation idempotent, so no expectations
//! are needed.

mod plan;

use std::sync::Arc;

use events::{EventRecorder, EventType};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::PostParams;

use crate::claim::claim;
use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, code, namespace_terminates, server_message};
use crate::expectations::Expectations;
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, delete_params, uid};
use crate::pacing::ASK_AGAIN;
use crate::podcontrol::wake_by_pods;
use crate::pods::name;
use crate::queue::{Requeue, WorkQueue};
use crate::revisions;
use crate::selector::Selector;
use plan::{Revisions, StatefulSetAction};

const WORKERS: usize = 8;
const COMPONENT: &str = "statefulset-controller";

struct Controller {
    context: ControllerContext,
    sets: Arc<Cache<StatefulSet>>,
    pods: Arc<Cache<Pod>>,
    revisions: Arc<Cache<ControllerRevision>>,
    recorder: EventRecorder,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    informers.stateful_sets.enqueue_changes(&queue);
    let known = Arc::clone(&informers.stateful_sets.cache);
    wake_by_pods::<StatefulSet>(
        informers,
        &queue,
        &Arc::new(Expectations::default()),
        move |pod| {
            let sets = known.in_namespace(crate::pods::namespace(pod));
            sets.iter()
                .filter(|set| plan::ordinal(set, name(pod)).is_some())
                .map(|set| ObjectKey::of(&**set))
                .collect()
        },
    );
    let controller = Arc::new(Controller {
        context: context.clone(),
        sets: Arc::clone(&informers.stateful_sets.cache),
        pods: Arc::clone(&informers.pods.cache),
        revisions: Arc::clone(&informers.controller_revisions.cache),
        recorder: context.recorder(COMPONENT),
    });
    let synced = vec![
        informers.stateful_sets.cache.synced(),
        informers.pods.cache.synced(),
        informers.controller_revisions.cache.synced(),
    ];
    context.run("statefulset", queue, WORKERS, synced, controller);
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(set) = self.sets.get(key) else {
            return Ok(Requeue::OnChange);
        };
        let Some(spec) = &set.spec else {
            return Ok(Requeue::OnChange);
        };
        let selector = Selector::compile(Some(&spec.selector)).map_err(ReconcileError::Plan)?;
        let mut candidates = self.pods.controlled_by(uid(&set.metadata));
        candidates.extend(
            self.pods
                .adoptable(&key.namespace, &selector)
                .into_iter()
                .filter(|pod| plan::ordinal(&set, name(pod)).is_some()),
        );
        let pods = claim(&self.context, &*set, &selector, candidates, |_| true).await?;
        let known = self.revisions.controlled_by(uid(&set.metadata));
        let update = revisions::sync(
            &self.context,
            &*set,
            &known,
            &spec.template,
            "controller.kubernetes.io/hash",
        )
        .await?;
        let current = set
            .status
            .as_ref()
            .and_then(|status| status.current_revision.as_deref());
        let current = known
            .iter()
            .find(|revision| revision.metadata.name.as_deref() == current)
            .unwrap_or(&update);
        let revisions = Revisions {
            current: Arc::clone(current),
            update: Arc::clone(&update),
        };
        let now = self.context.now();
        let plan = plan::plan(&set, &pods, &revisions, now);
        let is_create =
            |action: &&StatefulSetAction| matches!(action, StatefulSetAction::Create { .. });
        let missing = plan.actions.iter().filter(is_create).count();
        let mut granted = self.context.pod_pace.grant(missing);
        let again = (granted < missing).then_some(ASK_AGAIN);
        let paced = plan.actions.iter().filter(|action| {
            if !is_create(action) {
                return true;
            }
            let is_granted = granted > 0;
            granted = granted.saturating_sub(1);
            is_granted
        });
        let acted: Result<Vec<()>, ReconcileError> =
            join_all(paced.map(|action| self.apply(&set, action)))
                .await
                .into_iter()
                .collect();
        if let Some(status) = plan.status {
            let updated = StatefulSet {
                status: Some(status),
                ..(*set).clone()
            };
            self.context.replace_status(&updated).await?;
        }
        acted?;
        let in_use = |revision: &ControllerRevision| {
            let name = revision.metadata.name.as_deref();
            name == revisions.current.metadata.name.as_deref()
                || name == revisions.update.metadata.name.as_deref()
                || pods.iter().any(|pod| plan::revision_of(pod) == name)
        };
        revisions::trim(
            &self.context,
            &key.namespace,
            &known,
            in_use,
            spec.revision_history_limit,
        )
        .await?;
        Ok(Requeue::at(now, plan.available_at).or_after(again))
    }
}

impl Controller {
    async fn apply(
        &self,
        set: &StatefulSet,
        action: &StatefulSetAction,
    ) -> Result<(), ReconcileError> {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let api = self.context.namespaced::<Pod>(namespace);
        let set_name = set.metadata.name.as_deref().unwrap_or_default();
        match action {
            StatefulSetAction::Create { pod, claims } => {
                for claim in claims {
                    self.ensure_claim(namespace, claim).await?;
                }
                match self.context.create_pod(pod).await {
                    Ok(_) => {
                        let message = format!(
                            "create Pod {} in StatefulSet {set_name} successful",
                            name(pod)
                        );
                        self.recorder
                            .event(set, EventType::Normal, "SuccessfulCreate", message);
                        Ok(())
                    }
                    // The pod exists and is not in the cache yet, or the namespace is being
                    // deleted.
                    Err(error)
                        if (code(&error) == 409 && !server_message(&error).contains("quota"))
                            || namespace_terminates(&error) =>
                    {
                        Ok(())
                    }
                    Err(error) => {
                        let message = format!(
                            "create Pod {} in StatefulSet {set_name} failed error: {}",
                            name(pod),
                            server_message(&error)
                        );
                        self.recorder
                            .event(set, EventType::Warning, "FailedCreate", message);
                        Err(error.into())
                    }
                }
            }
            StatefulSetAction::Delete { pod, failed } => {
                if *failed {
                    let message = format!(
                        "StatefulSet {namespace}/{set_name} is recreating failed Pod {}",
                        name(pod)
                    );
                    self.recorder
                        .event(set, EventType::Warning, "RecreatingFailedPod", message);
                }
                let how = delete_params(&pod.metadata);
                match api.delete(name(pod), &how).await {
                    Ok(_) => {
                        let message = format!(
                            "delete Pod {} in StatefulSet {set_name} successful",
                            name(pod)
                        );
                        self.recorder
                            .event(set, EventType::Normal, "SuccessfulDelete", message);
                        Ok(())
                    }
                    Err(error) if matches!(code(&error), 404 | 409) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    async fn ensure_claim(
        &self,
        namespace: &str,
        claim: &PersistentVolumeClaim,
    ) -> Result<(), ReconcileError> {
        let api = self.context.namespaced::<PersistentVolumeClaim>(namespace);
        if api
            .get_opt(claim.metadata.name.as_deref().unwrap_or_default())
            .await?
            .is_some()
        {
            return Ok(());
        }
        match api.create(&PostParams::default(), claim).await {
            Err(error) if code(&error) != 409 && !namespace_terminates(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}
