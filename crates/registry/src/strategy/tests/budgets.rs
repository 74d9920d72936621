//! Tests of disruption budgets: the eviction policy's feature gate, legacy selectors and the
//! status.

use kinds::Tree;

use super::{OFF, ON, change, made};
use crate::tree::at;

#[test]
fn the_feature_gate_drops_the_eviction_policy_unless_it_is_in_use() {
    const PLAIN: &str = "spec: {minAvailable: 1}";
    const ALWAYS: &str = "spec: {minAvailable: 1, unhealthyPodEvictionPolicy: AlwaysAllow}";
    let policy = |tree: &Tree| {
        at(tree, &["spec", "unhealthyPodEvictionPolicy"])
            .as_str()
            .map(str::to_owned)
    };
    assert_eq!(
        policy(&made("policy/v1/poddisruptionbudgets", ALWAYS, OFF)),
        None
    );
    assert_eq!(
        policy(&made("policy/v1/poddisruptionbudgets", ALWAYS, ON)),
        Some("AlwaysAllow".to_owned())
    );
    assert_eq!(
        policy(&change("policy/v1/poddisruptionbudgets", PLAIN, ALWAYS, "", OFF).0),
        None
    );
    assert_eq!(
        policy(&change("policy/v1/poddisruptionbudgets", ALWAYS, ALWAYS, "", OFF).0),
        Some("AlwaysAllow".to_owned())
    );
}

#[test]
fn the_legacy_selector_term_is_dropped_unless_it_is_the_only_one() {
    const KEY: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";
    let terms = |others: &str| {
        let yaml = format!(
            "spec: {{selector: {{matchExpressions: [{{key: {KEY}, operator: Exists}}{others}]}}}}"
        );
        made("policy/v1/poddisruptionbudgets", &yaml, ON)["spec"]["selector"]["matchExpressions"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(terms(""), Some(1));
    assert_eq!(terms(", {key: a, operator: Exists}"), Some(1));
    assert_eq!(
        terms(", {key: a, operator: Exists}, {key: b, operator: Exists}"),
        Some(2)
    );
}

#[test]
fn the_status_of_a_budget_is_validated() {
    let status = "{minAvailable: 1}, status: {disruptionsAllowed: -1, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0, conditions: [{type: a b, status: Maybe, reason: '1', message: ''}, {type: ok, status: 'True', reason: Fine, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}]}}";
    let (_, faults) = change(
        "policy/v1/poddisruptionbudgets",
        "spec: {minAvailable: 1}",
        &format!("{{spec: {status}"),
        "status",
        ON,
    );
    let fields: Vec<&str> = faults
        .iter()
        .map(|fault| fault.split(": ").next().unwrap_or_default())
        .collect();
    assert_eq!(
        fields,
        [
            "status.conditions[0].type",
            "status.conditions[0].status",
            "status.conditions[0].lastTransitionTime",
            "status.conditions[0].reason",
            "status.disruptionsAllowed",
        ]
    );
}
