//! The `sync` module of the schedule tests: primitives under the scheduler's control, and a clock
//! whose readings the scheduler chooses.

use std::ops::Add;
pub(crate) use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
pub(crate) use std::sync::atomic::Ordering;
use std::sync::{Arc, LockResult};
use std::time::Duration;

use shuttle::rand::Rng as _;
pub(crate) use shuttle::sync::atomic::AtomicUsize;
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
pub(crate) use shuttle::thread;

/// A condition variable whose timeouts expire at a moment that the scheduler chooses; those of
/// shuttle never expire.
#[derive(Debug, Default)]
pub(crate) struct Condvar(Arc<shuttle::sync::Condvar>);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        let woken = Arc::new(AtomicBool::new(false));
        // The timer repeats, because a notification before the wait begins is lost.
        let timer = {
            let (condvar, woken) = (Arc::clone(&self.0), Arc::clone(&woken));
            thread::spawn(move || {
                while !woken.load(Ordering::SeqCst) {
                    condvar.notify_all();
                    thread::yield_now();
                }
            })
        };
        let guard = self.0.wait(guard);
        woken.store(true, Ordering::SeqCst);
        drop(timer);
        Ok((guard.unwrap_or_else(PoisonError::into_inner), ()))
    }
}

/// A moment that the scheduler chooses: any amount of time may pass between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        let milliseconds = shuttle::rand::thread_rng().gen_range(0..4);
        Self(Duration::from_millis(milliseconds))
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}
