//! The decisions of a pod worker, as one pure function: [`next`] takes what the API wants, what the
//! worker remembers, what the runtime observes and the time. It returns requests to the runtime,
//! events, the status to publish, and when to look again.
//!
//! A pod passes through the three kinds of work of a kubelet's pod worker and never goes back:
//! `Sync` ([`start`]), `Terminating` ([`stop`]), `Terminated`. The caller carries out the requests
//! and calls again until there is no request left. Only then is there a status to publish
//! ([`render`]), so that it shows the effect of the requests.
//!
//! # Guarantees
//!
//! * A terminal phase never changes, and a pod that terminates starts no container.
//! * A grace period is never extended. The kill comes no earlier than the grace period allows, and
//!   leaves a container at least two seconds after its stop signal.
//! * Each preStop hook runs once.
//! * The API object is deleted only after all containers have ended.
//! * A call that finds nothing new makes no request. As long as the pod is not over, there is a
//!   request, a change that the runtime will report, or a time to look again.
//!
//! # Must never know
//!
//! How the API stores anything, which runtime runs the containers, and what time it is: `now` is an
//! argument.

pub(crate) mod render;
mod start;
mod stop;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};

use self::render::ConditionTransition;
use super::desired::{ContainerRole, DesiredPod, PodPhase};
use crate::runtime::{
    ContainerExit, ContainerObservation, ContainerState, PodObservation, RuntimeRequest,
};
use crate::wire::status::{
    ContainerStatus, ContainerStatusState, DEADLINE_EXCEEDED, OWNED_CONDITIONS, PodStatus,
};

/// What a pod worker remembers between two calls of [`next`].
#[derive(Clone, Debug)]
pub(crate) struct WorkerState {
    pub(crate) work: PodWork,
    pub(crate) phase: PodPhase,
    /// One record for each container, in the order of [`DesiredPod::containers`].
    pub(crate) containers: Vec<ContainerRecord>,
    /// True when all init containers are done. Never becomes false again.
    pub(crate) initialized: bool,
    /// True when the pod has run longer than it may. Never becomes false again.
    pub(crate) past_deadline: bool,
    /// When the node accepted the pod.
    pub(crate) start_time: Timestamp,
    /// The pod's own address; `None` in the host network, and when the node has none left.
    pub(crate) ip: Option<Ipv4Addr>,
    pub(crate) host_ip: Ipv4Addr,
    /// The node's conditions as last published, in the order of [`OWNED_CONDITIONS`].
    pub(crate) transitions: [Option<ConditionTransition>; OWNED_CONDITIONS.len()],
}

/// The kind of work that a pod needs, after the work types of a kubelet's pod workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodWork {
    /// Containers are started and restarted. Left when the pod is deleted, when its object is gone,
    /// when its deadline is over, or when its phase is terminal.
    Sync,
    /// No container is started any more. Left when no container runs.
    Terminating {
        since: Timestamp,
        /// The grace period, which later deletions can only shorten.
        grace_seconds: u64,
    },
    /// No container runs, and the object may be deleted. Final.
    Terminated,
}

/// What a pod worker remembers of one container.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerRecord {
    pub(crate) state: RecordedState,
    pub(crate) restart_count: u32,
    /// The end of the attempt before this one.
    pub(crate) last_exit: Option<Box<ContainerExit>>,
    /// The pause before the next restart.
    pub(crate) backoff_seconds: u32,
    pub(crate) stop: StopState,
    /// The id of the image, once the runtime has reported it.
    pub(crate) image_id: Box<str>,
    /// True when the events about the start of this attempt were emitted.
    start_reported: bool,
    /// True when the event about the readiness of this attempt was emitted.
    unhealthy_reported: bool,
}

/// The state of a container as far as the worker decides it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum RecordedState {
    /// The first start has not been requested.
    #[default]
    Waiting,
    /// A start was requested. The runtime knows the rest. Left when the container exits.
    Started,
    /// The container has exited and will be restarted at `until`.
    BackOff { until: Timestamp, seconds: u32 },
    /// The container has exited. Left in the same call when the restart policy restarts it.
    Exited(Box<ContainerExit>),
}

/// The progress of stopping a container. Only moves forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum StopState {
    /// The container has not been asked to stop.
    #[default]
    NotBegun,
    /// The preStop hook runs. Left when it is done, or at the end of the grace period.
    PreStopHook { since: Timestamp },
    /// A sidecar waits until the containers that need it have stopped. Left then, or when the rest
    /// of the grace period is over.
    WaitingForTurn {
        since: Timestamp,
        remaining_seconds: u64,
    },
    /// The stop signal was sent. The runtime kills the container at `kill_at`.
    Signalled { kill_at: Timestamp },
}

/// An event about a pod or one of its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodEvent {
    pub(crate) container: Option<usize>,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The result of [`next`].
