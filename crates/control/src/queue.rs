//! The work queue: keys of objects that have to be reconciled.
//!
//! A key is in the queue at most once, and at most one worker has it. A key that is added while a
//! worker has it is reconciled again afterwards. A key whose reconciliation fails comes back after
//! a pause that doubles. Keys can be added for later, and the earliest time wins. An idle queue
//! sleeps; it never polls.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::error::ReconcileError;
use crate::meta::until;

/// The pause after the first failure of a key.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause. Upstream waits up to a quarter of an hour, which is too long after a cluster
/// has been repaired.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When a key that was reconciled has to be reconciled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requeue {
    /// When something changes. Nothing is left to do until then.
    OnChange,
    /// After this time, or earlier if something changes.
    After(Duration),
}

impl Requeue {
    /// Reconciles again at `time`, or at once if that has passed; without one when something
    /// changes.
    pub(crate) fn at(now: Timestamp, time: Option<Timestamp>) -> Self {
        time.map_or(Self::OnChange, |time| Self::After(until(now, time)))
    }

    /// Reconciles again after `pause`, if that is earlier.
    pub(crate) fn or_after(self, pause: Option<Duration>) -> Self {
        match (self, pause) {
            (Self::OnChange, Some(pause)) => Self::After(pause),
            (Self::After(known), Some(pause)) => Self::After(known.min(pause)),
            (known, None) => known,
        }
    }
}

