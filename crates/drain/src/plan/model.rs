//! The copy of the cluster on which a drain is simulated: small, indexed, and only what a drain can
//! change.
//!
//! A pod becomes a [`ModelPod`]. Its replacement is one too, created when its controller would
//! create it. Pods, nodes and budgets refer to each other by index.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use rules::budgets::Demand;
use rules::resources::{Amounts, allocatable, requests};
use rules::selector::Selector;
use rules::{affinity, nodes};

use super::PlanOptions;
use super::timing::{Millis, PodTiming};
use crate::budget::{BudgetCount, BudgetCounter, CountError};
use crate::cluster::{BoundVolumes, ClusterSnapshot};
use crate::format::for_how_long;
use crate::readiness::{self, UnreadyReason};
use crate::{pdb, pods};

/// The state of a simulated pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ModelPodState {
    /// Not scheduled. Left when a node can take it.
    Pending,
    /// Scheduled and not ready. Left for `Ready` at this time.
    Starting(Millis),
    /// Ready. Left by an eviction.
    Ready,
    /// Not ready, and nothing shows that it will be: why. Left by an eviction.
    Unready(String),
    /// Being deleted. Left for `Gone` at this time, never when there is none.
    Terminating(Option<Millis>),
    /// All containers have terminated for good. Left by an eviction.
    Finished,
    /// Deleted. Final.
    Gone,
}

impl ModelPodState {
    /// Returns true when the pod uses resources of its node.
    pub(super) fn uses_node(&self) -> bool {
        !matches!(self, Self::Gone | Self::Finished | Self::Pending)
    }
}

/// When the controller of a pod replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// As soon as its deletion begins.
    AtOnce,
    /// When it is deleted.
    WhenGone {
        /// The ordinal of a StatefulSet's pod. It is replaced only when all pods with lower
        /// ordinals are ready. `None` for `Parallel` sets and other controllers.
        ordinal: Option<u32>,
    },
    /// Never.
    Never,
}

/// A pod, or its replacement.
#[derive(Clone, Debug)]
pub(super) struct ModelPod<'a> {
    /// The pod, or the one that it replaces: both have the same template.
    pub(super) object: &'a Pod,
    /// True when the snapshot does not contain it.
    pub(super) is_replacement: bool,
    pub(super) node: Option<usize>,
    pub(super) state: ModelPodState,
    /// The uid of its controller, empty when it has none.
    pub(super) owner: &'a str,
    pub(super) replacement: Replacement,
    pub(super) budgets: Vec<usize>,
    /// The time from scheduling to ready.
    pub(super) start: Millis,
    /// The time from the deletion to the end.
    pub(super) stop: Millis,
    pub(super) requests: Amounts,
    pub(super) volumes: Vec<&'a PersistentVolume>,
    /// Why no node could take it at the last attempt, with the number of nodes.
    pub(super) refusals: Vec<(String, usize)>,
    /// The name of a pod that its controller has yet to create; `object` is then a sibling.
    pub(super) missing: Option<String>,
}

impl ModelPod<'_> {
    /// Returns `NAMESPACE/NAME`.
    pub(super) fn key(&self) -> String {
        match &self.missing {
            Some(name) => format!("{}/{name}", pods::namespace(self.object)),
            None => pods::key(self.object),
        }
    }
}

/// A node with its usage.
#[derive(Clone, Debug)]
pub(super) struct ModelNode<'a> {
    pub(super) object: &'a Node,
    pub(super) allocatable: Amounts,
    /// True when it takes no new pods: it is cordoned, drained, or not ready.
    pub(super) is_closed: bool,
    /// The pods that use resources of the node.
    pub(super) pods: Vec<usize>,
    pub(super) used: Amounts,
}

/// A budget with its count at the start.
#[derive(Clone, Debug)]
pub(super) struct ModelBudget<'a> {
    pub(super) count: BudgetCount<'a>,
    selector: Option<Selector>,
}

/// The simulated cluster.
#[derive(Clone, Debug)]
pub(super) struct ClusterModel<'a> {
    pub(super) nodes: Vec<ModelNode<'a>>,
    pub(super) pods: Vec<ModelPod<'a>>,
    pub(super) budgets: Vec<ModelBudget<'a>>,
    /// True when some pod has affinity or spread constraints, so that every placement has to check
    /// the other pods.
    pub(super) has_affinity: bool,
    /// The number of healthy pods by budget.
    healthy: Vec<i32>,
    /// The pods of the snapshot that are not ready, and why that is no failure.
    pub(super) early: Vec<(usize, String)>,
    /// The pods that controllers have yet to create.
    pub(super) missing: Vec<usize>,
}

