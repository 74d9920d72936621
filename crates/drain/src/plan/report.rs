//! What a plan says, as data; `render.rs` makes text of it.

use serde::Serialize;

use crate::cluster::Unread;

/// The plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// True when the drain comes to its end.
    pub finishes: bool,
    /// How long it takes in all, in seconds; none when it does not end.
    pub seconds: Option<f64>,
    /// The same if every pod uses its whole grace.
    pub worst_seconds: Option<f64>,
    /// The same with the waves below instead of so many nodes at a time.
    pub wave_seconds: Option<f64>,
    /// Node by node.
    pub nodes: Vec<NodePlan>,
    /// The budgets that matter.
    pub budgets: Vec<BudgetPlan>,
    /// Pods that cannot leave, and why.
    pub stuck: Vec<Stuck>,
    /// Pods for which there is no room elsewhere, and why.
    pub unplaced: Vec<Unplaced>,
    /// Pods that would leave before others that need them, and how to prevent it.
    pub order: Vec<OutOfOrder>,
    /// Nodes that do not wait for each other, wave by wave.
    pub waves: Vec<Vec<String>>,
    /// True when fewer waves are proven impossible.
    pub fewest_waves: bool,
    /// What could not be read, and so is not in the plan.
    pub unread: Vec<Unread>,
}

/// What happens on a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePlan {
    /// Its name.
    pub name: String,
    /// When it is empty, in seconds from the start; none when it never is.
    pub seconds: Option<f64>,
    /// Its pods.
    pub pods: Vec<PodPlan>,
}

/// What happens to a pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPlan {
    /// `namespace/name`
    pub pod: String,
    /// What happens to it.
    #[serde(flatten)]
    pub fate: Fate,
    /// When its eviction is granted, in seconds from the start.
    pub evicted: Option<f64>,
    /// What else there is to know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What happens to a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "fate")]
pub enum Fate {
    /// It leaves, and a successor starts there.
    Moves {
        /// The node; none when there is no room.
        to: Option<String>,
    },
    /// It leaves, and nobody makes it again.
    Ends,
    /// It stays.
    Stays {
        /// Why.
        why: String,
    },
    /// It keeps its node from being drained.
    Refused {
        /// In kubectl's words, with the flag that would change it.
        why: String,
    },
    /// It never leaves: see [`Plan::stuck`].
    Stuck,
}

/// How a budget goes through the drain.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetPlan {
    /// `namespace/name`
    pub budget: String,
    /// Healthy pods that must stay; none when that cannot be counted.
    pub needs: Option<i32>,
    /// Healthy pods now.
    pub healthy: i32,
    /// The fewest healthy pods at any time.
    pub least_healthy: i32,
    /// Pods that leave under it.
    pub leaving: usize,
    /// Pods that had to wait for it.
    pub waiting: usize,
    /// Seconds that they waited, all together.
    pub waited_seconds: f64,
}

/// A pod that cannot leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stuck {
    /// `namespace/name`
    pub pod: String,
    /// Of what sort.
    pub reason: Reason,
    /// The budget, when it is about one.
    pub budget: Option<String>,
    /// The proof, step by step.
    pub because: Vec<String>,
}

/// What keeps a pod for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The budget allows no eviction even with every pod healthy.
    NeverAllows,
    /// The budget has too few healthy pods, and those that lack will not become healthy.
    Exhausted,
    /// Several budgets select the pod.
    SeveralBudgets,
    /// The budget cannot be counted.
    Uncounted,
    /// The pod is being deleted and does not end.
    NeverGone,
    /// Pods that go before it do not go.
    Waits,
}

/// Pods of a node that would leave before others that need them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutOfOrder {
    /// The node.
    pub node: String,
    /// What goes wrong, a line for each pod.
    pub because: Vec<String>,
    /// Selectors for `--last`, in order, that put it right.
    pub last: Vec<String>,
}

/// A successor for which there is no node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unplaced {
    /// The pod that it would stand in for.
    pub pod: String,
    /// The nodes' reasons, as the scheduler gives them.
    pub why: String,
}
