//! The disruption controller: keeps the status of every PodDisruptionBudget up to date.
//!
//! The API server grants evictions according to `status.disruptionsAllowed`, so the safety of an
//! eviction depends on this controller. It counts the pods that a budget selects (`plan.rs`, pure),
//! finds out how many pods their controllers want (`scale.rs`), and writes the status so that it
//! never overwrites a charge (`write.rs`): when the new status depends on the granted evictions and
//! another eviction was granted meanwhile, the write fails and the budget is counted again.
//!
//! Pods and budgets wake it and, unlike upstream, so do built-in controllers that are scaled and
//! pods whose labels no longer match a budget. Nothing watches owners of other kinds: their `scale`
//! is requested whenever the budget is counted. Changes in quick succession are counted together
//! (`throttle.rs`). `stale.rs` resets `DisruptionTarget` conditions of disruptions that did not
//! happen.

pub(crate) mod disrupted_pods;
pub(crate) mod plan;
mod scale;
mod stale;
mod throttle;
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

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, code, ignore_not_found};
use crate::informer::{Cache, ObjectChange};
use crate::informers::Informers;
use crate::meta::{ObjectKey, controller_of, uid, version};
use crate::pods::{condition, is_ready, is_terminating, name, namespace};
use crate::queue::{Requeue, WorkQueue};
use crate::selector::{Selector, render_go};
use crate::selectors::SelectorIndex;
use disrupted_pods::{DisruptedPods, SETTLES_AFTER};
use rules::budgets::{Demand, asks_controllers, demand};
use scale::ScaleFinder;
use throttle::WriteThrottle;

/// How many budgets are reconciled at a time.
const WORKERS: usize = 16;
/// When a budget whose reconciliation failed is reconciled again, if nothing wakes it before.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// The component in this controller's events.
const COMPONENT: &str = "controllermanager";

struct Disruption {
    context: ControllerContext,
    pods: Arc<Cache<Pod>>,
    budgets: Arc<Cache<PodDisruptionBudget>>,
    scales: ScaleFinder,
    recorder: EventRecorder,
    throttle: Arc<WriteThrottle>,
    disrupted_pods: Arc<DisruptedPods>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let recorder = context.recorder(COMPONENT);
    let throttle = Arc::new(WriteThrottle::default());
    // This subscription comes first: the index has to know a budget before the budget is
    // reconciled.
    let index = informers
        .budgets
        .index_selectors(|budget| Selector::compile(selector_of(budget)).ok());
    let disrupted_pods = Arc::new(DisruptedPods::new(context.clock.clone()));
    let (wake, tracked) = (queue.clone(), Arc::clone(&disrupted_pods));
    informers.budgets.subscribe(move |change| {
        tracked.observe_budget(change);
        wake.add(ObjectKey::of(change.latest()));
    });
    // Likewise: a budget that a pod wakes has to find what became of the pod.
    let tracked = Arc::clone(&disrupted_pods);
    informers
        .pods
        .subscribe(move |change| tracked.observe_pod(change));
    wake_by_pods(informers, &queue, &index, &throttle, &recorder);
    wake_by_scales(informers, &queue, &index);
    stale::start(context, informers);

    let controller = Arc::new(Disruption {
        context: context.clone(),
        pods: Arc::clone(&informers.pods.cache),
        budgets: Arc::clone(&informers.budgets.cache),
        scales: ScaleFinder::new(context, informers),
        recorder,
        throttle,
        disrupted_pods,
    });
    let synced = vec![
        informers.pods.cache.synced(),
        informers.budgets.cache.synced(),
        informers.replication_controllers.cache.synced(),
        informers.replica_sets.cache.synced(),
        informers.deployments.cache.synced(),
        informers.stateful_sets.cache.synced(),
    ];
    context.run("disruption", queue, WORKERS, synced, controller);
}

fn selector_of(budget: &PodDisruptionBudget) -> Option<&LabelSelector> {
    budget.spec.as_ref()?.selector.as_ref()
}

