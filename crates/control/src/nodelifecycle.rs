//! The node lifecycle controller: conditions and taints of silent nodes.
//!
//! A node is alive when its lease is renewed or its own heartbeat changes. A node that is silent
//! for too long gets conditions with status `Unknown`, and its pods are marked as not ready. Taints
//! follow from the conditions and from cordoning (`taints.rs`, pure). Taints that evict pods are
//! set at a limited rate, and not at all when every node seems to be down, because then the fault
//! is more likely on this side.

mod taints;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::Clock;
use events::{EventRecorder, EventType};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, on_wire, until};
use crate::nodes;
use crate::pods::{is_ready, node_name};
use crate::queue::{Requeue, WorkQueue};
use taints::{ReadyStatus, ready_status};

const WORKERS: usize = 8;
const COMPONENT: &str = "node-controller";
/// The interval at which nodes of a zone get a taint that evicts their pods.
const TAINT_INTERVAL: Duration = Duration::from_secs(10);
/// The interval in a large zone of which most is down.
const LARGE_OUTAGE_INTERVAL: Duration = Duration::from_secs(100);

struct Controller {
    context: ControllerContext,
    nodes: Arc<Cache<Node>>,
    pods: Arc<Cache<Pod>>,
    /// Measures silence and the pauses between taints.
    steady: Clock,
    heartbeats: Arc<Heartbeats>,
    /// When the next node of a zone may get such a taint.
    next: Mutex<HashMap<String, Timestamp>>,
    recorder: EventRecorder,
}

/// When each node was last alive.
#[derive(Default)]
struct Heartbeats(Mutex<HashMap<String, Timestamp>>);

impl Heartbeats {
    fn record(&self, node: &str, at: Timestamp) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node.to_owned(), at);
    }

    fn forget(&self, node: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(node);
    }

    fn last(&self, node: &str, now: Timestamp) -> Timestamp {
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(node.to_owned())
            .or_insert(now)
    }
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let heartbeats = Arc::new(Heartbeats::default());
    let steady = context.clock.steady();
    follow_heartbeats(&steady, informers, &queue, &heartbeats);
    let (wake, nodes) = (queue.clone(), Arc::clone(&informers.nodes.cache));
    informers.pods.subscribe(move |change| {
        if let Some(pod) = &change.new
            && is_ready(pod)
            && nodes
                .find("", node_name(pod))
                .is_some_and(|node| ready_status(&node) == ReadyStatus::Unknown)
        {
            wake.add(ObjectKey::new("", node_name(pod)));
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        nodes: Arc::clone(&informers.nodes.cache),
        pods: Arc::clone(&informers.pods.cache),
        heartbeats,
        steady,
        next: Mutex::default(),
        recorder: context.recorder(COMPONENT),
    });
    let synced = vec![
        informers.nodes.cache.synced(),
        informers.pods.cache.synced(),
        informers.leases.cache.synced(),
    ];
    context.run("node lifecycle", queue, WORKERS, synced, controller);
}

