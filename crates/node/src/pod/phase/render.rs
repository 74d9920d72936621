//! The status of a pod in the API: phase, conditions and container statuses.

use clock::whole_seconds;
use jiff::Timestamp;

use super::{ContainerRecord, PAST_DEADLINE, PodWork, RecordedState, WorkerState};
use crate::pod::desired::{ContainerRole, DesiredPod, PodPhase};
use crate::runtime::{ContainerExit, ContainerObservation, ContainerState, PodObservation};
use crate::wire::status::{
    ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerStatusState, DEADLINE_EXCEEDED, OWNED_CONDITIONS, PodCondition, PodIp, PodStatus,
};

/// The value of a condition, and the time of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConditionTransition {
    holds: bool,
    since: Timestamp,
}

/// Extracts the node's conditions from a published status, in the order of [`OWNED_CONDITIONS`].
pub(crate) fn transitions(
    shown: &PodStatus,
) -> [Option<ConditionTransition>; OWNED_CONDITIONS.len()] {
    OWNED_CONDITIONS.map(|kind| {
        let condition = shown
            .conditions
            .iter()
            .find(|condition| condition.kind == kind)?;
        Some(ConditionTransition {
            holds: condition.status == "True",
            since: condition.last_transition_time?,
        })
    })
}

/// The value of a condition with its explanation.
struct ConditionValue {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl ConditionValue {
    fn yes() -> Self {
        Self::of(true, "", String::new())
    }

