//! The store itself: its three locks, and what is done under which.
//!
//! Commits go through the head, reads through the visible state, watches through the feed; see the
//! crate's header for the protocol that keeps them together.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::engine::disk::DiskEngine;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Engine, EngineError, OpenError};
use crate::feed::Feed;
use crate::history::{Compacted, History};
use crate::record::{Event, Memo, Record, Revision};
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::txn::{Txn, Unstorable};
use crate::watch::Watch;
use crate::writer::{self, Durable, Pending};

/// The most events in the history. At a thousand writes a second it is three minutes, enough to
/// fetch a list page by page or to come back after a broken connection.
const HISTORY_EVENTS: usize = 200_000;

/// The most memory the history may hold, by its own estimate: what limits it when objects are
/// large, so that a server which is idle again does not keep hundreds of MiB.
const HISTORY_BYTES: usize = 64 * 1024 * 1024;

/// The most bytes that may wait for the engine. It is some seconds of a disk's throughput: when a
/// sync hangs, new commits are refused before memory runs out.
const PENDING_BYTES: usize = 64 * 1024 * 1024;

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
        Self { history_events: HISTORY_EVENTS, history_bytes: HISTORY_BYTES }
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

/// What the store shares with its writer and its watches.
pub(crate) struct Shared {
    head: Mutex<Head>,
    work: Condvar,
    feed: Mutex<Feed>,
    visible: RwLock<State>,
    /// The revision up to which the feed is complete.
    fed: tokio::sync::watch::Sender<Revision>,
    ended: tokio::sync::watch::Sender<bool>,
}

/// The newest applied state, and what is on its way to the engine.
pub(crate) struct Head {
    pub(crate) state: State,
    pub(crate) pending: Vec<Pending>,
    pub(crate) pending_bytes: usize,
    /// The writer wants to be woken when so many commits wait.
    pub(crate) wake_at: usize,
    pub(crate) status: Status,
    /// The engine, when the committer calls it; otherwise the writer's thread has it.
    inline: Option<Box<dyn Engine>>,
}

/// Whether commits are accepted.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// Yes. Ends with `close` or the first failure.
    Open,
    /// Not any more. Final.
    Closed,
    /// Never again. Final.
    Failed(Arc<EngineError>),
}

