//! The outcomes of a commit.

use std::sync::Arc;

use crate::engine::EngineError;
use crate::record::Revision;
use crate::txn::Unstorable;

/// The result of a successful commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    /// The value that the closure returned.
    pub value: T,
    /// The revision of the commit's last write; for a commit without writes, the revision of the
    /// keyspace that the closure saw.
    pub revision: Revision,
}

/// The reasons why a commit fails. Only after [`CommitError::Failed`] can the commit have had an
/// effect.
#[derive(Debug, thiserror::Error)]
pub enum CommitError<E> {
    /// The closure returned this error.
    #[error("the transaction was refused")]
    Refused(E),
    /// A write exceeds a limit of the store.
    #[error(transparent)]
    Unstorable(Unstorable),
    /// Too many bytes wait for the engine. The commit can be retried later.
    #[error("the storage engine does not keep up with the writes")]
    Busy,
    /// The store has been closed.
    #[error(transparent)]
    Closed(Closed),
    /// The engine failed, during this commit or earlier. Whether this commit is durable is only
    /// known after the store has been opened again.
    #[error("the storage engine has failed, the store accepts no more writes")]
    Failed(#[source] Arc<EngineError>),
}

/// The error of a call that needs an open store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed")]
pub struct Closed;
