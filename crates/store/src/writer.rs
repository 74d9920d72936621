//! From applied to durable to visible: takes the commits that wait, appends them to the engine as
//! one batch, publishes them, and tells those who wait.
//!
//! It runs on a thread of its own, because a sync blocks for milliseconds, or, for engines that do
//! not block, inside the committer's call.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::engine::{Batch, Engine, EngineError, Write};
use crate::record::Event;
use crate::state::State;
use crate::store::{Shared, Status};

/// What a committer waits for: that its commit is durable, or that nobody knows.
pub(crate) type Durable = oneshot::Receiver<Result<(), Arc<EngineError>>>;

/// A commit that is applied but not yet durable, or one that wrote nothing and waits for what it saw.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) done: oneshot::Sender<Result<(), Arc<EngineError>>>,
}

/// Serves `shared` until it is closed or the engine fails. The engine is closed when this returns.
pub(crate) fn run(shared: &Shared, mut engine: Box<dyn Engine>) {
    while let Some((state, batch)) = next_batch(shared) {
        let (events, waiting): (Vec<_>, Vec<_>) = batch.into_iter().map(|pending| (pending.events, pending.done)).unzip();
        let events: Vec<_> = events.into_iter().flatten().collect();
        let result = append(&mut *engine, &state, &events).map_err(Arc::new);
        match &result {
            Ok(()) => shared.publish(state, events),
            Err(error) => shared.fail(error),
        }
        for done in waiting {
            // Nobody listens when the committer's future was dropped; the commit stands all the same.
            let _ = done.send(result.clone());
        }
    }
    drop(engine);
    shared.end();
}

/// Everything that waits and the state it leads to; `None` when nothing waits and nothing will.
fn next_batch(shared: &Shared) -> Option<(State, Vec<Pending>)> {
    let mut head = shared.head();
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
pub(crate) fn append(engine: &mut dyn Engine, state: &State, events: &[Arc<Event>]) -> Result<(), EngineError> {
    if events.is_empty() {
        return Ok(());
    }
    let batch = Batch { revision: state.revision, records: state.len(), writes: last_writes(events) };
    // Engines are other people's code under failing disks. Whatever happens in there must end as
    // an error for those who wait, not as a thread that is silently gone.
    catch_unwind(AssertUnwindSafe(|| engine.append(&batch))).unwrap_or_else(|panic| Err(EngineError::Failed(text_of_panic(&*panic))))
}

fn last_writes(events: &[Arc<Event>]) -> Vec<Write<'_>> {
    // In the order of keys, because a tree then touches each of its pages once.
    let mut writes = BTreeMap::new();
    for event in events {
        let key = &*event.record.key;
        writes.insert(key, if event.removed { Write::Remove(key) } else { Write::Put(&event.record) });
    }
    writes.into_values().collect()
}

pub(crate) fn text_of_panic(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("without a message"))
}
