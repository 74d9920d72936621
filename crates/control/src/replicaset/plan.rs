//! How many pods to make or delete, and what the status says. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{Failure, Replicated};
use crate::podcontrol::BURST;
use crate::pods::{Availability, availability, is_ready};

/// The condition that tells why there are too few or too many pods.
pub(super) const FAILURE: &str = "ReplicaFailure";

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Create(usize),
    Delete(usize),
}

/// Compares the wish with the pods that count.
pub(super) fn step(replicas: i32, active: usize) -> Step {
    let wanted = usize::try_from(replicas).unwrap_or_default();
    match wanted.cmp(&active) {
        std::cmp::Ordering::Equal => Step::Nothing,
        std::cmp::Ordering::Greater => Step::Create((wanted - active).min(BURST)),
        std::cmp::Ordering::Less => Step::Delete((active - wanted).min(BURST)),
    }
}

/// What the status has to say.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(super) replicas: i32,
    pub(super) fully_labeled: i32,
    pub(super) ready: i32,
    pub(super) available: i32,
    pub(super) terminating: i32,
    pub(super) failure: Option<Told>,
    /// When the next pod becomes available by time alone.
    pub(super) available_at: Option<Timestamp>,
    pub(super) now: Timestamp,
}

/// Why the number of pods could not be corrected, in words.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Counts the pods.
pub(super) fn figures<K: Replicated>(
    set: &K,
    active: &[Arc<Pod>],
    terminating: i32,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Figures {
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
    let mut figures = Figures {
        replicas: i32::try_from(active.len()).unwrap_or(i32::MAX),
        fully_labeled: 0,
        ready: 0,
        available: 0,
        terminating: if K::TELLS_TERMINATING { terminating } else { 0 },
        failure: failure.map(|failure| Told {
            reason: failure.reason,
            message: failure.error.to_string(),
        }),
        available_at: None,
        now,
    };
    for pod in active {
        figures.fully_labeled += i32::from(fully_labeled(pod));
        figures.ready += i32::from(is_ready(pod));
        match availability(pod, set.min_ready_seconds(), now) {
            Availability::Now => figures.available += 1,
            Availability::At(at) => {
                figures.available_at =
                    Some(figures.available_at.map_or(at, |earliest| earliest.min(at)))
            }
            Availability::No => {}
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::ReplicationController;
    use serde_json::json;

    use super::*;
    use crate::error::Error;
    use crate::pods::tests::pod;

    #[test]
    fn the_number_of_pods_is_corrected_in_bursts() {
        let cases = [
            ((3, 3), Step::Nothing),
            ((3, 1), Step::Create(2)),
            ((0, 2), Step::Delete(2)),
            ((2000, 0), Step::Create(500)),
            ((0, 2000), Step::Delete(500)),
            ((-1, 1), Step::Delete(1)),
        ];
        for ((replicas, active), expected) in cases {
            assert_eq!(step(replicas, active), expected);
        }
    }

    fn set() -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "rs", "generation": 2},
            "spec": {"replicas": 2, "minReadySeconds": 10, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}}},
        }))
        .expect("a set")
    }

    #[test]
    fn the_status_tells_what_counts_and_when_it_will_change() {
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
        let figures = figures(&set(), &pods, 1, None, now);
        assert_eq!(
            figures.available_at,
            Some("2026-01-01T00:00:20Z".parse().expect("a time"))
        );
        let status = set()
            .with_status(&figures)
            .expect("changed")
            .status
            .expect("a status");
        assert_eq!(
            serde_json::to_value(status).expect("json"),
            json!({"replicas": 3, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 1, "terminatingReplicas": 1, "observedGeneration": 2})
        );
    }

    #[test]
    fn a_failure_is_told_while_it_lasts() {
        let now = Timestamp::UNIX_EPOCH;
        let failure = Failure {
            reason: "FailedCreate",
            error: Error::Plan("forbidden".to_owned()),
        };
        let failed = set()
            .with_status(&figures(&set(), &[], 0, Some(&failure), now))
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
            .with_status(&figures(&failed, &[], 0, None, now))
            .expect("changed");
        assert_eq!(mended.status.expect("a status").conditions, None);
    }

    #[test]
    fn a_replication_controller_does_not_tell_of_terminating_pods() {
        let rc: ReplicationController = serde_json::from_value(
            json!({"metadata": {"name": "rc", "generation": 1}, "spec": {}}),
        )
        .expect("a controller");
        let status = rc
            .with_status(&figures(&rc, &[], 3, None, Timestamp::UNIX_EPOCH))
            .expect("changed")
            .status;
        assert_eq!(
            serde_json::to_value(status).expect("json"),
            json!({"replicas": 0, "observedGeneration": 1})
        );
    }
}
