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
    terms: Terms,
}

impl State {
    pub(crate) fn empty() -> Self {
        Self {
            revision: Revision(0),
            collections: RedBlackTreeMapSync::new_sync(),
            terms: Terms::none(),
        }
    }

    /// The same with an index in the place of the one that it had.
    pub(crate) fn indexed_by(mut self, index: Index) -> Self {
        self.terms = Terms::of(index, self.range(index.collection, None));
        self
    }

    /// The records of the indexed collection that have this term, in the order of their keys.
    pub(crate) fn indexed(&self, term: &str) -> impl Iterator<Item = &Arc<Record>> {
        self.terms.keys(term).filter_map(|key| self.get(key))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Record>> {
        Some(&self.tree(key)?.get(key)?.0)
    }

    /// Puts the record in the place of whatever has its key. The revision stays as it is.
    pub(crate) fn put(&mut self, record: Arc<Record>) {
        if self.terms.covers(&record.key) {
            let old = self.get(&record.key).cloned();
            self.terms
                .replace(&record.key, old.as_deref(), Some(&record));
        }
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
        if self.terms.covers(key)
            && let Some(old) = self.get(key).cloned()
        {
            self.terms.replace(&old.key, Some(&old), None);
        }
        let collection = collection_of(key);
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
