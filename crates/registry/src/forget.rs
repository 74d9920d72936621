//! Forgetting what is old, so that neither memory nor disk grows under steady use.
//!
//! Two things would otherwise stay for ever: events (upstream keeps each for an hour after its last
//! write, and so do we), and, until the bounds of its history are reached, every version of
//! every object that a watch might ask for (upstream compacts every five minutes what is older than
//! five minutes, and so do we). Both are looked at on a clock of their own and never in the way of
//! a request.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kinds::Tree;
use store::{Record, Revision};

use crate::request::Refusal;
use crate::{Registry, object, record, tree};

/// How often, and how much history stays at least: what `--etcd-compaction-interval` is upstream.
const PAUSE: Duration = Duration::from_secs(300);
/// How long an event stays after it was last told: what `--event-ttl` is upstream.
const EVENT_LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// How many events one commit removes, so that nobody waits long behind it.
const REMOVALS: usize = 200;
/// The collection of events; those of `events.k8s.io` are kept in the same.
const EVENTS: &str = "events/";

impl Registry {
    /// Forgets what is old, every five minutes, until the store is closed.
    pub async fn forget(&self) {
        // Nobody commits to a closed store, so waiting for a revision that never comes is waiting
        // for its end.
        let closed = self.store().reached(Revision(u64::MAX));
        tokio::select! {
            _ = closed => {}
            () = self.forget_steadily() => {}
        }
    }

    async fn forget_steadily(&self) {
        let mut before = self.store().revision();
        loop {
            tokio::time::sleep(PAUSE).await;
            self.store().compact(before);
            before = self.store().revision();
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
            .filter(|event| is_old(&record::tree(&event.value), now))
            .collect();
        drop(snapshot);
        for some in old.chunks(REMOVALS) {
            self.commit(|txn| {
                for event in some {
                    // Who told it again meanwhile has made it new.
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

/// Whether nobody has told this event for longer than events are kept.
fn is_old(event: &Tree, now: Timestamp) -> bool {
    let told = [
        &["lastTimestamp"][..],
        &["series", "lastObservedTime"],
        &["eventTime"],
    ]
    .map(|path| tree::text(event, path));
    let times = told
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
    fn an_event_is_as_young_as_its_newest_time() {
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
                json!({"metadata": {"creationTimestamp": old}, "lastTimestamp": old, "eventTime": null}),
                true,
            ),
            (
                json!({"metadata": {"creationTimestamp": old}, "series": {"lastObservedTime": "2026-01-01T11:30:00.000000Z"}}),
                false,
            ),
            (json!({"metadata": {}}), false),
        ] {
            assert_eq!(is_old(&Tree::from(event.clone()), now), expected, "{event}");
        }
    }
}
