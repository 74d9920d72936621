//! A watch: a cursor in the event queue of its group.

use std::sync::Arc;

use crate::feed::WatchGroup;
use crate::history::Compacted;
use crate::record::{Revision, StoreEvent};
use crate::shared::SharedState;

/// The maximum number of events that one call returns, so that a watch that starts far back does
/// not copy the whole history at once.
const BATCH_EVENTS: usize = 1000;

/// The events of one key prefix after one revision, in order, without gaps or repetitions.
///
/// A watch holds no events of its own. When it falls behind the store's bounded history, it returns
/// [`Compacted`]. It does not keep the store open, and it ends when the store is closed.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<SharedState>,
    group: Arc<WatchGroup>,
    changes: tokio::sync::watch::Receiver<()>,
    cursor: Revision,
}

impl Watch {
    pub(crate) fn new(shared: Arc<SharedState>, group: Arc<WatchGroup>, after: Revision) -> Self {
        let changes = group.changes();
        Self {
            shared,
            group,
            changes,
            cursor: after,
        }
    }

    /// Waits for the next events and returns at least one. Returns `None` when the store is closed
    /// and all events have been delivered.
    ///
    /// This method is cancel safe: a future that is dropped while it waits has taken no event.
    ///
    /// # Errors
    ///
    /// Fails with [`Compacted`] when events that are due are no longer in the history, and then
    /// with every further call.
    pub async fn next(&mut self) -> Option<Result<Vec<Arc<StoreEvent>>, Compacted>> {
        loop {
            // Before the queue is read: an event that arrives in between wakes this watch again.
            self.changes.borrow_and_update();
            match self.take() {
                Ok(Taken::Events(events)) => return Some(Ok(events)),
                Ok(Taken::Closed) => return None,
                Ok(Taken::Nothing) => {}
                Err(compacted) => return Some(Err(compacted)),
            }
            // The sender lives in the group, which lives as long as this watch.
            self.changes.changed().await.ok()?;
        }
    }

    /// Returns the revision up to which all events have been delivered. It advances with the store,
    /// also without events for this watch, so servers can send it to clients as a bookmark.
    #[must_use]
    pub fn progress(&self) -> Revision {
        // The revision is read before the queue, because an event that arrives in between is then
        // in the queue. In the other order it would be skipped.
        let fed = self.shared.fed();
        let queue = self.group.queue();
        let pending = queue
            .events
            .back()
            .is_some_and(|event| event.revision > self.cursor);
        if pending || self.cursor < queue.complete_after {
            self.cursor
        } else {
            fed.max(self.cursor)
        }
    }

    fn take(&mut self) -> Result<Taken, Compacted> {
        let queue = self.group.queue();
        if self.cursor < queue.complete_after {
            drop(queue);
            return Err(self.shared.compacted_error(self.cursor));
        }
        let from = queue
            .events
            .partition_point(|event| event.revision <= self.cursor);
        let events: Vec<_> = queue
            .events
            .range(from..)
            .take(BATCH_EVENTS)
            .cloned()
            .collect();
        match events.last() {
            Some(last) => {
                self.cursor = last.revision;
                Ok(Taken::Events(events))
            }
            None if queue.closed => Ok(Taken::Closed),
            None => Ok(Taken::Nothing),
        }
    }
}

enum Taken {
    Events(Vec<Arc<StoreEvent>>),
    Nothing,
    Closed,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.unsubscribe(&self.group.prefix);
    }
}
