//! Decides which pods a rolling update of a daemon set replaces. Pure.
//!
//! Without a surge, old pods are deleted while no more than `maxUnavailable` nodes lack an
//! available pod. With a surge, up to `maxSurge` nodes get a new pod beside the old one, which goes
//! when the new one is available.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::percentage::scaled;
use crate::pods::{Availability, availability, is_terminating};

/// A node with the pods of the set that occupy it.
pub(super) struct DaemonNode<'a> {
    pub(super) name: &'a str,
    pub(super) pods: Vec<&'a Arc<Pod>>,
    /// Whether the node gets a pod.
    pub(super) wanted: bool,
}

/// How many pods an update may lack or have too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) unavailable: i32,
    pub(super) surge: i32,
}

/// True when the set may have two pods on a node.
pub(super) fn allows_surge(set: &DaemonSet) -> bool {
    rolls(set) && share(set, |rolling| rolling.max_surge.as_ref(), 1) > 0
}

/// True unless pods are updated only when somebody deletes them.
pub(super) fn rolls(set: &DaemonSet) -> bool {
    let strategy = set
        .spec
        .as_ref()
        .and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

type Rolling = k8s_openapi::api::apps::v1::RollingUpdateDaemonSet;

fn share(set: &DaemonSet, of: fn(&Rolling) -> Option<&IntOrString>, desired: i32) -> i32 {
    let strategy = set
        .spec
        .as_ref()
        .and_then(|spec| spec.update_strategy.as_ref());
    strategy
        .and_then(|strategy| of(strategy.rolling_update.as_ref()?))
        .map_or(0, |limit| scaled(limit, desired, true))
}

/// The limits for this number of nodes. One of them is always more than 0.
pub(super) fn limits(set: &DaemonSet, desired: i32) -> Limits {
    let limits = Limits {
        unavailable: share(set, |rolling| rolling.max_unavailable.as_ref(), desired),
        surge: share(set, |rolling| rolling.max_surge.as_ref(), desired),
    };
    if limits.unavailable <= 0 && limits.surge <= 0 {
        return Limits {
            unavailable: 1,
            ..limits
        };
    }
    limits
}

/// The next steps of an update.
#[derive(Debug, Default)]
pub(super) struct RolloutStep {
    pub(super) delete: Vec<Arc<Pod>>,
    /// The names of nodes that get a pod.
    pub(super) create: Vec<String>,
}

/// A node in an update: at most one new and one old pod that do not terminate.
struct UpdateSlot<'a> {
    node: &'a DaemonNode<'a>,
    new: Option<&'a Arc<Pod>>,
    old: Option<&'a Arc<Pod>>,
}

/// Decides. `is_new` is true for pods of the present template.
pub(super) fn replace(
    nodes: &[DaemonNode<'_>],
    limits: Limits,
    is_new: impl Fn(&Pod) -> bool,
    is_available: impl Fn(&Pod) -> bool,
) -> RolloutStep {
    let (mut slots, mut crowded) = (Vec::new(), 0);
    for node in nodes {
        match slot(node, &is_new) {
            Some(slot) => slots.push(slot),
            // Surplus pods are deleted before the update goes on.
            None => crowded += 1,
        }
    }
    if limits.surge <= 0 {
        delete_old(&slots, limits.unavailable - crowded, is_available)
    } else {
        let desired = nodes.iter().filter(|node| node.wanted).count();
        surge(&slots, limits.surge - crowded, desired, is_available)
    }
}

fn slot<'a>(node: &'a DaemonNode<'a>, is_new: impl Fn(&Pod) -> bool) -> Option<UpdateSlot<'a>> {
    let (mut new, mut old) = (None, None);
    for pod in node.pods.iter().copied().filter(|pod| !is_terminating(pod)) {
        let place = if is_new(pod) { &mut new } else { &mut old };
        if place.replace(pod).is_some() {
            return None;
        }
    }
    Some(UpdateSlot { node, new, old })
}

/// Deletes old pods: unavailable ones at once, the others as far as there is room.
fn delete_old(
    slots: &[UpdateSlot<'_>],
    mut room: i32,
    is_available: impl Fn(&Pod) -> bool,
) -> RolloutStep {
    let (mut delete, mut candidates) = (Vec::new(), Vec::new());
    for slot in slots {
        match (slot.new, slot.old) {
            (Some(new), None) => room -= i32::from(!is_available(new)),
            (None, Some(old)) if is_available(old) => candidates.push(Arc::clone(old)),
            (None, Some(old)) => {
                room -= 1;
                delete.push(Arc::clone(old));
            }
            (None, None) | (Some(_), Some(_)) => room -= 1,
        }
    }
    candidates.truncate(usize::try_from(room).unwrap_or_default());
    delete.extend(candidates);
    RolloutStep {
        delete,
        create: Vec::new(),
    }
}

/// Creates new pods beside old ones, and deletes old pods that have an available successor.
fn surge(
    slots: &[UpdateSlot<'_>],
    mut room: i32,
    desired: usize,
    is_available: impl Fn(&Pod) -> bool,
) -> RolloutStep {
    let mut steps = RolloutStep::default();
    let (mut candidates, mut misplaced) = (Vec::new(), Vec::new());
    let mut available = 0;
    for slot in slots {
        let counted = slot.old.or(slot.new);
        available += usize::from(counted.is_some_and(|pod| is_available(pod)));
        let Some(old) = slot.old else { continue };
        match slot.new {
            Some(new) if is_available(new) => steps.delete.push(Arc::clone(old)),
            Some(_) => room -= 1,
            None if !slot.node.wanted && is_available(old) => misplaced.push(Arc::clone(old)),
            None if !slot.node.wanted => steps.delete.push(Arc::clone(old)),
            None if is_available(old) => candidates.push(slot.node.name.to_owned()),
            None => steps.create.push(slot.node.name.to_owned()),
        }
    }
    // Pods on nodes that are no longer wanted go only when others do their work.
    misplaced.truncate(available.saturating_sub(desired));
    steps.delete.extend(misplaced);
    candidates.truncate(usize::try_from(room).unwrap_or_default());
    steps.create.extend(candidates);
    steps
}

/// Keeps of the running pods on a node what a surge allows: the oldest new pod and, until that is
/// available, the oldest old one while it is ready. Returns the pods to delete. `running` is sorted
/// by age.
pub(super) fn surplus_of_surge(
    running: &[&Arc<Pod>],
    min_ready_seconds: i32,
    now: Timestamp,
    is_new: impl Fn(&Pod) -> bool,
) -> Vec<Arc<Pod>> {
    let new = running.iter().find(|pod| is_new(pod));
    let old = running.iter().find(|pod| !is_new(pod));
    let kept = |pod: &&&Arc<Pod>| {
        [new, old]
            .into_iter()
            .flatten()
            .any(|kept| Arc::ptr_eq(kept, pod))
    };
    let mut surplus: Vec<Arc<Pod>> = running
        .iter()
        .filter(|pod| !kept(pod))
        .map(|pod| Arc::clone(pod))
        .collect();
    if let (Some(new), Some(old)) = (new, old)
        && (!crate::pods::is_ready(old)
            || availability(new, min_ready_seconds, now) == Availability::Now)
    {
        surplus.push(Arc::clone(old));
    }
    surplus
}
