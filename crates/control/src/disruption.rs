//! The disruption controller: keeps the status of every PodDisruptionBudget true.
//!
//! The API server grants an eviction by what `status.disruptionsAllowed` says, so this controller
//! is half of the safety of an eviction. It counts the pods that a budget selects (`plan.rs`,
//! pure), asks their controllers how many there should be (`scale.rs`), and writes the status so
//! that a charge is never overwritten (`write.rs`): when it depends on what was granted and an
//! eviction was faster, the write fails and the budget is looked at again.
//!
//! It is woken by pods, budgets and, unlike upstream, also by controllers that are scaled and pods
//! that change their labels away from a budget. Many changes in a short time are counted together
//! (`pace.rs`). `stale.rs` takes back marks of disruptions that did not happen.

pub(crate) mod notes;
mod pace;
pub(crate) mod plan;
mod scale;
mod stale;
pub(crate) mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use events::{EventRecorder, EventType};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;
use kube::api::{PostParams, Request};
use tokio::time::Instant;

use crate::caches::{Cache, Caches, Change};
use crate::context::Context;
use crate::error::{Error, code, unless_gone};
use crate::meta::{Key, controller_of, uid, version};
use crate::pods::{condition, is_ready, is_terminating, name, namespace};
use crate::queue::{Outcome, Queue};
use crate::selector::{Selector, render_go};
use crate::selectors::SelectorIndex;
use notes::{Notes, SETTLES_AFTER};
use pace::Pace;
use rules::budgets::{Demand, asks_controllers, demand};
use scale::Scales;

/// How many budgets are worked on at a time.
const WORKERS: usize = 16;
/// When a budget that could not be synced is looked at again, if nothing wakes it before.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// The name under which this controller's events go.
const COMPONENT: &str = "controllermanager";

struct Disruption {
    context: Context,
    pods: Arc<Cache<Pod>>,
    budgets: Arc<Cache<PodDisruptionBudget>>,
    scales: Scales,
    recorder: EventRecorder,
    pace: Arc<Pace>,
    notes: Arc<Notes>,
}

pub(crate) fn start(context: &Context, caches: &mut Caches) {
    let queue: Queue<Key> = Queue::new();
    let recorder = context.recorder(COMPONENT);
    let pace = Arc::new(Pace::default());
    // The index learns of a budget before its budget is looked at.
    let index = caches
        .budgets
        .index_selectors(|budget| Selector::compile(selector_of(budget)).ok());
    let notes = Arc::new(Notes::default());
    let (wake, learning) = (queue.clone(), Arc::clone(&notes));
    caches.budgets.subscribe(move |change| {
        learning.learn(change);
        wake.add(Key::of(change.latest()));
    });
    // A budget that a pod wakes has to know what became of the pod.
    let learning = Arc::clone(&notes);
    caches
        .pods
        .subscribe(move |change| learning.learn_end(change));
    wake_by_pods(caches, &queue, &index, &pace, &recorder);
    wake_by_scales(caches, &queue, &index);
    stale::start(context, caches);

    let controller = Arc::new(Disruption {
        context: context.clone(),
        pods: Arc::clone(&caches.pods.cache),
        budgets: Arc::clone(&caches.budgets.cache),
        scales: Scales::new(context, caches),
        recorder,
        pace,
        notes,
    });
    let synced = vec![
        caches.pods.cache.synced(),
        caches.budgets.cache.synced(),
        caches.replication_controllers.cache.synced(),
        caches.replica_sets.cache.synced(),
        caches.deployments.cache.synced(),
        caches.stateful_sets.cache.synced(),
    ];
    context.work("disruption", queue, WORKERS, synced, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key).await }
    });
}

fn selector_of(budget: &PodDisruptionBudget) -> Option<&LabelSelector> {
    budget.spec.as_ref()?.selector.as_ref()
}

