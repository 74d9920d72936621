//! ReplicaSets and ReplicationControllers: so many pods of one template, no more and no fewer.
//!
//! Both kinds are one controller over a small view of them ([`Replicated`]). A pod that finishes or
//! is being deleted no longer counts and is replaced at once, while it is still going away.
//! `plan.rs` decides how many pods to make or delete and what the status says, `rank.rs` which pods
//! go first.

mod kinds;
mod plan;
mod rank;

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, ReplicationController};
use kube::Resource;
use kube::api::PostParams;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::caches::{Cache, Caches, Source};
use crate::claim::claim;
use crate::context::Context;
use crate::error::{Error, unless_gone};
use crate::expectations::Expectations;
use crate::meta::{Key, controlled_by, controller_of, uid, until};
use crate::podcontrol::{PodControl, from_template, wake_by_pods};
use crate::pods::{is_active, is_finished, is_terminating};
use crate::queue::{Outcome, Queue};
use crate::selector::Selector;
use plan::{Figures, Step};

const WORKERS: usize = 16;

/// What the two kinds have in common.
pub(crate) trait Replicated:
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
    /// It tells how many of its pods are terminating.
    const TELLS_TERMINATING: bool;

    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn selector(&self) -> Result<Selector, String>;
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// The object with this status; none when it has it already.
    fn with_status(&self, figures: &Figures) -> Option<Self>;
}

struct Controller<K> {
    context: Context,
    pods: Arc<Cache<Pod>>,
    sets: Arc<Cache<K>>,
    control: PodControl,
}

pub(crate) fn start(context: &Context, caches: &mut Caches) {
    start_one::<ReplicaSet>(context, caches, |caches| &mut caches.replica_sets);
    start_one::<ReplicationController>(context, caches, |caches| {
        &mut caches.replication_controllers
    });
}

fn start_one<K: Replicated>(
    context: &Context,
    caches: &mut Caches,
    source: fn(&mut Caches) -> &mut Source<K>,
) {
    let queue: Queue<Key> = Queue::new();
    let expectations = Arc::new(Expectations::default());
    let sets = Arc::clone(&source(caches).cache);
    let wake = queue.clone();
    source(caches).subscribe(move |change| wake.add(Key::of(change.latest())));
    let selectors = source(caches).index_selectors(|set| set.selector().ok());
    wake_by_pods::<K>(caches, &queue, &expectations, move |pod| {
        selectors.selecting(pod)
    });
    let control = PodControl {
        context: context.clone(),
        expectations,
        recorder: context.recorder(K::COMPONENT),
    };
    let synced = vec![caches.pods.cache.synced(), sets.synced()];
    let controller = Arc::new(Controller {
        context: context.clone(),
        pods: Arc::clone(&caches.pods.cache),
        sets,
        control,
    });
    context.work(K::NAME, queue, WORKERS, synced, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

impl<K: Replicated> Controller<K> {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, Error> {
        let Some(set) = self.sets.get(key) else {
            self.control.expectations.forget(key);
            return Ok(Outcome::Done);
        };
        let seen = self.control.expectations.met(key);
        let selector = set.selector().map_err(Error::Plan)?;
        let (active, terminating) = self.claim(&set, &selector).await?;
        let managed = if seen && set.meta().deletion_timestamp.is_none() {
            self.manage(&set, &active).await
        } else {
            Ok(())
        };
        let now = self.context.now();
        let figures = plan::figures(&*set, &active, terminating, managed.as_ref().err(), now);
        if let Some(updated) = set.with_status(&figures) {
            let api = self.context.namespaced::<K>(&key.namespace);
            unless_gone(
                api.replace_status(&key.name, &PostParams::default(), &updated)
                    .await,
            )?;
        }
        managed.map_err(|failure| failure.error)?;
        Ok(figures
            .available_at
            .map_or(Outcome::Done, |at| Outcome::After(until(now, at))))
    }

    /// The pods that count, and how many more are on their way out.
    async fn claim(
        &self,
        set: &Arc<K>,
        selector: &Selector,
    ) -> Result<(Vec<Arc<Pod>>, i32), Error> {
        let (going, mut candidates): (Vec<_>, Vec<_>) = self
            .pods
            .controlled_by(uid(set.meta()))
            .into_iter()
            .partition(|pod| is_terminating(pod));
        let terminating = going
            .iter()
            .filter(|pod| !is_finished(pod) && selector.matches(pod.metadata.labels.as_ref()))
            .count();
        candidates.extend(self.pods.loose_selected(
            set.meta().namespace.as_deref().unwrap_or_default(),
            selector,
        ));
        candidates.retain(|pod| is_active(pod));
        let active = claim(&self.context, &**set, selector, candidates, is_active).await?;
        Ok((active, i32::try_from(terminating).unwrap_or(i32::MAX)))
    }

    async fn manage(&self, set: &K, active: &[Arc<Pod>]) -> Result<(), Failure> {
        match plan::step(set.replicas(), active.len()) {
            Step::Nothing => Ok(()),
            Step::Create(count) => {
                let Some(template) = set.template() else {
                    return Ok(());
                };
                let key = Key::of(set);
                let pod = from_template(template, &key.namespace, &key.name, controlled_by(set));
                let pods = vec![pod; count];
                self.control
                    .create(set, pods)
                    .await
                    .map_err(|error| Failure {
                        reason: "FailedCreate",
                        error: error.into(),
                    })
            }
            Step::Delete(count) => {
                let victims = rank::victims(active, &self.related(set), count, self.context.now());
                self.control
                    .delete(set, &victims)
                    .await
                    .map_err(|error| Failure {
                        reason: "FailedDelete",
                        error: error.into(),
                    })
            }
        }
    }

    /// The active pods of this set and of its siblings under the same owner, which share the nodes.
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
pub(crate) struct Failure {
    reason: &'static str,
    error: Error,
}
