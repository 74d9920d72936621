//! What makes pods, in one form: built-in workloads, custom objects with pod templates, pods
//! without a controller, and controllers of which the snapshot shows only their pods.
//!
//! Manifests contain templates and no pods, a dump may contain pods without their controllers, and
//! a server's custom controllers are known only by their pods. [`Workloads::of`] makes the same
//! list of all of them; each [`Workload`] says how many pods it has, as far as that is known.
//!
//! Read next: `autoscalers.rs`, which may run more pods than `spec.replicas` says.

mod autoscalers;
mod collect;

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Pod, PodSpec};

pub(crate) use autoscalers::{Autoscaler, autoscalers};

use crate::cluster::ClusterSnapshot;

/// The built-in kinds whose objects say how many pods they want.
const SCALED_KINDS: [&str; 4] = [
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "ReplicationController",
];

/// How many pods a workload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodCount {
    /// Its scale demands between `least` and `most` pods. They differ under an autoscaler.
    Replicas {
        least: i32,
        most: i32,
        /// True when the object sets no replicas, so that the default of one applies.
        by_default: bool,
    },
    /// Nothing shows how many it wants; this many exist.
    Existing(i32),
    /// Nodes or tasks determine the number: DaemonSets, Jobs, CronJobs.
    WithoutScale,
    /// The pod itself.
    OnePod,
}

/// A workload, or a pod without a controller.
#[derive(Clone, Debug)]
pub(crate) struct Workload<'a> {
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) annotations: Option<&'a BTreeMap<String, String>>,
    pub(crate) count: PodCount,
    /// Labels of its pods.
    pub(crate) labels: Option<&'a BTreeMap<String, String>>,
    /// The spec of its pods.
    pub(crate) spec: &'a PodSpec,
}

/// Namespace, kind and name.
type Key<'a> = (&'a str, &'a str, &'a str);

/// All workloads of a snapshot.
pub(crate) struct Workloads<'a> {
    pub(crate) all: Vec<Workload<'a>>,
    by_key: HashMap<Key<'a>, usize>,
    tops: collect::TopOwners<'a>,
}

impl<'a> Workload<'a> {
    /// Returns `KIND NAME`.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// Returns true when it never has more than one pod.
    pub(crate) fn is_single(&self) -> bool {
        match self.count {
            PodCount::Replicas { most, .. } => most == 1,
            PodCount::Existing(pods) => pods == 1 && !self.is_incomplete(),
            PodCount::WithoutScale | PodCount::OnePod => false,
        }
    }

    /// Returns true for an object that only a file can lack, and then perhaps also some of its
    /// pods.
    pub(crate) fn is_incomplete(&self) -> bool {
        matches!(self.count, PodCount::Existing(_)) && SCALED_KINDS.contains(&self.kind)
    }

    /// Returns true when it may have several pods.
    pub(crate) fn is_replicated(&self) -> bool {
        matches!(
            self.count,
            PodCount::Replicas { most: 2.., .. } | PodCount::Existing(2..)
        )
    }

    /// Returns the number of pods beyond which it does not grow, `None` when that is unknown.
    pub(crate) fn most(&self) -> Option<i32> {
        match self.count {
            PodCount::Replicas { most, .. } => Some(most),
            _ => None,
        }
    }
}

impl<'a> Workloads<'a> {
    /// Finds the workloads of a snapshot.
    pub(crate) fn of(snapshot: &'a ClusterSnapshot) -> Self {
        collect::workloads(snapshot)
    }

    /// Returns the index in [`Workloads::all`] of what makes the pod. `None` for pods that have
    /// finished, and mirror pods.
    pub(crate) fn index_of(&self, pod: &'a Pod) -> Option<usize> {
        self.by_key.get(&self.tops.of(pod)).copied()
    }
}

#[cfg(test)]
mod tests;
