//! The history, and the watches that its events are delivered to.
//!
//! Watches with the same prefix form one *watch group*, which queues the events of that prefix: a
//! thousand watches of one collection are one group with a thousand cursors. The groups of an event
//! are found by looking up its key, cut to each length that some prefix has, so the groups that an
//! event does not concern cost nothing. Each collection also has a queue of its own, from which a
//! new group is filled.
//!
//! Callers hold the feed lock. A group's own lock is the innermost one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::history::{Compacted, History};
use crate::keyspace::Keyspace;
use crate::record::{Revision, StoreEvent, collection_of};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The events and the watches of all collections.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) history: History,
    collections: HashMap<Box<str>, CollectionFeed>,
    closed: bool,
}

/// The events and the watches of one collection. Exists while it has any of either.
#[derive(Debug, Default)]
struct CollectionFeed {
    events: VecDeque<Arc<StoreEvent>>,
    groups: HashMap<Box<str>, CountedGroup>,
    /// The number of groups by the length of their prefix.
    lengths: BTreeMap<usize, usize>,
}

/// A group with the number of its watches.
#[derive(Debug)]
struct CountedGroup {
    group: Arc<WatchGroup>,
    watches: usize,
}

/// All watches of one prefix.
#[derive(Debug)]
pub(crate) struct WatchGroup {
    pub(crate) prefix: Box<str>,
    queue: Mutex<EventQueue>,
    /// Notified after events were queued or the queue was closed.
    changed: tokio::sync::watch::Sender<()>,
}

/// The events of a group's prefix.
#[derive(Debug)]
pub(crate) struct EventQueue {
    pub(crate) events: VecDeque<Arc<StoreEvent>>,
    /// `events` holds every event of the prefix after this revision.
    pub(crate) complete_after: Revision,
    /// True when the store is closed and no event will follow.
    pub(crate) closed: bool,
    /// True from the first event that is appended until its notification.
    to_notify: bool,
}

impl WatchGroup {
    pub(crate) fn queue(&self) -> MutexGuard<'_, EventQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Wakes the watches of this group.
    pub(crate) fn notify(&self) {
        // Reset first: an event that arrives in between is notified again.
        self.queue().to_notify = false;
        self.changed.send_replace(());
    }
}

impl Feed {
    pub(crate) fn new(history: History) -> Self {
        Self {
            history,
            collections: HashMap::new(),
            closed: false,
        }
    }

    /// Appends the events of some commits, which lead to `keyspace`. Returns the groups to notify
    /// once the feed lock is released.
    pub(crate) fn append(
        &mut self,
        events: impl IntoIterator<Item = Arc<StoreEvent>>,
        keyspace: &Keyspace,
    ) -> Vec<Arc<WatchGroup>> {
        let mut concerned: Vec<Arc<WatchGroup>> = Vec::new();
        for event in events {
            let name = collection_of(&event.record.key);
            if !self.collections.contains_key(name) {
                self.collections
                    .insert(name.into(), CollectionFeed::default());
            }
            if let Some(collection) = self.collections.get_mut(name) {
                collection.append(&event, &mut concerned);
            }
            self.history.push(event);
        }
        self.history.checkpoint(keyspace);
        self.trim(Revision(0));
        concerned
    }

    /// Compacts the events that are not newer than `until`, and those that exceed the limits.
    pub(crate) fn trim(&mut self, until: Revision) {
        while let Some(event) = self.history.pop(until) {
            let name = collection_of(&event.record.key);
            let Some(collection) = self.collections.get_mut(name) else {
                continue;
            };
            collection.compact(&event);
            if collection.is_unused() {
                self.collections.remove(name);
            }
        }
        self.history.drop_old_checkpoints();
    }

