//! The life of one pod, as a pure function: what is wanted, what is remembered, what is observed
//! and the time go in; orders, notes, a status and the next moment to look come out.
//!
//! A life has three stages and never goes back: `Running` ([`start`]), `Terminating` ([`stop`]),
//! `Terminated`. The caller applies the orders and asks again until there are none; only then is
//! there a status to publish, so that it shows what the orders led to.

mod start;
mod stop;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};

use super::desired::{Desired, Phase, Role};
use super::status::render::{self, Transition};
use super::status::{ContainerStatus, OWNED_CONDITIONS, PodStatus};
use crate::runtime::{ContainerState, Ended, Observed, Order, Seen};

/// What is remembered of a pod between two steps.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) stage: Stage,
    pub(crate) phase: Phase,
    /// One per container, in their order.
    pub(crate) runs: Vec<Run>,
    /// All init containers are done. Never goes back.
    pub(crate) initialized: bool,
    /// When the node took the pod.
    pub(crate) start_time: Timestamp,
    pub(crate) ip: Option<Ipv4Addr>,
    pub(crate) host_ip: Ipv4Addr,
    /// Our conditions as they stand, in the order of [`OWNED_CONDITIONS`].
    pub(crate) transitions: [Option<Transition>; OWNED_CONDITIONS.len()],
}

/// How far a life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Containers are started and started again. Leaves when the pod is deleted, gone or complete.
    Running,
    /// No container is started any more. Leaves when none runs.
    Terminating {
        since: Timestamp,
        /// Can only shrink.
        grace_seconds: u64,
    },
    /// Nothing runs; the object may go.
    Terminated,
}

/// What is remembered of one container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) state: RunState,
    pub(crate) restarts: u32,
    /// How the attempt before ended.
    pub(crate) last: Option<Box<Ended>>,
    /// Seconds that the next restart waits.
    pub(crate) backoff_seconds: u32,
    pub(crate) stop: Stopping,
    /// Id of the image, once the runtime has told it.
    pub(crate) image_id: Box<str>,
    /// The start of this attempt was told as an event.
    told_start: bool,
    /// That this attempt is unhealthy was told as an event.
    told_unhealthy: bool,
}

/// What a container is about to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum RunState {
    /// Waits for its first start.
    #[default]
    Waiting,
    /// A start was ordered; the runtime knows the rest.
    Ordered,
    /// Ended, and waits to be started again.
    BackOff { until: Timestamp, seconds: u32 },
    /// Ended for good, or about to be started again in this very step.
    Ended(Box<Ended>),
}

/// How far stopping a container has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// Not begun.
    #[default]
    No,
    /// Its preStop hook runs.
    Hook { since: Timestamp },
    /// Waits until others have stopped.
    Turn {
        since: Timestamp,
        remaining_seconds: u64,
    },
    /// The stop signal was sent, the kill comes at this time.
    Signalled { kill_at: Timestamp },
}

/// Something that people should read in the pod's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) container: Option<usize>,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What follows from one look at a pod.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) life: Life,
    pub(crate) orders: Vec<Order>,
    pub(crate) notes: Vec<Note>,
    /// What the API should show; none while there are orders, since these change it.
    pub(crate) status: Option<PodStatus>,
    /// When to look again, even if nothing happens.
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) end: End,
}

/// Whether the object is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is.
    No,
    /// The API shall remove it, once it shows the final status.
    Delete,
    /// The API has removed it; nothing is left to do.
    Forget,
}

impl Life {
    /// The life of a pod that this agent sees for the first time. What the API shows of it is where
    /// it goes on, so that an agent can be started again.
    pub(crate) fn begin(
        desired: &Desired,
        shown: &PodStatus,
        host_ip: Ipv4Addr,
        ip: Option<Ipv4Addr>,
        now: Timestamp,
    ) -> Self {
        let runs = desired
            .containers
            .iter()
            .map(|container| {
                shown
                    .of_container(&container.name)
                    .map(Run::resume)
                    .unwrap_or_default()
            })
            .collect();
        let initialized = shown
            .conditions
            .iter()
            .any(|condition| condition.kind == "Initialized" && condition.status == "True");
        Self {
            stage: Stage::Running,
            phase: desired.phase,
            runs,
            initialized: initialized && shown.start_time.is_some(),
            start_time: shown.start_time.unwrap_or(now),
            ip,
            host_ip,
            transitions: render::transitions(shown),
        }
    }

    /// True when no container has a process.
    fn all_stopped(&self) -> bool {
        !self.runs.iter().any(|run| run.state == RunState::Ordered)
    }
}

impl Run {
    fn resume(status: &ContainerStatus) -> Self {
        let ended = |state: &super::status::State| {
            state.terminated.as_ref().map(|terminated| {
                let finished_at = terminated.finished_at.unwrap_or_default();
                Box::new(Ended {
                    started_at: terminated.started_at.unwrap_or(finished_at),
                    finished_at,
                    exit_code: terminated.exit_code,
                    reason: terminated.reason.clone(),
                    message: terminated.message.clone(),
                    id: terminated.container_id.clone(),
                })
            })
        };
        let state = match (&status.state.running, ended(&status.state)) {
            (Some(_), _) => RunState::Ordered,
            (None, Some(ended)) => RunState::Ended(ended),
            (None, None) => RunState::Waiting,
        };
        let running = state == RunState::Ordered;
        Self {
            state,
            restarts: u32::try_from(status.restart_count).unwrap_or_default(),
            last: ended(&status.last_state),
            image_id: status.image_id.as_str().into(),
            told_start: running,
            told_unhealthy: running,
            ..Self::default()
        }
    }

