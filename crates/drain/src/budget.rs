//! The arithmetic of one budget over a snapshot: the pods that it selects, which of them count as
//! healthy, how many must stay healthy, and how many disruptions follow.
//!
//! This is what the disruption controller computes, so what the status *should* contain.
//! [`BudgetCount::reported`] is what it *does* contain, since the server decides evictions by it.
//! Pure. When the snapshot lacks an object, the result is [`CountError::Unseen`], never a guess.
//!
//! Read next: `owners.rs`, how many pods the controllers want.

mod owners;

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rules::budgets::Demand;

pub use owners::Owner;

use crate::cluster::ClusterSnapshot;
use crate::pdb::{self, DisruptionLimit, ReportedStatus};
use crate::pods;
use crate::readiness::{self, Unready};
use crate::workloads::autoscalers;

/// How long a `disruptedPods` entry keeps its pod from counting as healthy.
pub const ENTRY_LIFETIME: SignedDuration =
    SignedDuration::from_secs(rules::budgets::DELETION_SECONDS);

/// How a selected pod counts in its budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodHealth {
    /// The pod is ready and not being deleted. The only state that counts as healthy.
    Healthy,
    /// The pod is not ready.
    Unready(Unready),
    /// The pod has a `disruptedPods` entry: its eviction was granted, and its deletion has not been
    /// observed yet.
    Granted {
        /// When the entry expires and the pod counts as healthy again.
        until: Timestamp,
    },
    /// The pod is being deleted.
    Terminating,
}

/// A pod that the budget selects.
#[derive(Clone, Debug)]
pub struct CoveredPod<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// How it counts.
    pub health: PodHealth,
}

/// Why the number of pods that must stay healthy is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountError {
    /// The disruption controller cannot compute it either (`SyncFailed`), with its message.
    Fails(String),
    /// The snapshot lacks an object that is needed.
    Unseen(String),
}

/// A budget and its arithmetic.
#[derive(Clone, Debug)]
pub struct BudgetCount<'a> {
    /// The budget.
    pub budget: &'a PodDisruptionBudget,
    /// The limit of its spec.
    pub limit: DisruptionLimit,
    /// Every pod that it selects, in the order of the snapshot.
    pub pods: Vec<CoveredPod<'a>>,
    /// The distinct controllers of these pods.
    pub owners: Vec<Owner<'a>>,
    /// The selected pods without a controller.
    pub unmanaged: Vec<&'a Pod>,
    /// How many pods are expected, and how many of them must stay healthy.
    pub demand: Result<Demand, CountError>,
    /// The status of the budget.
    pub reported: ReportedStatus,
}

impl BudgetCount<'_> {
    /// Returns the number of healthy pods.
    #[must_use]
    pub fn healthy(&self) -> i32 {
        let healthy = self
            .pods
            .iter()
            .filter(|covered| covered.health == PodHealth::Healthy)
            .count();
        i32::try_from(healthy).unwrap_or(i32::MAX)
    }

    /// Returns how many pods the controllers want in all, as far as that is known.
    #[must_use]
    pub fn wanted(&self) -> i32 {
        self.owners
            .iter()
            .filter_map(|owner| owner.replicas.as_ref().ok())
            .copied()
            .fold(0, i32::saturating_add)
    }

    /// Returns how many pods the controllers may want, under autoscalers at most, as far as that is
    /// known.
    #[must_use]
    pub fn most(&self) -> i32 {
        self.owners
            .iter()
            .filter_map(|owner| Some(owner.most.max(*owner.replicas.as_ref().ok()?)))
            .fold(0, i32::saturating_add)
    }

    /// Returns how many disruptions the status should allow, `None` when that is unknown.
    #[must_use]
    pub fn allowed(&self) -> Option<i32> {
        Some(self.demand.as_ref().ok()?.allowed(self.healthy()))
    }

    /// Returns how many disruptions the budget would allow if every pod were healthy that its
    /// controllers want, or may want under an autoscaler. Zero means that no healthy pod can ever
    /// be evicted; `None` that it is unknown.
    #[must_use]
    pub fn allowed_at_best(&self) -> Option<i32> {
        let demand = self.demand.as_ref().ok()?;
        let unmanaged = i32::try_from(self.unmanaged.len()).unwrap_or(i32::MAX);
        let most = self.most();
        let all = most.saturating_add(unmanaged).max(self.healthy());
        let grown = match rules::budgets::asks_controllers(self.budget.spec.as_ref()) {
            // A percentage of more pods demands more of them.
            true if most > demand.expected => pdb::desired_of(self.budget, most),
            _ => None,
        };
        let desired = match &self.limit {
            DisruptionLimit::MinAvailable(IntOrString::Int(number)) => *number,
            _ => grown.unwrap_or(demand.desired),
        };
        Some(Demand { desired, ..*demand }.allowed(all))
    }

    /// Returns true when the budget allows nothing with as many pods as its controllers want now,
    /// all of them healthy. An autoscaler may want more later.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        let Ok(demand) = &self.demand else {
            return false;
        };
        let unmanaged = i32::try_from(self.unmanaged.len()).unwrap_or(i32::MAX);
        let wanted = self.wanted().saturating_add(unmanaged).max(self.healthy());
        demand.expected > 0 && wanted <= demand.desired
    }

    /// Returns true when the status differs from the count although it has observed the newest
    /// spec: the disruption controller is behind, or down.
    #[must_use]
    pub fn drifted(&self) -> bool {
        let Ok(demand) = &self.demand else {
            return false;
        };
        let reported = (
            self.reported.expected,
            self.reported.desired,
            self.reported.healthy,
        );
        !self.reported.stale
            && self.reported.sync_failed.is_none()
            && reported != (demand.expected, demand.desired, self.healthy())
    }
}