/// What was decided under the head's lock, and what to wait for before it may be told.
struct Applied<T, E> {
    outcome: Result<Committed<T>, E>,
    durable: Option<Durable>,
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
        Self::open_threaded(Box::new(engine), options).map_err(|reason| OpenError { path: dir.to_owned(), reason })
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
    pub fn open_threaded(mut engine: Box<dyn Engine>, options: Options) -> Result<Self, EngineError> {
        let state = load(&mut *engine)?;
        let mut store = Self::new(state, None, options);
        let shared = Arc::clone(&store.handle.shared);
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || writer::run(&shared, engine))?;
        if let Some(handle) = Arc::get_mut(&mut store.handle) {
            handle.writer = Some(thread);
        }
        Ok(store)
    }

    fn new(state: State, inline: Option<Box<dyn Engine>>, options: Options) -> Self {
        let revision = state.revision;
        let history = History::starting_at(revision, options.history_events, options.history_bytes);
        let visible = RwLock::new(state.clone());
        let head = Head { state, pending: Vec::new(), pending_bytes: 0, wake_at: 1, status: Status::Open, inline };
        let shared = Shared {
            head: Mutex::new(head),
            work: Condvar::new(),
            feed: Mutex::new(Feed::new(history)),
            visible,
            fed: tokio::sync::watch::Sender::new(revision),
            ended: tokio::sync::watch::Sender::new(false),
        };
        Self { handle: Arc::new(Handle { shared: Arc::new(shared), writer: None }) }
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
            durable.await.unwrap_or_else(|_| Err(Arc::new(lost()))).map_err(CommitError::Failed)?;
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

impl Shared {
    pub(crate) fn head(&self) -> MutexGuard<'_, Head> {
        // A closure that panics leaves the head as it was: it works on a copy.
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait_for_work<'a>(&self, head: MutexGuard<'a, Head>) -> MutexGuard<'a, Head> {
        self.work.wait(head).unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait_for_work_at_most<'a>(&self, head: MutexGuard<'a, Head>, time: Duration) -> MutexGuard<'a, Head> {
        self.work.wait_timeout(head, time).unwrap_or_else(PoisonError::into_inner).0
    }

    fn feed(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn visible(&self) -> RwLockReadGuard<'_, State> {
        self.visible.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fed(&self) -> Revision {
        *self.fed.borrow()
    }

    pub(crate) fn compacted_error(&self, requested: Revision) -> Compacted {
        self.feed().history.compacted(requested)
    }

    pub(crate) fn leave(&self, prefix: &str) {
        self.feed().leave(prefix);
    }

    fn apply<T, E>(&self, decide: &mut dyn FnMut(&mut Txn) -> Result<T, E>) -> Result<Applied<T, E>, CommitError<E>> {
        let mut head = self.head();
        head.check_open()?;
        let mut txn = Txn::new(head.state.clone());
        let (outcome, state, events) = match decide(&mut txn) {
            Err(refusal) => (Err(refusal), None, Vec::new()),
            Ok(value) => {
                let (state, events) = txn.finish().map_err(CommitError::Unstorable)?;
                (Ok(Committed { value, revision: state.revision }), Some(state), events)
            }
        };
        let durable = match state {
            Some(state) if !events.is_empty() => self.submit(&mut head, state, events).map_err(CommitError::Failed)?,
            _ if self.fed() >= head.state.revision => None,
            _ => Some(self.enqueue(&mut head, Vec::new())),
        };
        Ok(Applied { outcome, durable })
    }

    /// Makes `state` the head and its events durable, now or by way of the writer.
    fn submit(&self, head: &mut Head, state: State, events: Vec<Arc<Event>>) -> Result<Option<Durable>, Arc<EngineError>> {
        let Some(engine) = &mut head.inline else {
            head.state = state;
            return Ok(Some(self.enqueue(head, events)));
        };
        if let Err(error) = writer::append(&mut **engine, &state, &events) {
            let error = Arc::new(error);
            head.fail(&error);
            return Err(error);
        }
        head.state = state.clone();
        self.publish(state, events);
        Ok(None)
    }

    fn enqueue(&self, head: &mut Head, events: Vec<Arc<Event>>) -> Durable {
        let (done, durable) = oneshot::channel();
        head.pending_bytes += events.iter().map(|event| event.record.value.len()).sum::<usize>();
        head.pending.push(Pending { events, done });
        if head.pending.len() >= head.wake_at {
            self.work.notify_one();
        }
        durable
    }

    /// Lets everyone see `state`, to which `events` lead.
    pub(crate) fn publish(&self, state: State, events: Vec<Arc<Event>>) {
        let revision = state.revision;
        let (concerned, old) = {
            let mut feed = self.feed();
            let old = std::mem::replace(&mut *self.visible.write().unwrap_or_else(PoisonError::into_inner), state.clone());
            let concerned = feed.append(events, &state);
            self.fed.send_replace(revision);
            (concerned, old)
        };
        concerned.iter().for_each(|group| group.ring());
        // Last, because it may be the last owner of many records.
        drop(old);
    }

    pub(crate) fn fail(&self, error: &Arc<EngineError>) {
        self.head().fail(error);
    }

    fn begin_close(&self) {
        let mut head = self.head();
        let failed = matches!(head.status, Status::Failed(_));
        if !failed {
            head.status = Status::Closed;
        }
        self.work.notify_one();
        let inline = head.inline.take();
        drop(head);
        if inline.is_some() {
            drop(inline);
            self.end();
        } else if failed {
            self.end_watches();
        }
    }

    /// The engine is closed. Nothing will follow; but if it was closed because it failed, the
    /// watches stay, as the reads do, until somebody closes the store.
    pub(crate) fn end(&self) {
        if matches!(self.head().status, Status::Closed) {
            self.end_watches();
        }
        self.ended.send_replace(true);
    }

    fn end_watches(&self) {
        let groups = self.feed().close();
        groups.iter().for_each(|group| group.ring());
    }
}

impl Head {
    fn check_open<E>(&self) -> Result<(), CommitError<E>> {
        match &self.status {
            Status::Open if self.pending_bytes > PENDING_BYTES => Err(CommitError::Busy),
            Status::Open => Ok(()),
            Status::Closed => Err(CommitError::Closed(Closed)),
            Status::Failed(error) => Err(CommitError::Failed(Arc::clone(error))),
        }
    }

    /// Refuses everything from now on, and everyone who waits.
    fn fail(&mut self, error: &Arc<EngineError>) {
        tracing::error!(error = &**error as &dyn std::error::Error, "the storage engine failed; nothing more is accepted");
        self.status = Status::Failed(Arc::clone(error));
        for pending in self.pending.drain(..) {
            let _ = pending.done.send(Err(Arc::clone(error)));
        }
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
        f.debug_struct("Store").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("fed", &self.fed()).finish_non_exhaustive()
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
        state.put(Arc::new(Record { key, value, created, modified, memo: Memo::new() }));
    })?;
    if newest > state.revision {
        return Err(EngineError::Corrupt(format!("a record has revision {newest}, the store only {}", state.revision)));
    }
    Ok(state)
}
