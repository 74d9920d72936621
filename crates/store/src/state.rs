//! One version of everything: a persistent map of collections, each a persistent ordered set of
//! records.
//!
//! Copying a state copies one pointer; writing to a copy leaves the original as it was and costs
//! the path from the root to the record. It knows neither engines nor history.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use crate::index::{Index, Terms};
use crate::record::{Event, Record, Revision, Slot, collection_of};

pub(crate) type Tree = RedBlackTreeSetSync<Slot>;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The revision of the newest write that this state contains.
    pub(crate) revision: Revision,
    collections: RedBlackTreeMapSync<Arc<str>, Tree>,
    /// The indexes by the collections that they cover.
    indexes: RedBlackTreeMapSync<&'static str, Terms>,
}

impl State {
    pub(crate) fn empty() -> Self {
        Self {
            revision: Revision(0),
            collections: RedBlackTreeMapSync::new_sync(),
            indexes: RedBlackTreeMapSync::new_sync(),
        }
    }

    /// Returns this state with an index over one collection.
    pub(crate) fn indexed_by(mut self, index: Index) -> Self {
        let terms = Terms::of(index, self.range(index.collection, None));
        self.indexes.insert_mut(index.collection, terms);
        self
    }

    /// Returns the records that have this term in an index, in the order of their keys; none when
    /// the index is not kept.
    pub(crate) fn indexed(&self, index: &Index, term: &str) -> impl Iterator<Item = &Arc<Record>> {
        self.indexes
            .get(index.collection)
            .into_iter()
            .flat_map(move |terms| terms.keys(term))
            .filter_map(|key| self.get(key))
    }

    /// Brings the index over the key's collection up to date, if there is one.
    fn index(&mut self, key: &Arc<str>, new: Option<&Record>) {
        let collection = collection_of(key);
        let Some(terms) = self.indexes.get(collection) else {
            return;
        };
        let old = self.get(key).map(AsRef::as_ref);
        // Comparing first spares most writes the copy of the path to the terms.
        if let Some(change) = terms.change(key, old, new)
            && let Some(terms) = self.indexes.get_mut(collection)
        {
            terms.apply(change);
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Record>> {
        Some(&self.tree(key)?.get(key)?.0)
    }

    /// Puts the record in the place of whatever has its key. The revision stays as it is.
    pub(crate) fn put(&mut self, record: Arc<Record>) {
        self.index(&record.key, Some(&record));
        let collection = collection_of(&record.key);
        if let Some(tree) = self.collections.get_mut(collection) {
            tree.insert_mut(Slot(record));
        } else {
            let collection = Arc::from(collection);
            let mut tree = Tree::new_sync();
            tree.insert_mut(Slot(record));
            self.collections.insert_mut(collection, tree);
        }
    }

    /// Takes the key away. The revision stays as it is.
    pub(crate) fn remove(&mut self, key: &str) {
        let collection = collection_of(key);
        if self.indexes.contains_key(collection)
            && let Some(old) = self.get(key).map(|old| Arc::clone(&old.key))
        {
            self.index(&old, None);
        }
        let Some(tree) = self.collections.get_mut(collection) else {
            return;
        };
        tree.remove_mut(key);
        if tree.is_empty() {
            self.collections.remove_mut(collection);
        }
    }

    /// Goes back to the state before `event`, which must be the newest that this state contains.
    pub(crate) fn undo(&mut self, event: &Event) {
        match &event.previous {
            Some(previous) => self.put(Arc::clone(previous)),
            None => self.remove(&event.record.key),
        }
        self.revision = Revision(event.revision.0.saturating_sub(1));
    }

    /// The records whose key begins with `prefix` and is greater than `start_after`, in key order.
    pub(crate) fn range(&self, prefix: &str, start_after: Option<&str>) -> StateRange<'_> {
        let start = match start_after {
            Some(after) if after >= prefix => Bound::Excluded(after.into()),
            _ => Bound::Included(prefix.into()),
        };
        let records: Option<Slots<'_>> = self
            .tree(prefix)
            .map(|tree| Box::new(tree.range(From { start })) as _);
        StateRange {
            prefix: prefix.into(),
            records,
        }
    }

    /// How many keys begin with `prefix`. At once for a whole collection, otherwise it walks them.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        let Some(tree) = self.tree(prefix) else {
            return 0;
        };
        let collection = collection_of(prefix);
        match prefix.len() - collection.len() {
            0 => tree.size(),
            // A key may also be the bare name of the collection; it lacks the separator.
            1 => tree.size() - usize::from(tree.contains(collection)),
            _ => self.range(prefix, None).count(),
        }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.collections.values().map(Tree::size).sum()
    }

    fn tree(&self, key: &str) -> Option<&Tree> {
        self.collections.get(collection_of(key))
    }
}

/// Where a range begins; it ends where the prefix no longer fits, which the iterator sees itself.
#[derive(Debug)]
struct From {
    start: Bound<Box<str>>,
}

impl RangeBounds<str> for From {
    fn start_bound(&self) -> Bound<&str> {
        match &self.start {
            Bound::Included(key) => Bound::Included(key),
            Bound::Excluded(key) => Bound::Excluded(key),
            Bound::Unbounded => Bound::Unbounded,
        }
    }

    fn end_bound(&self) -> Bound<&str> {
        Bound::Unbounded
    }
}

type Slots<'a> = Box<dyn Iterator<Item = &'a Slot> + Send + Sync + 'a>;

/// See [`State::range`].
pub(crate) struct StateRange<'a> {
    prefix: Box<str>,
    records: Option<Slots<'a>>,
}

impl fmt::Debug for StateRange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateRange")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl<'a> Iterator for StateRange<'a> {
    type Item = &'a Arc<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let slot = self
            .records
            .as_mut()?
            .next()
            .filter(|slot| slot.0.key.starts_with(&*self.prefix));
        if slot.is_none() {
            self.records = None;
        }
        slot.map(|slot| &slot.0)
    }
}