    /// Adds a watch of `prefix` that continues after the revision `after`.
    pub(crate) fn subscribe(
        &mut self,
        prefix: &str,
        after: Revision,
    ) -> Result<Arc<WatchGroup>, Compacted> {
        self.history.check(after)?;
        let collection = self
            .collections
            .entry(collection_of(prefix).into())
            .or_default();
        let counted = if let Some(counted) = collection.groups.get_mut(prefix) {
            counted
        } else {
            *collection.lengths.entry(prefix.len()).or_default() += 1;
            let queue = EventQueue {
                events: VecDeque::new(),
                complete_after: self.history.newest(),
                closed: self.closed,
                to_notify: false,
            };
            let (changed, _) = tokio::sync::watch::channel(());
            let group = Arc::new(WatchGroup {
                prefix: prefix.into(),
                queue: Mutex::new(queue),
                changed,
            });
            collection
                .groups
                .entry(prefix.into())
                .or_insert(CountedGroup { group, watches: 0 })
        };
        counted.watches += 1;
        fill(
            &mut counted.group.queue(),
            prefix,
            &collection.events,
            after,
        );
        Ok(Arc::clone(&counted.group))
    }

    /// Removes one watch of `prefix`.
    pub(crate) fn unsubscribe(&mut self, prefix: &str) {
        let name = collection_of(prefix);
        let Some(collection) = self.collections.get_mut(name) else {
            return;
        };
        let Some(counted) = collection.groups.get_mut(prefix) else {
            return;
        };
        counted.watches -= 1;
        if counted.watches == 0 {
            collection.groups.remove(prefix);
            if let Some(count) = collection.lengths.get_mut(&prefix.len()) {
                *count -= 1;
                if *count == 0 {
                    collection.lengths.remove(&prefix.len());
                }
            }
        }
        if collection.is_unused() {
            self.collections.remove(name);
        }
    }

    /// Returns true when no event and no watch is left.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }

    /// Closes all queues, present and future: watches end after their last event. Returns the
    /// groups to notify.
    pub(crate) fn close(&mut self) -> Vec<Arc<WatchGroup>> {
        self.closed = true;
        let counted = self
            .collections
            .values()
            .flat_map(|collection| collection.groups.values());
        let groups: Vec<_> = counted.map(|one| Arc::clone(&one.group)).collect();
        groups.iter().for_each(|group| group.queue().closed = true);
        groups
    }
}

/// Prepends the events after `after` that the queue of a group does not hold yet.
fn fill(queue: &mut EventQueue, prefix: &str, events: &VecDeque<Arc<StoreEvent>>, after: Revision) {
    if after >= queue.complete_after {
        return;
    }
    let from = events.partition_point(|event| event.revision <= after);
    let to = events.partition_point(|event| event.revision <= queue.complete_after);
    for event in events
        .range(from..to)
        .rev()
        .filter(|event| event.record.key.starts_with(prefix))
    {
        queue.events.push_front(Arc::clone(event));
    }
    queue.complete_after = after;
}

impl CollectionFeed {
    fn is_unused(&self) -> bool {
        self.events.is_empty() && self.groups.is_empty()
    }

    /// Iterates over the groups that watch a prefix of `key`.
    fn groups_of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Arc<WatchGroup>> {
        let cuts = self.lengths.keys().filter_map(|&length| key.get(..length));
        cuts.filter_map(|prefix| self.groups.get(prefix))
            .map(|counted| &counted.group)
    }

    fn append(&mut self, event: &Arc<StoreEvent>, concerned: &mut Vec<Arc<WatchGroup>>) {
        self.events.push_back(Arc::clone(event));
        for group in self.groups_of(&event.record.key) {
            let mut queue = group.queue();
            queue.events.push_back(Arc::clone(event));
            if !std::mem::replace(&mut queue.to_notify, true) {
                concerned.push(Arc::clone(group));
            }
        }
    }

    fn compact(&mut self, event: &StoreEvent) {
        self.events
            .pop_front_if(|first| first.revision <= event.revision);
        for group in self.groups_of(&event.record.key) {
            let mut queue = group.queue();
            queue
                .events
                .pop_front_if(|first| first.revision <= event.revision);
            queue.complete_after = queue.complete_after.max(event.revision);
        }
    }
}
