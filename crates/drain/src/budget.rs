//! The arithmetic of one budget over a snapshot: which pods it covers, which of them count as
//! healthy and why the others do not, how many there should be, and what it would allow.
//!
//! It follows the disruption controller (what the status *should* say) and keeps what the status
//! *does* say beside it in [`Reported`], because evictions are decided by the latter. Pure; a
//! snapshot in which something is missing gives [`Uncounted::Unseen`] and no guess.
//!
//! Read next: `owners.rs`, how many pods the controllers want.

mod owners;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rules::selector::Selector;
use serde::Serialize;

pub use owners::Owner;
pub(crate) use owners::wants_scale;
pub use rules::budgets::Demand as Figures;

use crate::cluster::Snapshot;
use crate::health::{self, Unready};

/// How long a granted eviction keeps its pod from counting as healthy before the pod is seen
/// leaving.
pub const GRANT: SignedDuration = SignedDuration::from_secs(rules::budgets::DELETION_SECONDS);

/// How one covered pod counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Ready and staying.
    Healthy,
    /// Not ready.
    Unready(Unready),
    /// Its eviction was granted and it has not been seen leaving: not healthy until this moment.
    Granted {
        /// When the budget forgets it.
        until: Timestamp,
    },
    /// Being deleted.
    Terminating,
}

/// A pod that the budget selects.
#[derive(Clone, Debug)]
pub struct Covered<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// How it counts.
    pub standing: Standing,
}

/// What the budget's spec asks for. The controller looks at `maxUnavailable` first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `maxUnavailable`
    MaxUnavailable(IntOrString),
    /// `minAvailable`
    MinAvailable(IntOrString),
    /// Neither: such a budget allows nothing.
    Nothing,
}

/// Why there are no figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uncounted {
    /// The disruption controller cannot count either (`SyncFailed`): its words.
    Fails(String),
    /// The snapshot lacks what it takes.
    Unseen(String),
}

/// What the status says; zero where it says nothing, as the server reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reported {
    /// `expectedPods`
    pub expected: i32,
    /// `desiredHealthy`
    pub desired: i32,
    /// `currentHealthy`
    pub healthy: i32,
    /// `disruptionsAllowed`
    pub allowed: i32,
    /// The spec was edited and the controller has not looked yet: every eviction is told to come
    /// back.
    pub stale: bool,
    /// Message of the condition `DisruptionAllowed` with the reason `SyncFailed`.
    pub sync_failed: Option<String>,
    /// How many granted evictions it still notes (`disruptedPods`).
    pub granted: usize,
}

/// A budget, counted.
#[derive(Clone, Debug)]
pub struct Count<'a> {
    /// The budget.
    pub budget: &'a PodDisruptionBudget,
    /// What it asks for.
    pub rule: Rule,
    /// Every pod that it selects, in the snapshot's order.
    pub pods: Vec<Covered<'a>>,
    /// The distinct controllers of these pods.
    pub owners: Vec<Owner<'a>>,
    /// Pods that no controller replaces.
    pub unmanaged: Vec<&'a Pod>,
    /// What follows for the numbers.
    pub figures: Result<Figures, Uncounted>,
    /// What the status says.
    pub reported: Reported,
}

