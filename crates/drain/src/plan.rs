//! Simulates a drain and reports what it would meet, without changing anything: which pods move,
//! stay, are refused or lose data; whether other nodes can take the replacements; how long the
//! drain takes and which budgets delay it; which pods are stuck, and why.
//!
//! Pure: a [`ClusterSnapshot`] in, a [`DrainPlan`] out. The whole drain is simulated on a copy of
//! the cluster's state (`model.rs`, `placement.rs`, `simulation.rs`): evictions are decided by the
//! server's rule, controllers replace pods, and replacements are placed on nodes. How long pods
//! take to start is measured from their siblings in the snapshot (`timing.rs`). How long they take
//! to terminate is an assumption of the caller; the worst case is their whole grace period.
//!
//! Read next: `simulation.rs`, then `waves.rs` and `stuck.rs`.

mod missing;
mod model;
mod placement;
mod render;
mod report;
mod simulation;
mod stuck;
mod timing;
mod waves;

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::api::core::v1::Pod;
use kinds::selector::LabelSelector;
use rules::fit::cordon_taint;
use rules::nodes;

pub use report::{
    BudgetPlan, DrainPlan, Fate, NodePlan, NotYetReadyPod, OrderProblem, PodPlan, StuckPod,
    StuckReason, UnplacedPod,
};

use crate::cluster::ClusterSnapshot;
use crate::filter::{
    DaemonSetLookup, DrainDecision, FilterOptions, daemon_set, decide, has_local_storage,
};
use crate::tier::Tiers;
use crate::{order, pods};
use model::{ClusterModel, ModelPodState, Replacement};
use simulation::{NodeOrder, NodeTiers, SimulationResult, simulate};
use timing::seconds;

/// The resources that the simulation reads. Without one of them, the drain may take another course.
pub const READS: &[&str] = &[
    "nodes",
    "namespaces",
    "pods",
    "poddisruptionbudgets.policy",
    "replicasets.apps",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "replicationcontrollers",
    "jobs.batch",
    "horizontalpodautoscalers.autoscaling",
    "services",
    "persistentvolumeclaims",
    "persistentvolumes",
    "volumeattachments.storage.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
];

/// The drain that is planned, and the assumptions of the simulation.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Names of the nodes, in the order in which they would be drained.
    pub nodes: Vec<String>,
    /// The flags of the drain that decide about pods.
    pub filter: FilterOptions,
    /// The pods to evict; `None` selects all pods.
    pub pods: Option<LabelSelector>,
    /// Which pods are evicted first and which last.
    pub tiers: Tiers,
    /// The maximum number of nodes that are drained at the same time.
    pub parallel: usize,
    /// The grace period in seconds, `None` for each pod's own.
    pub grace_seconds: Option<i64>,
    /// Seconds from scheduling to ready, for pods without a sibling that shows it.
    pub start_seconds: f64,
    /// Seconds from the stop signal to the end of a pod, at most its grace period.
    pub stop_seconds: f64,
}

/// Why a plan cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The snapshot does not contain a node with this name.
    #[error("node {0:?} not found")]
    NodeNotFound(String),
}

