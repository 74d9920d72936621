//! Tests of the drain state: observations in, actions and events out.

use serde_json::json;

use super::*;
use crate::evict::FaultClass;

fn at(seconds: i64) -> Timestamp {
    Timestamp::constant(seconds, 0)
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": name, "namespace": "d", "uid": name, "labels": {"app": "a"}}}),
    )
    .expect("a pod")
}

fn budget(allowed: i32, generation: i64) -> k8s_openapi::api::policy::v1::PodDisruptionBudget {
    let tree = json!({
        "metadata": {"name": "b", "namespace": "d", "uid": "b", "generation": generation},
        "spec": {"selector": {"matchLabels": {"app": "a"}}},
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 2,
            "expectedPods": 3},
    });
    serde_json::from_value(tree).expect("a budget")
}

fn no() -> EvictionResponse {
    let causes =
        vec!["The disruption budget b needs 2 healthy pods and has 1 currently".to_owned()];
    EvictionResponse::Refused(EvictionRefusal {
        message: "no".to_owned(),
        causes,
        retry_after_seconds: 0,
    })
}

/// Creates a state in which the evictions of all pods, on two nodes, were refused.
fn refused(pods: &[(&str, &str)]) -> DrainState {
    let mut state = DrainState::new(
        DrainOptions::default(),
        vec!["n1".to_owned(), "n2".to_owned()],
    );
    for node in ["n1", "n2"] {
        state.start(
            node,
            pods.iter()
                .filter(|(_, on)| *on == node)
                .map(|(name, _)| pod(name))
                .collect(),
            at(0),
        );
    }
    drop(state.decide(at(0)));
    for (name, _) in pods {
        state.responded(name, no(), at(0));
    }
    state
}

