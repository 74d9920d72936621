//! Removal of old events and compaction of the history, so that neither memory nor disk grows under
//! steady use.
//!
//! As upstream, an event expires one hour after its last write, and every five minutes the history
//! that is older than five minutes is compacted. Both run beside the requests and delay none.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use kinds::Tree;
use store::{Record, Revision};

use crate::request::Refusal;
use crate::{Registry, object, record, tree};

/// How often old state is removed, and how much history always stays. Upstream:
/// `--etcd-compaction-interval`.
const PAUSE: Duration = Duration::from_secs(300);
/// How long an event stays after its last occurrence. Upstream: `--event-ttl`.
const EVENT_LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// How many events one commit removes at most, so that it delays other commits only briefly.
const REMOVALS: usize = 200;
/// The collection of events, which holds those of `events.k8s.io`, too.
const EVENTS: &str = "events/";

impl Registry {
    /// Removes old events, compacts the history and drops what is kept for removed definitions
    /// every five minutes, until the store is closed.
    pub fn forget(&self) -> BoxFuture<'_, ()> {
        // Boxed for the reason given in `Registry::call`.
        Box::pin(async {
            // This revision is never reached, so that the wait ends when the store is closed.
            let closed = self.store().reached(Revision(u64::MAX));
            tokio::select! {
                _ = closed => {}
                () = self.forget_steadily() => {}
            }
        })
    }

    async fn forget_steadily(&self) {
        let mut before = self.store().revision();
        loop {
            tokio::time::sleep(PAUSE).await;
            self.store().compact(before);
            before = self.store().revision();
            self.forget_definitions();
            if let Err(refusal) = self.forget_events().await {
                tracing::warn!(%refusal, "old events were not removed; trying again later");
            }
        }
    }

    async fn forget_events(&self) -> Result<(), Refusal> {
        let now = self.clock().now();
        let snapshot = self.store().snapshot();
        let old: Vec<Arc<Record>> = snapshot
            .range(EVENTS, None)
            .filter(|event| is_old(&record::parse(&event.value), now))
            .collect();
        drop(snapshot);
        for some in old.chunks(REMOVALS) {
            self.commit(|txn| {
                for event in some {
                    // It may have occurred again since the snapshot.
                    if txn
                        .get(&event.key)
                        .is_some_and(|found| found.modified == event.modified)
                    {
                        record::remove(txn, &event.key, &event.value);
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// Returns true when the last occurrence of an event is longer ago than events are kept.
fn is_old(event: &Tree, now: Timestamp) -> bool {
    let occurrences = [
        &["lastTimestamp"][..],
        &["series", "lastObservedTime"],
        &["eventTime"],
    ]
    .map(|path| tree::text(event, path));
    let times = occurrences
        .into_iter()
        .chain([object::meta_text(event, "creationTimestamp")]);
    let newest = times
        .filter_map(|time| time.parse::<Timestamp>().ok())
        .max();
    newest.is_some_and(|newest| now.duration_since(newest) > EVENT_LIFETIME)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_expires_by_the_newest_of_its_times() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        let (old, young) = ("2026-01-01T10:59:59Z", "2026-01-01T11:00:00Z");
        for (event, expected) in [
            (json!({"metadata": {"creationTimestamp": old}}), true),
            (json!({"metadata": {"creationTimestamp": young}}), false),
            (
                json!({"metadata": {"creationTimestamp": old}, "lastTimestamp": young}),
                false,
            ),
            (
                json!({"metadata": {"creationTimestamp": old}, "lastTimestamp": old,
                    "eventTime": null}),
                true,
            ),
            (
                json!({"metadata": {"creationTimestamp": old},
                    "series": {"lastObservedTime": "2026-01-01T11:30:00.000000Z"}}),
                false,
            ),
            (json!({"metadata": {}}), false),
        ] {
            assert_eq!(is_old(&Tree::from(event.clone()), now), expected, "{event}");
        }
    }
}
