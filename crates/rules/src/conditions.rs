//! Setting a condition in the status of an object, typed or a tree.
//!
//! Upstream has one such function for each API (`meta.SetStatusCondition`,
//! `podutil.UpdatePodCondition`, `SetCRDCondition`, `SetDeploymentCondition`). All of them keep the
//! transition time while the status stays; they differ in where the new condition goes.

use k8s_openapi::api::apps::v1::DeploymentCondition;
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use kinds::Tree;

/// An item of `status.conditions`.
pub trait Condition: PartialEq {
    /// `type`, the key of the list, for example `Ready`.
    fn condition_type(&self) -> &str;
    /// `status`: `True`, `False` or `Unknown`.
    fn status(&self) -> &str;
    /// Takes over the transition time of the condition that this one replaces.
    fn keep_transition_time(&mut self, old: &Self);
    /// Takes over what outlives any update, also one of the status.
    fn keep_probe_time(&mut self, _old: &Self) {}
}

macro_rules! typed_condition {
    ($($condition:ty),+) => {$(
        impl Condition for $condition {
            fn condition_type(&self) -> &str {
                &self.type_
            }

            fn status(&self) -> &str {
                &self.status
            }

            fn keep_transition_time(&mut self, old: &Self) {
                self.last_transition_time.clone_from(&old.last_transition_time);
            }
        }
    )+};
}

typed_condition!(v1::Condition, DeploymentCondition, NamespaceCondition);

impl Condition for Tree {
    fn condition_type(&self) -> &str {
        self["type"].as_str().unwrap_or_default()
    }

    fn status(&self) -> &str {
        self["status"].as_str().unwrap_or_default()
    }

    fn keep_transition_time(&mut self, old: &Self) {
        keep_member(self, old, "lastTransitionTime");
    }

    // The prober owns this time: setting a condition is no probe.
    fn keep_probe_time(&mut self, old: &Self) {
        keep_member(self, old, "lastProbeTime");
    }
}

/// Gives `new` the member that `old` has, or none if `old` has none.
fn keep_member(new: &mut Tree, old: &Tree, name: &str) {
    let Some(members) = new.as_object_mut() else {
        return;
    };
    match old.get(name) {
        None => members.remove(name),
        Some(value) => members.insert(name, value.clone()),
    };
}

/// Returns the condition of this type.
#[must_use]
pub fn find<'a, C: Condition>(conditions: &'a [C], condition_type: &str) -> Option<&'a C> {
    conditions
        .iter()
        .find(|condition| condition.condition_type() == condition_type)
}

/// Sets a condition: replaces the one of the same type in its place, or appends it. The transition
/// time stays while the status does. Returns whether the list changed.
pub fn set<C: Condition>(conditions: &mut Vec<C>, mut condition: C) -> bool {
    let old = conditions
        .iter_mut()
        .find(|old| old.condition_type() == condition.condition_type());
    let Some(old) = old else {
        conditions.push(condition);
        return true;
    };
    // Before the comparison: a condition that differs only in its time is unchanged.
    keep_times(&mut condition, old);
    let changed = *old != condition;
    *old = condition;
    changed
}

/// Sets a condition and moves it to the end of the list, as the Deployment controller does. The
/// transition time stays while the status does.
pub fn set_last<C: Condition>(conditions: &mut Vec<C>, mut condition: C) {
    if let Some(old) = find(conditions, condition.condition_type()) {
        keep_times(&mut condition, old);
    }
    conditions.retain(|old| old.condition_type() != condition.condition_type());
    conditions.push(condition);
}

fn keep_times<C: Condition>(condition: &mut C, old: &C) {
    if old.status() == condition.status() {
        condition.keep_transition_time(old);
    }
    condition.keep_probe_time(old);
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    fn condition(status: &str, time: &str, reason: &str) -> Tree {
        json!({"type": "Ready", "status": status, "lastTransitionTime": time, "reason": reason})
    }

    fn deployment(ty: &str, status: &str, seconds: i64) -> DeploymentCondition {
        let time = jiff::Timestamp::from_second(seconds).expect("a time");
        DeploymentCondition {
            type_: ty.to_owned(),
            status: status.to_owned(),
            last_transition_time: Some(v1::Time(time)),
            ..DeploymentCondition::default()
        }
    }

    #[test]
    fn the_transition_time_stays_while_the_status_does() {
        let other = json!({"type": "Other", "status": "True"});
        let mut conditions = vec![other.clone(), condition("True", "then", "")];
        assert!(set(&mut conditions, condition("True", "now", "new")));
        assert_eq!(conditions[1], condition("True", "then", "new"));
        assert!(set(&mut conditions, condition("False", "now", "new")));
        assert_eq!(conditions, [other, condition("False", "now", "new")]);
        assert!(!set(&mut conditions, condition("False", "later", "new")));
    }

    #[test]
    fn a_new_condition_is_appended() {
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, condition("True", "now", "")));
        assert_eq!(conditions, [condition("True", "now", "")]);
    }

    #[test]
    fn the_probe_time_is_never_that_of_the_update() {
        let probed = |time: Tree, status: &str| {
            json!({"type": "Ready", "status": status,
            "lastProbeTime": time})
        };
        let mut conditions = vec![probed(json!("probed"), "True")];
        set(&mut conditions, probed(Tree::Null, "False"));
        assert_eq!(conditions, [probed(json!("probed"), "False")]);
        let mut conditions = vec![condition("True", "then", "")];
        set(
            &mut conditions,
            json!({"type": "Ready", "status": "True", "lastTransitionTime": "now",
                "lastProbeTime": null, "reason": ""}),
        );
        assert_eq!(conditions, [condition("True", "then", "")]);
        // No time at all is written as null, and stays so: nothing has changed.
        let mut conditions = vec![probed(Tree::Null, "True")];
        assert!(!set(&mut conditions, probed(Tree::Null, "True")));
        assert_eq!(conditions, [probed(Tree::Null, "True")]);
    }

    #[test]
    fn the_deployment_controller_moves_a_condition_to_the_end() {
        let mut conditions = vec![deployment("A", "True", 1), deployment("B", "True", 1)];
        set_last(&mut conditions, deployment("A", "True", 2));
        assert_eq!(
            conditions,
            [deployment("B", "True", 1), deployment("A", "True", 1)]
        );
        set_last(&mut conditions, deployment("B", "False", 3));
        assert_eq!(
            conditions,
            [deployment("A", "True", 1), deployment("B", "False", 3)]
        );
        assert_eq!(
            find(&conditions, "B").map(|found| found.status()),
            Some("False")
        );
    }
}
