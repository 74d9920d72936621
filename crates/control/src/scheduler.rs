//! The scheduler: gives each pod a node.
//!
//! A pod without a node is a key in the queue. The choice is made under one lock, from a picture of
//! the nodes that follows the caches (`cluster.rs`), by pure functions (`place.rs`); the pod is
//! counted at its node at once, and the binding is sent without the lock, so that many are under
//! way at a time. A pod for which there is no room says so in a condition and an event, may make
//! others leave (`preempt.rs`), and is tried again when a node or a pod makes room.

mod cluster;
mod place;
mod preempt;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::{EventRecorder, EventType};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};

use crate::caches::{Cache, Caches};
use crate::context::Context;
use crate::error::{Error, code, unless_gone};
use crate::meta::{Key, uid};
use crate::nodes;
use crate::pods::{condition, is_active, name, namespace, node_name};
use crate::queue::{Outcome, Queue};
pub(crate) use cluster::opens;
use cluster::{Cluster, Tenant};
use place::Refusals;
use preempt::Preemption;

const WORKERS: usize = 32;
/// The name that pods ask for.
const SCHEDULER: &str = "default-scheduler";
/// The key of all who wait; no pod is in a namespace without a name.
fn everybody() -> Key {
    Key::default()
}

/// When so many pods wait, they are tried again together after a moment, not after each change.
const MANY_WAITING: usize = 200;
const MOMENT: Duration = Duration::from_millis(50);

struct Scheduler {
    context: Context,
    pods: Arc<Cache<Pod>>,
    budgets: Arc<Cache<PodDisruptionBudget>>,
    shared: Arc<Shared>,
    queue: Queue<Key>,
    recorder: EventRecorder,
}

#[derive(Default)]
struct Shared {
    cluster: Mutex<Cluster>,
    /// Pods for which there is no room.
    waiting: Mutex<HashSet<Key>>,
}

impl Shared {
    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_again(&self, queue: &Queue<Key>) {
        let waiting = self.waiting();
        if waiting.len() > MANY_WAITING {
            queue.add_after(everybody(), MOMENT);
        } else {
            waiting.iter().for_each(|key| queue.add(key.clone()));
        }
    }

    /// A pod did not get the node after all. The watch cannot tell later that its room is free
    /// again, because by then it is counted nowhere: who waits for room is tried again now.
    fn give_back(&self, uid: &str, queue: &Queue<Key>) {
        if self.cluster().forget(uid) {
            self.try_again(queue);
        }
    }
}

pub(crate) fn start(context: &Context, caches: &mut Caches) {
    let queue: Queue<Key> = Queue::new();
    let shared = Arc::new(Shared::default());
    follow_nodes(caches, &queue, &shared);
    follow_pods(caches, &queue, &shared);
    let scheduler = Arc::new(Scheduler {
        context: context.clone(),
        pods: Arc::clone(&caches.pods.cache),
        budgets: Arc::clone(&caches.budgets.cache),
        shared,
        queue: queue.clone(),
        recorder: context.recorder(SCHEDULER),
    });
    let synced = vec![
        caches.nodes.cache.synced(),
        caches.pods.cache.synced(),
        caches.budgets.cache.synced(),
    ];
    context.work("scheduler", queue, WORKERS, synced, move |key| {
        let scheduler = Arc::clone(&scheduler);
        async move { scheduler.reconcile(&key).await }
    });
}

fn follow_nodes(caches: &mut Caches, queue: &Queue<Key>, shared: &Arc<Shared>) {
    let (queue, shared) = (queue.clone(), Arc::clone(shared));
    caches.nodes.subscribe(move |change| {
        shared
            .cluster()
            .learn_node(nodes::name(change.latest()), change.new.as_ref());
        if opens(change.old.as_ref(), change.new.as_ref()) {
            shared.try_again(&queue);
        }
    });
}

fn follow_pods(caches: &mut Caches, queue: &Queue<Key>, shared: &Arc<Shared>) {
    let (queue, shared) = (queue.clone(), Arc::clone(shared));
    caches.pods.subscribe(move |change| {
        let freed = shared
            .cluster()
            .learn_pod(change.old.as_ref(), change.new.as_ref());
        if freed {
            shared.try_again(&queue);
        }
        match &change.new {
            Some(pod) if is_mine(pod) => queue.add(Key::of(&**pod)),
            _ => {
                shared.waiting().remove(&Key::of(change.latest()));
            }
        }
    });
}

/// It waits for a node, and for this scheduler to give it one.
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

enum Decision {
    Bind(String),
    Wait {
        message: String,
        preemption: Option<Preemption>,
    },
    Nothing,
}

impl Scheduler {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, Error> {
        if *key == everybody() {
            self.shared
                .waiting()
                .iter()
                .for_each(|key| self.queue.add(key.clone()));
            return Ok(Outcome::Done);
        }
        let Some(pod) = self.pods.get(key).filter(|pod| is_mine(pod)) else {
            self.shared.waiting().remove(key);
            return Ok(Outcome::Done);
        };
        match self.decide(key, &pod) {
            Decision::Nothing => Ok(Outcome::Done),
            Decision::Bind(node) => {
                self.shared.waiting().remove(key);
                self.bind(&pod, &node).await
            }
            Decision::Wait {
                message,
                preemption,
            } => {
                self.refuse(&pod, message, preemption).await?;
                Ok(Outcome::Done)
            }
        }
    }

