//! The state that the store shares with its writer and its watches: three locks, and the steps of
//! a commit from applied to visible.
//!
//! The locks are taken in the order head, feed, visible. The crate documentation describes the
//! path of a commit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::commit::{Closed, CommitError, Committed};
use crate::engine::{self, Engine, EngineError, PresenceCheck};
use crate::feed::Feed;
use crate::history::{self, Compacted, History};
use crate::index::Index;
use crate::keyspace::Keyspace;
use crate::options::StoreOptions;
use crate::record::{Revision, StoreEvent};
use crate::sync::{
    AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, PoisonError, RwLock, RwLockReadGuard,
};
use crate::txn::Txn;

/// The maximum number of bytes that wait for the engine, including the batch that it is writing.
/// This is some seconds of a disk's throughput: when a sync hangs, new commits are refused before
/// memory runs out. The last commit that is accepted may exceed the limit by its own size.
const PENDING_BYTES: usize = 64 * 1024 * 1024;

/// The receiver that resolves when a commit is durable, or when the engine has failed.
pub(crate) type Durable = oneshot::Receiver<Result<(), Arc<EngineError>>>;

/// The state behind the three locks.
pub(crate) struct SharedState {
    head: Mutex<Head>,
    work: Condvar,
    /// The memory of the pending commits and of the batch that the engine is writing. Outside the
    /// head, so that a batch that ends does not wait behind the commits that are being decided.
    pending_bytes: AtomicUsize,
    feed: Mutex<Feed>,
    visible: RwLock<Keyspace>,
    /// The revision up to which the feed is complete.
    pub(crate) fed: tokio::sync::watch::Sender<Revision>,
    /// True when the engine is closed.
    pub(crate) ended: tokio::sync::watch::Sender<bool>,
    /// The engine's own check, which needs no lock.
    presence: Option<PresenceCheck>,
}

/// The newest applied keyspace, and the commits that wait for the engine.
pub(crate) struct Head {
    pub(crate) keyspace: Keyspace,
    pub(crate) pending: Vec<Pending>,
    /// The number of pending commits at which the writer wants to be woken.
    pub(crate) wake_at: usize,
    pub(crate) status: StoreStatus,
    /// True from the first call of `close`. Separate from `status`, because an engine that fails
    /// while the store closes moves the status on to `Failed`, and the watches must end all the
    /// same.
    close_requested: bool,
    /// The engine, when committers call it themselves; otherwise the writer's thread owns it.
    inline: Option<Box<dyn Engine>>,
}

/// A commit that is applied but not yet durable, or one that wrote nothing and waits until what it
/// saw is durable.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) events: Vec<Arc<StoreEvent>>,
    pub(crate) bytes: usize,
    pub(crate) done: oneshot::Sender<Result<(), Arc<EngineError>>>,
}

/// Whether commits are accepted.
#[derive(Clone, Debug)]
pub(crate) enum StoreStatus {
    /// Commits are accepted. Left by `close` or by the first failure of the engine.
    Open,
    /// `close` was called. Left only when the engine fails at what was still pending.
    Closed,
    /// The engine has failed. Final.
    Failed(Arc<EngineError>),
}

/// The result of running a commit's closure under the head's lock.
pub(crate) struct Applied<T, E> {
    pub(crate) outcome: Result<Committed<T>, E>,
    /// To be awaited before the outcome is reported; `None` when everything is durable already.
    pub(crate) durable: Option<Durable>,
}

impl SharedState {
    pub(crate) fn new(
        keyspace: Keyspace,
        inline: Option<Box<dyn Engine>>,
        presence: Option<PresenceCheck>,
        options: StoreOptions,
    ) -> Self {
        let revision = keyspace.revision;
        let history = History::starting_at(revision, options.history_events, options.history_bytes);
        let visible = RwLock::new(keyspace.clone());
        let head = Head {
            keyspace,
            pending: Vec::new(),
            wake_at: 1,
            status: StoreStatus::Open,
            close_requested: false,
            inline,
        };
        Self {
            head: Mutex::new(head),
            work: Condvar::new(),
            pending_bytes: AtomicUsize::new(0),
            feed: Mutex::new(Feed::new(history)),
            visible,
            fed: tokio::sync::watch::Sender::new(revision),
            ended: tokio::sync::watch::Sender::new(false),
            presence,
        }
    }

