//! The writes of a granted eviction that are not those of any deletion: the budget pays, and the
//! pod says why it goes.

use std::sync::Arc;

use jiff::Timestamp;
use kinds::Tree;
use kinds::facts::Resource;
use kinds::tree::{List, json};
use store::{Record, Txn};

use crate::target::Target;
use crate::{object, record, tree};

/// Takes one disruption from the budget and notes the pod until the controller has seen it go.
pub(super) fn charge(txn: &mut Txn, budgets: &'static Resource, budget: &Record, pod: &str, now: Timestamp) {
    let mut next = record::tree(&budget.value);
    charged(&mut next, pod, now);
    record::put(txn, budgets, &budget.key, next);
}

/// What [`Decision::Charge`](super::Decision::Charge) does to the tree of the budget. Pure.
pub fn charged(budget: &mut Tree, pod: &str, now: Timestamp) {
    let left = tree::int(budget, &["status", "disruptionsAllowed"]).unwrap_or(0) - 1;
    tree::put(budget, &["status", "disruptionsAllowed"], left);
    tree::put(budget, &["status", "disruptedPods", pod], object::wire_time(now));
    if left == 0 {
        close(budget, now);
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

/// Marks the pod as the target of a disruption, and gives back the pod as it is then. Nothing is
/// written when it is marked already.
pub(super) fn mark_disrupted(txn: &mut Txn, target: &Target, pod: &Arc<Record>) -> (Arc<Record>, Tree) {
    let mut next = record::tree(&pod.value);
    let mut condition = json!({
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        "lastTransitionTime": object::wire_time(target.now),
    });
    let observed = object::condition(&next, "DisruptionTarget").and_then(|old| tree::int(old, &["observedGeneration"]));
    if let Some(observed) = observed {
        tree::put(&mut condition, &["observedGeneration"], observed);
    }
    let record = if set_condition(&mut next, condition) { record::put_tree(txn, target.stored, &pod.key, &mut next) } else { pod.clone() };
    (record, next)
}

/// Sets the condition of this type; its time stays when the status does. False when it was so already.
fn set_condition(object: &mut Tree, mut condition: Tree) -> bool {
    let kind = tree::text(&condition, &["type"]).to_owned();
    let status = tree::ensure(object, &["status"]);
    let conditions = status.entry("conditions").or_insert(Tree::Null);
    if !conditions.is_array() {
        *conditions = Tree::Array(List::default());
    }
    let Some(list) = conditions.as_array_mut() else { return false };
    match list.iter_mut().find(|found| tree::text(found, &["type"]) == kind) {
        Some(found) => {
            if tree::text(found, &["status"]) == tree::text(&condition, &["status"]) {
                tree::carry(found, &mut condition, &["lastTransitionTime"]);
            }
            tree::carry(found, &mut condition, &["lastProbeTime"]);
            let changed = *found != condition;
            *found = condition;
            changed
        }
        None => {
            list.push(condition);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_when_its_status_stays() {
        let mut pod = json!({"status": {"conditions": [
            {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": "then"}]}});
        set_condition(&mut pod, json!({"type": "DisruptionTarget", "status": "True", "lastTransitionTime": "now", "reason": "r"}));
        assert_eq!(tree::text(object::condition(&pod, "DisruptionTarget").expect("there"), &["lastTransitionTime"]), "then");
        set_condition(&mut pod, json!({"type": "DisruptionTarget", "status": "False", "lastTransitionTime": "now"}));
        assert_eq!(tree::text(object::condition(&pod, "DisruptionTarget").expect("there"), &["lastTransitionTime"]), "now");
    }
}