fn wake_by_pods(
    informers: &mut Informers,
    queue: &WorkQueue<ObjectKey>,
    index: &Arc<SelectorIndex>,
    throttle: &Arc<WriteThrottle>,
    recorder: &EventRecorder,
) {
    let (queue, index, throttle, recorder) = (
        queue.clone(),
        Arc::clone(index),
        Arc::clone(throttle),
        recorder.clone(),
    );
    informers.pods.subscribe(move |change| {
        if !matters(change) {
            return;
        }
        let pod = change.latest();
        let charged = (change.new.is_none() || is_terminating(pod)) && was_evicted(pod);
        let wake = |budget: ObjectKey| {
            let rest = throttle.pod_changed(&budget, charged);
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

/// True when the API server has granted an eviction of the pod. Then a budget has been charged,
/// unless the pod was unhealthy or already being deleted.
fn was_evicted(pod: &Pod) -> bool {
    condition(pod, "DisruptionTarget")
        .is_some_and(|target| target.reason.as_deref() == Some("EvictionByEvictionAPI"))
}

/// True when a change of a pod can change the counts of a budget.
fn matters(change: &ObjectChange<Pod>) -> bool {
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

/// The replicas that a controller wants, and the labels of its pods.
type ScaleTarget<'a> = (Option<i32>, Option<&'a BTreeMap<String, String>>);

/// Wakes the budgets of a controller that was scaled, created or deleted.
fn wake_by_scales(
    informers: &mut Informers,
    queue: &WorkQueue<ObjectKey>,
    index: &Arc<SelectorIndex>,
) {
    fn wake<K: kube::Resource>(
        queue: &WorkQueue<ObjectKey>,
        index: &Arc<SelectorIndex>,
        target_of: fn(&K) -> ScaleTarget<'_>,
    ) -> impl Fn(&ObjectChange<K>) + Send + Sync + use<K> {
        let (queue, index) = (queue.clone(), Arc::clone(index));
        move |change| {
            let replicas =
                |object: &Option<Arc<K>>| object.as_ref().map(|object| target_of(object).0);
            if replicas(&change.old) == replicas(&change.new) {
                return;
            }
            let object = change.latest();
            let namespace = object.meta().namespace.as_deref().unwrap_or_default();
            for budget in index.matching(namespace, target_of(object).1) {
                queue.add(ObjectKey::new(namespace, budget));
            }
        }
    }
    informers.replication_controllers.subscribe(wake(
        queue,
        index,
        |object: &ReplicationController| {
            let spec = object.spec.as_ref();
            let labels =
                spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
            (spec.and_then(|spec| spec.replicas), labels)
        },
    ));
    informers
        .replica_sets
        .subscribe(wake(queue, index, |object: &ReplicaSet| {
            let spec = object.spec.as_ref();
            let labels =
                spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
            (spec.and_then(|spec| spec.replicas), labels)
        }));
    informers
        .deployments
        .subscribe(wake(queue, index, |object: &Deployment| {
            let spec = object.spec.as_ref();
            (
                spec.and_then(|spec| spec.replicas),
                spec.and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref()),
            )
        }));
    informers
        .stateful_sets
        .subscribe(wake(queue, index, |object: &StatefulSet| {
            let spec = object.spec.as_ref();
            (
                spec.and_then(|spec| spec.replicas),
                spec.and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref()),
            )
        }));
}

impl Reconciler for Disruption {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(budget) = self.budgets.get(key) else {
            self.throttle.forget(key);
            return Ok(Requeue::OnChange);
        };
        let observed = budget
            .status
            .as_ref()
            .and_then(|status| status.observed_generation);
        let rest = self.throttle.rest(
            key,
            version(&budget.metadata),
            observed != budget.metadata.generation,
        );
        if !rest.is_zero() {
            return Ok(Requeue::After(rest));
        }
        match self.sync(&budget).await {
            Err(error) if !error.is_conflict() => {
                if let Some(status) = plan::failed(&budget, &error.to_string(), self.context.now())
                {
                    self.write(key, &budget, status).await?;
                }
                Ok(Requeue::After(AFTER_FAILURE))
            }
            result => result,
        }
    }
}

impl Disruption {
    async fn sync(&self, budget: &Arc<PodDisruptionBudget>) -> Result<Requeue, ReconcileError> {
        let key = ObjectKey::of(&**budget);
        let selector = Selector::compile(selector_of(budget)).map_err(|error| {
            self.recorder.event(
                &**budget,
                EventType::Warning,
                "NoPods",
                format!("Failed to get pods: {error}"),
            );
            ReconcileError::Plan(error)
        })?;
        let behind = self.throttle.count(&key);
        // Read before the pods, so that the pods are at least as new as this says.
        let view = self.disrupted_pods.view(budget, self.pods.progress());
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
        let plan = plan::plan(budget, &pods, demand, &view, self.context.now());
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
                .inspect_err(|_| self.throttle.not_written(&key, behind))?;
            if let (Some(behind), Some(lag)) = (behind, &self.context.options.status_lag) {
                lag.observe(behind.elapsed());
            }
        }
        let settled = (!view.unsettled.is_empty()).then_some(SETTLES_AFTER);
        Ok(plan
            .recheck
            .into_iter()
            .chain(settled)
            .min()
            .map_or(Requeue::OnChange, Requeue::After))
    }

    /// Returns how many pods the budget expects and how many of them must be healthy.
    async fn demand(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<Demand, ReconcileError> {
        let spec = budget.spec.as_ref();
        if !asks_controllers(spec) {
            return Ok(demand(spec, pods.len(), 0)?);
        }
        let expected = self.scales.expected(pods).await?;
        if !expected.unmanaged.is_empty() {
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be \
                 unmanaged. As a result, the status of the PDB cannot be calculated correctly, \
                 which may result in undefined behavior. To account for these pods please set \
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
        key: &ObjectKey,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<(), ReconcileError> {
        let begun = Instant::now();
        let result = match write::patch(budget, &status) {
            Some(patch) => match self.patch(key, &patch).await {
                // A test in the patch has failed: the status has changed in more than was known.
                Err(ReconcileError::Api(error)) if code(&error) == 422 => {
                    self.replace(budget, status).await
                }
                patched => patched,
            },
            None => self.replace(budget, status).await,
        };
        self.throttle.written(
            key,
            begun.elapsed(),
            result.as_ref().ok().copied().flatten(),
        );
        result.map(drop)
    }

    async fn patch(
        &self,
        key: &ObjectKey,
        patch: &serde_json::Value,
    ) -> Result<Option<u64>, ReconcileError> {
        let path = format!(
            "{}/{}/status",
            PodDisruptionBudget::url_path(&(), Some(&key.namespace)),
            key.name
        );
        let request = http::Request::patch(path)
            .header(http::header::CONTENT_TYPE, "application/json-patch+json");
        let request = request
            .body(patch.to_string().into_bytes())
            .map_err(|error| ReconcileError::Plan(error.to_string()))?;
        Ok(ignore_not_found(self.context.send(request).await)?)
    }

    /// Writes the status over the version that was read, and over no other. Returns the new version
    /// of the budget; none when the budget no longer exists.
    async fn replace(
        &self,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<Option<u64>, ReconcileError> {
        let updated = PodDisruptionBudget {
            status: Some(status),
            ..budget.clone()
        };
        let path = PodDisruptionBudget::url_path(&(), budget.metadata.namespace.as_deref());
        let name = budget.metadata.name.as_deref().unwrap_or_default();
        let body = serde_json::to_vec(&updated)
            .map_err(|error| ReconcileError::Plan(error.to_string()))?;
        let request =
            Request::new(path).replace_subresource("status", name, &PostParams::default(), body);
        let request = request.map_err(|error| ReconcileError::Plan(error.to_string()))?;
        Ok(ignore_not_found(self.context.send(request).await)?)
    }
}
