//! Sets of fields, the content of managed fields (`FieldsV1`).
//!
//! A field is a path of elements. An element is kept in its encoded form, which identifies it:
//! `f:name` for a member, `k:{"name":"c"}` for a list item by its keys, `v:"x"` for an item of a
//! set, `i:0` for an item by its index.

use smol_str::format_smolstr;

use crate::Tree;
use crate::tree::{Map, Text};

/// A set of fields, relative to a parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by element.
    entries: Vec<(Text, FieldSetEntry)>,
}

/// What the set has at one element: the element itself, fields below it, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSetEntry {
    /// True if the element itself is in the set.
    pub is_member: bool,
    /// The fields below the element.
    pub below: FieldSet,
}

impl FieldSetEntry {
    /// Returns whether the entry is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_member && self.below.is_empty()
    }
}

impl FieldSet {
    /// Decodes `FieldsV1`; `None` if it is invalid.
    #[must_use]
    pub fn decode(tree: &Tree) -> Option<Self> {
        let members = tree.as_object()?;
        let mut set = Self {
            entries: Vec::with_capacity(members.len()),
        };
        for (element, value) in members {
            if element == "." {
                continue;
            }
            let below = Self::decode(value)?;
            let is_member = below.is_empty() || value.get(".").is_some();
            set.attach(canonical(element)?, FieldSetEntry { is_member, below });
        }
        Some(set)
    }

    /// Encodes `FieldsV1`.
    #[must_use]
    pub fn encode(&self) -> Tree {
        Tree::Object(Map::of(self.members(false)))
    }