    pub(crate) fn head(&self) -> MutexGuard<'_, Head> {
        // A closure that panics leaves the head intact, because it works on a copy.
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the index to the applied and to the visible keyspace. Commits that the writer holds at
    /// this moment would be published without it.
    pub(crate) fn index(&self, index: Index) {
        let mut head = self.head();
        head.keyspace = head.keyspace.clone().indexed_by(index);
        // Held so that `publish`, which takes the feed first, cannot replace `visible` in between.
        let _feed = self.feed();
        let mut visible = self.visible.write().unwrap_or_else(PoisonError::into_inner);
        *visible = visible.clone().indexed_by(index);
    }

    pub(crate) fn wait_for_work<'a>(&self, head: MutexGuard<'a, Head>) -> MutexGuard<'a, Head> {
        self.work.wait(head).unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait_for_work_at_most<'a>(
        &self,
        head: MutexGuard<'a, Head>,
        time: Duration,
    ) -> MutexGuard<'a, Head> {
        self.work
            .wait_timeout(head, time)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    pub(crate) fn feed(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn visible(&self) -> RwLockReadGuard<'_, Keyspace> {
        self.visible.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fed(&self) -> Revision {
        *self.fed.borrow()
    }

    pub(crate) fn compacted_error(&self, requested: Revision) -> Compacted {
        self.feed().history.compacted(requested)
    }

    pub(crate) fn unsubscribe(&self, prefix: &str) {
        self.feed().unsubscribe(prefix);
    }

    /// Runs `decide` on a copy of the applied keyspace and makes the copy the head when `decide`
    /// succeeds.
    pub(crate) fn apply<T, E>(
        &self,
        decide: &mut dyn FnMut(&mut Txn) -> Result<T, E>,
    ) -> Result<Applied<T, E>, CommitError<E>> {
        let mut head = self.head();
        head.check_open(self.pending_bytes.load(Ordering::Relaxed))?;
        let mut txn = Txn::new(head.keyspace.clone());
        let (outcome, keyspace, events) = match decide(&mut txn) {
            Err(refusal) => (Err(refusal), None, Vec::new()),
            Ok(value) => {
                let (keyspace, events) = txn.finish().map_err(CommitError::Unstorable)?;
                (
                    Ok(Committed {
                        value,
                        revision: keyspace.revision,
                    }),
                    Some(keyspace),
                    events,
                )
            }
        };
        let durable = match keyspace {
            Some(keyspace) if !events.is_empty() => self
                .submit(&mut head, keyspace, events)
                .map_err(CommitError::Failed)?,
            _ if self.fed() >= head.keyspace.revision => None,
            // The outcome depends on writes that may still be lost. It is reported after them.
            _ => Some(self.enqueue(&mut head, Vec::new())),
        };
        Ok(Applied { outcome, durable })
    }

    /// Makes `keyspace` the head. Its events become durable in this call when the engine is inline,
    /// and by way of the writer otherwise.
    fn submit(
        &self,
        head: &mut Head,
        keyspace: Keyspace,
        events: Vec<Arc<StoreEvent>>,
    ) -> Result<Option<Durable>, Arc<EngineError>> {
        let Some(engine) = &mut head.inline else {
            head.keyspace = keyspace;
            return Ok(Some(self.enqueue(head, events)));
        };
        let appended =
            engine::append_events(&mut **engine, keyspace.revision, keyspace.len(), &events);
        if let Err(error) = appended {
            let error = Arc::new(error);
            head.fail(&error);
            return Err(error);
        }
        head.keyspace = keyspace.clone();
        self.publish(keyspace, events);
        Ok(None)
    }

    fn enqueue(&self, head: &mut Head, events: Vec<Arc<StoreEvent>>) -> Durable {
        let (done, durable) = oneshot::channel();
        let bytes = events.iter().map(|event| history::cost(event)).sum();
        // The head's lock orders additions before the next check; a subtraction may come at any
        // time.
        self.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        head.pending.push(Pending {
            events,
            bytes,
            done,
        });
        if head.pending.len() >= head.wake_at {
            self.work.notify_one();
        }
        durable
    }

    /// Frees the memory of a batch that the engine has written, so that commits that were refused
    /// as [`CommitError::Busy`] are accepted again.
    pub(crate) fn release(&self, bytes: usize) {
        self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Makes `keyspace`, to which `events` lead, visible to reads and watches.
    pub(crate) fn publish(&self, keyspace: Keyspace, events: Vec<Arc<StoreEvent>>) {
        let revision = keyspace.revision;
        let (concerned, old) = {
            let mut feed = self.feed();
            // Visible before the feed: a watch never delivers an event that a read cannot see.
            let old = std::mem::replace(
                &mut *self.visible.write().unwrap_or_else(PoisonError::into_inner),
                keyspace.clone(),
            );
            let concerned = feed.append(events, &keyspace);
            self.fed.send_replace(revision);
            (concerned, old)
        };
        concerned.iter().for_each(|group| group.notify());
        // Outside the lock, because this may be the last owner of many records.
        drop(old);
    }

    pub(crate) fn fail(&self, error: &Arc<EngineError>) {
        self.head().fail(error);
    }

    /// Fails the store if the engine's files are gone.
    pub(crate) fn check_presence(&self) {
        // After the store was closed, its files may go.
        if !matches!(self.head().status, StoreStatus::Open) {
            return;
        }
        let Some(Err(error)) = self.presence.as_ref().map(|check| check()) else {
            return;
        };
        let mut head = self.head();
        if matches!(head.status, StoreStatus::Open) {
            head.fail(&Arc::new(error));
            // The writer closes the engine.
            self.work.notify_one();
        }
    }

    pub(crate) fn begin_close(&self) {
        let mut head = self.head();
        head.close_requested = true;
        let failed = matches!(head.status, StoreStatus::Failed(_));
        if !failed {
            head.status = StoreStatus::Closed;
        }
        self.work.notify_one();
        // Taken out, so that the engine is closed outside the lock.
        let inline = head.inline.take();
        drop(head);
        if inline.is_some() {
            drop(inline);
            self.end();
        } else if failed {
            // The writer may have ended before this call, when it left the watches open.
            self.end_watches();
        }
    }

    /// Reports that the engine is closed. The watches end when the store is closing. After a
    /// failure they stay open, as reads do, until the store is closed.
    pub(crate) fn end(&self) {
        if self.head().close_requested {
            self.end_watches();
        }
        self.ended.send_replace(true);
    }

    fn end_watches(&self) {
        let groups = self.feed().close();
        groups.iter().for_each(|group| group.notify());
    }
}

impl Head {
    fn check_open<E>(&self, pending_bytes: usize) -> Result<(), CommitError<E>> {
        match &self.status {
            StoreStatus::Open if pending_bytes > PENDING_BYTES => Err(CommitError::Busy),
            StoreStatus::Open => Ok(()),
            StoreStatus::Closed => Err(CommitError::Closed(Closed)),
            StoreStatus::Failed(error) => Err(CommitError::Failed(Arc::clone(error))),
        }
    }

    /// Refuses all later commits, and fails those that are pending.
    fn fail(&mut self, error: &Arc<EngineError>) {
        tracing::error!(
            error = &**error as &dyn std::error::Error,
            "the storage engine failed, the store accepts no more writes"
        );
        self.status = StoreStatus::Failed(Arc::clone(error));
        for pending in self.pending.drain(..) {
            let _ = pending.done.send(Err(Arc::clone(error)));
        }
    }
}

impl fmt::Debug for SharedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedState")
            .field("fed", &self.fed())
            .finish_non_exhaustive()
    }
}
