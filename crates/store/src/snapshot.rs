//! A consistent view of the whole store as of one revision.

use std::sync::Arc;

use crate::index::Index;
use crate::keyspace::{Keyspace, KeyspaceRange};
use crate::record::{Record, Revision};

/// The whole store as of one revision. Making and cloning a snapshot is cheap. It does not change
/// while the store goes on, and it keeps the records that it shows in memory.
#[derive(Clone, Debug)]
pub struct Snapshot {
    keyspace: Keyspace,
}

impl Snapshot {
    pub(crate) fn new(keyspace: Keyspace) -> Self {
        Self { keyspace }
    }

    /// Returns the revision of the newest write that this snapshot contains.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.keyspace.revision
    }

    /// Returns the record of `key`, if it exists.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.keyspace.get(key).cloned()
    }

    /// Iterates over the records whose key begins with `prefix` and is greater than `start_after`,
    /// in key order.
    ///
    /// The first segment of the prefix is the name of a collection: `pods` and `pods/` find pods,
    /// `po` finds nothing.
    #[must_use]
    pub fn range(&self, prefix: &str, start_after: Option<&str>) -> Range<'_> {
        Range {
            records: self.keyspace.range(prefix, start_after),
        }
    }

    /// Iterates over the records that have this term in an index, in key order. Empty when the
    /// store does not keep this index ([`Store::index`](crate::Store::index)).
    pub fn indexed(&self, index: &Index, term: &str) -> impl Iterator<Item = Arc<Record>> {
        self.keyspace.indexed(index, term).cloned()
    }

    /// Counts the keys that begin with `prefix`: in constant time for a whole collection, in linear
    /// time otherwise.
    #[must_use]
    pub fn count(&self, prefix: &str) -> usize {
        self.keyspace.count(prefix)
    }
}

/// The iterator of [`Snapshot::range`] and [`Txn::range`](crate::Txn::range).
#[derive(Debug)]
pub struct Range<'a> {
    records: KeyspaceRange<'a>,
}

impl<'a> Range<'a> {
    pub(crate) fn new(records: KeyspaceRange<'a>) -> Self {
        Self { records }
    }
}

impl Iterator for Range<'_> {
    type Item = Arc<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next().cloned()
    }
}