    fn of(holds: bool, reason: &'static str, message: String) -> Self {
        Self {
            holds,
            reason,
            message,
        }
    }
}

/// Returns the status to publish. Updates the phase and the transitions of `pod`.
pub(crate) fn status(
    pod: &mut WorkerState,
    desired: &DesiredPod,
    observed: &PodObservation,
    now: Timestamp,
) -> PodStatus {
    let statuses: Vec<ContainerStatus> = (0..pod.containers.len())
        .map(|index| container(pod, desired, observed, index))
        .collect();
    if pod.work == PodWork::Sync {
        pod.phase = phase(pod, desired, &statuses);
    }
    let conditions = conditions(pod, desired, &statuses, now);
    let inits = desired
        .containers
        .iter()
        .take_while(|container| container.role != ContainerRole::Main)
        .count();
    let mut init_container_statuses = statuses;
    let mut container_statuses = init_container_statuses.split_off(inits);
    let mains = desired
        .containers
        .iter()
        .filter(|container| container.role == ContainerRole::Main)
        .count();
    let ephemeral_container_statuses = container_statuses.split_off(mains);
    let pod_ip = if desired.host_network {
        Some(pod.host_ip)
    } else {
        pod.ip
    }
    .map(|ip| ip.to_string())
    .unwrap_or_default();
    let host_ip = pod.host_ip.to_string();
    // The phase, and with it the reason, is final only when no container runs.
    let (reason, message) = if pod.past_deadline && pod.phase == PodPhase::Failed {
        (DEADLINE_EXCEEDED, PAST_DEADLINE)
    } else {
        ("", "")
    };
    PodStatus {
        observed_generation: (desired.generation > 0).then_some(desired.generation),
        phase: pod.phase.name().to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        conditions,
        host_ips: vec![PodIp {
            ip: host_ip.clone(),
        }],
        host_ip,
        pod_ips: if pod_ip.is_empty() {
            Vec::new()
        } else {
            vec![PodIp { ip: pod_ip.clone() }]
        },
        pod_ip,
        start_time: Some(whole_seconds(pod.start_time)),
        init_container_statuses,
        container_statuses,
        ephemeral_container_statuses,
    }
}

/// Returns the phase of a pod that does not terminate.
fn phase(pod: &WorkerState, desired: &DesiredPod, statuses: &[ContainerStatus]) -> PodPhase {
    if pod.phase.is_terminal() {
        return pod.phase;
    }
    let main = |index: &usize| desired.containers[*index].role == ContainerRole::Main;
    let never_ran = |index: usize| {
        statuses[index].state.waiting.is_some() && statuses[index].last_state.terminated.is_none()
    };
    let mut mains = (0..statuses.len()).filter(main).peekable();
    if !pod.initialized || mains.peek().is_none() || mains.any(never_ran) {
        PodPhase::Pending
    } else {
        PodPhase::Running
    }
}

fn conditions(
    pod: &mut WorkerState,
    desired: &DesiredPod,
    statuses: &[ContainerStatus],
    now: Timestamp,
) -> Vec<PodCondition> {
    let values = [
        ConditionValue::of(pod.work != PodWork::Terminated, "", String::new()),
        initialized(pod, desired, statuses),
        ready(containers_ready(pod, desired, statuses), desired),
        containers_ready(pod, desired, statuses),
        ConditionValue::yes(),
    ];
    let mut conditions = Vec::with_capacity(values.len());
    for ((value, kind), transition) in values
        .into_iter()
        .zip(OWNED_CONDITIONS)
        .zip(&mut pod.transitions)
    {
        let since = match *transition {
            Some(ConditionTransition { holds, since }) if holds == value.holds => since,
            _ => whole_seconds(now),
        };
        *transition = Some(ConditionTransition {
            holds: value.holds,
            since,
        });
        conditions.push(PodCondition {
            kind: kind.to_owned(),
            observed_generation: (desired.generation > 0).then_some(desired.generation),
            status: if value.holds { "True" } else { "False" }.to_owned(),
            last_transition_time: Some(since),
            reason: (!value.reason.is_empty()).then(|| value.reason.to_owned()),
            message: (!value.message.is_empty()).then_some(value.message),
        });
    }
    conditions
}

fn initialized(
    pod: &WorkerState,
    desired: &DesiredPod,
    statuses: &[ContainerStatus],
) -> ConditionValue {
    if pod.initialized {
        let reason = if pod.phase == PodPhase::Succeeded {
            "PodCompleted"
        } else {
            ""
        };
        return ConditionValue::of(true, reason, String::new());
    }
    let incomplete = desired
        .containers
        .iter()
        .zip(statuses)
        .filter(|(container, status)| match container.role {
            ContainerRole::Main | ContainerRole::Ephemeral => false,
            ContainerRole::Init => status
                .state
                .terminated
                .as_ref()
                .is_none_or(|ended| ended.exit_code != 0),
            ContainerRole::Sidecar => status.started != Some(true),
        });
    let names: Vec<&str> = incomplete.map(|(container, _)| &*container.name).collect();
    ConditionValue::of(
        false,
        "ContainersNotInitialized",
        format!("containers with incomplete status: [{}]", names.join(" ")),
    )
}

fn containers_ready(
    pod: &WorkerState,
    desired: &DesiredPod,
    statuses: &[ContainerStatus],
) -> ConditionValue {
    match pod.phase {
        PodPhase::Succeeded => return ConditionValue::of(false, "PodCompleted", String::new()),
        PodPhase::Failed => return ConditionValue::of(false, "PodFailed", String::new()),
        PodPhase::Pending | PodPhase::Running => {}
    }
    let counts = |role: ContainerRole| matches!(role, ContainerRole::Sidecar | ContainerRole::Main);
    let unready = desired
        .containers
        .iter()
        .zip(statuses)
        .filter(|(container, status)| counts(container.role) && !status.ready);
    let names: Vec<&str> = unready.map(|(container, _)| &*container.name).collect();
    if names.is_empty() {
        return ConditionValue::yes();
    }
    ConditionValue::of(
        false,
        "ContainersNotReady",
        format!("containers with unready status: [{}]", names.join(" ")),
    )
}

fn ready(containers_ready: ConditionValue, desired: &DesiredPod) -> ConditionValue {
    if !containers_ready.holds {
        return containers_ready;
    }
    let unmet: Vec<String> = desired
        .readiness_gates
        .iter()
        .filter_map(|gate| match gate.status.as_deref() {
            Some("True") => None,
            Some(status) => Some(format!(
                "the status of pod readiness gate \"{}\" is not \"True\", but {status}",
                gate.condition
            )),
            None => Some(format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition
            )),
        })
        .collect();
    if unmet.is_empty() {
        containers_ready
    } else {
        ConditionValue::of(false, "ReadinessGatesNotReady", unmet.join(", "))
    }
}

