//! The state of a pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};

use crate::after_seconds;

/// Returns the phase; empty if the status has none.
pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Returns whether all containers have ended and will not be restarted.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Returns whether the deletion of the pod was requested.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Returns whether the pod counts as a replica: neither finished nor terminating.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

/// Returns the condition of this type.
pub fn condition<'a>(pod: &'a Pod, ty: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == ty)
}

/// Returns whether the pod is ready to serve requests.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Returns the time since which the pod is ready; `None` if it is not ready or the condition has no
/// time.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready")
        .filter(|condition| condition.status == "True")?
        .last_transition_time
        .as_ref()
        .map(|time| time.0)
}

/// Whether a pod is available: ready for `minReadySeconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// The pod is available.
    Now,
    /// The pod becomes available at this time if it stays ready.
    At(Timestamp),
    /// The pod is not ready, or its condition has no time to count from.
    No,
}

/// Determines availability with the controller's `minReadySeconds`. A pod whose condition has no
/// time is available only if `min_ready_seconds` is 0.
pub fn availability(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Availability {
    if !is_ready(pod) {
        return Availability::No;
    }
    if min_ready_seconds <= 0 {
        return Availability::Now;
    }
    match ready_since(pod).map(|since| after_seconds(since, i64::from(min_ready_seconds))) {
        Some(at) if at <= now => Availability::Now,
        Some(at) => Availability::At(at),
        None => Availability::No,
    }
}

/// Returns the name of the pod's node; empty if it is not bound.
pub fn node_name(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

/// Returns the name of a pod.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Returns the namespace of a pod.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(json).expect("a pod")
    }

    fn ready(since: Option<&str>) -> Pod {
        pod(
            serde_json::json!({"status": {"phase": "Running", "conditions": [{"type": "Ready",
                "status": "True", "lastTransitionTime": since}]}}),
        )
    }

    #[test]
    fn availability_takes_min_ready_seconds_and_needs_a_transition_time() {
        let now: Timestamp = "2026-01-01T00:00:30Z".parse().expect("a time");
        let cases = [
            (ready(Some("2026-01-01T00:00:00Z")), 0, Availability::Now),
            (ready(Some("2026-01-01T00:00:00Z")), 30, Availability::Now),
            (
                ready(Some("2026-01-01T00:00:00Z")),
                40,
                Availability::At("2026-01-01T00:00:40Z".parse().expect("a time")),
            ),
            (ready(None), 0, Availability::Now),
            (ready(None), 1, Availability::No),
            (pod(serde_json::json!({})), 0, Availability::No),
        ];
        for (pod, seconds, expected) in cases {
            assert_eq!(availability(&pod, seconds, now), expected, "{seconds}");
        }
    }

    #[test]
    fn the_state_of_a_pod_follows_from_phase_and_deletion() {
        let state = |json: serde_json::Value| {
            let pod = pod(json);
            (is_finished(&pod), is_terminating(&pod), is_active(&pod))
        };
        let deleted = serde_json::json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        for phase in ["Succeeded", "Failed"] {
            let finished = serde_json::json!({"status": {"phase": phase}});
            assert_eq!(state(finished), (true, false, false), "{phase}");
        }
        let running = serde_json::json!({"status": {"phase": "Running"}});
        assert_eq!(state(running), (false, false, true));
        assert_eq!(state(serde_json::json!({})), (false, false, true));
        assert_eq!(
            state(serde_json::json!({"metadata": deleted})),
            (false, true, false)
        );
    }

    #[test]
    fn only_a_true_condition_makes_a_pod_ready() {
        let mut unready = ready(Some("2026-01-01T00:00:00Z"));
        assert!(is_ready(&unready) && ready_since(&unready).is_some());
        unready
            .status
            .as_mut()
            .expect("a status")
            .conditions
            .as_mut()
            .expect("conditions")[0]
            .status = "False".to_owned();
        assert!(!is_ready(&unready) && ready_since(&unready).is_none());
        assert!(condition(&unready, "Initialized").is_none());
    }

    #[test]
    fn names_are_empty_when_they_are_not_set() {
        let named = pod(serde_json::json!({
            "metadata": {"name": "n", "namespace": "s"}, "spec": {"containers": [],
                "nodeName": "x"},
            "status": {"phase": "Pending"},
        }));
        assert_eq!(
            [
                name(&named),
                namespace(&named),
                node_name(&named),
                phase(&named)
            ],
            ["n", "s", "x", "Pending"]
        );
        let empty = Pod::default();
        assert_eq!(
            [
                name(&empty),
                namespace(&empty),
                node_name(&empty),
                phase(&empty)
            ],
            [""; 4]
        );
    }
}