impl<'a> ClusterModel<'a> {
    /// Builds the model of a snapshot, with the drained nodes closed.
    pub(super) fn build(
        snapshot: &'a ClusterSnapshot,
        drained: &[String],
        options: &PlanOptions,
    ) -> Self {
        let timing = PodTiming::observe(snapshot, options);
        let drained: HashSet<&str> = drained.iter().map(String::as_str).collect();
        let is_drained = |node: &Node| drained.contains(nodes::name(node));
        let nodes: Vec<ModelNode<'a>> = snapshot
            .nodes
            .iter()
            .map(|node| ModelNode {
                object: node,
                allocatable: allocatable(node),
                is_closed: nodes::is_cordoned(node)
                    || is_drained(node)
                    || !pods::node_is_ready(node),
                pods: Vec::new(),
                used: Amounts::default(),
            })
            .collect();
        let node_indexes: HashMap<&str, usize> = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (nodes::name(node.object), index))
            .collect();
        let counter = BudgetCounter::new(snapshot);
        let budgets: Vec<ModelBudget<'a>> = snapshot
            .budgets
            .iter()
            .map(|budget| ModelBudget::of(&counter, budget))
            .collect();
        let mut near: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, budget) in budgets.iter().enumerate() {
            let namespace = pdb::namespace(budget.count.budget);
            near.entry(namespace).or_default().push(index);
        }
        let volumes = BoundVolumes::new(snapshot);
        let mut early = Vec::new();
        let pods: Vec<ModelPod<'a>> = snapshot
            .pods
            .iter()
            .enumerate()
            .map(|(index, pod)| ModelPod {
                object: pod,
                is_replacement: false,
                missing: None,
                node: pods::node_of(pod).and_then(|name| node_indexes.get(name).copied()),
                state: {
                    let (state, why) = state(snapshot, pod, &timing);
                    early.extend(why.map(|why| (index, why)));
                    state
                },
                owner: pods::controller_of(pod)
                    .map(|owner| owner.uid.as_str())
                    .unwrap_or_default(),
                replacement: replacement(snapshot, pod),
                budgets: near
                    .get(pods::namespace(pod))
                    .into_iter()
                    .flatten()
                    .copied()
                    .filter(|index| budgets[*index].selects(pod))
                    .collect(),
                start: timing.start(pod),
                stop: timing.stop(pod),
                requests: requests(pod),
                volumes: volumes.of(pod).map(|(_, volume)| volume).collect(),
                refusals: Vec::new(),
            })
            .collect();
        let mut model = Self {
            has_affinity: snapshot.pods.iter().any(affinity::has_constraints),
            healthy: vec![0; budgets.len()],
            nodes,
            pods,
            budgets,
            early,
            missing: Vec::new(),
        };
        for pod in 0..model.pods.len() {
            // From Gone into the initial state, so that `set` counts usage and health.
            let state = std::mem::replace(&mut model.pods[pod].state, ModelPodState::Gone);
            model.set(pod, state);
        }
        model
    }

    /// Returns the number of healthy pods of a budget.
    pub(super) fn healthy(&self, budget: usize) -> i32 {
        self.healthy[budget]
    }

    /// Iterates over the existing pods of a budget.
    pub(super) fn covered(&self, budget: usize) -> impl Iterator<Item = &ModelPod<'a>> {
        self.pods
            .iter()
            .filter(move |pod| pod.state != ModelPodState::Gone && pod.budgets.contains(&budget))
    }

    /// Changes the state of a pod, and updates the health of its budgets and the usage of its node.
    pub(super) fn set(&mut self, index: usize, after: ModelPodState) {
        let pod = &mut self.pods[index];
        let before = std::mem::replace(&mut pod.state, after);
        let change = i32::from(pod.state == ModelPodState::Ready)
            - i32::from(before == ModelPodState::Ready);
        for budget in &pod.budgets {
            self.healthy[*budget] += change;
        }
        let Some(node) = pod.node.map(|node| &mut self.nodes[node]) else {
            return;
        };
        match (before.uses_node(), pod.state.uses_node()) {
            (false, true) => {
                node.pods.push(index);
                node.used.add(&pod.requests);
            }
            (true, false) => {
                node.pods.retain(|other| *other != index);
                node.used.subtract(&pod.requests);
            }
            _ => {}
        }
    }

    /// Creates the replacement of a pod, not scheduled yet, and returns its index.
    pub(super) fn replace(&mut self, pod: usize) -> usize {
        let mut replacement = self.pods[pod].clone();
        replacement.is_replacement = true;
        replacement.refusals.clear();
        replacement.node = None;
        replacement.state = ModelPodState::Pending;
        self.pods.push(replacement);
        self.pods.len() - 1
    }
}

