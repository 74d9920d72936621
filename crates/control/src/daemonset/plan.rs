//! Decides which nodes get a pod and which pods are deleted. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use events::EventType;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};

use super::pod::{is_updated, target, wants};
use super::rollout::{self, DaemonNode, allows_surge, limits, surplus_of_surge};
use crate::nodes;
use crate::podcontrol::BURST;
use crate::pods::{
    Availability, availability, is_finished, is_ready, is_terminating, name, namespace, node_name,
    phase,
};

/// The type, reason and message of an event.
type DaemonEvent = (EventType, &'static str, String);

/// What to do now.
#[derive(Debug, Default)]
pub(super) struct DaemonSetPlan {
    /// The names of nodes that get a pod.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// The nodes of deleted pods that have failed. The next failure there is waited for.
    pub(super) failed_on: Vec<String>,
    pub(super) events: Vec<DaemonEvent>,
    /// None when the present status is right.
    pub(super) status: Option<DaemonSetStatus>,
    /// When to look again.
    pub(super) recheck: Option<Timestamp>,
}

impl DaemonSetPlan {
    fn recheck(&mut self, at: Timestamp) {
        self.recheck = Some(self.recheck.map_or(at, |known| known.min(at)));
    }
}

/// What the plan depends on beside pods and nodes.
pub(super) struct DaemonSetState<'a> {
    pub(super) set: &'a DaemonSet,
    /// The hash of the present template.
    pub(super) hash: &'a str,
    /// When a failed pod of a node may be deleted; none at once.
    pub(super) held_until: &'a (dyn Fn(&str) -> Option<Timestamp> + Sync),
    pub(super) now: Timestamp,
}

impl DaemonSetState<'_> {
    fn min_ready_seconds(&self) -> i32 {
        let spec = self.set.spec.as_ref();
        spec.and_then(|spec| spec.min_ready_seconds)
            .unwrap_or_default()
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        is_updated(self.set, pod, self.hash)
    }

    fn availability(&self, pod: &Pod) -> Availability {
        availability(pod, self.min_ready_seconds(), self.now)
    }
}

