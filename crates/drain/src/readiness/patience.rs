//! How long a pod may take to become ready before that shows that something is wrong: the delays
//! and thresholds of its probes, and the progress deadline of its Deployment.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, Probe};
use rules::after_seconds;

use crate::cluster::ClusterSnapshot;
use crate::pods::{self, condition, controller, controller_of};

/// `progressDeadlineSeconds` of a Deployment that does not set it, and how long pods of other
/// controllers may take until their containers run.
const DEFAULT_DEADLINE_SECONDS: i64 = 600;
/// Restarts of a container that may still be part of a start.
const MAX_RESTARTS: i32 = 2;
/// How long a kubelet may take to notice that a container without probes runs.
const KUBELET_SECONDS: i64 = 10;

/// The time that a pod has left.
pub(super) struct Patience {
    /// Until when slowness is no failure.
    pub(super) until: Timestamp,
    /// When the pod is expected to be ready.
    pub(super) expected: Timestamp,
    /// What gives it the time, as the subject and verb of a sentence.
    pub(super) granted_by: &'static str,
}

/// Returns the time that an unready pod has left. `None` when it has had enough, or when it was
/// ready before.
pub(super) fn of(snapshot: &ClusterSnapshot, pod: &Pod) -> Option<Patience> {
    if was_ready(pod) || restarts_again_and_again(pod) {
        return None;
    }
    let deployment = deployment_of(snapshot, pod);
    let deadline = match deployment {
        Some(deployment) if has_exceeded(deployment) => None,
        Some(deployment) => Some(deadline_of(deployment)),
        None if !runs(pod) => Some(DEFAULT_DEADLINE_SECONDS),
        None => None,
    };
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let from_deadline = match (created, deadline) {
        (Some(created), Some(seconds)) => Some(after_seconds(created, seconds)),
        // Without a time of its birth nothing shows that the pod is late.
        (None, Some(seconds)) if !runs(pod) => Some(after_seconds(snapshot.now, seconds)),
        _ => None,
    };
    let probes = probes(pod);
    let granted_by = match probes {
        Some((until, _)) if until > snapshot.now => "its probes allow",
        _ if deployment.is_some() => "the progress deadline of its Deployment allows",
        _ => "its start may take",
    };
    let until = probes.map(|(until, _)| until).max(from_deadline)?;
    if until <= snapshot.now {
        return None;
    }
    let soon = after_seconds(snapshot.now, 1);
    let expected = match probes {
        Some((_, expected)) if expected > snapshot.now => expected,
        Some(_) => until,
        None => soon,
    };
    Some(Patience {
        until,
        expected: expected.max(soon).min(until.max(soon)),
        granted_by,
    })
}

/// Returns true when all containers run.
fn runs(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let mut states = statuses.map(|status| status.state.as_ref());
    pods::phase(pod) == "Running"
        && states.all(|state| state.is_some_and(|state| state.waiting.is_none()))
}

/// Returns true when containers have ended so often that their next start is no reason for hope.
fn restarts_again_and_again(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    statuses
        .map(|status| status.restart_count)
        .any(|count| count > MAX_RESTARTS)
}

fn started_at(status: &ContainerStatus) -> Option<Timestamp> {
    let running = status.state.as_ref()?.running.as_ref()?;
    running.started_at.as_ref().map(|time| time.0)
}

/// Returns true when the condition Ready became false after all containers had started: a new pod
/// has it before.
fn was_ready(pod: &Pod) -> bool {
    let lost = condition(pod, "Ready")
        .and_then(|ready| ready.last_transition_time.as_ref())
        .map(|time| time.0);
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let last = statuses.filter_map(started_at).max();
    match (lost, last) {
        // Times have no fractions of seconds.
        (Some(lost), Some(started)) => lost > after_seconds(started, 1),
        _ => false,
    }
}

/// Returns until when the probes of the running containers may fail, and when they should succeed.
fn probes(pod: &Pod) -> Option<(Timestamp, Timestamp)> {
    let spec = pod.spec.as_ref()?;
    let statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
    let times = statuses
        .filter(|status| !status.ready)
        .filter_map(|status| {
            let started = started_at(status)?;
            let container = spec.containers.iter().find(|one| one.name == status.name)?;
            let (until, expected) = allowance(container);
            Some((
                after_seconds(started, until),
                after_seconds(started, expected),
            ))
        });
    times.reduce(|one, other| (one.0.max(other.0), one.1.max(other.1)))
}

/// Returns the seconds from the start of a container until its probes must have succeeded, and
/// until they should have.
fn allowance(container: &Container) -> (i64, i64) {
    let most = |probe: &Probe| {
        let tries = i64::from(probe.failure_threshold.unwrap_or(3));
        delay(probe)
            .saturating_add(period(probe).saturating_mul(tries))
            .saturating_add(i64::from(probe.timeout_seconds.unwrap_or(1)))
    };
    let first = |probe: &Probe| {
        let successes = i64::from(probe.success_threshold.unwrap_or(1));
        delay(probe).saturating_add(period(probe).saturating_mul(successes))
    };
    let probes = [&container.startup_probe, &container.readiness_probe];
    let sum = |seconds: &dyn Fn(&Probe) -> i64| {
        let each = probes.into_iter().flatten().map(seconds);
        each.fold(0, i64::saturating_add)
    };
    let (until, expected) = (sum(&most), sum(&first));
    (until.saturating_add(KUBELET_SECONDS), expected)
}

fn delay(probe: &Probe) -> i64 {
    probe.initial_delay_seconds.unwrap_or(0).into()
}

fn period(probe: &Probe) -> i64 {
    // The API server sets 10 for an absent period and for zero.
    let period = probe.period_seconds.filter(|period| *period > 0);
    period.unwrap_or(10).into()
}

fn deployment_of<'a>(snapshot: &'a ClusterSnapshot, pod: &Pod) -> Option<&'a Deployment> {
    let space = pods::namespace(pod);
    let owner = controller_of(pod).filter(|owner| owner.kind == "ReplicaSet")?;
    let set = snapshot.replica_set(space, &owner.name)?;
    let owner = controller(&set.metadata).filter(|owner| owner.kind == "Deployment")?;
    snapshot.deployment(space, &owner.name)
}

fn deadline_of(deployment: &Deployment) -> i64 {
    let own = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.progress_deadline_seconds);
    own.map_or(DEFAULT_DEADLINE_SECONDS, i64::from)
}

fn has_exceeded(deployment: &Deployment) -> bool {
    let conditions = deployment
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.type_ == "Progressing")
        .any(|condition| condition.reason.as_deref() == Some("ProgressDeadlineExceeded"))
}

#[cfg(test)]
mod tests;
