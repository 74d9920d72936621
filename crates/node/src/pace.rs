//! Pauses between watches that end at once.
//!
//! kube's watcher begins the next watch as soon as one ends, which is right after the minutes that
//! a watch lasts, and a flood when a server or a proxy ends each of them immediately. Its own
//! back-off concerns errors only, and such a watch is no error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::time::Instant;

/// A watch that is followed by another one earlier than this is short. Servers keep them for
/// minutes.
const SHORT_WATCH: Duration = Duration::from_secs(5);
/// The pause after the first short watch, doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The watches of one collection, which follow each other.
#[derive(Debug, Default)]
struct WatchPace {
    started: Option<Instant>,
    /// The number of successive short watches.
    short: u32,
}

impl WatchPace {
    /// Returns how long to wait before the watch that is requested now.
    fn pause(&mut self, now: Instant) -> Duration {
        let last = self.started.take();
        let is_short = last.is_some_and(|started| now.duration_since(started) < SHORT_WATCH);
        self.short = if is_short {
            self.short.saturating_add(1)
        } else {
            0
        };
        match self.short.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(16));
                pause.min(LONGEST_PAUSE)
            }
        }
    }
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"))
}

/// Returns a client for the watch of one collection. It pauses before a watch that follows a short
/// one; all other requests pass.
pub(crate) fn paced(client: Client) -> Client {
    let pace = Arc::new(Mutex::new(WatchPace::default()));
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, pace) = (client.clone(), Arc::clone(&pace));
        async move {
            if !is_watch(&request) {
                return client.send(request).await;
            }
            let lock = || pace.lock().unwrap_or_else(PoisonError::into_inner);
            let pause = lock().pause(Instant::now());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let answer = client.send(request).await;
            // Errors have the back-off of the watcher.
            if answer
                .as_ref()
                .is_ok_and(|answer| answer.status().is_success())
            {
                lock().started = Some(Instant::now());
            }
            answer
        }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use http::Response;
    use k8s_openapi::api::core::v1::Pod;
    use kube::Api;
    use kube::runtime::watcher;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn watches_that_end_at_once_are_followed_by_growing_pauses() {
        let watches = Arc::new(Mutex::new(0));
        let seen = Arc::clone(&watches);
        let service = tower::service_fn(move |request: Request<Body>| {
            let body = if is_watch(&request) {
                let mut seen = seen.lock().expect("no panic");
                *seen += 1;
                // Without pauses no time would pass, and the test would not end.
                assert!(*seen < 1_000, "a flood of watches");
                String::new()
            } else {
                "{\"metadata\": {\"resourceVersion\": \"1\"}, \"items\": []}".to_owned()
            };
            async {
                Ok::<_, std::convert::Infallible>(Response::new(http_body_util::Full::from(body)))
            }
        });
        let client = paced(Client::new(service, "default"));
        let pods = Api::<Pod>::all(client);
        let events = watcher::watcher(pods, watcher::Config::default());
        let reading = events.for_each(|_| async {});
        drop(tokio::time::timeout(Duration::from_secs(60), reading).await);
        // 0.1 s, 0.2 s, … 6.4 s are 12.7 s; then one in ten seconds.
        assert_eq!(*watches.lock().expect("no panic"), 12);
    }

    #[test]
    fn a_long_watch_ends_the_pauses() {
        let mut pace = WatchPace::default();
        let start = Instant::now();
        let mut pauses = Vec::new();
        for (started, next) in [(0, 1), (1, 2), (2, 3), (3, 300), (300, 301)] {
            pace.started = Some(start + Duration::from_secs(started));
            pauses.push(pace.pause(start + Duration::from_secs(next)).as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 0, 100]);
    }
}
