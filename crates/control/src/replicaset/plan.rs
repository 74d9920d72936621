//! Decides how many pods to create or delete, and computes the counts of the status. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{ReplicaController, ReplicaError};
use crate::podcontrol::BURST;
use crate::pods::{Availability, availability, is_ready};

/// The condition that reports why the number of pods could not be corrected.
pub(super) const FAILURE: &str = "ReplicaFailure";

/// What to do about the number of pods.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReplicaAction {
    Nothing,
    Create(usize),
    Delete(usize),
}

/// Compares the wanted number of pods with the number of active ones.
pub(super) fn step(replicas: i32, active: usize) -> ReplicaAction {
    let wanted = usize::try_from(replicas).unwrap_or_default();
    match wanted.cmp(&active) {
        std::cmp::Ordering::Equal => ReplicaAction::Nothing,
        std::cmp::Ordering::Greater => ReplicaAction::Create((wanted - active).min(BURST)),
        std::cmp::Ordering::Less => ReplicaAction::Delete((active - wanted).min(BURST)),
    }
}

/// The counts that a status is made from.
#[derive(Debug)]
pub(crate) struct ReplicaCounts {
    pub(super) replicas: i32,
    pub(super) fully_labeled: i32,
    pub(super) ready: i32,
    pub(super) available: i32,
    pub(super) terminating: i32,
    pub(super) failure: Option<ReplicaFailure>,
    /// When the next pod becomes available by time alone.
    pub(super) available_at: Option<Timestamp>,
    pub(super) now: Timestamp,
}

/// The reason and message of the failure condition.
#[derive(Debug)]
pub(super) struct ReplicaFailure {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Counts the pods.
pub(super) fn counts<K: ReplicaController>(
    set: &K,
    active: &[Arc<Pod>],
    terminating: i32,
    failure: Option<&ReplicaError>,
    now: Timestamp,
) -> ReplicaCounts {
    let wanted = set
        .template()
        .and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let fully_labeled = |pod: &Pod| {
        wanted.into_iter().flatten().all(|(key, value)| {
            pod.metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(key))
                == Some(value)
        })
    };
    let mut counts = ReplicaCounts {
        replicas: i32::try_from(active.len()).unwrap_or(i32::MAX),
        fully_labeled: 0,
        ready: 0,
        available: 0,
        terminating: if K::REPORTS_TERMINATING {
            terminating
        } else {
            0
        },
        failure: failure.map(|failure| ReplicaFailure {
            reason: failure.reason,
            message: failure.error.to_string(),
        }),
        available_at: None,
        now,
    };
    for pod in active {
        counts.fully_labeled += i32::from(fully_labeled(pod));
        counts.ready += i32::from(is_ready(pod));
        match availability(pod, set.min_ready_seconds(), now) {
            Availability::Now => counts.available += 1,
            Availability::At(at) => {
                counts.available_at =
                    Some(counts.available_at.map_or(at, |earliest| earliest.min(at)))
            }
            Availability::No => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::ReplicationController;
    use serde_json::json;

    use super::*;
    use crate::error::ReconcileError;
    use crate::pods::tests::pod;

    #[test]
    fn the_number_of_pods_is_corrected_in_bursts() {
        let cases = [
            ((3, 3), ReplicaAction::Nothing),
            ((3, 1), ReplicaAction::Create(2)),
            ((0, 2), ReplicaAction::Delete(2)),
            ((2000, 0), ReplicaAction::Create(500)),
            ((0, 2000), ReplicaAction::Delete(500)),
            ((-1, 1), ReplicaAction::Delete(1)),
        ];
        for ((replicas, active), expected) in cases {
            assert_eq!(step(replicas, active), expected);
        }
    }

    fn set() -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "rs", "generation": 2},
            "spec": {"replicas": 2, "minReadySeconds": 10,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}}},
        }))
        .expect("a set")
    }

    #[test]
    fn the_status_reports_the_counts_and_when_they_change() {
        let now: Timestamp = "2026-01-01T00:00:15Z".parse().expect("a time");
        let ready = |since: &str| {
            Arc::new(pod(
                json!({"metadata": {"labels": {"app": "web"}}, "status": {"conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": since}]}}),
            ))
        };
        let pods = [
            ready("2026-01-01T00:00:00Z"),
            ready("2026-01-01T00:00:10Z"),
            Arc::new(pod(json!({}))),
        ];
        let counts = counts(&set(), &pods, 1, None, now);
        assert_eq!(
            counts.available_at,
            Some("2026-01-01T00:00:20Z".parse().expect("a time"))
        );
        let status = set()
            .with_status(&counts)
            .expect("changed")
            .status
            .expect("a status");
        assert_eq!(
            serde_json::to_value(status).expect("json"),
            json!({"replicas": 3, "fullyLabeledReplicas": 2, "readyReplicas": 2,
                "availableReplicas": 1, "terminatingReplicas": 1, "observedGeneration": 2})
        );
    }

    #[test]
    fn the_failure_condition_stays_while_the_failure_lasts() {
        let now = Timestamp::UNIX_EPOCH;
        let failure = ReplicaError {
            reason: "FailedCreate",
            error: ReconcileError::Plan("forbidden".to_owned()),
        };
        let failed = set()
            .with_status(&counts(&set(), &[], 0, Some(&failure), now))
            .expect("changed");
        let condition = &failed
            .status
            .as_ref()
            .expect("a status")
            .conditions
            .as_ref()
            .expect("conditions")[0];
        assert_eq!(
            (condition.reason.as_deref(), condition.message.as_deref()),
            (Some("FailedCreate"), Some("forbidden"))
        );
        let mended = failed
            .with_status(&counts(&failed, &[], 0, None, now))
            .expect("changed");
        assert_eq!(mended.status.expect("a status").conditions, None);
    }

    #[test]
    fn a_replication_controller_does_not_report_terminating_pods() {
        let rc: ReplicationController = serde_json::from_value(
            json!({"metadata": {"name": "rc", "generation": 1}, "spec": {}}),
        )
        .expect("a controller");
        let status = rc
            .with_status(&counts(&rc, &[], 3, None, Timestamp::UNIX_EPOCH))
            .expect("changed")
            .status;
        assert_eq!(
            serde_json::to_value(status).expect("json"),
            json!({"replicas": 0, "observedGeneration": 1})
        );
    }
}
