//! Where selectors read labels from.

use std::collections::BTreeMap;

use crate::Tree;
use crate::tree::Map;

/// A source of labels: a tree, a map of a tree, or typed metadata.
pub trait Labels {
    /// Returns the value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for Map {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Tree::as_str)
    }
}

impl Labels for Tree {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Tree::as_str)
    }
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<L: Labels> Labels for Option<L> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}
