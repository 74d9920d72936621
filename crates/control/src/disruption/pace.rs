//! When a budget may be written again, and how far its status is behind its pods.
//!
//! Many pods of one budget can change within the time of a single write. After a write the budget rests for a few times
//! as long as the write took, so that what changes meanwhile is counted once; a quiet server is followed at once, a busy
//! one is not kept busy by what it has to be told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::meta::Key;

/// A budget rests so many times as long as its write took …
const REST: u32 = 3;
/// … but not longer than this.
const LONGEST_REST: Duration = Duration::from_millis(25);

#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<HashMap<Key, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// Since when a pod's change waits to be counted.
    behind: Option<Instant>,
    rests_until: Option<Instant>,
}

impl Pace {
    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod of this budget has changed. Returns how long the budget still rests.
    pub(super) fn pod_changed(&self, key: &Key) -> Duration {
        let mut entries = self.entries();
        if !entries.contains_key(key) {
            entries.insert(key.clone(), Entry::default());
        }
        let Some(entry) = entries.get_mut(key) else { return Duration::ZERO };
        let now = Instant::now();
        entry.behind.get_or_insert(now);
        entry.rests_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// How long this budget still rests.
    pub(super) fn rest(&self, key: &Key) -> Duration {
        let until = self.entries().get(key).and_then(|entry| entry.rests_until);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
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

    /// The budget was written.
    pub(super) fn written(&self, key: &Key, took: Duration) {
        let rest = took.saturating_mul(REST).min(LONGEST_REST);
        self.entries().entry(key.clone()).or_default().rests_until = Some(Instant::now() + rest);
    }

    /// The budget is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.entries().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_budget_rests_after_a_write_for_as_long_as_writing_takes() {
        let (pace, key) = (Pace::default(), Key::new("n", "b"));
        assert_eq!(pace.pod_changed(&key), Duration::ZERO);
        pace.written(&key, Duration::from_millis(2));
        assert_eq!(pace.pod_changed(&key), Duration::from_millis(6));
        pace.written(&key, Duration::from_secs(9));
        assert_eq!(pace.rest(&key), LONGEST_REST);
        tokio::time::advance(LONGEST_REST).await;
        assert_eq!(pace.rest(&key), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_change_that_is_not_told_counts() {
        let (pace, key, start) = (Pace::default(), Key::new("n", "b"), Instant::now());
        assert_eq!(pace.count(&key), None);
        pace.pod_changed(&key);
        tokio::time::advance(Duration::from_millis(1)).await;
        pace.pod_changed(&key);
        let behind = pace.count(&key);
        assert_eq!(behind, Some(start));
        pace.pod_changed(&key);
        pace.untold(&key, behind);
        assert_eq!(pace.count(&key), Some(start));
        assert_eq!(pace.count(&key), None);
    }
}
