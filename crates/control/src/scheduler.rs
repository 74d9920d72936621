//! The scheduler: binds pods to nodes.
//!
//! Each pod without a node is a key in the queue. Pure functions (`select.rs`) choose a node under
//! one lock, from a cache of the nodes (`cache.rs`) that follows the informers. The pod is counted
//! at its node at once and the binding is sent without the lock, so that many bindings are in
//! flight. A pod that fits nowhere gets a condition and an event, may preempt others
//! (`preempt.rs`), and is retried when a node or a pod makes room; one with affinity or topology
//! spread also when a pod comes or changes its labels.

mod cache;
mod preempt;
mod select;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::{EventRecorder, EventType};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::PostParams;

use crate::claimprotection::claims_of;
use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, code, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, delete_params, uid};
use crate::nodes;
use crate::pods::{condition, is_active, name, namespace, node_name};
use crate::queue::{Requeue, WorkQueue};
use crate::volumebinder::choices;
pub(crate) use cache::may_fit_more;
use cache::{PodInfo, SchedulerCache};
use preempt::Preemption;
use rules::affinity::has_constraints;
use select::{Diagnosis, NotEligible};

const WORKERS: usize = 32;
/// The scheduler name of pods that are scheduled here.
const SCHEDULER: &str = "default-scheduler";
/// The key that stands for all waiting pods. No pod has an empty name.
fn all_waiting() -> ObjectKey {
    ObjectKey::default()
}

/// When more pods than this wait, they are retried together after a moment instead of after each
/// change.
const MAX_SINGLE_RETRIES: usize = 200;
const RETRY_PAUSE: Duration = Duration::from_millis(50);

struct Scheduler {
    context: ControllerContext,
    pods: Arc<Cache<Pod>>,
    budgets: Arc<Cache<PodDisruptionBudget>>,
    claims: Arc<Cache<PersistentVolumeClaim>>,
    volumes: Arc<Cache<PersistentVolume>>,
    classes: Arc<Cache<StorageClass>>,
    shared: Arc<SchedulerState>,
    queue: WorkQueue<ObjectKey>,
    recorder: EventRecorder,
}

#[derive(Default)]
struct SchedulerState {
    cache: Mutex<SchedulerCache>,
    /// Pods that fit nowhere, and whether other pods decide about where they may go.
    waiting: Mutex<HashMap<ObjectKey, bool>>,
}

impl SchedulerState {
    fn cache(&self) -> MutexGuard<'_, SchedulerCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<ObjectKey, bool>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_again(&self, queue: &WorkQueue<ObjectKey>) {
        let waiting = self.waiting();
        if waiting.len() > MAX_SINGLE_RETRIES {
            queue.add_after(all_waiting(), RETRY_PAUSE);
        } else {
            waiting.keys().for_each(|key| queue.add(key.clone()));
        }
    }

    /// Retries the pods that wait for what other pods are, not only for room.
    fn try_constrained_again(&self, queue: &WorkQueue<ObjectKey>) {
        let waiting = self.waiting();
        let mut constrained = waiting.iter().filter(|(_, constrained)| **constrained);
        if waiting.len() > MAX_SINGLE_RETRIES {
            if constrained.next().is_some() {
                queue.add_after(all_waiting(), RETRY_PAUSE);
            }
        } else {
            constrained.for_each(|(key, _)| queue.add(key.clone()));
        }
    }

    /// Takes a pod back that was not bound after all. Its watch events cannot show later that room
    /// is free, because by then it is not counted anywhere. So the waiting pods are retried now.
    fn unassume(&self, uid: &str, queue: &WorkQueue<ObjectKey>) {
        if self.cache().forget(uid) {
            self.try_again(queue);
        }
    }
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let shared = Arc::new(SchedulerState::default());
    wake_by_nodes(informers, &queue, &shared);
    wake_by_pods(informers, &queue, &shared);
    wake_by_namespaces(informers, &queue, &shared);
    wake_by_volumes(informers, &queue, &shared);
    let scheduler = Arc::new(Scheduler {
        context: context.clone(),
        pods: Arc::clone(&informers.pods.cache),
        budgets: Arc::clone(&informers.budgets.cache),
        claims: Arc::clone(&informers.claims.cache),
        volumes: Arc::clone(&informers.volumes.cache),
        classes: Arc::clone(&informers.storage_classes.cache),
        shared,
        queue: queue.clone(),
        recorder: context.recorder(SCHEDULER),
    });
    let synced = vec![
        informers.nodes.cache.synced(),
        informers.pods.cache.synced(),
        informers.budgets.cache.synced(),
        informers.claims.cache.synced(),
        informers.volumes.cache.synced(),
        informers.storage_classes.cache.synced(),
        informers.namespaces.cache.synced(),
    ];
    context.run("scheduler", queue, WORKERS, synced, scheduler);
}

