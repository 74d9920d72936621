//! How a new status is written without losing an eviction that is granted meanwhile. Pure.
//!
//! The allowance depends on all granted evictions, so it is only written over the very status that
//! was read. When another eviction was granted meanwhile, the write fails and the budget is counted
//! again. But while evictions are granted one after the other, most counts only reflect what became
//! of charged pods. Then the other counts and entries are patched and the allowance is left alone.
//! The patch fails when the entries or counts are not those that were read, because then another
//! count was written, and the allowance belongs to that one. Evictions only add entries, so they do
//! not make the patch fail.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use serde_json::{Value, json};

/// Longer patches cost more than the whole status. Servers refuse patches of more than 10,000
/// operations.
const LONGEST: usize = 1000;

/// Returns the change as a JSON patch; none when the whole status has to be written.
pub(crate) fn patch(
    budget: &PodDisruptionBudget,
    new: &PodDisruptionBudgetStatus,
) -> Option<Value> {
    let old = budget.status.as_ref()?;
    let same = old.disruptions_allowed == new.disruptions_allowed
        && old.observed_generation == new.observed_generation
        && old.conditions == new.conditions;
    if !same {
        return None;
    }
    let mut steps = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": budget.metadata.uid.as_ref()?}),
    ];
    let kept = |pod: &String| {
        new.disrupted_pods
            .as_ref()
            .and_then(|entries| entries.get(pod))
    };
    for (pod, at) in old.disrupted_pods.iter().flatten() {
        // Names of pods contain no characters that a JSON pointer would have to escape.
        let path = format!("/status/disruptedPods/{pod}");
        steps.push(json!({"op": "test", "path": path, "value": at}));
        if kept(pod) != Some(at) {
            steps.push(json!({"op": "remove", "path": path}));
        }
    }
    for (member, count) in counts(old) {
        steps.push(json!({"op": "test", "path": format!("/status/{member}"), "value": count?}));
    }
    for ((member, before), (_, count)) in counts(old).into_iter().zip(counts(new)) {
        if before != count {
            steps.push(json!({"op": "add", "path": format!("/status/{member}"), "value": count}));
        }
    }
    (steps.len() <= LONGEST).then_some(Value::Array(steps))
}

/// The counts that evictions do not change.
fn counts(status: &PodDisruptionBudgetStatus) -> [(&'static str, Option<i32>); 3] {
    [
        ("currentHealthy", status.current_healthy),
        ("desiredHealthy", status.desired_healthy),
        ("expectedPods", status.expected_pods),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-01-01T00:00:00Z";

    fn budget(status: Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "status": status}))
            .expect("a budget")
    }

    fn status(healthy: i32, allowed: i32, entries: Value) -> Value {
        json!({"currentHealthy": healthy, "desiredHealthy": 1, "expectedPods": 5,
            "disruptionsAllowed": allowed,
            "observedGeneration": 1, "disruptedPods": entries})
    }

    fn patched(old: Value, new: Value) -> Option<Value> {
        patch(&budget(old), budget(new).status.as_ref().expect("a status"))
    }

    #[test]
    fn counts_of_charged_pods_are_patched_without_the_allowance() {
        let steps = patched(
            status(5, 2, json!({"a": AT, "b": AT})),
            status(4, 2, json!({"b": AT})),
        );
        let expected = json!([
            {"op": "test", "path": "/metadata/uid", "value": "u"},
            {"op": "test", "path": "/status/disruptedPods/a", "value": AT},
            {"op": "remove", "path": "/status/disruptedPods/a"},
            {"op": "test", "path": "/status/disruptedPods/b", "value": AT},
            {"op": "test", "path": "/status/currentHealthy", "value": 5},
            {"op": "test", "path": "/status/desiredHealthy", "value": 1},
            {"op": "test", "path": "/status/expectedPods", "value": 5},
            {"op": "add", "path": "/status/currentHealthy", "value": 4},
        ]);
        assert_eq!(steps, Some(expected));
    }

    #[test]
    fn a_patch_applies_after_evictions_and_not_after_another_count() {
        let (read, counted) = (status(1, 0, json!({})), status(0, 0, json!({})));
        let steps = patched(read.clone(), counted).expect("a patch");
        let applied = |stored: Value| {
            let tree = json!({"metadata": {"uid": "u"}, "status": stored});
            kinds::patch::json(tree.into(), steps.clone().into()).is_ok()
        };
        assert!(applied(read), "nothing has happened");
        assert!(
            applied(status(1, 0, json!({"a": AT}))),
            "an eviction was granted"
        );
        assert!(
            !applied(status(4, 3, json!({}))),
            "the pods were counted in between, and three may go by that count"
        );
    }

    #[test]
    fn a_change_of_too_many_entries_replaces_the_whole_status() {
        let entries = |count: usize| {
            (0..count)
                .map(|pod| (format!("p{pod}"), json!(AT)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        assert!(patched(status(5, 2, entries(100)), status(4, 2, json!({}))).is_some());
        assert_eq!(
            patched(status(5, 2, entries(LONGEST)), status(4, 2, json!({}))),
            None
        );
    }

    #[test]
    fn a_changed_allowance_or_spec_requires_the_status_that_was_read() {
        let old = status(5, 2, json!({}));
        assert_eq!(patched(old.clone(), status(5, 3, json!({}))), None);
        let mut observed = old.clone();
        observed["observedGeneration"] = 2.into();
        assert_eq!(patched(old.clone(), observed), None);
        let mut reported = old.clone();
        reported["conditions"] = json!([{"type": "DisruptionAllowed", "status": "True",
            "reason": "r", "message": "", "lastTransitionTime": AT}]);
        assert_eq!(patched(old, reported), None);
        let new = budget(status(5, 0, json!({}))).status.expect("a status");
        assert_eq!(
            patch(&PodDisruptionBudget::default(), &new),
            None,
            "a budget without a status"
        );
    }
}
