//! Access to the members of a tree by path. What is absent reads as null, zero, an empty string or
//! an empty list, as in a Go struct.
//!
//! Knows no kinds.

use std::collections::HashMap;

use kinds::Tree;
use kinds::tree::Map;

pub(crate) use rules::tree::{at, list, text};

/// Returns the integer at a path.
pub(crate) fn int(tree: &Tree, path: &[&str]) -> Option<i64> {
    at(tree, path).as_i64()
}

/// Returns the boolean at a path; false when there is none.
pub(crate) fn flag(tree: &Tree, path: &[&str]) -> bool {
    at(tree, path).as_bool().unwrap_or_default()
}

/// Returns the items by the value of a string member; of equal ones the first. With it a list is
/// compared with another one in linear time.
pub(crate) fn by_text<'a>(items: &'a [Tree], member: &str) -> HashMap<&'a str, &'a Tree> {
    let mut found = HashMap::with_capacity(items.len());
    for item in items {
        found.entry(text(item, &[member])).or_insert(item);
    }
    found
}

/// Returns the items of the list at a path for changes; empty when there is none.
pub(crate) fn list_mut<'a>(tree: &'a mut Tree, path: &[&str]) -> &'a mut [Tree] {
    at_mut(tree, path)
        .and_then(Tree::as_array_mut)
        .map(Vec::as_mut_slice)
        .unwrap_or_default()
}

/// Returns the members of the map at a path, sorted by name.
pub(crate) fn entries<'a>(tree: &'a Tree, path: &[&str]) -> Vec<(&'a str, &'a Tree)> {
    let mut all: Vec<(&str, &Tree)> = at(tree, path)
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    all.sort_unstable_by_key(|(name, _)| *name);
    all
}

/// Returns the value at a path for changes.
pub(crate) fn at_mut<'a>(tree: &'a mut Tree, path: &[&str]) -> Option<&'a mut Tree> {
    let mut here = tree;
    for name in path {
        here = here.get_mut(*name)?;
    }
    Some(here)
}

/// Returns the map at a path, which is added if it is missing. A null or a scalar on the way is
/// replaced, so that defaulting never fails.
pub(crate) fn ensure<'a>(tree: &'a mut Tree, path: &[&str]) -> &'a mut Map {
    let mut here = as_map(tree);
    for name in path {
        here = as_map(here.entry(*name).or_insert(Tree::Null));
    }
    here
}

fn as_map(tree: &mut Tree) -> &mut Map {
    if !tree.is_object() {
        *tree = Tree::Object(Map::new());
    }
    tree.as_object_mut().expect("it was just made an object")
}

/// Sets the value at a path, and adds the maps on the way. An empty path does nothing.
pub(crate) fn put(tree: &mut Tree, path: &[&str], value: impl Into<Tree>) {
    if let Some((last, front)) = path.split_last() {
        ensure(tree, front).insert(*last, value.into());
    }
}

/// Removes the value at a path, and returns it.
pub(crate) fn take(tree: &mut Tree, path: &[&str]) -> Option<Tree> {
    let (last, front) = path.split_last()?;
    at_mut(tree, front)?.as_object_mut()?.remove(last)
}

/// Copies the value at a path from one tree to another; removes it there if it is absent.
pub(crate) fn carry(from: &Tree, to: &mut Tree, path: &[&str]) {
    match at(from, path) {
        Tree::Null => {
            take(to, path);
        }
        value => put(to, path, value.clone()),
    }
}

/// Returns true for null and for empty strings, lists and maps, which a Go struct does not
/// distinguish from absent ones.
pub(crate) fn is_empty(tree: &Tree) -> bool {
    match tree {
        Tree::Null => true,
        Tree::String(text) => text.is_empty(),
        Tree::Array(items) => items.is_empty(),
        Tree::Object(members) => members.is_empty(),
        Tree::Bool(_) | Tree::Number(_) => false,
    }
}

/// Sets a default: only where the value is absent, null or an empty string.
pub(crate) fn fill(tree: &mut Tree, path: &[&str], value: impl Into<Tree>) {
    let here = at(tree, path);
    if here.is_null() || here.as_str() == Some("") {
        put(tree, path, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinds::tree::json;

    #[test]
    fn absent_members_read_as_empty() {
        let tree = json!({"spec": {"a": 1, "b": null}});
        assert_eq!(int(&tree, &["spec", "a"]), Some(1));
        assert_eq!(text(&tree, &["spec", "b", "c"]), "");
        assert!(list(&tree, &["status", "x"]).is_empty());
        assert!(!flag(&tree, &["spec", "a"]));
    }

    #[test]
    fn put_adds_maps_and_fill_keeps_existing_values() {
        let mut tree = json!({"spec": null});
        put(&mut tree, &["spec", "x", "y"], 1);
        fill(&mut tree, &["spec", "x", "y"], 2);
        fill(&mut tree, &["spec", "z"], "new");
        assert_eq!(tree, json!({"spec": {"x": {"y": 1}, "z": "new"}}));
        assert_eq!(take(&mut tree, &["spec", "x"]), Some(json!({"y": 1})));
        let mut other = json!({"spec": {"z": 1, "w": 2}});
        carry(&tree, &mut other, &["spec", "z"]);
        carry(&tree, &mut other, &["spec", "w"]);
        assert_eq!(other, json!({"spec": {"z": "new"}}));
    }
}
