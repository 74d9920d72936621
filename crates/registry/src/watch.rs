//! WATCH: the changes of a collection from a revision on, as a stream.
//!
//! A watch that names no revision first shows what is there, each object as ADDED, and then the
//! marked bookmark if the client takes bookmarks. An object that stops matching the selectors is
//! DELETED for this watcher, as it last matched. The stream ends when its time is up or the store
//! closes; a watcher that falls behind the bounded history gets an ERROR event with 410.

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

/// A client that gives no time is sent away after half an hour to an hour, so that load moves.
const DEFAULT_TIMEOUT_SECONDS: u64 = 1800;
/// How often a client that takes bookmarks learns how far it has come.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// And once more shortly before the watch ends, so that it can go on from there.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// The annotation of the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

impl Registry {
    /// Answers a watch.
    pub(crate) fn watch(&self, target: Target, options: ListOptions) -> Result<Reply, Refusal> {
        check_watch(&options)?;
        let selection = Selection::of(&target, &options)?;
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
        let feed = match self.store().watch(&target.prefix(), from) {
            Ok(feed) => feed,
            Err(compacted) => return Ok(Reply::Watch(stream::iter([too_old(&compacted)]).boxed())),
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
            told: from,
            over: false,
        };
        Ok(Reply::Watch(stream::unfold(watcher, Watcher::next).boxed()))
    }

    /// What is there now, as events, and the revision from which to go on.
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
    /// Events to be handed out before the feed is asked again.
    ready: VecDeque<WatchEvent>,
    end: Instant,
    /// When the next bookmark is due; none for clients that take none.
    bookmark: Option<Instant>,
    /// The revision that the client knows of.
    told: Revision,
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
            // The time is looked at last: what has happened is told before the watch ends.
            tokio::select! {
                biased;
                events = self.feed.next() => match events {
                    Some(Ok(events)) => self.take(&events),
                    Some(Err(compacted)) => {
                        self.over = true;
                        self.ready.push_back(too_old(&compacted));
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
                self.told = event.revision;
                self.ready.push_back(shown);
            }
        }
    }

    /// A bookmark if the client has fallen behind what it could know, and the time of the next.
    fn mark(&mut self) {
        let now = Instant::now();
        self.bookmark = Some(next_bookmark(now, self.end)).filter(|next| *next < self.end);
        let progress = self.feed.progress();
        if progress > self.told {
            self.told = progress;
            self.ready
                .push_back(bookmark_at(&self.target, progress, false));
        }
    }

    /// How this watcher sees a change; none when it is none of its business.
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

/// An object that no longer matches, as it last matched, at the revision of the change.
fn last_match(last: &Record, revision: Revision) -> Bytes {
    record::at_revision(&last.value, revision.0)
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

fn too_old(compacted: &store::Compacted) -> WatchEvent {
    let (requested, oldest) = (compacted.requested.0, compacted.oldest.0);
    let status = Status::expired(format!("too old resource version: {requested} ({oldest})"));
    WatchEvent {
        kind: "ERROR",
        json: serde_json::to_vec(&status).unwrap_or_default().into(),
    }
}

/// 422 for options that a watch does not know or that do not go together.
fn check_watch(options: &ListOptions) -> Result<(), Refusal> {
    const MATCH: &str = "resourceVersionMatch";
    let mut faults = Vec::new();
    let asked = options.resource_version_match.as_str();
    if options.send_initial_events.is_some() {
        if asked != "NotOlderThan" {
            faults.push(FieldError::forbidden(
                MATCH,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if !asked.is_empty() && asked != "NotOlderThan" {
            faults.push(FieldError::not_supported(
                MATCH,
                &Tree::from(asked),
                &["NotOlderThan"],
            ));
        }
    } else if !asked.is_empty() {
        faults.push(FieldError::forbidden(
            MATCH,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    }
    if !options.continue_token.is_empty() {
        faults.push(FieldError::forbidden(
            "continue",
            "continue is forbidden for watch",
        ));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(options::invalid("ListOptions", &faults))
    }
}
