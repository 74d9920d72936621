//! An ordered map of keys to bytes with revisions: atomic multi-key commits, consistent
//! snapshots, and watches from a revision. Knows no Kubernetes.
//!
//! A key is text whose first segment (up to the first `/`) is its *collection*; lists and watches
//! are of one collection or of a prefix inside one. Every write has a revision of its own, also
//! inside one commit: a commit of three writes moves the store from revision 7 to 10, and all of
//! it becomes visible and durable at once or not at all.
//!
//! # Layout
//!
//! Everything that is read is in memory. The store holds three things, each behind its own lock:
//!
//! ```text
//! head     the newest applied state and the commits that wait for the engine   (commit, writer)
//! visible  the newest state that is durable                                    (get, snapshot)
//! feed     the bounded history of events, and the watches                      (watch, snapshot_at)
//! ```
//!
//! A *state* is a persistent map (old versions stay intact and share what did not change), so a
//! snapshot is the copy of one pointer. An [`Engine`] keeps the durable copy: it is read once, at
//! the start, and afterwards only appended to. On disk each record is one entry with its creation
//! and modification revisions and a checksum, beside one entry with the newest revision and the
//! number of records (see [`DiskEngine`]).
//!
//! # Update protocol
//!
//! 1. [`Store::commit`] locks the head, runs the caller's closure on it and, when the closure
//!    agrees, replaces the head and queues the commit's events. Commits are thereby serialised.
//! 2. The writer (one thread on disk; the caller itself in memory) takes everything that is
//!    queued, hands it to the engine as one batch and syncs once. Whoever commits meanwhile forms
//!    the next batch, so nobody waits for a timer, and a lone client waits for one sync.
//! 3. Then the writer replaces the visible state, appends the events to the feed (both under the
//!    feed's lock), wakes the watches that they concern, and last the committers.
//!
//! # Invariants
//!
//! * Nothing is read, watched or answered that is not durable: also a commit that writes nothing,
//!   or that is refused, waits until all that its closure saw is durable.
//! * Revisions grow by one with each write, never repeat, and survive a restart, also when the
//!   last writes were removals.
//! * The feed never knows an event that the visible state does not contain, and a snapshot never
//!   shows half a commit unless a revision inside one is asked for by number.
//! * When the engine fails once, nothing more is accepted ([`CommitError::Failed`]): what the disk
//!   then holds is unknown until it has been opened again. Reads go on with what was durable.
//! * The index of a state has exactly the terms of the records of that state ([`Index`]).
//! * History, queue and batches are bounded; whoever falls behind gets [`Compacted`].
//! * Locks are taken in the order head, feed, visible, and none is held across an await.
//!
//! Read next: [`Store`], then [`Txn`], [`Watch`], [`Engine`].

mod engine;
mod feed;
mod history;
mod index;
mod record;
mod shared;
mod snapshot;
mod state;
mod store;
mod txn;
mod watch;
mod writer;

pub use crate::engine::disk::DiskEngine;
pub use crate::engine::memory::MemoryEngine;
pub use crate::engine::{Batch, Engine, EngineError, OpenError, Stored, Write};
pub use crate::history::Compacted;
pub use crate::index::Index;
pub use crate::record::{Event, Memo, Record, Revision};
pub use crate::snapshot::{Range, Snapshot};
pub use crate::store::{Closed, CommitError, Committed, Options, Store};
pub use crate::txn::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Txn, Unstorable};
pub use crate::watch::Watch;
