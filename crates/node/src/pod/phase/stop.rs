//! The `Terminating` work of a pod: preStop hooks, then the stop signal, then the kill, within the
//! grace period; sidecars last and in reverse order.
//!
//! The grace period covers the hook, the wait of a sidecar for its turn, and the time between stop
//! signal and kill, at whole seconds as in a kubelet. At least two seconds always remain between
//! the signal and the kill. A grace period that a second deletion shortens takes effect at once; it
//! is never extended.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    PodEvent, PodWork, RecordedState, StopState, SyncResult, WorkerState, plus_seconds,
    unknown_exit, with_role,
};
use crate::pod::desired::{ContainerRole, DesiredPod, PodPhase};
use crate::runtime::{ContainerObservation, ContainerState, PodObservation, RuntimeRequest};

/// The shortest time between the stop signal and the kill, a kubelet's minimum grace period.
const MIN_STOP_SECONDS: u64 = 2;

/// The terms on which all containers of a pod stop.
#[derive(Clone, Copy)]
struct GracePeriod {
    since: Timestamp,
    seconds: u64,
    /// True when this call has shortened it.
    shortened: bool,
}

impl GracePeriod {
    /// Returns the whole seconds that are left at `now`.
    fn left(self, now: Timestamp) -> u64 {
        self.seconds.saturating_sub(whole_seconds(self.since, now))
    }
}

/// Stops the containers as far as possible. Moves the pod on to `Terminated` when none runs.
pub(super) fn terminate(
    result: &mut SyncResult,
    desired: &DesiredPod,
    observed: &PodObservation,
    now: Timestamp,
) {
    let PodWork::Terminating {
        since,
        grace_seconds,
    } = result.state.work
    else {
        return;
    };
    let seconds = if desired.deletion_grace.is_some() {
        grace_seconds.min(desired.effective_grace_seconds())
    } else {
        grace_seconds
    };
    result.state.work = PodWork::Terminating {
        since,
        grace_seconds: seconds,
    };
    let grace = GracePeriod {
        since,
        seconds,
        shortened: seconds < grace_seconds,
    };
    for index in 0..result.state.containers.len() {
        let record = &mut result.state.containers[index];
        match record.state {
            RecordedState::Started => stop(result, desired, observed, index, grace, now),
            RecordedState::BackOff { .. } => record.cancel_restart(),
            RecordedState::Waiting | RecordedState::Exited(_) => {}
        }
    }
    if !result.state.has_running_container() {
        result.state.work = PodWork::Terminated;
        result.state.phase = final_phase(&result.state, desired);
        record_missing_exits(&mut result.state, desired, now);
        result.requests.push(RuntimeRequest::RemovePod);
    }
}

/// Takes one container through the states of [`StopState`], as far as it goes now.
fn stop(
    result: &mut SyncResult,
    desired: &DesiredPod,
    observed: &PodObservation,
    index: usize,
    grace: GracePeriod,
    now: Timestamp,
) {
    let seen = observed.containers.get(index);
    if result.state.containers[index].stop == StopState::NotBegun {
        if seen.is_some_and(|seen| seen.state == ContainerState::Creating) {
            // There is no process that could use a hook or a grace period.
            request_stop(result, index, 0, now);
            return;
        }
        let container = &desired.containers[index];
        let message = format!("Stopping container {}", container.name);
        result
            .events
            .push(PodEvent::normal(index, "Killing", &message));
        if container.has_pre_stop {
            result.state.containers[index].stop = StopState::PreStopHook { since: now };
            result
                .requests
                .push(RuntimeRequest::RunPreStopHook { container: index });
            return;
        }
        result.state.containers[index].stop = StopState::WaitingForTurn {
            since: now,
            remaining_seconds: grace.seconds,
        };
    }
    if let StopState::PreStopHook { since } = result.state.containers[index].stop {
        let deadline = plus_seconds(since, grace.seconds);
        if !seen.is_some_and(|seen| seen.hook_done) && now < deadline {
            result.wake(deadline);
            return;
        }
        report_hook_failure(result, desired, seen, index);
        result.state.containers[index].stop = StopState::WaitingForTurn {
            since: now,
            remaining_seconds: grace.seconds.saturating_sub(whole_seconds(since, now)),
        };
    }
    if let StopState::WaitingForTurn {
        since,
        remaining_seconds,
    } = result.state.containers[index].stop
    {
        // The grace period may have been shortened since the wait began.
        let remaining_seconds = remaining_seconds.min(grace.left(since));
        let deadline = plus_seconds(since, remaining_seconds);
        if !is_its_turn(&result.state, desired, index) && now < deadline {
            result.wake(deadline);
            return;
        }
        let timeout = remaining_seconds
            .saturating_sub(whole_seconds(since, now))
            .max(MIN_STOP_SECONDS);
        request_stop(result, index, timeout, now);
        return;
    }
    if let StopState::Signalled { kill_at } = result.state.containers[index].stop
        && grace.shortened
    {
        let timeout = grace.left(now).max(MIN_STOP_SECONDS);
        if plus_seconds(now, timeout) < kill_at {
            request_stop(result, index, timeout, now);
        }
    }
}

