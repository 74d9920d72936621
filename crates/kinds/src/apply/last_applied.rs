//! The annotation in which client-side apply remembers what it was given.
//!
//! Who changes from client-side to server-side apply with kubectl owns by its former name what it
//! applied before, and would meet itself in conflicts. Where the object still is as the annotation
//! says, such conflicts do not count; and the annotation follows what is applied, so that the way
//! back stays open. Other managers get none of this.

use super::FieldSet;
use super::compare::{compare, fields};
use super::node::FieldNode;
use super::validate::validate;
use crate::Tree;

/// The manager that kubectl applies as.
const KUBECTL: &str = "kubectl";
/// The most that all annotations of an object take, with their names.
const ANNOTATIONS_BYTES: usize = 256 * 1024;
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The annotation of an object, for the manager that heeds it.
fn remembered<'a>(object: &'a Tree, manager: &str) -> Option<&'a str> {
    let annotations = object
        .pointer("/metadata/annotations")
        .filter(|_| manager == KUBECTL)?;
    annotations
        .get(ANNOTATION)?
        .as_str()
        .filter(|text| !text.is_empty())
}

/// The fields that hold what the annotation says, when `manager` heeds it.
pub(super) fn undisputed(
    live: &Tree,
    node: FieldNode<'_>,
    manager: &str,
    api_version: &str,
) -> FieldSet {
    let remembered =
        remembered(live, manager).and_then(|text| serde_json::from_str::<Tree>(text).ok());
    let Some(remembered) = remembered else {
        return FieldSet::default();
    };
    if remembered.get("apiVersion").and_then(Tree::as_str) != Some(api_version)
        || validate(&remembered, node).is_err()
    {
        return FieldSet::default();
    }
    let differing = compare(&remembered, live, node);
    let held = fields(&remembered, node).difference(&differing.modified);
    held.difference(&differing.added)
        .difference(&differing.removed)
}

/// Lets an annotation that is there remember what was applied. Where it would be too large for the
/// object it goes.
pub(super) fn remember(object: &mut Tree, applied: &Tree, manager: &str) {
    if remembered(object, manager).is_none() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) = applied
        .pointer_mut("/metadata/annotations")
        .and_then(Tree::as_object_mut)
    {
        annotations.remove(ANNOTATION);
    }
    let text = String::from_utf8_lossy(&crate::json::encode_untyped(&applied)).into_owned() + "\n";
    if let Some(annotations) = object
        .pointer_mut("/metadata/annotations")
        .and_then(Tree::as_object_mut)
    {
        annotations.remove(ANNOTATION);
        let others: usize = annotations
            .iter()
            .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
            .sum();
        if others + ANNOTATION.len() + text.len() <= ANNOTATIONS_BYTES {
            annotations.insert(ANNOTATION.to_owned(), text.into());
        }
    }
}
