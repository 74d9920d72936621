//! The disruption controller: keeps the status of every PodDisruptionBudget true.
//!
//! The API server grants an eviction by what `status.disruptionsAllowed` says, so this controller is half of the
//! safety of an eviction. It counts the pods that a budget selects (`plan.rs`, pure), asks their controllers how
//! many there should be (`scale.rs`), and writes the status with the resource version that it read: when an eviction
//! was faster, the write fails and the budget is looked at again, so that a charge is never overwritten.
//!
//! It is woken by pods, budgets and, unlike upstream, also by controllers that are scaled and pods that change
//! their labels away from a budget. `stale.rs` takes back marks of disruptions that did not happen.

mod notes;
pub(crate) mod plan;
mod scale;
mod stale;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::PostParams;

use crate::caches::{Cache, Caches, Change};
use crate::context::Context;
use crate::error::{Error, unless_gone};
use crate::events::{Recorder, Severity};
use crate::meta::{Key, controller_of, uid};
use crate::pods::{is_ready, is_terminating, name, namespace};
use crate::queue::{Outcome, Queue};
use crate::selector::{Selector, render_go};
use notes::{Notes, SETTLES_AFTER};
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
    notes: Arc<Notes>,
    recorder: Recorder,
}

pub(crate) fn start(context: &Context, caches: &mut Caches) {
    let queue: Queue<Key> = Queue::new();
    let recorder = context.recorder(COMPONENT);
    let index = Arc::new(BudgetIndex::default());
    let notes = Arc::new(Notes::default());
    wake_by_budgets(caches, &queue, &index, &notes);
    wake_by_pods(caches, &queue, &index, &recorder);
    wake_by_scales(caches, &queue, &index);
    stale::start(context, caches);

    let controller = Arc::new(Disruption {
        context: context.clone(),
        pods: Arc::clone(&caches.pods.cache),
        budgets: Arc::clone(&caches.budgets.cache),
        scales: Scales::new(context, caches),
        notes,
        recorder,
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

/// The compiled selectors of all budgets.
#[derive(Default)]
struct BudgetIndex {
    namespaces: RwLock<HashMap<String, BTreeMap<String, Selector>>>,
}

impl BudgetIndex {
    fn learn(&self, change: &Change<PodDisruptionBudget>) {
        let key = Key::of(change.latest());
        let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        let compiled = change.new.as_ref().and_then(|budget| Selector::compile(selector_of(budget)).ok());
        match compiled {
            Some(selector) => {
                namespaces.entry(key.namespace).or_default().insert(key.name, selector);
            }
            None => {
                if let Some(budgets) = namespaces.get_mut(&key.namespace) {
                    budgets.remove(&key.name);
                    if budgets.is_empty() {
                        namespaces.remove(&key.namespace);
                    }
                }
            }
        }
    }

    /// The names of the budgets that select these labels.
    fn matching(&self, namespace: &str, labels: Option<&BTreeMap<String, String>>) -> Vec<String> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let budgets = namespaces.get(namespace).into_iter().flatten();
        budgets.filter(|(_, selector)| selector.matches(labels)).map(|(name, _)| name.clone()).collect()
    }
}

fn selector_of(budget: &PodDisruptionBudget) -> Option<&LabelSelector> {
    budget.spec.as_ref()?.selector.as_ref()
}

fn wake_by_budgets(caches: &mut Caches, queue: &Queue<Key>, index: &Arc<BudgetIndex>, notes: &Arc<Notes>) {
    let (queue, index, notes) = (queue.clone(), Arc::clone(index), Arc::clone(notes));
    caches.budgets.subscribe(move |change| {
        index.learn(change);
        notes.learn(change);
        queue.add(Key::of(change.latest()));
    });
}

fn wake_by_pods(caches: &mut Caches, queue: &Queue<Key>, index: &Arc<BudgetIndex>, recorder: &Recorder) {
    let (queue, index, recorder) = (queue.clone(), Arc::clone(index), recorder.clone());
    caches.pods.subscribe(move |change| {
        if !matters(change) {
            return;
        }
        let pod = change.latest();
        let now = index.matching(namespace(pod), pod.metadata.labels.as_ref());
        if let [first, _, ..] = now.as_slice() {
            let message =
                format!("Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {first:?} arbitrarily.", namespace(pod), name(pod));
            recorder.tell(pod, Severity::Warning, "MultiplePodDisruptionBudgets", message);
        }
        for budget in now {
            queue.add(Key::new(namespace(pod), budget));
        }
        if let Some(old) = &change.old
            && old.metadata.labels != pod.metadata.labels
        {
            for budget in index.matching(namespace(old), old.metadata.labels.as_ref()) {
                queue.add(Key::new(namespace(old), budget));
            }
        }
    });
}

/// Whether a change of a pod can change the figures of a budget.
fn matters(change: &Change<Pod>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    let owner = |pod: &Pod| controller_of(&pod.metadata).map(|owner| owner.uid.clone());
    is_ready(old) != is_ready(new)
        || is_terminating(old) != is_terminating(new)
        || old.metadata.labels != new.metadata.labels
        || uid(&old.metadata) != uid(&new.metadata)
        || owner(old) != owner(new)
}

/// The replicas that a controller wants and the labels of its pods.
type Wish<'a> = (Option<i32>, Option<&'a BTreeMap<String, String>>);

/// A controller that was scaled, came or went: its replicas and the labels of its pods.
fn wake_by_scales(caches: &mut Caches, queue: &Queue<Key>, index: &Arc<BudgetIndex>) {
    fn wake<K: kube::Resource>(
        queue: &Queue<Key>,
        index: &Arc<BudgetIndex>,
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
    caches.replication_controllers.subscribe(wake(queue, index, |object: &ReplicationController| {
        let spec = object.spec.as_ref();
        let labels = spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
        (spec.and_then(|spec| spec.replicas), labels)
    }));
    caches.replica_sets.subscribe(wake(queue, index, |object: &ReplicaSet| {
        let spec = object.spec.as_ref();
        let labels = spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
        (spec.and_then(|spec| spec.replicas), labels)
    }));
    caches.deployments.subscribe(wake(queue, index, |object: &Deployment| {
        let spec = object.spec.as_ref();
        (spec.and_then(|spec| spec.replicas), spec.and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref()))
    }));
    caches.stateful_sets.subscribe(wake(queue, index, |object: &StatefulSet| {
        let spec = object.spec.as_ref();
        (spec.and_then(|spec| spec.replicas), spec.and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref()))
    }));
}

