//! The bounded history: the newest events of all collections, and some of the keyspaces between
//! them.
//!
//! A snapshot of an old revision is made from the nearest checkpoint that is not older, by undoing
//! the events in between.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::keyspace::Keyspace;
use crate::record::{Revision, StoreEvent};

/// The distance between two checkpoints. Undoing 1,000 events takes about a millisecond, and a
/// checkpoint holds some hundred bytes per event.
const EVENTS_PER_CHECKPOINT: u64 = 1000;

/// The memory of an event beside its bytes: the event, its record, the tree nodes that a checkpoint
/// holds because of it, and its places in the queues.
const EVENT_OVERHEAD_BYTES: usize = 512;

/// The error for a revision that the history no longer holds, or that the store has not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {requested} is outside the history ({oldest} to {newest})")]
pub struct Compacted {
    /// The requested revision.
    pub requested: Revision,
    /// The oldest revision that can be requested.
    pub oldest: Revision,
    /// The newest revision of the store.
    pub newest: Revision,
}

/// The newest events, within the limits, and the checkpoints between them.
#[derive(Debug)]
pub(crate) struct History {
    events: VecDeque<Arc<StoreEvent>>,
    bytes: usize,
    /// The revision before the oldest event, which is the oldest that can be reconstructed.
    oldest: Revision,
    newest: Revision,
    checkpoints: BTreeMap<Revision, Keyspace>,
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
            checkpoints: BTreeMap::new(),
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

    pub(crate) fn push(&mut self, event: Arc<StoreEvent>) {
        self.bytes += cost(&event);
        self.newest = event.revision;
        self.events.push_back(event);
    }

    /// Keeps a checkpoint of `keyspace`, which must be the one after the newest event, if the last
    /// checkpoint is far enough behind.
    pub(crate) fn checkpoint(&mut self, keyspace: &Keyspace) {
        let last = self
            .checkpoints
            .last_key_value()
            .map_or(self.oldest, |(revision, _)| *revision);
        if keyspace.revision.0 >= last.0 + EVENTS_PER_CHECKPOINT {
            self.checkpoints.insert(keyspace.revision, keyspace.clone());
        }
    }

    /// Removes and returns the oldest event, if the limits are exceeded or it is not newer than
    /// `until`.
    pub(crate) fn pop(&mut self, until: Revision) -> Option<Arc<StoreEvent>> {
        let over = self.events.len() > self.max_events || self.bytes > self.max_bytes;
        let event = self
            .events
            .pop_front_if(|event| over || event.revision <= until)?;
        self.bytes -= cost(&event);
        self.oldest = event.revision;
        Some(event)
    }

    /// Drops the checkpoints that are older than the oldest event.
    pub(crate) fn drop_old_checkpoints(&mut self) {
        while self
            .checkpoints
            .first_entry()
            .is_some_and(|checkpoint| *checkpoint.key() < self.oldest)
        {
            self.checkpoints.pop_first();
        }
    }

    /// Fails when an event after `revision` has been compacted.
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

    /// Returns a keyspace that is not older than `revision`, and the events to undo in it, newest
    /// first. `now` must be the keyspace after the newest event.
    pub(crate) fn path_to(
        &self,
        revision: Revision,
        now: &Keyspace,
    ) -> Result<(Keyspace, Vec<Arc<StoreEvent>>), Compacted> {
        if revision < self.oldest || revision > self.newest {
            return Err(self.compacted(revision));
        }
        let checkpoint = self
            .checkpoints
            .range((Bound::Included(revision), Bound::Unbounded))
            .next();
        let keyspace = checkpoint.map_or(now, |(_, keyspace)| keyspace).clone();
        let (from, to) = (
            self.index_after(revision),
            self.index_after(keyspace.revision),
        );
        let undo = self.events.range(from..to).rev().cloned().collect();
        Ok((keyspace, undo))
    }

    /// Returns the index of the first event after `revision`.
    fn index_after(&self, revision: Revision) -> usize {
        self.events
            .partition_point(|event| event.revision <= revision)
    }
}

/// Estimates the memory of an event in bytes.
pub(crate) fn cost(event: &StoreEvent) -> usize {
    event.record.value.len() + event.record.key.len() + EVENT_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::Txn;

    #[test]
    fn every_revision_can_be_reconstructed_across_checkpoints() {
        let mut history = History::starting_at(Revision(0), 10_000, usize::MAX);
        let mut now = Keyspace::empty();
        for round in 0..EVENTS_PER_CHECKPOINT * 3 {
            let mut txn = Txn::new(now.clone());
            txn.put(&format!("pods/{}", round % 7), round.to_string(), None);
            let (keyspace, events) = txn.finish().expect("within the limits");
            now = keyspace;
            events.into_iter().for_each(|event| history.push(event));
            history.checkpoint(&now);
        }
        assert_eq!(history.checkpoints.len(), 3);
        for revision in [1, 6, 7, 999, 1000, 1001, 1500, 2999, 3000].map(Revision) {
            let (mut keyspace, undo) = history.path_to(revision, &now).expect("within the history");
            assert!(undo.len() < 1000);
            undo.iter().for_each(|event| keyspace.undo(event));
            assert_eq!(keyspace.revision, revision);
            let newest = keyspace
                .get(&format!("pods/{}", (revision.0 - 1) % 7))
                .expect("written last");
            assert_eq!(newest.value, (revision.0 - 1).to_string());
            assert_eq!(keyspace.len() as u64, revision.0.min(7));
        }
    }

    #[test]
    fn the_number_and_the_bytes_of_events_are_bounded() {
        let mut txn = Txn::new(Keyspace::empty());
        for _ in 0..100 {
            txn.put("pods/a", vec![0; 1000], None);
        }
        let (_, events) = txn.finish().expect("within the limits");
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
