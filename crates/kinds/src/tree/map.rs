//! An object's members in the order of their names, shared by copies until one of them is changed.
//!
//! Nearly all objects have a handful of members, which are stored in a sorted vector. Only many
//! members are stored in a tree: a body with a hundred thousand of them would take quadratic time
//! in a vector.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use super::{Text, Tree};

/// Maps with this many members and more use a tree.
const TREE_THRESHOLD: usize = 128;

/// The members of a [`Tree::Object`]. Cloning is cheap; the first change of a shared map copies it.
/// An empty map has no allocation: managed fields have many of them.
#[derive(Clone, Debug, Default)]
pub struct Map(Option<Arc<Members>>);

#[derive(Clone, Debug)]
enum Members {
    /// Sorted by name.
    Few(Vec<(Text, Tree)>),
    Many(BTreeMap<Text, Tree>),
}

static EMPTY: Members = Members::Few(Vec::new());

impl Default for Members {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// Up to so many members a linear search beats a binary one: most names already differ in length.
const LINEAR_SEARCH_LIMIT: usize = 16;

/// Returns the index of a name.
fn find(members: &[(Text, Tree)], name: &str) -> Option<usize> {
    if members.len() > LINEAR_SEARCH_LIMIT {
        return search(members, name).ok();
    }
    members.iter().position(|(known, _)| known.as_str() == name)
}

/// Returns the index of a name, or the index at which to insert it.
fn search(members: &[(Text, Tree)], name: &str) -> Result<usize, usize> {
    // Members nearly always arrive in order.
    if members.last().is_none_or(|(last, _)| last.as_str() < name) {
        return Err(members.len());
    }
    members.binary_search_by(|(known, _)| known.as_str().cmp(name))
}

impl Map {
    /// Creates an empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a map of members in any order. Of members with the same name the last counts.
    #[must_use]
    pub fn of(mut members: Vec<(Text, Tree)>) -> Self {
        if members.is_empty() {
            return Self(None);
        }
        if members.len() >= TREE_THRESHOLD {
            return Self(Some(Arc::new(Members::Many(members.into_iter().collect()))));
        }
        // Encoded objects are usually sorted already; checking is cheaper than sorting.
        if !members.is_sorted_by(|(one, _), (next, _)| one < next) {
            // The sort is stable: the last member of a name stays the last.
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            members.dedup_by(|later, kept| {
                let is_same = later.0 == kept.0;
                if is_same {
                    std::mem::swap(&mut later.1, &mut kept.1);
                }
                is_same
            });
        }
        Self(Some(Arc::new(Members::Few(members))))
    }

    fn members(&self) -> &Members {
        self.0.as_deref().unwrap_or(&EMPTY)
    }

    fn members_mut(&mut self) -> &mut Members {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// Returns whether both are copies of which neither was changed.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }

    /// Returns the number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.members() {
            Members::Few(members) => members.len(),
            Members::Many(members) => members.len(),
        }
    }

