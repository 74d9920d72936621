//! What the ledger takes for a violation, and what not.

use serde_json::json;

use super::*;

fn pod(name: &str, ready: bool) -> Value {
    json!({"metadata": {"uid": name, "labels": {"app": "web"}},
        "status": {"conditions": [{"type": "Ready",
        "status": if ready { "True" } else { "False" }}]}})
}

fn evicted(name: &str) -> Value {
    let mut pod = pod(name, true);
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mark =
        json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"});
    pod["status"]["conditions"]
        .as_array_mut()
        .expect("a list")
        .push(mark);
    pod
}

fn budget(healthy: i64, expected: i64, allowed: i64, notes: Value) -> Value {
    json!({"metadata": {"uid": "b", "generation": 1},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        "status": {"observedGeneration": 1, "currentHealthy": healthy,
            "desiredHealthy": expected - 1, "expectedPods": expected,
            "disruptionsAllowed": allowed, "disruptedPods": notes}})
}

/// Two pods, of which one may go, that have become three.
fn grown() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.pod(1, "a", Some(&pod("a", true)));
    ledger.pod(2, "b", Some(&pod("b", true)));
    ledger.budget(3, "web", Some(&budget(0, 0, 0, json!({}))));
    ledger.budget(4, "web", Some(&budget(2, 2, 1, json!({}))));
    ledger.pod(5, "c", Some(&pod("c", true)));
    ledger.budget(6, "web", Some(&budget(3, 3, 1, json!({}))));
    ledger
}

fn evict(ledger: &mut Ledger, name: &str) {
    ledger.budget(
        10,
        "web",
        Some(&budget(3, 3, 0, json!({name: "2026-01-01T00:00:00Z"}))),
    );
    ledger.pod(11, name, Some(&evicted(name)));
    ledger.settle();
}

#[test]
fn an_eviction_that_the_budget_pays_for_is_in_order() {
    let mut ledger = grown();
    evict(&mut ledger, "a");
    assert_eq!(ledger.violations(), [""; 0]);
}

#[test]
fn a_loss_that_the_controller_could_not_know_is_not_the_doing_of_an_eviction() {
    let mut ledger = grown();
    // It came after the last allowance was worked out, and was counted beside it.
    ledger.pod(7, "c", Some(&pod("c", false)));
    evict(&mut ledger, "a");
    assert_eq!(ledger.violations(), [""; 0]);
}

#[test]
fn two_evictions_where_one_is_allowed_are_found() {
    let mut ledger = grown();
    evict(&mut ledger, "a");
    ledger.budget(
        20,
        "web",
        Some(&budget(
            3,
            3,
            -1,
            json!({"a": "2026-01-01T00:00:00Z", "b": "2026-01-01T00:00:00Z"}),
        )),
    );
    ledger.pod(21, "b", Some(&evicted("b")));
    ledger.settle();
    let found = ledger.violations().join("\n");
    assert!(
        found.contains("the eviction of b leaves 1 healthy pods (0 lost otherwise) of 2"),
        "{found}"
    );
}

#[test]
fn a_status_from_before_the_observer_came_may_count_pods_that_are_lost() {
    let mut ledger = Ledger::default();
    ledger.pod(9, "a", Some(&pod("a", true)));
    ledger.pod(9, "b", Some(&pod("b", true)));
    ledger.budget(9, "web", Some(&budget(3, 3, 1, json!({}))));
    evict(&mut ledger, "a");
    assert_eq!(ledger.violations(), [""; 0]);
}
