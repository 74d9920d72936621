//! The board as a table: facts in, actions and events out.

use serde_json::json;

use super::*;
use crate::evict::Class;

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
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 2, "expectedPods": 3},
    });
    serde_json::from_value(tree).expect("a budget")
}

fn no() -> Answer {
    let causes =
        vec!["The disruption budget b needs 2 healthy pods and has 1 currently".to_owned()];
    Answer::Refused(Refused {
        message: "no".to_owned(),
        causes,
        retry_after_seconds: 0,
    })
}

/// A board whose pods (on two nodes) have all been asked for and refused.
fn refused(pods: &[(&str, &str)]) -> Board {
    let mut board = Board::new(Policy::default(), vec!["n1".to_owned(), "n2".to_owned()]);
    for node in ["n1", "n2"] {
        board.start(
            node,
            pods.iter()
                .filter(|(_, on)| *on == node)
                .map(|(name, _)| pod(name))
                .collect(),
            at(0),
        );
    }
    drop(board.decide(at(0)));
    for (name, _) in pods {
        board.answered(name, no(), at(0));
    }
    board
}

fn evicted(board: &mut Board, now: i64) -> Vec<String> {
    let (actions, _) = board.decide(at(now));
    let mut names: Vec<String> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Evict(target) => Some(target.name.clone()),
            _ => None,
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_budget_wakes_as_many_pods_as_it_allows_and_no_more() {
    let mut board = refused(&[("a", "n1"), ("b", "n1"), ("c", "n1")]);
    assert!(evicted(&mut board, 1).is_empty(), "nothing has changed");
    board.budget_seen(budget(2, 1));
    assert_eq!(evicted(&mut board, 1), ["a", "b"]);
    board.budget_seen(budget(2, 1));
    assert!(
        evicted(&mut board, 1).is_empty(),
        "both are being asked for already"
    );
}

#[test]
fn an_edited_budget_and_a_deleted_one_wake_everybody() {
    let mut board = refused(&[("a", "n1"), ("b", "n1")]);
    board.budget_seen(budget(0, 1));
    assert!(evicted(&mut board, 1).is_empty());
    board.budget_seen(budget(0, 2));
    assert_eq!(evicted(&mut board, 1), ["a", "b"]);
    let mut board = refused(&[("a", "n1"), ("b", "n1")]);
    board.budget_gone(&budget(0, 1));
    assert_eq!(evicted(&mut board, 1), ["a", "b"]);
}

#[test]
fn nodes_take_turns_at_a_budget_that_they_share() {
    let mut board = refused(&[
        ("a1", "n1"),
        ("a2", "n1"),
        ("a3", "n1"),
        ("b1", "n2"),
        ("b2", "n2"),
    ]);
    let mut order = Vec::new();
    for now in 1..=5 {
        board.budget_seen(budget(1, 1));
        let woken = evicted(&mut board, now);
        assert_eq!(woken.len(), 1);
        board.answered(&woken[0], Answer::Granted, at(now));
        order.extend(woken);
    }
    assert_eq!(order, ["a1", "b1", "a2", "b2", "a3"]);
}

#[test]
fn a_chance_that_came_while_the_answer_was_on_its_way_is_not_missed() {
    let mut board = Board::new(Policy::default(), vec!["n1".to_owned()]);
    board.start("n1", vec![pod("a")], at(0));
    board.budget_seen(budget(0, 1));
    assert_eq!(evicted(&mut board, 0), ["a"]);
    board.budget_seen(budget(1, 1));
    board.answered("a", no(), at(0));
    assert_eq!(
        evicted(&mut board, 0),
        ["a"],
        "the budget freed after the question"
    );
    board.answered("a", no(), at(0));
    assert!(evicted(&mut board, 0).is_empty(), "and not again since");
    assert_eq!(
        evicted(&mut board, RETRY_SECONDS),
        ["a"],
        "in case that a watch is silent"
    );
}

#[test]
fn without_a_watch_of_budgets_the_pause_is_the_one_of_kubectl() {
    let mut board = Board::new(Policy::default(), vec!["n1".to_owned()]);
    board.budgets_blind(true);
    board.start("n1", vec![pod("a")], at(0));
    drop(board.decide(at(0)));
    board.answered("a", no(), at(0));
    assert_eq!(board.decide(at(1)).1, Some(at(BLIND_RETRY_SECONDS)));
}

#[test]
fn a_same_named_successor_is_not_touched() {
    let mut board = refused(&[("a", "n1")]);
    let successor = Pod {
        metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            uid: Some("other".into()),
            ..pod("a").metadata
        },
        ..pod("a")
    };
    board.pods_listed("n1", &BTreeSet::from(["other".to_owned()]), at(1));
    board.pod_seen(successor, at(1));
    assert!(board.decide(at(1)).0.is_empty());
    assert_eq!(
        board.tally(None),
        Tally {
            gone: 1,
            ..Tally::default()
        }
    );
}

#[test]
fn a_fault_is_tried_again_a_bounded_number_of_times() {
    let mut board = Board::new(Policy::default(), vec!["n1".to_owned()]);
    board.start("n1", vec![pod("a")], at(0));
    let (mut now, mut tries) = (0, 0);
    while board.tally(None).stuck == 0 {
        let (actions, wake) = board.decide(at(now));
        if actions.is_empty() {
            now = wake.expect("it is tried again").as_second();
            continue;
        }
        tries += 1;
        let fault = Fault {
            class: Class::Denied,
            message: "no".to_owned(),
            retry_after_seconds: 0,
        };
        board.answered("a", Answer::Fault(fault), at(now));
    }
    assert_eq!(Some(tries), Class::Denied.tries());
    assert!((500..800).contains(&now), "about ten minutes: {now}");
}

#[test]
fn a_tier_waits_for_the_one_before_it() {
    let policy = Policy {
        tiers: Tiers {
            first: vec![kinds::selector::LabelSelector::parse("name=x").expect("a selector")],
            last: Vec::new(),
        },
        ..Policy::default()
    };
    let mut board = Board::new(policy, vec!["n1".to_owned()]);
    let mut first = pod("z");
    first.metadata.labels = Some([("name".to_owned(), "x".to_owned())].into());
    board.start("n1", vec![pod("a"), first], at(0));
    assert_eq!(evicted(&mut board, 0), ["z"]);
    board.answered("z", Answer::Granted, at(0));
    assert!(evicted(&mut board, 0).is_empty(), "accepted is not gone");
    board.pod_gone("z", at(1));
    assert_eq!(evicted(&mut board, 1), ["a"]);
}

#[test]
fn the_forecast_follows_the_pace_of_the_budget() {
    let mut board = refused(&[("a", "n1"), ("b", "n1"), ("c", "n1"), ("d", "n1")]);
    assert_eq!(board.forecast(at(0)), None, "nothing was seen yet");
    for (name, now) in [("a", 2), ("b", 12)] {
        board.budget_seen(budget(1, 1));
        assert_eq!(evicted(&mut board, now), [name]);
        board.answered(name, Answer::Granted, at(now));
        board.pod_gone(name, at(now));
    }
    assert_eq!(board.forecast(at(12)), Some(Duration::from_secs(20)));
    let hold = &board.holds(at(12))[0];
    assert_eq!(
        (hold.budget.as_str(), hold.pods, hold.refusals, hold.seconds),
        ("d/b", 4, 4, 12.0)
    );
}
