//! The writes that only a granted eviction makes: the charge to the budget, and the condition
//! `DisruptionTarget` of the pod.

use jiff::{SignedDuration, Timestamp};
use kinds::Tree;
use kinds::tree::{List, json};
use store::{Record, Txn};

use crate::resource::ResourceRef;
use crate::target::Target;
use crate::{object, record, tree};

/// Takes one disruption from the budget, and adds the pod to its `disruptedPods`, from which the
/// disruption controller removes it after it has observed the deletion.
pub(super) fn charge(txn: &mut Txn, target: &Target, budgets: &ResourceRef, budget: &Record) {
    let before = record::tree_of(&target.trees, budgets, budget);
    let mut next = before.clone();
    charged(&mut next, &target.name, target.now);
    record::replace(
        txn,
        &target.trees,
        budgets,
        &budget.key,
        next,
        Some(record::written(&before, budget)),
    );
}

/// Applies [`Decision::Charge`](super::Decision::Charge) to a budget. Pure.
pub fn charged(budget: &mut Tree, pod: &str, now: Timestamp) {
    let left = tree::int(budget, &["status", "disruptionsAllowed"]).unwrap_or(0) - 1;
    tree::put(budget, &["status", "disruptionsAllowed"], left);
    let time = disruption_time(budget, pod, now);
    tree::put(budget, &["status", "disruptedPods", pod], time);
    if left == 0 {
        close(budget, now);
    }
}

/// Returns the time of the pod's entry in `disruptedPods`. Controllers identify an entry by name
/// and time, so that a successor of the same name that is evicted within the same second gets the
/// next second.
fn disruption_time(budget: &Tree, pod: &str, now: Timestamp) -> String {
    let text = object::wire_time(now);
    let before = tree::at(budget, &["status", "disruptedPods", pod]).as_str();
    if before == Some(text.as_str()) {
        object::wire_time(
            now.saturating_add(SignedDuration::from_secs(1))
                .unwrap_or(now),
        )
    } else {
        text
    }
}

/// Sets the condition `DisruptionAllowed` of a budget that allows no further disruption.
fn close(budget: &mut Tree, now: Timestamp) {
    let observed = tree::int(budget, &["status", "observedGeneration"]).unwrap_or(0);
    let mut closed = json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "lastTransitionTime": object::wire_time(now),
    });
    if observed > 0 {
        tree::put(&mut closed, &["observedGeneration"], observed);
    }
    set_condition(budget, closed);
}

/// Returns the pod with the condition `DisruptionTarget`; `None` when it has that already. Pure.
pub(super) fn with_disruption_target(pod: &Tree, now: Timestamp) -> Option<Tree> {
    let mut condition = json!({
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        "lastTransitionTime": object::wire_time(now),
    });
    let observed = object::condition(pod, "DisruptionTarget")
        .and_then(|old| tree::int(old, &["observedGeneration"]));
    if let Some(observed) = observed {
        tree::put(&mut condition, &["observedGeneration"], observed);
    }
    let mut next = pod.clone();
    set_condition(&mut next, condition).then_some(next)
}

/// Sets the condition in the object's status. Returns whether it changed.
fn set_condition(object: &mut Tree, condition: Tree) -> bool {
    let status = tree::ensure(object, &["status"]);
    let conditions = status.entry("conditions").or_insert(Tree::Null);
    if !conditions.is_array() {
        *conditions = Tree::Array(List::default());
    }
    conditions
        .as_array_mut()
        .is_some_and(|conditions| rules::conditions::set(conditions, condition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_that_is_evicted_in_the_same_second_gets_a_later_entry() {
        let now = Timestamp::from_millisecond(1_500).expect("a time");
        let mut budget = json!({"status": {"disruptionsAllowed": 2,
            "disruptedPods": {"db-0": "2026-01-01T00:00:00Z"}}});
        let mut notes = Vec::new();
        for _ in 0..2 {
            charged(&mut budget, "db-0", now);
            notes.push(tree::text(&budget, &["status", "disruptedPods", "db-0"]).to_owned());
        }
        assert_eq!(notes, ["1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z"]);
        assert_eq!(
            tree::int(&budget, &["status", "disruptionsAllowed"]),
            Some(0)
        );
    }

    #[test]
    fn a_budget_that_is_spent_says_so_for_the_generation_that_was_counted() {
        let now = Timestamp::from_second(1).expect("a time");
        let closed = |observed: Option<i64>| {
            let mut budget = json!({"status": {"disruptionsAllowed": 1}});
            if let Some(observed) = observed {
                tree::put(&mut budget, &["status", "observedGeneration"], observed);
            }
            charged(&mut budget, "web-1", now);
            tree::list(&budget, &["status", "conditions"])[0].clone()
        };
        let condition = json!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods",
            "message": "", "lastTransitionTime": "1970-01-01T00:00:01Z",
        });
        assert_eq!(closed(None), condition);
        assert_eq!(closed(Some(0)), condition);
        let mut observed = condition;
        tree::put(&mut observed, &["observedGeneration"], 3);
        assert_eq!(closed(Some(3)), observed);
    }

    #[test]
    fn a_pod_that_is_marked_already_is_not_written_again() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let marked = with_disruption_target(&json!({"metadata": {"name": "p"}}), at(1));
        let marked = marked.expect("a new condition");
        assert_eq!(tree::list(&marked, &["status", "conditions"]).len(), 1);
        assert_eq!(with_disruption_target(&marked, at(2)), None);
    }

    #[test]
    fn conditions_that_are_no_list_are_replaced() {
        let now = Timestamp::from_second(1).expect("a time");
        let other = json!({"type": "Ready", "status": "True"});
        let types = |conditions: Tree| {
            let pod = json!({"status": {"conditions": conditions}});
            let marked = with_disruption_target(&pod, now).expect("a new condition");
            let types = tree::list(&marked, &["status", "conditions"]).iter();
            types
                .map(|condition| tree::text(condition, &["type"]).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(types(Tree::Null), ["DisruptionTarget"]);
        assert_eq!(types(json!([other])), ["Ready", "DisruptionTarget"]);
    }
}
