//! Chooses the pods to delete when there are too many. Pure.
//!
//! Pods are deleted in this order, which is upstream's: unassigned, pending, not ready, lower
//! deletion cost, more related pods on the node, ready for less time, more restarts, younger. Ages
//! are compared by powers of two. So among pods of about the same age chance (the uid) decides and
//! not the minute of creation.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::meta::{annotation, uid};
use crate::pods::{is_ready, node_name, phase, ready_since};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Returns the `count` pods to delete.
pub(crate) fn victims(
    active: &[Arc<Pod>],
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count >= active.len() {
        return active.to_vec();
    }
    let mut neighbours: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| !node_name(pod).is_empty()) {
        *neighbours.entry(node_name(pod)).or_default() += 1;
    }
    let mut pods: Vec<(Rank, &Arc<Pod>)> = active
        .iter()
        .map(|pod| {
            (
                Rank::of(
                    pod,
                    neighbours.get(node_name(pod)).copied().unwrap_or_default(),
                    now,
                ),
                pod,
            )
        })
        .collect();
    pods.sort_by(|(a, left), (b, right)| {
        a.cmp(b)
            .then_with(|| uid(&left.metadata).cmp(uid(&right.metadata)))
    });
    pods.into_iter()
        .take(count)
        .map(|(_, pod)| Arc::clone(pod))
        .collect()
}

/// Pods with a smaller rank are deleted first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    placed: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    neighbours: Reverse<usize>,
    ready_for: Option<Age>,
    restarts: Reverse<(i32, i32)>,
    age: Age,
}

/// The binary logarithm of an age. An unknown time counts as the youngest.
#[derive(Debug, PartialEq, Eq)]
struct Age(i64);

impl PartialOrd for Age {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Age {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl Age {
    fn since(time: Option<Timestamp>, now: Timestamp) -> Self {
        let nanoseconds = time.map_or(0, |time| now.duration_since(time).as_nanos());
        Self(
            u128::try_from(nanoseconds)
                .ok()
                .and_then(u128::checked_ilog2)
                .map_or(-1, i64::from),
        )
    }
}

impl Rank {
    fn of(pod: &Pod, neighbours: usize, now: Timestamp) -> Self {
        let phase = match phase(pod) {
            "Pending" | "" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        Self {
            placed: !node_name(pod).is_empty(),
            phase,
            ready: is_ready(pod),
            cost: annotation(&pod.metadata, DELETION_COST)
                .and_then(|cost| cost.parse().ok())
                .unwrap_or_default(),
            neighbours: Reverse(neighbours),
            ready_for: is_ready(pod).then(|| Age::since(ready_since(pod), now)),
            restarts: Reverse(restarts(pod)),
            age: Age::since(
                pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
                now,
            ),
        }
    }
}

/// The highest restart count of the containers, and that of the init containers.
fn restarts(pod: &Pod) -> (i32, i32) {
    fn most(statuses: Option<&Vec<ContainerStatus>>) -> i32 {
        statuses
            .into_iter()
            .flatten()
            .map(|status| status.restart_count)
            .max()
            .unwrap_or_default()
    }
    let status = pod.status.as_ref();
    (
        most(status.and_then(|status| status.container_statuses.as_ref())),
        most(status.and_then(|status| status.init_container_statuses.as_ref())),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::tests::pod;

    fn web(name: &str, change: impl FnOnce(&mut Value)) -> Arc<Pod> {
        let mut tree = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {}},
            "spec": {"nodeName": "a"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                       "containerStatuses": [{"name": "c", "restartCount": 0}]},
        });
        change(&mut tree);
        Arc::new(pod(tree))
    }

    fn first(one: Arc<Pod>, other: Arc<Pod>, related: &[Arc<Pod>]) -> String {
        let now = "2026-01-02T00:00:00Z".parse().expect("a time");
        victims(&[one, other], related, 1, now)[0]
            .metadata
            .name
            .clone()
            .expect("a name")
    }

    #[test]
    fn pods_are_deleted_in_the_order_of_their_rank() {
        type Change = (&'static str, fn(&mut Value));
        let changes: [Change; 8] = [
            ("not placed", |pod| pod["spec"]["nodeName"] = json!(null)),
            ("pending", |pod| pod["status"]["phase"] = json!("Pending")),
            ("unknown", |pod| pod["status"]["phase"] = json!("Unknown")),
            ("not ready", |pod| {
                pod["status"]["conditions"][0]["status"] = json!("False")
            }),
            ("cheap", |pod| {
                pod["metadata"]["annotations"] = json!({DELETION_COST: "-5"})
            }),
            ("ready for less time", |pod| {
                pod["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T23:00:00Z")
            }),
            ("restarted", |pod| {
                pod["status"]["containerStatuses"][0]["restartCount"] = json!(3)
            }),
            ("younger", |pod| {
                pod["metadata"]["creationTimestamp"] = json!("2026-01-01T23:00:00Z")
            }),
        ];
        for (what, change) in changes {
            // The names are chosen so that the uid would decide otherwise.
            assert_eq!(
                first(web("plain", |_| {}), web("victim", change), &[]),
                "victim",
                "{what}"
            );
        }
    }

    #[test]
    fn a_ready_pod_of_low_deletion_cost_outlives_an_unready_one_of_high_cost() {
        let cheap = web("cheap", |pod| {
            pod["metadata"]["annotations"] = json!({DELETION_COST: "-5"})
        });
        let unready = web("unready", |pod| {
            pod["status"]["conditions"][0]["status"] = json!("False");
            pod["metadata"]["annotations"] = json!({DELETION_COST: "100"});
        });
        assert_eq!(first(cheap, unready, &[]), "unready");
    }

    #[test]
    fn a_pod_with_more_related_pods_on_its_node_is_deleted_first() {
        let (lonely, crowded) = (
            web("a-lonely", |pod| pod["spec"]["nodeName"] = json!("b")),
            web("crowded", |_| {}),
        );
        let related = [
            Arc::clone(&lonely),
            Arc::clone(&crowded),
            web("other", |_| {}),
        ];
        assert_eq!(first(lonely, crowded, &related), "crowded");
    }
}
