//! One version of the whole map: a persistent map of collections, each a persistent ordered set of
//! records.
//!
//! Copying a keyspace copies two pointers. A write to a copy leaves the original intact and costs
//! the path from the root to the record. A keyspace knows neither engines nor history.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use crate::index::{Index, Terms};
use crate::record::{ByKey, Record, Revision, StoreEvent, collection_of};

type RecordSet = RedBlackTreeSetSync<ByKey>;

/// All records as of one revision, with the indexes over them.
#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    /// The revision of the newest write that this keyspace contains.
    pub(crate) revision: Revision,
    collections: RedBlackTreeMapSync<Arc<str>, RecordSet>,
    /// The indexes by the collection that they cover.
    indexes: RedBlackTreeMapSync<&'static str, Terms>,
}

impl Keyspace {
    pub(crate) fn empty() -> Self {
        Self {
            revision: Revision(0),
            collections: RedBlackTreeMapSync::new_sync(),
            indexes: RedBlackTreeMapSync::new_sync(),
        }
    }

    /// Returns this keyspace with an index over one collection.
    pub(crate) fn indexed_by(mut self, index: Index) -> Self {
        let terms = Terms::of(index, self.range(index.collection, None));
        self.indexes.insert_mut(index.collection, terms);
        self
    }

    /// Iterates over the records that have this term in an index, in key order. Empty when the
    /// index is not kept.
    pub(crate) fn indexed(&self, index: &Index, term: &str) -> impl Iterator<Item = &Arc<Record>> {
        self.indexes
            .get(index.collection)
            .into_iter()
            .flat_map(move |terms| terms.keys(term))
            .filter_map(|key| self.get(key))
    }

    /// Updates the index over the collection of `key`, if there is one, for a new record or a
    /// removal. Called before the record changes.
    fn update_index(&mut self, key: &Arc<str>, new: Option<&Record>) {
        let collection = collection_of(key);
        let Some(terms) = self.indexes.get(collection) else {
            return;
        };
        let old = self.get(key).map(AsRef::as_ref);
        // Comparing first saves most writes the copy of the path to the terms.
        if let Some(change) = terms.change(key, old, new)
            && let Some(terms) = self.indexes.get_mut(collection)
        {
            terms.apply(change);
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Record>> {
        Some(&self.collection(key)?.get(key)?.0)
    }

    /// Inserts the record, or replaces the record with its key. Does not change the revision.
    pub(crate) fn put(&mut self, record: Arc<Record>) {
        self.update_index(&record.key, Some(&record));
        let collection = collection_of(&record.key);
        if let Some(records) = self.collections.get_mut(collection) {
            records.insert_mut(ByKey(record));
        } else {
            let collection = Arc::from(collection);
            let mut records = RecordSet::new_sync();
            records.insert_mut(ByKey(record));
            self.collections.insert_mut(collection, records);
        }
    }

    /// Removes the key, if it exists. Does not change the revision.
    pub(crate) fn remove(&mut self, key: &str) {
        let collection = collection_of(key);
        if self.indexes.contains_key(collection)
            && let Some(key) = self.get(key).map(|old| Arc::clone(&old.key))
        {
            self.update_index(&key, None);
        }
        let Some(records) = self.collections.get_mut(collection) else {
            return;
        };
        records.remove_mut(key);
        if records.is_empty() {
            self.collections.remove_mut(collection);
        }
    }

    /// Goes back to the revision before `event`, which must be the newest event of this keyspace.
    pub(crate) fn undo(&mut self, event: &StoreEvent) {
        match &event.previous {
            Some(previous) => self.put(Arc::clone(previous)),
            None => self.remove(&event.record.key),
        }
        self.revision = Revision(event.revision.0.saturating_sub(1));
    }

    /// Iterates over the records whose key begins with `prefix` and is greater than `start_after`,
    /// in key order.
    pub(crate) fn range(&self, prefix: &str, start_after: Option<&str>) -> KeyspaceRange<'_> {
        let start = match start_after {
            Some(after) if after >= prefix => Bound::Excluded(after.into()),
            _ => Bound::Included(prefix.into()),
        };
        let records: Option<RecordIter<'_>> = self
            .collection(prefix)
            .map(|records| Box::new(records.range(KeysFrom { start })) as _);
        KeyspaceRange {
            prefix: prefix.into(),
            records,
        }
    }

    /// Counts the keys that begin with `prefix`: in constant time for a whole collection, in linear
    /// time otherwise.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        let Some(records) = self.collection(prefix) else {
            return 0;
        };
        let collection = collection_of(prefix);
        match prefix.len() - collection.len() {
            0 => records.size(),
            // A key may also be the bare name of the collection, which lacks the separator.
            1 => records.size() - usize::from(records.contains(collection)),
            _ => self.range(prefix, None).count(),
        }
    }

    /// Counts the records of all collections.
    pub(crate) fn len(&self) -> usize {
        self.collections.values().map(RecordSet::size).sum()
    }

    fn collection(&self, key: &str) -> Option<&RecordSet> {
        self.collections.get(collection_of(key))
    }
}

/// A range of keys without an upper bound. [`KeyspaceRange`] stops at the first key that lacks the
/// prefix, because the last key with a prefix cannot be named as a bound.
#[derive(Debug)]
struct KeysFrom {
    start: Bound<Box<str>>,
}

impl RangeBounds<str> for KeysFrom {
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

type RecordIter<'a> = Box<dyn Iterator<Item = &'a ByKey> + Send + Sync + 'a>;

/// The iterator of [`Keyspace::range`].
pub(crate) struct KeyspaceRange<'a> {
    prefix: Box<str>,
    records: Option<RecordIter<'a>>,
}

impl fmt::Debug for KeyspaceRange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyspaceRange")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl<'a> Iterator for KeyspaceRange<'a> {
    type Item = &'a Arc<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self
            .records
            .as_mut()?
            .next()
            .filter(|record| record.0.key.starts_with(&*self.prefix));
        if record.is_none() {
            self.records = None;
        }
        record.map(|record| &record.0)
    }
}