    /// Returns whether there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the member with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tree> {
        match self.members() {
            Members::Few(members) => find(members, name).map(|at| &members[at].1),
            Members::Many(members) => members.get(name),
        }
    }

    /// Returns whether there is a member with this name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the member with this name, for changing it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tree> {
        if self.is_empty() {
            return None;
        }
        match self.members_mut() {
            Members::Few(members) => find(members, name).map(|at| &mut members[at].1),
            Members::Many(members) => members.get_mut(name),
        }
    }

    /// Inserts a member and returns the previous one with this name.
    pub fn insert(&mut self, name: impl Into<Text>, value: Tree) -> Option<Tree> {
        let name = name.into();
        self.make_room();
        match self.members_mut() {
            Members::Few(members) => match search(members, &name) {
                Ok(at) => Some(std::mem::replace(&mut members[at].1, value)),
                Err(at) => {
                    members.insert(at, (name, value));
                    None
                }
            },
            Members::Many(members) => members.insert(name, value),
        }
    }

    /// Changes to a tree if the next insertion needs one.
    fn make_room(&mut self) {
        let inner = self.members_mut();
        if let Members::Few(members) = inner
            && members.len() >= TREE_THRESHOLD
        {
            // A map never changes back: members that come and go would convert it each time.
            *inner = Members::Many(std::mem::take(members).into_iter().collect());
        }
    }

    /// Removes a member and returns it.
    pub fn remove(&mut self, name: &str) -> Option<Tree> {
        // Without this check a shared map would be copied for nothing.
        if !self.contains_key(name) {
            return None;
        }
        match self.members_mut() {
            Members::Few(members) => find(members, name).map(|at| members.remove(at).1),
            Members::Many(members) => members.remove(name),
        }
    }

    /// Returns the entry of a name, for inserting a member that may exist.
    pub fn entry(&mut self, name: impl Into<Text>) -> Entry<'_> {
        Entry {
            map: self,
            name: name.into(),
        }
    }

    /// Keeps the members for which `keep` returns true.
    pub fn retain(&mut self, mut keep: impl FnMut(&Text, &mut Tree) -> bool) {
        if self.is_empty() {
            return;
        }
        match self.members_mut() {
            Members::Few(members) => members.retain_mut(|(name, value)| keep(name, value)),
            Members::Many(members) => members.retain(|name, value| keep(name, value)),
        }
    }

    /// Iterates over the members.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        match self.members() {
            Members::Few(members) => Iter::Few(members.iter()),
            Members::Many(members) => Iter::Many(members.iter()),
        }
    }

    /// Iterates over the members, for changing their values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Text, &mut Tree)> {
        let (few, many) = match self.0.as_mut().map(Arc::make_mut) {
            None => (None, None),
            Some(Members::Few(members)) => (Some(members), None),
            Some(Members::Many(members)) => (None, Some(members)),
        };
        few.into_iter()
            .flatten()
            .map(|(name, value)| (&*name, value))
            .chain(many.into_iter().flatten())
    }

    /// Iterates over the names.
    pub fn keys(&self) -> impl Iterator<Item = &Text> {
        self.iter().map(|(name, _)| name)
    }

    /// Iterates over the values.
    pub fn values(&self) -> impl Iterator<Item = &Tree> {
        self.iter().map(|(_, value)| value)
    }

    /// Iterates over the values, for changing them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Tree> {
        self.iter_mut().map(|(_, value)| value)
    }
}

/// An iterator over the members of a map, sorted by name.
#[derive(Clone, Debug)]
pub enum Iter<'a> {
    /// Iterator of a map with few members.
    Few(std::slice::Iter<'a, (Text, Tree)>),
    /// Iterator of a map with many members.
    Many(btree_map::Iter<'a, Text, Tree>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a Text, &'a Tree);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(members) => members.next().map(|(name, value)| (name, value)),
            Self::Many(members) => members.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Few(members) => members.size_hint(),
            Self::Many(members) => members.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// A member of a map, present or absent.
#[derive(Debug)]
pub struct Entry<'a> {
    map: &'a mut Map,
    name: Text,
}

impl<'a> Entry<'a> {
    /// Returns the member; inserts `value` if it is absent.
    pub fn or_insert(self, value: Tree) -> &'a mut Tree {
        self.or_insert_with(|| value)
    }

    /// Returns the member; inserts the result of `make` if it is absent.
    pub fn or_insert_with(self, make: impl FnOnce() -> Tree) -> &'a mut Tree {
        let Self { map, name } = self;
        map.make_room();
        match map.members_mut() {
            Members::Few(members) => {
                let at = find(members, &name).unwrap_or_else(|| {
                    let (Ok(at) | Err(at)) = search(members, &name);
                    members.insert(at, (name, make()));
                    at
                });
                &mut members[at].1
            }
            Members::Many(members) => members.entry(name).or_insert_with(make),
        }
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared_with(other) || (self.len() == other.len() && self.iter().eq(other.iter()))
    }
}

impl Eq for Map {}

impl<N: Into<Text>> FromIterator<(N, Tree)> for Map {
    fn from_iter<I: IntoIterator<Item = (N, Tree)>>(members: I) -> Self {
        Self::of(
            members
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
        )
    }
}

impl<N: Into<Text>> Extend<(N, Tree)> for Map {
    fn extend<I: IntoIterator<Item = (N, Tree)>>(&mut self, members: I) {
        members
            .into_iter()
            .for_each(|(name, value)| drop(self.insert(name, value)));
    }
}

impl IntoIterator for Map {
    type Item = (Text, Tree);
    type IntoIter =
        std::iter::Chain<std::vec::IntoIter<(Text, Tree)>, btree_map::IntoIter<Text, Tree>>;

    fn into_iter(self) -> Self::IntoIter {
        let (few, many) = match self.0.map(Arc::unwrap_or_clone).unwrap_or_default() {
            Members::Few(members) => (members, BTreeMap::new()),
            Members::Many(members) => (Vec::new(), members),
        };
        few.into_iter().chain(many)
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Text, &'a Tree);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
