//! Computes the status of a deployment. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use rules::conditions::{find, set_last};

use super::revision::ReplicaSets;
use super::scale::{available_of, max_unavailable, replicas_of, wanted};
use crate::meta::{after_seconds, on_wire, until};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const FAILURE: &str = "ReplicaFailure";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// What a reconciliation is about to do, as far as the status depends on it.
pub(super) struct Progress<'a> {
    /// The deployment is paused, being scaled or being deleted: only counts and availability
    /// change.
    pub(super) counts_only: bool,
    /// The name of the set that is about to be created.
    pub(super) creating: Option<&'a str>,
}

fn deadline(deployment: &Deployment) -> Option<i64> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    (seconds != i32::MAX).then_some(i64::from(seconds))
}

fn non_zero(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}

fn sum(sets: &[&Arc<ReplicaSet>], count: impl Fn(&ReplicaSet) -> i32) -> i32 {
    sets.iter().map(|set| count(set)).sum()
}

fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

/// Computes the new status.
pub(super) fn status(
    deployment: &Deployment,
    sets: &ReplicaSets,
    progress: &Progress<'_>,
    now: Timestamp,
) -> DeploymentStatus {
    let old = deployment.status.clone().unwrap_or_default();
    let mut new = counts(deployment, sets, &old, now);
    let conditions = new.conditions.get_or_insert_default();
    if deadline(deployment).is_none() {
        conditions.retain(|condition| condition.type_ != PROGRESSING);
    }
    note_pause(deployment, conditions, now);
    if !progress.counts_only {
        if deadline(deployment).is_some() {
            note_found_set(sets, progress, conditions, now);
        }
        note_progress(deployment, sets, &old, &mut new, now);
        note_failure(sets, new.conditions.get_or_insert_default());
    }
    new.conditions = new.conditions.filter(|conditions| !conditions.is_empty());
    new
}

fn counts(
    deployment: &Deployment,
    sets: &ReplicaSets,
    old: &DeploymentStatus,
    now: Timestamp,
) -> DeploymentStatus {
    let all: Vec<_> = sets.all().collect();
    let available = sum(&all, available_of);
    let terminating = all.iter().map(|set| {
        let status = set.status.as_ref();
        let synced = status
            .and_then(|status| status.observed_generation)
            .is_some();
        status
            .and_then(|status| status.terminating_replicas)
            .or_else(|| (!synced).then_some(0))
    });
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let enough = available >= wanted(deployment) - max_unavailable(deployment);
    let (status, reason, message) = if enough {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    set_condition(
        &mut conditions,
        condition(AVAILABLE, status, reason, message.to_owned(), now),
    );
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: non_zero(sum(&all, actual)),
        updated_replicas: non_zero(sets.new.as_deref().map_or(0, actual)),
        ready_replicas: non_zero(sum(&all, |set| {
            set.status
                .as_ref()
                .and_then(|status| status.ready_replicas)
                .unwrap_or_default()
        })),
        available_replicas: non_zero(available),
        unavailable_replicas: non_zero((sum(&all, replicas_of) - available).max(0)),
        terminating_replicas: terminating.sum(),
        collision_count: old.collision_count,
        conditions: Some(conditions),
    }
}

