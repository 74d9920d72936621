//! What a controller has asked for and not yet seen in its caches.
//!
//! A cache lags behind the server. A controller that has created pods and reconciles again before
//! the cache shows them would create them twice. So it does not act until it has seen everything
//! that it asked for, or until five minutes have passed. client-go's controllers call these
//! expectations.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::meta::ObjectKey;

/// After this time the controller acts even though it has not seen everything.
const LOST: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(crate) struct Expectations {
    entries: Mutex<HashMap<ObjectKey, Outstanding>>,
}

struct Outstanding {
    creations: usize,
    /// Uids of objects that the controller has deleted.
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<ObjectKey, Outstanding>) -> T) -> T {
        change(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True when the caches show everything that was asked for.
    pub(crate) fn met(&self, key: &ObjectKey) -> bool {
        self.with(|entries| match entries.get(key) {
            Some(entry) if entry.since.elapsed() > LOST => entries.remove(key).is_some(),
            Some(_) => false,
            None => true,
        })
    }

    /// Must be called before objects are created.
    pub(crate) fn expect_creations(&self, key: &ObjectKey, count: usize) {
        self.with(|entries| {
            let entry = entries.entry(key.clone()).or_insert_with(Outstanding::new);
            entry.creations += count;
            entry.since = Instant::now();
            Self::tidy(entries, key);
        });
    }

    /// Must be called before an object is deleted.
    pub(crate) fn expect_deletion(&self, key: &ObjectKey, uid: &str) {
        self.with(|entries| {
            let entry = entries.entry(key.clone()).or_insert_with(Outstanding::new);
            entry.deletions.insert(uid.to_owned());
            entry.since = Instant::now();
        });
    }

    /// Objects that were created have been seen, or could not be created.
    pub(crate) fn creations_seen(&self, key: &ObjectKey, count: usize) {
        self.with(|entries| {
            if let Some(entry) = entries.get_mut(key) {
                entry.creations = entry.creations.saturating_sub(count);
            }
            Self::tidy(entries, key);
        });
    }

    /// The deletion of an object has been seen, or could not be requested.
    pub(crate) fn deletion_seen(&self, key: &ObjectKey, uid: &str) {
        self.with(|entries| {
            if let Some(entry) = entries.get_mut(key) {
                entry.deletions.remove(uid);
            }
            Self::tidy(entries, key);
        });
    }

    /// Forgets an owner that no longer exists.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.with(|entries| entries.remove(key));
    }

    fn tidy(entries: &mut HashMap<ObjectKey, Outstanding>, key: &ObjectKey) {
        if entries
            .get(key)
            .is_some_and(|entry| entry.creations == 0 && entry.deletions.is_empty())
        {
            entries.remove(key);
        }
    }
}

impl Outstanding {
    fn new() -> Self {
        Self {
            creations: 0,
            deletions: HashSet::new(),
            since: Instant::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn expectations_hold_until_everything_was_seen_or_timed_out() {
        let (expectations, key) = (Expectations::default(), ObjectKey::new("n", "rs"));
        assert!(expectations.met(&key));
        expectations.expect_creations(&key, 2);
        expectations.expect_deletion(&key, "u");
        expectations.creations_seen(&key, 2);
        assert!(!expectations.met(&key));
        expectations.deletion_seen(&key, "other");
        assert!(!expectations.met(&key));
        expectations.deletion_seen(&key, "u");
        assert!(expectations.met(&key));
        expectations.expect_creations(&key, 1);
        tokio::time::advance(Duration::from_secs(301)).await;
        assert!(expectations.met(&key));
    }
}
