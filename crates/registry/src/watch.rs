//! WATCH: the changes of a collection after a revision, as a stream.
//!
//! A watch that names no revision first returns each existing object as ADDED, and then, to a
//! client that accepts bookmarks, the bookmark that ends the initial events. For an object that
//! stops matching the selectors the watcher gets DELETED with its last matching state. The stream
//! ends at its timeout or when the store closes. A watcher that falls behind the bounded history
//! gets an ERROR event with 410.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use kinds::Tree;
use kinds::status::{FieldError, Status};
use kinds::tree::json;
use store::{Record, Revision, StoreEvent};
use tokio::time::{Instant, sleep_until};

use crate::request::{ListOptions, Refusal, Reply, WatchEvent};
use crate::selection::Selection;
use crate::target::Target;
use crate::{Registry, options, read, record};

/// The shortest timeout of a watch whose client gives none. A random time up to as long is added,
/// so that not all clients reconnect at once.
const DEFAULT_TIMEOUT_SECONDS: u64 = 1800;
/// The interval of bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before the end of a watch its last bookmark is sent, from which the client continues.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// The annotation of the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

impl Registry {
    /// Watches a collection.
    pub(crate) fn watch(&self, target: Target, options: ListOptions) -> Result<Reply, Refusal> {
        let selection = Selection::of(&target, &options, check_watch)?;
        let asked = read::parse_version(&options.resource_version)?;
        let initial = options.send_initial_events.unwrap_or(asked.is_none());
        let (from, ready) = if initial {
            self.initial_events(&target, &selection, options.allow_bookmarks)
        } else {
            (
                asked.unwrap_or_else(|| self.store().revision()),
                VecDeque::new(),
            )
        };
        let first = self.first_served();
        if !initial && from < first {
            let event = too_old(from, first);
            return Ok(Reply::Watch(stream::iter([event]).boxed()));
        }
        let feed = match self.store().watch(&target.prefix(), from) {
            Ok(feed) => feed,
            Err(compacted) => {
                let event = too_old(compacted.requested, compacted.oldest);
                return Ok(Reply::Watch(stream::iter([event]).boxed()));
            }
        };
        let now = Instant::now();
        let timeout = options.timeout_seconds.filter(|seconds| *seconds > 0);
        let timeout = timeout.unwrap_or_else(|| {
            DEFAULT_TIMEOUT_SECONDS + self.entropy().below(DEFAULT_TIMEOUT_SECONDS)
        });
        let end = now + Duration::from_secs(timeout.min(u64::from(u32::MAX)));
        let watcher = Watcher {
            registry: self.clone(),
            target,
            selection,
            feed,
            ready,
            end,
            bookmark: options.allow_bookmarks.then(|| next_bookmark(now, end)),
            sent: from,
            over: false,
        };
        Ok(Reply::Watch(stream::unfold(watcher, Watcher::next).boxed()))
    }

    /// Returns the existing objects as events, and the revision after which the watch continues.
    fn initial_events(
        &self,
        target: &Target,
        selection: &Selection,
        bookmark: bool,
    ) -> (Revision, VecDeque<WatchEvent>) {
        let snapshot = self.store().snapshot();
        let shown = snapshot
            .range(&target.prefix(), None)
            .filter(|record| selection.matches(record));
        let mut events: VecDeque<WatchEvent> = shown
            .map(|record| WatchEvent {
                kind: "ADDED",
                json: self.present(target, &record.value),
            })
            .collect();
        if bookmark {
            events.push_back(bookmark_at(target, snapshot.revision(), true));
        }
        (snapshot.revision(), events)
    }
}

