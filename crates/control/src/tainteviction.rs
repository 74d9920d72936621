//! Deletes pods from nodes with `NoExecute` taints that they do not tolerate.
//!
//! A pod that tolerates a taint for a limited time is deleted when that time is over. The time runs
//! from the taint's `timeAdded`, or else (`kubectl taint` sets none) from the moment at which the
//! taint was first seen on the node; for a pod that came later, from when it was bound. Budgets do
//! not apply, as upstream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::{EventRecorder, EventType};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use tokio::time::Instant;

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, after_seconds, delete_params, until};
use crate::nodes;
use crate::pods::{condition, is_finished, is_terminating, name, namespace, node_name};
use crate::queue::{Requeue, WorkQueue};

const WORKERS: usize = 8;
const COMPONENT: &str = "taint-eviction-controller";

struct Controller {
    context: ControllerContext,
    nodes: Arc<Cache<Node>>,
    pods: Arc<Cache<Pod>>,
    /// Pods whose deletion is scheduled: the deadline by the clock, and the moment when it comes.
    /// The moment stays when the clock is set.
    scheduled: Mutex<HashMap<ObjectKey, (Timestamp, Instant)>>,
    arrivals: Arc<TaintArrivals>,
    recorder: EventRecorder,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let (wake, pods) = (queue.clone(), Arc::clone(&informers.pods.cache));
    let arrivals = Arc::new(TaintArrivals::default());
    let (seen, clock) = (Arc::clone(&arrivals), context.clock.clone());
    informers.nodes.subscribe(move |change| {
        seen.observe(
            nodes::name(change.latest()),
            change.new.as_deref(),
            clock.now(),
        );
        let before: Vec<_> = change
            .old
            .iter()
            .flat_map(|node| no_execute_taints(node))
            .cloned()
            .collect();
        let now: Vec<_> = change
            .new
            .iter()
            .flat_map(|node| no_execute_taints(node))
            .cloned()
            .collect();
        if before != now {
            pods.at(nodes::name(change.latest()))
                .iter()
                .for_each(|pod| wake.add(ObjectKey::of(&**pod)));
        }
    });
    let wake = queue.clone();
    informers.pods.subscribe(move |change| {
        fn tolerations(pod: &Pod) -> Option<&Vec<Toleration>> {
            pod.spec.as_ref()?.tolerations.as_ref()
        }
        let Some(pod) = &change.new else { return };
        let same = |old: &Arc<Pod>| {
            node_name(old) == node_name(pod) && tolerations(old) == tolerations(pod)
        };
        if !node_name(pod).is_empty() && !change.old.as_ref().is_some_and(same) {
            wake.add(ObjectKey::of(&**pod));
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        nodes: Arc::clone(&informers.nodes.cache),
        pods: Arc::clone(&informers.pods.cache),
        scheduled: Mutex::default(),
        arrivals,
        recorder: context.recorder(COMPONENT),
    });
    let synced = vec![
        informers.nodes.cache.synced(),
        informers.pods.cache.synced(),
    ];
    context.run("taint eviction", queue, WORKERS, synced, controller);
}

fn no_execute_taints(node: &Node) -> impl Iterator<Item = &Taint> {
    nodes::taints(node).filter(|taint| taint.effect == "NoExecute")
}

/// When taints without `timeAdded` were first seen, by node.
#[derive(Default)]
struct TaintArrivals(Mutex<HashMap<String, Vec<(Taint, Timestamp)>>>);

impl TaintArrivals {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Vec<(Taint, Timestamp)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers new taints and forgets those that are gone. Without a `node`, the node is gone.
    fn observe(&self, name: &str, node: Option<&Node>, now: Timestamp) {
        let mut all = self.all();
        let known = all.remove(name).unwrap_or_default();
        let taints = node.into_iter().flat_map(no_execute_taints);
        let undated = taints.filter(|taint| taint.time_added.is_none());
        let seen: Vec<(Taint, Timestamp)> = undated
            .map(|taint| {
                let earlier = known.iter().find(|(known, _)| known == taint);
                (taint.clone(), earlier.map_or(now, |(_, at)| *at))
            })
            .collect();
        if !seen.is_empty() {
            all.insert(name.to_owned(), seen);
        }
    }

