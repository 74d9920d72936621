//! A transaction: the reads and writes of one commit on the newest applied keyspace.
//!
//! A transaction works on a copy of the keyspace. The store takes over the copy and the events that
//! lead to it, or drops both when the closure returns an error.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::index::Index;
use crate::keyspace::Keyspace;
use crate::record::{Memo, Record, Revision, StoreEvent};
use crate::snapshot::Range;

/// The maximum length of a key in bytes. Kubernetes names have at most 253 bytes, so group,
/// resource, namespace and name fit several times over; engines are built for short keys.
pub const MAX_KEY_BYTES: usize = 4096;

/// The maximum size of a value in bytes. The API refuses bodies over 3 MiB; this leaves room for
/// what defaulting and field ownership add, and is far below what engines can hold.
pub const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;

/// A write that exceeds a limit of the store. The whole commit is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unstorable {
    /// The key is empty or longer than [`MAX_KEY_BYTES`].
    #[error("a key must have 1 to {MAX_KEY_BYTES} bytes, this one has {bytes}")]
    Key {
        /// The length of the key.
        bytes: usize,
    },
    /// The value is larger than [`MAX_VALUE_BYTES`].
    #[error("a value must have at most {MAX_VALUE_BYTES} bytes, this one has {bytes}")]
    Value {
        /// The size of the value.
        bytes: usize,
    },
}

/// The argument of a commit's closure: the newest applied keyspace, with the transaction's own
/// writes.
///
/// Writes that exceed a limit are remembered and fail the commit after the closure has returned,
/// so that closures need not handle them.
#[derive(Debug)]
pub struct Txn {
    keyspace: Keyspace,
    events: Vec<Arc<StoreEvent>>,
    unstorable: Option<Unstorable>,
}

impl Txn {
    pub(crate) fn new(keyspace: Keyspace) -> Self {
        Self {
            keyspace,
            events: Vec::new(),
            unstorable: None,
        }
    }

    /// Returns the new keyspace and the events that lead to it, or the first write that exceeds a
    /// limit.
    pub(crate) fn finish(self) -> Result<(Keyspace, Vec<Arc<StoreEvent>>), Unstorable> {
        self.unstorable
            .map_or(Ok((self.keyspace, self.events)), Err)
    }

    /// Returns the record of `key`, if it exists.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.keyspace.get(key).cloned()
    }

    /// Returns a reference to the record of `key`, if it exists. Cheaper than [`Txn::get`].
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<&Record> {
        self.keyspace.get(key).map(AsRef::as_ref)
    }

    /// Iterates over the records whose key begins with `prefix`, in key order. The first segment of
    /// the prefix is the name of a collection.
    #[must_use]
    pub fn range(&self, prefix: &str) -> Range<'_> {
        Range::new(self.keyspace.range(prefix, None))
    }

    /// Iterates over the records that have this term in an index, in key order. Empty when the
    /// store does not keep this index ([`Store::index`](crate::Store::index)).
    pub fn indexed(&self, index: &Index, term: &str) -> impl Iterator<Item = Arc<Record>> {
        self.keyspace.indexed(index, term).cloned()
    }

    /// Returns the revision of the newest write that this transaction sees, its own included.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.keyspace.revision
    }

    /// Returns the revision that the next write will take, for callers that write it into the
    /// bytes.
    #[must_use]
    pub fn next_revision(&self) -> Revision {
        self.keyspace.revision.next()
    }

    /// Writes `value` to `key`, which need not exist, and returns the new record.
    ///
    /// Each put takes the next revision and is an event of its own, also when this transaction has
    /// written the same key before.
    pub fn put(
        &mut self,
        key: &str,
        value: impl Into<Bytes>,
        memo: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Arc<Record> {
        let value = value.into();
        // A write over a limit still goes into the copy; `finish` refuses the whole transaction.
        self.check(key, &value);
        let previous = self.keyspace.get(key).cloned();
        let revision = self.next_revision();
        let record = Arc::new(Record {
            key: previous
                .as_ref()
                .map_or_else(|| Arc::from(key), |previous| Arc::clone(&previous.key)),
            value,
            created: previous
                .as_ref()
                .map_or(revision, |previous| previous.created),
            modified: revision,
            memo: memo.map_or_else(Memo::new, OnceLock::from),
        });
        self.keyspace.put(Arc::clone(&record));
        self.keyspace.revision = revision;
        self.events.push(Arc::new(StoreEvent {
            revision,
            record: Arc::clone(&record),
            removed: false,
            previous,
        }));
        record
    }

    /// Removes `key` and returns its last record as the event will show it, with `final_bytes` in
    /// place of its value if they are given.
    ///
    /// Returns `None` when the key does not exist; this takes no revision and makes no event.
    pub fn remove(&mut self, key: &str, final_bytes: Option<Bytes>) -> Option<Arc<Record>> {
        let previous = self.keyspace.get(key).cloned()?;
        let revision = self.next_revision();
        if let Some(value) = &final_bytes {
            self.check(key, value);
        }
        // A memo is derived from the bytes, so it does not describe other bytes.
        let memo = if final_bytes.is_some() {
            Memo::new()
        } else {
            previous.memo.clone()
        };
        let value = final_bytes.unwrap_or_else(|| previous.value.clone());
        let record = Arc::new(Record {
            key: Arc::clone(&previous.key),
            value,
            created: previous.created,
            modified: revision,
            memo,
        });
        self.keyspace.remove(key);
        self.keyspace.revision = revision;
        self.events.push(Arc::new(StoreEvent {
            revision,
            record: Arc::clone(&record),
            removed: true,
            previous: Some(previous),
        }));
        Some(record)
    }

    fn check(&mut self, key: &str, value: &Bytes) {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            self.unstorable
                .get_or_insert(Unstorable::Key { bytes: key.len() });
        } else if value.len() > MAX_VALUE_BYTES {
            self.unstorable
                .get_or_insert(Unstorable::Value { bytes: value.len() });
        }
    }
}