impl Count<'_> {
    /// Pods that count as healthy.
    #[must_use]
    pub fn healthy(&self) -> i32 {
        let healthy = self
            .pods
            .iter()
            .filter(|covered| covered.standing == Standing::Healthy)
            .count();
        i32::try_from(healthy).unwrap_or(i32::MAX)
    }

    /// How many disruptions the status should allow; none when that cannot be counted.
    #[must_use]
    pub fn allowed(&self) -> Option<i32> {
        let figures = self.figures.as_ref().ok()?;
        Some(if figures.expected > 0 {
            self.healthy().saturating_sub(figures.desired).max(0)
        } else {
            0
        })
    }

    /// What it would allow with every pod that should be there healthy: 0 for a budget under which
    /// no healthy pod can ever be evicted.
    #[must_use]
    pub fn allowed_at_best(&self) -> Option<i32> {
        let figures = self.figures.as_ref().ok()?;
        let wanted = self
            .owners
            .iter()
            .filter_map(|owner| owner.replicas.as_ref().ok())
            .copied()
            .fold(0, i32::saturating_add);
        let unmanaged = i32::try_from(self.unmanaged.len()).unwrap_or(i32::MAX);
        let all = wanted.saturating_add(unmanaged).max(self.healthy());
        let desired = match &self.rule {
            Rule::MinAvailable(IntOrString::Int(number)) => *number,
            _ => figures.desired,
        };
        Some(if figures.expected > 0 {
            all.saturating_sub(desired).max(0)
        } else {
            0
        })
    }

    /// True when the status says something else than what is counted here, although it has seen the
    /// present spec: the controller is behind, or down.
    #[must_use]
    pub fn drifted(&self) -> bool {
        let Ok(figures) = &self.figures else {
            return false;
        };
        let said = (
            self.reported.expected,
            self.reported.desired,
            self.reported.healthy,
        );
        !self.reported.stale
            && self.reported.sync_failed.is_none()
            && said != (figures.expected, figures.desired, self.healthy())
    }
}

/// Namespace of a budget; manifests may leave it out.
#[must_use]
pub fn namespace(budget: &PodDisruptionBudget) -> &str {
    budget.metadata.namespace.as_deref().unwrap_or("default")
}

/// Name of a budget.
#[must_use]
pub fn name(budget: &PodDisruptionBudget) -> &str {
    budget.metadata.name.as_deref().unwrap_or_default()
}

/// The budget's selector: null selects nothing, an empty one every pod of the namespace.
///
/// # Errors
/// The API's words about a selector that cannot be used.
pub fn selector(budget: &PodDisruptionBudget) -> Result<Selector, String> {
    Selector::compile(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()))
}

/// Whether the budget selects the pod. A selector that cannot be used selects nothing.
#[must_use]
pub fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    namespace(budget) == health::namespace(pod)
        && selector(budget).is_ok_and(|selector| selector.matches(pod.metadata.labels.as_ref()))
}

/// All budgets that select the pod. More than one, and no eviction of it is possible.
#[must_use]
pub fn selecting<'a>(snapshot: &'a Snapshot, pod: &Pod) -> Vec<&'a PodDisruptionBudget> {
    snapshot
        .budgets
        .iter()
        .filter(|budget| selects(budget, pod))
        .collect()
}

/// The other budgets that select pods of this one, each with the pods that both select.
#[must_use]
pub fn overlaps<'a>(
    snapshot: &'a Snapshot,
    count: &Count<'a>,
) -> Vec<(&'a PodDisruptionBudget, Vec<&'a Pod>)> {
    let near = snapshot.budgets.iter().filter(|other| {
        namespace(other) == namespace(count.budget) && name(other) != name(count.budget)
    });
    let shared = |other: &&'a PodDisruptionBudget| -> Vec<&'a Pod> {
        let Ok(selector) = selector(other) else {
            return Vec::new();
        };
        count
            .pods
            .iter()
            .map(|covered| covered.pod)
            .filter(|pod| selector.matches(pod.metadata.labels.as_ref()))
            .collect()
    };
    near.map(|other| (other, shared(&other)))
        .filter(|(_, pods)| !pods.is_empty())
        .collect()
}

/// What the spec asks for.
#[must_use]
pub fn rule(budget: &PodDisruptionBudget) -> Rule {
    let spec = budget.spec.as_ref();
    match spec.map(|spec| (&spec.max_unavailable, &spec.min_available)) {
        Some((Some(max), _)) => Rule::MaxUnavailable(max.clone()),
        Some((None, Some(min))) => Rule::MinAvailable(min.clone()),
        _ => Rule::Nothing,
    }
}

