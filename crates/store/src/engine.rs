//! What the store asks of whatever keeps its records durable: load everything once, then append
//! batches and sync them.
//!
//! An engine has one user and never reads what it wrote. It must never repair by forgetting: what
//! it cannot read is an error, and the files stay as they are.

use std::path::PathBuf;

use bytes::Bytes;

use crate::record::{Record, Revision};

mod codec;
pub(crate) mod disk;
pub(crate) mod memory;

/// Keeps records durable. See the module.
pub trait Engine: Send {
    /// Hands every record to `each`, in any order, and gives back the newest revision.
    /// Called once, before anything else.
    ///
    /// # Errors
    ///
    /// [`EngineError::Corrupt`] when what is stored is not what was written.
    fn load(&mut self, each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError>;

    /// Writes the whole batch or nothing of it, and returns when it is durable.
    ///
    /// # Errors
    ///
    /// Any error means that the batch may or may not be durable; the store then never calls again.
    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError>;
}

/// A record as an engine gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The whole key.
    pub key: String,
    /// The bytes as they were committed.
    pub value: Bytes,
    /// Revision of the write that made the key.
    pub created: Revision,
    /// Revision of the write that put these bytes.
    pub modified: Revision,
}

/// Some whole commits, reduced to what is left of them: each key occurs once.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The newest revision once this batch is durable.
    pub revision: Revision,
    /// How many records there are once this batch is durable.
    pub records: usize,
    /// The writes, in the order of their keys.
    pub writes: Vec<Write<'a>>,
}

/// What a batch leaves of one key.
#[derive(Clone, Copy, Debug)]
pub enum Write<'a> {
    /// The key has this record.
    Put(&'a Record),
    /// The key is gone; it may never have been there.
    Remove(&'a str),
}

/// Why an engine could not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Another process, or another part of this one, has the directory open.
    #[error("the store is in use by another process")]
    InUse,
    /// What is stored is not what was written.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// It was written by a version of this program that we do not know.
    #[error("the store has format {found}, this program reads {known}")]
    Format {
        /// The format of the files.
        found: u32,
        /// The one we write.
        known: u32,
    },
    /// The operating system refused.
    #[error("the store's files cannot be read or written")]
    Io(#[from] std::io::Error),
    /// The engine failed in a way of its own.
    #[error("the storage engine failed: {0}")]
    Failed(String),
}

/// Why a store could not be opened. Nothing has been changed or deleted.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the store in {}", .path.display())]
pub struct OpenError {
    /// The directory.
    pub path: PathBuf,
    /// The reason; callers match on it to tell a directory in use from a corrupt one.
    #[source]
    pub reason: EngineError,
}
