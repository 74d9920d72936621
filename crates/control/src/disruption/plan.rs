//! Computes the status of a budget. Pure: objects and the time in, a status out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::disrupted_pods::DisruptedPodsView;
use crate::meta::{after_seconds, on_wire, until};
use crate::pods::{is_ready, is_terminating, name};
use rules::budgets::{DELETION_SECONDS, Demand};

const CONDITION: &str = "DisruptionAllowed";

/// What to do about a budget.
#[derive(Debug)]
pub(crate) struct BudgetStatusPlan<'a> {
    /// The status to write; none when the present one is counted.
    pub(crate) status: Option<PodDisruptionBudgetStatus>,
    /// Pods whose eviction was granted and which are not being deleted.
    pub(super) not_deleted: Vec<&'a Arc<Pod>>,
    /// When time alone will change the counts.
    pub(super) recheck: Option<Duration>,
}

/// Compares the pods with what the budget demands. `view` says for which `disruptedPods` entries
/// `pods` may show a state before the eviction, and which entries are fulfilled.
pub(crate) fn plan<'a>(
    budget: &PodDisruptionBudget,
    pods: &'a [Arc<Pod>],
    demand: Demand,
    view: &DisruptedPodsView,
    now: Timestamp,
) -> BudgetStatusPlan<'a> {
    let present = budget
        .status
        .as_ref()
        .and_then(|status| status.disrupted_pods.as_ref());
    let entries = sort_entries(present, pods, view, now);
    let healthy = pods
        .iter()
        .filter(|pod| is_healthy(pod, &entries.kept))
        .count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let allowed = demand.allowed(healthy);
    BudgetStatusPlan {
        status: status(
            budget,
            BudgetCounts {
                healthy,
                allowed,
                demand,
            },
            entries.kept,
            now,
        ),
        not_deleted: entries.expired,
        recheck: entries.earliest.map(|at| until(now, at)),
    }
}

struct SortedEntries<'a> {
    kept: BTreeMap<String, Time>,
    expired: Vec<&'a Arc<Pod>>,
    earliest: Option<Timestamp>,
}

/// Sorts the `disruptedPods` entries. An entry is dropped when its pod is terminating or gone, and
/// expires after two minutes.
///
/// An entry identifies its pod by name only. While `pods` may be older than the eviction, a pod of
/// that name that is terminating or missing may be a predecessor of the evicted pod, so the entry
/// is kept. A pod that is present may be a successor if the entry is known to be fulfilled.
fn sort_entries<'a>(
    present: Option<&BTreeMap<String, Time>>,
    pods: &'a [Arc<Pod>],
    view: &DisruptedPodsView,
    now: Timestamp,
) -> SortedEntries<'a> {
    let mut entries = SortedEntries {
        kept: BTreeMap::new(),
        expired: Vec::new(),
        earliest: None,
    };
    let Some(present) = present.filter(|present| !present.is_empty()) else {
        return entries;
    };
    let standing: BTreeMap<&str, &Arc<Pod>> = pods
        .iter()
        .filter(|pod| !is_terminating(pod))
        .map(|pod| (name(pod), pod))
        .collect();
    for (pod, at) in present {
        let found = standing.get(pod.as_str()).copied();
        if view.fulfilled.contains(pod) || (found.is_none() && !view.unsettled.contains(pod)) {
            continue;
        }
        let set = view.clock_set.get(pod).copied().unwrap_or_default();
        let deadline = after_seconds(at.0, DELETION_SECONDS);
        let deadline = deadline.saturating_add(set).unwrap_or(deadline);
        // At this very moment `is_healthy` counts the pod again, so that the entries in a status
        // name exactly the ready pods that it does not count.
        if deadline <= now {
            entries.expired.extend(found);
        } else {
            entries.kept.insert(pod.clone(), at.clone());
            entries.earliest = Some(
                entries
                    .earliest
                    .map_or(deadline, |earliest| earliest.min(deadline)),
            );
        }
    }
    entries
}

/// `entries` are those that have not expired.
fn is_healthy(pod: &Pod, entries: &BTreeMap<String, Time>) -> bool {
    !is_terminating(pod) && !entries.contains_key(name(pod)) && is_ready(pod)
}

struct BudgetCounts {
    healthy: i32,
    allowed: i32,
    demand: Demand,
}

fn status(
    budget: &PodDisruptionBudget,
    counts: BudgetCounts,
    entries: BTreeMap<String, Time>,
    now: Timestamp,
) -> Option<PodDisruptionBudgetStatus> {
    let old = budget.status.clone().unwrap_or_default();
    let generation = budget.metadata.generation.unwrap_or_default();
    let (state, reason) = if counts.allowed > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let reported = old
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == CONDITION && c.status == state && c.reason == reason);
    let counted = old.current_healthy == Some(counts.healthy)
        && old.desired_healthy == Some(counts.demand.desired)
        && old.expected_pods == Some(counts.demand.expected)
        && old.disruptions_allowed == Some(counts.allowed)
        && old.observed_generation.unwrap_or_default() == generation
        && *old.disrupted_pods.as_ref().unwrap_or(&BTreeMap::new()) == entries;
    if reported && counted {
        return None;
    }
    let mut conditions = old.conditions.unwrap_or_default();
    set_condition(
        &mut conditions,
        state,
        reason,
        String::new(),
        Some(generation),
        now,
    );
    Some(PodDisruptionBudgetStatus {
        conditions: Some(conditions),
        current_healthy: Some(counts.healthy),
        desired_healthy: Some(counts.demand.desired),
        disrupted_pods: Some(entries).filter(|entries| !entries.is_empty()),
        disruptions_allowed: Some(counts.allowed),
        expected_pods: Some(counts.demand.expected),
        observed_generation: Some(generation),
    })
}

/// The status of a budget whose reconciliation failed: it allows nothing, and the condition gives
/// the reason. The other counts and the observed generation stay, so that an edit that cannot be
/// counted is not reported as observed. None when the present status says the same.
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
mod properties;
#[cfg(test)]
mod tests;