impl Disruption {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, Error> {
        let Some(budget) = self.budgets.get(key) else { return Ok(Outcome::Done) };
        match self.sync(&budget).await {
            Err(error) if !error.is_conflict() => {
                if let Some(status) = plan::failed(&budget, &error.to_string(), self.context.now()) {
                    self.write(&budget, status).await?;
                }
                Ok(Outcome::After(AFTER_FAILURE))
            }
            result => result,
        }
    }

    async fn sync(&self, budget: &Arc<PodDisruptionBudget>) -> Result<Outcome, Error> {
        let key = Key::of(&**budget);
        let selector = Selector::compile(selector_of(budget)).map_err(|error| {
            self.recorder.tell(&**budget, Severity::Warning, "NoPods", format!("Failed to get pods: {error}"));
            Error::Plan(error)
        })?;
        // Asked before the pods are read, which then are not older than it.
        let unsettled = self.notes.unsettled(budget, self.pods.progress());
        let pods = self.pods.select(&key.namespace, |pod| selector.matches(pod.metadata.labels.as_ref()));
        if pods.is_empty() {
            self.recorder.tell(&**budget, Severity::Normal, "NoPods", "No matching pods found");
        }
        let demand = self.demand(budget, &pods).await.inspect_err(|error| {
            let message = format!("Failed to calculate the number of expected pods: {error}");
            self.recorder.tell(&**budget, Severity::Warning, "CalculateExpectedPodCountFailed", message);
        })?;
        let plan = plan::plan(budget, &pods, demand, &unsettled, self.context.now());
        for pod in &plan.not_deleted {
            let message = format!("Pod was expected by PDB {0}/{0} to be deleted but it wasn't", key.namespace);
            self.recorder.tell(&***pod, Severity::Warning, "NotDeleted", message);
        }
        if let Some(status) = plan.status {
            self.write(budget, status).await?;
        }
        let settled = (!unsettled.is_empty()).then_some(SETTLES_AFTER);
        Ok(plan.recheck.into_iter().chain(settled).min().map_or(Outcome::Done, Outcome::After))
    }

    /// How many pods the budget expects and how many of them must be healthy.
    async fn demand(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<Demand, Error> {
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
            self.recorder.tell(budget, Severity::Warning, "UnmanagedPods", message);
        }
        Ok(demand(spec, pods.len(), expected.replicas)?)
    }

    async fn write(&self, budget: &PodDisruptionBudget, status: PodDisruptionBudgetStatus) -> Result<(), Error> {
        let updated = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        let api = self.context.namespaced::<PodDisruptionBudget>(budget.metadata.namespace.as_deref().unwrap_or_default());
        let name = budget.metadata.name.as_deref().unwrap_or_default();
        unless_gone(api.replace_status(name, &PostParams::default(), &updated).await)?;
        Ok(())
    }
}