/// Returns the other budgets that select pods of this one, each with the pods that both select.
#[must_use]
pub fn overlaps<'a>(
    snapshot: &'a ClusterSnapshot,
    count: &BudgetCount<'a>,
) -> Vec<(&'a PodDisruptionBudget, Vec<&'a Pod>)> {
    let others = snapshot.budgets.iter().filter(|other| {
        pdb::namespace(other) == pdb::namespace(count.budget)
            && pdb::name(other) != pdb::name(count.budget)
    });
    let shared = |other: &&'a PodDisruptionBudget| -> Vec<&'a Pod> {
        let Ok(selector) = pdb::selector(other) else {
            return Vec::new();
        };
        count
            .pods
            .iter()
            .map(|covered| covered.pod)
            .filter(|pod| selector.matches(pod.metadata.labels.as_ref()))
            .collect()
    };
    others
        .map(|other| (other, shared(&other)))
        .filter(|(_, pods)| !pods.is_empty())
        .collect()
}

/// Counts the pods of budgets of one snapshot, in proportion to the pods of their namespaces.
pub struct BudgetCounter<'a> {
    snapshot: &'a ClusterSnapshot,
    pods: HashMap<&'a str, Vec<&'a Pod>>,
    /// The maxima of autoscalers, by namespace, kind and name of their targets.
    scalers: HashMap<(&'a str, &'a str, &'a str), i32>,
}

impl<'a> BudgetCounter<'a> {
    /// Prepares for a snapshot.
    #[must_use]
    pub fn new(snapshot: &'a ClusterSnapshot) -> Self {
        let mut pods: HashMap<&str, Vec<&Pod>> = HashMap::new();
        for pod in &snapshot.pods {
            pods.entry(pods::namespace(pod)).or_default().push(pod);
        }
        let scalers = autoscalers(snapshot);
        let scalers = scalers.into_iter().map(|scaler| {
            let target = (scaler.namespace, scaler.target_kind, scaler.target_name);
            (target, scaler.most)
        });
        Self {
            snapshot,
            pods,
            scalers: scalers.collect(),
        }
    }

    /// Counts the pods of a budget.
    #[must_use]
    pub fn count(&self, budget: &'a PodDisruptionBudget) -> BudgetCount<'a> {
        let snapshot = self.snapshot;
        let selector = pdb::selector(budget);
        let near = self.pods.get(pdb::namespace(budget)).map(Vec::as_slice);
        let covered: Vec<&'a Pod> = match &selector {
            Ok(selector) => near
                .unwrap_or_default()
                .iter()
                .copied()
                .filter(|pod| selector.matches(pod.metadata.labels.as_ref()))
                .collect(),
            Err(_) => Vec::new(),
        };
        let (owners, unmanaged) = owners::of(snapshot, &self.scalers, &covered);
        let demand = match selector {
            Ok(_) => demand(snapshot, budget, covered.len(), &owners),
            Err(error) => Err(CountError::Fails(error)),
        };
        let pods = covered
            .into_iter()
            .map(|pod| CoveredPod {
                pod,
                health: health(snapshot, budget, pod),
            })
            .collect();
        BudgetCount {
            budget,
            limit: pdb::limit(budget),
            pods,
            owners,
            unmanaged,
            demand,
            reported: pdb::reported(budget),
        }
    }
}

/// Counts the pods of one budget.
#[must_use]
pub fn count<'a>(
    snapshot: &'a ClusterSnapshot,
    budget: &'a PodDisruptionBudget,
) -> BudgetCount<'a> {
    BudgetCounter::new(snapshot).count(budget)
}

fn demand(
    snapshot: &ClusterSnapshot,
    budget: &PodDisruptionBudget,
    pods: usize,
    owners: &[Owner<'_>],
) -> Result<Demand, CountError> {
    if let Some(unread) = snapshot.unread("pods") {
        return Err(CountError::Unseen(format!(
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
        .map_err(|error| CountError::Fails(error.to_string()))
}

fn health(snapshot: &ClusterSnapshot, budget: &PodDisruptionBudget, pod: &Pod) -> PodHealth {
    if pods::is_terminating(pod) {
        return PodHealth::Terminating;
    }
    let entry = budget
        .status
        .as_ref()
        .and_then(|status| status.disrupted_pods.as_ref()?.get(pods::name(pod)));
    if let Some(until) = entry
        .map(|granted_at| granted_at.0 + ENTRY_LIFETIME)
        .filter(|until| *until > snapshot.now)
    {
        return PodHealth::Granted { until };
    }
    readiness::unready(snapshot, pod).map_or(PodHealth::Healthy, PodHealth::Unready)
}

#[cfg(test)]
mod tests;
