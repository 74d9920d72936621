//! The `Sync` work of a pod: init containers one after the other with the sidecars among them, then
//! the rest; restarts with growing pauses; the end of a pod that has done its work.

use jiff::Timestamp;

use super::{PodEvent, PodWork, RecordedState, SyncResult, is_running, plus_seconds, with_role};
use crate::pod::desired::{ContainerRole, DesiredPod};
use crate::runtime::{PodObservation, RuntimeRequest};

/// The pause before the second restart. The first restart is immediate, and later pauses double.
const FIRST_BACKOFF_SECONDS: u32 = 10;
/// The longest pause between two restarts.
const MAX_BACKOFF_SECONDS: u32 = 300;
/// The reason of the event that a start was requested.
const PULLED: &str = "Pulled";
/// A container that ran longer than this starts over with the pauses.
const BACKOFF_RESET_SECONDS: i64 = 600;

/// Starts the containers that are due. Moves the pod on to `Terminating` when its main containers
/// are done or when an init container has failed for good.
pub(super) fn sync(
    result: &mut SyncResult,
    desired: &DesiredPod,
    observed: &PodObservation,
    now: Timestamp,
) {
    let state = &mut result.state;
    state.initialized |= with_role(desired, ContainerRole::Main)
        .any(|main| state.containers[main].state != RecordedState::Waiting);
    with_role(desired, ContainerRole::Ephemeral)
        .for_each(|ephemeral| sync_container(result, desired, ephemeral, now));
    let failed = !result.state.initialized && !initialize(result, desired, observed, now);
    if result.state.initialized {
        with_role(desired, ContainerRole::Sidecar)
            .for_each(|sidecar| sync_container(result, desired, sidecar, now));
        with_role(desired, ContainerRole::Main)
            .for_each(|main| sync_container(result, desired, main, now));
    }
    let complete = result.state.initialized
        && with_role(desired, ContainerRole::Main)
            .all(|main| result.state.containers[main].exit().is_some());
    if failed || complete {
        cancel_starts(result);
        result.state.work = PodWork::Terminating {
            since: now,
            grace_seconds: desired.effective_grace_seconds(),
        };
    }
}

/// Starts init containers as far as possible. Returns false when one of them has failed for good.
fn initialize(
    result: &mut SyncResult,
    desired: &DesiredPod,
    observed: &PodObservation,
    now: Timestamp,
) -> bool {
    for (index, container) in desired.containers.iter().enumerate() {
        if matches!(
            container.role,
            ContainerRole::Main | ContainerRole::Ephemeral
        ) {
            continue;
        }
        sync_container(result, desired, index, now);
        let record = &result.state.containers[index];
        let done = match (container.role, record.exit()) {
            (ContainerRole::Sidecar, _) => {
                record.state == RecordedState::Started && is_running(observed.containers.get(index))
            }
            (_, Some(exit)) if exit.exit_code == 0 => true,
            (_, Some(_)) => return false,
            (_, None) => false,
        };
        if !done {
            return true;
        }
    }
    result.state.initialized = true;
    true
}

/// Starts a container that waits, and restarts one that has exited if its policy says so.
fn sync_container(result: &mut SyncResult, desired: &DesiredPod, index: usize, now: Timestamp) {
    let record = &mut result.state.containers[index];
    match &record.state {
        RecordedState::Waiting => start(result, desired, index),
        RecordedState::Started => {}
        RecordedState::BackOff { until, .. } if *until <= now => start(result, desired, index),
        RecordedState::BackOff { until, .. } => {
            let until = *until;
            result.wake(until);
        }
        RecordedState::Exited(exit) => {
            if !desired.containers[index].restarts_after(exit.exit_code, desired.restart_policy) {
                return;
            }
            let exit = exit.clone();
            let ran = exit.finished_at.duration_since(exit.started_at);
            if ran.as_secs() > BACKOFF_RESET_SECONDS {
                record.backoff_seconds = 0;
            }
            let seconds = record.backoff_seconds;
            record.backoff_seconds =
                (seconds * 2).clamp(FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS);
            // Counted from the exit and not from now, so that it does not depend on when the exit
            // is noticed.
            let until = plus_seconds(exit.finished_at, seconds.into());
            record.last_exit = Some(exit);
            if until <= now {
                start(result, desired, index);
            } else {
                record.state = RecordedState::BackOff { until, seconds };
                result.wake(until);
                let message = format!(
                    "Back-off restarting failed container {} in pod {}_{}({})",
                    desired.containers[index].name, desired.name, desired.namespace, desired.uid
                );
                result
                    .events
                    .push(PodEvent::warning(index, "BackOff", &message));
            }
        }
    }
}

fn start(result: &mut SyncResult, desired: &DesiredPod, index: usize) {
    let record = &mut result.state.containers[index];
    if record.last_exit.is_some() {
        record.restart_count += 1;
    }
    record.state = RecordedState::Started;
    record.start_reported = false;
    record.unhealthy_reported = false;
    result.requests.push(RuntimeRequest::StartContainer {
        container: index,
        attempt: record.restart_count,
    });
    let message = format!(
        "Container image \"{}\" already present on machine",
        desired.containers[index].image
    );
    result
        .events
        .push(PodEvent::normal(index, PULLED, &message));
}

/// Takes back the starts that this call has requested, because the pod terminates: a sidecar that
/// crashed at the moment when the work was done is not restarted.
fn cancel_starts(result: &mut SyncResult) {
    for request in std::mem::take(&mut result.requests) {
        let RuntimeRequest::StartContainer { container, .. } = request else {
            continue;
        };
        let record = &mut result.state.containers[container];
        if record.last_exit.is_some() {
            record.restart_count -= 1;
        }
        record.cancel_restart();
    }
    result.events.retain(|event| event.reason != PULLED);
}