struct Watcher {
    registry: Registry,
    target: Target,
    selection: Selection,
    feed: store::Watch,
    /// Events that are returned before the feed is polled again.
    ready: VecDeque<WatchEvent>,
    end: Instant,
    /// When the next bookmark is due; `None` for clients that accept none.
    bookmark: Option<Instant>,
    /// The newest revision that the client has seen.
    sent: Revision,
    over: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(WatchEvent, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((event, self));
            }
            if self.over {
                return None;
            }
            let bookmark = self.bookmark.unwrap_or(self.end);
            // The timeout is polled last: events that have happened are sent before the watch ends.
            tokio::select! {
                biased;
                events = self.feed.next() => match events {
                    Some(Ok(events)) => self.take(&events),
                    Some(Err(compacted)) => {
                        self.over = true;
                        let event = too_old(compacted.requested, compacted.oldest);
                        self.ready.push_back(event);
                    }
                    None => return None,
                },
                () = sleep_until(bookmark), if self.bookmark.is_some() => self.mark(),
                () = sleep_until(self.end) => return None,
            }
        }
    }

    fn take(&mut self, events: &[Arc<StoreEvent>]) {
        for event in events {
            if let Some(shown) = self.render(event) {
                self.sent = event.revision;
                self.ready.push_back(shown);
            }
        }
    }

    /// Returns a bookmark if the client has not seen the newest revision, and schedules the next.
    fn mark(&mut self) {
        let now = Instant::now();
        self.bookmark = Some(next_bookmark(now, self.end)).filter(|next| *next < self.end);
        let progress = self.feed.progress();
        if progress > self.sent {
            self.sent = progress;
            self.ready
                .push_back(bookmark_at(&self.target, progress, false));
        }
    }

    /// Returns the event that a change is for this watcher; `None` when it does not concern it.
    fn render(&self, event: &StoreEvent) -> Option<WatchEvent> {
        let before = event
            .previous
            .as_deref()
            .filter(|record| self.selection.matches(record));
        let after = if event.removed {
            None
        } else {
            Some(event.record.as_ref()).filter(|record| self.selection.matches(record))
        };
        let show = |kind, json: Bytes| {
            Some(WatchEvent {
                kind,
                json: self.registry.present(&self.target, &json),
            })
        };
        match (before, after) {
            (None, None) => None,
            (None, Some(now)) => show("ADDED", now.value.clone()),
            (Some(_), Some(now)) => show("MODIFIED", now.value.clone()),
            (Some(_), None) if event.removed => show("DELETED", event.record.value.clone()),
            (Some(last), None) => show("DELETED", last_match(last, event.revision)),
        }
    }
}

/// Returns the last matching state of an object, at the revision of the change that ended the
/// match.
fn last_match(last: &Record, revision: Revision) -> Bytes {
    record::with_revision(&last.value, revision.0)
}

fn next_bookmark(now: Instant, end: Instant) -> Instant {
    let last = end
        .checked_sub(BOOKMARK_BEFORE_END)
        .filter(|last| *last > now)
        .unwrap_or(end);
    last.min(now + BOOKMARK_EVERY)
}

fn bookmark_at(target: &Target, revision: Revision, initial_events_end: bool) -> WatchEvent {
    let resource = &target.resource;
    let mut object = json!({
        "kind": resource.kind.as_str(), "apiVersion": resource.api_version(),
        "metadata": {"resourceVersion": revision.0.to_string()},
    });
    if initial_events_end {
        crate::tree::put(
            &mut object,
            &["metadata", "annotations", INITIAL_EVENTS_END],
            "true",
        );
    }
    WatchEvent {
        kind: "BOOKMARK",
        json: kinds::json::encode(&object, resource.ty).into(),
    }
}

fn too_old(requested: Revision, oldest: Revision) -> WatchEvent {
    let text = format!("too old resource version: {} ({})", requested.0, oldest.0);
    let status = Status::expired(text);
    WatchEvent {
        kind: "ERROR",
        json: serde_json::to_vec(&status).unwrap_or_default().into(),
    }
}

/// Refuses options that are unknown or exclude each other, with 422.
fn check_watch(options: &ListOptions) -> Result<(), Refusal> {
    const MATCH: &str = "resourceVersionMatch";
    let mut faults = Vec::new();
    let asked = options.resource_version_match.as_str();
    if options.send_initial_events.is_some() && asked != "NotOlderThan" {
        faults.push(FieldError::forbidden(
            MATCH,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    if !asked.is_empty() {
        if options.send_initial_events.is_none() {
            faults.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if asked != "NotOlderThan" {
            faults.push(FieldError::not_supported(
                MATCH,
                &Tree::from(asked),
                &["NotOlderThan"],
            ));
        }
        if !options.continue_token.is_empty() {
            faults.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(options::invalid("ListOptions", &faults))
    }
}
