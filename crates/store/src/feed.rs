//! The history together with an index of who wants which part of it.
//!
//! Watches with the same prefix form one *group*, which has its own queue of the events that
//! concern it; a thousand watches of one collection are one group with a thousand cursors.
//! For an event the groups are found by cutting its key at each length that some prefix has,
//! so that groups it does not concern cost nothing. Each collection also has a queue of its own,
//! from which a new group is filled.
//!
//! Everything here happens under the store's feed lock; a group's own lock is the innermost one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::history::{Compacted, History};
use crate::record::{Event, Revision, collection_of};
use crate::state::State;

/// See the module.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) history: History,
    collections: HashMap<Box<str>, Collection>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Collection {
    events: VecDeque<Arc<Event>>,
    groups: HashMap<Box<str>, Member>,
    /// How many groups have a prefix of this length.
    lengths: BTreeMap<usize, usize>,
}

#[derive(Debug)]
struct Member {
    group: Arc<Group>,
    watches: usize,
}

/// All watches of one prefix.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) prefix: Box<str>,
    queue: Mutex<Queue>,
    /// Rung when there is something new. Carries nothing: what is new stands in the queue.
    bell: tokio::sync::watch::Sender<()>,
}

/// The events that concern a group.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) events: VecDeque<Arc<Event>>,
    /// Every event after this revision that concerns the group is in `events`.
    pub(crate) complete_after: Revision,
    /// True when nothing will follow.
    pub(crate) closed: bool,
    /// True from the first event that is appended until the bell is rung for it.
    ringing: bool,
}

impl Group {
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn listen(&self) -> tokio::sync::watch::Receiver<()> {
        self.bell.subscribe()
    }