#[derive(Debug)]
pub(crate) struct SyncResult {
    pub(crate) state: WorkerState,
    pub(crate) requests: Vec<RuntimeRequest>,
    pub(crate) events: Vec<PodEvent>,
    /// The status to publish; `None` while there are requests, because they change it.
    pub(crate) status: Option<PodStatus>,
    /// When to call [`next`] again, even if nothing happens before.
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) disposition: Disposition,
}

/// What becomes of the pod's API object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The object stays.
    Keep,
    /// The worker deletes the object, once the API shows the final status.
    Delete,
    /// The object is gone, and the worker forgets the pod.
    Forget,
}

impl WorkerState {
    /// Returns the state of a pod that this agent sees for the first time. It continues from the
    /// published status, so an agent can be restarted.
    pub(crate) fn resume(
        desired: &DesiredPod,
        published: &PodStatus,
        host_ip: Ipv4Addr,
        ip: Option<Ipv4Addr>,
        now: Timestamp,
    ) -> Self {
        let containers = desired
            .containers
            .iter()
            .map(|container| {
                published
                    .of_container(&container.name)
                    .map(ContainerRecord::resume)
                    .unwrap_or_default()
            })
            .collect();
        let initialized = published
            .conditions
            .iter()
            .any(|condition| condition.kind == "Initialized" && condition.status == "True");
        Self {
            work: PodWork::Sync,
            phase: desired.phase,
            containers,
            initialized: initialized && published.start_time.is_some(),
            past_deadline: desired.phase == PodPhase::Failed
                && published.reason == DEADLINE_EXCEEDED,
            start_time: published.start_time.unwrap_or(now),
            ip,
            host_ip,
            transitions: render::transitions(published),
        }
    }

    fn has_running_container(&self) -> bool {
        self.containers
            .iter()
            .any(|container| container.state == RecordedState::Started)
    }
}

impl ContainerRecord {
    fn resume(status: &ContainerStatus) -> Self {
        let exit = |state: &ContainerStatusState| {
            state.terminated.as_ref().map(|terminated| {
                let finished_at = terminated.finished_at.unwrap_or_default();
                Box::new(ContainerExit {
                    started_at: terminated.started_at.unwrap_or(finished_at),
                    finished_at,
                    exit_code: terminated.exit_code,
                    reason: terminated.reason.clone(),
                    message: terminated.message.clone(),
                    id: terminated.container_id.clone(),
                })
            })
        };
        let state = match (&status.state.running, exit(&status.state)) {
            (Some(_), _) => RecordedState::Started,
            (None, Some(exit)) => RecordedState::Exited(exit),
            (None, None) => RecordedState::Waiting,
        };
        let running = state == RecordedState::Started;
        Self {
            state,
            restart_count: u32::try_from(status.restart_count).unwrap_or_default(),
            last_exit: exit(&status.last_state),
            image_id: status.image_id.as_str().into(),
            start_reported: running,
            unhealthy_reported: running,
            ..Self::default()
        }
    }