fn container(
    pod: &WorkerState,
    desired: &DesiredPod,
    observed: &PodObservation,
    index: usize,
) -> ContainerStatus {
    let (record, wanted) = (&pod.containers[index], &desired.containers[index]);
    let seen = observed.containers.get(index);
    let (state, id) = state(record, seen, desired, index);
    let is_running = state.running.is_some();
    let passes_probe = matches!(
        seen,
        Some(ContainerObservation {
            state: ContainerState::Running { ready: true, .. },
            ..
        })
    );
    // A resize takes effect at once: simulated containers have no cgroups that could refuse it.
    let resources = wanted.resources.as_deref().filter(|_| is_running).cloned();
    let done = state
        .terminated
        .as_ref()
        .is_some_and(|ended| ended.exit_code == 0);
    ContainerStatus {
        name: wanted.name.to_string(),
        last_state: ContainerStatusState {
            terminated: record.last_exit.as_deref().map(terminated),
            ..ContainerStatusState::default()
        },
        ready: match wanted.role {
            ContainerRole::Init => done,
            ContainerRole::Sidecar | ContainerRole::Main => is_running && passes_probe,
            ContainerRole::Ephemeral => false,
        },
        restart_count: i32::try_from(record.restart_count).unwrap_or(i32::MAX),
        image: wanted.image.to_string(),
        image_id: record.image_id.to_string(),
        container_id: id,
        started: (wanted.role != ContainerRole::Ephemeral).then_some(is_running),
        allocated_resources: resources
            .as_ref()
            .map(|resources| resources.requests.clone())
            .unwrap_or_default(),
        resources,
        state,
    }
}

fn state(
    record: &ContainerRecord,
    seen: Option<&ContainerObservation>,
    desired: &DesiredPod,
    index: usize,
) -> (ContainerStatusState, String) {
    let waiting = |reason: &str, message: String| ContainerStatusState {
        waiting: Some(ContainerStateWaiting {
            reason: reason.to_owned(),
            message,
        }),
        ..ContainerStatusState::default()
    };
    let last_id = || {
        record
            .last_exit
            .as_ref()
            .map(|last| last.id.clone())
            .unwrap_or_default()
    };
    match (&record.state, seen) {
        (
            RecordedState::Started,
            Some(ContainerObservation {
                state: ContainerState::Running { started_at, .. },
                id,
                ..
            }),
        ) => (
            ContainerStatusState {
                running: Some(ContainerStateRunning {
                    started_at: Some(whole_seconds(*started_at)),
                }),
                ..ContainerStatusState::default()
            },
            id.clone(),
        ),
        (RecordedState::Exited(ended), _) => (
            ContainerStatusState {
                terminated: Some(terminated(ended)),
                ..ContainerStatusState::default()
            },
            ended.id.clone(),
        ),
        (RecordedState::BackOff { seconds, .. }, _) => {
            let (name, pod) = (&desired.containers[index].name, &desired.name);
            let pause = go_duration(*seconds);
            let message = format!(
                "back-off {pause} restarting failed container={name} pod={pod}_{}({})",
                desired.namespace, desired.uid
            );
            (waiting("CrashLoopBackOff", message), last_id())
        }
        (RecordedState::Waiting | RecordedState::Started, _) => {
            let has_inits = desired
                .containers
                .first()
                .is_some_and(|first| first.role != ContainerRole::Main);
            (
                waiting(
                    if has_inits {
                        "PodInitializing"
                    } else {
                        "ContainerCreating"
                    },
                    String::new(),
                ),
                last_id(),
            )
        }
    }
}

/// Formats a duration as Go does.
fn go_duration(seconds: u32) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

fn terminated(ended: &ContainerExit) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: ended.exit_code,
        reason: ended.reason.clone(),
        message: ended.message.clone(),
        started_at: Some(whole_seconds(ended.started_at)),
        finished_at: Some(whole_seconds(ended.finished_at)),
        container_id: ended.id.clone(),
    }
}