    /// How it ended, when it has.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        match &self.state {
            RunState::Ended(ended) => Some(ended),
            _ => None,
        }
    }
}

/// Decides what to do next.
pub(crate) fn next(life: Life, desired: &Desired, observed: &Observed, now: Timestamp) -> Step {
    let mut step = Step {
        life,
        orders: Vec::new(),
        notes: Vec::new(),
        status: None,
        wake_at: observed.next_change,
        end: End::No,
    };
    // Ephemeral containers come at any time, and at the end.
    step.life
        .runs
        .resize_with(desired.containers.len(), Run::default);
    take_in(&mut step, observed, now);
    if step.life.stage == Stage::Running && (desired.is_ending() || desired.phase.is_terminal()) {
        step.life.stage = Stage::Terminating {
            since: now,
            grace_seconds: desired.effective_grace(),
        };
    }
    if step.life.stage == Stage::Running {
        start::advance(&mut step, desired, observed, now);
    }
    if matches!(step.life.stage, Stage::Terminating { .. }) {
        stop::advance(&mut step, desired, observed, now);
    }
    if step.life.stage == Stage::Terminated {
        step.end = match desired {
            Desired { gone: true, .. } => End::Forget,
            // With a grace of 0 the API waits for finalizers, not for the node.
            Desired {
                deletion_grace: Some(1..),
                phase,
                ..
            } if phase.is_terminal() => End::Delete,
            _ => End::No,
        };
    }
    if step.orders.is_empty() {
        step.status = Some(render::status(&mut step.life, desired, observed, now));
    } else {
        step.wake_at = None;
    }
    if desired.gone {
        // Nobody is left who could read them.
        step.notes.clear();
        step.status = None;
    }
    step
}

/// Notes what became of the containers since the last step.
fn take_in(step: &mut Step, observed: &Observed, now: Timestamp) {
    let Life { runs, stage, .. } = &mut step.life;
    for (index, run) in runs.iter_mut().enumerate() {
        if run.state != RunState::Ordered {
            continue;
        }
        let Some(seen) = observed.containers.get(index) else {
            run.state = RunState::Ended(Box::new(lost(now)));
            continue;
        };
        if *run.image_id != *seen.image_id && !seen.image_id.is_empty() {
            run.image_id = seen.image_id.as_str().into();
        }
        if !run.told_start
            && matches!(
                seen.state,
                ContainerState::Running { .. } | ContainerState::Exited(_)
            )
        {
            run.told_start = true;
            step.notes
                .push(Note::of(index, "Created", "Container created"));
            step.notes
                .push(Note::of(index, "Started", "Container started"));
        }
        match &seen.state {
            ContainerState::Creating => {}
            ContainerState::Running {
                unhealthy: Some(why),
                ..
            } if !run.told_unhealthy => {
                run.told_unhealthy = true;
                step.notes.push(Note {
                    warning: true,
                    ..Note::of(index, "Unhealthy", why)
                });
            }
            ContainerState::Running { .. } => {}
            ContainerState::Exited(ended) => run.state = RunState::Ended(Box::new(ended.clone())),
            // It was stopped before it had started, so there is nothing to report.
            ContainerState::Absent if *stage != Stage::Running && !run.told_start => {
                run.state = run.last.take().map_or(RunState::Waiting, RunState::Ended);
            }
            ContainerState::Absent => run.state = RunState::Ended(Box::new(lost(now))),
        }
    }
}

/// The end of a container that the runtime no longer knows.
pub(crate) fn lost(now: Timestamp) -> Ended {
    Ended {
        started_at: now,
        finished_at: now,
        exit_code: 137,
        reason: "ContainerStatusUnknown".to_owned(),
        message: "The container could not be located when the pod was terminated".to_owned(),
        id: String::new(),
    }
}

impl Note {
    fn of(container: usize, reason: &'static str, message: &str) -> Self {
        Self {
            container: Some(container),
            warning: false,
            reason,
            message: message.to_owned(),
        }
    }
}

impl Step {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |former| former.min(at)));
    }
}

/// True when the container runs and may be called started.
fn is_running(seen: Option<&Seen>) -> bool {
    matches!(
        seen,
        Some(Seen {
            state: ContainerState::Running { .. },
            ..
        })
    )
}

fn plus_seconds(time: Timestamp, seconds: u64) -> Timestamp {
    let by = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Indexes of the containers with this role.
fn with_role(desired: &Desired, role: Role) -> impl Iterator<Item = usize> + '_ {
    desired
        .containers
        .iter()
        .enumerate()
        .filter(move |(_, container)| container.role == role)
        .map(|(index, _)| index)
}
