//! Converts between the small states of the model and the types of the production rules: the
//! decision and the charge of an eviction, and the plan of the disruption controller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use control::model::DisruptedPodsView;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod as CorePod, PodCondition, PodStatus};
use k8s_openapi::api::policy::v1::{
    PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use registry::model::{BudgetFacts, Decision, PodFacts, Preconditions};
use rules::eviction::{BudgetState, Phase, PodState};
use serde_json::{Value, json};

use crate::world::{Budget, Known, Minute, Name, Pod, Pods, Status, Uid};

const CONDITION: &str = "DisruptionAllowed";
/// The uid of the budget.
const UID: &str = "b-uid";

/// The outcome of an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Refused,
    Free,
    Charged,
}

/// Decides an eviction with the production rule.
pub(crate) fn decide(name: Name, pod: Pod, budget: &Budget, uid: Option<Uid>) -> Verdict {
    let facts = PodFacts {
        state: PodState {
            phase: Phase::Running,
            ready: pod.ready,
            terminating: pod.leaving,
        },
        uid: uid_text(pod.uid),
    };
    let status = &budget.status;
    let seen = BudgetFacts {
        name: "b".to_owned(),
        state: BudgetState {
            observed: status.observed >= budget.generation,
            disruptions_allowed: status.allowed.into(),
            current_healthy: status.healthy.into(),
            desired_healthy: status.desired.into(),
            disrupted_pods: status.notes.len(),
            always_allow: false,
        },
        ..BudgetFacts::default()
    };
    let (name, uid) = (name_text(name), uid.map(uid_text));
    let asked = Preconditions {
        pod: &name,
        uid: uid.as_deref(),
        resource_version: None,
    };
    match registry::model::decide(&facts, "1", &[&seen], &asked, true) {
        Decision::Refuse(_) => Verdict::Refused,
        Decision::Evict => Verdict::Free,
        Decision::Charge => Verdict::Charged,
    }
}

/// Returns the status of the budget after the charge for this pod.
pub(crate) fn charged(status: &Status, name: Name, minute: Minute) -> Status {
    let mut tree = kinds::Tree::from(json!({"status": typed(status)}));
    registry::model::charged(&mut tree, &name_text(name), time(minute));
    let budget: PodDisruptionBudget =
        serde_json::from_str(&tree.to_string()).expect("the charge leaves a budget");
    small(&budget.status.expect("the charge leaves a status"))
}

/// Returns the status that the disruption controller writes from these pods, and the pods that it
/// counts; `None` if the status is correct already.
pub(crate) fn plan(
    budget: &Budget,
    pods: &Pods,
    known: &Known,
    minute: Minute,
) -> Option<(Status, BTreeSet<Uid>)> {
    let typed = typed_budget(budget);
    let seen: Vec<Arc<CorePod>> = pods
        .iter()
        .map(|(name, pod)| Arc::new(core_pod(*name, *pod)))
        .collect();
    let view = DisruptedPodsView {
        unsettled: known.unsettled.keys().copied().map(name_text).collect(),
        fulfilled: known.served.iter().copied().map(name_text).collect(),
        ..DisruptedPodsView::default()
    };
    let written = control::model::budget_status(&typed, &seen, 0, &view, time(minute))
        .expect("a number of pods can be counted")?;
    let status = small(&written);
    let counted: BTreeSet<Uid> = pods
        .iter()
        .filter(|(name, pod)| {
            pod.is_healthy() && status.notes.get(name).is_none_or(|&at| minute >= at + 2)
        })
        .map(|(_, pod)| pod.uid)
        .collect();
    assert_eq!(
        counted.len(),
        usize::from(status.healthy),
        "the model counts as the controller does"
    );
    Some((status, counted))
}

