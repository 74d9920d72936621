//! From applied to durable to visible: takes the commits that wait, appends them to the engine as
//! one batch, publishes them, and tells those who wait.
//!
//! It runs on a thread of its own, because a sync blocks for milliseconds, or, for engines that do
//! not block, inside the committer's call.
//!
//! Whoever commits during a sync is in the next batch. Those whom a sync has just released often
//! commit again at once, but a little too late: the writer would sync for the first of them alone,
//! and the others would wait twice. So it lets them gather, for at most half of what a sync takes,
//! and only if there were several; a client that is alone never waits for anything but its sync.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::engine::{Batch, Engine, EngineError, Write};
use crate::record::Event;
use crate::shared::{Head, Shared, Status};
use crate::state::State;

/// What a committer waits for: that its commit is durable, or that nobody knows.
pub(crate) type Durable = oneshot::Receiver<Result<(), Arc<EngineError>>>;

/// A commit that is applied but not yet durable, or one that wrote nothing and waits for what it
/// saw.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) done: oneshot::Sender<Result<(), Arc<EngineError>>>,
}

/// The writer lets commits gather for at most this part of a sync…
const GATHER_PART: u32 = 2;

/// …and no longer than none comes for this part of a sync.
const PAUSE_PART: u32 = 10;

/// Below this a sync costs no more than the waking of those who would share it.
const SHORT_SYNC: Duration = Duration::from_micros(100);

/// Serves `shared` until it is closed or the engine fails. The engine is closed when this returns.
pub(crate) fn run(shared: &Shared, mut engine: Box<dyn Engine>) {
    let mut gather = Gather::default();
    while let Some((state, batch)) = next_batch(shared, &gather) {
        let (commits, start) = (batch.len(), Instant::now());
        let (events, waiting): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|pending| (pending.events, pending.done))
            .unzip();
        let events: Vec<_> = events.into_iter().flatten().collect();
        let result = append(&mut *engine, &state, &events).map_err(Arc::new);
        gather = Gather {
            sync: start.elapsed(),
            released: commits,
        };
        match &result {
            Ok(()) => shared.publish(state, events),
            Err(error) => shared.fail(error),
        }
        for done in waiting {
            // Nobody listens when the committer's future was dropped; the commit stands all the
            // same.
            let _ = done.send(result.clone());
        }
    }
    drop(engine);
    shared.end();
}

/// What the last batch tells about the next.
#[derive(Clone, Copy, Debug, Default)]
struct Gather {
    /// How long the sync took.
    sync: Duration,
    /// How many commits it released, which may soon be followed by as many.
    released: usize,
}

impl Gather {
    /// Waits, within the limits above, until as many commits wait as there seem to be committers.
    fn wait<'a>(&self, shared: &'a Shared, mut head: MutexGuard<'a, Head>) -> MutexGuard<'a, Head> {
        // Those who came during the sync, and those whom it released.
        let committers = head.pending.len() + self.released;
        if committers < 2 || self.sync < SHORT_SYNC {
            return head;
        }
        let deadline = Instant::now() + self.sync / GATHER_PART;
        head.wake_at = committers;
        while head.pending.len() < committers
            && matches!(head.status, Status::Open)
            && Instant::now() < deadline
        {
            let before = head.pending.len();
            head = shared.wait_for_work_at_most(head, self.sync / PAUSE_PART);
            if head.pending.len() == before {
                break;
            }
        }
        head.wake_at = 1;
        head
    }
}

/// Everything that waits and the state it leads to; `None` when nothing waits and nothing will.
fn next_batch(shared: &Shared, gather: &Gather) -> Option<(State, Vec<Pending>)> {
    let mut head = gather.wait(shared, shared.head());
    while head.pending.is_empty() {
        if !matches!(head.status, Status::Open) {
            return None;
        }
        head = shared.wait_for_work(head);
    }
    head.pending_bytes = 0;
    Some((head.state.clone(), std::mem::take(&mut head.pending)))
}

/// Makes `events`, which lead to `state`, durable.
pub(crate) fn append(
    engine: &mut dyn Engine,
    state: &State,
    events: &[Arc<Event>],
) -> Result<(), EngineError> {
    if events.is_empty() {
        return Ok(());
    }
    let batch = Batch {
        revision: state.revision,
        records: state.len(),
        writes: last_writes(events),
    };
    // Engines are other people's code under failing disks. Whatever happens in there must end as
    // an error for those who wait, not as a thread that is silently gone.
    catch_unwind(AssertUnwindSafe(|| engine.append(&batch)))
        .unwrap_or_else(|panic| Err(EngineError::Failed(text_of_panic(&*panic))))
}

fn last_writes(events: &[Arc<Event>]) -> Vec<Write<'_>> {
    // In the order of keys, because a tree then touches each of its pages once.
    let mut writes = BTreeMap::new();
    for event in events {
        let key = &*event.record.key;
        writes.insert(
            key,
            if event.removed {
                Write::Remove(key)
            } else {
                Write::Put(&event.record)
            },
        );
    }
    writes.into_values().collect()
}

pub(crate) fn text_of_panic(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("without a message"))
}
