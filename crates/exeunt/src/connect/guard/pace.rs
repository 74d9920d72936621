//! Pauses between watches that end at once.
//!
//! The client library begins the next watch as soon as one ends, which is right after the five
//! minutes that a watch lasts, and a flood when the server ends each of them immediately.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A watch that the server ends earlier than this is short. Servers keep them for minutes.
const SHORT_WATCH: Duration = Duration::from_secs(5);
/// The pause after the first short watch, doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The number of successive short watches of each collection. Clones are one record.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchPaces {
    short: Arc<Mutex<HashMap<String, u32>>>,
}

/// Returns the collection that a request watches: its path and selectors.
pub(super) fn watched(uri: &http::Uri) -> Option<String> {
    let query = uri.query()?;
    let is_watch = query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"));
    if !is_watch {
        return None;
    }
    let selectors = query.split('&').filter(|pair| pair.contains("Selector="));
    Some(selectors.fold(uri.path().to_owned(), |key, pair| format!("{key}&{pair}")))
}

impl WatchPaces {
    /// Waits before the next watch of the collection.
    pub(super) async fn pause(&self, collection: &str) {
        let short = self.short().get(collection).copied().unwrap_or_default();
        if let Some(doublings) = short.checked_sub(1) {
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(16));
            tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
        }
    }

    /// Records that the server ended a watch after this time.
    pub(super) fn ended(&self, collection: &str, after: Duration) {
        let mut short = self.short();
        if after < SHORT_WATCH {
            let count = short.entry(collection.to_owned()).or_default();
            *count = count.saturating_add(1);
        } else {
            short.remove(collection);
        }
    }

    fn short(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.short.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    async fn paused(paces: &WatchPaces, collection: &str) -> u128 {
        let start = Instant::now();
        paces.pause(collection).await;
        start.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_with_short_watches_of_one_collection_and_end_with_a_long_one() {
        let paces = WatchPaces::default();
        assert_eq!(paused(&paces, "pods").await, 0);
        for expected in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            paces.ended("pods", Duration::from_millis(3));
            assert_eq!(paused(&paces, "pods").await, expected);
            assert_eq!(paused(&paces, "nodes").await, 0);
        }
        paces.ended("pods", Duration::from_secs(290));
        assert_eq!(paused(&paces, "pods").await, 0);
    }

    #[test]
    fn a_collection_is_its_path_and_its_selectors() {
        let of = |uri: &str| watched(&uri.parse().expect("a URI"));
        assert_eq!(of("/api/v1/pods?limit=500"), None);
        assert_eq!(
            of("/api/v1/pods?&watch=true&fieldSelector=a%3Db&resourceVersion=7").as_deref(),
            Some("/api/v1/pods&fieldSelector=a%3Db")
        );
    }
}
