//! What the model knows: the store, what is on its way, what the controllers believe, and beside it
//! what only the observer knows, by which right and wrong are told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Names of pods, which come again (as those of a stateful set do).
pub(crate) type Name = u8;
/// Uids of pods, which do not.
pub(crate) type Uid = u8;
/// Time goes by the minute, because all that the protocol waits for is two of them.
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

/// A disruption controller. Its pods lag behind the store, and after a write it may still take the
/// budget for what it was before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Controller {
    /// The pods that it knows; none until it has listed them.
    pub(crate) pods: Option<Pods>,
    /// What has happened to them and has not come to it yet.
    pub(crate) news: VecDeque<News>,
    /// What it knows about the notes of the budget.
    pub(crate) known: Known,
    /// The status that it has sent.
    pub(crate) write: Option<Write>,
    /// The budget before its newest write, which its cache may show still.
    pub(crate) before: Option<Budget>,
    /// When it listed.
    pub(crate) since: Minute,
}

/// What a controller knows about the notes of the budget beside what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    /// Pods that were evicted, and how much news has to come before it knows them as they were
    /// then.
    pub(crate) unsettled: BTreeMap<Name, u8>,
    /// Pods that it has seen go after their eviction.
    pub(crate) served: BTreeSet<Name>,
}

/// What became of a pod, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct News {
    pub(crate) name: Name,
    pub(crate) pod: Option<Pod>,
    pub(crate) minute: Minute,
}

/// A status on its way to the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    /// What it was made from.
    pub(crate) read: Budget,
    pub(crate) status: Status,
    pub(crate) counted: BTreeSet<Uid>,
    /// False as soon as the budget is no more the version from which it was made.
    pub(crate) current: bool,
}

/// An eviction on its way through a server. `meant` is the pod that its client saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Eviction {
    /// It has been sent.
    Sent {
        name: Name,
        uid: Option<Uid>,
        meant: Uid,
    },
    /// A server has read and decided; `current` is false as soon as what it read has changed.
    Decided {
        name: Name,
        pod: Pod,
        meant: Uid,
        charge: bool,
        current: bool,
    },
    /// The budget has paid, and the pod is still to be deleted (which our server never does in two
    /// steps).
    Paid { name: Name, uid: Uid },
}

/// How often things may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    pub(crate) evictions: u8,
    pub(crate) creations: u8,
    pub(crate) deletions: u8,
    pub(crate) flips: u8,
    pub(crate) edits: u8,
    pub(crate) crashes: u8,
    /// Counts from a budget that is older than the controller's own write.
    pub(crate) late: u8,
    pub(crate) minutes: u8,
}

/// What only the observer knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Truth {
    /// The pods that the newest status counts as healthy.
    pub(crate) counted: BTreeSet<Uid>,
    /// Pods that became unready or were deleted without an eviction.
    pub(crate) lost: BTreeSet<Uid>,
    /// The pods that the notes of the budget are about.
    pub(crate) paid_for: BTreeMap<Name, Uid>,
    /// When pods with a note were gone.
    pub(crate) gone: BTreeMap<Name, Minute>,
    /// An eviction took more than the budget allows.
    pub(crate) overdrawn: bool,
    /// An eviction hit a pod that its client did not mean.
    pub(crate) strayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) minute: Minute,
    pub(crate) pods: Pods,
    pub(crate) next_uid: Uid,
    pub(crate) budget: Budget,
    pub(crate) controllers: Vec<Controller>,
    /// Sorted: nobody asks which client sent which.
    pub(crate) evictions: Vec<Eviction>,
    /// A write whose controller is dead, and which may arrive all the same.
    pub(crate) orphan: Option<Write>,
    pub(crate) left: Left,
    pub(crate) truth: Truth,
}

impl World {
    pub(crate) fn healthy(&self) -> usize {
        self.pods.values().filter(|pod| pod.is_healthy()).count()
    }

    /// Puts, or removes, a pod, and sends the news to those who watch.
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

    /// Puts a status, which makes a new version of the budget.
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
