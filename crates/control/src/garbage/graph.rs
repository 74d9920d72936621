//! The graph of owners over all kinds, and what follows from it. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;
use kube::discovery::ApiResource;

use crate::discovery::DeletableResource;
use crate::meta::{ObjectKey, group_of};

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// An object.
#[derive(Clone, Debug)]
pub(super) struct GraphNode {
    pub(super) uid: String,
    pub(super) kind: Arc<DeletableResource>,
    pub(super) key: ObjectKey,
    pub(super) owners: Vec<OwnerReference>,
    deleting: bool,
    /// The object waits for its dependents (foreground deletion).
    foreground: bool,
    /// The dependents of the object are to be orphaned.
    orphan: bool,
}

impl GraphNode {
    pub(super) fn new(kind: &Arc<DeletableResource>, meta: &ObjectMeta) -> Self {
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
            key: ObjectKey::of_meta(meta),
            uid: meta.uid.clone().unwrap_or_default(),
            kind: Arc::clone(kind),
            owners: meta.owner_references.clone().unwrap_or_default(),
        }
    }

    /// True when two states of an object make the same node.
    pub(super) fn is_same(old: &ObjectMeta, new: &ObjectMeta) -> bool {
        old.uid == new.uid
            && old.owner_references == new.owner_references
            && old.finalizers == new.finalizers
            && old.deletion_timestamp.is_some() == new.deletion_timestamp.is_some()
    }

    /// True when an object has the owners that this node of it has, whatever they are called.
    pub(super) fn has_same_owners(&self, meta: &ObjectMeta) -> bool {
        let theirs = meta.owner_references.iter().flatten();
        let own = self.owners.iter().map(|owner| &owner.uid);
        own.eq(theirs.map(|owner| &owner.uid))
    }

    fn waits(&self) -> bool {
        self.deleting && self.foreground
    }

    /// True when `reference`, in an object of `namespace`, names this object by its kind, namespace
    /// and name. A reference with the right uid may name another object.
    fn is_named_by(&self, reference: &OwnerReference, namespace: &str) -> bool {
        let resource = &self.kind.resource;
        reference.kind == resource.kind
            && group_of(&reference.api_version) == resource.group
            && reference.name == self.key.name
            && (!self.kind.namespaced || self.key.namespace == namespace)
    }
}

/// What the server says about an owner that the graph does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerLookup {
    /// No object of this kind, name and uid exists.
    Absent,
    /// The owner exists and waits for its dependents (foreground deletion).
    Waiting,
    /// The owner exists, or cannot be looked up.
    Present,
}

/// An owner reference that names an object of another namespace.
#[derive(Clone, Debug)]
pub(super) struct MisplacedReference {
    pub(super) dependent: GraphNode,
    pub(super) reference: OwnerReference,
}

/// What to do about an object.
#[derive(Debug)]
pub(super) enum GarbageAction {
    Nothing,
    /// Reconcile these objects.
    Reconcile(Vec<String>),
    Delete(PropagationPolicy),
    /// Let the object block none of its owners any more, then delete it in the foreground. This
    /// breaks a circle of owners that would wait for each other.
    UnblockAndDelete,
    /// Remove these owners from the object's owner references.
    DropOwners(BTreeSet<String>),
    /// Remove the object from the owner references of these dependents, then drop its finalizer.
    Orphan(Vec<GraphNode>),
    /// Drop the finalizer for foreground deletion: no dependent blocks the object any more.
    Release,
}

