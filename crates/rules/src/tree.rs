//! Access to the members of a tree by path. What is absent reads as null, an empty string or an
//! empty list, as in a Go struct.

use kinds::Tree;

static NULL: Tree = Tree::Null;

/// Returns the value at a path of members; null when any part of it is missing.
#[must_use]
pub fn at<'a>(tree: &'a Tree, path: &[&str]) -> &'a Tree {
    let inner = path.iter().try_fold(tree, |here, name| here.get(*name));
    inner.unwrap_or(&NULL)
}

/// Returns the string at a path; empty if it is absent or no string.
#[must_use]
pub fn text<'a>(tree: &'a Tree, path: &[&str]) -> &'a str {
    at(tree, path).as_str().unwrap_or_default()
}

/// Returns the list at a path; empty if it is absent or no list.
#[must_use]
pub fn list<'a>(tree: &'a Tree, path: &[&str]) -> &'a [Tree] {
    at(tree, path)
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}
