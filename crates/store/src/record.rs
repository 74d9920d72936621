//! Records, and the events that change them.
//!
//! Both are immutable and shared: snapshots, the history and all watches hand out the same
//! allocation.

use std::any::Any;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// The store's counter. Every write takes the next revision; revision 0 is the empty store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// Returns the revision of the write after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value that the layer above derives from a record's bytes and caches beside them, such as
/// labels and selectors. It is never persisted, and it is empty until a reader fills it in.
pub type Memo = OnceLock<Arc<dyn Any + Send + Sync>>;

/// One key with its bytes, as of one revision.
#[derive(Debug)]
pub struct Record {
    /// The key, with its collection.
    pub key: Arc<str>,
    /// The bytes as they were committed.
    pub value: Bytes,
    /// The revision of the write that created the key.
    pub created: Revision,
    /// The revision of the write that put these bytes.
    pub modified: Revision,
    /// The value derived from the bytes, if a reader has filled it in.
    pub memo: Memo,
}

/// One write: a put or a removal of one key.
#[derive(Debug)]
pub struct StoreEvent {
    /// The revision of the write; equals `record.modified`.
    pub revision: Revision,
    /// The new record. For a removal this is the last one, whose `value` is the final bytes that
    /// the caller of [`Txn::remove`](crate::Txn::remove) gave, if any.
    pub record: Arc<Record>,
    /// True for a removal.
    pub removed: bool,
    /// The record before this write; `None` when this write created the key.
    pub previous: Option<Arc<Record>>,
}

/// Returns the collection of a key or a prefix, which is its first segment.
pub(crate) fn collection_of(key: &str) -> &str {
    key.split_once('/')
        .map_or(key, |(collection, _)| collection)
}

/// A record that is compared by its key alone, as an element of an ordered set.
#[derive(Clone, Debug)]
pub(crate) struct ByKey(pub(crate) Arc<Record>);

impl Borrow<str> for ByKey {
    fn borrow(&self) -> &str {
        &self.0.key
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}