/// The known objects by uid, and their dependents.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<String, GraphNode>,
    dependents: HashMap<String, HashSet<String>>,
    misplaced: Vec<MisplacedReference>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<GraphNode> {
        self.nodes.get(uid).cloned()
    }

    /// Takes in the newest state of an object. Returns the objects to reconcile.
    pub(super) fn insert(&mut self, node: GraphNode) -> Vec<String> {
        let uid = node.uid.clone();
        let known = self.nodes.remove(&uid);
        if let Some(known) = &known {
            self.unlink(known);
        }
        let mut wake = Vec::new();
        let stray = node
            .owners
            .iter()
            .any(|owner| self.owner(&node, owner).is_none());
        let changed = known
            .as_ref()
            .is_none_or(|known| known.owners != node.owners);
        let owner_waits = node
            .owners
            .iter()
            .any(|owner| self.nodes.get(&owner.uid).is_some_and(GraphNode::waits));
        if changed {
            self.note_misplaced(&node, known.as_ref());
        }
        if known.is_none() {
            wake.extend(self.mistaken_dependents(&node));
        }
        let lets_go = node.deleting && (node.foreground || node.orphan);
        if lets_go || (changed && (stray || owner_waits)) {
            wake.push(uid.clone());
        }
        if node.waits() && known.as_ref().is_none_or(|known| !known.waits()) {
            wake.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        if let Some(known) = &known {
            // An owner may be released when a dependent no longer refers to it or no longer blocks
            // it.
            wake.extend(
                known
                    .owners
                    .iter()
                    .map(|owner| owner.uid.clone())
                    .filter(|owner| self.nodes.get(owner).is_some_and(GraphNode::waits)),
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

    /// The owner that `reference` of `dependent` names, when it is in the graph.
    fn owner(&self, dependent: &GraphNode, reference: &OwnerReference) -> Option<&GraphNode> {
        let owner = self.nodes.get(&reference.uid)?;
        owner
            .is_named_by(reference, &dependent.key.namespace)
            .then_some(owner)
    }

    /// Keeps the new references of an object to owners in other namespaces for
    /// [`Graph::take_misplaced`].
    fn note_misplaced(&mut self, node: &GraphNode, known: Option<&GraphNode>) {
        for reference in &node.owners {
            let was_there = known.is_some_and(|known| {
                let mut uids = known.owners.iter().map(|owner| &owner.uid);
                uids.any(|uid| *uid == reference.uid)
            });
            let elsewhere = self.nodes.get(&reference.uid).is_some_and(|owner| {
                owner.kind.namespaced && owner.key.namespace != node.key.namespace
            });
            if elsewhere && !was_there {
                self.misplaced.push(MisplacedReference {
                    dependent: node.clone(),
                    reference: reference.clone(),
                });
            }
        }
    }

    /// The dependents that name a new object by another kind, namespace or name, so that the server
    /// has to be asked whether their owner exists.
    fn mistaken_dependents(&mut self, owner: &GraphNode) -> Vec<String> {
        let mut mistaken = Vec::new();
        let mut misplaced = Vec::new();
        for dependent in self.dependents_of(&owner.uid) {
            let namespace = &dependent.key.namespace;
            let mut references = dependent.owners.iter();
            let Some(reference) = references.find(|reference| {
                reference.uid == owner.uid && !owner.is_named_by(reference, namespace)
            }) else {
                continue;
            };
            mistaken.push(dependent.uid.clone());
            if owner.kind.namespaced && owner.key.namespace != *namespace {
                misplaced.push(MisplacedReference {
                    dependent: dependent.clone(),
                    reference: reference.clone(),
                });
            }
        }
        self.misplaced.extend(misplaced);
        mistaken
    }

    /// The references to owners in other namespaces that were found since the last call.
    pub(super) fn take_misplaced(&mut self) -> Vec<MisplacedReference> {
        std::mem::take(&mut self.misplaced)
    }

    /// Removes an object. Returns it and the objects to reconcile.
    pub(super) fn remove(&mut self, uid: &str) -> (Option<GraphNode>, Vec<String>) {
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
                .filter(|owner| self.nodes.get(owner).is_some_and(GraphNode::waits)),
        );
        (Some(node), wake)
    }

    fn unlink(&mut self, node: &GraphNode) {
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(&node.uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    /// The known objects of a kind that a new list does not contain.
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

    /// Removes all objects of a kind that is no longer served. No deletion is reported for them.
    pub(super) fn forget_kind(&mut self, name: &str) {
        let of_kind = |node: &&GraphNode| {
            format!("{}.{}", node.kind.resource.plural, node.kind.resource.group) == name
        };
        let uids: Vec<String> = self
            .nodes
            .values()
            .filter(of_kind)
            .map(|node| node.uid.clone())
            .collect();
        for uid in uids {
            self.remove(&uid);
        }
    }

    /// The owners, by their place in the references of the object, that are not in the graph under
    /// the kind, namespace and name of the reference. The server has to be asked for them.
    pub(super) fn unknown_owners(&self, node: &GraphNode) -> Vec<(usize, OwnerReference)> {
        let references = node.owners.iter().enumerate();
        references
            .filter(|(_, owner)| self.owner(node, owner).is_none())
            .map(|(place, owner)| (place, owner.clone()))
            .collect()
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = &GraphNode> {
        self.dependents
            .get(uid)
            .into_iter()
            .flatten()
            .filter_map(|uid| self.nodes.get(uid))
    }

    /// Decides what to do about an object. `looked_up` has what the server says about the owners
    /// of [`Graph::unknown_owners`], by their place.
    pub(super) fn plan(
        &self,
        node: &GraphNode,
        looked_up: &HashMap<usize, OwnerLookup>,
    ) -> GarbageAction {
        if node.deleting && node.orphan {
            return GarbageAction::Orphan(self.dependents_of(&node.uid).cloned().collect());
        }
        if node.waits() {
            return self.plan_waiting(node);
        }
        if node.deleting || node.owners.is_empty() {
            return GarbageAction::Nothing;
        }
        let (mut solid, mut gone, mut waiting) = (false, BTreeSet::new(), BTreeSet::new());
        for (place, owner) in node.owners.iter().enumerate() {
            let state =
                looked_up
                    .get(&place)
                    .copied()
                    .unwrap_or_else(|| match self.owner(node, owner) {
                        Some(owner) if owner.waits() => OwnerLookup::Waiting,
                        _ => OwnerLookup::Present,
                    });
            match state {
                OwnerLookup::Absent => _ = gone.insert(owner.uid.clone()),
                OwnerLookup::Waiting => _ = waiting.insert(owner.uid.clone()),
                OwnerLookup::Present => solid = true,
            }
        }
        if solid {
            let drop: BTreeSet<String> = gone.into_iter().chain(waiting).collect();
            return if drop.is_empty() {
                GarbageAction::Nothing
            } else {
                GarbageAction::DropOwners(drop)
            };
        }
        if !waiting.is_empty() && self.dependents.contains_key(&node.uid) {
            // A dependent that waits may be an owner further up, and then each would wait for the
            // other. Upstream, too, assumes so without a search for the circle.
            return if self.dependents_of(&node.uid).any(GraphNode::waits) {
                GarbageAction::UnblockAndDelete
            } else {
                GarbageAction::Delete(PropagationPolicy::Foreground)
            };
        }
        if node.orphan {
            GarbageAction::Delete(PropagationPolicy::Orphan)
        } else if node.foreground {
            GarbageAction::Delete(PropagationPolicy::Foreground)
        } else {
            GarbageAction::Delete(PropagationPolicy::Background)
        }
    }

    /// Decides about an owner that waits: the dependents that block it have to be deleted first.
    fn plan_waiting(&self, node: &GraphNode) -> GarbageAction {
        let blocks = |dependent: &&GraphNode| {
            dependent
                .owners
                .iter()
                .any(|owner| owner.uid == node.uid && owner.block_owner_deletion == Some(true))
        };
        let blocking: Vec<&GraphNode> = self.dependents_of(&node.uid).filter(blocks).collect();
        if blocking.is_empty() {
            return GarbageAction::Release;
        }
        GarbageAction::Reconcile(
            blocking
                .iter()
                .filter(|dependent| !dependent.deleting)
                .map(|dependent| dependent.uid.clone())
                .collect(),
        )
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind() -> Arc<DeletableResource> {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        Arc::new(DeletableResource {
            resource,
            namespaced: true,
            supports_delete_collection: true,
        })
    }

    fn object(uid: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> GraphNode {
        let owners: Vec<_> = owners
            .iter()
            .map(|uid| {
                json!({"apiVersion": "v1", "kind": "Pod", "name": uid, "uid": uid,
                "blockOwnerDeletion": true})
            })
            .collect();
        let meta = json!({"name": uid, "namespace": "n", "uid": uid, "ownerReferences": owners,
            "finalizers": finalizers,
            "deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z")});
        GraphNode::new(&kind(), &serde_json::from_value(meta).expect("meta data"))
    }

    fn plan(graph: &Graph, uid: &str, absent: &[&str]) -> String {
        let node = graph.get(uid).expect("known");
        let unknown = graph.unknown_owners(&node).into_iter();
        let looked_up = unknown
            .map(
                |(place, owner)| match absent.contains(&owner.uid.as_str()) {
                    true => (place, OwnerLookup::Absent),
                    false => (place, OwnerLookup::Present),
                },
            )
            .collect();
        match graph.plan(&node, &looked_up) {
            GarbageAction::Orphan(nodes) => format!(
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
    fn an_object_without_any_owner_left_is_deleted() {
        let mut graph = Graph::default();
        graph.insert(object("owner", &[], &[], false));
        assert_eq!(
            graph.insert(object("one", &["owner"], &[], false)),
            Vec::<String>::new()
        );
        assert_eq!(plan(&graph, "one", &[]), "Nothing");
        let (_, wake) = graph.remove("owner");
        assert_eq!(wake, ["one"]);
        assert_eq!(plan(&graph, "one", &["owner"]), "Delete(Background)");
    }

    #[test]
    fn an_unknown_owner_is_looked_up() {
        let mut graph = Graph::default();
        assert_eq!(graph.insert(object("one", &["never"], &[], false)), ["one"]);
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

    fn with_name(mut reference: serde_json::Value, name: &str, uid: &str) -> serde_json::Value {
        reference["name"] = json!(name);
        reference["uid"] = json!(uid);
        reference
    }

    #[test]
    fn an_owner_counts_only_under_its_kind_namespace_name_and_uid() {
        let cluster_wide = Arc::new(DeletableResource {
            resource: ApiResource::erase::<k8s_openapi::api::core::v1::Node>(&()),
            namespaced: false,
            supports_delete_collection: true,
        });
        // (case, dependent is namespaced, its namespace, reference, asks the server, event)
        let pod = |version: &str, kind: &str, name: &str, uid: &str| {
            let core = json!({"apiVersion": version, "kind": kind});
            with_name(core, name, uid)
        };
        let cases = [
            ("right", true, "n", pod("v1", "Pod", "a", "a"), false, false),
            ("node", true, "n", pod("v1", "Node", "b", "b"), false, false),
            ("uid", true, "n", pod("v1", "Pod", "a", "x"), true, false),
            (
                "kind",
                true,
                "n",
                pod("v1", "Secret", "a", "a"),
                true,
                false,
            ),
            (
                "group",
                true,
                "n",
                pod("apps/v1", "Pod", "a", "a"),
                true,
                false,
            ),
            ("name", true, "n", pod("v1", "Pod", "z", "a"), true, false),
            (
                "namespace",
                true,
                "m",
                pod("v1", "Pod", "a", "a"),
                true,
                true,
            ),
            (
                "cluster-wide",
                false,
                "",
                pod("v1", "Pod", "a", "a"),
                true,
                true,
            ),
        ];
        for owner_first in [true, false] {
            for (case, namespaced, namespace, reference, asks, event) in &cases {
                let mut graph = Graph::default();
                let meta = json!({"name": "b", "uid": "b"});
                let meta = serde_json::from_value(meta).expect("metadata");
                let owners = [
                    object("a", &[], &[], false),
                    GraphNode::new(&cluster_wide, &meta),
                ];
                let meta = json!({"name": "one", "namespace": namespace, "uid": "one",
                    "ownerReferences": [reference]});
                let meta = serde_json::from_value(meta).expect("metadata");
                let of = if *namespaced {
                    kind()
                } else {
                    Arc::clone(&cluster_wide)
                };
                let dependent = GraphNode::new(&of, &meta);
                let mut woken = Vec::new();
                if !owner_first {
                    graph.insert(dependent.clone());
                }
                for owner in owners {
                    woken.extend(graph.insert(owner));
                }
                if owner_first {
                    woken.extend(graph.insert(dependent.clone()));
                }
                let asked = !graph.unknown_owners(&dependent).is_empty();
                assert_eq!(asked, *asks, "{case}");
                let known = *case != "uid" || owner_first;
                assert_eq!(woken.contains(&"one".to_owned()), *asks && known, "{case}");
                assert_eq!(!graph.take_misplaced().is_empty(), *event, "{case}");
            }
        }
    }

    #[test]
    fn one_remaining_owner_keeps_the_object_and_absent_owners_are_dropped() {
        let mut graph = Graph::default();
        graph.insert(object("left", &[], &[], false));
        graph.insert(object("one", &["left", "gone"], &[], false));
        assert_eq!(plan(&graph, "one", &["gone"]), "DropOwners({\"gone\"})");
    }

    #[test]
    fn foreground_deletion_deletes_the_leaves_first() {
        let mut graph = Graph::default();
        graph.insert(object("top", &[], &[], false));
        graph.insert(object("middle", &["top"], &[], false));
        graph.insert(object("leaf", &["middle"], &[], false));
        let mut wake = graph.insert(object("top", &[], &[FOREGROUND], true));
        wake.sort();
        assert_eq!(wake, ["middle", "top"]);
        assert_eq!(plan(&graph, "top", &[]), "Reconcile([\"middle\"])");
        assert_eq!(plan(&graph, "middle", &[]), "Delete(Foreground)");
        graph.insert(object("middle", &["top"], &[FOREGROUND], true));
        assert_eq!(plan(&graph, "leaf", &[]), "Delete(Background)");
        assert_eq!(graph.remove("leaf").1, ["middle"]);
        assert_eq!(plan(&graph, "middle", &[]), "Release");
        assert_eq!(graph.remove("middle").1, ["top"]);
        assert_eq!(plan(&graph, "top", &[]), "Release");
    }

    #[test]
    fn a_dependent_that_comes_while_its_owner_waits_is_deleted_at_once() {
        let mut graph = Graph::default();
        graph.insert(object("top", &[], &[], false));
        graph.insert(object("blocks", &["top"], &[], false));
        graph.insert(object("top", &[], &[FOREGROUND], true));
        assert_eq!(graph.insert(object("late", &["top"], &[], false)), ["late"]);
        assert_eq!(plan(&graph, "late", &[]), "Delete(Background)");
    }

    #[test]
    fn orphaned_dependents_stay() {
        let mut graph = Graph::default();
        graph.insert(object("owner", &[], &[], false));
        graph.insert(object("one", &["owner"], &[], false));
        assert_eq!(
            graph.insert(object("owner", &[], &[ORPHAN], true)),
            ["owner"]
        );
        assert_eq!(plan(&graph, "owner", &[]), "orphan [\"one\"]");
    }
}