fn request_stop(result: &mut SyncResult, index: usize, timeout_seconds: u64, now: Timestamp) {
    result.state.containers[index].stop = StopState::Signalled {
        kill_at: plus_seconds(now, timeout_seconds),
    };
    result.requests.push(RuntimeRequest::StopContainer {
        container: index,
        timeout: Duration::from_secs(timeout_seconds),
    });
}

fn report_hook_failure(
    result: &mut SyncResult,
    desired: &DesiredPod,
    seen: Option<&ContainerObservation>,
    index: usize,
) {
    if let Some(why) = seen.and_then(|seen| seen.hook_failure.as_deref()) {
        // The event does not carry the reason: it can contain output of the container.
        tracing::debug!(pod = &*desired.name, why, "preStop hook failed");
        result.events.push(PodEvent::warning(
            index,
            "FailedPreStopHook",
            "PreStopHook failed",
        ));
    }
}

/// Returns true unless the container is a sidecar that others still need. A sidecar stops after all
/// main containers and after the sidecar that is declared behind it.
fn is_its_turn(state: &WorkerState, desired: &DesiredPod, index: usize) -> bool {
    if desired.containers[index].role != ContainerRole::Sidecar {
        return true;
    }
    let stopped = |other: usize| state.containers[other].state != RecordedState::Started;
    with_role(desired, ContainerRole::Main).all(stopped)
        && with_role(desired, ContainerRole::Sidecar)
            .find(|other| *other > index)
            .is_none_or(stopped)
}

fn whole_seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0)
}

/// Returns the final phase of a pod. It depends on its deadline and the exit codes, not on the
/// restart policy.
fn final_phase(state: &WorkerState, desired: &DesiredPod) -> PodPhase {
    if desired.phase.is_terminal() {
        return desired.phase;
    }
    if state.past_deadline {
        return PodPhase::Failed;
    }
    let succeeded = with_role(desired, ContainerRole::Main).all(|main| {
        state.containers[main]
            .exit()
            .is_some_and(|exit| exit.exit_code == 0)
    });
    if succeeded {
        PodPhase::Succeeded
    } else {
        PodPhase::Failed
    }
}

/// Records an exit for containers without one, because nothing more will be known of them: for main
/// containers if the pod was initialized, for init containers up to the last one that has started.
fn record_missing_exits(state: &mut WorkerState, desired: &DesiredPod, now: Timestamp) {
    let started = |state: &WorkerState, index: usize| {
        let record = &state.containers[index];
        record.state != RecordedState::Waiting || record.last_exit.is_some()
    };
    let inits = desired
        .containers
        .iter()
        .take_while(|container| container.role != ContainerRole::Main)
        .count();
    let started_inits = (0..inits)
        .rev()
        .find(|index| started(state, *index))
        .map_or(0, |last| last + 1);
    for index in 0..state.containers.len() {
        let applies = if index < inits {
            index < started_inits
        } else {
            state.initialized
        };
        let record = &mut state.containers[index];
        if applies && record.state == RecordedState::Waiting {
            record.state = RecordedState::Exited(Box::new(unknown_exit(now)));
        }
    }
}
