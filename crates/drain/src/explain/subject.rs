//! The object that is explained.

use std::fmt;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;

use crate::cluster::ClusterSnapshot;
use crate::{pdb, pods};

/// The kinds of objects that can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SubjectKind {
    /// A pod.
    Pod,
    /// A node.
    Node,
    /// A PodDisruptionBudget.
    #[serde(rename = "PodDisruptionBudget")]
    Budget,
}

/// A reference to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainSubject {
    /// Kind.
    pub kind: SubjectKind,
    /// Namespace, empty for nodes.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl SubjectKind {
    /// Parses a resource name in any form that kubectl accepts: `pod`, `pods`, `po`. `None` for
    /// kinds that cannot be explained.
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

impl fmt::Display for ExplainSubject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            SubjectKind::Pod => "pod",
            SubjectKind::Node => return write!(out, "node/{}", self.name),
            SubjectKind::Budget => "pdb",
        };
        write!(out, "{kind}/{} -n {}", self.name, self.namespace)
    }
}

impl ExplainSubject {
    /// Creates a reference. `None` for kinds that cannot be explained.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, name: &str) -> Option<Self> {
        let kind = SubjectKind::named(kind)?;
        let namespace = if kind == SubjectKind::Node {
            ""
        } else {
            namespace
        };
        Some(Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Finds the objects with this name, of one kind or any, in one namespace or all. All results
    /// have the same kind.
    #[must_use]
    pub fn find(
        snapshot: &ClusterSnapshot,
        kind: Option<SubjectKind>,
        namespace: Option<&str>,
        name: &str,
    ) -> Vec<Self> {
        let here = |found: &str| namespace.is_none_or(|namespace| namespace == found);
        let wanted = |of: SubjectKind| kind.is_none_or(|kind| kind == of);
        let pods = snapshot
            .pods
            .iter()
            .filter(|pod| wanted(SubjectKind::Pod) && here(pods::namespace(pod)));
        let budgets = snapshot
            .budgets
            .iter()
            .filter(|found| wanted(SubjectKind::Budget) && here(pdb::namespace(found)));
        let nodes = snapshot
            .nodes
            .iter()
            .filter(|_| wanted(SubjectKind::Node))
            .map(Self::of_node);
        let all = pods
            .map(Self::of_pod)
            .chain(nodes)
            .chain(budgets.map(Self::of_budget));
        let found: Vec<Self> = all.filter(|subject| subject.name == name).collect();
        // A name without a kind refers to a pod if there is one, else to a node.
        let first = found.first().map(|subject| subject.kind);
        found
            .into_iter()
            .filter(|subject| Some(subject.kind) == first)
            .collect()
    }

    pub(super) fn of_pod(pod: &Pod) -> Self {
        Self {
            kind: SubjectKind::Pod,
            namespace: pods::namespace(pod).to_owned(),
            name: pods::name(pod).to_owned(),
        }
    }

    pub(super) fn of_budget(found: &PodDisruptionBudget) -> Self {
        Self {
            kind: SubjectKind::Budget,
            namespace: pdb::namespace(found).to_owned(),
            name: pdb::name(found).to_owned(),
        }
    }

    pub(super) fn of_node(node: &Node) -> Self {
        Self {
            kind: SubjectKind::Node,
            namespace: String::new(),
            name: node.metadata.name.clone().unwrap_or_default(),
        }
    }

    pub(super) fn pod<'a>(&self, snapshot: &'a ClusterSnapshot) -> Option<&'a Pod> {
        snapshot.pods.iter().find(|pod| Self::of_pod(pod) == *self)
    }

    pub(super) fn budget<'a>(
        &self,
        snapshot: &'a ClusterSnapshot,
    ) -> Option<&'a PodDisruptionBudget> {
        snapshot
            .budgets
            .iter()
            .find(|budget| Self::of_budget(budget) == *self)
    }

    pub(super) fn node<'a>(&self, snapshot: &'a ClusterSnapshot) -> Option<&'a Node> {
        snapshot
            .nodes
            .iter()
            .find(|node| Self::of_node(node) == *self)
    }
}
