//! The fields of an object, and the fields in which two objects differ.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::field_set::{FieldSet, FieldSetEntry};
use super::node::{FieldNode, is_empty, is_zero};
use super::schema::FieldView;
use crate::Tree;
use crate::tree::{Map, Text};

/// Returns the fields of an applied object: leaves, map entries, items, and empty values.
pub(super) fn fields(tree: &Tree, node: FieldNode<'_>) -> FieldSet {
    let mut set = FieldSet::default();
    for (name, value) in node.members(Some(tree)).into_iter().flatten() {
        let (index, field) = node.field(name).unzip();
        let member = node.member_of(field);
        let below = fields(value, member);
        let is_member =
            is_leaf(value, member) || is_empty_object(value) || value.is_null() || field.is_none();
        set.attach(
            node.name_of(index, name),
            FieldSetEntry { is_member, below },
        );
    }
    for item in node.items(Some(tree)).into_iter().flatten() {
        if let Some(element) = node.element(item) {
            set.attach(
                element.into(),
                FieldSetEntry {
                    is_member: true,
                    below: fields(item, node.item()),
                },
            );
        }
    }
    set
}

fn is_empty_object(tree: &Tree) -> bool {
    tree.as_object().is_some_and(crate::tree::Map::is_empty)
}

/// Returns whether a value is owned as a whole.
fn is_leaf(tree: &Tree, node: FieldNode<'_>) -> bool {
    match node {
        FieldNode::Leaf => true,
        FieldNode::Deduced => !tree.is_object(),
        FieldNode::Object(structure) => structure.is_untyped() && !tree.is_object(),
        _ => false,
    }
}

/// The fields in which two objects differ.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    /// Returns the fields that were added or have another value.
    pub(super) fn changed(&self) -> FieldSet {
        self.added.clone().union(&self.modified)
    }

    /// Returns whether the objects are equal.
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    fn attach(&mut self, element: impl FnOnce() -> Text, change: FieldChange, below: Self) {
        if change == FieldChange::None && below.is_empty() {
            return;
        }
        let element = element();
        let entry = |kind: FieldChange, below: FieldSet| FieldSetEntry {
            is_member: change == kind,
            below,
        };
        self.added
            .attach(element.clone(), entry(FieldChange::Added, below.added));
        self.modified.attach(
            element.clone(),
            entry(FieldChange::Modified, below.modified),
        );
        self.removed
            .attach(element, entry(FieldChange::Removed, below.removed));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldChange {
    None,
    Added,
    Modified,
    Removed,
}

/// Compares two objects. Members that are always written count as present and empty.
pub(super) fn compare(old: &Tree, new: &Tree, node: FieldNode<'_>) -> Comparison {
    compare_below(Some(old), Some(new), node)
}

fn compare_value(
    old: Option<&Tree>,
    new: Option<&Tree>,
    node: FieldNode<'_>,
) -> (FieldChange, Comparison) {
    // Most of an object is unchanged in most writes.
    if old == new {
        return (FieldChange::None, Comparison::default());
    }
    let sides = [old, new].into_iter().flatten();
    let is_leaf = sides
        .clone()
        .all(|side| is_leaf(side, node) || is_empty(side));
    let change = match (old, new) {
        (None, None) => FieldChange::None,
        (None, Some(_)) => FieldChange::Added,
        (Some(_), None) => FieldChange::Removed,
        (Some(old), Some(new)) if is_leaf && old != new && !(is_zero(old) && is_zero(new)) => {
            FieldChange::Modified
        }
        (Some(_), Some(_)) => FieldChange::None,
    };
    (
        change,
        if is_leaf {
            Comparison::default()
        } else {
            compare_below(old, new, node)
        },
    )
}

fn compare_below(old: Option<&Tree>, new: Option<&Tree>, node: FieldNode<'_>) -> Comparison {
    let mut out = Comparison::default();
    for (name, was, is) in pairs(node.members(old), node.members(new)) {
        let (index, field) = node.field(name).unzip();
        let (was, is) = (
            member(old.is_some(), was, field),
            member(new.is_some(), is, field),
        );
        let (change, below) = compare_value(was, is, node.member_of(field));
        out.attach(|| node.name_of(index, name), change, below);
    }
    let (old_items, new_items) = (by_element(old, node), by_element(new, node));
    for (element, was) in &old_items {
        let (change, below) =
            compare_value(Some(was), new_items.get(element).copied(), node.item());
        out.attach(|| element.clone(), change, below);
    }
    for (element, is) in new_items
        .iter()
        .filter(|(element, _)| !old_items.contains_key(*element))
    {
        let (change, below) = compare_value(None, Some(is), node.item());
        out.attach(|| element.clone(), change, below);
    }
    out
}

/// Pairs the members of both objects by name.
fn pairs<'a>(
    old: Option<&'a Map>,
    new: Option<&'a Map>,
) -> impl Iterator<Item = (&'a Text, Option<&'a Tree>, Option<&'a Tree>)> {
    let mut old = old.into_iter().flatten().peekable();
    let mut new = new.into_iter().flatten().peekable();
    std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (Some((was, _)), Some((is, _))) => was.cmp(is),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => old.next().map(|(name, was)| (name, Some(was), None)),
            Ordering::Equal => old
                .next()
                .zip(new.next())
                .map(|((name, was), (_, is))| (name, Some(was), Some(is))),
            Ordering::Greater => new.next().map(|(name, is)| (name, None, Some(is))),
        }
    })
}

/// Returns a member as Go's typed objects have it: members that are always written are present, and
/// zeros that equal absent members in Go are not. `there`: the structure exists and can
/// have members.
fn member<'a>(
    there: bool,
    value: Option<&'a Tree>,
    field: Option<FieldView<'_>>,
) -> Option<&'a Tree> {
    // A structure that is always written may be null here: all of its members are zero.
    if !there {
        return None;
    }
    let Some(field) = field else { return value };
    match value {
        None | Some(Tree::Null) if field.is_always_written() => Some(&Tree::Null),
        Some(value)
            if is_zero(value)
                && !field.is_always_written()
                && (!field.is_optional() || value.is_null()) =>
        {
            None
        }
        other => other,
    }
}

fn by_element<'a>(tree: Option<&'a Tree>, node: FieldNode<'_>) -> BTreeMap<Text, &'a Tree> {
    let mut items = BTreeMap::new();
    for item in node.items(tree).into_iter().flatten() {
        if let Some(element) = node.element(item) {
            items.entry(Text::from(element)).or_insert(item);
        }
    }
    items
}
