//! The rule by which a budget's status is made, pure, for programs that check or predict it: the
//! model of the eviction protocol in `testkit` runs on this function and not on a paraphrase.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};

pub use crate::disruption::notes::Insight;
use crate::disruption::{plan, write};

/// The status that the disruption controller writes when it knows this budget, these pods that the
/// budget selects, and the number of replicas that their controllers want; none when the present
/// one is right. `insight` says of which evicted pods `pods` may be older than their eviction, and
/// which have gone already.
///
/// # Errors
///
/// Why the numbers of the spec mean nothing.
pub fn budget_status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    replicas: i32,
    insight: &Insight,
    now: Timestamp,
) -> Result<Option<PodDisruptionBudgetStatus>, String> {
    let demand = rules::budgets::demand(budget.spec.as_ref(), pods.len(), replicas)
        .map_err(|error| error.to_string())?;
    Ok(plan::plan(budget, pods, demand, insight, now).status)
}

/// How the disruption controller writes `status` when it read this budget and another version is
/// stored by now: a JSON patch, which may still fail; none when it writes only over the version
/// that it read.
#[must_use]
pub fn status_patch(
    budget: &PodDisruptionBudget,
    status: &PodDisruptionBudgetStatus,
) -> Option<serde_json::Value> {
    write::patch(budget, status)
}
