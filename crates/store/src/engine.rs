//! The interface between the store and its durable storage: load all records once, then append and
//! sync batches.
//!
//! # Contract
//!
//! * One store owns an engine, and calls it from one thread at a time.
//! * After `load`, an engine is only appended to. The store never reads from it again.
//! * An engine never repairs data by dropping it. Data that it cannot read is an error, and the
//!   files stay unchanged.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use files::FileError;

use crate::record::{Record, Revision, StoreEvent};

mod codec;
pub(crate) mod disk;
pub(crate) mod memory;

/// Durable storage for the records of one store.
pub trait Engine: Send {
    /// Passes every record to `each`, in any order, and returns the newest revision. The store
    /// calls this once, before any other method.
    ///
    /// # Errors
    ///
    /// [`EngineError::Corrupt`] when the stored data differs from what was written, and other
    /// variants when it cannot be read.
    fn load(&mut self, each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError>;

    /// Writes the batch atomically and returns when it is durable.
    ///
    /// # Errors
    ///
    /// After an error the batch may be durable or not. The store then makes no further calls.
    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError>;

    /// Returns a check that what this engine has made durable is still where the next process will
    /// look for it; `None` for an engine whose storage cannot be removed. The store calls it
    /// between batches, from any thread.
    fn presence(&self) -> Option<PresenceCheck> {
        None
    }
}

/// A check of [`Engine::presence`]: quick, and without effects.
pub type PresenceCheck = Box<dyn Fn() -> Result<(), EngineError> + Send + Sync>;

/// A record as [`Engine::load`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The key, with its collection.
    pub key: String,
    /// The bytes as they were committed.
    pub value: Bytes,
    /// The revision of the write that created the key.
    pub created: Revision,
    /// The revision of the write that put these bytes.
    pub modified: Revision,
}

/// One or more whole commits, reduced to the last write of each key.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The newest revision of the store after this batch.
    pub revision: Revision,
    /// The number of records in the store after this batch.
    pub records: usize,
    /// The writes, in key order. Each key occurs once.
    pub writes: Vec<Write<'a>>,
}

/// The last write of a batch to one key.
#[derive(Clone, Copy, Debug)]
pub enum Write<'a> {
    /// The key has this record after the batch.
    Put(&'a Record),
    /// The key does not exist after the batch. It need not have existed before, because the batch
    /// may have created and removed it.
    Remove(&'a str),
}

/// The errors of an engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The directory is open in another process, or a second time in this one.
    #[error("the store is in use by another process")]
    InUse,
    /// The stored data differs from what was written.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// The data was written in an unknown format, probably by a newer version of this program.
    #[error("the store has format {found}, this program supports format {known}")]
    Format {
        /// The format of the stored data.
        found: u32,
        /// The format that this version reads and writes.
        known: u32,
    },
    /// Another user owns a file of the store or its directory, or may have changed it.
    #[error(transparent)]
    Untrusted(FileError),
    /// A file of the store was removed, moved or replaced while it was open. What is written to it
    /// would be lost.
    #[error("a file of the store was {what} while the store was open")]
    Replaced {
        /// The path of the file, which the message does not contain: health checks show it to
        /// everybody.
        path: PathBuf,
        /// What happened to it: `replaced`, or `removed or moved away`.
        what: &'static str,
    },
    /// The operating system returned an error.
    #[error("cannot access the files of the store")]
    Io(#[from] std::io::Error),
    /// Any other error of the engine, including a panic.
    #[error("the storage engine failed: {0}")]
    Failed(String),
}

impl From<FileError> for EngineError {
    fn from(error: FileError) -> Self {
        match &error {
            // With the path in its message.
            FileError::Io { source, .. } => Self::Io(std::io::Error::new(source.kind(), error)),
            _ => Self::Untrusted(error),
        }
    }
}

/// The error of opening a store on disk. The files are unchanged.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the store in {}", .path.display())]
pub struct OpenError {
    /// The directory of the store.
    pub path: PathBuf,
    /// The reason. Callers match on it to distinguish a directory in use from a corrupt one.
    #[source]
    pub reason: EngineError,
}

/// Makes `events`, which lead to `revision` and leave `records` records, durable as one batch.
pub(crate) fn append_events(
    engine: &mut dyn Engine,
    revision: Revision,
    records: usize,
    events: &[Arc<StoreEvent>],
) -> Result<(), EngineError> {
    if events.is_empty() {
        return Ok(());
    }
    let batch = Batch {
        revision,
        records,
        writes: last_writes(events),
    };
    // A panic would kill the writer's thread silently. Committers must get an error instead.
    catch_unwind(AssertUnwindSafe(|| engine.append(&batch)))
        .unwrap_or_else(|panic| Err(EngineError::Failed(panic_message(&*panic))))
}

fn last_writes(events: &[Arc<StoreEvent>]) -> Vec<Write<'_>> {
    // In key order, so that a B-tree touches each of its pages once.
    let mut writes = BTreeMap::new();
    for event in events {
        let key = &*event.record.key;
        writes.insert(
            key,
            if event.removed {
                Write::Remove(key)
            } else {
                Write::Put(&event.record)
            },
        );
    }
    writes.into_values().collect()
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the engine panicked: {}", message.unwrap_or("no message"))
}
