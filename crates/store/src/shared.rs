//! What the store shares with its writer and its watches: the three locks, and the way of a commit
//! from applied to visible.
//!
//! The order of the locks is head, feed, visible; see the crate's header for the protocol.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::engine::{Engine, EngineError};
use crate::feed::Feed;
use crate::history::{Compacted, History};
use crate::index::Index;
use crate::record::{Event, Revision};
use crate::state::State;
use crate::store::{Closed, CommitError, Committed, Options};
use crate::txn::Txn;
use crate::writer::{self, Durable, Pending};

/// The most bytes that may wait for the engine. It is some seconds of a disk's throughput: when a
/// sync hangs, new commits are refused before memory runs out.
const PENDING_BYTES: usize = 64 * 1024 * 1024;

/// What the store shares with its writer and its watches.
pub(crate) struct Shared {
    head: Mutex<Head>,
    work: Condvar,
    feed: Mutex<Feed>,
    visible: RwLock<State>,
    /// The revision up to which the feed is complete.
    pub(crate) fed: tokio::sync::watch::Sender<Revision>,
    pub(crate) ended: tokio::sync::watch::Sender<bool>,
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
pub(crate) struct Applied<T, E> {
    pub(crate) outcome: Result<Committed<T>, E>,
    pub(crate) durable: Option<Durable>,
}

impl Shared {
    pub(crate) fn new(state: State, inline: Option<Box<dyn Engine>>, options: Options) -> Self {
        let revision = state.revision;
        let history = History::starting_at(revision, options.history_events, options.history_bytes);
        let visible = RwLock::new(state.clone());
        let head = Head {
            state,
            pending: Vec::new(),
            pending_bytes: 0,
            wake_at: 1,
            status: Status::Open,
            inline,
        };
        Self {
            head: Mutex::new(head),
            work: Condvar::new(),
            feed: Mutex::new(Feed::new(history)),
            visible,
            fed: tokio::sync::watch::Sender::new(revision),
            ended: tokio::sync::watch::Sender::new(false),
        }
    }

    pub(crate) fn head(&self) -> MutexGuard<'_, Head> {
        // A closure that panics leaves the head as it was: it works on a copy.
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Indexes both states. What is on its way to the engine meanwhile would be seen without.
    pub(crate) fn index(&self, index: Index) {
        let mut head = self.head();
        head.state = head.state.clone().indexed_by(index);
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

    pub(crate) fn visible(&self) -> RwLockReadGuard<'_, State> {
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

    pub(crate) fn apply<T, E>(
        &self,
        decide: &mut dyn FnMut(&mut Txn) -> Result<T, E>,
    ) -> Result<Applied<T, E>, CommitError<E>> {
        let mut head = self.head();
        head.check_open()?;
        let mut txn = Txn::new(head.state.clone());
        let (outcome, state, events) = match decide(&mut txn) {
            Err(refusal) => (Err(refusal), None, Vec::new()),
            Ok(value) => {
                let (state, events) = txn.finish().map_err(CommitError::Unstorable)?;
                (
                    Ok(Committed {
                        value,
                        revision: state.revision,
                    }),
                    Some(state),
                    events,
                )
            }
        };
        let durable = match state {
            Some(state) if !events.is_empty() => self
                .submit(&mut head, state, events)
                .map_err(CommitError::Failed)?,
            _ if self.fed() >= head.state.revision => None,
            _ => Some(self.enqueue(&mut head, Vec::new())),
        };
        Ok(Applied { outcome, durable })
    }

    /// Makes `state` the head and its events durable, now or by way of the writer.
    fn submit(
        &self,
        head: &mut Head,
        state: State,
        events: Vec<Arc<Event>>,
    ) -> Result<Option<Durable>, Arc<EngineError>> {
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
        head.pending_bytes += events
            .iter()
            .map(|event| event.record.value.len())
            .sum::<usize>();
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
            let old = std::mem::replace(
                &mut *self.visible.write().unwrap_or_else(PoisonError::into_inner),
                state.clone(),
            );
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

    pub(crate) fn begin_close(&self) {
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
        tracing::error!(
            error = &**error as &dyn std::error::Error,
            "the storage engine failed; nothing more is accepted"
        );
        self.status = Status::Failed(Arc::clone(error));
        for pending in self.pending.drain(..) {
            let _ = pending.done.send(Err(Arc::clone(error)));
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("fed", &self.fed())
            .finish_non_exhaustive()
    }
}