fn wake_by_nodes(
    informers: &mut Informers,
    queue: &WorkQueue<ObjectKey>,
    shared: &Arc<SchedulerState>,
) {
    let (queue, shared) = (queue.clone(), Arc::clone(shared));
    informers.nodes.subscribe(move |change| {
        shared
            .cache()
            .observe_node(nodes::name(change.latest()), change.new.as_ref());
        if may_fit_more(change.old.as_ref(), change.new.as_ref()) {
            shared.try_again(&queue);
        }
    });
}

fn wake_by_namespaces(
    informers: &mut Informers,
    queue: &WorkQueue<ObjectKey>,
    shared: &Arc<SchedulerState>,
) {
    let (queue, shared) = (queue.clone(), Arc::clone(shared));
    informers.namespaces.subscribe(move |change| {
        let labels = |namespace: &Arc<Namespace>| namespace.metadata.labels.clone();
        if change.old.as_ref().map(labels) != change.new.as_ref().map(labels) {
            let name = change.latest().metadata.name.as_deref().unwrap_or_default();
            shared
                .cache()
                .observe_namespace(name, change.new.as_deref());
            shared.try_constrained_again(&queue);
        }
    });
}

/// A volume that comes or becomes free may be the one that a waiting pod needs.
fn wake_by_volumes(
    informers: &mut Informers,
    queue: &WorkQueue<ObjectKey>,
    shared: &Arc<SchedulerState>,
) {
    let (wake, state) = (queue.clone(), Arc::clone(shared));
    informers.volumes.subscribe(move |_| {
        state.cache().forget_messages();
        state.try_again(&wake);
    });
    let (wake, state) = (queue.clone(), Arc::clone(shared));
    informers.claims.subscribe(move |_| {
        state.cache().forget_messages();
        state.try_again(&wake);
    });
}

/// True when a change of a pod may change what the pods around it may do.
fn changes_neighbourhood(old: Option<&Pod>, new: Option<&Pod>) -> bool {
    let placed = |pod: Option<&Pod>| pod.is_some_and(|pod| !node_name(pod).is_empty());
    match (old, new) {
        _ if !placed(old) && !placed(new) => false,
        (Some(old), Some(new)) => {
            node_name(old) != node_name(new)
                || old.metadata.labels != new.metadata.labels
                || is_active(old) != is_active(new)
        }
        _ => true,
    }
}

fn wake_by_pods(
    informers: &mut Informers,
    queue: &WorkQueue<ObjectKey>,
    shared: &Arc<SchedulerState>,
) {
    let (queue, shared) = (queue.clone(), Arc::clone(shared));
    informers.pods.subscribe(move |change| {
        let freed = shared
            .cache()
            .observe_pod(change.old.as_ref(), change.new.as_ref());
        if freed {
            shared.try_again(&queue);
        } else if changes_neighbourhood(change.old.as_deref(), change.new.as_deref()) {
            shared.try_constrained_again(&queue);
        }
        match &change.new {
            Some(pod) if is_mine(pod) => queue.add(ObjectKey::of(&**pod)),
            _ => {
                shared.waiting().remove(&ObjectKey::of(change.latest()));
            }
        }
    });
}

/// True when the pod has no node and this scheduler is responsible for it.
fn is_mine(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let by = spec
        .and_then(|spec| spec.scheduler_name.as_deref())
        .unwrap_or(SCHEDULER);
    let gated = spec
        .and_then(|spec| spec.scheduling_gates.as_ref())
        .is_some_and(|gates| !gates.is_empty());
    node_name(pod).is_empty() && is_active(pod) && by == SCHEDULER && !gated
}

