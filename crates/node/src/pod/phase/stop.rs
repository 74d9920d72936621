//! Stopping: preStop hooks, then the stop signal, then the kill, within the grace; sidecars last
//! and in reverse order.
//!
//! Of each container's grace the whole seconds are taken off that its hook and its waiting took. At
//! least two seconds always remain between the signal and the kill. A grace that shrinks takes
//! effect at once; it never grows again.

use std::time::Duration;

use jiff::Timestamp;

use super::{Life, Note, RunState, Stage, Step, Stopping, plus_seconds, with_role};
use crate::pod::desired::{Desired, Phase, Role};
use crate::runtime::{ContainerState, Observed, Order, Seen};

/// Between the stop signal and the kill there is always this much.
const LEAST_SECONDS: u64 = 2;

pub(super) fn advance(step: &mut Step, desired: &Desired, observed: &Observed, now: Timestamp) {
    let Stage::Terminating {
        since,
        grace_seconds,
    } = step.life.stage
    else {
        return;
    };
    let grace = if desired.deletion_grace.is_some() {
        grace_seconds.min(desired.effective_grace())
    } else {
        grace_seconds
    };
    step.life.stage = Stage::Terminating {
        since,
        grace_seconds: grace,
    };
    let shrunk = grace < grace_seconds;

    for index in 0..step.life.runs.len() {
        match step.life.runs[index].state {
            RunState::Ordered => stop(step, desired, observed, index, since, grace, shrunk, now),
            // What waits for a restart has ended; it does not look as if it would come again.
            RunState::BackOff { .. } => {
                let run = &mut step.life.runs[index];
                run.state = run.last.take().map_or(RunState::Waiting, RunState::Ended);
            }
            RunState::Waiting | RunState::Ended(_) => {}
        }
    }
    if step.life.all_stopped() {
        step.life.stage = Stage::Terminated;
        step.life.phase = final_phase(&step.life, desired);
        // What never ran or got lost is reported as such, since nothing will be known of it any
        // more.
        close_the_books(&mut step.life, desired, now);
        step.orders.push(Order::Remove);
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one story: they are the facts of the pod that each container's stop depends on"
)]
fn stop(
    step: &mut Step,
    desired: &Desired,
    observed: &Observed,
    index: usize,
    since: Timestamp,
    grace: u64,
    shrunk: bool,
    now: Timestamp,
) {
    let seen = observed.containers.get(index);
    if matches!(
        seen,
        Some(Seen {
            state: ContainerState::Creating,
            ..
        })
    ) {
        step.orders.push(Order::Stop {
            container: index,
            timeout: Duration::ZERO,
        });
        return;
    }
    if step.life.runs[index].stop == Stopping::No {
        let message = format!("Stopping container {}", desired.containers[index].name);
        step.notes.push(Note::of(index, "Killing", &message));
        if desired.containers[index].has_pre_stop {
            step.life.runs[index].stop = Stopping::Hook { since: now };
            step.orders.push(Order::PreStop { container: index });
            return;
        }
        step.life.runs[index].stop = Stopping::Turn {
            since: now,
            remaining_seconds: grace,
        };
    }
    if let Stopping::Hook { since: began } = step.life.runs[index].stop {
        let deadline = plus_seconds(began, grace);
        if !seen.is_some_and(|seen| seen.hook_done) && now < deadline {
            step.wake(deadline);
            return;
        }
        if let Some(why) = seen.and_then(|seen| seen.hook_failure.as_deref()) {
            tracing::debug!(pod = &*desired.name, why, "preStop hook failed");
            step.notes.push(Note {
                warning: true,
                ..Note::of(index, "FailedPreStopHook", "PreStopHook failed")
            });
        }
        step.life.runs[index].stop = Stopping::Turn {
            since: now,
            remaining_seconds: grace.saturating_sub(whole_seconds(began, now)),
        };
    }
    if let Stopping::Turn {
        since: began,
        remaining_seconds,
    } = step.life.runs[index].stop
    {
        let remaining_seconds = remaining_seconds.min(grace);
        let deadline = plus_seconds(began, remaining_seconds);
        if !is_its_turn(&step.life, desired, index) && now < deadline {
            step.wake(deadline);
            return;
        }
        let timeout = remaining_seconds
            .saturating_sub(whole_seconds(began, now))
            .max(LEAST_SECONDS);
        step.life.runs[index].stop = Stopping::Signalled {
            kill_at: plus_seconds(now, timeout),
        };
        step.orders.push(Order::Stop {
            container: index,
            timeout: Duration::from_secs(timeout),
        });
        return;
    }
    if let Stopping::Signalled { kill_at } = step.life.runs[index].stop
        && shrunk
    {
        let timeout = grace
            .saturating_sub(whole_seconds(since, now))
            .max(LEAST_SECONDS);
        let earlier = plus_seconds(now, timeout);
        if earlier < kill_at {
            step.life.runs[index].stop = Stopping::Signalled { kill_at: earlier };
            step.orders.push(Order::Stop {
                container: index,
                timeout: Duration::from_secs(timeout),
            });
        }
    }
}

/// A sidecar stops when all ordinary containers and the sidecar declared after it have stopped.
fn is_its_turn(life: &Life, desired: &Desired, index: usize) -> bool {
    if desired.containers[index].role != Role::Sidecar {
        return true;
    }
    let stopped = |other: usize| life.runs[other].state != RunState::Ordered;
    with_role(desired, Role::Main).all(stopped)
        && with_role(desired, Role::Sidecar)
            .find(|other| *other > index)
            .is_none_or(stopped)
}

fn whole_seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0)
}

/// The phase in which a pod ends: by the exit codes, whatever the restart policy says.
fn final_phase(life: &Life, desired: &Desired) -> Phase {
    if desired.phase.is_terminal() {
        return desired.phase;
    }
    let well = with_role(desired, Role::Main).all(|main| {
        life.runs[main]
            .ended()
            .is_some_and(|ended| ended.exit_code == 0)
    });
    if well {
        Phase::Succeeded
    } else {
        Phase::Failed
    }
}

/// Containers without a known end get one: ordinary ones if the pod was initialized, init
/// containers up to the last that ever started.
fn close_the_books(life: &mut Life, desired: &Desired, now: Timestamp) {
    let started = |life: &Life, index: usize| {
        life.runs[index].state != RunState::Waiting || life.runs[index].last.is_some()
    };
    let inits = desired
        .containers
        .iter()
        .take_while(|container| container.role != Role::Main)
        .count();
    let last_init = (0..inits)
        .rev()
        .find(|index| started(life, *index))
        .map_or(0, |index| index + 1);
    for index in 0..life.runs.len() {
        let applies = if index < inits {
            index < last_init
        } else {
            life.initialized
        };
        if applies && life.runs[index].state == RunState::Waiting {
            life.runs[index].state = RunState::Ended(Box::new(super::lost(now)));
        }
    }
}