/// A work queue. Clones share it.
pub(crate) struct WorkQueue<K> {
    shared: Arc<QueueInner<K>>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

struct QueueInner<K> {
    state: Mutex<QueueState<K>>,
    wake: Notify,
}

struct QueueState<K> {
    ready: VecDeque<K>,
    /// Keys in `ready`, and keys that were added while a worker has them.
    wanted: HashSet<K>,
    running: HashSet<K>,
    later: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    /// Orders delayed keys that are due at the same moment.
    counter: u64,
}

impl<K: Clone + Eq + Hash + Debug + Display + Send + 'static> WorkQueue<K> {
    pub(crate) fn new() -> Self {
        let state = QueueState {
            ready: VecDeque::new(),
            wanted: HashSet::new(),
            running: HashSet::new(),
            later: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            counter: 0,
        };
        Self {
            shared: Arc::new(QueueInner {
                state: Mutex::new(state),
                wake: Notify::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState<K>> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key.
    pub(crate) fn add(&self, key: K) {
        if self.state().add(key) {
            self.shared.wake.notify_one();
        }
    }

    /// Adds a key for later. If the key waits for an earlier time already, that time stays.
    pub(crate) fn add_after(&self, key: K, pause: Duration) {
        if pause.is_zero() {
            self.add(key);
        } else if self.state().add_at(key, Instant::now() + pause) {
            self.shared.wake.notify_one();
        }
    }

    /// Reconciles keys until shutdown, `workers` at a time.
    pub(crate) async fn work<F, W>(
        &self,
        name: &'static str,
        workers: usize,
        shutdown: CancellationToken,
        reconcile: F,
    ) where
        F: Fn(K) -> W,
        W: Future<Output = Result<Requeue, ReconcileError>>,
    {
        let mut running = FuturesUnordered::new();
        loop {
            let wake_at = {
                let mut state = self.state();
                state.promote(Instant::now());
                while running.len() < workers
                    && let Some(key) = state.take()
                {
                    let work = reconcile(key.clone());
                    running.push(async move {
                        // A panic over one object must not end the controller for all others.
                        let result = AssertUnwindSafe(work).catch_unwind().await;
                        (
                            key,
                            result.unwrap_or_else(|_| {
                                Err(ReconcileError::Plan("reconciliation panicked".to_owned()))
                            }),
                        )
                    });
                }
                state.later.first_key_value().map(|((at, _), _)| *at)
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some((key, result)) = running.next(),
                    if !running.is_empty() => self.finish(name, key, result),
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep_until(wake_at.unwrap_or_else(Instant::now)),
                    if wake_at.is_some() => {}
            }
        }
    }

    fn finish(&self, name: &'static str, key: K, result: Result<Requeue, ReconcileError>) {
        let mut state = self.state();
        state.release(&key);
        match result {
            Ok(Requeue::OnChange) => {
                state.failures.remove(&key);
            }
            Ok(Requeue::After(pause)) => {
                state.failures.remove(&key);
                state.add_at(key, Instant::now() + pause);
            }
            Err(error) if error.is_moot() => {
                state.failures.remove(&key);
                debug!(controller = name, %key, %error,
                    "reconciliation dropped: namespace terminating");
            }
            Err(error) => {
                let pause = state.fail(&key);
                if error.is_conflict() {
                    debug!(controller = name, %key, %error, "reconciliation conflicted");
                } else {
                    warn!(controller = name, %key, %error, ?pause, "reconciliation failed");
                }
                state.add_at(key, Instant::now() + pause);
            }
        }
    }
}

impl<K: Clone + Eq + Hash> QueueState<K> {
    /// Returns true when the queue has to wake up.
    fn add(&mut self, key: K) -> bool {
        if !self.wanted.insert(key.clone()) || self.running.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn add_at(&mut self, key: K, at: Instant) -> bool {
        if let Some(known) = self.due.get(&key) {
            if known.0 <= at {
                return false;
            }
            self.later.remove(known);
        }
        self.counter += 1;
        let slot = (at, self.counter);
        self.due.insert(key.clone(), slot);
        self.later.insert(slot, key);
        true
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.wanted.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    fn release(&mut self, key: &K) {
        self.running.remove(key);
        if self.wanted.contains(key) {
            self.ready.push_back(key.clone());
        }
    }

    fn fail(&mut self, key: &K) -> Duration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        let pause = FIRST_PAUSE
            .saturating_mul(1 << (*failures).min(16))
            .min(LONGEST_PAUSE);
        *failures += 1;
        pause
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    type Log = Arc<Mutex<Vec<(String, Duration)>>>;

    fn spawn_counting(queue: &WorkQueue<String>, fail: bool) -> (Log, CancellationToken) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let (queue, log, token, start) = (
            queue.clone(),
            Arc::clone(&seen),
            stop.clone(),
            Instant::now(),
        );
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(async move {
            queue
                .work("test", 2, token, |key| {
                    log.lock().expect("lock").push((key, start.elapsed()));
                    async move {
                        if fail {
                            Err(ReconcileError::Plan("no".to_owned()))
                        } else {
                            Ok(Requeue::OnChange)
                        }
                    }
                })
                .await;
        });
        (seen, stop)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_twice_is_reconciled_once() {
        let queue = WorkQueue::new();
        queue.add("a".to_owned());
        queue.add("a".to_owned());
        let (seen, _stop) = spawn_counting(&queue, false);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(seen.lock().expect("lock").len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_key_comes_at_the_earliest_of_its_times() {
        let queue = WorkQueue::new();
        let (seen, _stop) = spawn_counting(&queue, false);
        queue.add_after("a".to_owned(), Duration::from_secs(60));
        queue.add_after("a".to_owned(), Duration::from_secs(30));
        queue.add_after("a".to_owned(), Duration::from_secs(90));
        tokio::time::sleep(Duration::from_secs(200)).await;
        let seen = seen.lock().expect("lock").clone();
        assert_eq!(seen, [("a".to_owned(), Duration::from_secs(30))]);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_after_failures_double() {
        let queue = WorkQueue::new();
        let (seen, _stop) = spawn_counting(&queue, true);
        queue.add("a".to_owned());
        tokio::time::sleep(Duration::from_millis(36)).await;
        let times: Vec<u128> = seen
            .lock()
            .expect("lock")
            .iter()
            .map(|(_, at)| at.as_millis())
            .collect();
        assert_eq!(times, [0, 5, 15, 35]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_whose_reconciliation_panics_is_retried_and_does_not_stop_others() {
        let queue = WorkQueue::new();
        queue.add("bad".to_owned());
        queue.add("good".to_owned());
        let seen = Mutex::new(Vec::new());
        let work = queue.work("test", 1, CancellationToken::new(), |key| {
            seen.lock().expect("lock").push(key.clone());
            async move {
                assert_ne!(key, "bad", "as the test wants it");
                Ok(Requeue::OnChange)
            }
        });
        let _ = tokio::time::timeout(Duration::from_millis(7), work).await;
        assert_eq!(*seen.lock().expect("lock"), ["bad", "good", "bad"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_has_one_worker_at_a_time_and_is_reconciled_again_when_added_meanwhile() {
        let queue: WorkQueue<String> = WorkQueue::new();
        let (now, most, runs) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (q, n, m, r) = (
            queue.clone(),
            Arc::clone(&now),
            Arc::clone(&most),
            Arc::clone(&runs),
        );
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(async move {
            q.work("test", 4, CancellationToken::new(), |_| {
                let (n, m, r) = (Arc::clone(&n), Arc::clone(&m), Arc::clone(&r));
                async move {
                    m.fetch_max(n.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    n.fetch_sub(1, Ordering::SeqCst);
                    r.fetch_add(1, Ordering::SeqCst);
                    Ok(Requeue::OnChange)
                }
            })
            .await;
        });
        queue.add("a".to_owned());
        tokio::time::sleep(Duration::from_millis(500)).await;
        queue.add("a".to_owned());
        queue.add("a".to_owned());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(
            (most.load(Ordering::SeqCst), runs.load(Ordering::SeqCst)),
            (1, 2)
        );
    }
}
