//! The newest events of all collections, bounded, and some of the states between them.
//!
//! It answers "everything as of revision N": from the nearest kept state that is not older, the
//! events in between are undone. Revisions have no gaps, so that an event is found by arithmetic.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::record::{Event, Revision};
use crate::state::State;

/// A state is kept once in so many events: undoing 1,000 events takes about a millisecond, and a
/// kept state holds some hundred bytes per event.
const EVENTS_PER_ROOT: u64 = 1000;

/// What an event costs beside its bytes: itself, its record, the tree nodes that a kept state
/// holds because of it, and its places in the queues.
const EVENT_OVERHEAD_BYTES: usize = 512;

/// The revision that was asked for is not, or no longer, in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {requested} is not in the history, which goes from {oldest} to {newest}")]
pub struct Compacted {
    /// What was asked for.
    pub requested: Revision,
    /// The oldest revision that can be asked for.
    pub oldest: Revision,
    /// The newest revision there is.
    pub newest: Revision,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The revision before the oldest event: the oldest that can be reconstructed.
    oldest: Revision,
    newest: Revision,
    roots: BTreeMap<Revision, State>,
    max_events: usize,
    max_bytes: usize,
}

impl History {
    pub(crate) fn starting_at(revision: Revision, max_events: usize, max_bytes: usize) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            oldest: revision,
            newest: revision,
            roots: BTreeMap::new(),
            max_events,
            max_bytes,
        }
    }

    pub(crate) fn oldest(&self) -> Revision {
        self.oldest
    }

    pub(crate) fn newest(&self) -> Revision {
        self.newest
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.bytes += cost(&event);
        self.newest = event.revision;
        self.events.push_back(event);
    }

    /// Keeps `state`, the one after the newest event, when it is time to keep one.
    pub(crate) fn keep(&mut self, state: &State) {
        let last = self
            .roots
            .last_key_value()
            .map_or(self.oldest, |(revision, _)| *revision);
        if state.revision.0 >= last.0 + EVENTS_PER_ROOT {
            self.roots.insert(state.revision, state.clone());
        }
    }

    /// The oldest event, when the limits are exceeded or it is not newer than `until`.
    pub(crate) fn pop(&mut self, until: Revision) -> Option<Arc<Event>> {
        let over = self.events.len() > self.max_events || self.bytes > self.max_bytes;
        let event = self
            .events
            .pop_front_if(|event| over || event.revision <= until)?;
        self.bytes -= cost(&event);
        self.oldest = event.revision;
        Some(event)
    }

    /// Lets go of the kept states that nobody can ask for any more.
    pub(crate) fn drop_old_roots(&mut self) {
        while self
            .roots
            .first_entry()
            .is_some_and(|root| *root.key() < self.oldest)
        {
            self.roots.pop_first();
        }
    }

    /// Whether everything after `revision` is still known.
    pub(crate) fn check(&self, revision: Revision) -> Result<(), Compacted> {
        if revision < self.oldest {
            Err(self.compacted(revision))
        } else {
            Ok(())
        }
    }

    pub(crate) fn compacted(&self, requested: Revision) -> Compacted {
        Compacted {
            requested,
            oldest: self.oldest,
            newest: self.newest,
        }
    }

    /// A state not older than `revision`, and the events to undo in it, newest first.
    /// `now` is the state after the newest event.
    pub(crate) fn path_to(
        &self,
        revision: Revision,
        now: &State,
    ) -> Result<(State, Vec<Arc<Event>>), Compacted> {
        if revision < self.oldest || revision > self.newest {
            return Err(self.compacted(revision));
        }
        let root = self
            .roots
            .range((Bound::Included(revision), Bound::Unbounded))
            .next();
        let state = root.map_or(now, |(_, state)| state).clone();
        let (from, to) = (self.index_after(revision), self.index_after(state.revision));
        let undo = self.events.range(from..to).rev().cloned().collect();
        Ok((state, undo))
    }

    /// Where the first event after `revision` stands.
    fn index_after(&self, revision: Revision) -> usize {
        self.events
            .partition_point(|event| event.revision <= revision)
    }
}

fn cost(event: &Event) -> usize {
    event.record.value.len() + event.record.key.len() + EVENT_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::Txn;

    #[test]
    fn every_revision_can_be_reached_also_across_kept_states() {
        let mut history = History::starting_at(Revision(0), 10_000, usize::MAX);
        let mut now = State::empty();
        for round in 0..EVENTS_PER_ROOT * 3 {
            let mut txn = Txn::new(now.clone());
            txn.put(&format!("pods/{}", round % 7), round.to_string(), None);
            let (state, events) = txn.finish().expect("a storable write");
            now = state;
            events.into_iter().for_each(|event| history.push(event));
            history.keep(&now);
        }
        assert_eq!(history.roots.len(), 3);
        for revision in [1, 6, 7, 999, 1000, 1001, 1500, 2999, 3000].map(Revision) {
            let (mut state, undo) = history.path_to(revision, &now).expect("within the history");
            assert!(undo.len() < 1000);
            undo.iter().for_each(|event| state.undo(event));
            assert_eq!(state.revision, revision);
            let newest = state
                .get(&format!("pods/{}", (revision.0 - 1) % 7))
                .expect("written last");
            assert_eq!(newest.value, (revision.0 - 1).to_string());
            assert_eq!(state.len() as u64, revision.0.min(7));
        }
    }

    #[test]
    fn the_number_and_the_bytes_of_events_are_bounded() {
        let mut txn = Txn::new(State::empty());
        for _ in 0..100 {
            txn.put("pods/a", vec![0; 1000], None);
        }
        let (_, events) = txn.finish().expect("storable writes");
        for (max_events, max_bytes, left) in [
            (10, usize::MAX, 10),
            (usize::MAX, 16_000, 10),
            (1000, usize::MAX, 100),
        ] {
            let mut history = History::starting_at(Revision(0), max_events, max_bytes);
            events.iter().cloned().for_each(|event| history.push(event));
            while history.pop(Revision(0)).is_some() {}
            assert_eq!(history.events.len(), left);
            assert_eq!(history.oldest(), Revision(100 - left as u64));
        }
    }
}
