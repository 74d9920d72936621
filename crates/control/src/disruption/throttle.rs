//! Limits how often a budget is written, and measures how far its status lags behind its pods.
//!
//! Many pods of one budget can change during a single write. After a write the budget rests for
//! about as long as the write took, so that changes in between are counted together. This follows a
//! quiet server at once and does not overload a busy one. Pods that were charged can wait longer,
//! because the allowance has been lowered for them already.
//!
//! A budget also rests until the cache shows what was written. Counting on from an older status
//! could change counts beside an allowance that belongs to another count (`write.rs`), or would
//! only end in a conflict.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::meta::ObjectKey;

/// A budget rests for as long as its write took, but at most this long.
const LONGEST_REST: Duration = Duration::from_millis(4);
/// When only charged pods have changed, a budget rests this many times as long …
const SETTLING_REST: u32 = 3;
/// … but at most this long.
const LONGEST_SETTLING_REST: Duration = Duration::from_millis(25);
/// How long a budget rests for the cache to show its write. The cache wakes the budget then. A
/// version that a watch never delivers must not stop a budget for good.
const CACHE_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct WriteThrottle(Mutex<HashMap<ObjectKey, BudgetTimes>>);

#[derive(Debug, Default)]
struct BudgetTimes {
    /// Since when a change of a pod that was not charged waits to be counted.
    behind: Option<Instant>,
    rests_until: Option<Instant>,
    /// Until when the budget rests if only charged pods have changed.
    settles_at: Option<Instant>,
    /// The version of the budget after the newest write, and when it was written.
    written: Option<(u64, Instant)>,
}

impl WriteThrottle {
    fn entries(&self) -> MutexGuard<'_, HashMap<ObjectKey, BudgetTimes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a pod of this budget has changed. `charged`: the pod was evicted and the budget
    /// charged. Returns how long the budget still rests.
    pub(super) fn pod_changed(&self, key: &ObjectKey, charged: bool) -> Duration {
        let mut entries = self.entries();
        if !entries.contains_key(key) {
            entries.insert(key.clone(), BudgetTimes::default());
        }
        let Some(entry) = entries.get_mut(key) else {
            return Duration::ZERO;
        };
        let now = Instant::now();
        if !charged {
            entry.behind.get_or_insert(now);
        }
        entry
            .rest(false)
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Returns how long this budget, which the cache has at `version`, still rests. `unobserved`:
    /// the newest spec has not been counted.
    pub(super) fn rest(&self, key: &ObjectKey, version: u64, unobserved: bool) -> Duration {
        let entries = self.entries();
        let Some(entry) = entries.get(key) else {
            return Duration::ZERO;
        };
        let shown = entry
            .written
            .filter(|(written, _)| *written > version)
            .map(|(_, at)| at + CACHE_PATIENCE);
        let until = entry.rest(unobserved).into_iter().chain(shown).max();
        until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Records that the pods are being counted. Returns since when a change waited.
    pub(super) fn count(&self, key: &ObjectKey) -> Option<Instant> {
        self.entries().get_mut(key)?.behind.take()
    }

    /// Records that the result of a count could not be written.
    pub(super) fn not_written(&self, key: &ObjectKey, behind: Option<Instant>) {
        if let Some(entry) = self.entries().get_mut(key) {
            entry.behind = entry.behind.into_iter().chain(behind).min();
        }
    }

    /// Records a write, and the version of the budget after it.
    pub(super) fn written(&self, key: &ObjectKey, took: Duration, version: Option<u64>) {
        let now = Instant::now();
        let mut entries = self.entries();
        let entry = entries.entry(key.clone()).or_default();
        entry.rests_until = Some(now + took.min(LONGEST_REST));
        entry.settles_at = Some(
            now + took
                .saturating_mul(SETTLING_REST)
                .min(LONGEST_SETTLING_REST),
        );
        entry.written = version.map(|version| (version, now)).or(entry.written);
    }

    /// Forgets a budget that no longer exists.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.entries().remove(key);
    }
}

impl BudgetTimes {
    /// Returns until when the budget rests.
    fn rest(&self, unobserved: bool) -> Option<Instant> {
        if unobserved || self.behind.is_some() {
            self.rests_until
        } else {
            self.settles_at
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_budget_rests_after_a_write_for_as_long_as_writing_takes() {
        let (throttle, key) = (WriteThrottle::default(), ObjectKey::new("n", "b"));
        assert_eq!(throttle.pod_changed(&key, false), Duration::ZERO);
        throttle.written(&key, Duration::from_millis(2), None);
        assert_eq!(throttle.pod_changed(&key, false), Duration::from_millis(2));
        throttle.written(&key, Duration::from_secs(9), None);
        assert_eq!(throttle.rest(&key, 1, false), LONGEST_REST);
        tokio::time::advance(LONGEST_REST).await;
        assert_eq!(throttle.rest(&key, 1, false), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn charged_pods_are_counted_later_than_others() {
        let (throttle, key) = (WriteThrottle::default(), ObjectKey::new("n", "b"));
        throttle.written(&key, Duration::from_millis(2), None);
        assert_eq!(throttle.pod_changed(&key, true), Duration::from_millis(6));
        assert_eq!(throttle.count(&key), None, "nobody waits for it");
        throttle.written(&key, Duration::from_secs(9), None);
        assert_eq!(throttle.pod_changed(&key, true), LONGEST_SETTLING_REST);
        assert_eq!(throttle.rest(&key, 1, true), LONGEST_REST);
        assert_eq!(throttle.pod_changed(&key, false), LONGEST_REST);
        assert_eq!(
            throttle.rest(&key, 1, false),
            LONGEST_REST,
            "and what was charged with it"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_rests_until_the_cache_shows_what_was_written() {
        let (throttle, key) = (WriteThrottle::default(), ObjectKey::new("n", "b"));
        throttle.written(&key, Duration::ZERO, Some(7));
        assert_eq!(throttle.rest(&key, 6, true), CACHE_PATIENCE);
        assert_eq!(throttle.rest(&key, 7, false), Duration::ZERO);
        // A failed write does not change what is known.
        throttle.written(&key, Duration::ZERO, None);
        assert_eq!(throttle.rest(&key, 6, true), CACHE_PATIENCE);
        tokio::time::advance(CACHE_PATIENCE).await;
        assert_eq!(throttle.rest(&key, 6, false), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_change_that_was_not_written_counts() {
        let (throttle, key, start) = (
            WriteThrottle::default(),
            ObjectKey::new("n", "b"),
            Instant::now(),
        );
        assert_eq!(throttle.count(&key), None);
        throttle.pod_changed(&key, false);
        tokio::time::advance(Duration::from_millis(1)).await;
        throttle.pod_changed(&key, false);
        let behind = throttle.count(&key);
        assert_eq!(behind, Some(start));
        throttle.pod_changed(&key, false);
        throttle.not_written(&key, behind);
        assert_eq!(throttle.count(&key), Some(start));
        assert_eq!(throttle.count(&key), None);
    }
}
