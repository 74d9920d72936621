//! Why a pod that is being deleted still exists. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Serialize;

use crate::pods::{self, DEFAULT_GRACE_SECONDS};

/// What a terminating pod waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
pub enum WaitCause {
    /// Its grace period has not expired. Ends by itself.
    Grace {
        /// Seconds that have passed.
        passed: i64,
        /// The grace period in seconds.
        of: i64,
    },
    /// The grace period has expired, and finalizers keep the object. Their owners remove them.
    Finalizers {
        /// The finalizers.
        names: Vec<String>,
    },
    /// The node does not report, so whether the containers have stopped is unknown.
    NodeUnreachable,
    /// The node object was deleted. The pod garbage collector deletes the pod.
    NodeGone,
    /// The grace period has expired, and the node has not reported the end of the containers: a
    /// process that does not exit, or a volume that does not unmount.
    Overdue {
        /// Seconds since the grace period expired.
        seconds: i64,
    },
}

impl WaitCause {
    /// Describes the cause for people, as the end of "pod NAME: …".
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Grace { passed, of } => format!("terminating {passed}/{of} s"),
            Self::Finalizers { names } => format!("held by finalizer {}", names.join(", ")),
            Self::NodeUnreachable => {
                "its node is unreachable and cannot confirm the termination".to_owned()
            }
            Self::NodeGone => "its node was deleted".to_owned(),
            Self::Overdue { seconds } => format!("{seconds} s past its grace period"),
        }
    }
}

/// Returns what the pod waits for. `node` is `None` when its node has not been observed, and
/// `Some(None)` when the node was deleted.
#[must_use]
pub fn wait_cause(pod: &Pod, node: Option<Option<&Node>>, now: Timestamp) -> WaitCause {
    let of = pod
        .metadata
        .deletion_grace_period_seconds
        .or_else(|| pod.spec.as_ref()?.termination_grace_period_seconds);
    let of = of.unwrap_or(DEFAULT_GRACE_SECONDS);
    // Without a deletionTimestamp the eviction was accepted a moment ago, and the watch lags.
    let due = pod
        .metadata
        .deletion_timestamp
        .as_ref()
        .map_or(rules::after_seconds(now, of), |time| time.0);
    let past = now.duration_since(due).as_secs();
    match node {
        Some(None) => return WaitCause::NodeGone,
        Some(Some(node)) if !pods::node_is_ready(node) => return WaitCause::NodeUnreachable,
        _ => {}
    }
    if now < due {
        return WaitCause::Grace {
            passed: (of + past).max(0),
            of,
        };
    }
    match pod.metadata.finalizers.as_deref() {
        Some(names) if !names.is_empty() => WaitCause::Finalizers {
            names: names.to_vec(),
        },
        _ => WaitCause::Overdue { seconds: past },
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
                "its node is unreachable and cannot confirm the termination",
            ),
            (pod(&[]), Some(None), at("00:00:42"), "its node was deleted"),
        ] {
            assert_eq!(wait_cause(&pod, node, now).describe(), expected);
        }
    }
}
