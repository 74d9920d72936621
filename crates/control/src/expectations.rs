//! What a controller has asked for and not yet seen in its caches.
//!
//! A cache is behind the server. A controller that has just created pods and looks again before
//! they show would create them twice, so it does not act until everything it asked for was seen, or
//! until five minutes have passed.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::meta::Key;

/// After this long, what was expected is taken for lost.
const LOST: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(crate) struct Expectations {
    entries: Mutex<HashMap<Key, Entry>>,
}

struct Entry {
    creations: usize,
    /// Uids of objects whose deletion was asked for.
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<Key, Entry>) -> T) -> T {
        change(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True when the caches show everything that was asked for.
    pub(crate) fn met(&self, key: &Key) -> bool {
        self.with(|entries| match entries.get(key) {
            Some(entry) if entry.since.elapsed() > LOST => entries.remove(key).is_some(),
            Some(_) => false,
            None => true,
        })
    }

    /// Call before creating.
    pub(crate) fn expect_creations(&self, key: &Key, count: usize) {
        self.with(|entries| {
            let entry = entries.entry(key.clone()).or_insert_with(Entry::new);
            entry.creations += count;
            entry.since = Instant::now();
            Self::tidy(entries, key);
        });
    }

    /// Call before deleting.
    pub(crate) fn expect_deletion(&self, key: &Key, uid: &str) {
        self.with(|entries| {
            let entry = entries.entry(key.clone()).or_insert_with(Entry::new);
            entry.deletions.insert(uid.to_owned());
            entry.since = Instant::now();
        });
    }

    /// A created object was seen, or `count` of them will never come.
    pub(crate) fn creations_seen(&self, key: &Key, count: usize) {
        self.with(|entries| {
            if let Some(entry) = entries.get_mut(key) {
                entry.creations = entry.creations.saturating_sub(count);
            }
            Self::tidy(entries, key);
        });
    }

    /// A deletion was seen, or could not be asked for.
    pub(crate) fn deletion_seen(&self, key: &Key, uid: &str) {
        self.with(|entries| {
            if let Some(entry) = entries.get_mut(key) {
                entry.deletions.remove(uid);
            }
            Self::tidy(entries, key);
        });
    }

    /// The owner is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.with(|entries| entries.remove(key));
    }

    fn tidy(entries: &mut HashMap<Key, Entry>, key: &Key) {
        if entries
            .get(key)
            .is_some_and(|entry| entry.creations == 0 && entry.deletions.is_empty())
        {
            entries.remove(key);
        }
    }
}

impl Entry {
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
    async fn nothing_is_done_until_everything_was_seen_or_lost() {
        let (expectations, key) = (Expectations::default(), Key::new("n", "rs"));
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
