//! The public interface of the store: open, read, commit, watch, close.
//!
//! The work is done by `SharedState`, which the store shares with its writer and its watches.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::commit::{Closed, CommitError, Committed};
use crate::engine::disk::DiskEngine;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Engine, EngineError, OpenError, PresenceCheck};
use crate::history::Compacted;
use crate::index::Index;
use crate::keyspace::Keyspace;
use crate::options::StoreOptions;
use crate::record::{Memo, Record, Revision};
use crate::shared::{Applied, SharedState, StoreStatus};
use crate::snapshot::Snapshot;
use crate::sync::thread;
use crate::txn::Txn;
use crate::watch::Watch;
use crate::writer;

/// A handle to a store; see the crate documentation for its guarantees.
///
/// Clones are cheap and refer to the same store. Dropping the last one closes it.
#[derive(Clone)]
pub struct Store {
    handle: Arc<CloseOnDrop>,
}

struct CloseOnDrop {
    shared: Arc<SharedState>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Store {
    /// Opens an empty store without durability. Commits complete inside the caller's call, without
    /// a thread, so that it works in virtual time.
    #[must_use]
    pub fn open_memory() -> Self {
        Self::open_memory_with(StoreOptions::default())
    }

    /// Opens an empty store without durability, with these limits.
    #[must_use]
    pub fn open_memory_with(options: StoreOptions) -> Self {
        Self::new(
            Keyspace::empty(),
            Some(Box::new(MemoryEngine)),
            None,
            options,
        )
    }

    /// Opens the store in the directory `dir`, or creates it. Blocks until all records are read.
    ///
    /// # Errors
    ///
    /// Those of [`DiskEngine::open`] and [`Engine::load`]. After an error the files are unchanged.
    pub fn open_disk(dir: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let engine = DiskEngine::open(dir)?;
        Self::open_threaded(Box::new(engine), options).map_err(|reason| OpenError {
            path: dir.to_owned(),
            reason,
        })
    }

    /// Opens a store on an engine that does not block. Committers call the engine themselves.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::load`].
    pub fn open_inline(
        mut engine: Box<dyn Engine>,
        options: StoreOptions,
    ) -> Result<Self, EngineError> {
        let keyspace = load(&mut *engine)?;
        let presence = engine.presence();
        Ok(Self::new(keyspace, Some(engine), presence, options))
    }

    /// Opens a store on an engine that blocks while it syncs. The engine gets a thread of its own,
    /// which groups the commits that arrive during a sync.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::load`], and [`EngineError::Io`] when the thread cannot be started.
    pub fn open_threaded(
        mut engine: Box<dyn Engine>,
        options: StoreOptions,
    ) -> Result<Self, EngineError> {
        let keyspace = load(&mut *engine)?;
        let presence = engine.presence();
        let mut store = Self::new(keyspace, None, presence, options);
        let shared = Arc::clone(&store.handle.shared);
        let thread = thread::Builder::new()
            .name("store".into())
            .spawn(move || writer::run(&shared, engine))?;
        if let Some(handle) = Arc::get_mut(&mut store.handle) {
            handle.writer = Some(thread);
        }
        Ok(store)
    }

    fn new(
        keyspace: Keyspace,
        inline: Option<Box<dyn Engine>>,
        presence: Option<PresenceCheck>,
        options: StoreOptions,
    ) -> Self {
        Self {
            handle: Arc::new(CloseOnDrop {
                shared: Arc::new(SharedState::new(keyspace, inline, presence, options)),
                writer: None,
            }),
        }
    }

    /// Adds an index over one collection. A second index over the same collection replaces the
    /// first.
    ///
    /// Call this before the first commit. A commit that the writer holds at this moment becomes
    /// visible without the index.
    pub fn index(&self, index: Index) {
        self.shared().index(index);
    }

    /// Returns the revision of the newest visible write.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared().visible().revision
    }