impl<'a> ModelBudget<'a> {
    fn of(counter: &BudgetCounter<'a>, budget: &'a PodDisruptionBudget) -> Self {
        let mut count = counter.count(budget);
        let reported = &count.reported;
        // What could not be counted here was counted by the disruption controller.
        let is_reported =
            !reported.stale && reported.sync_failed.is_none() && reported.expected > 0;
        if is_reported && matches!(count.demand, Err(CountError::Unseen(_))) {
            count.demand = Ok(Demand {
                expected: reported.expected,
                desired: reported.desired,
            });
        }
        Self {
            selector: pdb::selector(budget).ok(),
            count,
        }
    }

    /// Returns true when the budget selects the pod of its namespace.
    fn selects(&self, pod: &Pod) -> bool {
        self.selector
            .as_ref()
            .is_some_and(|selector| selector.matches(pod.metadata.labels.as_ref()))
    }

    /// Returns `NAMESPACE/NAME`.
    pub(super) fn key(&self) -> String {
        pdb::key(self.count.budget)
    }
}

/// Returns the initial state of a pod, and for one that is not ready yet, why that is no failure.
fn state(
    snapshot: &ClusterSnapshot,
    pod: &Pod,
    timing: &PodTiming<'_>,
) -> (ModelPodState, Option<String>) {
    let unready = readiness::unready(snapshot, pod);
    if pods::is_terminating(pod) {
        let is_lost = unready.is_some_and(|unready| unready.reason == UnreadyReason::NodeLost);
        let deadline = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        let left = deadline.map_or(0, |at| timing.since(at).saturating_neg());
        // Within the grace period nothing shows that the owner of a finalizer keeps the pod.
        let is_held = left <= 0 && snapshot.finalizers_holding(pod).next().is_some();
        let ends = !is_held && !is_lost;
        let end = left.max(0).min(timing.stop(pod));
        return (ModelPodState::Terminating(ends.then_some(end)), None);
    }
    if pods::is_finished(pod) {
        return (ModelPodState::Finished, None);
    }
    let Some(unready) = unready else {
        return (ModelPodState::Ready, None);
    };
    match unready.reason {
        UnreadyReason::Unschedulable => (ModelPodState::Pending, None),
        UnreadyReason::Starting if pods::node_of(pod).is_none() => (ModelPodState::Pending, None),
        UnreadyReason::Starting => {
            let passed = unready.since.map_or(0, |since| timing.since(since));
            let start = (timing.start(pod) - passed).max(1_000);
            (ModelPodState::Starting(start), Some(unready.why))
        }
        UnreadyReason::NotYetReady => {
            let left = unready
                .expected
                .map_or(0, |at| timing.since(at).saturating_neg());
            (ModelPodState::Starting(left.max(1_000)), Some(unready.why))
        }
        _ => {
            let since = for_how_long(snapshot.now, unready.since);
            let why = match since.is_empty() {
                true => unready.why,
                false => format!("{}{since}", unready.why),
            };
            (ModelPodState::Unready(why), None)
        }
    }
}

/// Returns the ordinal at the end of the name of a StatefulSet's pod.
pub(super) fn ordinal_of(name: &str) -> Option<u32> {
    name.rsplit('-').next()?.parse().ok()
}

/// Returns when the pod's controller replaces it. Custom controllers are assumed to wait for the
/// deletion, which is slower.
fn replacement(snapshot: &ClusterSnapshot, pod: &Pod) -> Replacement {
    let Some(owner) = pods::controller_of(pod) else {
        return Replacement::Never;
    };
    match owner.kind.as_str() {
        "ReplicaSet" | "ReplicationController" => Replacement::AtOnce,
        "DaemonSet" | "Node" => Replacement::Never,
        "Job" => {
            let job = snapshot.job(pods::namespace(pod), &owner.name);
            let policy = job.and_then(|job| job.spec.as_ref()?.pod_replacement_policy.as_deref());
            if policy == Some("Failed") {
                Replacement::WhenGone { ordinal: None }
            } else {
                Replacement::AtOnce
            }
        }
        "StatefulSet" => {
            let set = snapshot.stateful_set(pods::namespace(pod), &owner.name);
            let policy = set.and_then(|set| set.spec.as_ref()?.pod_management_policy.as_deref());
            let ordinal = ordinal_of(pods::name(pod));
            Replacement::WhenGone {
                ordinal: ordinal.filter(|_| policy != Some("Parallel")),
            }
        }
        _ => Replacement::WhenGone { ordinal: None },
    }
}
