//! What the store holds: records, and the events that change them.
//!
//! Both are shared and never changed after they were made; a snapshot, the history and a hundred
//! watches hand out the same allocation.

use std::any::Any;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// The store's counter: every write takes the next one. 0 is the empty store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of the write after this one.
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

/// What the layer above derives from a record's bytes and keeps beside them (labels, selectors…).
/// Never persisted; filled in by whoever needs it first.
pub type Memo = OnceLock<Arc<dyn Any + Send + Sync>>;

/// One key with its bytes, as of one revision. Shared, never changed.
#[derive(Debug)]
pub struct Record {
    /// The whole key.
    pub key: Arc<str>,
    /// The bytes as they were committed.
    pub value: Bytes,
    /// Revision of the write that made the key.
    pub created: Revision,
    /// Revision of the write that put these bytes.
    pub modified: Revision,
    /// See [`Memo`].
    pub memo: Memo,
}

/// What happened to one key at one revision.
#[derive(Debug)]
pub struct Event {
    /// The revision of the write; equals `record.modified`.
    pub revision: Revision,
    /// The new state, or, for a removal, the last state: its `value` is what the remover left as
    /// the final bytes (the registry writes the revision of the removal into them).
    pub record: Arc<Record>,
    /// True when the key was removed.
    pub removed: bool,
    /// The state before; none when the key was made by this write.
    pub previous: Option<Arc<Record>>,
}

/// The collection that a key or a prefix belongs to: its first segment.
pub(crate) fn collection_of(key: &str) -> &str {
    key.split_once('/')
        .map_or(key, |(collection, _)| collection)
}

/// A record as an element of an ordered set, where only its key counts.
#[derive(Clone, Debug)]
pub(crate) struct Slot(pub(crate) Arc<Record>);

impl Borrow<str> for Slot {
    fn borrow(&self) -> &str {
        &self.0.key
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Slot {}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slot {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}