    /// When the node got this taint.
    fn of(&self, node: &Node, taint: &Taint) -> Option<Timestamp> {
        if let Some(added) = &taint.time_added {
            return Some(added.0);
        }
        let all = self.all();
        let mut seen = all.get(nodes::name(node))?.iter();
        seen.find(|(known, _)| known == taint).map(|(_, at)| *at)
    }
}

/// When the pod was bound to its node; without a time in the condition, when it was created.
fn bound_at(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "PodScheduled")
        .and_then(|scheduled| scheduled.last_transition_time.as_ref())
        .or(pod.metadata.creation_timestamp.as_ref())
        .map(|time| time.0)
}

/// When the pod has to be deleted; none when it may stay.
fn deadline(pod: &Pod, node: &Node, arrivals: &TaintArrivals, now: Timestamp) -> Option<Timestamp> {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref());
    no_execute_taints(node)
        .filter_map(|taint| {
            let mut covering = nodes::covering(tolerations, taint).peekable();
            if covering.peek().is_none() {
                return Some(Timestamp::MIN);
            }
            let seconds = covering
                .filter_map(|toleration| toleration.toleration_seconds)
                .min()?;
            let arrived = arrivals.of(node, taint);
            let since = arrived.max(bound_at(pod)).unwrap_or(now);
            Some(after_seconds(since, seconds.max(0)))
        })
        .min()
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let pod = self
            .pods
            .get(key)
            .filter(|pod| !is_terminating(pod) && !is_finished(pod));
        let node = pod
            .as_ref()
            .and_then(|pod| self.nodes.find("", node_name(pod)));
        let (Some(pod), Some(node)) = (pod, node) else {
            self.unschedule(key);
            return Ok(Requeue::OnChange);
        };
        let now = self.context.now();
        match deadline(&pod, &node, &self.arrivals, now) {
            None => {
                if self.unschedule(key) {
                    self.recorder.event(
                        &*pod,
                        EventType::Normal,
                        "TaintManagerEviction",
                        format!("Cancelling deletion of Pod {key}"),
                    );
                }
                Ok(Requeue::OnChange)
            }
            Some(at) => {
                let left = self.schedule(key, at, now);
                if !left.is_zero() {
                    return Ok(Requeue::After(left.max(Duration::from_millis(1))));
                }
                self.unschedule(key);
                self.delete(&pod, key).await?;
                Ok(Requeue::OnChange)
            }
        }
    }
}

impl Controller {
    /// Schedules the deletion for this deadline, unless it is scheduled for it already. Returns the
    /// time that is left.
    fn schedule(&self, key: &ObjectKey, deadline: Timestamp, now: Timestamp) -> Duration {
        let mut all = self.lock_scheduled();
        let fresh = || (deadline, Instant::now() + until(now, deadline));
        let entry = all.entry(key.clone()).or_insert_with(fresh);
        if entry.0 != deadline {
            *entry = fresh();
        }
        entry.1.saturating_duration_since(Instant::now())
    }

    /// Returns true when the deletion was scheduled before.
    fn unschedule(&self, key: &ObjectKey) -> bool {
        self.lock_scheduled().remove(key).is_some()
    }