/// Counts a budget.
#[must_use]
pub fn count<'a>(snapshot: &'a Snapshot, budget: &'a PodDisruptionBudget) -> Count<'a> {
    let selector = selector(budget);
    let covered: Vec<&Pod> = match &selector {
        Ok(selector) => in_namespace(snapshot, namespace(budget))
            .filter(|pod| selector.matches(pod.metadata.labels.as_ref()))
            .collect(),
        Err(_) => Vec::new(),
    };
    let (owners, unmanaged) = owners::of(snapshot, &covered);
    let rule = rule(budget);
    let figures = match selector {
        Ok(_) => figures(snapshot, budget, covered.len(), &owners),
        Err(error) => Err(Uncounted::Fails(error)),
    };
    let pods = covered
        .into_iter()
        .map(|pod| Covered {
            pod,
            standing: standing(snapshot, budget, pod),
        })
        .collect();
    Count {
        budget,
        rule,
        pods,
        owners,
        unmanaged,
        figures,
        reported: reported(budget),
    }
}

fn in_namespace<'a>(snapshot: &'a Snapshot, namespace: &str) -> impl Iterator<Item = &'a Pod> {
    snapshot
        .pods
        .iter()
        .filter(move |pod| health::namespace(pod) == namespace)
}

/// The numbers that follow from the spec, of what the controllers want where it asks them.
fn figures(
    snapshot: &Snapshot,
    budget: &PodDisruptionBudget,
    pods: usize,
    owners: &[Owner<'_>],
) -> Result<Figures, Uncounted> {
    if let Some(unread) = snapshot
        .unread
        .iter()
        .find(|unread| unread.resource == "pods")
    {
        return Err(Uncounted::Unseen(format!(
            "pods were not read: {}",
            unread.why
        )));
    }
    let spec = budget.spec.as_ref();
    let replicas = match rules::budgets::asks_controllers(spec) {
        true => owners.iter().try_fold(0, |sum: i32, owner| {
            owner.replicas.clone().map(|more| sum.saturating_add(more))
        })?,
        false => 0,
    };
    rules::budgets::demand(spec, pods, replicas)
        .map_err(|error| Uncounted::Fails(error.to_string()))
}

/// How many healthy pods the budget would want of workloads of so many, whatever is there now. None
/// when it says nothing that can be used.
#[must_use]
pub fn desired_of(budget: &PodDisruptionBudget, expected: i32) -> Option<i32> {
    let pods = usize::try_from(expected).unwrap_or_default();
    let demand = rules::budgets::demand(budget.spec.as_ref(), pods, expected).ok()?;
    (rule(budget) != Rule::Nothing).then_some(demand.desired)
}

fn standing(snapshot: &Snapshot, budget: &PodDisruptionBudget, pod: &Pod) -> Standing {
    if health::is_terminating(pod) {
        return Standing::Terminating;
    }
    let noted = budget
        .status
        .as_ref()
        .and_then(|status| status.disrupted_pods.as_ref()?.get(health::name(pod)));
    if let Some(until) = noted
        .map(|at| at.0 + GRANT)
        .filter(|until| *until > snapshot.now)
    {
        return Standing::Granted { until };
    }
    health::unready(snapshot, pod).map_or(Standing::Healthy, Standing::Unready)
}

/// What the budget's status says.
#[must_use]
pub fn reported(budget: &PodDisruptionBudget) -> Reported {
    let status = budget.status.clone().unwrap_or_default();
    let allowed = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "DisruptionAllowed");
    let failed =
        allowed.filter(|condition| condition.status == "False" && condition.reason == "SyncFailed");
    Reported {
        expected: status.expected_pods.unwrap_or_default(),
        desired: status.desired_healthy.unwrap_or_default(),
        healthy: status.current_healthy.unwrap_or_default(),
        allowed: status.disruptions_allowed.unwrap_or_default(),
        stale: status.observed_generation.unwrap_or_default()
            < budget.metadata.generation.unwrap_or_default(),
        sync_failed: failed.map(|condition| condition.message.clone()),
        granted: status.disrupted_pods.map_or(0, |noted| noted.len()),
    }
}

#[cfg(test)]
mod tests;
