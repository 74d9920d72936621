//! An ordered map of keys to bytes with revisions: atomic multi-key commits, consistent
//! snapshots, and watches from a revision. Knows no Kubernetes.
//!
//! A key is text whose first segment (up to the first `/`) is its *collection*; lists and watches
//! are of one collection or of a prefix inside one. Every write has a revision of its own, also
//! inside one commit: a commit of three writes moves the store from revision 7 to 10, and all of
//! it becomes visible and durable at once or not at all.
//!
//! Read next: [`Store`], then the engines.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// The store's counter: every write takes the next one. 0 is the empty store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

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
