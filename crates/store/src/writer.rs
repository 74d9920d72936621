//! The writer's thread: takes the pending commits, appends them to the engine as one batch,
//! publishes them, and wakes their committers.
//!
//! It has a thread of its own because a sync blocks for milliseconds.
//!
//! Commits that arrive during a sync form the next batch. Clients that a sync has just released
//! often commit again at once, but a little too late: the writer would sync for the first of them
//! alone, and the others would wait for two syncs. The writer therefore delays a batch by at most
//! half of the last sync, and only when there was more than one committer; a single client never
//! waits for anything but its own sync.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::{self, Engine};
use crate::keyspace::Keyspace;
use crate::shared::{Head, Pending, SharedState, StoreStatus};
use crate::sync::{Instant, MutexGuard};

/// The longest delay of a batch, as a divisor of the duration of the last sync.
const DELAY_DIVISOR: u32 = 2;

/// The longest pause between two arrivals that extends the delay, as a divisor of the duration of
/// the last sync.
const PAUSE_DIVISOR: u32 = 10;

/// The duration below which a sync costs no more than waking the committers that would share it.
const SHORT_SYNC: Duration = Duration::from_micros(100);

/// Writes what is committed to `shared` until it is closed or the engine fails. The engine is
/// closed when this function returns.
pub(crate) fn run(shared: &SharedState, mut engine: Box<dyn Engine>) {
    let mut delay = BatchDelay::default();
    while let Some((keyspace, batch)) = next_batch(shared, &delay) {
        let (commits, start) = (batch.len(), Instant::now());
        let bytes = batch.iter().map(|pending| pending.bytes).sum();
        let (events, waiting): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|pending| (pending.events, pending.done))
            .unzip();
        let events: Vec<_> = events.into_iter().flatten().collect();
        let appended =
            engine::append_events(&mut *engine, keyspace.revision, keyspace.len(), &events);
        let result = appended.map_err(Arc::new);
        delay = BatchDelay {
            sync: start.elapsed(),
            released: commits,
        };
        match &result {
            Ok(()) => {
                // Before it is visible: a client that has seen the batch finds room for its next
                // commit.
                shared.release(bytes);
                shared.publish(keyspace, events);
            }
            Err(error) => shared.fail(error),
        }
        for done in waiting {
            // Sending fails when the committer dropped its future. The commit stands all the same.
            let _ = done.send(result.clone());
        }
    }
    drop(engine);
    shared.end();
}

/// The delay of the next batch, from the measurements of the last one.
#[derive(Clone, Copy, Debug, Default)]
struct BatchDelay {
    /// The duration of the last sync.
    sync: Duration,
    /// The number of commits that it released, which as many may soon follow.
    released: usize,
}

impl BatchDelay {
    /// Waits, within the limits above, until as many commits are pending as there seem to be
    /// committers.
    fn wait<'a>(
        &self,
        shared: &'a SharedState,
        mut head: MutexGuard<'a, Head>,
    ) -> MutexGuard<'a, Head> {
        // Those that arrived during the sync, and those that it released.
        let committers = head.pending.len() + self.released;
        if committers < 2 || self.sync < SHORT_SYNC {
            return head;
        }
        let deadline = Instant::now() + self.sync / DELAY_DIVISOR;
        head.wake_at = committers;
        while head.pending.len() < committers
            && matches!(head.status, StoreStatus::Open)
            && Instant::now() < deadline
        {
            let before = head.pending.len();
            head = shared.wait_for_work_at_most(head, self.sync / PAUSE_DIVISOR);
            if head.pending.len() == before {
                break;
            }
        }
        head.wake_at = 1;
        head
    }
}

/// The pending commits and the keyspace that they lead to; `None` when the store is closed or
/// failed and nothing is pending.
fn next_batch(shared: &SharedState, delay: &BatchDelay) -> Option<(Keyspace, Vec<Pending>)> {
    let mut head = delay.wait(shared, shared.head());
    while head.pending.is_empty() {
        if !matches!(head.status, StoreStatus::Open) {
            return None;
        }
        head = shared.wait_for_work(head);
    }
    Some((head.keyspace.clone(), std::mem::take(&mut head.pending)))
}