/// Makes the plan.
///
/// # Errors
/// The first of the nodes that the snapshot does not contain.
pub fn make(snapshot: &ClusterSnapshot, options: &PlanOptions) -> Result<DrainPlan, PlanError> {
    if let Some(name) = options
        .nodes
        .iter()
        .find(|name| snapshot.node(name).is_none())
    {
        return Err(PlanError::NodeNotFound(name.clone()));
    }
    let model = complete_model(snapshot, options);
    let mut by_node: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, pod) in model.pods.iter().enumerate() {
        if let Some(node) = pods::node_of(pod.object).filter(|_| pod.missing.is_none()) {
            by_node.entry(node).or_default().push(index);
        }
    }
    let drafts: Vec<NodeDraft> = options
        .nodes
        .iter()
        .map(|node| {
            let own = by_node.get(node.as_str()).map(Vec::as_slice);
            NodeDraft::of(&model, snapshot, node, own.unwrap_or_default(), options)
        })
        .collect();
    let leaving: Vec<NodeTiers> = drafts.iter().map(NodeDraft::leaving).collect();
    let (waves, fewest_waves) = find_waves(&model, &leaving);
    let is_blocked = drafts.iter().any(NodeDraft::is_blocked);
    let not_yet_ready = not_yet_ready(&model, &leaving);
    let window = NodeOrder::Window(options.parallel.max(1));
    let result = simulate(model.clone(), &leaving, &window);
    let in_waves = simulate(model, &leaving, &NodeOrder::Waves(waves.clone()));
    let slowest = PlanOptions {
        stop_seconds: f64::MAX,
        ..options.clone()
    };
    let slowest = complete_model(snapshot, &slowest);
    let worst = simulate(slowest, &leaving, &window);
    let end =
        |result: &SimulationResult<'_>| result.finished().filter(|_| !is_blocked).map(seconds);
    let name = |node: &usize| options.nodes[*node].clone();
    Ok(DrainPlan {
        finishes: end(&result).is_some(),
        seconds: end(&result),
        worst_seconds: end(&worst),
        wave_seconds: end(&in_waves),
        budgets: budgets(&result, &leaving),
        stuck: stuck_pods(&result, &leaving),
        not_yet_ready,
        unplaced: unplaced(&result.model),
        order: drafts
            .iter()
            .filter_map(|draft| draft.order(&result.model, snapshot, &options.tiers))
            .collect(),
        waves: waves
            .iter()
            .map(|wave| wave.iter().map(name).collect())
            .collect(),
        fewest_waves,
        unread: snapshot.unread.clone(),
        nodes: drafts
            .into_iter()
            .enumerate()
            .map(|(index, draft)| draft.finish(index, &result))
            .collect(),
    })
}

/// Builds the model with the pods that controllers have yet to create.
fn complete_model<'a>(snapshot: &'a ClusterSnapshot, options: &PlanOptions) -> ClusterModel<'a> {
    let mut model = ClusterModel::build(snapshot, &options.nodes, options);
    missing::add(snapshot, &mut model);
    model
}

/// Returns those of the node's pods whose replacements would find no node if all of them were
/// evicted at once. Budgets are ignored.
pub(crate) fn unplaceable(
    snapshot: &ClusterSnapshot,
    node: &str,
    leaving: &[&Pod],
) -> Vec<UnplacedPod> {
    let nodes = vec![node.to_owned()];
    let mut model = ClusterModel::build(snapshot, &nodes, &PlanOptions::of(nodes.clone()));
    let indexes: Vec<usize> = (0..model.pods.len())
        .filter(|index| {
            let pod = &model.pods[*index];
            pod.replacement != Replacement::Never
                && pod.missing.is_none()
                && leaving.iter().any(|one| std::ptr::eq(*one, pod.object))
        })
        .collect();
    indexes
        .iter()
        .for_each(|index| model.set(*index, ModelPodState::Gone));
    for index in indexes {
        let replacement = model.replace(index);
        model.place(replacement, 0);
    }
    unplaced(&model)
}

impl PlanOptions {
    /// Returns the defaults of `exeunt plan` for these nodes.
    #[must_use]
    pub fn of(nodes: Vec<String>) -> Self {
        Self {
            nodes,
            filter: FilterOptions::default(),
            pods: None,
            tiers: Tiers::default(),
            parallel: 1,
            grace_seconds: None,
            start_seconds: 10.0,
            stop_seconds: 1.0,
        }
    }
}

/// The decisions about the pods of a node, before the simulation.
struct NodeDraft {
    node: String,
    /// Index of the pod in the model, decision, notes.
    pods: Vec<(usize, DrainDecision, Vec<String>)>,
    tiers: Vec<Vec<usize>>,
}

/// Looks up the DaemonSet of a pod. A file may lack DaemonSets: then they are assumed to exist.
fn look_up_daemon_set(snapshot: &ClusterSnapshot, pod: &Pod) -> DaemonSetLookup {
    let Some(name) = daemon_set(pod) else {
        return DaemonSetLookup::NotManaged;
    };
    let exists = snapshot.daemon_set(pods::namespace(pod), name).is_some();
    if exists || snapshot.unread("daemonsets.apps").is_some() {
        DaemonSetLookup::Found
    } else {
        DaemonSetLookup::NotFound(format!("daemonsets.apps {name:?} not found"))
    }
}