    pub(crate) fn ring(&self) {
        self.queue().ringing = false;
        self.bell.send_replace(());
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

    /// Appends the events of some commits, which lead to `state`. Gives back the groups to ring.
    pub(crate) fn append(
        &mut self,
        events: impl IntoIterator<Item = Arc<Event>>,
        state: &State,
    ) -> Vec<Arc<Group>> {
        let mut concerned: Vec<Arc<Group>> = Vec::new();
        for event in events {
            let name = collection_of(&event.record.key);
            if !self.collections.contains_key(name) {
                self.collections.insert(name.into(), Collection::default());
            }
            if let Some(collection) = self.collections.get_mut(name) {
                collection.append(&event, &mut concerned);
            }
            self.history.push(event);
        }
        self.history.keep(state);
        self.trim(Revision(0));
        concerned
    }

    /// Forgets what is not newer than `until`, and what exceeds the limits.
    pub(crate) fn trim(&mut self, until: Revision) {
        while let Some(event) = self.history.pop(until) {
            let name = collection_of(&event.record.key);
            let Some(collection) = self.collections.get_mut(name) else {
                continue;
            };
            collection.forget(&event);
            if collection.is_unused() {
                self.collections.remove(name);
            }
        }
        self.history.drop_old_roots();
    }

    /// Enters a watch of `prefix` that has seen everything up to `after`.
    pub(crate) fn join(&mut self, prefix: &str, after: Revision) -> Result<Arc<Group>, Compacted> {
        self.history.check(after)?;
        let collection = self
            .collections
            .entry(collection_of(prefix).into())
            .or_default();
        let member = if let Some(member) = collection.groups.get_mut(prefix) {
            member
        } else {
            *collection.lengths.entry(prefix.len()).or_default() += 1;
            let queue = Queue {
                events: VecDeque::new(),
                complete_after: self.history.newest(),
                closed: self.closed,
                ringing: false,
            };
            let (bell, _) = tokio::sync::watch::channel(());
            let group = Arc::new(Group {
                prefix: prefix.into(),
                queue: Mutex::new(queue),
                bell,
            });
            collection
                .groups
                .entry(prefix.into())
                .or_insert(Member { group, watches: 0 })
        };
        member.watches += 1;
        fill(&mut member.group.queue(), prefix, &collection.events, after);
        Ok(Arc::clone(&member.group))
    }

    /// Takes out one watch of `prefix`.
    pub(crate) fn leave(&mut self, prefix: &str) {
        let name = collection_of(prefix);
        let Some(collection) = self.collections.get_mut(name) else {
            return;
        };
        let Some(member) = collection.groups.get_mut(prefix) else {
            return;
        };
        member.watches -= 1;
        if member.watches == 0 {
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

    /// Ends all watches, present and future, once they have delivered what they have.
    /// Gives back the groups to ring.
    pub(crate) fn close(&mut self) -> Vec<Arc<Group>> {
        self.closed = true;
        let members = self
            .collections
            .values()
            .flat_map(|collection| collection.groups.values());
        let groups: Vec<_> = members.map(|member| Arc::clone(&member.group)).collect();
        groups.iter().for_each(|group| group.queue().closed = true);
        groups
    }
}

/// Fetches the events after `after` that an existing or new group does not have yet.
fn fill(queue: &mut Queue, prefix: &str, events: &VecDeque<Arc<Event>>, after: Revision) {
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

impl Collection {
    fn is_unused(&self) -> bool {
        self.events.is_empty() && self.groups.is_empty()
    }

    /// The groups whose prefix `key` begins with.
    fn groups_of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Arc<Group>> {
        let cuts = self.lengths.keys().filter_map(|&length| key.get(..length));
        cuts.filter_map(|prefix| self.groups.get(prefix))
            .map(|member| &member.group)
    }

    fn append(&mut self, event: &Arc<Event>, concerned: &mut Vec<Arc<Group>>) {
        self.events.push_back(Arc::clone(event));
        for group in self.groups_of(&event.record.key) {
            let mut queue = group.queue();
            queue.events.push_back(Arc::clone(event));
            if !std::mem::replace(&mut queue.ringing, true) {
                concerned.push(Arc::clone(group));
            }
        }
    }

    fn forget(&mut self, event: &Event) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::Txn;

    #[test]
    fn nothing_stays_when_history_and_watches_are_gone() {
        let mut feed = Feed::new(History::starting_at(Revision(0), 10, usize::MAX));
        let mut txn = Txn::new(State::empty());
        txn.put("pods/shop/a", "1", None);
        txn.put("nodes/a", "1", None);
        let (state, events) = txn.finish().expect("storable writes");
        for prefix in ["pods/shop/", "pods/shop/", "pods/", "leases/"] {
            feed.join(prefix, Revision(0)).expect("within the history");
        }
        let concerned = feed.append(events, &state);
        assert_eq!(
            concerned
                .iter()
                .map(|group| &*group.prefix)
                .collect::<Vec<_>>(),
            ["pods/", "pods/shop/"]
        );
        feed.trim(state.revision);
        for prefix in ["pods/shop/", "leases/", "pods/", "pods/shop/"] {
            assert!(!feed.collections.is_empty());
            feed.leave(prefix);
        }
        assert!(feed.collections.is_empty(), "{feed:?}");
    }

    #[test]
    fn a_group_is_filled_from_where_each_of_its_watches_begins() {
        let mut feed = Feed::new(History::starting_at(Revision(0), 100, usize::MAX));
        let mut txn = Txn::new(State::empty());
        (0..10).for_each(|number| drop(txn.put(&format!("pods/{number}"), "", None)));
        let (state, events) = txn.finish().expect("storable writes");
        feed.append(events, &state);
        for (after, revisions) in [(8, 9..=10), (3, 4..=10), (5, 4..=10), (0, 1..=10)] {
            let group = feed
                .join("pods/", Revision(after))
                .expect("within the history");
            let queue = group.queue();
            assert!(
                queue
                    .events
                    .iter()
                    .map(|event| event.revision.0)
                    .eq(revisions)
            );
        }
    }
}
