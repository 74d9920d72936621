//! The store as its users hold it: opening, reading, committing, watching, closing.
//!
//! What it does is done by what it shares with its writer and its watches, see
//! `Shared`; here is what they may ask for, and what they are promised.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::engine::disk::DiskEngine;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Engine, EngineError, OpenError};
use crate::history::Compacted;
use crate::index::Index;
use crate::record::{Memo, Record, Revision};
use crate::shared::{Applied, Shared, Status};
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::txn::{Txn, Unstorable};
use crate::watch::Watch;
use crate::writer;

/// The most events in the history. At a thousand writes a second it is three minutes, enough to
/// fetch a list page by page or to come back after a broken connection.
const HISTORY_EVENTS: usize = 200_000;

/// The most memory the history may hold, by its own estimate: what limits it when objects are
/// large, so that a server which is idle again does not keep hundreds of MiB.
const HISTORY_BYTES: usize = 64 * 1024 * 1024;

/// How much a store keeps beside its newest state.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most events in the history of all collections together.
    pub history_events: usize,
    /// The most bytes that the history may hold, by its own estimate.
    pub history_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history_events: HISTORY_EVENTS,
            history_bytes: HISTORY_BYTES,
        }
    }
}

/// What a commit brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    /// What the closure returned.
    pub value: T,
    /// The revision of the commit's last write; without writes, of the state it saw.
    pub revision: Revision,
}

/// Why a commit was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError<E> {
    /// The closure refused; nothing was written.
    #[error("the transaction was refused")]
    Refused(E),
    /// A write cannot be stored; nothing was written.
    #[error(transparent)]
    Unstorable(Unstorable),
    /// Too much waits for the engine; nothing was written, try again later.
    #[error("the storage engine does not keep up with the writes")]
    Busy,
    /// The store has been closed; nothing was written.
    #[error(transparent)]
    Closed(Closed),
    /// The engine failed, now or earlier. Whether this commit is durable shows when the store is
    /// opened again.
    #[error("the store has failed and accepts nothing more")]
    Failed(#[source] Arc<EngineError>),
}

/// The store has been closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed")]
pub struct Closed;

