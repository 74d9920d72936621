//! ReplicaSets and ReplicationControllers: keep the number of pods of one template.
//!
//! One controller serves both kinds through the trait [`ReplicaController`]. A pod that finishes or
//! is being deleted no longer counts and is replaced at once, while it still terminates. `plan.rs`
//! decides how many pods to create or delete and computes the status; `rank.rs` chooses which pods
//! are deleted.

mod kinds;
mod plan;
mod rank;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, ReplicationController};
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::claim::claim;
use crate::context::{ControllerContext, Reconciler};
use crate::error::ReconcileError;
use crate::expectations::Expectations;
use crate::informer::{Cache, Informer};
use crate::informers::Informers;
use crate::meta::{ObjectKey, controlled_by, controller_of, uid};
use crate::podcontrol::{PodControl, from_template, wake_by_pods};
use crate::pods::{is_active, is_finished, is_terminating};
use crate::queue::{Requeue, WorkQueue};
use crate::selector::Selector;
use plan::{ReplicaAction, ReplicaCounts};
pub(crate) use rank::victims;

const WORKERS: usize = 16;

/// What ReplicaSets and ReplicationControllers have in common.
pub(crate) trait ReplicaController:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    const NAME: &'static str;
    const COMPONENT: &'static str;
    /// Whether the status has `terminatingReplicas`.
    const REPORTS_TERMINATING: bool;

    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn selector(&self) -> Result<Selector, String>;
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// The object with the status that follows from the counts; none when it has that status
    /// already.
    fn with_status(&self, counts: &ReplicaCounts) -> Option<Self>;
}

struct Controller<K> {
    context: ControllerContext,
    pods: Arc<Cache<Pod>>,
    sets: Arc<Cache<K>>,
    control: PodControl,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    start_one::<ReplicaSet>(context, informers, |informers| &mut informers.replica_sets);
    start_one::<ReplicationController>(context, informers, |informers| {
        &mut informers.replication_controllers
    });
}

fn start_one<K: ReplicaController>(
    context: &ControllerContext,
    informers: &mut Informers,
    source: fn(&mut Informers) -> &mut Informer<K>,
) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let expectations = Arc::new(Expectations::default());
    let sets = Arc::clone(&source(informers).cache);
    source(informers).enqueue_changes(&queue);
    let selectors = source(informers).index_selectors(|set| set.selector().ok());
    wake_by_pods::<K>(informers, &queue, &expectations, move |pod| {
        selectors.selecting(pod)
    });
    let control = PodControl {
        context: context.clone(),
        expectations,
        recorder: context.recorder(K::COMPONENT),
    };
    let synced = vec![informers.pods.cache.synced(), sets.synced()];
    let controller = Arc::new(Controller {
        context: context.clone(),
        pods: Arc::clone(&informers.pods.cache),
        sets,
        control,
    });
    context.run(K::NAME, queue, WORKERS, synced, controller);
}

impl<K: ReplicaController> Reconciler for Controller<K> {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(set) = self.sets.get(key) else {
            self.control.expectations.forget(key);
            return Ok(Requeue::OnChange);
        };
        let seen = self.control.expectations.met(key);
        let selector = set.selector().map_err(ReconcileError::Plan)?;
        let (active, terminating) = self.claim(&set, &selector).await?;
        let managed = if seen && set.meta().deletion_timestamp.is_none() {
            self.manage(&set, &active).await
        } else {
            Ok(None)
        };
        let now = self.context.now();
        let counts = plan::counts(&*set, &active, terminating, managed.as_ref().err(), now);
        if let Some(updated) = set.with_status(&counts) {
            self.context.replace_status(&updated, &self.sets).await?;
        }
        let again = managed.map_err(|failure| failure.error)?;
        Ok(Requeue::at(now, counts.available_at).or_after(again))
    }
}

impl<K: ReplicaController> Controller<K> {
    /// Returns the active pods, after adoption, and the number of terminating ones.
    async fn claim(
        &self,
        set: &Arc<K>,
        selector: &Selector,
    ) -> Result<(Vec<Arc<Pod>>, i32), ReconcileError> {
        let (going, mut candidates): (Vec<_>, Vec<_>) = self
            .pods
            .controlled_by(uid(set.meta()))
            .into_iter()
            .partition(|pod| is_terminating(pod));
        let terminating = going
            .iter()
            .filter(|pod| !is_finished(pod) && selector.matches(pod.metadata.labels.as_ref()))
            .count();
        candidates.extend(self.pods.adoptable(
            set.meta().namespace.as_deref().unwrap_or_default(),
            selector,
        ));
        candidates.retain(|pod| is_active(pod));
        let active = claim(&self.context, &**set, selector, candidates, is_active).await?;
        Ok((active, i32::try_from(terminating).unwrap_or(i32::MAX)))
    }

    /// Creates or deletes pods. Returns when to look again if not all could be created yet.
    async fn manage(&self, set: &K, active: &[Arc<Pod>]) -> Result<Option<Duration>, ReplicaError> {
        match plan::step(set.replicas(), active.len()) {
            ReplicaAction::Nothing => Ok(None),
            ReplicaAction::Create(count) => {
                let Some(template) = set.template() else {
                    return Ok(None);
                };
                let key = ObjectKey::of(set);
                let pod = from_template(template, &key.namespace, &key.name, controlled_by(set));
                let pods = vec![pod; count];
                self.control
                    .create(set, pods)
                    .await
                    .map_err(|error| ReplicaError {
                        reason: "FailedCreate",
                        error: error.into(),
                    })
            }
            ReplicaAction::Delete(count) => {
                let victims = rank::victims(active, &self.related(set), count, self.context.now());
                self.control
                    .delete(set, &victims)
                    .await
                    .map(|()| None)
                    .map_err(|error| ReplicaError {
                        reason: "FailedDelete",
                        error: error.into(),
                    })
            }
        }
    }

    /// The active pods of this set and of sets with the same controlling owner. They share the
    /// nodes.
    fn related(&self, set: &K) -> Vec<Arc<Pod>> {
        let own = std::iter::once(uid(set.meta()).to_owned());
        let siblings = controller_of(set.meta())
            .map(|owner| self.sets.controlled_by(&owner.uid))
            .unwrap_or_default();
        let mut uids: Vec<String> = own
            .chain(siblings.iter().map(|set| uid(set.meta()).to_owned()))
            .collect();
        uids.sort();
        uids.dedup();
        uids.iter()
            .flat_map(|uid| self.pods.controlled_by(uid))
            .filter(|pod| is_active(pod))
            .collect()
    }
}

/// Why the number of pods could not be corrected.
#[derive(Debug)]
pub(crate) struct ReplicaError {
    reason: &'static str,
    error: ReconcileError,
}