fn evicted(state: &mut DrainState, now: i64) -> Vec<String> {
    let (actions, _) = state.decide(at(now));
    let mut names: Vec<String> = actions
        .iter()
        .filter_map(|action| match action {
            DrainAction::Evict(target) => Some(target.name.clone()),
            _ => None,
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_budget_triggers_as_many_retries_as_it_allows() {
    let mut state = refused(&[("a", "n1"), ("b", "n1"), ("c", "n1")]);
    assert!(evicted(&mut state, 1).is_empty(), "nothing has changed");
    state.budget_observed(budget(2, 1));
    assert_eq!(evicted(&mut state, 1), ["a", "b"]);
    state.budget_observed(budget(2, 1));
    assert!(
        evicted(&mut state, 1).is_empty(),
        "both requests are in flight"
    );
}

#[test]
fn an_edited_or_deleted_budget_triggers_all_retries() {
    let mut state = refused(&[("a", "n1"), ("b", "n1")]);
    state.budget_observed(budget(0, 1));
    assert!(evicted(&mut state, 1).is_empty());
    state.budget_observed(budget(0, 2));
    assert_eq!(evicted(&mut state, 1), ["a", "b"]);
    let mut state = refused(&[("a", "n1"), ("b", "n1")]);
    state.budget_deleted(&budget(0, 1));
    assert_eq!(evicted(&mut state, 1), ["a", "b"]);
}

#[test]
fn nodes_take_turns_at_a_budget_that_they_share() {
    let mut state = refused(&[
        ("a1", "n1"),
        ("a2", "n1"),
        ("a3", "n1"),
        ("b1", "n2"),
        ("b2", "n2"),
    ]);
    let mut order = Vec::new();
    for now in 1..=5 {
        state.budget_observed(budget(1, 1));
        let retried = evicted(&mut state, now);
        assert_eq!(retried.len(), 1);
        state.responded(&retried[0], EvictionResponse::Granted, at(now));
        order.extend(retried);
    }
    assert_eq!(order, ["a1", "b1", "a2", "b2", "a3"]);
}

#[test]
fn a_budget_that_frees_while_a_response_is_on_its_way_triggers_a_retry() {
    let mut state = DrainState::new(DrainOptions::default(), vec!["n1".to_owned()]);
    state.start("n1", vec![pod("a")], at(0));
    state.budget_observed(budget(0, 1));
    assert_eq!(evicted(&mut state, 0), ["a"]);
    state.budget_observed(budget(1, 1));
    state.responded("a", no(), at(0));
    assert_eq!(
        evicted(&mut state, 0),
        ["a"],
        "the budget freed after the request"
    );
    state.responded("a", no(), at(0));
    assert!(evicted(&mut state, 0).is_empty(), "it has not freed again");
    assert_eq!(
        evicted(&mut state, RETRY_SECONDS),
        ["a"],
        "the watch may have stalled"
    );
}

#[test]
fn without_a_watch_of_budgets_evictions_are_retried_as_by_kubectl() {
    let mut state = DrainState::new(DrainOptions::default(), vec!["n1".to_owned()]);
    state.set_budgets_unwatched(true);
    state.start("n1", vec![pod("a")], at(0));
    drop(state.decide(at(0)));
    state.responded("a", no(), at(0));
    assert_eq!(state.decide(at(1)).1, Some(at(UNWATCHED_RETRY_SECONDS)));
}

#[test]
fn a_replacement_with_the_same_name_is_not_touched() {
    let mut state = refused(&[("a", "n1")]);
    let replacement = Pod {
        metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            uid: Some("other".into()),
            ..pod("a").metadata
        },
        ..pod("a")
    };
    state.pods_listed("n1", &BTreeSet::from(["other".to_owned()]), at(1));
    state.pod_observed(replacement, at(1));
    assert!(state.decide(at(1)).0.is_empty());
    assert_eq!(
        state.counts(None),
        PodCounts {
            gone: 1,
            ..PodCounts::default()
        }
    );
}

#[test]
fn a_failed_request_is_retried_a_bounded_number_of_times() {
    let mut state = DrainState::new(DrainOptions::default(), vec!["n1".to_owned()]);
    state.start("n1", vec![pod("a")], at(0));
    let (mut now, mut tries) = (0, 0);
    while state.counts(None).stuck == 0 {
        let (actions, wake) = state.decide(at(now));
        if actions.is_empty() {
            now = wake.expect("it is retried").as_second();
            continue;
        }
        tries += 1;
        let fault = EvictionFault {
            class: FaultClass::Denied,
            message: "no".to_owned(),
            retry_after_seconds: 0,
        };
        state.responded("a", EvictionResponse::Fault(fault), at(now));
    }
    assert_eq!(Some(tries), FaultClass::Denied.max_tries());
    assert!((500..800).contains(&now), "about ten minutes: {now}");
}

#[test]
fn a_tier_waits_for_the_one_before_it() {
    let options = DrainOptions {
        tiers: Tiers {
            first: vec![kinds::selector::LabelSelector::parse("name=x").expect("a selector")],
            last: Vec::new(),
        },
        ..DrainOptions::default()
    };
    let mut state = DrainState::new(options, vec!["n1".to_owned()]);
    let mut first = pod("z");
    first.metadata.labels = Some([("name".to_owned(), "x".to_owned())].into());
    state.start("n1", vec![pod("a"), first], at(0));
    assert_eq!(evicted(&mut state, 0), ["z"]);
    state.responded("z", EvictionResponse::Granted, at(0));
    assert!(evicted(&mut state, 0).is_empty(), "accepted is not deleted");
    state.pod_deleted("z", at(1));
    assert_eq!(evicted(&mut state, 1), ["a"]);
}

#[test]
fn the_forecast_follows_the_rate_of_the_budget() {
    let mut state = refused(&[("a", "n1"), ("b", "n1"), ("c", "n1"), ("d", "n1")]);
    assert_eq!(state.forecast(at(0)), None, "nothing was observed yet");
    for (name, now) in [("a", 2), ("b", 12)] {
        state.budget_observed(budget(1, 1));
        assert_eq!(evicted(&mut state, now), [name]);
        state.responded(name, EvictionResponse::Granted, at(now));
        state.pod_deleted(name, at(now));
    }
    assert_eq!(state.forecast(at(12)), Some(Duration::from_secs(20)));
    let delay = &state.delays(at(12))[0];
    assert_eq!(
        (
            delay.budget.as_str(),
            delay.pods,
            delay.refusals,
            delay.seconds
        ),
        ("d/b", 4, 4, 12.0)
    );
}
