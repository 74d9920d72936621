//! Starting: init containers one after the other, sidecars among them, then the rest; restarts with
//! growing pauses; the end of a pod that has done its work.

use jiff::Timestamp;

use super::{Note, RunState, Stage, Step, is_running, plus_seconds, with_role};
use crate::pod::desired::{Desired, Role};
use crate::runtime::{Observed, Order};

/// The pause after the first restart, which is immediate.
const FIRST_PAUSE_SECONDS: u32 = 10;
/// Pauses double up to this.
const LONGEST_PAUSE_SECONDS: u32 = 300;
/// A container that ran longer than this starts over with the pauses.
const HEALTHY_AFTER_SECONDS: i64 = 600;

pub(super) fn advance(step: &mut Step, desired: &Desired, observed: &Observed, now: Timestamp) {
    let life = &mut step.life;
    life.initialized |=
        with_role(desired, Role::Main).any(|main| life.runs[main].state != RunState::Waiting);
    with_role(desired, Role::Ephemeral)
        .for_each(|ephemeral| keep_going(step, desired, ephemeral, now));
    let failed = !step.life.initialized && !initialize(step, desired, observed, now);
    if step.life.initialized {
        with_role(desired, Role::Sidecar)
            .for_each(|sidecar| keep_going(step, desired, sidecar, now));
        with_role(desired, Role::Main).for_each(|main| keep_going(step, desired, main, now));
    }
    let complete = step.life.initialized
        && with_role(desired, Role::Main).all(|main| step.life.runs[main].ended().is_some());
    if failed || complete {
        // Sidecars that were just told to start again are not needed any more.
        step.orders.clear();
        step.life.stage = Stage::Terminating {
            since: now,
            grace_seconds: desired.effective_grace(),
        };
    }
}

/// Takes the init containers as far as they go; false when one of them has failed for good.
fn initialize(step: &mut Step, desired: &Desired, observed: &Observed, now: Timestamp) -> bool {
    for (index, container) in desired.containers.iter().enumerate() {
        if matches!(container.role, Role::Main | Role::Ephemeral) {
            continue;
        }
        keep_going(step, desired, index, now);
        let done = match (container.role, step.life.runs[index].ended()) {
            (Role::Sidecar, _) => {
                step.life.runs[index].state == RunState::Ordered
                    && is_running(observed.containers.get(index))
            }
            (_, Some(ended)) if ended.exit_code == 0 => true,
            (_, Some(_)) => return false,
            (_, None) => false,
        };
        if !done {
            return true;
        }
    }
    step.life.initialized = true;
    true
}

/// Starts a container that waits, and decides what follows from its end.
fn keep_going(step: &mut Step, desired: &Desired, index: usize, now: Timestamp) {
    let run = &mut step.life.runs[index];
    match &run.state {
        RunState::Waiting => start(step, desired, index),
        RunState::Ordered => {}
        RunState::BackOff { until, .. } if *until <= now => start(step, desired, index),
        RunState::BackOff { until, .. } => {
            let until = *until;
            step.wake(until);
        }
        RunState::Ended(ended) => {
            if !desired.containers[index].restarts_after(ended.exit_code, desired.restart) {
                return;
            }
            let ended = ended.clone();
            if ended.finished_at.duration_since(ended.started_at).as_secs() > HEALTHY_AFTER_SECONDS
            {
                run.backoff_seconds = 0;
            }
            let seconds = run.backoff_seconds;
            run.backoff_seconds = (seconds * 2).clamp(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS);
            let until = plus_seconds(ended.finished_at, seconds.into());
            run.last = Some(ended);
            if until <= now {
                start(step, desired, index);
            } else {
                run.state = RunState::BackOff { until, seconds };
                step.wake(until);
                let message = format!(
                    "Back-off restarting failed container {} in pod {}_{}({})",
                    desired.containers[index].name, desired.name, desired.namespace, desired.uid
                );
                step.notes.push(Note {
                    warning: true,
                    ..Note::of(index, "BackOff", &message)
                });
            }
        }
    }
}

fn start(step: &mut Step, desired: &Desired, index: usize) {
    let run = &mut step.life.runs[index];
    if run.last.is_some() {
        run.restarts += 1;
    }
    run.state = RunState::Ordered;
    run.told_start = false;
    run.told_unhealthy = false;
    step.orders.push(Order::Start {
        container: index,
        attempt: run.restarts,
    });
    let message = format!(
        "Container image \"{}\" already present on machine",
        desired.containers[index].image
    );
    step.notes.push(Note::of(index, "Pulled", &message));
}
