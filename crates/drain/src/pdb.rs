//! What a PodDisruptionBudget itself contains: its key, its selector, its limit, its status.
//!
//! Pure accessors over single objects; [`budget`](crate::budget) counts the pods of a budget in a
//! snapshot.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rules::eviction::BudgetState;
use rules::selector::Selector;
use serde::Serialize;

use crate::pods;

/// The limit in a budget's spec. The disruption controller reads `maxUnavailable` first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisruptionLimit {
    /// `maxUnavailable` is set.
    MaxUnavailable(IntOrString),
    /// `minAvailable` is set, and `maxUnavailable` is not.
    MinAvailable(IntOrString),
    /// Neither is set. Such a budget never allows a disruption.
    Unset,
}

/// The status of a budget. Absent fields are zero, as the API server reads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedStatus {
    /// `expectedPods`
    pub expected: i32,
    /// `desiredHealthy`
    pub desired: i32,
    /// `currentHealthy`
    pub healthy: i32,
    /// `disruptionsAllowed`
    pub allowed: i32,
    /// True when `observedGeneration` is behind `generation`: the disruption controller has not
    /// processed the newest spec, and the server refuses every eviction until it has.
    pub stale: bool,
    /// The message of the condition `DisruptionAllowed` when its reason is `SyncFailed`.
    pub sync_failed: Option<String>,
    /// The number of entries in `disruptedPods`.
    pub granted: usize,
}

/// Returns the namespace of the budget, `default` when it is absent, as in manifests.
#[must_use]
pub fn namespace(budget: &PodDisruptionBudget) -> &str {
    pods::namespace_of(&budget.metadata)
}

/// Returns the name of the budget.
#[must_use]
pub fn name(budget: &PodDisruptionBudget) -> &str {
    budget.metadata.name.as_deref().unwrap_or_default()
}

/// Returns `NAMESPACE/NAME`.
#[must_use]
pub fn key(budget: &PodDisruptionBudget) -> String {
    format!("{}/{}", namespace(budget), name(budget))
}

/// Compiles the budget's selector. A null selector selects nothing, an empty one every pod of the
/// namespace.
///
/// # Errors
/// The API server's message about an invalid selector.
pub fn selector(budget: &PodDisruptionBudget) -> Result<Selector, String> {
    Selector::compile(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()))
}

/// Returns true when the budget has no selector, so that it selects no pod.
#[must_use]
pub fn has_no_selector(budget: &PodDisruptionBudget) -> bool {
    budget
        .spec
        .as_ref()
        .is_none_or(|spec| spec.selector.is_none())
}

/// Returns true when the budget selects the pod. An invalid selector selects nothing.
#[must_use]
pub fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    namespace(budget) == pods::namespace(pod)
        && selector(budget).is_ok_and(|selector| selector.matches(pod.metadata.labels.as_ref()))
}

/// Returns true for `unhealthyPodEvictionPolicy: AlwaysAllow`.
#[must_use]
pub fn always_allows_unready(budget: &PodDisruptionBudget) -> bool {
    budget
        .spec
        .as_ref()
        .and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref())
        == Some("AlwaysAllow")
}

/// Returns the limit of the spec.
#[must_use]
pub fn limit(budget: &PodDisruptionBudget) -> DisruptionLimit {
    let spec = budget.spec.as_ref();
    match spec.map(|spec| (&spec.max_unavailable, &spec.min_available)) {
        Some((Some(max), _)) => DisruptionLimit::MaxUnavailable(max.clone()),
        Some((None, Some(min))) => DisruptionLimit::MinAvailable(min.clone()),
        _ => DisruptionLimit::Unset,
    }
}

/// Returns when the spec was last changed, as far as the field managers show it; else when the
/// budget was created.
#[must_use]
pub fn changed_at(budget: &PodDisruptionBudget) -> Option<Timestamp> {
    let managers = budget.metadata.managed_fields.iter().flatten();
    let of_spec =
        managers.filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty());
    let changed = of_spec
        .filter_map(|entry| entry.time.as_ref().map(|time| time.0))
        .max();
    let created = budget
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0);
    changed.max(created)
}

/// Formats a limit as it is written in the spec.
#[must_use]
pub fn limit_text(limit: &DisruptionLimit) -> String {
    let value = |value: &IntOrString| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    };
    match limit {
        DisruptionLimit::MaxUnavailable(max) => format!("maxUnavailable {}", value(max)),
        DisruptionLimit::MinAvailable(min) => format!("minAvailable {}", value(min)),
        DisruptionLimit::Unset => "neither minAvailable nor maxUnavailable".to_owned(),
    }
}

/// Returns how many healthy pods the budget would require if its workloads had `expected` replicas,
/// whatever runs now. `None` when the limit is unset or invalid.
#[must_use]
pub fn desired_of(budget: &PodDisruptionBudget, expected: i32) -> Option<i32> {
    let pods = usize::try_from(expected).unwrap_or_default();
    let demand = rules::budgets::demand(budget.spec.as_ref(), pods, expected).ok()?;
    (limit(budget) != DisruptionLimit::Unset).then_some(demand.desired)
}

/// Returns the status of the budget.
#[must_use]
pub fn reported(budget: &PodDisruptionBudget) -> ReportedStatus {
    let status = budget.status.clone().unwrap_or_default();
    let allowed = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "DisruptionAllowed");
    let failed =
        allowed.filter(|condition| condition.status == "False" && condition.reason == "SyncFailed");
    ReportedStatus {
        expected: status.expected_pods.unwrap_or_default(),
        desired: status.desired_healthy.unwrap_or_default(),
        healthy: status.current_healthy.unwrap_or_default(),
        allowed: status.disruptions_allowed.unwrap_or_default(),
        stale: status.observed_generation.unwrap_or_default()
            < budget.metadata.generation.unwrap_or_default(),
        sync_failed: failed.map(|condition| condition.message.clone()),
        granted: status.disrupted_pods.map_or(0, |entries| entries.len()),
    }
}

/// Returns what the rule of an eviction reads of the budget.
#[must_use]
pub fn eviction_state(budget: &PodDisruptionBudget) -> BudgetState {
    let reported = reported(budget);
    BudgetState {
        observed: !reported.stale,
        disruptions_allowed: reported.allowed.into(),
        current_healthy: reported.healthy.into(),
        desired_healthy: reported.desired.into(),
        disrupted_pods: reported.granted,
        always_allow: always_allows_unready(budget),
    }
}