fn notes(pod: &Pod) -> Vec<String> {
    let mut notes = Vec::new();
    if has_local_storage(pod) {
        notes.push("the contents of its emptyDir volumes are lost".to_owned());
    }
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref());
    if daemon_set(pod).is_none() && nodes::tolerates(tolerations, &cordon_taint()) {
        notes.push(
            "it tolerates the cordon, so its replacement may be scheduled to the same node"
                .to_owned(),
        );
    }
    notes
}

impl NodeDraft {
    fn of(
        model: &ClusterModel<'_>,
        snapshot: &ClusterSnapshot,
        node: &str,
        own: &[usize],
        options: &PlanOptions,
    ) -> Self {
        let mut pods = Vec::new();
        let mut tiers = BTreeMap::<usize, Vec<usize>>::new();
        for index in own.iter().copied() {
            let pod = model.pods[index].object;
            let is_selected = options
                .pods
                .as_ref()
                .is_none_or(|selector| selector.matches(&pod.metadata.labels));
            if !is_selected {
                continue;
            }
            let daemon_set = look_up_daemon_set(snapshot, pod);
            let decision = decide(pod, &daemon_set, options.filter, snapshot.now);
            if matches!(decision, DrainDecision::Evict(_)) {
                tiers.entry(options.tiers.of(pod)).or_default().push(index);
            }
            pods.push((index, decision, notes(pod)));
        }
        Self {
            node: node.to_owned(),
            pods,
            tiers: tiers.into_values().collect(),
        }
    }

    fn is_blocked(&self) -> bool {
        self.pods
            .iter()
            .any(|(_, decision, _)| matches!(decision, DrainDecision::Block(_)))
    }

    /// Returns the pods to evict. A blocked node keeps all of them.
    fn leaving(&self) -> NodeTiers {
        if self.is_blocked() {
            NodeTiers::default()
        } else {
            NodeTiers {
                tiers: self.tiers.clone(),
            }
        }
    }

    /// Returns the dependencies that the drain breaks with these tiers.
    fn order(
        &self,
        model: &ClusterModel<'_>,
        snapshot: &ClusterSnapshot,
        tiers: &Tiers,
    ) -> Option<OrderProblem> {
        let leaving: Vec<&Pod> = self
            .tiers
            .iter()
            .flatten()
            .map(|pod| model.pods[*pod].object)
            .collect();
        let dependencies = order::dependencies(snapshot, &leaving);
        let broken = dependencies
            .iter()
            .filter(|dependency| dependency.is_broken(tiers))
            .map(|dependency| {
                let users: Vec<String> = dependency
                    .users
                    .iter()
                    .map(|user| pods::key(user))
                    .collect();
                format!(
                    "{} {}: it must be evicted after {}",
                    pods::key(dependency.provider),
                    dependency.what,
                    users.join(", ")
                )
            });
        let because: Vec<String> = broken.collect();
        (!because.is_empty()).then(|| OrderProblem {
            node: self.node.clone(),
            because,
            last: order::last(&dependencies, &leaving, tiers),
        })
    }

    fn finish(self, index: usize, result: &SimulationResult<'_>) -> NodePlan {
        let is_blocked = self.is_blocked();
        let pods = self.pods.into_iter().map(|(pod, decision, notes)| PodPlan {
            pod: result.model.pods[pod].key(),
            fate: fate(pod, decision, is_blocked, result),
            evicted: result.granted_at[pod].map(seconds),
            notes,
        });
        NodePlan {
            pods: pods.collect(),
            seconds: result.emptied_at[index]
                .filter(|_| !is_blocked)
                .map(seconds),
            name: self.node,
        }
    }
}

fn fate(
    pod: usize,
    decision: DrainDecision,
    is_node_blocked: bool,
    result: &SimulationResult<'_>,
) -> Fate {
    let model = &result.model;
    match decision {
        DrainDecision::Block(why) => Fate::Refused { why },
        DrainDecision::Skip(why) => Fate::Stays {
            why: why.unwrap_or("a drain skips it").to_owned(),
        },
        DrainDecision::Evict(_) if is_node_blocked => Fate::Stays {
            why: "another pod blocks the drain of its node".to_owned(),
        },
        DrainDecision::Evict(_) if model.pods[pod].state != ModelPodState::Gone => Fate::Stuck,
        DrainDecision::Evict(_) if model.pods[pod].replacement == Replacement::Never => Fate::Ends,
        DrainDecision::Evict(_) => {
            let node = result.replaced_by[pod].and_then(|replacement| model.pods[replacement].node);
            Fate::Moves {
                to: node.map(|node| nodes::name(model.nodes[node].object).to_owned()),
            }
        }
    }
}

