//! Decides what may happen to the pods of a set now. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    ControllerRevision, RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetStatus,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::pod::{claims, make, ordinal, revision_of};
use super::retention::{self, ClaimingPod};
use crate::podcontrol::BURST;
use crate::pods::{Availability, availability, is_finished, is_ready, is_terminating, phase};

/// A request to make about a pod.
#[derive(Debug)]
pub(super) enum StatefulSetAction {
    /// The claims that are missing are created first.
    Create {
        pod: Box<Pod>,
        claims: Vec<PersistentVolumeClaim>,
    },
    Delete(Arc<Pod>),
}

/// A request to make about a claim, before anything is done to pods.
#[derive(Debug)]
pub(super) enum ClaimAction {
    /// Creates a claim that a pending pod waits for.
    Create {
        pod: Arc<Pod>,
        claim: Box<PersistentVolumeClaim>,
    },
    /// Changes the owners of a claim. `conflict` is true when it is managed by another controller.
    Own {
        claim: Arc<PersistentVolumeClaim>,
        owners: Vec<OwnerReference>,
        conflict: bool,
    },
}

/// What to do now.
#[derive(Debug)]
pub(super) struct StatefulSetPlan {
    pub(super) claims: Vec<ClaimAction>,
    pub(super) actions: Vec<StatefulSetAction>,
    /// None when the present status is right.
    pub(super) status: Option<StatefulSetStatus>,
    /// When the next pod becomes available by time alone.
    pub(super) available_at: Option<Timestamp>,
}

/// The revisions of a rolling update.
pub(super) struct Revisions {
    pub(super) current: Arc<ControllerRevision>,
    pub(super) update: Arc<ControllerRevision>,
}

/// Finds a claim of the set's namespace by name.
pub(super) type FindClaim<'a> = &'a (dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>> + Sync);

struct StatefulSetState<'a> {
    set: &'a StatefulSet,
    revisions: &'a Revisions,
    find_claim: FindClaim<'a>,
    first: i32,
    replicas: i32,
    in_order: bool,
    min_ready_seconds: i32,
    now: Timestamp,
}

impl StatefulSetState<'_> {
    fn last(&self) -> i32 {
        self.first.saturating_add(self.replicas)
    }

    fn rolling_update(&self) -> Option<&RollingUpdateStatefulSetStrategy> {
        let spec = self.set.spec.as_ref()?;
        spec.update_strategy.as_ref()?.rolling_update.as_ref()
    }

    /// Pods from this ordinal on are updated.
    fn first_updated(&self) -> i32 {
        let partition = self
            .rolling_update()
            .and_then(|rolling| rolling.partition)
            .unwrap_or_default();
        self.first.saturating_add(partition)
    }

    fn rolls(&self) -> bool {
        let strategy = self
            .set
            .spec
            .as_ref()
            .and_then(|spec| spec.update_strategy.as_ref());
        strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
    }

    fn is_available(&self, pod: &Pod) -> bool {
        phase(pod) == "Running"
            && availability(pod, self.min_ready_seconds, self.now) == Availability::Now
    }

    /// Running, ready for long enough and not about to go.
    fn is_settled(&self, pod: &Pod) -> bool {
        self.is_available(pod) && !is_terminating(pod)
    }

    /// The revision for a new pod: the current one before the partition, else the one that the set
    /// is updated to. Defaulting sets a partition of 0. Only where `rollingUpdate` is absent does
    /// the number of current replicas decide, as upstream.
    fn revision_for(&self, ordinal: i32) -> &ControllerRevision {
        let first_updated = match self.rolling_update() {
            Some(_) => self.first_updated(),
            None if self.rolls() => {
                let status = self.set.status.as_ref();
                let current = status.and_then(|status| status.current_replicas);
                self.first.saturating_add(current.unwrap_or_default())
            }
            None => self.first,
        };
        if ordinal < first_updated {
            &self.revisions.current
        } else {
            &self.revisions.update
        }
    }
}

/// The pods of a set by ordinal.
type SetMembers<'a> = BTreeMap<i32, &'a Arc<Pod>>;