    /// Returns the members of `FieldsV1`. An element that is in the set and has fields below it
    /// gets the member `.`.
    fn members(&self, is_member: bool) -> Vec<(Text, Tree)> {
        let own = (is_member && !self.is_empty())
            .then(|| (Text::new_static("."), Tree::Object(Map::new())));
        let members = self.entries.iter().map(|(element, entry)| {
            let below = Map::of(entry.below.members(entry.is_member));
            (element.clone(), Tree::Object(below))
        });
        own.into_iter().chain(members).collect()
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn place(&self, element: &str) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|(known, _)| known.as_str().cmp(element))
    }

    /// Returns the entry of an element.
    #[must_use]
    pub fn get(&self, element: &str) -> Option<&FieldSetEntry> {
        self.place(element).ok().map(|at| &self.entries[at].1)
    }

    /// Adds an entry, unless it is empty.
    pub(super) fn attach(&mut self, element: Text, entry: FieldSetEntry) {
        if entry.is_empty() {
            return;
        }
        // Elements nearly always arrive in order.
        if self.entries.last().is_none_or(|(last, _)| *last < element) {
            return self.entries.push((element, entry));
        }
        match self.place(&element) {
            Ok(at) => self.entries[at].1 = entry,
            Err(at) => self.entries.insert(at, (element, entry)),
        }
    }

    /// Adds a path.
    pub(super) fn insert(&mut self, path: &[&str]) {
        let [first, rest @ ..] = path else { return };
        let at = self.place(first).unwrap_or_else(|at| {
            self.entries
                .insert(at, (Text::new(first), FieldSetEntry::default()));
            at
        });
        let entry = &mut self.entries[at].1;
        if rest.is_empty() {
            entry.is_member = true;
        } else {
            entry.below.insert(rest);
        }
    }

    /// Returns the set of one path.
    pub(super) fn of(path: &[&str]) -> Self {
        let mut set = Self::default();
        set.insert(path);
        set
    }

    /// Returns whether the path itself is in the set.
    pub(super) fn contains(&self, path: &[&str]) -> bool {
        match path {
            [] => false,
            [last] => self.get(last).is_some_and(|entry| entry.is_member),
            [first, rest @ ..] => self
                .get(first)
                .is_some_and(|entry| entry.below.contains(rest)),
        }
    }

    /// Returns the union of both sets.
    #[must_use]
    pub fn union(self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self;
        }
        let mut entries = Vec::with_capacity(self.entries.len() + other.entries.len());
        let mut theirs = other.entries.iter().peekable();
        for (element, mut ours) in self.entries {
            while let Some(before) = theirs.next_if(|(known, _)| *known < element) {
                entries.push(before.clone());
            }
            if let Some((_, same)) = theirs.next_if(|(known, _)| *known == element) {
                ours.is_member |= same.is_member;
                ours.below = ours.below.union(&same.below);
            }
            entries.push((element, ours));
        }
        entries.extend(theirs.cloned());
        Self { entries }
    }

    /// Returns the union of all sets. Sets of the same size are united with each other, so that the
    /// cost does not grow with the square of their number.
    #[must_use]
    pub(super) fn union_of(mut sets: Vec<Self>) -> Self {
        while sets.len() > 1 {
            let mut next = Vec::with_capacity(sets.len().div_ceil(2));
            let mut rest = sets.into_iter();
            while let Some(one) = rest.next() {
                next.push(match rest.next() {
                    Some(other) => one.union(&other),
                    None => one,
                });
            }
            sets = next;
        }
        sets.pop().unwrap_or_default()
    }

    /// Returns the fields of this set that are not in the other. Removing a field does not remove
    /// the fields below it.
    #[must_use]
    pub fn difference(mut self, other: &Self) -> Self {
        if other.is_empty() {
            return self;
        }
        // Many small sets are compared with one large one: all managers with a change.
        if self.entries.len() < other.entries.len() / 16 {
            self.entries.retain_mut(|(element, ours)| {
                let Some(same) = other.get(element) else {
                    return true;
                };
                ours.is_member &= !same.is_member;
                ours.below = std::mem::take(&mut ours.below).difference(&same.below);
                !ours.is_empty()
            });
            return self;
        }
        let mut theirs = other.entries.iter().peekable();
        self.entries.retain_mut(|(element, ours)| {
            while theirs.next_if(|(known, _)| known < element).is_some() {}
            let Some((_, same)) = theirs.next_if(|(known, _)| known == element) else {
                return true;
            };
            ours.is_member &= !same.is_member;
            ours.below = std::mem::take(&mut ours.below).difference(&same.below);
            !ours.is_empty()
        });
        self
    }

    /// Returns the intersection of both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self::default();
        for (element, ours) in &self.entries {
            let Some(theirs) = other.get(element) else {
                continue;
            };
            let is_member = ours.is_member && theirs.is_member;
            out.attach(
                element.clone(),
                FieldSetEntry {
                    is_member,
                    below: ours.below.intersection(&theirs.below),
                },
            );
        }
        out
    }

    /// Returns the first paths of the set, at most `limit`, as conflicts show them:
    /// `.spec.containers[name="c"].image`. All fields of one level come before those below any of
    /// them.
    #[must_use]
    pub fn paths(&self, limit: usize) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", limit, &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, limit: usize, paths: &mut Vec<String>) {
        let path = |element: &str| format!("{prefix}{}", render_element(element));
        let members = self.entries.iter().filter(|(_, entry)| entry.is_member);
        for (element, _) in members {
            if paths.len() >= limit {
                return;
            }
            paths.push(path(element));
        }
        for (element, entry) in &self.entries {
            if paths.len() >= limit {
                return;
            }
            if !entry.below.is_empty() {
                entry.below.collect_paths(&path(element), limit, paths);
            }
        }
    }

    /// Returns the number of fields in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries
            .iter()
            .map(|(_, entry)| usize::from(entry.is_member) + entry.below.count())
            .sum()
    }
}

/// Returns the canonical spelling of an element: clients may encode the same key differently.
fn canonical(element: &Text) -> Option<Text> {
    match element.split_once(':')? {
        ("f", _) | ("i", _) => Some(element.clone()),
        (form @ ("k" | "v"), json) => {
            let value: Tree = serde_json::from_str(json).ok()?;
            Some(format_smolstr!("{form}:{value}"))
        }
        _ => None,
    }
}

/// Formats an element for a path.
pub(super) fn render_element(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("k", keys)) => {
            let keys: Tree = serde_json::from_str(keys).unwrap_or_default();
            let pairs: Vec<String> = keys
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!("[{}]", pairs.join(","))
        }
        Some((_, index)) => format!("[{index}]"),
        None => element.to_owned(),
    }
}
