//! Who belongs to whom, over all kinds, and what follows from it. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;
use kube::discovery::ApiResource;

use crate::discovery::Kind;
use crate::meta::Key;

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// An object.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) uid: String,
    pub(super) kind: Arc<Kind>,
    pub(super) key: Key,
    pub(super) owners: Vec<OwnerReference>,
    deleting: bool,
    /// It waits for its dependents.
    foreground: bool,
    /// Its dependents are to stay.
    orphan: bool,
}

impl Node {
    pub(super) fn new(kind: &Arc<Kind>, meta: &ObjectMeta) -> Self {
        let has = |name: &str| {
            meta.finalizers
                .iter()
                .flatten()
                .any(|finalizer| finalizer == name)
        };
        Self {
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
            key: Key::of_meta(meta),
            uid: meta.uid.clone().unwrap_or_default(),
            kind: Arc::clone(kind),
            owners: meta.owner_references.clone().unwrap_or_default(),
        }
    }

    /// True when two states of an object are the same to the graph.
    pub(super) fn is_same(old: &ObjectMeta, new: &ObjectMeta) -> bool {
        old.uid == new.uid
            && old.owner_references == new.owner_references
            && old.finalizers == new.finalizers
            && old.deletion_timestamp.is_some() == new.deletion_timestamp.is_some()
    }

    fn waits(&self) -> bool {
        self.deleting && self.foreground
    }
}

/// What to do about an object.
#[derive(Debug)]
pub(super) enum Step {
    Nothing,
    /// Look at these.
    Wake(Vec<String>),
    Delete(PropagationPolicy),
    /// Take these owners out of its references.
    DropOwners(BTreeSet<String>),
    /// Take it out of the references of its dependents, then let it go.
    Orphan(Vec<Node>),
    /// It has no dependents left to wait for.
    Release,
}