/// Returns the result of writing a status that was computed from `read` when another version of the
/// budget is stored; `None` if it is refused. A `careless` controller does not check which count
/// the allowance belongs to.
pub(crate) fn patched(
    read: &Budget,
    new: &Status,
    stored: &Status,
    careless: bool,
) -> Option<Status> {
    let mut steps = control::model::status_patch(&typed_budget(read), &typed(new))?;
    if careless {
        let asks = |step: &Value| {
            step["op"] == "test"
                && step["path"]
                    .as_str()
                    .is_some_and(|path| path.ends_with("Healthy") || path.ends_with("Pods"))
        };
        steps.as_array_mut()?.retain(|step| !asks(step));
    }
    let stored = json!({"metadata": {"uid": UID}, "status": typed(stored)});
    let tree = kinds::patch::json(stored.into(), steps.into()).ok()?;
    let budget: PodDisruptionBudget =
        serde_json::from_str(&tree.to_string()).expect("the patch leaves a budget");
    Some(small(&budget.status.expect("the patch leaves a status")))
}

fn typed_budget(budget: &Budget) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: ObjectMeta {
            name: Some("b".to_owned()),
            uid: Some(UID.to_owned()),
            generation: Some(budget.generation.into()),
            ..ObjectMeta::default()
        },
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(budget.floor.into())),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: Some(typed(&budget.status)),
    }
}

fn core_pod(name: Name, pod: Pod) -> CorePod {
    let ready = PodCondition {
        type_: "Ready".to_owned(),
        status: if pod.ready { "True" } else { "False" }.to_owned(),
        ..PodCondition::default()
    };
    CorePod {
        metadata: ObjectMeta {
            name: Some(name_text(name)),
            deletion_timestamp: pod.leaving.then(|| Time(time(0))),
            ..ObjectMeta::default()
        },
        status: Some(PodStatus {
            conditions: Some(vec![ready]),
            ..PodStatus::default()
        }),
        ..CorePod::default()
    }
}

fn typed(status: &Status) -> PodDisruptionBudgetStatus {
    let condition = |allowed: bool| Condition {
        type_: CONDITION.to_owned(),
        status: if allowed { "True" } else { "False" }.to_owned(),
        reason: if allowed {
            "SufficientPods"
        } else {
            "InsufficientPods"
        }
        .to_owned(),
        last_transition_time: Time(time(0)),
        message: String::new(),
        observed_generation: None,
    };
    let notes: BTreeMap<String, Time> = status
        .notes
        .iter()
        .map(|(name, at)| (name_text(*name), Time(time(*at))))
        .collect();
    PodDisruptionBudgetStatus {
        conditions: status.verdict.map(|allowed| vec![condition(allowed)]),
        current_healthy: Some(status.healthy.into()),
        desired_healthy: Some(status.desired.into()),
        disrupted_pods: Some(notes).filter(|notes| !notes.is_empty()),
        disruptions_allowed: Some(status.allowed.into()),
        expected_pods: Some(status.expected.into()),
        observed_generation: Some(status.observed.into()),
    }
}

fn small(status: &PodDisruptionBudgetStatus) -> Status {
    let number =
        |value: Option<i32>| u8::try_from(value.unwrap_or_default()).expect("a small number");
    let condition = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == CONDITION);
    let notes = status.disrupted_pods.iter().flatten();
    Status {
        observed: u8::try_from(status.observed_generation.unwrap_or_default())
            .expect("a small number"),
        healthy: number(status.current_healthy),
        desired: number(status.desired_healthy),
        expected: number(status.expected_pods),
        allowed: i8::try_from(status.disruptions_allowed.unwrap_or_default())
            .expect("a small number"),
        notes: notes
            .map(|(name, at)| {
                (
                    name[1..].parse().expect("a name of the model"),
                    minute(at.0),
                )
            })
            .collect(),
        verdict: condition.map(|condition| condition.status == "True"),
    }
}

fn name_text(name: Name) -> String {
    format!("p{name}")
}

fn uid_text(uid: Uid) -> String {
    uid.to_string()
}

fn time(minute: Minute) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + 60 * i64::from(minute)).expect("a time of this century")
}

fn minute(time: Timestamp) -> Minute {
    Minute::try_from((time.as_second() - 1_700_000_000) / 60).expect("a minute of the model")
}
