//! Random sets and pods: what a plan must never do, and rollouts that come to an end.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::super::pod::REVISION;
use super::tests::{NO_CLAIMS, revision};
use super::*;
use crate::pods::name;
use crate::pods::tests::pod;

/// A pod of a set, as far as the plan depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    updated: bool,
    phase: &'static str,
    ready: bool,
    terminating: bool,
}

impl Member {
    fn new(updated: bool) -> Self {
        Self {
            updated,
            phase: "Pending",
            ready: false,
            terminating: false,
        }
    }

    fn is_healthy(self) -> bool {
        self.phase == "Running" && self.ready && !self.terminating
    }
}

#[derive(Clone, Copy, Debug)]
struct SetShape {
    replicas: i32,
    start: i32,
    partition: i32,
    parallel: bool,
    on_delete: bool,
}

const CURRENT: &str = "r1";
const UPDATE: &str = "r2";

fn set(shape: SetShape, status: Option<StatefulSetStatus>) -> StatefulSet {
    let strategy = if shape.on_delete {
        json!({"type": "OnDelete"})
    } else {
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": shape.partition}})
    };
    let tree = json!({"metadata": {"name": "sts", "namespace": "n", "uid": "s", "generation": 1},
        "spec": {
        "replicas": shape.replicas, "serviceName": "svc", "ordinals": {"start": shape.start},
        "podManagementPolicy": if shape.parallel { "Parallel" } else { "OrderedReady" },
        "updateStrategy": strategy, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}}});
    let mut set: StatefulSet = serde_json::from_value(tree).expect("a set");
    set.status = status;
    set
}

fn to_pod(ordinal: i32, member: Member) -> Arc<Pod> {
    let revision = if member.updated { UPDATE } else { CURRENT };
    Arc::new(pod(json!({
        "metadata": {"name": format!("sts-{ordinal}"), "labels": {REVISION: revision},
            "deletionTimestamp": member.terminating.then_some("2026-01-01T00:00:00Z")},
        "status": {"phase": member.phase, "conditions": [{"type": "Ready",
            "status": if member.ready { "True" } else { "False" }}]},
    })))
}

/// The ordinal and, of a new pod, whether it has the new template.
#[derive(Debug, PartialEq, Eq)]
enum Act {
    Create(i32, bool),
    Delete(i32),
}

fn acts(
    set: &StatefulSet,
    members: &BTreeMap<i32, Member>,
) -> (Vec<Act>, Option<StatefulSetStatus>) {
    let pods: Vec<_> = members
        .iter()
        .map(|(ordinal, member)| to_pod(*ordinal, *member))
        .collect();
    // As the controller chooses it: the status names the current revision.
    let current = set
        .status
        .as_ref()
        .and_then(|status| status.current_revision.as_deref());
    let revisions = Revisions {
        current: revision(current.unwrap_or(CURRENT)),
        update: revision(UPDATE),
    };
    let plan = plan(set, &pods, NO_CLAIMS, &revisions, Timestamp::UNIX_EPOCH);
    let acts = plan.actions.iter().map(|action| match action {
        StatefulSetAction::Create { pod, .. } => {
            let ordinal = ordinal(set, name(pod)).expect("a pod of the set");
            Act::Create(ordinal, revision_of(pod) == Some(UPDATE))
        }
        StatefulSetAction::Delete(pod) => {
            Act::Delete(ordinal(set, name(pod)).expect("a pod of the set"))
        }
    });
    (acts.collect(), plan.status)
}

/// What holds for a single plan, whatever the pods look like. `rolled_out` is true when the set has
/// been updated before: then there is one revision.
fn check(shape: SetShape, members: &BTreeMap<i32, Member>, acts: &[Act], rolled_out: bool) {
    let range = shape.start..shape.start + shape.replicas;
    let is_settled = |ordinal: i32| {
        members
            .get(&ordinal)
            .is_some_and(|member| member.is_healthy())
    };
    let mut touched = std::collections::BTreeSet::new();
    for act in acts {
        let (Act::Create(ordinal, _) | Act::Delete(ordinal)) = act;
        assert!(
            touched.insert(*ordinal),
            "two requests for one pod: {acts:?}"
        );
        match act {
            Act::Create(ordinal, updated) => {
                let reached = shape.on_delete || *ordinal >= shape.start + shape.partition;
                assert!(
                    rolled_out || *updated == reached,
                    "the wrong side of the partition: {acts:?}"
                );
                assert!(
                    range.contains(ordinal),
                    "a pod outside of the range: {acts:?}"
                );
                assert!(
                    !members.contains_key(ordinal),
                    "two pods for one ordinal: {acts:?}"
                );
                if !shape.parallel {
                    assert!(
                        (shape.start..*ordinal).all(is_settled),
                        "a pod before its predecessors: {acts:?}"
                    );
                }
            }
            Act::Delete(ordinal) => {
                let member = members[ordinal];
                assert!(!member.terminating, "a second deletion: {acts:?}");
                let finished = matches!(member.phase, "Failed" | "Succeeded");
                if range.contains(ordinal) && !finished {
                    // An update: only an old pod, only behind the partition, and only when all
                    // pods behind it are updated and healthy.
                    assert!(
                        !shape.on_delete && !member.updated,
                        "a needless deletion: {acts:?}"
                    );
                    assert!(
                        *ordinal >= shape.start + shape.partition,
                        "before the partition: {acts:?}"
                    );
                    assert!(
                        (ordinal + 1..range.end)
                            .all(|later| is_settled(later) && members[&later].updated),
                        "an update out of order: {acts:?}"
                    );
                    assert_eq!(acts.len(), 1, "an update beside other changes: {acts:?}");
                }
            }
        }
    }
    if !shape.parallel {
        assert!(acts.len() <= 1, "more than one change at a time: {acts:?}");
    }
}