    fn decide(&self, key: &Key, pod: &Arc<Pod>) -> Decision {
        let tenant = Tenant::new(Arc::clone(pod));
        let mut cluster = self.shared.cluster();
        if cluster.is_placed(uid(&pod.metadata)) {
            // Its binding is under way.
            return Decision::Nothing;
        }
        let promised = cluster.nominated.contains_key(uid(&pod.metadata));
        if !promised && let Some(message) = cluster.refused(pod).map(str::to_owned) {
            self.shared.waiting().insert(key.clone());
            return Decision::Wait {
                message,
                preemption: None,
            };
        }
        match place::choose(&mut cluster, &tenant) {
            Ok(node) => {
                cluster.assume(&node, tenant);
                Decision::Bind(node)
            }
            Err(refusals) => {
                // While the picture is still locked: room that is made from now on finds the pod
                // waiting.
                self.shared.waiting().insert(key.clone());
                let preemption = self.make_room(&mut cluster, tenant, &refusals);
                let message = place::render(&refusals);
                if preemption.is_none() && !promised {
                    cluster.remember_refused(pod, &message);
                }
                Decision::Wait {
                    message,
                    preemption,
                }
            }
        }
    }

    fn make_room(
        &self,
        cluster: &mut Cluster,
        tenant: Tenant,
        refusals: &Refusals,
    ) -> Option<Preemption> {
        let promised = cluster
            .nominated
            .get(uid(&tenant.pod.metadata))
            .map(|(node, _)| node.clone());
        if promised.is_some_and(|node| preempt::is_being_made(cluster, &tenant, &node)) {
            return None;
        }
        let preemption = preempt::preempt(cluster, &tenant, refusals, &self.budgets.all())?;
        cluster.nominate(&preemption.node, tenant);
        Some(preemption)
    }

    async fn bind(&self, pod: &Arc<Pod>, node: &str) -> Result<Outcome, Error> {
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
                Ok(Outcome::Done)
            }
            Err(error) => {
                self.shared.give_back(uid(&pod.metadata), &self.queue);
                if code(&error) == 404 {
                    Ok(Outcome::Done)
                } else {
                    Err(error.into())
                }
            }
        }
    }

    /// Says that there is no room, and makes some.
    async fn refuse(
        &self,
        pod: &Arc<Pod>,
        message: String,
        preemption: Option<Preemption>,
    ) -> Result<(), Error> {
        if let Some(preemption) = &preemption {
            for victim in &preemption.victims {
                self.push_out(pod, victim, &preemption.node).await?;
            }
        }
        let told = condition(pod, "PodScheduled");
        let new = told
            .is_none_or(|told| told.status != "False" || told.message.as_deref() != Some(&message));
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
        let since = told
            .filter(|told| told.status == "False")
            .and_then(|told| told.last_transition_time.clone());
        let mut status = serde_json::json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "observedGeneration": pod.metadata.generation, "lastProbeTime": null,
            "lastTransitionTime": since.unwrap_or_else(|| self.context.now_on_wire()),
        }]});
        if let Some(preemption) = preemption {
            status["nominatedNodeName"] = preemption.node.into();
        }
        self.patch_status(pod, status).await
    }

    /// Marks the victim, then deletes it with its own grace.
    async fn push_out(&self, pod: &Pod, victim: &Arc<Pod>, node: &str) -> Result<(), Error> {
        let mark = serde_json::json!({"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": format!("{SCHEDULER}: preempting to accommodate a higher priority pod"),
            "observedGeneration": victim.metadata.generation, "lastProbeTime": null,
            "lastTransitionTime": self.context.now_on_wire(),
        }]});
        self.patch_status(victim, mark).await?;
        let precondition = Preconditions {
            uid: victim.metadata.uid.clone(),
            resource_version: None,
        };
        let how = DeleteParams {
            preconditions: Some(precondition),
            ..DeleteParams::default()
        };
        unless_gone(
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

    async fn patch_status(&self, pod: &Pod, status: serde_json::Value) -> Result<(), Error> {
        let patch = serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
        let api = self.context.namespaced::<Pod>(namespace(pod));
        unless_gone(
            api.patch_status(
                name(pod),
                &PatchParams::default(),
                &Patch::Strategic(&patch),
            )
            .await,
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_binding_that_fails_wakes_those_who_wait_for_room() {
        let (shared, queue) = (Shared::default(), Queue::new());
        let pod = Arc::new(Pod {
            metadata: kube::api::ObjectMeta {
                uid: Some("u".to_owned()),
                ..Default::default()
            },
            ..Default::default()
        });
        shared.cluster().assume("node-1", Tenant::new(pod));
        shared.waiting().insert(Key::new("shop", "next"));
        shared.give_back("u", &queue);
        let (stop, tried) = (CancellationToken::new(), Mutex::new(Vec::new()));
        let work = queue.work("test", 1, stop.clone(), |key| {
            tried.lock().expect("lock").push(key);
            async { Ok(Outcome::Done) }
        });
        let _ = tokio::time::timeout(Duration::from_secs(1), work).await;
        assert_eq!(*tried.lock().expect("lock"), [Key::new("shop", "next")]);
        assert!(!shared.cluster().is_placed("u"));
    }
}