    fn lock_scheduled(&self) -> MutexGuard<'_, HashMap<ObjectKey, (Timestamp, Instant)>> {
        self.scheduled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn delete(&self, pod: &Pod, key: &ObjectKey) -> Result<(), ReconcileError> {
        self.recorder.event(
            pod,
            EventType::Normal,
            "TaintManagerEviction",
            format!("Marking for deletion Pod {key}"),
        );
        let message = "Taint manager: deleting due to NoExecute taint";
        let target = self
            .context
            .disruption_target(pod, "DeletionByTaintManager", message);
        self.context
            .patch_pod_status(pod, serde_json::json!({"conditions": [target]}))
            .await?;
        let how = delete_params(&pod.metadata);
        ignore_not_found(
            self.context
                .namespaced::<Pod>(namespace(pod))
                .delete(name(pod), &how)
                .await,
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::tests::pod;

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "a"},
            "spec": {"taints": [
            {"key": "out", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"},
                {"key": "soft", "effect": "NoSchedule"}]}}))
        .expect("a node");
        let tolerates = |seconds: Value| {
            json!([{"key": "out", "operator": "Exists",
            "effect": "NoExecute", "tolerationSeconds": seconds}])
        };
        let cases = [
            (json!([]), Some(Timestamp::MIN)),
            (tolerates(Value::Null), None),
            (tolerates(json!(60)), Some(at("2026-01-01T00:01:00Z"))),
            (tolerates(json!(-5)), Some(at("2026-01-01T00:00:00Z"))),
        ];
        for (tolerations, expected) in cases {
            let text = tolerations.to_string();
            let pod = pod(
                json!({"metadata": {"name": "p"}, "spec": {"containers": [], "nodeName": "a",
                    "tolerations": tolerations}}),
            );
            assert_eq!(
                deadline(
                    &pod,
                    &node,
                    &TaintArrivals::default(),
                    at("2026-01-01T00:00:30Z")
                ),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn the_time_of_a_toleration_runs_from_the_taints_coming() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let node = |taints: Value| -> Node {
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {"taints": taints}}))
                .expect("a node")
        };
        let undated = json!([{"key": "out", "effect": "NoExecute"}]);
        let dated = json!([{"key": "out", "effect": "NoExecute",
            "timeAdded": "2026-01-01T02:00:00Z"}]);
        let arrivals = TaintArrivals::default();
        let born_at = |created: &str, bound: Option<&str>| {
            let conditions = bound.map(|bound| {
                json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": bound}])
            });
            pod(
                json!({"metadata": {"name": "p", "creationTimestamp": created},
                "spec": {"containers": [], "nodeName": "a", "tolerations": [{"key": "out",
                    "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]},
                "status": {"conditions": conditions}}),
            )
        };
        let old = born_at("2026-01-01T00:00:00Z", None);
        let tainted = node(undated.clone());
        arrivals.observe("a", Some(&tainted), at("2026-01-01T01:00:00Z"));
        // Other changes of the node do not start the time again.
        arrivals.observe("a", Some(&tainted), at("2026-01-01T01:00:30Z"));
        let now = at("2026-01-01T01:00:40Z");
        let young = born_at("2026-01-01T01:00:20Z", None);
        let queued = born_at("2026-01-01T00:00:00Z", Some("2026-01-01T01:00:30Z"));
        let cases = [
            (&old, &undated, "2026-01-01T01:01:00Z"),
            (&young, &undated, "2026-01-01T01:01:20Z"),
            (&queued, &undated, "2026-01-01T01:01:30Z"),
            (&old, &dated, "2026-01-01T02:01:00Z"),
        ];
        for (pod, taints, expected) in cases {
            let found = deadline(pod, &node(taints.clone()), &arrivals, now);
            assert_eq!(found, Some(at(expected)), "{taints} {:?}", pod.metadata);
        }
        // A taint that went and came again starts again.
        arrivals.observe("a", Some(&node(json!([]))), at("2026-01-01T01:00:50Z"));
        arrivals.observe("a", Some(&tainted), at("2026-01-01T03:00:00Z"));
        let found = deadline(&old, &tainted, &arrivals, now);
        assert_eq!(found, Some(at("2026-01-01T03:01:00Z")));
        arrivals.observe("a", None, now);
        assert!(arrivals.all().is_empty());
    }
}
