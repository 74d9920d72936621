//! The work queue: keys that need a look.
//!
//! A key is in the queue at most once, and at most one worker has it. A key that is added while it
//! is worked on is worked on again afterwards. Failed keys come back after a pause that doubles;
//! keys can be added for later, and the earliest wish counts. An idle queue sleeps; it never polls.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::error::Error;

/// The pause after the first failure of a key.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause. Upstream lets it grow to a quarter of an hour, which nobody who has mended a
/// cluster wants to wait for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a reconciliation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing is left to do until something changes.
    Done,
    /// Nothing is left to do now, but time alone will change that.
    After(Duration),
}

/// A queue of keys; clones share it.
pub(crate) struct Queue<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

struct Shared<K> {
    state: Mutex<State<K>>,
    wake: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Keys that wait in `ready`, or that were added while they are worked on.
    wanted: HashSet<K>,
    running: HashSet<K>,
    later: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    /// Orders delayed keys that are due at the same moment.
    counter: u64,
}

impl<K: Clone + Eq + Hash + Debug + Display + Send + 'static> Queue<K> {
    pub(crate) fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            wanted: HashSet::new(),
            running: HashSet::new(),
            later: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            counter: 0,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                wake: Notify::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key for now.
    pub(crate) fn add(&self, key: K) {
        if self.state().add(key) {
            self.shared.wake.notify_one();
        }
    }

    /// Adds a key for later; an earlier wish for the same key stays.
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
        W: Future<Output = Result<Outcome, Error>>,
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
                        // One object that nobody thought of must not end the controller for all
                        // others.
                        let result = AssertUnwindSafe(work).catch_unwind().await;
                        (
                            key,
                            result.unwrap_or_else(|_| {
                                Err(Error::Plan("the reconciliation panicked".to_owned()))
                            }),
                        )
                    });
                }
                state.later.first_key_value().map(|((at, _), _)| *at)
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some((key, result)) = running.next(), if !running.is_empty() => self.finish(name, key, result),
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            }
        }
    }

    fn finish(&self, name: &'static str, key: K, result: Result<Outcome, Error>) {
        let mut state = self.state();
        state.release(&key);
        match result {
            Ok(Outcome::Done) => {
                state.failures.remove(&key);
            }
            Ok(Outcome::After(pause)) => {
                state.failures.remove(&key);
                state.add_at(key, Instant::now() + pause);
            }
            Err(error) if error.is_moot() => {
                state.failures.remove(&key);
                debug!(controller = name, %key, %error, "its namespace goes; nothing to do");
            }
            Err(error) => {
                let pause = state.fail(&key);
                if error.is_conflict() {
                    debug!(controller = name, %key, %error, "somebody was faster; trying again");
                } else {
                    warn!(controller = name, %key, %error, ?pause, "not reconciled; trying again");
                }
                state.add_at(key, Instant::now() + pause);
            }
        }
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// True when the queue has to wake up for it.
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

    fn spawn_counting(queue: &Queue<String>, fail: bool) -> (Log, CancellationToken) {
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
                            Err(Error::Plan("no".to_owned()))
                        } else {
                            Ok(Outcome::Done)
                        }
                    }
                })
                .await;
        });
        (seen, stop)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_twice_is_worked_once() {
        let queue = Queue::new();
        queue.add("a".to_owned());
        queue.add("a".to_owned());
        let (seen, _stop) = spawn_counting(&queue, false);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(seen.lock().expect("lock").len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_key_comes_at_its_time_and_the_earliest_wish_counts() {
        let queue = Queue::new();
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
        let queue = Queue::new();
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
    async fn a_key_whose_work_panics_is_tried_again_and_stops_nobody_else() {
        let queue = Queue::new();
        queue.add("bad".to_owned());
        queue.add("good".to_owned());
        let seen = Mutex::new(Vec::new());
        let work = queue.work("test", 1, CancellationToken::new(), |key| {
            seen.lock().expect("lock").push(key.clone());
            async move {
                assert_ne!(key, "bad", "as the test wants it");
                Ok(Outcome::Done)
            }
        });
        let _ = tokio::time::timeout(Duration::from_millis(7), work).await;
        assert_eq!(*seen.lock().expect("lock"), ["bad", "good", "bad"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_never_worked_by_two_and_comes_again_when_it_was_added_meanwhile() {
        let queue: Queue<String> = Queue::new();
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
                    Ok(Outcome::Done)
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