/// All objects.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<Node> {
        self.nodes.get(uid).cloned()
    }

    /// Takes in the newest state of an object and tells which objects to look at.
    pub(super) fn learn(&mut self, node: Node) -> Vec<String> {
        let uid = node.uid.clone();
        let known = self.nodes.remove(&uid);
        if let Some(known) = &known {
            self.unlink(known);
        }
        let mut wake = Vec::new();
        let stray = node
            .owners
            .iter()
            .any(|owner| !self.nodes.contains_key(&owner.uid));
        let changed = known
            .as_ref()
            .is_none_or(|known| known.owners != node.owners);
        let owner_waits = node
            .owners
            .iter()
            .any(|owner| self.nodes.get(&owner.uid).is_some_and(Node::waits));
        let lets_go = node.deleting && (node.foreground || node.orphan);
        if lets_go || (changed && (stray || owner_waits)) {
            wake.push(uid.clone());
        }
        if node.waits() && known.as_ref().is_none_or(|known| !known.waits()) {
            wake.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        if let Some(known) = &known {
            // A dependent that no longer names an owner, or no longer blocks it, may set it free.
            wake.extend(
                known
                    .owners
                    .iter()
                    .map(|owner| owner.uid.clone())
                    .filter(|owner| self.nodes.get(owner).is_some_and(Node::waits)),
            );
        }
        for owner in &node.owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(uid.clone());
        }
        self.nodes.insert(uid, node);
        wake
    }

    /// Forgets an object and tells which objects to look at.
    pub(super) fn lose(&mut self, uid: &str) -> (Option<Node>, Vec<String>) {
        let Some(node) = self.nodes.remove(uid) else {
            return (None, Vec::new());
        };
        self.unlink(&node);
        let mut wake: Vec<String> = self
            .dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        wake.extend(
            node.owners
                .iter()
                .map(|owner| owner.uid.clone())
                .filter(|owner| self.nodes.get(owner).is_some_and(Node::waits)),
        );
        (Some(node), wake)
    }

    fn unlink(&mut self, node: &Node) {
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(&node.uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    /// The known objects of a kind that a new list does not show.
    pub(super) fn missing(&self, resource: &ApiResource, listed: &BTreeSet<String>) -> Vec<String> {
        let of_kind = self
            .nodes
            .values()
            .filter(|node| node.kind.resource == *resource);
        of_kind
            .filter(|node| !listed.contains(&node.uid))
            .map(|node| node.uid.clone())
            .collect()
    }

    /// A kind is no longer served; its objects are gone without a word.
    pub(super) fn forget_kind(&mut self, name: &str) {
        let of_kind = |node: &&Node| {
            format!("{}.{}", node.kind.resource.plural, node.kind.resource.group) == name
        };
        let uids: Vec<String> = self
            .nodes
            .values()
            .filter(of_kind)
            .map(|node| node.uid.clone())
            .collect();
        for uid in uids {
            self.lose(&uid);
        }
    }

    /// Owners that have not been seen; the server has to be asked for them.
    pub(super) fn unknown_owners(&self, node: &Node) -> Vec<OwnerReference> {
        node.owners
            .iter()
            .filter(|owner| !self.nodes.contains_key(&owner.uid))
            .cloned()
            .collect()
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = &Node> {
        self.dependents
            .get(uid)
            .into_iter()
            .flatten()
            .filter_map(|uid| self.nodes.get(uid))
    }

    /// Decides about one object. `absent` are owners that the server does not have.
    pub(super) fn plan(&self, node: &Node, absent: &BTreeSet<String>) -> Step {
        if node.deleting && node.orphan {
            return Step::Orphan(self.dependents_of(&node.uid).cloned().collect());
        }
        if node.waits() {
            return self.plan_waiting(node);
        }
        if node.deleting || node.owners.is_empty() {
            return Step::Nothing;
        }
        let (mut solid, mut gone, mut waiting) = (false, BTreeSet::new(), BTreeSet::new());
        for owner in &node.owners {
            if absent.contains(&owner.uid) {
                gone.insert(owner.uid.clone());
            } else if self.nodes.get(&owner.uid).is_some_and(Node::waits) {
                waiting.insert(owner.uid.clone());
            } else {
                solid = true;
            }
        }
        if solid {
            let drop: BTreeSet<String> = gone.into_iter().chain(waiting).collect();
            return if drop.is_empty() {
                Step::Nothing
            } else {
                Step::DropOwners(drop)
            };
        }
        if !waiting.is_empty() && self.dependents.contains_key(&node.uid) {
            return Step::Delete(PropagationPolicy::Foreground);
        }
        if node.orphan {
            Step::Delete(PropagationPolicy::Orphan)
        } else if node.foreground {
            Step::Delete(PropagationPolicy::Foreground)
        } else {
            Step::Delete(PropagationPolicy::Background)
        }
    }

    /// An owner that waits: the dependents that block it must go first.
    fn plan_waiting(&self, node: &Node) -> Step {
        let blocks = |dependent: &&Node| {
            dependent
                .owners
                .iter()
                .any(|owner| owner.uid == node.uid && owner.block_owner_deletion == Some(true))
        };
        let blocking: Vec<&Node> = self.dependents_of(&node.uid).filter(blocks).collect();
        if blocking.is_empty() {
            return Step::Release;
        }
        Step::Wake(
            blocking
                .iter()
                .filter(|dependent| !dependent.deleting)
                .map(|dependent| dependent.uid.clone())
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind() -> Arc<Kind> {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        Arc::new(Kind {
            resource,
            namespaced: true,
            deletable_together: true,
        })
    }

    fn object(uid: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> Node {
        let owners: Vec<_> = owners
            .iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "Pod", "name": uid, "uid": uid, "blockOwnerDeletion": true}))
            .collect();
        let meta = json!({"name": uid, "namespace": "n", "uid": uid, "ownerReferences": owners, "finalizers": finalizers,
            "deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z")});
        Node::new(&kind(), &serde_json::from_value(meta).expect("meta data"))
    }

    fn plan(graph: &Graph, uid: &str, absent: &[&str]) -> String {
        let absent = absent.iter().map(|uid| (*uid).to_owned()).collect();
        match graph.plan(&graph.get(uid).expect("known"), &absent) {
            Step::Orphan(nodes) => format!(
                "orphan {:?}",
                nodes
                    .iter()
                    .map(|node| node.uid.as_str())
                    .collect::<Vec<_>>()
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_has_lost_all_its_owners_is_deleted() {
        let mut graph = Graph::default();
        graph.learn(object("owner", &[], &[], false));
        assert_eq!(
            graph.learn(object("one", &["owner"], &[], false)),
            Vec::<String>::new()
        );
        assert_eq!(plan(&graph, "one", &[]), "Nothing");
        let (_, wake) = graph.lose("owner");
        assert_eq!(wake, ["one"]);
        assert_eq!(plan(&graph, "one", &["owner"]), "Delete(Background)");
    }

    #[test]
    fn an_owner_that_was_never_seen_is_asked_for() {
        let mut graph = Graph::default();
        assert_eq!(graph.learn(object("one", &["never"], &[], false)), ["one"]);
        assert_eq!(
            graph
                .unknown_owners(&graph.get("one").expect("known"))
                .len(),
            1
        );
        assert_eq!(
            plan(&graph, "one", &[]),
            "Nothing",
            "the server has it, only its watch is late"
        );
    }

    #[test]
    fn an_owner_that_is_left_keeps_the_object_and_the_others_are_dropped() {
        let mut graph = Graph::default();
        graph.learn(object("left", &[], &[], false));
        graph.learn(object("one", &["left", "gone"], &[], false));
        assert_eq!(plan(&graph, "one", &["gone"]), "DropOwners({\"gone\"})");
    }

    #[test]
    fn a_foreground_deletion_goes_from_the_leaves_up() {
        let mut graph = Graph::default();
        graph.learn(object("top", &[], &[], false));
        graph.learn(object("middle", &["top"], &[], false));
        graph.learn(object("leaf", &["middle"], &[], false));
        let mut wake = graph.learn(object("top", &[], &[FOREGROUND], true));
        wake.sort();
        assert_eq!(wake, ["middle", "top"]);
        assert_eq!(plan(&graph, "top", &[]), "Wake([\"middle\"])");
        assert_eq!(plan(&graph, "middle", &[]), "Delete(Foreground)");
        graph.learn(object("middle", &["top"], &[FOREGROUND], true));
        assert_eq!(plan(&graph, "leaf", &[]), "Delete(Background)");
        assert_eq!(graph.lose("leaf").1, ["middle"]);
        assert_eq!(plan(&graph, "middle", &[]), "Release");
        assert_eq!(graph.lose("middle").1, ["top"]);
        assert_eq!(plan(&graph, "top", &[]), "Release");
    }

    #[test]
    fn orphans_are_left() {
        let mut graph = Graph::default();
        graph.learn(object("owner", &[], &[], false));
        graph.learn(object("one", &["owner"], &[], false));
        assert_eq!(
            graph.learn(object("owner", &[], &[ORPHAN], true)),
            ["owner"]
        );
        assert_eq!(plan(&graph, "owner", &[]), "orphan [\"one\"]");
    }
}