    /// Returns how the container ended, if it has and is not to be restarted.
    pub(crate) fn exit(&self) -> Option<&ContainerExit> {
        match &self.state {
            RecordedState::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    /// Gives up a restart: a container that waits for one has exited for good.
    fn cancel_restart(&mut self) {
        let last = self.last_exit.take();
        self.state = last.map_or(RecordedState::Waiting, RecordedState::Exited);
    }
}

/// Decides what to do next. The module describes its guarantees.
pub(crate) fn next(
    state: WorkerState,
    desired: &DesiredPod,
    observed: &PodObservation,
    now: Timestamp,
) -> SyncResult {
    let mut result = SyncResult {
        state,
        requests: Vec::new(),
        events: Vec::new(),
        status: None,
        wake_at: observed.next_change,
        disposition: Disposition::Keep,
    };
    // Ephemeral containers can be added at any time, always at the end.
    result
        .state
        .containers
        .resize_with(desired.containers.len(), ContainerRecord::default);
    record_observation(&mut result, observed, now);
    check_deadline(&mut result, desired, now);
    if result.state.work == PodWork::Sync && (desired.is_ending() || desired.phase.is_terminal()) {
        result.state.work = PodWork::Terminating {
            since: now,
            grace_seconds: desired.effective_grace_seconds(),
        };
    }
    if result.state.work == PodWork::Sync {
        start::sync(&mut result, desired, observed, now);
    }
    if matches!(result.state.work, PodWork::Terminating { .. }) {
        stop::terminate(&mut result, desired, observed, now);
    }
    if result.state.work == PodWork::Terminated {
        result.disposition = match desired {
            DesiredPod { gone: true, .. } => Disposition::Forget,
            // With a grace period of 0 the API waits for finalizers and no longer for the node.
            DesiredPod {
                deletion_grace: Some(1..),
                phase,
                ..
            } if phase.is_terminal() => Disposition::Delete,
            _ => Disposition::Keep,
        };
    }
    if result.requests.is_empty() {
        result.status = Some(render::status(&mut result.state, desired, observed, now));
    } else {
        // The caller calls again at once.
        result.wake_at = None;
    }
    if desired.gone {
        // There is no object that events and a status could belong to.
        result.events.clear();
        result.status = None;
    }
    result
}

/// The message about a pod that has run longer than it may, in the words of a kubelet.
const PAST_DEADLINE: &str = "Pod was active on the node longer than the specified deadline";

/// Ends a pod that has run longer than its `activeDeadlineSeconds`. Its containers get their grace
/// period, and then it has failed, whatever their exit codes are.
fn check_deadline(result: &mut SyncResult, desired: &DesiredPod, now: Timestamp) {
    let state = &mut result.state;
    let Some(seconds) = desired.active_deadline_seconds else {
        return;
    };
    if state.past_deadline || state.phase.is_terminal() || desired.phase.is_terminal() {
        return;
    }
    let deadline = plus_seconds(state.start_time, u64::try_from(seconds).unwrap_or_default());
    if deadline > now {
        result.wake(deadline);
        return;
    }
    state.past_deadline = true;
    if state.work == PodWork::Sync {
        state.work = PodWork::Terminating {
            since: now,
            grace_seconds: desired.effective_grace_seconds(),
        };
    }
    result.events.push(PodEvent {
        container: None,
        warning: false,
        reason: DEADLINE_EXCEEDED,
        message: PAST_DEADLINE.to_owned(),
    });
}

/// Records what became of the containers since the last call.
fn record_observation(result: &mut SyncResult, observed: &PodObservation, now: Timestamp) {
    let WorkerState {
        containers, work, ..
    } = &mut result.state;
    for (index, record) in containers.iter_mut().enumerate() {
        if record.state != RecordedState::Started {
            continue;
        }
        let Some(seen) = observed.containers.get(index) else {
            record.state = RecordedState::Exited(Box::new(unknown_exit(now)));
            continue;
        };
        if *record.image_id != *seen.image_id && !seen.image_id.is_empty() {
            record.image_id = seen.image_id.as_str().into();
        }
        if !record.start_reported
            && matches!(
                seen.state,
                ContainerState::Running { .. } | ContainerState::Exited(_)
            )
        {
            record.start_reported = true;
            let events = &mut result.events;
            events.push(PodEvent::normal(index, "Created", "Container created"));
            events.push(PodEvent::normal(index, "Started", "Container started"));
        }
        match &seen.state {
            ContainerState::Creating => {}
            ContainerState::Running {
                unhealthy: Some(why),
                ..
            } if !record.unhealthy_reported => {
                record.unhealthy_reported = true;
                result
                    .events
                    .push(PodEvent::warning(index, "Unhealthy", why));
            }
            ContainerState::Running { .. } => {}
            ContainerState::Exited(exit) => {
                record.state = RecordedState::Exited(Box::new(exit.clone()));
            }
            // It was stopped before it had started, so this attempt never existed.
            ContainerState::Absent if *work != PodWork::Sync && !record.start_reported => {
                record.cancel_restart();
            }
            ContainerState::Absent => {
                record.state = RecordedState::Exited(Box::new(unknown_exit(now)));
            }
        }
    }
}

/// The exit of a container that the runtime does not know, in the words of a kubelet.
fn unknown_exit(now: Timestamp) -> ContainerExit {
    ContainerExit {
        started_at: now,
        finished_at: now,
        exit_code: 137,
        reason: "ContainerStatusUnknown".to_owned(),
        message: "The container could not be located when the pod was terminated".to_owned(),
        id: String::new(),
    }
}

impl PodEvent {
    fn normal(container: usize, reason: &'static str, message: &str) -> Self {
        Self {
            container: Some(container),
            warning: false,
            reason,
            message: message.to_owned(),
        }
    }

    fn warning(container: usize, reason: &'static str, message: &str) -> Self {
        Self {
            warning: true,
            ..Self::normal(container, reason, message)
        }
    }
}

impl SyncResult {
    /// Asks for a call at `at`, or earlier.
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

fn is_running(seen: Option<&ContainerObservation>) -> bool {
    seen.is_some_and(|seen| matches!(seen.state, ContainerState::Running { .. }))
}

fn plus_seconds(time: Timestamp, seconds: u64) -> Timestamp {
    let by = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Iterates over the indexes of the containers with this role.
fn with_role(desired: &DesiredPod, role: ContainerRole) -> impl Iterator<Item = usize> + '_ {
    desired
        .containers
        .iter()
        .enumerate()
        .filter(move |(_, container)| container.role == role)
        .map(|(index, _)| index)
}
