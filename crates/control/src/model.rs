//! The rule for the status of a budget, pure, for programs that check or predict it. The model of
//! the eviction protocol in `testkit` calls these functions instead of imitating them.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};

pub use crate::disruption::disrupted_pods::DisruptedPodsView;
use crate::disruption::{plan, write};

/// Returns the status that the disruption controller writes for this budget; none when the present
/// one is right.
///
/// `pods` are the pods that the budget selects, `replicas` is the number that their controllers
/// want. `view` says for which `disruptedPods` entries `pods` may be older than the eviction, and
/// which entries are fulfilled.
///
/// # Errors
/// A number or percentage of the spec is invalid.
pub fn budget_status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    replicas: i32,
    view: &DisruptedPodsView,
    now: Timestamp,
) -> Result<Option<PodDisruptionBudgetStatus>, String> {
    let demand = rules::budgets::demand(budget.spec.as_ref(), pods.len(), replicas)
        .map_err(|error| error.to_string())?;
    Ok(plan::plan(budget, pods, demand, view, now).status)
}

/// Returns the JSON patch by which the disruption controller writes `status` when it has read
/// `budget` and another version may be stored by now. The patch may fail. None when the controller
/// replaces only the version that it read.
#[must_use]
pub fn status_patch(
    budget: &PodDisruptionBudget,
    status: &PodDisruptionBudgetStatus,
) -> Option<serde_json::Value> {
    write::patch(budget, status)
}
