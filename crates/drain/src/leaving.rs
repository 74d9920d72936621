//! Why a pod whose eviction was accepted is not gone yet. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Serialize;

use crate::health;

/// What a pod gets that asks for nothing.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// What a leaving pod waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
pub enum Cause {
    /// Its grace period runs.
    Grace {
        /// Seconds that have passed.
        passed: i64,
        /// Seconds that it has.
        of: i64,
    },
    /// Its containers may have stopped, but somebody holds the object.
    Finalizers {
        /// Who.
        names: Vec<String>,
    },
    /// The node does not report, so nobody can say that the containers have stopped.
    NodeUnreachable,
    /// The node object is gone; the pod garbage collector removes the pod.
    NodeGone,
    /// The grace is over, and the node has not reported the end: a process that does not die, or a
    /// volume that is busy.
    Overdue {
        /// By so many seconds.
        seconds: i64,
    },
}

impl Cause {
    /// In words.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Grace { passed, of } => format!("terminating {passed}/{of} s"),
            Self::Finalizers { names } => format!("held by finalizer {}", names.join(", ")),
            Self::NodeUnreachable => {
                "the node is unreachable, so nobody can tell that it has stopped".to_owned()
            }
            Self::NodeGone => "its node was deleted".to_owned(),
            Self::Overdue { seconds } => format!("{seconds} s past its grace period"),
        }
    }
}

/// What the pod waits for. `node` is what is known of its node: none when nothing is, and an inner
/// none when the node is gone.
#[must_use]
pub fn cause(pod: &Pod, node: Option<Option<&Node>>, now: Timestamp) -> Cause {
    let of = pod
        .metadata
        .deletion_grace_period_seconds
        .or_else(|| pod.spec.as_ref()?.termination_grace_period_seconds);
    let of = of.unwrap_or(DEFAULT_GRACE_SECONDS);
    // Accepted a moment ago, and not seen since.
    let due = pod
        .metadata
        .deletion_timestamp
        .as_ref()
        .map_or(rules::after_seconds(now, of), |time| time.0);
    let past = now.duration_since(due).as_secs();
    match node {
        Some(None) => return Cause::NodeGone,
        Some(Some(node)) if !health::node_is_ready(node) => return Cause::NodeUnreachable,
        _ => {}
    }
    if now < due {
        return Cause::Grace {
            passed: (of + past).max(0),
            of,
        };
    }
    match pod.metadata.finalizers.as_deref() {
        Some(names) if !names.is_empty() => Cause::Finalizers {
            names: names.to_vec(),
        },
        _ => Cause::Overdue { seconds: past },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_cause_follows_from_pod_node_and_time() {
        let pod = |finalizers: &[&str]| -> Pod {
            let metadata = json!({"deletionTimestamp": "2026-01-01T00:01:00Z",
                "deletionGracePeriodSeconds": 30, "finalizers": finalizers});
            serde_json::from_value(json!({"metadata": metadata})).expect("a pod")
        };
        let node = |ready: &str| -> Node {
            serde_json::from_value(json!({"metadata": {},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
            .expect("a node")
        };
        let at =
            |text: &str| -> Timestamp { format!("2026-01-01T{text}Z").parse().expect("a time") };
        let (well, lost) = (node("True"), node("Unknown"));
        for (pod, node, now, expected) in [
            (
                pod(&[]),
                Some(Some(&well)),
                at("00:00:42"),
                "terminating 12/30 s",
            ),
            (
                pod(&["a/b"]),
                Some(Some(&well)),
                at("00:00:42"),
                "terminating 12/30 s",
            ),
            (
                pod(&["a/b"]),
                Some(Some(&well)),
                at("00:01:00"),
                "held by finalizer a/b",
            ),
            (pod(&[]), None, at("00:01:40"), "40 s past its grace period"),
            (
                pod(&[]),
                Some(Some(&lost)),
                at("00:00:42"),
                "the node is unreachable, so nobody can tell that it has stopped",
            ),
            (pod(&[]), Some(None), at("00:00:42"), "its node was deleted"),
        ] {
            assert_eq!(cause(&pod, node, now).told(), expected);
        }
    }
}
