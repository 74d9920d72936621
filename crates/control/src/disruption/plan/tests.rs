//! The counts of budgets, as tables.

use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::pods::tests::pod;
use rules::budgets::{asks_controllers, demand};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn now() -> Timestamp {
    at("2026-01-01T00:10:00Z")
}

fn budget(spec: serde_json::Value, status: serde_json::Value) -> PodDisruptionBudget {
    serde_json::from_value(
        json!({"metadata": {"name": "b", "namespace": "n", "generation": 1},
        "spec": spec, "status": status}),
    )
    .expect("a budget")
}

fn ready(name: &str) -> Arc<Pod> {
    Arc::new(pod(
        json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready",
            "status": "True"}]}}),
    ))
}

fn unready(name: &str) -> Arc<Pod> {
    Arc::new(pod(
        json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready",
            "status": "False"}]}}),
    ))
}

fn leaving(name: &str) -> Arc<Pod> {
    Arc::new(pod(
        json!({"metadata": {"name": name, "deletionTimestamp": "2026-01-01T00:11:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    ))
}

/// Returns (allowed, healthy, desired, expected).
fn counts(spec: serde_json::Value, pods: &[Arc<Pod>], replicas: i32) -> (i32, i32, i32, i32) {
    let budget = budget(spec, json!({}));
    let demand = demand(budget.spec.as_ref(), pods.len(), replicas).expect("a demand");
    let status = plan(&budget, pods, demand, &DisruptedPodsView::default(), now())
        .status
        .expect("a new status");
    let set = |count: Option<i32>| count.expect("every count is set");
    (
        set(status.disruptions_allowed),
        set(status.current_healthy),
        set(status.desired_healthy),
        set(status.expected_pods),
    )
}

#[test]
fn the_counts_follow_from_the_spec() {
    let three = [ready("a"), ready("b"), ready("c")];
    let seven: Vec<_> = (0..7).map(|i| ready(&i.to_string())).collect();
    let cases = [
        (
            json!({"minAvailable": 1}),
            &[ready("a"), ready("b"), unready("c")][..],
            0,
            (1, 2, 1, 3),
        ),
        (json!({"minAvailable": 5}), &three[..2], 0, (0, 2, 5, 2)),
        (json!({"minAvailable": 0}), &[unready("a")], 0, (0, 0, 0, 1)),
        (
            json!({"minAvailable": 1}),
            &[ready("a"), leaving("b")],
            0,
            (0, 1, 1, 2),
        ),
        (json!({"minAvailable": 2}), &[], 0, (0, 0, 2, 0)),
        (json!({}), &three[..], 3, (0, 3, 0, 0)),
        (json!({"maxUnavailable": 1}), &three[..], 3, (1, 3, 2, 3)),
        (json!({"maxUnavailable": 10}), &three[..2], 2, (2, 2, 0, 2)),
        (json!({"maxUnavailable": 1}), &three[..2], 0, (0, 2, 0, 0)),
        (
            json!({"maxUnavailable": "34%"}),
            &three[..],
            3,
            (2, 3, 1, 3),
        ),
        (
            json!({"maxUnavailable": "30%"}),
            &seven[..],
            7,
            (3, 7, 4, 7),
        ),
        (
            json!({"maxUnavailable": "50%"}),
            &seven[..],
            7,
            (4, 7, 3, 7),
        ),
        (json!({"maxUnavailable": "1%"}), &seven[..], 7, (1, 7, 6, 7)),
        (json!({"maxUnavailable": "0%"}), &seven[..], 7, (0, 7, 7, 7)),
        (
            json!({"maxUnavailable": "100%"}),
            &seven[..],
            7,
            (7, 7, 0, 7),
        ),
        (json!({"minAvailable": "50%"}), &three[..2], 2, (1, 2, 1, 2)),
        (json!({"minAvailable": "34%"}), &three[..], 3, (1, 3, 2, 3)),
        (json!({"minAvailable": "28%"}), &[], 11, (0, 0, 4, 11)),
        (json!({"minAvailable": "28%"}), &[], 22, (0, 0, 7, 22)),
        // Pods without a controller count as healthy all the same and raise the allowance.
        (
            json!({"minAvailable": "34%"}),
            &[ready("a"), ready("b"), ready("c"), ready("bare")],
            3,
            (2, 4, 2, 3),
        ),
    ];
    for (spec, pods, replicas, expected) in cases {
        let text = spec.to_string();
        assert_eq!(
            counts(spec, pods, replicas),
            expected,
            "{text} of {}",
            pods.len()
        );
    }
}

#[test]
fn only_percentages_and_max_unavailable_ask_the_controllers() {
    let asks = |spec: serde_json::Value| asks_controllers(budget(spec, json!({})).spec.as_ref());
    assert!(asks(json!({"maxUnavailable": 1})));
    assert!(asks(json!({"maxUnavailable": "1%"})));
    assert!(asks(json!({"minAvailable": "1%"})));
    assert!(!asks(json!({"minAvailable": 1})));
    assert!(!asks(json!({})));
}

fn settled(disrupted: serde_json::Value) -> PodDisruptionBudget {
    budget(
        json!({"minAvailable": 1}),
        json!({
            "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
                "desiredHealthy": 1, "expectedPods": 2,
            "disruptedPods": disrupted,
            "conditions": [
                {"type": "Foreign", "status": "True", "reason": "X", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods",
                    "message": "by hand", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ],
        }),
    )
}

const DEMAND: Demand = Demand {
    expected: 2,
    desired: 1,
};

#[test]
fn a_status_that_is_right_is_not_written_whatever_its_message_says() {
    assert_eq!(
        plan(
            &settled(json!({})),
            &[ready("a"), ready("b")],
            DEMAND,
            &DisruptedPodsView::default(),
            now()
        )
        .status,
        None
    );
}

#[test]
fn a_status_that_is_wrong_in_one_place_is_written() {
    let pods = [ready("a"), ready("b"), leaving("c")];
    let view = DisruptedPodsView::default();
    let right = plan(&settled(json!({})), &pods, DEMAND, &view, now()).status;
    assert_eq!(right, None);
    let fresh = json!({"gone": "2026-01-01T00:09:00Z"});
    for (path, wrong) in [
        ("/status/observedGeneration", json!(0)),
        ("/status/disruptionsAllowed", json!(2)),
        ("/status/currentHealthy", json!(3)),
        ("/status/desiredHealthy", json!(2)),
        ("/status/expectedPods", json!(3)),
        ("/status/disruptedPods", fresh),
        ("/status/conditions/1/type", json!("Other")),
        ("/status/conditions/1/status", json!("False")),
        ("/status/conditions/1/reason", json!("InsufficientPods")),
    ] {
        let mut tree = serde_json::to_value(settled(json!({}))).expect("a value");
        tree["status"]["disruptedPods"] = json!({});
        *tree.pointer_mut(path).expect("a member") = wrong;
        let budget = serde_json::from_value(tree).expect("a budget");
        let written = plan(&budget, &pods, DEMAND, &view, now()).status;
        let status = written.unwrap_or_else(|| panic!("{path} stays wrong"));
        let counts = (
            status.observed_generation,
            status.disruptions_allowed,
            status.current_healthy,
            status.desired_healthy,
            status.expected_pods,
            status.disrupted_pods,
        );
        assert_eq!(
            counts,
            (Some(1), Some(1), Some(2), Some(1), Some(2), None),
            "{path}"
        );
        let conditions = status.conditions.expect("conditions");
        let found = rules::conditions::find(&conditions, CONDITION).expect("a condition");
        assert_eq!(
            (found.status.as_str(), found.reason.as_str()),
            ("True", "SufficientPods"),
            "{path}"
        );
    }
}

#[test]
fn the_time_of_the_condition_moves_only_when_its_status_does_and_other_conditions_stay() {
    let pods = [ready("a"), ready("b"), ready("c")];
    let same = plan(
        &settled(json!({})),
        &pods,
        DEMAND,
        &DisruptedPodsView::default(),
        now(),
    )
    .status
    .expect("written")
    .conditions
    .expect("conditions");
    assert_eq!(
        (same[0].type_.as_str(), same[1].last_transition_time.0),
        ("Foreign", at("2026-01-01T00:00:00Z"))
    );
    assert_eq!(same[1].message, "");
    let flipped = plan(
        &settled(json!({})),
        &pods[..1],
        DEMAND,
        &DisruptedPodsView::default(),
        now(),
    )
    .status
    .expect("written")
    .conditions
    .expect("conditions");
    assert_eq!(
        (
            flipped[1].reason.as_str(),
            flipped[1].last_transition_time.0
        ),
        ("InsufficientPods", now())
    );
}

#[test]
fn an_entry_counts_until_its_pod_terminates_or_two_minutes_have_passed() {
    let pods = [ready("a"), ready("b")];
    let fresh = settled(json!({"a": "2026-01-01T00:09:00Z", "gone": "2026-01-01T00:09:00Z"}));
    let plan_fresh = plan(&fresh, &pods, DEMAND, &DisruptedPodsView::default(), now());
    let status = plan_fresh.status.expect("written");
    assert_eq!(
        (status.current_healthy, status.disruptions_allowed),
        (Some(1), Some(0))
    );
    assert_eq!(
        status
            .disrupted_pods
            .expect("entries")
            .into_keys()
            .collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(plan_fresh.recheck, Some(Duration::from_secs(60)));

    let old = settled(json!({"a": "2026-01-01T00:07:59Z"}));
    let plan_old = plan(&old, &pods, DEMAND, &DisruptedPodsView::default(), now());
    assert_eq!(plan_old.not_deleted.len(), 1);
    assert_eq!(plan_old.recheck, None);
    assert_eq!(plan_old.status.expect("written").current_healthy, Some(2));

    let fulfilled = settled(json!({"a": "2026-01-01T00:09:59Z"}));
    let served_pods = [leaving("a"), ready("b")];
    let plan_served = plan(
        &fulfilled,
        &served_pods,
        DEMAND,
        &DisruptedPodsView::default(),
        now(),
    );
    assert_eq!(plan_served.status.expect("written").disrupted_pods, None);
    assert!(plan_served.not_deleted.is_empty());
}

#[test]
fn a_failed_sync_allows_nothing_and_keeps_the_other_counts() {
    let mut budget = settled(json!({}));
    budget.metadata.generation = Some(2);
    let status = failed(&budget, "why", now()).expect("written");
    assert_eq!(
        (
            status.disruptions_allowed,
            status.current_healthy,
            status.observed_generation
        ),
        (Some(0), Some(2), Some(1))
    );
    let condition = &status.conditions.as_ref().expect("conditions")[1];
    assert_eq!(
        (
            condition.reason.as_str(),
            condition.message.as_str(),
            condition.observed_generation
        ),
        ("SyncFailed", "why", Some(1))
    );
    budget.status = Some(status);
    assert_eq!(
        failed(&budget, "why", now()),
        None,
        "the second time there is nothing new to say"
    );
}

#[test]
fn an_entry_newer_than_the_known_pods_is_kept_whatever_they_show() {
    let budget = settled(
        json!({"a": "2026-01-01T00:09:00Z", "gone": "2026-01-01T00:09:00Z",
            "old": "2026-01-01T00:07:00Z"}),
    );
    let leaving =
        pod(json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:08:00Z"}}));
    let pods = [Arc::new(leaving)];
    let kept = |unsettled: &[&str]| {
        let unsettled = unsettled.iter().map(|name| (*name).to_owned()).collect();
        let view = DisruptedPodsView {
            unsettled,
            ..DisruptedPodsView::default()
        };
        let status = plan(&budget, &pods, DEMAND, &view, now())
            .status
            .expect("written");
        status
            .disrupted_pods
            .unwrap_or_default()
            .into_keys()
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(&[]), [""; 0]);
    assert_eq!(kept(&["a", "gone", "old"]), ["a", "gone"]);
}

#[test]
fn entries_live_two_minutes_however_the_clock_was_set_meanwhile() {
    // The clock shows 00:10. Granted a minute ago, before the clock was set by an hour.
    for (value, set) in [
        ("2025-12-31T23:09:00Z", 3600),
        ("2026-01-01T01:09:00Z", -3600),
    ] {
        let budget = settled(json!({"a": value}));
        let pods = [ready("a"), ready("b")];
        let kept = |seconds_later: i64| {
            let set = SignedDuration::from_secs(set);
            let view = DisruptedPodsView {
                clock_set: BTreeMap::from([("a".to_owned(), set)]),
                ..DisruptedPodsView::default()
            };
            let later = now() + SignedDuration::from_secs(seconds_later);
            let plan = plan(&budget, &pods, DEMAND, &view, later);
            plan.recheck.is_some()
        };
        assert!(kept(0) && kept(59), "{set}");
        assert!(!kept(61), "{set}");
    }
}

#[test]
fn the_successor_of_a_pod_that_was_seen_to_end_is_counted() {
    let budget = settled(json!({"a": "2026-01-01T00:09:59Z"}));
    let pods = [ready("a"), ready("b")];
    let known = |fulfilled: bool| {
        let view = DisruptedPodsView {
            fulfilled: fulfilled.then(|| "a".to_owned()).into_iter().collect(),
            ..DisruptedPodsView::default()
        };
        let status = plan(&budget, &pods, DEMAND, &view, now())
            .status
            .expect("written");
        (
            status.current_healthy,
            status.disrupted_pods.map_or(0, |entries| entries.len()),
        )
    };
    assert_eq!(
        known(false),
        (Some(1), 1),
        "it may be the evicted pod itself"
    );
    assert_eq!(known(true), (Some(2), 0));
}