    /// Returns the oldest revision that [`Store::snapshot_at`] and [`Store::watch`] accept.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.shared().feed().history.oldest()
    }

    /// Returns the newest visible record of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.shared().visible().get(key).cloned()
    }

    /// Returns a snapshot of the newest visible revision.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.shared().visible().clone())
    }

    /// Returns a snapshot of `revision`, which must be within the bounded history.
    ///
    /// # Errors
    ///
    /// [`Compacted`] when the revision is older than the history, and also when the store has not
    /// reached it yet; [`Compacted::newest`] distinguishes the two.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, Compacted> {
        let (mut keyspace, undo) = {
            let feed = self.shared().feed();
            let now = self.shared().visible();
            feed.history.path_to(revision, &now)?
        };
        undo.iter().for_each(|event| keyspace.undo(event));
        Ok(Snapshot::new(keyspace))
    }

    /// Runs `decide` on the newest applied keyspace and commits its writes atomically. Returns when
    /// the writes, and everything that `decide` saw, are durable and visible.
    ///
    /// `decide` sees applied commits that are not durable yet. Commits are serialized, so `decide`
    /// should be quick and must not commit itself. It must tolerate being run again from the start:
    /// an engine that is shared with other processes may find that the keyspace was stale.
    ///
    /// This method is not cancel safe in the usual sense: dropping the future after its first poll
    /// does not roll the commit back.
    ///
    /// # Errors
    ///
    /// One variant of [`CommitError`] for each reason. Only after [`CommitError::Failed`] can the
    /// commit have had an effect.
    pub async fn commit<T, E, F>(&self, mut decide: F) -> Result<Committed<T>, CommitError<E>>
    where
        F: FnMut(&mut Txn) -> Result<T, E> + Send,
        T: Send,
        E: Send,
    {
        let Applied { outcome, durable } = self.shared().apply(&mut decide)?;
        if let Some(durable) = durable {
            // The writer resolves every pending commit before it ends, so a dropped sender means
            // that its thread died.
            let lost = || EngineError::Failed("the writer's thread has ended".into());
            durable
                .await
                .unwrap_or_else(|_| Err(Arc::new(lost())))
                .map_err(CommitError::Failed)?;
        }
        outcome.map_err(CommitError::Refused)
    }

    /// Watches the keys that begin with `prefix`, from the first event after the revision `after`.
    /// The first segment of the prefix is the name of a collection. `after` may lie in the future.
    ///
    /// # Errors
    ///
    /// [`Compacted`] when the history begins after `after`.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Compacted> {
        let shared = Arc::clone(&self.handle.shared);
        let group = shared.feed().subscribe(prefix, after)?;
        Ok(Watch::new(shared, group, after))
    }

    /// Waits until `revision` is visible.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the store is closed or fails before it reaches the revision.
    pub async fn reached(&self, revision: Revision) -> Result<(), Closed> {
        let shared = self.shared();
        let (mut fed, mut ended) = (shared.fed.subscribe(), shared.ended.subscribe());
        tokio::select! {
            biased;
            _ = fed.wait_for(|fed| *fed >= revision) => Ok(()),
            _ = ended.wait_for(|ended| *ended) => Err(Closed),
        }
    }

    /// Drops the history up to `revision`. Watches and snapshots from before it get [`Compacted`].
    /// A revision that the store has not reached compacts the whole history.
    pub fn compact(&self, revision: Revision) {
        self.shared().feed().trim(revision);
    }

    /// Closes the store: waits until all applied commits are durable, closes the engine, and ends
    /// all watches. Later commits fail with [`CommitError::Closed`]; reads still work. Closing a
    /// closed store has no effect.
    ///
    /// # Errors
    ///
    /// The engine's failure, if it has failed. The watches end in this case, too.
    pub async fn close(&self) -> Result<(), Arc<EngineError>> {
        let shared = self.shared();
        shared.begin_close();
        // Waiting cannot fail, because the sender lives as long as `shared`.
        let _ = shared.ended.subscribe().wait_for(|ended| *ended).await;
        self.failure().map_or(Ok(()), Err)
    }

    /// Returns the engine's failure, if it has failed. The store is then read-only, and a server
    /// should report that it is not ready.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<EngineError>> {
        match &self.shared().head().status {
            StoreStatus::Failed(error) => Some(Arc::clone(error)),
            StoreStatus::Open | StoreStatus::Closed => None,
        }
    }

    /// Checks that the store accepts commits and that its files are still in their places. The
    /// check itself writes nothing; a store whose files are gone has failed from then on.
    ///
    /// # Errors
    ///
    /// The engine's failure, now or earlier.
    pub fn check(&self) -> Result<(), Arc<EngineError>> {
        self.shared().check_presence();
        self.failure().map_or(Ok(()), Err)
    }

    fn shared(&self) -> &SharedState {
        &self.handle.shared
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.shared.begin_close();
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != thread::current().id()
        {
            // The writer's panics have been reported by the panic hook.
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

/// Reads all records of the engine.
fn load(engine: &mut dyn Engine) -> Result<Keyspace, EngineError> {
    let mut keyspace = Keyspace::empty();
    let mut newest = Revision(0);
    keyspace.revision = engine.load(&mut |stored| {
        newest = newest.max(stored.modified);
        let key = Arc::from(stored.key);
        let (value, created, modified) = (stored.value, stored.created, stored.modified);
        keyspace.put(Arc::new(Record {
            key,
            value,
            created,
            modified,
            memo: Memo::new(),
        }));
    })?;
    if newest > keyspace.revision {
        return Err(EngineError::Corrupt(format!(
            "a record has revision {newest}, which is newer than the store's revision {}",
            keyspace.revision
        )));
    }
    Ok(keyspace)
}