/// Makes the plan.
pub(super) fn plan(
    set: &StatefulSet,
    pods: &[Arc<Pod>],
    find_claim: FindClaim<'_>,
    revisions: &Revisions,
    now: Timestamp,
) -> StatefulSetPlan {
    let spec = set.spec.as_ref();
    let view = StatefulSetState {
        set,
        revisions,
        find_claim,
        first: spec
            .and_then(|spec| spec.ordinals.as_ref()?.start)
            .unwrap_or_default(),
        replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1).max(0),
        in_order: spec.and_then(|spec| spec.pod_management_policy.as_deref()) != Some("Parallel"),
        min_ready_seconds: spec
            .and_then(|spec| spec.min_ready_seconds)
            .unwrap_or_default(),
        now,
    };
    let by_ordinal: SetMembers<'_> = pods
        .iter()
        .filter_map(|pod| Some((ordinal(set, pod.metadata.name.as_deref()?)?, pod)))
        .collect();
    let waits = by_ordinal.values().filter_map(|pod| {
        match availability(pod, view.min_ready_seconds, now) {
            Availability::At(at) => Some(at),
            _ => None,
        }
    });
    let mut plan = StatefulSetPlan {
        claims: Vec::new(),
        actions: Vec::new(),
        status: None,
        available_at: waits.min(),
    };
    let mut replaced = None;
    if set.metadata.deletion_timestamp.is_none() {
        let settled = keep_replicas(&view, &by_ordinal, &mut plan)
            && scale_down(&view, &by_ordinal, &mut plan);
        if settled && plan.actions.is_empty() {
            replaced = next_to_update(&view, &by_ordinal).map(Arc::clone);
        }
    }
    plan.status = status(&view, &by_ordinal, replaced.is_some());
    plan.actions.extend(replaced.map(StatefulSetAction::Delete));
    plan
}

/// Creates missing pods and deletes finished ones. Returns false when an ordered set has to wait
/// before anything else happens.
fn keep_replicas(
    view: &StatefulSetState<'_>,
    pods: &SetMembers<'_>,
    plan: &mut StatefulSetPlan,
) -> bool {
    for ordinal in view.first..view.last() {
        // Creations wake the next reconciliation, which goes on.
        if plan.actions.len() >= BURST {
            return false;
        }
        let Some(pod) = pods.get(&ordinal) else {
            plan.actions.extend(create(view, ordinal));
            if view.in_order {
                return false;
            }
            continue;
        };
        if is_finished(pod) {
            if !is_terminating(pod) {
                plan.actions
                    .push(StatefulSetAction::Delete(Arc::clone(pod)));
            }
            if view.in_order {
                return false;
            }
            continue;
        }
        if phase(pod) == "Pending" {
            let missing = claims(view.set, ordinal).into_iter().filter(|claim| {
                (view.find_claim)(claim.metadata.name.as_deref().unwrap_or_default()).is_none()
            });
            plan.claims.extend(missing.map(|claim| ClaimAction::Create {
                pod: Arc::clone(pod),
                claim: Box::new(claim),
            }));
        }
        if view.in_order && !view.is_settled(pod) {
            return false;
        }
        own_claims(view, ordinal, pod, &mut plan.claims);
    }
    true
}

/// Creates the pod of an ordinal, unless one of its claims goes with an earlier pod of this name.
fn create(view: &StatefulSetState<'_>, ordinal: i32) -> Option<StatefulSetAction> {
    let pod = make(view.set, view.revision_for(ordinal), ordinal);
    let claims = claims(view.set, ordinal);
    let is_stale = claims.iter().any(|claim| {
        (view.find_claim)(claim.metadata.name.as_deref().unwrap_or_default())
            .is_some_and(|known| retention::is_stale(view.set, &known, &pod))
    });
    (!is_stale).then(|| StatefulSetAction::Create {
        pod: Box::new(pod),
        claims,
    })
}

/// Gives the claims of a pod the owners that the retention policy asks for.
fn own_claims(
    view: &StatefulSetState<'_>,
    ordinal: i32,
    pod: &Pod,
    actions: &mut Vec<ClaimAction>,
) {
    let of = ClaimingPod {
        pod,
        in_range: (view.first..view.last()).contains(&ordinal),
    };
    for claim in claims(view.set, ordinal) {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        if let Some(claim) = (view.find_claim)(name)
            && let Some(owners) = retention::owners(view.set, &claim, of)
        {
            actions.push(ClaimAction::Own {
                conflict: retention::conflicts(view.set, &claim, of),
                claim,
                owners,
            });
        }
    }
}