/// Why the pod may not preempt others now.
fn not_eligible(cache: &SchedulerCache, pod_info: &PodInfo) -> Option<NotEligible> {
    if preempt::never_preempts(&pod_info.pod) {
        return Some(NotEligible::ByPolicy);
    }
    let (node, _) = cache.nominated.get(uid(&pod_info.pod.metadata))?;
    preempt::is_under_way(cache, pod_info, node).then_some(NotEligible::UnderWay)
}

enum SchedulingDecision {
    Bind(String),
    Wait {
        message: String,
        preemption: Option<Preemption>,
    },
    Nothing,
}

impl Reconciler for Scheduler {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        if *key == all_waiting() {
            self.shared
                .waiting()
                .keys()
                .for_each(|key| self.queue.add(key.clone()));
            return Ok(Requeue::OnChange);
        }
        let Some(pod) = self.pods.get(key).filter(|pod| is_mine(pod)) else {
            self.shared.waiting().remove(key);
            return Ok(Requeue::OnChange);
        };
        match self.decide(key, &pod) {
            SchedulingDecision::Nothing => Ok(Requeue::OnChange),
            SchedulingDecision::Bind(node) => {
                self.shared.waiting().remove(key);
                self.bind(&pod, &node).await
            }
            SchedulingDecision::Wait {
                message,
                preemption,
            } => {
                self.report_unschedulable(&pod, message, preemption).await?;
                Ok(Requeue::OnChange)
            }
        }
    }
}

impl Scheduler {
    fn decide(&self, key: &ObjectKey, pod: &Arc<Pod>) -> SchedulingDecision {
        let pod_info = PodInfo {
            volumes: self.bound_volumes(pod),
            choices: self.volume_choices(pod),
            ..PodInfo::new(Arc::clone(pod))
        };
        let constrained = has_constraints(pod);
        let mut cache = self.shared.cache();
        if cache.is_placed(uid(&pod.metadata)) {
            // Its binding is in flight.
            return SchedulingDecision::Nothing;
        }
        let nominated = cache.nominated.contains_key(uid(&pod.metadata));
        let is_like_others = !nominated && !pod_info.depends_on_volumes();
        if is_like_others && let Some(message) = cache.unschedulable(pod).map(str::to_owned) {
            self.shared.waiting().insert(key.clone(), constrained);
            return SchedulingDecision::Wait {
                message,
                preemption: None,
            };
        }
        match select::choose(&mut cache, &pod_info) {
            Ok(node) => {
                cache.assume(&node, pod_info);
                SchedulingDecision::Bind(node)
            }
            Err(diagnosis) => {
                // Under the lock, so that room that is made from now on finds the pod waiting.
                self.shared.waiting().insert(key.clone(), constrained);
                let not_eligible = not_eligible(&cache, &pod_info);
                let preemption = match not_eligible {
                    Some(_) => None,
                    None => self.plan_preemption(&mut cache, pod_info, &diagnosis),
                };
                let message = select::render(&diagnosis, not_eligible);
                if preemption.is_none() && is_like_others {
                    cache.remember_unschedulable(pod, &message);
                }
                SchedulingDecision::Wait {
                    message,
                    preemption,
                }
            }
        }
    }

    /// The volumes that the pod's claims are bound to.
    fn bound_volumes(&self, pod: &Pod) -> Vec<Arc<PersistentVolume>> {
        claims_of(pod)
            .filter_map(|name| {
                let claim = self.claims.find(namespace(pod), &name)?;
                let volume = claim.spec.as_ref()?.volume_name.as_deref()?;
                self.volumes.find("", volume)
            })
            .collect()
    }

    /// For each claim of the pod that waits for its node, the volumes that it may get.
    fn volume_choices(&self, pod: &Pod) -> Vec<Vec<Arc<PersistentVolume>>> {
        let claims: Vec<_> = claims_of(pod)
            .filter_map(|name| self.claims.find(namespace(pod), &name))
            .collect();
        if claims.is_empty() {
            return Vec::new();
        }
        let (classes, volumes) = (self.classes.all(), self.volumes.all());
        let claims = claims.iter();
        claims
            .filter_map(|claim| choices(claim, &classes, &volumes))
            .collect()
    }

    fn plan_preemption(
        &self,
        cache: &mut SchedulerCache,
        pod_info: PodInfo,
        diagnosis: &Diagnosis,
    ) -> Option<Preemption> {
        let preemption = preempt::preempt(cache, &pod_info, diagnosis, &self.budgets.all())?;
        cache.nominate(&preemption.node, pod_info);
        Some(preemption)
    }