fn shape() -> impl Strategy<Value = SetShape> {
    let small = prop_oneof![3 => Just(0), 1 => 0..4_i32];
    let policies = (
        any::<bool>(),
        prop_oneof![4 => Just(false), 1 => Just(true)],
    );
    (0..5_i32, small.clone(), small, policies).prop_map(
        |(replicas, start, partition, (parallel, on_delete))| SetShape {
            replicas,
            start,
            partition,
            parallel,
            on_delete,
        },
    )
}

fn member() -> impl Strategy<Value = Member> {
    let phase = prop_oneof![
        1 => Just("Pending"),
        4 => Just("Running"),
        1 => Just("Failed"),
        1 => Just("Succeeded"),
        1 => Just("")
    ];
    (any::<bool>(), phase, any::<bool>(), any::<bool>()).prop_map(
        |(updated, phase, ready, terminating)| Member {
            updated,
            phase,
            ready: ready && phase == "Running",
            terminating,
        },
    )
}

/// Moves the pod on by one step: it starts, becomes ready, or goes away.
fn advance(members: &mut BTreeMap<i32, Member>, ordinal: i32) {
    let Some(member) = members.get_mut(&ordinal) else {
        return;
    };
    if member.terminating {
        members.remove(&ordinal);
    } else if member.phase == "Pending" || member.phase.is_empty() {
        member.phase = "Running";
    } else if member.phase == "Running" {
        member.ready = true;
    }
}

/// Makes one plan and its requests.
fn reconcile(
    shape: SetShape,
    members: &mut BTreeMap<i32, Member>,
    status: &mut Option<StatefulSetStatus>,
) -> bool {
    let set = set(shape, status.clone());
    let (acts, new) = acts(&set, members);
    let revision = status
        .as_ref()
        .and_then(|status| status.current_revision.as_deref());
    check(shape, members, &acts, revision == Some(UPDATE));
    let changed = !acts.is_empty() || new.is_some();
    for act in acts {
        match act {
            Act::Create(ordinal, updated) => {
                members.insert(ordinal, Member::new(updated));
            }
            Act::Delete(ordinal) => {
                let member = members.get_mut(&ordinal).expect("checked");
                member.terminating = true;
            }
        }
    }
    if new.is_some() {
        *status = new;
    }
    changed
}

fn run_to_rest(shape: SetShape, mut members: BTreeMap<i32, Member>, order: Vec<i32>) {
    let mut status = None;
    for ordinal in order {
        reconcile(shape, &mut members, &mut status);
        advance(&mut members, ordinal);
    }
    let mut left = 200;
    loop {
        let before = members.clone();
        let changed = reconcile(shape, &mut members, &mut status);
        for ordinal in 0..9 {
            advance(&mut members, ordinal);
        }
        if !changed && members == before {
            break;
        }
        left -= 1;
        assert!(left > 0, "never comes to rest: {members:?}");
    }
    let wanted: Vec<i32> = (shape.start..shape.start + shape.replicas).collect();
    assert_eq!(members.keys().copied().collect::<Vec<_>>(), wanted);
    for (ordinal, member) in &members {
        assert!(member.is_healthy());
        if !shape.on_delete && *ordinal >= shape.start + shape.partition {
            assert!(member.updated, "{} is old: {:?}", ordinal, members);
        }
    }
}

fn update(shape: SetShape, order: Vec<i32>) {
    let mut members: BTreeMap<i32, Member> = (shape.start..shape.start + shape.replicas)
        .map(|ordinal| {
            (
                ordinal,
                Member {
                    phase: "Running",
                    ready: true,
                    ..Member::new(false)
                },
            )
        })
        .collect();
    let mut status = None;
    let mut updated = 0;
    for ordinal in order {
        reconcile(shape, &mut members, &mut status);
        advance(&mut members, ordinal);
        let now = members.values().filter(|member| member.updated).count();
        assert!(
            now >= updated,
            "an updated pod was replaced by an old one: {members:?}"
        );
        updated = now;
        let healthy = members
            .values()
            .filter(|member| member.is_healthy())
            .count();
        assert!(
            healthy + 1 >= usize::try_from(shape.replicas).expect("small"),
            "{members:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_breaks_the_order_or_makes_a_second_pod_for_an_ordinal(
        shape in shape(),
        members in proptest::collection::btree_map(0..9_i32, member(), 0..8),
    ) {
        let (acts, _) = acts(&set(shape, None), &members);
        check(shape, &members, &acts, false);
    }

    #[test]
    fn every_set_comes_to_rest_with_its_pods_updated_down_to_the_partition(
        shape in shape(),
        members in proptest::collection::btree_map(0..9_i32, member(), 0..8),
        order in proptest::collection::vec(0..9_i32, 0..80),
    ) {
        run_to_rest(shape, members, order);
    }

    #[test]
    fn an_update_of_a_healthy_set_is_monotone_and_takes_one_pod_at_a_time(
        shape in shape(),
        order in proptest::collection::vec(0..9_i32, 0..120),
    ) {
        update(shape, order);
    }
}
