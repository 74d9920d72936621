//! Random budgets, pods and `disruptedPods` entries against a count by hand.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::pods::tests::pod;

/// A name and what is known about it.
#[derive(Clone, Debug)]
struct PodSlot {
    /// Ready and terminating; none when there is no pod of this name.
    pod: Option<(bool, bool)>,
    /// The age of the entry in seconds.
    entry: Option<i64>,
    unsettled: bool,
    fulfilled: bool,
}

const NOW: i64 = 1_767_225_600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn to_pod(number: usize, (ready, terminating): (bool, bool)) -> Arc<Pod> {
    Arc::new(pod(json!({
        "metadata": {"name": format!("p{number}"), "namespace": "n",
            "deletionTimestamp": terminating.then_some("2026-01-01T00:00:00Z")},
        "status": {"conditions": [{"type": "Ready",
            "status": if ready { "True" } else { "False" }}]},
    })))
}

fn budget(slots: &[PodSlot]) -> PodDisruptionBudget {
    let entries: serde_json::Map<String, serde_json::Value> = slots
        .iter()
        .enumerate()
        .filter_map(|(number, slot)| {
            Some((
                format!("p{number}"),
                at(NOW - slot.entry?).to_string().into(),
            ))
        })
        .collect();
    let status = json!({"observedGeneration": 1, "disruptedPods": entries, "currentHealthy": 0,
        "desiredHealthy": 0, "expectedPods": 0, "disruptionsAllowed": 0});
    serde_json::from_value(
        json!({"metadata": {"name": "b", "namespace": "n", "generation": 1},
        "spec": {}, "status": status}),
    )
    .expect("a budget")
}

fn slot() -> impl Strategy<Value = PodSlot> {
    let pod = prop_oneof![4 => any::<(bool, bool)>().prop_map(Some), 1 => Just(None)];
    let age = prop_oneof![
        0..=DELETION_SECONDS * 2,
        Just(DELETION_SECONDS),
        Just(DELETION_SECONDS - 1)
    ];
    (pod, proptest::option::of(age), any::<bool>(), any::<bool>()).prop_map(
        |(pod, entry, unsettled, fulfilled)| PodSlot {
            pod,
            entry,
            unsettled: unsettled && entry.is_some() && !fulfilled,
            fulfilled: fulfilled && entry.is_some(),
        },
    )
}

/// Whether the entry of this slot still stands for an eviction that has not happened.
fn holds(slot: &PodSlot) -> bool {
    let stands = slot.pod.is_some_and(|(_, terminating)| !terminating);
    slot.entry.is_some_and(|age| age < DELETION_SECONDS)
        && !slot.fulfilled
        && (stands || slot.unsettled)
}

fn check_counts(slots: &[PodSlot], demand: Demand) {
    let pods: Vec<_> = slots
        .iter()
        .enumerate()
        .filter_map(|(number, slot)| Some(to_pod(number, slot.pod?)))
        .collect();
    let names = |wanted: fn(&PodSlot) -> bool| -> BTreeSet<String> {
        let chosen = slots.iter().enumerate().filter(|(_, slot)| wanted(slot));
        chosen.map(|(number, _)| format!("p{number}")).collect()
    };
    let view = DisruptedPodsView {
        unsettled: names(|slot| slot.unsettled),
        fulfilled: names(|slot| slot.fulfilled),
        ..DisruptedPodsView::default()
    };
    let budget = budget(slots);
    let planned = plan(&budget, &pods, demand, &view, at(NOW));
    let status = planned
        .status
        .clone()
        .or(budget.status.clone())
        .expect("a status");

    // Healthy: ready, not terminating, and not about to be evicted.
    let healthy = slots
        .iter()
        .filter(|slot| slot.pod == Some((true, false)) && !holds(slot))
        .count();
    let healthy = i32::try_from(healthy).expect("few pods");
    assert_eq!(status.current_healthy, Some(healthy));
    let allowed = if demand.expected == 0 {
        0
    } else {
        (healthy - demand.desired).max(0)
    };
    assert_eq!(status.disruptions_allowed, Some(allowed));
    assert_eq!(status.desired_healthy, Some(demand.desired));
    assert_eq!(status.expected_pods, Some(demand.expected));

    let kept: BTreeSet<String> = status
        .disrupted_pods
        .iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(kept, names(holds));
    for (name, time) in status.disrupted_pods.iter().flatten() {
        let before = budget
            .status
            .as_ref()
            .and_then(|status| status.disrupted_pods.as_ref()?.get(name));
        assert_eq!(Some(time), before, "an entry has got another time");
    }
    let not_deleted: BTreeSet<&str> = planned.not_deleted.iter().map(|pod| name(pod)).collect();
    let late = names(|slot| {
        slot.entry.is_some_and(|age| age >= DELETION_SECONDS)
            && !slot.fulfilled
            && slot.pod.is_some_and(|(_, terminating)| !terminating)
    });
    assert_eq!(
        not_deleted,
        late.iter().map(String::as_str).collect::<BTreeSet<_>>()
    );
    let left = slots
        .iter()
        .filter(|slot| holds(slot))
        .filter_map(|slot| slot.entry);
    let recheck = left
        .max()
        .map(|age| Duration::from_secs((DELETION_SECONDS - age).unsigned_abs()));
    assert_eq!(planned.recheck, recheck);

    let condition = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == CONDITION)
        .expect("a condition");
    assert_eq!(condition.status == "True", allowed > 0);
    let written = PodDisruptionBudget {
        status: Some(status),
        ..budget
    };
    assert_eq!(
        plan(&written, &pods, demand, &view, at(NOW)).status,
        None,
        "not at rest"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn the_allowance_never_exceeds_the_healthy_pods_beyond_the_desired_ones(
        slots in proptest::collection::vec(slot(), 0..12),
        expected in 0..8_i32,
        desired in 0..8_i32,
    ) {
        check_counts(&slots, Demand { expected, desired });
    }
}