    async fn bind(&self, pod: &Arc<Pod>, node: &str) -> Result<Requeue, ReconcileError> {
        let binding = serde_json::json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name(pod), "namespace": namespace(pod), "uid": pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let api = self.context.namespaced::<Pod>(namespace(pod));
        let result: Result<serde_json::Value, _> = api
            .create_subresource("binding", name(pod), &PostParams::default(), &binding)
            .await;
        match result {
            Ok(_) => {
                let message = format!(
                    "Successfully assigned {}/{} to {node}",
                    namespace(pod),
                    name(pod)
                );
                self.recorder.event_with_action(
                    &**pod,
                    "Binding",
                    EventType::Normal,
                    "Scheduled",
                    message,
                );
                Ok(Requeue::OnChange)
            }
            Err(error) => {
                self.shared.unassume(uid(&pod.metadata), &self.queue);
                if code(&error) == 404 {
                    Ok(Requeue::OnChange)
                } else {
                    Err(error.into())
                }
            }
        }
    }

    /// Reports that the pod fits nowhere, and deletes the preempted pods.
    async fn report_unschedulable(
        &self,
        pod: &Arc<Pod>,
        message: String,
        preemption: Option<Preemption>,
    ) -> Result<(), ReconcileError> {
        if let Some(preemption) = &preemption {
            for victim in &preemption.victims {
                self.preempt(pod, victim, &preemption.node).await?;
            }
        }
        let reported = condition(pod, "PodScheduled");
        let new = reported.is_none_or(|reported| {
            reported.status != "False" || reported.message.as_deref() != Some(&message)
        });
        if !new && preemption.is_none() {
            return Ok(());
        }
        self.recorder.event_with_action(
            &**pod,
            "Scheduling",
            EventType::Warning,
            "FailedScheduling",
            message.clone(),
        );
        let since = reported
            .filter(|reported| reported.status == "False")
            .and_then(|reported| reported.last_transition_time.clone());
        let mut status = serde_json::json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": message,
            "observedGeneration": pod.metadata.generation, "lastProbeTime": null,
            "lastTransitionTime": since.unwrap_or_else(|| self.context.now_on_wire()),
        }]});
        if let Some(preemption) = preemption {
            status["nominatedNodeName"] = preemption.node.into();
        }
        self.context.patch_pod_status(pod, status).await
    }

    /// Sets the victim's `DisruptionTarget` condition, then deletes it with its own grace period.
    async fn preempt(
        &self,
        pod: &Pod,
        victim: &Arc<Pod>,
        node: &str,
    ) -> Result<(), ReconcileError> {
        let message = format!("{SCHEDULER}: preempting to accommodate a higher priority pod");
        let target = self
            .context
            .disruption_target(victim, "PreemptionByScheduler", &message);
        self.context
            .patch_pod_status(victim, serde_json::json!({"conditions": [target]}))
            .await?;
        let how = delete_params(&victim.metadata);
        ignore_not_found(
            self.context
                .namespaced::<Pod>(namespace(victim))
                .delete(name(victim), &how)
                .await,
        )?;
        let message = format!("Preempted by pod {} on node {node}", uid(&pod.metadata));
        self.recorder.event_with_action(
            &**victim,
            "Preempting",
            EventType::Normal,
            "Preempted",
            message,
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failed_binding_wakes_the_pods_that_wait_for_room() {
        let (shared, queue) = (SchedulerState::default(), WorkQueue::new());
        let pod = Arc::new(Pod {
            metadata: kube::api::ObjectMeta {
                uid: Some("u".to_owned()),
                ..Default::default()
            },
            ..Default::default()
        });
        shared.cache().assume("node-1", PodInfo::new(pod));
        shared
            .waiting()
            .insert(ObjectKey::new("shop", "next"), false);
        shared.unassume("u", &queue);
        let (stop, tried) = (CancellationToken::new(), Mutex::new(Vec::new()));
        let work = queue.work("test", 1, stop.clone(), |key| {
            tried.lock().expect("lock").push(key);
            async { Ok(Requeue::OnChange) }
        });
        let _ = tokio::time::timeout(Duration::from_secs(1), work).await;
        assert_eq!(
            *tried.lock().expect("lock"),
            [ObjectKey::new("shop", "next")]
        );
        assert!(!shared.cache().is_placed("u"));
    }
}