fn find_waves(model: &ClusterModel<'_>, leaving: &[NodeTiers]) -> (Vec<Vec<usize>>, bool) {
    let takes = leaving.iter().map(|node| {
        let mut takes: Vec<(usize, i32)> = Vec::new();
        for budget in node
            .pods()
            .flat_map(|pod| model.pods[pod].budgets.iter().copied())
        {
            match takes.iter_mut().find(|(known, _)| *known == budget) {
                Some((_, pods)) => *pods += 1,
                None => takes.push((budget, 1)),
            }
        }
        takes
    });
    let allowed: Vec<i32> = model
        .budgets
        .iter()
        .map(|budget| budget.count.allowed().unwrap_or_default())
        .collect();
    waves::fewest(&takes.collect(), &allowed)
}

fn budgets(result: &SimulationResult<'_>, leaving: &[NodeTiers]) -> Vec<BudgetPlan> {
    let mut counts = vec![0; result.model.budgets.len()];
    for pod in leaving.iter().flat_map(NodeTiers::pods) {
        for budget in &result.model.pods[pod].budgets {
            counts[*budget] += 1;
        }
    }
    let plan = |(index, budget): (usize, &model::ModelBudget<'_>)| {
        let demand = budget.count.demand.as_ref().ok();
        BudgetPlan {
            budget: budget.key(),
            needs: demand.map(|demand| demand.desired),
            healthy: budget.count.healthy(),
            least_healthy: result.least_healthy[index],
            leaving: counts[index],
            waiting: result.waits[index].pods,
            waited_seconds: seconds(result.waits[index].time),
        }
    };
    result
        .model
        .budgets
        .iter()
        .enumerate()
        .map(plan)
        .filter(|plan| plan.leaving > 0)
        .collect()
}

/// Returns the pods that are not ready yet and that the drain may wait for: those of its budgets
/// and its nodes.
fn not_yet_ready(model: &ClusterModel<'_>, leaving: &[NodeTiers]) -> Vec<NotYetReadyPod> {
    let mut budgets = HashSet::new();
    let mut own = HashSet::new();
    for pod in leaving.iter().flat_map(NodeTiers::pods) {
        own.insert(pod);
        budgets.extend(model.pods[pod].budgets.iter().copied());
    }
    let concerns = |pod: usize| {
        let mut of_pod = model.pods[pod].budgets.iter();
        own.contains(&pod) || of_pod.any(|budget| budgets.contains(budget))
    };
    let early = model.early.iter().filter(|(pod, _)| concerns(*pod));
    let early = early.filter_map(|(pod, why)| match model.pods[*pod].state {
        ModelPodState::Starting(at) => Some(NotYetReadyPod {
            pod: model.pods[*pod].key(),
            why: why.clone(),
            seconds: seconds(at),
        }),
        _ => None,
    });
    early.collect()
}

fn stuck_pods(result: &SimulationResult<'_>, leaving: &[NodeTiers]) -> Vec<StuckPod> {
    let mut explainer = stuck::Explainer::new(&result.model);
    let mut stuck: Vec<StuckPod> = leaving
        .iter()
        .flat_map(NodeTiers::pods)
        .filter(|pod| result.model.pods[*pod].state != ModelPodState::Gone)
        .map(|pod| explainer.explain(pod))
        .collect();
    stuck.sort_by(|a, b| (a.reason, &a.pod).cmp(&(b.reason, &b.pod)));
    stuck
}

fn unplaced(model: &ClusterModel<'_>) -> Vec<UnplacedPod> {
    model
        .pods
        .iter()
        .filter(|pod| pod.is_replacement && pod.state == ModelPodState::Pending)
        .map(|pod| UnplacedPod {
            pod: pod.key(),
            why: placement::describe(&pod.refusals),
        })
        .collect()
}

#[cfg(test)]
mod tests;