/// Makes the plan.
pub(super) fn plan(
    state: &DaemonSetState<'_>,
    pods: &[Arc<Pod>],
    all: &[Arc<Node>],
) -> DaemonSetPlan {
    let mut on: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    // A finished pod that is being deleted no longer occupies its node, whatever holds it.
    for pod in pods
        .iter()
        .filter(|pod| !(is_finished(pod) && is_terminating(pod)))
    {
        on.entry(target(pod)).or_default().push(pod);
    }
    for here in on.values_mut() {
        here.sort_by_key(|pod| age(pod));
    }
    let mut plan = DaemonSetPlan::default();
    let mut counts = DaemonSetCounts::default();
    let mut daemon_nodes: Vec<DaemonNode<'_>> = Vec::new();
    for node in all {
        let name = nodes::name(node);
        let here = on.remove(name);
        let (gets, keeps) = wants(state.set, node);
        manage(state, name, here.as_deref(), (gets, keeps), &mut plan);
        counts.add(state, here.as_deref(), gets, &mut plan);
        if gets || here.is_some() {
            daemon_nodes.push(DaemonNode {
                name,
                pods: here.unwrap_or_default(),
                wanted: gets,
            });
        }
    }
    // The pod garbage collector deletes pods of nodes that no longer exist, but none that were
    // never bound to one.
    let lost = on.values().flatten();
    let unbound = lost.filter(|pod| node_name(pod).is_empty() && !is_terminating(pod));
    plan.delete.extend(unbound.map(|pod| Arc::clone(pod)));
    // An update goes on when nothing else is to be done.
    if plan.create.is_empty() && plan.delete.is_empty() && rollout::rolls(state.set) {
        let steps = rollout::replace(
            &daemon_nodes,
            limits(state.set, counts.desired),
            |pod| state.is_updated(pod),
            |pod| state.availability(pod) == Availability::Now,
        );
        plan.create.extend(steps.create);
        plan.delete.extend(steps.delete);
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan.status = counts.status(state.set);
    plan
}

/// Bound pods come first, and then older ones.
fn age(pod: &Pod) -> (bool, Option<Timestamp>, String) {
    (
        node_name(pod).is_empty(),
        pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        name(pod).to_owned(),
    )
}

/// Creates and deletes pods of one node. `here` are its pods by age; none when it has none.
fn manage(
    state: &DaemonSetState<'_>,
    node: &str,
    here: Option<&[&Arc<Pod>]>,
    (gets, keeps): (bool, bool),
    plan: &mut DaemonSetPlan,
) {
    let Some(here) = here else {
        plan.create.extend(gets.then(|| node.to_owned()));
        return;
    };
    let alive = here.iter().copied().filter(|pod| !is_terminating(pod));
    if !keeps {
        plan.delete.extend(alive.map(Arc::clone));
        return;
    }
    let (finished, running): (Vec<_>, Vec<_>) = alive.partition(|pod| is_finished(pod));
    for pod in finished {
        delete_finished(state, node, pod, plan);
    }
    if !allows_surge(state.set) {
        plan.delete
            .extend(running.iter().skip(1).map(|pod| Arc::clone(pod)));
        return;
    }
    if running.is_empty() {
        plan.create.extend(gets.then(|| node.to_owned()));
        return;
    }
    plan.delete.extend(surplus_of_surge(
        &running,
        state.min_ready_seconds(),
        state.now,
        |pod| state.is_updated(pod),
    ));
}

fn delete_finished(
    state: &DaemonSetState<'_>,
    node: &str,
    pod: &Arc<Pod>,
    plan: &mut DaemonSetPlan,
) {
    let subject = format!("daemon pod {}/{} on node {node}", namespace(pod), name(pod));
    if phase(pod) == "Succeeded" {
        plan.events.push((
            EventType::Normal,
            "SucceededDaemonPod",
            format!("Found succeeded {subject}, will try to delete it"),
        ));
    } else {
        // Kubelets may refuse a pod again and again.
        if let Some(until) = (state.held_until)(node).filter(|until| *until > state.now) {
            plan.recheck(until);
            return;
        }
        plan.failed_on.push(node.to_owned());
        plan.events.push((
            EventType::Warning,
            "FailedDaemonPod",
            format!("Found failed {subject}, will try to kill it"),
        ));
    }
    plan.delete.push(Arc::clone(pod));
}

/// The numbers of the status. The oldest pod of a node counts, also while it terminates.
#[derive(Default)]
struct DaemonSetCounts {
    desired: i32,
    current: i32,
    misscheduled: i32,
    ready: i32,
    available: i32,
    updated: i32,
}

impl DaemonSetCounts {
    fn add(
        &mut self,
        state: &DaemonSetState<'_>,
        here: Option<&[&Arc<Pod>]>,
        gets: bool,
        plan: &mut DaemonSetPlan,
    ) {
        if !gets {
            self.misscheduled += i32::from(here.is_some());
            return;
        }
        self.desired += 1;
        for pod in here.unwrap_or_default() {
            if let Availability::At(at) = state.availability(pod) {
                plan.recheck(at);
            }
        }
        let Some(pod) = here.and_then(<[_]>::first) else {
            return;
        };
        self.current += 1;
        self.ready += i32::from(is_ready(pod));
        self.available += i32::from(state.availability(pod) == Availability::Now);
        self.updated += i32::from(state.is_updated(pod));
    }

    /// None when the present status is right.
    fn status(&self, set: &DaemonSet) -> Option<DaemonSetStatus> {
        let non_zero = |count: i32| Some(count).filter(|count| *count != 0);
        let present = set.status.clone().unwrap_or_default();
        let status = DaemonSetStatus {
            desired_number_scheduled: self.desired,
            current_number_scheduled: self.current,
            number_misscheduled: self.misscheduled,
            number_ready: self.ready,
            number_available: non_zero(self.available),
            number_unavailable: non_zero(self.desired - self.available),
            updated_number_scheduled: non_zero(self.updated),
            observed_generation: set.metadata.generation,
            collision_count: present.collision_count,
            conditions: present.conditions.clone(),
        };
        (status != present).then_some(status)
    }
}

#[cfg(test)]
mod tests;