fn wake_by_pods(
    caches: &mut Caches,
    queue: &Queue<Key>,
    index: &Arc<SelectorIndex>,
    pace: &Arc<Pace>,
    recorder: &EventRecorder,
) {
    let (queue, index, pace, recorder) = (
        queue.clone(),
        Arc::clone(index),
        Arc::clone(pace),
        recorder.clone(),
    );
    caches.pods.subscribe(move |change| {
        if !matters(change) {
            return;
        }
        let pod = change.latest();
        let charged = (change.new.is_none() || is_terminating(pod)) && was_evicted(pod);
        let wake = |budget: Key| {
            let rest = pace.pod_changed(&budget, charged);
            queue.add_after(budget, rest);
        };
        let now = index.selecting(pod);
        if let [first, _, ..] = now.as_slice() {
            let message = format!(
                "Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {:?} arbitrarily.",
                namespace(pod),
                name(pod),
                first.name
            );
            recorder.event(
                pod,
                EventType::Warning,
                "MultiplePodDisruptionBudgets",
                message,
            );
        }
        now.into_iter().for_each(wake);
        if let Some(old) = &change.old
            && old.metadata.labels != pod.metadata.labels
        {
            index.selecting(&**old).into_iter().for_each(wake);
        }
    });
}

/// Whether the API server has let an eviction of the pod pass. By then its budget has paid, unless
/// the pod was not healthy or was leaving already.
fn was_evicted(pod: &Pod) -> bool {
    condition(pod, "DisruptionTarget")
        .is_some_and(|target| target.reason.as_deref() == Some("EvictionByEvictionAPI"))
}

/// Whether a change of a pod can change the figures of a budget.
fn matters(change: &Change<Pod>) -> bool {
    fn owner(pod: &Pod) -> Option<&String> {
        controller_of(&pod.metadata).map(|owner| &owner.uid)
    }
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        return true;
    };
    is_ready(old) != is_ready(new)
        || is_terminating(old) != is_terminating(new)
        || old.metadata.labels != new.metadata.labels
        || uid(&old.metadata) != uid(&new.metadata)
        || owner(old) != owner(new)
}

/// The replicas that a controller wants and the labels of its pods.
type Wish<'a> = (Option<i32>, Option<&'a BTreeMap<String, String>>);

/// A controller that was scaled, came or went: its replicas and the labels of its pods.
fn wake_by_scales(caches: &mut Caches, queue: &Queue<Key>, index: &Arc<SelectorIndex>) {
    fn wake<K: kube::Resource>(
        queue: &Queue<Key>,
        index: &Arc<SelectorIndex>,
        look: fn(&K) -> Wish<'_>,
    ) -> impl Fn(&Change<K>) + Send + Sync + use<K> {
        let (queue, index) = (queue.clone(), Arc::clone(index));
        move |change| {
            let replicas = |object: &Option<Arc<K>>| object.as_ref().map(|object| look(object).0);
            if replicas(&change.old) == replicas(&change.new) {
                return;
            }
            let object = change.latest();
            let namespace = object.meta().namespace.as_deref().unwrap_or_default();
            for budget in index.matching(namespace, look(object).1) {
                queue.add(Key::new(namespace, budget));
            }
        }
    }
    caches.replication_controllers.subscribe(wake(
        queue,
        index,
        |object: &ReplicationController| {
            let spec = object.spec.as_ref();
            let labels =
                spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
            (spec.and_then(|spec| spec.replicas), labels)
        },
    ));
    caches
        .replica_sets
        .subscribe(wake(queue, index, |object: &ReplicaSet| {
            let spec = object.spec.as_ref();
            let labels =
                spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
            (spec.and_then(|spec| spec.replicas), labels)
        }));
    caches
        .deployments
        .subscribe(wake(queue, index, |object: &Deployment| {
            let spec = object.spec.as_ref();
            (
                spec.and_then(|spec| spec.replicas),
                spec.and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref()),
            )
        }));
    caches
        .stateful_sets
        .subscribe(wake(queue, index, |object: &StatefulSet| {
            let spec = object.spec.as_ref();
            (
                spec.and_then(|spec| spec.replicas),
                spec.and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref()),
            )
        }));
}

impl Disruption {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, Error> {
        let Some(budget) = self.budgets.get(key) else {
            self.pace.forget(key);
            return Ok(Outcome::Done);
        };
        let observed = budget
            .status
            .as_ref()
            .and_then(|status| status.observed_generation);
        let rest = self.pace.rest(
            key,
            version(&budget.metadata),
            observed != budget.metadata.generation,
        );
        if !rest.is_zero() {
            return Ok(Outcome::After(rest));
        }
        match self.sync(&budget).await {
            Err(error) if !error.is_conflict() => {
                if let Some(status) = plan::failed(&budget, &error.to_string(), self.context.now())
                {
                    self.write(key, &budget, status).await?;
                }
                Ok(Outcome::After(AFTER_FAILURE))
            }
            result => result,
        }
    }

