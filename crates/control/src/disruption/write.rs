//! How a new status is written: so that no eviction that is granted meanwhile is overlooked. Pure.
//!
//! What may be disrupted depends on everything that was granted, so it is only written over the
//! very status that was read; when an eviction was faster, the write fails and the budget is
//! counted again. But most often, while evictions are granted one after the other, a count changes
//! no more than what has become of the pods that were charged: then the rest of the status is
//! changed and the allowance left to itself. Such a change fails when notes or figures are not
//! those that were read, because another count has been written meanwhile, to which the allowance
//! then belongs. Evictions only add notes, so that they cannot keep it from being made.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use serde_json::{Value, json};

/// Longer patches cost more than the whole status, and servers refuse those of more than 10,000
/// steps.
const LONGEST: usize = 1000;

/// The change as a JSON patch; none when the whole status has to be written.
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
    let kept = |pod: &String| new.disrupted_pods.as_ref().and_then(|notes| notes.get(pod));
    for (pod, at) in old.disrupted_pods.iter().flatten() {
        // Names of pods have no letters that a pointer would have to escape.
        let path = format!("/status/disruptedPods/{pod}");
        steps.push(json!({"op": "test", "path": path, "value": at}));
        if kept(pod) != Some(at) {
            steps.push(json!({"op": "remove", "path": path}));
        }
    }
    for (member, figure) in figures(old) {
        steps.push(json!({"op": "test", "path": format!("/status/{member}"), "value": figure?}));
    }
    for ((member, before), (_, figure)) in figures(old).into_iter().zip(figures(new)) {
        if before != figure {
            steps.push(json!({"op": "add", "path": format!("/status/{member}"), "value": figure}));
        }
    }
    (steps.len() <= LONGEST).then_some(Value::Array(steps))
}

/// What a count says beside the allowance, and no eviction changes.
fn figures(status: &PodDisruptionBudgetStatus) -> [(&'static str, Option<i32>); 3] {
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

    fn status(healthy: i32, allowed: i32, notes: Value) -> Value {
        json!({"currentHealthy": healthy, "desiredHealthy": 1, "expectedPods": 5, "disruptionsAllowed": allowed,
            "observedGeneration": 1, "disruptedPods": notes})
    }

    fn patched(old: Value, new: Value) -> Option<Value> {
        patch(&budget(old), budget(new).status.as_ref().expect("a status"))
    }

    #[test]
    fn what_became_of_charged_pods_is_told_without_touching_the_allowance() {
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
    fn a_count_is_added_to_evictions_and_not_to_another_count() {
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
    fn a_change_of_too_many_notes_is_written_as_a_whole() {
        let notes = |count: usize| {
            (0..count)
                .map(|pod| (format!("p{pod}"), json!(AT)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        assert!(patched(status(5, 2, notes(100)), status(4, 2, json!({}))).is_some());
        assert_eq!(
            patched(status(5, 2, notes(LONGEST)), status(4, 2, json!({}))),
            None
        );
    }

    #[test]
    fn another_allowance_and_another_spec_need_the_status_that_was_read() {
        let old = status(5, 2, json!({}));
        assert_eq!(patched(old.clone(), status(5, 3, json!({}))), None);
        let mut observed = old.clone();
        observed["observedGeneration"] = 2.into();
        assert_eq!(patched(old.clone(), observed), None);
        let mut told = old.clone();
        told["conditions"] = json!([{"type": "DisruptionAllowed", "status": "True", "reason": "r", "message": "", "lastTransitionTime": AT}]);
        assert_eq!(patched(old, told), None);
        let new = budget(status(5, 0, json!({}))).status.expect("a status");
        assert_eq!(
            patch(&PodDisruptionBudget::default(), &new),
            None,
            "a budget without a status"
        );
    }
}
