//! Members by name, in the order of their names, shared between copies until one of them is
//! changed.
//!
//! Nearly all objects have a handful of members: these lie side by side. Only where there are many
//! do they become a tree, so that a body with a hundred thousand of them costs no square of that.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use super::{Text, Tree};

/// From so many members on they are kept as a tree.
const TREE_THRESHOLD: usize = 128;

/// See the module. Many are empty, managed fields for the most part; these need no memory.
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

/// Up to so many members, looking at one after the other is quicker than a search: most names
/// differ in their lengths.
const LINEAR_SEARCH_LIMIT: usize = 16;

/// Where a name stands among few members.
fn find(members: &[(Text, Tree)], name: &str) -> Option<usize> {
    if members.len() > LINEAR_SEARCH_LIMIT {
        return search(members, name).ok();
    }
    members.iter().position(|(known, _)| known.as_str() == name)
}

/// The same, or where it would stand.
fn search(members: &[(Text, Tree)], name: &str) -> Result<usize, usize> {
    // Nearly always they come in their order.
    if members.last().is_none_or(|(last, _)| last.as_str() < name) {
        return Err(members.len());
    }
    members.binary_search_by(|(known, _)| known.as_str().cmp(name))
}

impl Map {
    /// Without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of members in any order; of those of one name the last counts.
    #[must_use]
    pub fn of(mut members: Vec<(Text, Tree)>) -> Self {
        if members.is_empty() {
            return Self(None);
        }
        if members.len() >= TREE_THRESHOLD {
            return Self(Some(Arc::new(Members::Many(members.into_iter().collect()))));
        }
        if !members.is_sorted_by(|(one, _), (next, _)| one < next) {
            // The sort is stable: of one name the last comes last.
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

    /// True when both are still one.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.members() {
            Members::Few(members) => members.len(),
            Members::Many(members) => members.len(),
        }
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The member of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tree> {
        match self.members() {
            Members::Few(members) => find(members, name).map(|at| &members[at].1),
            Members::Many(members) => members.get(name),
        }
    }

    /// True when there is a member of this name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The member of this name, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tree> {
        if self.is_empty() {
            return None;
        }
        match self.members_mut() {
            Members::Few(members) => find(members, name).map(|at| &mut members[at].1),
            Members::Many(members) => members.get_mut(name),
        }
    }

    /// Puts a member, and gives back the one of this name that was there.
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

    /// One member more may come.
    fn make_room(&mut self) {
        let inner = self.members_mut();
        if let Members::Few(members) = inner
            && members.len() >= TREE_THRESHOLD
        {
            *inner = Members::Many(std::mem::take(members).into_iter().collect());
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) -> Option<Tree> {
        // What is not there needs no copy of what is.
        if !self.contains_key(name) {
            return None;
        }
        match self.members_mut() {
            Members::Few(members) => find(members, name).map(|at| members.remove(at).1),
            Members::Many(members) => members.remove(name),
        }
    }

    /// The member of this name, or the place for it.
    pub fn entry(&mut self, name: impl Into<Text>) -> Entry<'_> {
        Entry {
            map: self,
            name: name.into(),
        }
    }

    /// Keeps the members for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&Text, &mut Tree) -> bool) {
        if self.is_empty() {
            return;
        }
        match self.members_mut() {
            Members::Few(members) => members.retain_mut(|(name, value)| keep(name, value)),
            Members::Many(members) => members.retain(|name, value| keep(name, value)),
        }
    }

    /// All members.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        match self.members() {
            Members::Few(members) => Iter::Few(members.iter()),
            Members::Many(members) => Iter::Many(members.iter()),
        }
    }

    /// All members, to change their values.
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

    /// All names.
    pub fn keys(&self) -> impl Iterator<Item = &Text> {
        self.iter().map(|(name, _)| name)
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &Tree> {
        self.iter().map(|(_, value)| value)
    }

    /// All values, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Tree> {
        self.iter_mut().map(|(_, value)| value)
    }
}

/// The members of a map.
#[derive(Clone, Debug)]
pub enum Iter<'a> {
    /// Of a map with few of them.
    Few(std::slice::Iter<'a, (Text, Tree)>),
    /// Of a map with many of them.
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

/// A member that is there, or the place for it.
#[derive(Debug)]
pub struct Entry<'a> {
    map: &'a mut Map,
    name: Text,
}

impl<'a> Entry<'a> {
    /// The member; this value when there was none.
    pub fn or_insert(self, value: Tree) -> &'a mut Tree {
        self.or_insert_with(|| value)
    }

    /// The member; what this makes when there was none.
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
