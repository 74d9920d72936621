//! What controllers ask about a pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};

use crate::after_seconds;

/// Its phase; empty when nobody has said.
pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// All containers have ended and none will be started again.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Somebody has asked for its deletion.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// It counts as a replica: neither finished nor on its way out.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

/// The condition of this type.
pub fn condition<'a>(pod: &'a Pod, ty: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == ty)
}

/// It says that it can take requests.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Since when it is ready; none when it is not, or has not said.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready")
        .filter(|condition| condition.status == "True")?
        .last_transition_time
        .as_ref()
        .map(|time| time.0)
}

/// Whether a pod is available: ready for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It is.
    Now,
    /// It will be at this time if it stays ready.
    At(Timestamp),
    /// It is not.
    No,
}

/// Judges availability with the controller's `minReadySeconds`. A pod that does not say since when
/// it is ready is available only when no time is asked for.
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

/// The node it is bound to; empty when it is not.
pub fn node_name(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

/// Name of a pod.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Namespace of a pod.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod from JSON.
    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(json).expect("a pod")
    }

    fn ready(since: Option<&str>) -> Pod {
        pod(
            serde_json::json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}}),
        )
    }

    #[test]
    fn availability_waits_for_min_ready_seconds_and_never_comes_without_a_time() {
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
}
