//! The plan as data. `render.rs` renders it as text.

use serde::Serialize;

use crate::cluster::Unread;

/// The result of a simulated drain.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainPlan {
    /// True when the drain finishes.
    pub finishes: bool,
    /// The duration of the drain in seconds, `None` when it does not finish.
    pub seconds: Option<f64>,
    /// The duration in seconds if every pod uses its whole grace period.
    pub worst_seconds: Option<f64>,
    /// The duration in seconds if the nodes are drained in [`DrainPlan::waves`].
    pub wave_seconds: Option<f64>,
    /// The nodes, in the order of the drain.
    pub nodes: Vec<NodePlan>,
    /// The budgets that select pods of the drain.
    pub budgets: Vec<BudgetPlan>,
    /// The pods that do not leave, with reasons.
    pub stuck: Vec<StuckPod>,
    /// The pods that are not ready and have done nothing wrong: the plan assumes that they become
    /// ready.
    pub not_yet_ready: Vec<NotYetReadyPod>,
    /// The pods whose replacements find no node, with reasons.
    pub unplaced: Vec<UnplacedPod>,
    /// The nodes on which pods are evicted before pods that depend on them.
    pub order: Vec<OrderProblem>,
    /// Sets of nodes that can be drained together without waiting for each other.
    pub waves: Vec<Vec<String>>,
    /// True when the number of waves is proven to be minimal.
    pub fewest_waves: bool,
    /// The kinds that could not be read. The plan ignores them.
    pub unread: Vec<Unread>,
}

/// The drain of one node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePlan {
    /// Name of the node.
    pub name: String,
    /// Seconds from the start until the node is empty, `None` for never.
    pub seconds: Option<f64>,
    /// The pods of the node.
    pub pods: Vec<PodPlan>,
}

/// The drain of one pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPlan {
    /// `NAMESPACE/NAME`
    pub pod: String,
    /// What happens to the pod.
    #[serde(flatten)]
    pub fate: Fate,
    /// Seconds from the start until its eviction is granted.
    pub evicted: Option<f64>,
    /// Warnings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What happens to a pod in the drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "fate")]
pub enum Fate {
    /// It is evicted, and a replacement starts on another node.
    Moves {
        /// The node of the replacement, `None` when it finds none.
        to: Option<String>,
    },
    /// It is evicted and not replaced.
    Ends,
    /// It stays on the node.
    Stays {
        /// Why.
        why: String,
    },
    /// It blocks the drain of its node.
    Refused {
        /// Why, in kubectl's words, with the flag that changes it.
        why: String,
    },
    /// It never leaves. [`DrainPlan::stuck`] has the reason.
    Stuck,
}

/// A budget during the drain.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetPlan {
    /// `NAMESPACE/NAME`
    pub budget: String,
    /// The number of pods that must stay healthy, `None` when it cannot be computed.
    pub needs: Option<i32>,
    /// The number of healthy pods at the start.
    pub healthy: i32,
    /// The smallest number of healthy pods at any time.
    pub least_healthy: i32,
    /// The number of its pods that leave.
    pub leaving: usize,
    /// The number of pods that have to wait for it.
    pub waiting: usize,
    /// The waiting times of these pods in seconds, added up.
    pub waited_seconds: f64,
}

/// A pod that does not leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StuckPod {
    /// `NAMESPACE/NAME`
    pub pod: String,
    /// The category of the reason.
    pub reason: StuckReason,
    /// The first budget of the pod.
    pub budget: Option<String>,
    /// The proof, line by line.
    pub because: Vec<String>,
}

/// A pod that is not ready yet: it is starting, or younger than its probes or its Deployment allow.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotYetReadyPod {
    /// `NAMESPACE/NAME`
    pub pod: String,
    /// What it is doing.
    pub why: String,
    /// Seconds until it is ready, as the plan assumes.
    pub seconds: f64,
}

/// Why a pod does not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StuckReason {
    /// The budget allows no eviction even when every pod is healthy.
    NeverAllows,
    /// The budget has too few healthy pods, and the others do not become healthy.
    Exhausted,
    /// Several budgets select the pod.
    SeveralBudgets,
    /// The pods of the budget cannot be counted.
    Uncounted,
    /// The pod is being deleted and does not finish terminating.
    NeverGone,
    /// The pods that are evicted before it do not leave.
    Waits,
}

/// A node on which pods are evicted before pods that depend on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderProblem {
    /// Name of the node.
    pub node: String,
    /// The broken dependencies, a line for each pod.
    pub because: Vec<String>,
    /// Selectors for `--last`, in order, that satisfy the dependencies.
    pub last: Vec<String>,
}

/// A replacement that finds no node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnplacedPod {
    /// The pod that it replaces (`NAMESPACE/NAME`).
    pub pod: String,
    /// The reasons of the nodes, as the scheduler reports them.
    pub why: String,
}
