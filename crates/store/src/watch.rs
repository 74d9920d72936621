//! One watcher's cursor in the queue of its group.

use std::sync::Arc;

use crate::feed::Group;
use crate::history::Compacted;
use crate::record::{Event, Revision};
use crate::shared::Shared;

/// The most events that one call hands out, so that a watch which starts far back does not copy
/// the whole history at once.
const BATCH_EVENTS: usize = 1000;

/// The events of one prefix after one revision, in order, without gap or repetition.
///
/// It holds no events of its own: one that falls behind the store's bounded history ends with
/// [`Compacted`]. It does not keep the store open; when the store is closed, it ends.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    group: Arc<Group>,
    bell: tokio::sync::watch::Receiver<()>,
    cursor: Revision,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>, group: Arc<Group>, after: Revision) -> Self {
        let bell = group.listen();
        Self {
            shared,
            group,
            bell,
            cursor: after,
        }
    }

    /// The next events, at least one, waiting for them when there are none. `None` when the store
    /// is closed and everything was delivered; an error when some that were due are no longer in
    /// the history, and then again with every further call.
    ///
    /// Cancel safe: a call that is dropped while it waits has taken nothing.
    pub async fn next(&mut self) -> Option<Result<Vec<Arc<Event>>, Compacted>> {
        loop {
            // Before looking, so that what comes while we look rings again.
            self.bell.borrow_and_update();
            match self.take() {
                Ok(Taken::Events(events)) => return Some(Ok(events)),
                Ok(Taken::Closed) => return None,
                Ok(Taken::Nothing) => {}
                Err(compacted) => return Some(Err(compacted)),
            }
            // The group, and with it the bell, lives as long as this watch.
            self.bell.changed().await.ok()?;
        }
    }

    /// The revision up to which everything has been handed out. It moves on with the store also
    /// when nothing concerns this watch, and can be given to clients as a bookmark.
    #[must_use]
    pub fn progress(&self) -> Revision {
        // First the store's revision and then the queue: whatever comes between is in the queue.
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
    Events(Vec<Arc<Event>>),
    Nothing,
    Closed,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.leave(&self.group.prefix);
    }
}
