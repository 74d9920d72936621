//! The annotation in which `kubectl apply` without server-side apply records the applied object.
//!
//! Fields that kubectl applied on the client belong to its update manager. Without a special rule,
//! a user who changes to server-side apply would get conflicts with themselves. So conflicts about
//! values that still equal the annotation do not count, and an apply updates the annotation, so
//! that the user can change back. Both hold for kubectl only.

use super::FieldSet;
use super::compare::{compare, fields};
use super::node::FieldNode;
use super::validate::validate;
use crate::Tree;

/// The manager name of kubectl's server-side apply.
const KUBECTL: &str = "kubectl";
/// Limit of the total size of an object's annotations, names included.
const ANNOTATIONS_BYTES: usize = 256 * 1024;
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Returns the annotation of an object, if the manager is kubectl.
fn remembered<'a>(object: &'a Tree, manager: &str) -> Option<&'a str> {
    let annotations = object
        .pointer("/metadata/annotations")
        .filter(|_| manager == KUBECTL)?;
    annotations
        .get(ANNOTATION)?
        .as_str()
        .filter(|text| !text.is_empty())
}

/// Returns the fields whose values equal the annotation, if the manager is kubectl.
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

/// Updates an existing annotation with the applied object; removes it if it would exceed the limit.
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
