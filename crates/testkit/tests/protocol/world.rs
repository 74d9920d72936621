//! The state of the model: the store, messages in flight, the caches of the controllers, and the
//! facts that only the observer knows, on which the properties are checked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Names of pods, which are reused, as those of a StatefulSet.
pub(crate) type Name = u8;
/// Uids of pods, which are not reused.
pub(crate) type Uid = u8;
/// Time in minutes: the only delay of the protocol is two of them.
pub(crate) type Minute = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pod {
    pub(crate) uid: Uid,
    pub(crate) ready: bool,
    pub(crate) leaving: bool,
}

impl Pod {
    pub(crate) fn is_healthy(self) -> bool {
        self.ready && !self.leaving
    }
}

pub(crate) type Pods = BTreeMap<Name, Pod>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) generation: u8,
    /// `minAvailable`
    pub(crate) floor: u8,
    pub(crate) status: Status,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Status {
    pub(crate) observed: u8,
    pub(crate) healthy: u8,
    pub(crate) desired: u8,
    pub(crate) expected: u8,
    pub(crate) allowed: i8,
    /// `disruptedPods`
    pub(crate) notes: BTreeMap<Name, Minute>,
    /// The condition `DisruptionAllowed`.
    pub(crate) verdict: Option<bool>,
}

/// A disruption controller. Its cache of pods lags behind the store, and after a write its cache of
/// the budget may still hold the version before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Controller {
    /// The cached pods; `None` until it has listed them.
    pub(crate) pods: Option<Pods>,
    /// Changes of pods that have not reached the cache.
    pub(crate) news: VecDeque<News>,
    /// What it knows about the `disruptedPods` entries of the budget.
    pub(crate) known: Known,
    /// The status update in flight.
    pub(crate) write: Option<Write>,
    /// The budget before its newest write, which the cache may still hold.
    pub(crate) before: Option<Budget>,
    /// When it listed the pods.
    pub(crate) since: Minute,
}

/// What a controller knows about the `disruptedPods` entries besides their contents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    /// Evicted pods, with the number of changes that must reach the cache before it holds their
    /// state at that time.
    pub(crate) unsettled: BTreeMap<Name, u8>,
    /// Pods whose deletion it observed after their eviction.
    pub(crate) served: BTreeSet<Name>,
}

/// A change of a pod, with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct News {
    pub(crate) name: Name,
    pub(crate) pod: Option<Pod>,
    pub(crate) minute: Minute,
}

/// A status update in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    /// The budget from which it was computed.
    pub(crate) read: Budget,
    pub(crate) status: Status,
    pub(crate) counted: BTreeSet<Uid>,
    /// Whether the budget still has the version from which it was computed.
    pub(crate) current: bool,
}

/// An eviction in flight. `meant` is the uid of the pod that its client read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Eviction {
    /// The request was sent.
    Sent {
        name: Name,
        uid: Option<Uid>,
        meant: Uid,
    },
    /// A server has read and decided; `current` is false once the objects that it read have
    /// changed.
    Decided {
        name: Name,
        pod: Pod,
        meant: Uid,
        charge: bool,
        current: bool,
    },
    /// The budget was charged, and the pod is not deleted yet. Our server does both in one commit.
    Paid { name: Name, uid: Uid },
}

/// How often each kind of step may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    pub(crate) evictions: u8,
    pub(crate) creations: u8,
    pub(crate) deletions: u8,
    pub(crate) flips: u8,
    pub(crate) edits: u8,
    pub(crate) crashes: u8,
    /// Computations from a budget that is older than the controller's own write.
    pub(crate) late: u8,
    pub(crate) minutes: u8,
}

/// The facts that only the observer knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Truth {
    /// The pods that the newest status counts as healthy.
    pub(crate) counted: BTreeSet<Uid>,
    /// Pods that became unready or were deleted without an eviction.
    pub(crate) lost: BTreeSet<Uid>,
    /// The pods of the `disruptedPods` entries.
    pub(crate) paid_for: BTreeMap<Name, Uid>,
    /// When pods with an entry were deleted.
    pub(crate) gone: BTreeMap<Name, Minute>,
    /// Whether an eviction disrupted more pods than the budget allows.
    pub(crate) overdrawn: bool,
    /// Whether an eviction deleted a pod that its client did not mean.
    pub(crate) strayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) minute: Minute,
    pub(crate) pods: Pods,
    pub(crate) next_uid: Uid,
    pub(crate) budget: Budget,
    pub(crate) controllers: Vec<Controller>,
    /// Sorted, because it does not matter which client sent which.
    pub(crate) evictions: Vec<Eviction>,
    /// A status update of a crashed controller, which may still arrive.
    pub(crate) orphan: Option<Write>,
    pub(crate) left: Left,
    pub(crate) truth: Truth,
}

impl World {
    pub(crate) fn healthy(&self) -> usize {
        self.pods.values().filter(|pod| pod.is_healthy()).count()
    }

    /// Writes or removes a pod and queues the change for the watches.
    pub(crate) fn put_pod(&mut self, name: Name, pod: Option<Pod>) {
        let before = match pod {
            Some(pod) => self.pods.insert(name, pod),
            None => self.pods.remove(&name),
        };
        let news = News {
            name,
            pod,
            minute: self.minute,
        };
        for controller in self
            .controllers
            .iter_mut()
            .filter(|controller| controller.pods.is_some())
        {
            controller.news.push_back(news);
        }
        for eviction in &mut self.evictions {
            if let Eviction::Decided {
                name: other,
                pod: seen,
                current,
                ..
            } = eviction
                && *other == name
                && Some(*seen) == before
            {
                *current = false;
            }
        }
    }

    /// Writes a status, which creates a new version of the budget.
    pub(crate) fn put_status(&mut self, status: Status) {
        self.budget.status = status;
        let notes = &self.budget.status.notes;
        self.truth
            .paid_for
            .retain(|name, _| notes.contains_key(name));
        self.truth.gone.retain(|name, _| notes.contains_key(name));
        for controller in &mut self.controllers {
            controller
                .known
                .unsettled
                .retain(|name, _| notes.contains_key(name));
            controller
                .known
                .served
                .retain(|name| notes.contains_key(name));
        }
        self.new_version();
    }

    pub(crate) fn new_version(&mut self) {
        self.controllers
            .iter_mut()
            .filter_map(|controller| controller.write.as_mut())
            .for_each(|write| write.current = false);
        self.orphan
            .iter_mut()
            .for_each(|write| write.current = false);
        for eviction in &mut self.evictions {
            if let Eviction::Decided { current, .. } = eviction {
                *current = false;
            }
        }
    }
}
