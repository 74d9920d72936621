//! Which fields an object has, and in which two objects differ.

use std::collections::{BTreeMap, BTreeSet};

use super::field_set::{Entry, FieldSet};
use super::node::{Node, is_empty, is_zero};
use crate::Tree;

/// The fields of an applied object: leaves, entries of maps, items, and what is empty on purpose.
pub(super) fn fields(tree: &Tree, node: Node) -> FieldSet {
    let mut set = FieldSet::default();
    for (name, value) in node.members(Some(tree)).into_iter().flatten() {
        let below = fields(value, node.member(name));
        let is_leaf = is_leaf(value, node.member(name));
        let is_member = is_leaf || is_empty_object(value) || value.is_null() || !node.names_member(name);
        // Members of untyped objects are named too: they count by what is in them.
        let is_deduced = matches!(node, Node::Deduced) && !below.is_empty();
        set.attach(format!("f:{name}"), Entry { is_member: is_member && !is_deduced, below });
    }
    for item in node.items(Some(tree)).into_iter().flatten() {
        if let Some(element) = node.element(item) {
            set.attach(element, Entry { is_member: true, below: fields(item, node.item()) });
        }
    }
    set
}

fn is_empty_object(tree: &Tree) -> bool {
    tree.as_object().is_some_and(serde_json::Map::is_empty)
}

/// True when the value is owned as a whole.
fn is_leaf(tree: &Tree, node: Node) -> bool {
    match node {
        Node::Leaf => true,
        Node::Deduced => !tree.is_object(),
        _ => false,
    }
}

/// In what two objects differ.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    /// Fields that are new or hold something else.
    pub(super) fn changed(&self) -> FieldSet {
        self.added.clone().union(&self.modified)
    }

    /// True when there is no difference.
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    fn attach(&mut self, element: &str, change: Change, below: Self) {
        if change == Change::None && below.is_empty() {
            return;
        }
        let entry = |kind: Change, below: FieldSet| Entry { is_member: change == kind, below };
        self.added.attach(element.to_owned(), entry(Change::Added, below.added));
        self.modified.attach(element.to_owned(), entry(Change::Modified, below.modified));
        self.removed.attach(element.to_owned(), entry(Change::Removed, below.removed));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Added,
    Modified,
    Removed,
}

/// Compares two objects. Members that are always written count as there, with nothing in them.
pub(super) fn compare(old: &Tree, new: &Tree, node: Node) -> Comparison {
    compare_below(Some(old), Some(new), node)
}

fn compare_value(old: Option<&Tree>, new: Option<&Tree>, node: Node) -> (Change, Comparison) {
    // Most of an object stays as it is in most writes.
    if old == new {
        return (Change::None, Comparison::default());
    }
    let sides = [old, new].into_iter().flatten();
    let is_leaf = sides.clone().all(|side| is_leaf(side, node) || is_empty(side));
    let change = match (old, new) {
        (None, None) => Change::None,
        (None, Some(_)) => Change::Added,
        (Some(_), None) => Change::Removed,
        (Some(old), Some(new)) if is_leaf && old != new && !(is_zero(old) && is_zero(new)) => Change::Modified,
        (Some(_), Some(_)) => Change::None,
    };
    (change, if is_leaf { Comparison::default() } else { compare_below(old, new, node) })
}

fn compare_below(old: Option<&Tree>, new: Option<&Tree>, node: Node) -> Comparison {
    let mut out = Comparison::default();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for side in [old, new] {
        names.extend(node.members(side).into_iter().flatten().map(|(name, _)| name.as_str()));
    }
    for name in names {
        let (change, below) = compare_value(member(old, name, node), member(new, name, node), node.member(name));
        out.attach(&format!("f:{name}"), change, below);
    }
    let (old_items, new_items) = (by_element(old, node), by_element(new, node));
    let elements: BTreeSet<&String> = old_items.keys().chain(new_items.keys()).collect();
    for element in elements {
        let (change, below) = compare_value(old_items.get(element).copied(), new_items.get(element).copied(), node.item());
        out.attach(element, change, below);
    }
    out
}

/// A member as upstream's typed objects have it: some are there although nobody wrote them, and
/// others are not although somebody wrote their zero.
fn member<'a>(tree: Option<&'a Tree>, name: &str, node: Node) -> Option<&'a Tree> {
    // A structure that is always there may be null here: all its members are at zero.
    let value = tree?.get(name);
    let Node::Object(ty) = node else { return value };
    let Some(field) = ty.field(name) else { return value };
    match value {
        None | Some(Tree::Null) if field.always => Some(&Tree::Null),
        Some(value) if is_zero(value) && !field.always && (!field.optional || value.is_null()) => None,
        other => other,
    }
}

fn by_element(tree: Option<&Tree>, node: Node) -> BTreeMap<String, &Tree> {
    let mut items = BTreeMap::new();
    for item in node.items(tree).into_iter().flatten() {
        if let Some(element) = node.element(item) {
            items.entry(element).or_insert(item);
        }
    }
    items
}
