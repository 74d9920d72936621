//! A revisioned key-value store: one ordered map of keys to bytes, with atomic multi-key commits,
//! consistent snapshots, and watches that start at a revision. It knows nothing of Kubernetes.
//!
//! The model is that of etcd. Every write takes the next *revision*, also inside one commit: a
//! commit of three writes moves the store from revision 7 to 10. The first segment of a key (up to
//! the first `/`) names its *collection*; a list or a watch covers one collection or a key prefix
//! inside one collection.
//!
//! # Guarantees
//!
//! * **Atomicity.** A commit becomes durable and visible as a whole or not at all. A snapshot shows
//!   part of a commit only when the caller asks for a revision inside it by number.
//! * **Isolation.** Commits are serialized: the closure of a commit sees every commit before it.
//! * **Durability.** Nothing is read, watched or acknowledged before it is durable. A commit that
//!   writes nothing, or that its closure refuses, also waits until everything that the closure saw
//!   is durable.
//! * **Order.** Revisions grow by one with each write, never repeat, and survive a restart, also
//!   when the last writes were removals. A watch delivers every event of its prefix exactly once,
//!   in the order of revisions.
//! * **Fail-stop.** After the first failure of the engine no commit is accepted
//!   ([`CommitError::Failed`]), because the content of the disk is unknown until it is opened
//!   again. Reads continue with what was durable. Files that were removed or replaced while they
//!   are open are such a failure.
//! * **Bounds.** The history, the commits that wait for the engine and the batches of a watch are
//!   bounded. A reader that falls behind the history gets [`Compacted`]; a writer that gets ahead
//!   of the engine gets [`CommitError::Busy`].
//!
//! # Assumptions
//!
//! * All live records fit into memory. Every read is served from there; the engine is read once,
//!   at the start.
//! * One process owns the store. [`DiskEngine`] enforces this with a lock on its directory.
//! * A sync that returns without an error is durable. The store cannot detect a disk that lies.
//! * The closure of a commit is quick and does not commit: it runs under the lock that serializes
//!   commits.
//!
//! # Caveats
//!
//! * The history is not durable. After a restart it is empty, so watches and snapshots from before
//!   the last revision get [`Compacted`], and clients must list again.
//! * A commit that ends with [`CommitError::Failed`] may be durable or not.
//! * Dropping the future of [`Store::commit`] does not roll the commit back once it was polled.
//!
//! # Layout
//!
//! The store holds three things, each behind its own lock:
//!
//! ```text
//! head     the newest applied keyspace, and the commits that wait for the engine
//! visible  the newest durable keyspace: what `get` and `snapshot` return
//! feed     the bounded history of events, and the watches
//! ```
//!
//! A *keyspace* is one version of the whole map. It is persistent: old versions stay intact and
//! share what did not change, so a snapshot is the copy of one pointer. An [`Engine`] keeps the
//! durable copy and is only appended to.
//!
//! # Path of a commit
//!
//! 1. [`Store::commit`] locks the head and runs the caller's closure on a copy of the head's
//!    keyspace. When the closure returns `Ok`, the copy becomes the head and the commit's events
//!    are queued.
//! 2. The writer (a thread of its own on disk, the committer itself in memory) takes everything
//!    that is queued, hands it to the engine as one batch and syncs once. Commits that arrive
//!    meanwhile form the next batch, so a single client waits for one sync and never for a timer.
//! 3. Under the feed's lock, the writer replaces the visible keyspace and appends the events to
//!    the feed. Then it wakes the watches that the events concern, and last the committers.
//!
//! # Invariants
//!
//! * The feed never holds an event that the visible keyspace does not contain.
//! * The index of a keyspace holds exactly the terms of its records ([`Index`]).
//! * Locks are taken in the order head, feed, visible, and none is held across an await.
//!   `schedules.rs` runs the store under a scheduler that tries many interleavings.
//!
//! Read next: [`Store`], then [`Txn`], [`Watch`], [`Engine`].

mod commit;
mod engine;
mod feed;
mod history;
mod index;
mod keyspace;
mod options;
mod record;
mod shared;
mod snapshot;
mod store;
mod sync;
#[cfg(test)]
mod tests;
mod txn;
mod watch;
mod writer;

pub use crate::commit::{Closed, CommitError, Committed};
pub use crate::engine::disk::DiskEngine;
pub use crate::engine::memory::MemoryEngine;
pub use crate::engine::{Batch, Engine, EngineError, OpenError, PresenceCheck, Stored, Write};
pub use crate::history::Compacted;
pub use crate::index::Index;
pub use crate::options::StoreOptions;
pub use crate::record::{Memo, Record, Revision, StoreEvent};
pub use crate::snapshot::{Range, Snapshot};
pub use crate::store::Store;
pub use crate::txn::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Txn, Unstorable};
pub use crate::watch::Watch;
pub use files::FileError;
