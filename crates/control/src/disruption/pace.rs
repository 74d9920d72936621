//! When a budget may be written again, and how far its status is behind its pods.
//!
//! Many pods of one budget can change within the time of a single write. After a write the budget
//! rests for about as long as the write took, so that what changes meanwhile is counted once; a
//! quiet server is followed at once, a busy one is not kept busy by what it has to be told. What
//! became of pods that have been charged can wait longer: the allowance has been lowered for them
//! already.
//!
//! It also rests until the cache shows what was written. Who counts on from an older status may
//! change figures beside an allowance that belongs to others (`write.rs`), or would only meet a
//! conflict.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::meta::Key;

/// A budget rests as long as its write took, but not longer than this.
const LONGEST_REST: Duration = Duration::from_millis(4);
/// When all that is to be counted was charged, it rests so many times as long …
const SETTLING_REST: u32 = 3;
/// … but not longer than this.
const LONGEST_SETTLING_REST: Duration = Duration::from_millis(25);
/// How long the cache is waited for, which wakes the budget when it knows. A version that a watch
/// never tells must not stop a budget for good.
const CACHE_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<HashMap<Key, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// Since when a pod's change waits to be counted for which nothing was charged.
    behind: Option<Instant>,
    rests_until: Option<Instant>,
    /// The same for what was charged.
    settles_at: Option<Instant>,
    /// The version that the budget got by the newest write, and when.
    written: Option<(u64, Instant)>,
}

impl Pace {
    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod of this budget has changed; `charged`: it was evicted, and the budget has paid.
    /// Returns how long the budget still rests.
    pub(super) fn pod_changed(&self, key: &Key, charged: bool) -> Duration {
        let mut entries = self.entries();
        if !entries.contains_key(key) {
            entries.insert(key.clone(), Entry::default());
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

    /// How long this budget still rests, which the cache knows at this version; `unobserved`: its
    /// spec was not looked at.
    pub(super) fn rest(&self, key: &Key, version: u64, unobserved: bool) -> Duration {
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

    /// The pods are counted now. Returns since when one of them was not.
    pub(super) fn count(&self, key: &Key) -> Option<Instant> {
        self.entries().get_mut(key)?.behind.take()
    }

    /// What was counted could not be told.
    pub(super) fn untold(&self, key: &Key, behind: Option<Instant>) {
        if let Some(entry) = self.entries().get_mut(key) {
            entry.behind = entry.behind.into_iter().chain(behind).min();
        }
    }

    /// The budget was written, if there is a version of it then.
    pub(super) fn written(&self, key: &Key, took: Duration, version: Option<u64>) {
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

    /// The budget is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.entries().remove(key);
    }
}

impl Entry {
    /// Until when the budget rests.
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
        let (pace, key) = (Pace::default(), Key::new("n", "b"));
        assert_eq!(pace.pod_changed(&key, false), Duration::ZERO);
        pace.written(&key, Duration::from_millis(2), None);
        assert_eq!(pace.pod_changed(&key, false), Duration::from_millis(2));
        pace.written(&key, Duration::from_secs(9), None);
        assert_eq!(pace.rest(&key, 1, false), LONGEST_REST);
        tokio::time::advance(LONGEST_REST).await;
        assert_eq!(pace.rest(&key, 1, false), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_charged_is_counted_later_than_what_was_not() {
        let (pace, key) = (Pace::default(), Key::new("n", "b"));
        pace.written(&key, Duration::from_millis(2), None);
        assert_eq!(pace.pod_changed(&key, true), Duration::from_millis(6));
        assert_eq!(pace.count(&key), None, "nobody waits for it");
        pace.written(&key, Duration::from_secs(9), None);
        assert_eq!(pace.pod_changed(&key, true), LONGEST_SETTLING_REST);
        assert_eq!(pace.rest(&key, 1, true), LONGEST_REST);
        assert_eq!(pace.pod_changed(&key, false), LONGEST_REST);
        assert_eq!(
            pace.rest(&key, 1, false),
            LONGEST_REST,
            "and what was charged with it"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_rests_until_the_cache_shows_what_was_written() {
        let (pace, key) = (Pace::default(), Key::new("n", "b"));
        pace.written(&key, Duration::ZERO, Some(7));
        assert_eq!(pace.rest(&key, 6, true), CACHE_PATIENCE);
        assert_eq!(pace.rest(&key, 7, false), Duration::ZERO);
        // What is known is not forgotten over a write that failed.
        pace.written(&key, Duration::ZERO, None);
        assert_eq!(pace.rest(&key, 6, true), CACHE_PATIENCE);
        tokio::time::advance(CACHE_PATIENCE).await;
        assert_eq!(pace.rest(&key, 6, false), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_change_that_is_not_told_counts() {
        let (pace, key, start) = (Pace::default(), Key::new("n", "b"), Instant::now());
        assert_eq!(pace.count(&key), None);
        pace.pod_changed(&key, false);
        tokio::time::advance(Duration::from_millis(1)).await;
        pace.pod_changed(&key, false);
        let behind = pace.count(&key);
        assert_eq!(behind, Some(start));
        pace.pod_changed(&key, false);
        pace.untold(&key, behind);
        assert_eq!(pace.count(&key), Some(start));
        assert_eq!(pace.count(&key), None);
    }
}
