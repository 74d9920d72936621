//! One commit in the making: reads and writes on the newest applied state.
//!
//! It works on a copy of the state; what it leaves behind (the new state and the events that lead
//! there) is taken over by the store, or dropped when the closure refuses.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::index::Index;
use crate::record::{Event, Memo, Record, Revision};
use crate::snapshot::Range;
use crate::state::State;

/// The longest key. Kubernetes names are at most 253 bytes, so that group, resource, namespace and
/// name fit several times over; engines are built for short keys.
pub const MAX_KEY_BYTES: usize = 4096;

/// The largest value. The API refuses bodies over 3 MiB; this leaves room for what defaulting and
/// field ownership add, and is far below what engines can hold.
pub const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;

/// A write that no engine can be trusted to hold; the whole commit is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unstorable {
    /// The key is empty or longer than [`MAX_KEY_BYTES`].
    #[error("a key of {bytes} bytes cannot be stored, it must have 1 to {MAX_KEY_BYTES}")]
    Key {
        /// Its length.
        bytes: usize,
    },
    /// The value is larger than [`MAX_VALUE_BYTES`].
    #[error("a value of {bytes} bytes cannot be stored, at most {MAX_VALUE_BYTES} can")]
    Value {
        /// Its size.
        bytes: usize,
    },
}

/// What a commit's closure works on: the newest state, and its own writes to it.
#[derive(Debug)]
pub struct Txn {
    state: State,
    events: Vec<Arc<Event>>,
    unstorable: Option<Unstorable>,
}

impl Txn {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state,
            events: Vec::new(),
            unstorable: None,
        }
    }

    /// The new state and the events that lead to it, or why they cannot be.
    pub(crate) fn finish(self) -> Result<(State, Vec<Arc<Event>>), Unstorable> {
        self.unstorable.map_or(Ok((self.state, self.events)), Err)
    }

    /// The record of `key`, with this transaction's own writes.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.state.get(key).cloned()
    }

    /// The same to look at only.
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<&Record> {
        self.state.get(key).map(AsRef::as_ref)
    }

    /// As [`Snapshot::range`](crate::Snapshot::range) from the beginning, with this transaction's
    /// own writes.
    #[must_use]
    pub fn range(&self, prefix: &str) -> Range<'_> {
        Range::new(self.state.range(prefix, None))
    }

    /// As [`Snapshot::indexed`](crate::Snapshot::indexed), with this transaction's own writes.
    pub fn indexed(&self, index: &Index, term: &str) -> impl Iterator<Item = Arc<Record>> {
        self.state.indexed(index, term).cloned()
    }

    /// The revision of the newest write that this transaction sees, its own included.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.revision
    }

    /// The revision that the next write will take, so that it can be written into the bytes.
    #[must_use]
    pub fn next_revision(&self) -> Revision {
        self.state.revision.next()
    }

    /// Writes `value` to `key`, whether it is there or not. It takes the next revision and is an
    /// event of its own, also when the same key was written before in this transaction.
    pub fn put(
        &mut self,
        key: &str,
        value: impl Into<Bytes>,
        memo: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Arc<Record> {
        let value = value.into();
        self.check(key, &value);
        let previous = self.state.get(key).cloned();
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
        self.state.put(Arc::clone(&record));
        self.state.revision = revision;
        self.events.push(Arc::new(Event {
            revision,
            record: Arc::clone(&record),
            removed: false,
            previous,
        }));
        record
    }

    /// Removes `key` and gives back its last state as the event will show it, with `final_bytes`
    /// in place of its value when there are some. A key that is not there takes no revision and
    /// makes no event.
    pub fn remove(&mut self, key: &str, final_bytes: Option<Bytes>) -> Option<Arc<Record>> {
        let previous = self.state.get(key).cloned()?;
        let revision = self.next_revision();
        if let Some(value) = &final_bytes {
            self.check(key, value);
        }
        // A memo belongs to the bytes that it was derived from.
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
        self.state.remove(key);
        self.state.revision = revision;
        self.events.push(Arc::new(Event {
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
