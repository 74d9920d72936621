//! The state of nodes as others see it: who is silent, and which taints say so.
//!
//! A node is heard when its lease is renewed or its heartbeat changes. One that is silent for too
//! long gets unknown conditions, and its pods are marked unready, because nobody can tell. Taints
//! follow from the conditions and from cordoning (`taints.rs`, pure). The taints that drive pods
//! away come slowly, and not at all when everything seems to be down, because then it is more
//! likely that we are.

mod taints;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::{EventRecorder, EventType};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};

use crate::caches::{Cache, Caches};
use crate::context::Context;
use crate::error::{Error, unless_gone};
use crate::meta::{Key, on_wire, until};
use crate::nodes;
use crate::pods::{is_ready, name, namespace, node_name};
use crate::queue::{Outcome, Queue};
use taints::{Reach, reach};

const WORKERS: usize = 8;
const COMPONENT: &str = "node-controller";
/// How often a node of a zone may get a taint that drives its pods away.
const EVERY: Duration = Duration::from_secs(10);
/// The same in a large zone of which most is down.
const RARELY: Duration = Duration::from_secs(100);

struct Controller {
    context: Context,
    nodes: Arc<Cache<Node>>,
    pods: Arc<Cache<Pod>>,
    heard: Arc<Heard>,
    /// When the next node of a zone may be given up.
    next: Mutex<HashMap<String, Timestamp>>,
    recorder: EventRecorder,
}

/// When each node was last heard.
#[derive(Default)]
struct Heard(Mutex<HashMap<String, Timestamp>>);

impl Heard {
    fn note(&self, node: &str, at: Timestamp) {
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

pub(crate) fn start(context: &Context, caches: &mut Caches) {
    let queue: Queue<Key> = Queue::new();
    let heard = Arc::new(Heard::default());
    listen(context, caches, &queue, &heard);
    let (wake, nodes) = (queue.clone(), Arc::clone(&caches.nodes.cache));
    caches.pods.subscribe(move |change| {
        if let Some(pod) = &change.new
            && is_ready(pod)
            && nodes
                .find("", node_name(pod))
                .is_some_and(|node| reach(&node) == Reach::Unknown)
        {
            wake.add(Key::new("", node_name(pod)));
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        nodes: Arc::clone(&caches.nodes.cache),
        pods: Arc::clone(&caches.pods.cache),
        heard,
        next: Mutex::default(),
        recorder: context.recorder(COMPONENT),
    });
    let synced = vec![
        caches.nodes.cache.synced(),
        caches.pods.cache.synced(),
        caches.leases.cache.synced(),
    ];
    context.work("node lifecycle", queue, WORKERS, synced, move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(&key.name).await }
    });
}

fn listen(context: &Context, caches: &mut Caches, queue: &Queue<Key>, heard: &Arc<Heard>) {
    let (wake, notes, clock) = (queue.clone(), Arc::clone(heard), context.clock.clone());
    caches.nodes.subscribe(move |change| {
        let node = nodes::name(change.latest());
        match (&change.old, &change.new) {
            (_, None) => notes.forget(node),
            (Some(old), Some(new)) if taints::heartbeat(old) == taints::heartbeat(new) => {}
            _ => notes.note(node, clock.now()),
        }
        wake.add(Key::new("", node));
    });
    let (wake, notes, clock) = (queue.clone(), Arc::clone(heard), context.clock.clone());
    caches.leases.subscribe(move |change| {
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let node = change.latest().metadata.name.as_deref().unwrap_or_default();
        if let Some(new) = &change.new
            && change
                .old
                .as_ref()
                .is_none_or(|old| renewed(old) != renewed(new))
        {
            notes.note(node, clock.now());
            // The present deadline is found to be moved when it comes; a first lease needs a first
            // deadline.
            if change.old.is_none() {
                wake.add(Key::new("", node));
            }
        }
    });
}

impl Controller {
    async fn reconcile(&self, name: &str) -> Result<Outcome, Error> {
        let Some(node) = self.nodes.find("", name) else {
            return Ok(Outcome::Done);
        };
        let now = self.context.now();
        let told = taints::heartbeat(&node).is_some();
        let grace = if told {
            self.context.options.node_monitor_grace
        } else {
            self.context.options.node_startup_grace
        };
        let deadline = self
            .heard
            .last(name, now)
            .saturating_add(grace)
            .unwrap_or(Timestamp::MAX);
        let left = until(now, deadline);
        if left.is_zero()
            && let Some(silent) = taints::silenced(&node, now)
        {
            if reach(&node) == Reach::Ready {
                self.recorder.event(
                    &*node,
                    EventType::Normal,
                    "NodeNotReady",
                    format!("Node {name} status is now: NodeNotReady"),
                );
            }
            unless_gone(
                self.context
                    .cluster::<Node>()
                    .replace_status(name, &PostParams::default(), &silent)
                    .await,
            )?;
            return Ok(Outcome::Done);
        }
        if reach(&node) == Reach::Unknown {
            self.mark_pods(name).await?;
        }
        let pause = self.taint(&node, now).await?;
        let look_again = if left.is_zero() { None } else { Some(left) };
        Ok(pause
            .into_iter()
            .chain(look_again)
            .min()
            .map_or(Outcome::Done, Outcome::After))
    }

    /// Nobody can tell whether the pods of a silent node are ready, so they are not.
    async fn mark_pods(&self, node: &str) -> Result<(), Error> {
        for pod in self.pods.at(node).iter().filter(|pod| is_ready(pod)) {
            self.recorder.event(
                &**pod,
                EventType::Warning,
                "NodeNotReady",
                "Node is not ready",
            );
            let condition = serde_json::json!({
                "type": "Ready", "status": "False", "lastTransitionTime": self.context.now_on_wire(),
                "observedGeneration": pod.metadata.generation, "reason": null, "message": null,
            });
            let patch = serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
            let api = self.context.namespaced::<Pod>(namespace(pod));
            unless_gone(
                api.patch_status(
                    name(pod),
                    &PatchParams::default(),
                    &Patch::Strategic(&patch),
                )
                .await,
            )?;
        }
        Ok(())
    }

    /// Brings the taints in line; returns how long a taint that drives pods away has to wait.
    async fn taint(&self, node: &Arc<Node>, now: Timestamp) -> Result<Option<Duration>, Error> {
        let mut wanted = taints::wanted(node);
        let mut pause = None;
        if let Some(key) = taints::driving(node).filter(|key| !taints::has(node, key, "NoExecute"))
        {
            match self.may_drive(node, now) {
                Ok(()) => wanted.push((key, "NoExecute")),
                Err(wait) => pause = wait,
            }
        } else if let Some(key) = taints::driving(node) {
            wanted.push((key, "NoExecute"));
        }
        if let Some(list) = taints::plan(node, &wanted, on_wire(now)) {
            let list = if list.is_empty() {
                serde_json::Value::Null
            } else {
                serde_json::json!(list)
            };
            let patch = serde_json::json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": list}});
            let api = self.context.cluster::<Node>();
            unless_gone(
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

    /// Whether pods may be driven from this node now; else how long to wait, if waiting helps.
    fn may_drive(&self, node: &Node, now: Timestamp) -> Result<(), Option<Duration>> {
        let zone = taints::zone(node);
        let Some(every) = taints::pace(&zone, &self.nodes.all(), EVERY, RARELY) else {
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
