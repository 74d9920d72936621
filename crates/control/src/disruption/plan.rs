//! What the status of a budget has to say. Pure: objects and the time in, a status out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::notes::Insight;
use crate::meta::{after_seconds, on_wire, until};
use crate::pods::{is_ready, is_terminating, name};
use rules::budgets::{DELETION_SECONDS, Demand};

const CONDITION: &str = "DisruptionAllowed";

/// What to do about a budget.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The status to write; none when the present one is right.
    pub(crate) status: Option<PodDisruptionBudgetStatus>,
    /// Pods whose eviction was granted and which are not being deleted.
    pub(super) not_deleted: Vec<&'a Arc<Pod>>,
    /// When time alone will change the figures.
    pub(super) recheck: Option<Duration>,
}

/// Compares what is there with what the budget asks for. `insight` says which of the evicted pods
/// `pods` may show in an earlier state than the one in which they were evicted, and which have gone
/// already.
pub(crate) fn plan<'a>(
    budget: &PodDisruptionBudget,
    pods: &'a [Arc<Pod>],
    demand: Demand,
    insight: &Insight,
    now: Timestamp,
) -> Plan<'a> {
    let noted = budget
        .status
        .as_ref()
        .and_then(|status| status.disrupted_pods.as_ref());
    let notes = sort_notes(noted, pods, insight, now);
    let healthy = pods
        .iter()
        .filter(|pod| is_healthy(pod, &notes.kept, now))
        .count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let allowed = if demand.expected > 0 {
        healthy.saturating_sub(demand.desired).max(0)
    } else {
        0
    };
    Plan {
        status: status(
            budget,
            Figures {
                healthy,
                allowed,
                demand,
            },
            notes.kept,
            now,
        ),
        not_deleted: notes.expired,
        recheck: notes.earliest.map(|at| until(now, at)),
    }
}

struct Notes<'a> {
    kept: BTreeMap<String, Time>,
    expired: Vec<&'a Arc<Pod>>,
    earliest: Option<Timestamp>,
}

/// Notes of granted evictions: those of pods that are being deleted or gone have served, and old
/// ones have expired.
///
/// A note knows its pod by name only. While the pods that we know may be older than the eviction,
/// one of that name that goes, or is not there, may be the predecessor of the one that was evicted,
/// and its end says nothing about the note. And one that is there may be the successor of the one
/// that was evicted, when that is known to have gone.
fn sort_notes<'a>(
    noted: Option<&BTreeMap<String, Time>>,
    pods: &'a [Arc<Pod>],
    insight: &Insight,
    now: Timestamp,
) -> Notes<'a> {
    let mut notes = Notes {
        kept: BTreeMap::new(),
        expired: Vec::new(),
        earliest: None,
    };
    let Some(noted) = noted.filter(|noted| !noted.is_empty()) else {
        return notes;
    };
    let standing: BTreeMap<&str, &Arc<Pod>> = pods
        .iter()
        .filter(|pod| !is_terminating(pod))
        .map(|pod| (name(pod), pod))
        .collect();
    for (pod, at) in noted {
        let found = standing.get(pod.as_str()).copied();
        if insight.served.contains(pod) || (found.is_none() && !insight.unsettled.contains(pod)) {
            continue;
        }
        let deadline = after_seconds(at.0, DELETION_SECONDS);
        // At the very moment at which the pod counts again, so that a status tells by its notes
        // which pods it does not count.
        if deadline <= now {
            notes.expired.extend(found);
        } else {
            notes.kept.insert(pod.clone(), at.clone());
            notes.earliest = Some(
                notes
                    .earliest
                    .map_or(deadline, |earliest| earliest.min(deadline)),
            );
        }
    }
    notes
}

fn is_healthy(pod: &Pod, notes: &BTreeMap<String, Time>, now: Timestamp) -> bool {
    let granted = notes
        .get(name(pod))
        .is_some_and(|at| after_seconds(at.0, DELETION_SECONDS) > now);
    !is_terminating(pod) && !granted && is_ready(pod)
}

struct Figures {
    healthy: i32,
    allowed: i32,
    demand: Demand,
}

fn status(
    budget: &PodDisruptionBudget,
    figures: Figures,
    notes: BTreeMap<String, Time>,
    now: Timestamp,
) -> Option<PodDisruptionBudgetStatus> {
    let old = budget.status.clone().unwrap_or_default();
    let generation = budget.metadata.generation.unwrap_or_default();
    let (verdict, reason) = if figures.allowed > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let told = old
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == CONDITION && c.status == verdict && c.reason == reason);
    let right = old.current_healthy == Some(figures.healthy)
        && old.desired_healthy == Some(figures.demand.desired)
        && old.expected_pods == Some(figures.demand.expected)
        && old.disruptions_allowed == Some(figures.allowed)
        && old.observed_generation.unwrap_or_default() == generation
        && *old.disrupted_pods.as_ref().unwrap_or(&BTreeMap::new()) == notes;
    if told && right {
        return None;
    }
    let mut conditions = old.conditions.unwrap_or_default();
    set_condition(
        &mut conditions,
        verdict,
        reason,
        String::new(),
        Some(generation),
        now,
    );
    Some(PodDisruptionBudgetStatus {
        conditions: Some(conditions),
        current_healthy: Some(figures.healthy),
        desired_healthy: Some(figures.demand.desired),
        disrupted_pods: Some(notes).filter(|notes| !notes.is_empty()),
        disruptions_allowed: Some(figures.allowed),
        expected_pods: Some(figures.demand.expected),
        observed_generation: Some(generation),
    })
}

/// The status of a budget that could not be counted: nothing is allowed, and the condition says
/// why. The other figures and the observed generation stay, so that an edit that cannot be counted
/// is not taken for observed. None when it says so already.
pub(super) fn failed(
    budget: &PodDisruptionBudget,
    why: &str,
    now: Timestamp,
) -> Option<PodDisruptionBudgetStatus> {
    let old = budget.status.clone().unwrap_or_default();
    let mut new = old.clone();
    new.disruptions_allowed = Some(0);
    let observed = old
        .observed_generation
        .filter(|generation| *generation != 0);
    set_condition(
        new.conditions.get_or_insert_default(),
        "False",
        "SyncFailed",
        why.to_owned(),
        observed,
        now,
    );
    (new != old).then_some(new)
}

fn set_condition(
    conditions: &mut Vec<Condition>,
    status: &str,
    reason: &str,
    message: String,
    observed: Option<i64>,
    now: Timestamp,
) {
    let condition = Condition {
        type_: CONDITION.to_owned(),
        status: status.to_owned(),
        observed_generation: observed,
        last_transition_time: on_wire(now),
        reason: reason.to_owned(),
        message,
    };
    rules::conditions::set(conditions, condition);
}

#[cfg(test)]
mod tests;