/// Deletes surplus pods from the end. Returns false when an ordered set waits for one of them.
///
/// An unready pod is deleted only when all surplus pods before it are available; the others wait
/// until it is ready. Unlike upstream, nothing waits for a pod that has finished and so will never
/// be ready.
fn scale_down(
    view: &StatefulSetState<'_>,
    pods: &SetMembers<'_>,
    plan: &mut StatefulSetPlan,
) -> bool {
    let is_surplus = |ordinal: i32| ordinal < view.first || ordinal >= view.last();
    let surplus = || pods.iter().filter(|(ordinal, _)| is_surplus(**ordinal));
    for (ordinal, pod) in surplus() {
        own_claims(view, *ordinal, pod, &mut plan.claims);
    }
    let first_unready = surplus()
        .find(|(_, pod)| !view.is_settled(pod))
        .map(|(ordinal, _)| *ordinal);
    for (ordinal, pod) in surplus().rev() {
        if !view.in_order {
            if !is_terminating(pod) {
                plan.actions
                    .push(StatefulSetAction::Delete(Arc::clone(pod)));
            }
            continue;
        }
        let may_go = view.is_settled(pod) || first_unready == Some(*ordinal) || is_finished(pod);
        if may_go && !is_terminating(pod) {
            plan.actions
                .push(StatefulSetAction::Delete(Arc::clone(pod)));
        }
        return false;
    }
    true
}

/// The pod that a rolling update replaces next: from the last ordinal down to the partition, one at
/// a time, each available before the next is deleted.
fn next_to_update<'a>(view: &StatefulSetState<'_>, pods: &SetMembers<'a>) -> Option<&'a Arc<Pod>> {
    if !view.rolls() {
        return None;
    }
    for ordinal in (view.first_updated()..view.last()).rev() {
        let pod = pods.get(&ordinal)?;
        let is_old = revision_of(pod) != view.revisions.update.metadata.name.as_deref();
        if is_old && !is_terminating(pod) {
            return Some(pod);
        }
        if !view.is_settled(pod) {
            return None;
        }
    }
    None
}

fn status(
    view: &StatefulSetState<'_>,
    pods: &SetMembers<'_>,
    replaces: bool,
) -> Option<StatefulSetStatus> {
    let old = view.set.status.clone().unwrap_or_default();
    let count = |wanted: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.values().filter(|pod| wanted(pod)).count()).unwrap_or(i32::MAX)
    };
    let created = |pod: &Pod| !phase(pod).is_empty();
    let of = |pod: &Pod, revision: &ControllerRevision| {
        created(pod)
            && !is_terminating(pod)
            && revision_of(pod) == revision.metadata.name.as_deref()
    };
    let replicas = count(&created);
    let ready = count(&|pod| phase(pod) == "Running" && is_ready(pod));
    let updated = count(&|pod| of(pod, &view.revisions.update));
    // The pod that an update replaces counts as gone already.
    let mut current = count(&|pod| of(pod, &view.revisions.current));
    current = (current - i32::from(replaces)).max(0);
    let mut current_revision = view.revisions.current.metadata.name.clone();
    if view.rolls() && updated == replicas && ready == replicas && updated == view.replicas {
        (current, current_revision) = (updated, view.revisions.update.metadata.name.clone());
    }
    let non_zero = |count: i32| Some(count).filter(|count| *count != 0);
    let new = StatefulSetStatus {
        available_replicas: Some(count(&|pod| view.is_available(pod))),
        collision_count: Some(old.collision_count.unwrap_or_default()),
        conditions: old.conditions.clone(),
        current_replicas: non_zero(current),
        current_revision,
        observed_generation: view.set.metadata.generation,
        ready_replicas: non_zero(ready),
        replicas,
        update_revision: view.revisions.update.metadata.name.clone(),
        updated_replicas: non_zero(updated),
    };
    (new != old).then_some(new)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests;