/// See the crate. Cheap to clone; clones are the same store, and the last one closes it.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// An empty store that forgets everything when it is dropped. Commits run inside the caller's
    /// call, with no thread, so that it works in virtual time.
    #[must_use]
    pub fn open_memory() -> Self {
        Self::open_memory_with(Options::default())
    }

    /// As [`Store::open_memory`], with other limits.
    #[must_use]
    pub fn open_memory_with(options: Options) -> Self {
        Self::new(State::empty(), Some(Box::new(MemoryEngine)), options)
    }

    /// The store in the directory `dir`, made there if there is none. Blocks while it reads
    /// everything.
    ///
    /// # Errors
    ///
    /// Tells a directory in use by another process from a corrupt file and from other failures;
    /// nothing is changed or deleted then.
    pub fn open_disk(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let engine = DiskEngine::open(dir)?;
        Self::open_threaded(Box::new(engine), options).map_err(|reason| OpenError {
            path: dir.to_owned(),
            reason,
        })
    }

    /// A store on an engine that does not block: the committer calls it itself.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::load`].
    pub fn open_inline(mut engine: Box<dyn Engine>, options: Options) -> Result<Self, EngineError> {
        let state = load(&mut *engine)?;
        Ok(Self::new(state, Some(engine), options))
    }

    /// A store on an engine that blocks while it syncs: it gets a thread of its own, which groups
    /// the commits that come meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::load`]; [`EngineError::Io`] when there can be no thread.
    pub fn open_threaded(
        mut engine: Box<dyn Engine>,
        options: Options,
    ) -> Result<Self, EngineError> {
        let state = load(&mut *engine)?;
        let mut store = Self::new(state, None, options);
        let shared = Arc::clone(&store.handle.shared);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer::run(&shared, engine))?;
        if let Some(handle) = Arc::get_mut(&mut store.handle) {
            handle.writer = Some(thread);
        }
        Ok(store)
    }

    fn new(state: State, inline: Option<Box<dyn Engine>>, options: Options) -> Self {
        Self {
            handle: Arc::new(Handle {
                shared: Arc::new(Shared::new(state, inline, options)),
                writer: None,
            }),
        }
    }

    /// Keeps an index over one collection from now on. To be called before the first commit; a
    /// second index over the same collection replaces the first.
    pub fn index(&self, index: Index) {
        self.shared().index(index);
    }

    /// The revision of the newest write that can be read.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared().visible().revision
    }

    /// The oldest revision that [`Store::snapshot_at`] and [`Store::watch`] still accept.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.shared().feed().history.oldest()
    }

    /// The newest durable record of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.shared().visible().get(key).cloned()
    }

    /// Everything as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.shared().visible().clone())
    }

    /// Everything as it was at `revision`, within the bounded history.
    ///
    /// # Errors
    ///
    /// [`Compacted`] when it is older than the history, and also when the store has not got there
    /// yet (a number from another store): compare with [`Compacted::newest`].
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, Compacted> {
        let (mut state, undo) = {
            let feed = self.shared().feed();
            let now = self.shared().visible();
            feed.history.path_to(revision, &now)?
        };
        undo.iter().for_each(|event| state.undo(event));
        Ok(Snapshot::new(state))
    }

    /// Runs `decide` on the newest state, applied commits that are not yet durable included, and
    /// commits what it wrote, all or nothing. Returns when that, and everything that `decide` saw,
    /// is durable and visible.
    ///
    /// Commits are serialised: `decide` should be quick, and must not commit itself. It must be
    /// fit to be run again from the start, because an engine that is shared with other processes
    /// may find that its state was stale. Once this future has been polled, dropping it does not
    /// take the commit back.
    ///
    /// # Errors
    ///
    /// See [`CommitError`].
    pub async fn commit<T, E, F>(&self, mut decide: F) -> Result<Committed<T>, CommitError<E>>
    where
        F: FnMut(&mut Txn) -> Result<T, E> + Send,
        T: Send,
        E: Send,
    {
        let Applied { outcome, durable } = self.shared().apply(&mut decide)?;
        if let Some(durable) = durable {
            // The writer answers everyone before it ends, so a missing answer is its sudden death.
            let lost = || EngineError::Failed("the writer is gone".into());
            durable
                .await
                .unwrap_or_else(|_| Err(Arc::new(lost())))
                .map_err(CommitError::Failed)?;
        }
        outcome.map_err(CommitError::Refused)
    }

    /// The events of keys that begin with `prefix`, after the revision `after`. The prefix's first
    /// segment is a whole collection, see [`Snapshot::range`]. `after` may lie in the future.
    ///
    /// # Errors
    ///
    /// [`Compacted`] when the history begins after `after`.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Compacted> {
        let shared = Arc::clone(&self.handle.shared);
        let group = shared.feed().join(prefix, after)?;
        Ok(Watch::new(shared, group, after))
    }

    /// Waits until `revision` can be read.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the store is closed, or fails, before it gets there.
    pub async fn reached(&self, revision: Revision) -> Result<(), Closed> {
        let shared = self.shared();
        let (mut fed, mut ended) = (shared.fed.subscribe(), shared.ended.subscribe());
        tokio::select! {
            biased;
            _ = fed.wait_for(|fed| *fed >= revision) => Ok(()),
            _ = ended.wait_for(|ended| *ended) => Err(Closed),
        }
    }

    /// Forgets the history up to `revision`, as far as there is any: watches and snapshots from
    /// before it get [`Compacted`].
    pub fn compact(&self, revision: Revision) {
        self.shared().feed().trim(revision);
    }

    /// Makes durable what is applied, closes the engine, and ends all watches. Commits that come
    /// later fail with [`CommitError::Closed`]; reads go on.
    ///
    /// # Errors
    ///
    /// The engine's failure, if it failed now or before.
    pub async fn close(&self) -> Result<(), Arc<EngineError>> {
        let shared = self.shared();
        shared.begin_close();
        // Cannot fail: the sender lives as long as `shared`.
        let _ = shared.ended.subscribe().wait_for(|ended| *ended).await;
        self.failure().map_or(Ok(()), Err)
    }

    /// The engine's failure, if it has failed: the store then only reads, and the server should
    /// not call itself ready.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<EngineError>> {
        match &self.shared().head().status {
            Status::Failed(error) => Some(Arc::clone(error)),
            Status::Open | Status::Closed => None,
        }
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_close();
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != std::thread::current().id()
        {
            // A panic in it has been reported where it happened.
            let _ = writer.join();
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

/// Reads everything that the engine has.
fn load(engine: &mut dyn Engine) -> Result<State, EngineError> {
    let mut state = State::empty();
    let mut newest = Revision(0);
    state.revision = engine.load(&mut |stored| {
        newest = newest.max(stored.modified);
        let key = Arc::from(stored.key);
        let (value, created, modified) = (stored.value, stored.created, stored.modified);
        state.put(Arc::new(Record {
            key,
            value,
            created,
            modified,
            memo: Memo::new(),
        }));
    })?;
    if newest > state.revision {
        return Err(EngineError::Corrupt(format!(
            "a record has revision {newest}, the store only {}",
            state.revision
        )));
    }
    Ok(state)
}
