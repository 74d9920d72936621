//! Sets of fields, as managed fields hold them (FieldsV1).
//!
//! A field is a path of elements. An element is kept in its encoded form, which is also its
//! identity: `f:name` a member, `k:{"name":"c"}` a list item by its keys, `v:"x"` an item of a
//! set, `i:0` an item by its index.

use std::collections::BTreeMap;

use crate::Tree;

/// A set of fields below some place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    entries: BTreeMap<String, Entry>,
}

/// What is in the set at one element: the element itself, fields below it, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// True when the element itself is in the set.
    pub is_member: bool,
    /// What is in the set below it.
    pub below: FieldSet,
}

impl Entry {
    /// True when the entry says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_member && self.below.is_empty()
    }
}

impl FieldSet {
    /// Reads FieldsV1; `None` when it is none.
    #[must_use]
    pub fn decode(tree: &Tree) -> Option<Self> {
        let mut set = Self::default();
        for (element, value) in tree.as_object()? {
            if element == "." {
                continue;
            }
            let below = Self::decode(value)?;
            let is_member = below.is_empty() || value.get(".").is_some();
            set.attach(canonical(element)?, Entry { is_member, below });
        }
        Some(set)
    }

    /// Writes FieldsV1.
    #[must_use]
    pub fn encode(&self) -> Tree {
        let members = self.entries.iter().map(|(element, entry)| {
            let mut below = entry.below.encode();
            if entry.is_member && !entry.below.is_empty() {
                below["."] = Tree::Object(serde_json::Map::new());
            }
            (element.clone(), below)
        });
        Tree::Object(members.collect())
    }

    /// True for the set of nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is in the set at an element.
    #[must_use]
    pub fn get(&self, element: &str) -> Option<&Entry> {
        self.entries.get(element)
    }

    /// Puts an entry at an element; an empty one is left out.
    pub(super) fn attach(&mut self, element: String, entry: Entry) {
        if !entry.is_empty() {
            self.entries.insert(element, entry);
        }
    }

    /// Adds one path.
    pub(super) fn insert(&mut self, path: &[&str]) {
        let [first, rest @ ..] = path else { return };
        let entry = self.entries.entry((*first).to_owned()).or_default();
        if rest.is_empty() {
            entry.is_member = true;
        } else {
            entry.below.insert(rest);
        }
    }

    /// Everything that is in either.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (element, theirs) in &other.entries {
            let ours = self.entries.entry(element.clone()).or_default();
            ours.is_member |= theirs.is_member;
            ours.below = std::mem::take(&mut ours.below).union(&theirs.below);
        }
        self
    }

    /// What is in this one and not in the other. Removing a field does not remove those below it.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(other, |ours, theirs| ours && !theirs, Self::difference)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |ours, theirs| ours && theirs, Self::intersection)
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool, below: fn(&Self, &Self) -> Self) -> Self {
        let nothing = Entry::default();
        let mut out = Self::default();
        for (element, ours) in &self.entries {
            let theirs = other.entries.get(element).unwrap_or(&nothing);
            let is_member = keep(ours.is_member, theirs.is_member);
            out.attach(element.clone(), Entry { is_member, below: below(&ours.below, &theirs.below) });
        }
        out
    }

    /// Every path of the set, as conflicts show it: `.spec.containers[name="c"].image`.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        for (element, entry) in &self.entries {
            let path = format!("{prefix}{}", shown(element));
            if entry.is_member {
                paths.push(path.clone());
            }
            entry.below.collect_paths(&path, paths);
        }
    }
}

/// One spelling for every element, whoever wrote it.
fn canonical(element: &str) -> Option<String> {
    match element.split_once(':')? {
        ("f", _) | ("i", _) => Some(element.to_owned()),
        (form @ ("k" | "v"), json) => {
            let value: Tree = serde_json::from_str(json).ok()?;
            Some(format!("{form}:{value}"))
        }
        _ => None,
    }
}

/// An element as paths show it.
pub(super) fn shown(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("k", keys)) => {
            let keys: Tree = serde_json::from_str(keys).unwrap_or_default();
            let pairs: Vec<String> = keys.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        Some((_, index)) => format!("[{index}]"),
        None => element.to_owned(),
    }
}
