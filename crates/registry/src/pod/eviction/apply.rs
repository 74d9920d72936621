//! The writes of a granted eviction that are not those of any deletion: the budget pays, and the
//! pod says why it goes.

use jiff::{SignedDuration, Timestamp};
use kinds::Tree;
use kinds::tree::{List, json};
use store::{Record, Txn};

use crate::resource::ResourceRef;
use crate::target::Target;
use crate::{object, record, tree};

/// Takes one disruption from the budget and notes the pod until the controller has seen it go.
pub(super) fn charge(txn: &mut Txn, target: &Target, budgets: &ResourceRef, budget: &Record) {
    let before = record::tree_of(&target.trees, budgets, budget);
    let mut next = before.clone();
    charged(&mut next, &target.name, target.now);
    record::put_over(
        txn,
        &target.trees,
        budgets,
        &budget.key,
        next,
        Some(record::written(&before, budget)),
    );
}

/// What [`Decision::Charge`](super::Decision::Charge) does to the tree of the budget. Pure.
pub fn charged(budget: &mut Tree, pod: &str, now: Timestamp) {
    let left = tree::int(budget, &["status", "disruptionsAllowed"]).unwrap_or(0) - 1;
    tree::put(budget, &["status", "disruptionsAllowed"], left);
    let note = note(budget, pod, now);
    tree::put(budget, &["status", "disruptedPods", pod], note);
    if left == 0 {
        close(budget, now);
    }
}

/// What the budget notes about the pod: the time. Who watches knows a note by its pod and its time,
/// so that a successor which is evicted within the same second gets the next one.
fn note(budget: &Tree, pod: &str, now: Timestamp) -> String {
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

/// The condition of a budget that has nothing left to give.
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

/// The pod marked as the target of a disruption; `None` when it is marked already. Pure.
pub(super) fn marked(pod: &Tree, now: Timestamp) -> Option<Tree> {
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
    fn a_successor_that_is_evicted_in_the_same_second_gets_a_note_of_its_own() {
        let now = Timestamp::from_millisecond(1_500).expect("a time");
        let mut budget = json!({"status": {"disruptionsAllowed": 2, "disruptedPods": {"db-0": "2026-01-01T00:00:00Z"}}});
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
}
