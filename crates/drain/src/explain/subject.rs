//! What is to be explained.

use std::fmt;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;

use crate::cluster::Snapshot;
use crate::{budget, health};

/// The kinds that can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// A pod.
    Pod,
    /// A node.
    Node,
    /// A budget.
    #[serde(rename = "PodDisruptionBudget")]
    Budget,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for nodes.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Kind {
    /// The kind that people call so, as kubectl understands it.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "pod" | "pods" | "po" => Some(Self::Pod),
            "node" | "nodes" | "no" => Some(Self::Node),
            "pdb"
            | "poddisruptionbudget"
            | "poddisruptionbudgets"
            | "poddisruptionbudgets.policy" => Some(Self::Budget),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Pod => "pod",
            Kind::Node => return write!(out, "node/{}", self.name),
            Kind::Budget => "pdb",
        };
        write!(out, "{kind}/{} -n {}", self.name, self.namespace)
    }
}

impl Subject {
    /// The object of this kind; none for kinds that are not explained.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, name: &str) -> Option<Self> {
        let kind = Kind::named(kind)?;
        let namespace = if kind == Kind::Node { "" } else { namespace };
        Some(Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Everything of this name in the snapshot: of one kind or of any, in one namespace or in all.
    #[must_use]
    pub fn find(
        snapshot: &Snapshot,
        kind: Option<Kind>,
        namespace: Option<&str>,
        name: &str,
    ) -> Vec<Self> {
        let here = |found: &str| namespace.is_none_or(|namespace| namespace == found);
        let wanted = |of: Kind| kind.is_none_or(|kind| kind == of);
        let pods = snapshot
            .pods
            .iter()
            .filter(|pod| wanted(Kind::Pod) && here(health::namespace(pod)));
        let budgets = snapshot
            .budgets
            .iter()
            .filter(|found| wanted(Kind::Budget) && here(budget::namespace(found)));
        let nodes = snapshot
            .nodes
            .iter()
            .filter(|_| wanted(Kind::Node))
            .map(Self::of_node);
        let all = pods
            .map(Self::of_pod)
            .chain(nodes)
            .chain(budgets.map(Self::of_budget));
        let found: Vec<Self> = all.filter(|subject| subject.name == name).collect();
        // A bare name that several kinds share means the pod, then the node.
        let first = found.first().map(|subject| subject.kind);
        found
            .into_iter()
            .filter(|subject| Some(subject.kind) == first)
            .collect()
    }

    pub(super) fn of_pod(pod: &Pod) -> Self {
        Self {
            kind: Kind::Pod,
            namespace: health::namespace(pod).to_owned(),
            name: health::name(pod).to_owned(),
        }
    }

    pub(super) fn of_budget(found: &PodDisruptionBudget) -> Self {
        Self {
            kind: Kind::Budget,
            namespace: budget::namespace(found).to_owned(),
            name: budget::name(found).to_owned(),
        }
    }

    pub(super) fn of_node(node: &Node) -> Self {
        Self {
            kind: Kind::Node,
            namespace: String::new(),
            name: node.metadata.name.clone().unwrap_or_default(),
        }
    }

    pub(super) fn pod<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Pod> {
        snapshot.pods.iter().find(|pod| Self::of_pod(pod) == *self)
    }

    pub(super) fn budget<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a PodDisruptionBudget> {
        snapshot
            .budgets
            .iter()
            .find(|budget| Self::of_budget(budget) == *self)
    }

    pub(super) fn node<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Node> {
        snapshot
            .nodes
            .iter()
            .find(|node| Self::of_node(node) == *self)
    }
}