fn follow_heartbeats(
    steady: &Clock,
    informers: &mut Informers,
    queue: &WorkQueue<ObjectKey>,
    heartbeats: &Arc<Heartbeats>,
) {
    let (wake, alive, clock) = (queue.clone(), Arc::clone(heartbeats), steady.clone());
    informers.nodes.subscribe(move |change| {
        let node = nodes::name(change.latest());
        match (&change.old, &change.new) {
            (_, None) => alive.forget(node),
            (Some(old), Some(new)) if taints::heartbeat(old) == taints::heartbeat(new) => {}
            _ => alive.record(node, clock.now()),
        }
        wake.add(ObjectKey::new("", node));
    });
    let (wake, alive, clock) = (queue.clone(), Arc::clone(heartbeats), steady.clone());
    informers.leases.subscribe(move |change| {
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let node = change.latest().metadata.name.as_deref().unwrap_or_default();
        if let Some(new) = &change.new
            && change
                .old
                .as_ref()
                .is_none_or(|old| renewed(old) != renewed(new))
        {
            alive.record(node, clock.now());
            // A renewal is noticed when the present deadline comes. Only the first lease needs a
            // new deadline.
            if change.old.is_none() {
                wake.add(ObjectKey::new("", node));
            }
        }
    });
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let name = key.name.as_str();
        let Some(node) = self.nodes.find("", name) else {
            return Ok(Requeue::OnChange);
        };
        // Silence is a duration: when the clock is set, no node has been silent for longer.
        let (now, steady) = (self.context.now(), self.steady.now());
        let has_reported = taints::heartbeat(&node).is_some();
        let grace = if has_reported {
            self.context.options.node_monitor_grace
        } else {
            self.context.options.node_startup_grace
        };
        let deadline = self
            .heartbeats
            .last(name, steady)
            .saturating_add(grace)
            .unwrap_or(Timestamp::MAX);
        let left = until(steady, deadline);
        if left.is_zero()
            && let Some(silent) = taints::with_unknown_conditions(&node, now)
        {
            if ready_status(&node) == ReadyStatus::Ready {
                self.recorder.event(
                    &*node,
                    EventType::Normal,
                    "NodeNotReady",
                    format!("Node {name} status is now: NodeNotReady"),
                );
            }
            ignore_not_found(
                self.context
                    .cluster::<Node>()
                    .replace_status(name, &PostParams::default(), &silent)
                    .await,
            )?;
            return Ok(Requeue::OnChange);
        }
        if ready_status(&node) == ReadyStatus::Unknown {
            self.mark_pods(name).await?;
        }
        let pause = self.taint(&node, now).await?;
        let look_again = if left.is_zero() { None } else { Some(left) };
        Ok(pause
            .into_iter()
            .chain(look_again)
            .min()
            .map_or(Requeue::OnChange, Requeue::After))
    }
}

impl Controller {
    /// Marks the ready pods of a silent node as not ready, because their state is unknown.
    async fn mark_pods(&self, node: &str) -> Result<(), ReconcileError> {
        for pod in self.pods.at(node).iter().filter(|pod| is_ready(pod)) {
            self.recorder.event(
                &**pod,
                EventType::Warning,
                "NodeNotReady",
                "Node is not ready",
            );
            let condition = serde_json::json!({
                "type": "Ready", "status": "False",
                    "lastTransitionTime": self.context.now_on_wire(),
                "observedGeneration": pod.metadata.generation, "reason": null, "message": null,
            });
            self.context
                .patch_pod_status(pod, serde_json::json!({"conditions": [condition]}))
                .await?;
        }
        Ok(())
    }

    /// Updates the taints. Returns how long a taint that evicts pods has to wait.
    async fn taint(
        &self,
        node: &Arc<Node>,
        now: Timestamp,
    ) -> Result<Option<Duration>, ReconcileError> {
        let mut wanted = taints::wanted(node);
        let mut pause = None;
        if let Some(key) = taints::evicting(node).filter(|key| !taints::has(node, key, "NoExecute"))
        {
            match self.may_evict(node, self.steady.now()) {
                Ok(()) => wanted.push((key, "NoExecute")),
                Err(wait) => pause = wait,
            }
        } else if let Some(key) = taints::evicting(node) {
            wanted.push((key, "NoExecute"));
        }
        if let Some(list) = taints::plan(node, &wanted, on_wire(now)) {
            let list = if list.is_empty() {
                serde_json::Value::Null
            } else {
                serde_json::json!(list)
            };
            let patch = serde_json::json!({"metadata": {
                "resourceVersion": node.metadata.resource_version}, "spec": {"taints": list}});
            let api = self.context.cluster::<Node>();
            ignore_not_found(
                api.patch(
                    nodes::name(node),
                    &PatchParams::default(),
                    &Patch::Merge(&patch),
                )
                .await,
            )?;
        }
        Ok(pause)
    }

    /// Ok when pods may be evicted from this node now. Otherwise the time to wait, if waiting
    /// helps.
    fn may_evict(&self, node: &Node, now: Timestamp) -> Result<(), Option<Duration>> {
        let zone = taints::zone(node);
        let Some(every) = taints::interval(
            &zone,
            &self.nodes.all(),
            TAINT_INTERVAL,
            LARGE_OUTAGE_INTERVAL,
        ) else {
            return Err(None);
        };
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next.get(&zone).copied().unwrap_or(now);
        if at > now {
            return Err(Some(until(now, at)));
        }
        next.insert(zone, now.saturating_add(every).unwrap_or(Timestamp::MAX));
        Ok(())
    }
}