    async fn sync(&self, budget: &Arc<PodDisruptionBudget>) -> Result<Outcome, Error> {
        let key = Key::of(&**budget);
        let selector = Selector::compile(selector_of(budget)).map_err(|error| {
            self.recorder.event(
                &**budget,
                EventType::Warning,
                "NoPods",
                format!("Failed to get pods: {error}"),
            );
            Error::Plan(error)
        })?;
        let behind = self.pace.count(&key);
        // Asked before the pods are read, which then are not older than it.
        let insight = self.notes.insight(budget, self.pods.progress());
        let pods = self.pods.selected(&key.namespace, &selector);
        if pods.is_empty() {
            self.recorder.event(
                &**budget,
                EventType::Normal,
                "NoPods",
                "No matching pods found",
            );
        }
        let demand = self.demand(budget, &pods).await.inspect_err(|error| {
            let message = format!("Failed to calculate the number of expected pods: {error}");
            self.recorder.event(
                &**budget,
                EventType::Warning,
                "CalculateExpectedPodCountFailed",
                message,
            );
        })?;
        let plan = plan::plan(budget, &pods, demand, &insight, self.context.now());
        for pod in &plan.not_deleted {
            let message = format!(
                "Pod was expected by PDB {0}/{0} to be deleted but it wasn't",
                key.namespace
            );
            self.recorder
                .event(&***pod, EventType::Warning, "NotDeleted", message);
        }
        if let Some(status) = plan.status {
            self.write(&key, budget, status)
                .await
                .inspect_err(|_| self.pace.untold(&key, behind))?;
            if let (Some(behind), Some(lag)) = (behind, &self.context.options.status_lag) {
                lag.observe(behind.elapsed());
            }
        }
        let settled = (!insight.unsettled.is_empty()).then_some(SETTLES_AFTER);
        Ok(plan
            .recheck
            .into_iter()
            .chain(settled)
            .min()
            .map_or(Outcome::Done, Outcome::After))
    }

    /// How many pods the budget expects and how many of them must be healthy.
    async fn demand(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<Demand, Error> {
        let spec = budget.spec.as_ref();
        if !asks_controllers(spec) {
            return Ok(demand(spec, pods.len(), 0)?);
        }
        let expected = self.scales.expected(pods).await?;
        if !expected.unmanaged.is_empty() {
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB \
                 cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \
                 \".spec.minAvailable\" field of the PDB to an integer value.",
                render_go(selector_of(budget))
            );
            self.recorder
                .event(budget, EventType::Warning, "UnmanagedPods", message);
        }
        Ok(demand(spec, pods.len(), expected.replicas)?)
    }

    async fn write(
        &self,
        key: &Key,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        let result = match write::patch(budget, &status) {
            Some(patch) => match self.patch(key, &patch).await {
                // One of its tests has failed: more has changed than was known.
                Err(Error::Api(error)) if code(&error) == 422 => self.replace(budget, status).await,
                patched => patched,
            },
            None => self.replace(budget, status).await,
        };
        self.pace.written(
            key,
            begun.elapsed(),
            result.as_ref().ok().copied().flatten(),
        );
        result.map(drop)
    }

    async fn patch(&self, key: &Key, patch: &serde_json::Value) -> Result<Option<u64>, Error> {
        let path = format!(
            "{}/{}/status",
            PodDisruptionBudget::url_path(&(), Some(&key.namespace)),
            key.name
        );
        let request = http::Request::patch(path)
            .header(http::header::CONTENT_TYPE, "application/json-patch+json");
        let request = request
            .body(patch.to_string().into_bytes())
            .map_err(|error| Error::Plan(error.to_string()))?;
        Ok(unless_gone(self.context.send(request).await)?)
    }

    /// Writes the status over the one that was read, and over no other. Gives the version of the
    /// budget then, if it is there still.
    async fn replace(
        &self,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<Option<u64>, Error> {
        let updated = PodDisruptionBudget {
            status: Some(status),
            ..budget.clone()
        };
        let path = PodDisruptionBudget::url_path(&(), budget.metadata.namespace.as_deref());
        let name = budget.metadata.name.as_deref().unwrap_or_default();
        let body = serde_json::to_vec(&updated).map_err(|error| Error::Plan(error.to_string()))?;
        let request =
            Request::new(path).replace_subresource("status", name, &PostParams::default(), body);
        let request = request.map_err(|error| Error::Plan(error.to_string()))?;
        Ok(unless_gone(self.context.send(request).await)?)
    }
}
