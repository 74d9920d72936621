//! A consistent view of everything as of one revision.

use std::sync::Arc;

use crate::index::Index;
use crate::record::{Record, Revision};
use crate::state::{State, StateRange};

/// Everything as it was at one revision. Cheap to make and to copy; it stays as it is while the
/// store goes on, and keeps alive what it shows.
#[derive(Clone, Debug)]
pub struct Snapshot {
    state: State,
}

impl Snapshot {
    pub(crate) fn new(state: State) -> Self {
        Self { state }
    }

    /// The revision of the newest write that this view contains.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.revision
    }

    /// The record of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.state.get(key).cloned()
    }

    /// The records whose key begins with `prefix` and is greater than `start_after`, in key order.
    ///
    /// The prefix's first segment is a whole collection: `pods` and `pods/` find pods, `po` finds
    /// nothing.
    #[must_use]
    pub fn range(&self, prefix: &str, start_after: Option<&str>) -> Range<'_> {
        Range {
            records: self.state.range(prefix, start_after),
        }
    }

    /// Returns the records that have this term in an index, in the order of their keys; none when
    /// the store does not keep this index ([`Store::index`](crate::Store::index)).
    pub fn indexed(&self, index: &Index, term: &str) -> impl Iterator<Item = Arc<Record>> {
        self.state.indexed(index, term).cloned()
    }

    /// How many keys begin with `prefix`. At once for a whole collection, otherwise it walks them.
    #[must_use]
    pub fn count(&self, prefix: &str) -> usize {
        self.state.count(prefix)
    }
}

/// Records in key order, see [`Snapshot::range`].
#[derive(Debug)]
pub struct Range<'a> {
    records: StateRange<'a>,
}

impl<'a> Range<'a> {
    pub(crate) fn new(records: StateRange<'a>) -> Self {
        Self { records }
    }
}

impl Iterator for Range<'_> {
    type Item = Arc<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next().cloned()
    }
}