fn note_pause(deployment: &Deployment, conditions: &mut Vec<DeploymentCondition>, now: Timestamp) {
    if deadline(deployment).is_none() {
        return;
    }
    let paused = deployment
        .spec
        .as_ref()
        .is_some_and(|spec| spec.paused == Some(true));
    let reason = find(conditions, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    match (paused, reason) {
        (_, Some(TIMED_OUT)) => {}
        (true, reason) if reason != Some(PAUSED) => {
            set_condition(
                conditions,
                condition(
                    PROGRESSING,
                    "Unknown",
                    PAUSED,
                    "Deployment is paused".to_owned(),
                    now,
                ),
            );
        }
        (false, Some(PAUSED)) => {
            set_condition(
                conditions,
                condition(
                    PROGRESSING,
                    "Unknown",
                    "DeploymentResumed",
                    "Deployment is resumed".to_owned(),
                    now,
                ),
            );
        }
        _ => {}
    }
}

fn note_found_set(
    sets: &ReplicaSets,
    progress: &Progress<'_>,
    conditions: &mut Vec<DeploymentCondition>,
    now: Timestamp,
) {
    if let Some(name) = progress.creating {
        let message = format!("Created new replica set {name:?}");
        set_condition(
            conditions,
            condition(PROGRESSING, "True", "NewReplicaSetCreated", message, now),
        );
    } else if let Some(set) = &sets.new
        && find(conditions, PROGRESSING).is_none()
    {
        let message = format!(
            "Found new replica set {:?}",
            set.metadata.name.as_deref().unwrap_or_default()
        );
        set_condition(
            conditions,
            condition(PROGRESSING, "True", "FoundNewReplicaSet", message, now),
        );
    }
}

fn note_progress(
    deployment: &Deployment,
    sets: &ReplicaSets,
    old: &DeploymentStatus,
    new: &mut DeploymentStatus,
    now: Timestamp,
) {
    let Some(seconds) = deadline(deployment) else {
        return;
    };
    let before = old
        .conditions
        .as_ref()
        .and_then(|conditions| find(conditions, PROGRESSING))
        .cloned();
    let settled = new.replicas == new.updated_replicas
        && before
            .as_ref()
            .is_some_and(|condition| condition.reason.as_deref() == Some(NEW_SET_AVAILABLE));
    if settled {
        return;
    }
    let subject = match &sets.new {
        Some(set) => format!(
            "ReplicaSet {:?}",
            set.metadata.name.as_deref().unwrap_or_default()
        ),
        None => format!(
            "Deployment {:?}",
            deployment.metadata.name.as_deref().unwrap_or_default()
        ),
    };
    if is_complete(deployment, new) {
        let message = format!("{subject} has successfully progressed.");
        set_condition(
            new.conditions.get_or_insert_default(),
            condition(PROGRESSING, "True", NEW_SET_AVAILABLE, message, now),
        );
    } else if has_progressed(old, new) {
        let progressing = condition(
            PROGRESSING,
            "True",
            "ReplicaSetUpdated",
            format!("{subject} is progressing."),
            now,
        );
        // Set even with the same status and reason: the progress deadline counts from the time of
        // the last update.
        set_last(new.conditions.get_or_insert_default(), progressing);
    } else if has_timed_out(new, seconds, now) {
        let message = format!("{subject} has timed out progressing.");
        set_condition(
            new.conditions.get_or_insert_default(),
            condition(PROGRESSING, "False", TIMED_OUT, message, now),
        );
    }
}

/// True when all wanted pods are updated and available.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = non_zero(wanted(deployment));
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
        && status.observed_generation >= deployment.metadata.generation
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or_default();
    let outdated =
        |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || outdated(new) < outdated(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

fn has_timed_out(status: &DeploymentStatus, seconds: i64, now: Timestamp) -> bool {
    let Some(condition) = status
        .conditions
        .as_ref()
        .and_then(|conditions| find(conditions, PROGRESSING))
    else {
        return false;
    };
    match condition.reason.as_deref() {
        Some(NEW_SET_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => condition
            .last_update_time
            .as_ref()
            .is_some_and(|time| after_seconds(time.0, seconds) < now),
    }
}

/// The time until the progress deadline expires, if nothing happens before.
pub(super) fn recheck(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let seconds = deadline(deployment)?;
    if deployment
        .spec
        .as_ref()
        .is_some_and(|spec| spec.paused == Some(true))
        || is_complete(deployment, status)
    {
        return None;
    }
    let condition = find(status.conditions.as_ref()?, PROGRESSING)?;
    if matches!(
        condition.reason.as_deref(),
        Some(NEW_SET_AVAILABLE | TIMED_OUT)
    ) {
        return None;
    }
    // One second more, because times in objects are whole seconds and the deadline must be past.
    Some(until(
        now,
        after_seconds(condition.last_update_time.as_ref()?.0, seconds + 1),
    ))
}

fn note_failure(sets: &ReplicaSets, conditions: &mut Vec<DeploymentCondition>) {
    let reported = sets.new.iter().chain(&sets.old).find_map(|set| {
        set.status
            .as_ref()?
            .conditions
            .as_ref()?
            .iter()
            .find(|condition| condition.type_ == FAILURE && condition.status == "True")
    });
    match reported {
        Some(reported) => set_condition(
            conditions,
            DeploymentCondition {
                type_: FAILURE.to_owned(),
                status: reported.status.clone(),
                reason: reported.reason.clone(),
                message: reported.message.clone(),
                last_transition_time: reported.last_transition_time.clone(),
                last_update_time: reported.last_transition_time.clone(),
            },
        ),
        None => conditions.retain(|condition| condition.type_ != FAILURE),
    }
}

/// The deployment after the creation of its new set failed; none when its status says so already.
pub(super) fn with_failed_creation(
    deployment: &Deployment,
    message: String,
    now: Timestamp,
) -> Option<Deployment> {
    deadline(deployment)?;
    let mut updated = deployment.clone();
    let conditions = updated
        .status
        .get_or_insert_default()
        .conditions
        .get_or_insert_default();
    set_condition(
        conditions,
        condition(PROGRESSING, "False", "ReplicaSetCreateError", message, now),
    );
    (updated != *deployment).then_some(updated)
}

fn condition(
    ty: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: ty.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(on_wire(now)),
        last_update_time: Some(on_wire(now)),
    }
}

/// Sets a condition, unless one with this status and reason exists: a new message alone is not
/// worth a write.
fn set_condition(conditions: &mut Vec<DeploymentCondition>, new: DeploymentCondition) {
    let known = find(conditions, &new.type_);
    if known.is_none_or(|known| known.status != new.status || known.reason != new.reason) {
        set_last(conditions, new);
    }
}
