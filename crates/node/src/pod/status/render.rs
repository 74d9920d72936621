//! What a life looks like in the API: phase, conditions and container statuses.

use clock::whole_seconds;
use jiff::Timestamp;

use super::{
    Address, Condition, ContainerStatus, OWNED_CONDITIONS, PodStatus, Running, State, Terminated,
    Waiting,
};
use crate::pod::desired::{Desired, Phase, Role};
use crate::pod::phase::{Life, Run, RunState, Stage};
use crate::runtime::{ContainerState, Ended, Observed, Seen};

/// A condition as it stands: true or not, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    holds: bool,
    since: Timestamp,
}

/// Our conditions as the API shows them.
pub(crate) fn transitions(shown: &PodStatus) -> [Option<Transition>; OWNED_CONDITIONS.len()] {
    OWNED_CONDITIONS.map(|kind| {
        let condition = shown
            .conditions
            .iter()
            .find(|condition| condition.kind == kind)?;
        Some(Transition {
            holds: condition.status == "True",
            since: condition.last_transition_time?,
        })
    })
}

/// What a condition says.
struct Verdict {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
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

/// The status that the API should show. Brings phase and transitions of `life` up to date.
pub(crate) fn status(
    life: &mut Life,
    desired: &Desired,
    observed: &Observed,
    now: Timestamp,
) -> PodStatus {
    let statuses: Vec<ContainerStatus> = (0..life.runs.len())
        .map(|index| container(life, desired, observed, index))
        .collect();
    if life.stage == Stage::Running {
        life.phase = phase(life, desired, &statuses);
    }
    let conditions = conditions(life, desired, &statuses, now);
    let inits = desired
        .containers
        .iter()
        .take_while(|container| container.role != Role::Main)
        .count();
    let mut init_container_statuses = statuses;
    let mut container_statuses = init_container_statuses.split_off(inits);
    let mains = desired
        .containers
        .iter()
        .filter(|container| container.role == Role::Main)
        .count();
    let ephemeral_container_statuses = container_statuses.split_off(mains);
    let pod_ip = if desired.host_network {
        Some(life.host_ip)
    } else {
        life.ip
    }
    .map(|ip| ip.to_string())
    .unwrap_or_default();
    let host_ip = life.host_ip.to_string();
    PodStatus {
        observed_generation: (desired.generation > 0).then_some(desired.generation),
        phase: life.phase.text().to_owned(),
        conditions,
        host_ips: vec![Address {
            ip: host_ip.clone(),
        }],
        host_ip,
        pod_ips: if pod_ip.is_empty() {
            Vec::new()
        } else {
            vec![Address { ip: pod_ip.clone() }]
        },
        pod_ip,
        start_time: Some(whole_seconds(life.start_time)),
        init_container_statuses,
        container_statuses,
        ephemeral_container_statuses,
    }
}

/// The phase of a pod that is not ending.
fn phase(life: &Life, desired: &Desired, statuses: &[ContainerStatus]) -> Phase {
    if life.phase.is_terminal() {
        return life.phase;
    }
    let main = |index: &usize| desired.containers[*index].role == Role::Main;
    let never_ran = |index: usize| {
        statuses[index].state.waiting.is_some() && statuses[index].last_state.terminated.is_none()
    };
    let mut mains = (0..statuses.len()).filter(main).peekable();
    if !life.initialized || mains.peek().is_none() || mains.any(never_ran) {
        Phase::Pending
    } else {
        Phase::Running
    }
}

fn conditions(
    life: &mut Life,
    desired: &Desired,
    statuses: &[ContainerStatus],
    now: Timestamp,
) -> Vec<Condition> {
    let verdicts = [
        Verdict::of(life.stage != Stage::Terminated, "", String::new()),
        initialized(life, desired, statuses),
        ready(containers_ready(life, desired, statuses), desired),
        containers_ready(life, desired, statuses),
        Verdict::yes(),
    ];
    let mut conditions = Vec::with_capacity(verdicts.len());
    for ((verdict, kind), transition) in verdicts
        .into_iter()
        .zip(OWNED_CONDITIONS)
        .zip(&mut life.transitions)
    {
        let since = match *transition {
            Some(Transition { holds, since }) if holds == verdict.holds => since,
            _ => whole_seconds(now),
        };
        *transition = Some(Transition {
            holds: verdict.holds,
            since,
        });
        conditions.push(Condition {
            kind: kind.to_owned(),
            observed_generation: (desired.generation > 0).then_some(desired.generation),
            status: if verdict.holds { "True" } else { "False" }.to_owned(),
            last_transition_time: Some(since),
            reason: (!verdict.reason.is_empty()).then(|| verdict.reason.to_owned()),
            message: (!verdict.message.is_empty()).then_some(verdict.message),
        });
    }
    conditions
}

fn initialized(life: &Life, desired: &Desired, statuses: &[ContainerStatus]) -> Verdict {
    if life.initialized {
        let reason = if life.phase == Phase::Succeeded {
            "PodCompleted"
        } else {
            ""
        };
        return Verdict::of(true, reason, String::new());
    }
    let incomplete = desired
        .containers
        .iter()
        .zip(statuses)
        .filter(|(container, status)| match container.role {
            Role::Main | Role::Ephemeral => false,
            Role::Init => status
                .state
                .terminated
                .as_ref()
                .is_none_or(|ended| ended.exit_code != 0),
            Role::Sidecar => status.started != Some(true),
        });
    let names: Vec<&str> = incomplete.map(|(container, _)| &*container.name).collect();
    Verdict::of(
        false,
        "ContainersNotInitialized",
        format!("containers with incomplete status: [{}]", names.join(" ")),
    )
}

fn containers_ready(life: &Life, desired: &Desired, statuses: &[ContainerStatus]) -> Verdict {
    match life.phase {
        Phase::Succeeded => return Verdict::of(false, "PodCompleted", String::new()),
        Phase::Failed => return Verdict::of(false, "PodFailed", String::new()),
        Phase::Pending | Phase::Running => {}
    }
    let counts = |role: Role| matches!(role, Role::Sidecar | Role::Main);
    let unready = desired
        .containers
        .iter()
        .zip(statuses)
        .filter(|(container, status)| counts(container.role) && !status.ready);
    let names: Vec<&str> = unready.map(|(container, _)| &*container.name).collect();
    if names.is_empty() {
        return Verdict::yes();
    }
    Verdict::of(
        false,
        "ContainersNotReady",
        format!("containers with unready status: [{}]", names.join(" ")),
    )
}

fn ready(containers_ready: Verdict, desired: &Desired) -> Verdict {
    if !containers_ready.holds {
        return containers_ready;
    }
    let complaints: Vec<String> = desired
        .gates
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
    if complaints.is_empty() {
        containers_ready
    } else {
        Verdict::of(false, "ReadinessGatesNotReady", complaints.join(", "))
    }
}

fn container(life: &Life, desired: &Desired, observed: &Observed, index: usize) -> ContainerStatus {
    let (run, wanted) = (&life.runs[index], &desired.containers[index]);
    let seen = observed.containers.get(index);
    let (state, id) = state(run, seen, desired, index);
    let is_running = state.running.is_some();
    let passes_probe = matches!(
        seen,
        Some(Seen {
            state: ContainerState::Running { ready: true, .. },
            ..
        })
    );
    // A simulated container has at once what it is given.
    let resources = wanted.resources.as_deref().filter(|_| is_running).cloned();
    let done = state
        .terminated
        .as_ref()
        .is_some_and(|ended| ended.exit_code == 0);
    ContainerStatus {
        name: wanted.name.to_string(),
        last_state: State {
            terminated: run.last.as_deref().map(terminated),
            ..State::default()
        },
        ready: match wanted.role {
            Role::Init => done,
            Role::Sidecar | Role::Main => is_running && passes_probe,
            Role::Ephemeral => false,
        },
        restart_count: i32::try_from(run.restarts).unwrap_or(i32::MAX),
        image: wanted.image.to_string(),
        image_id: run.image_id.to_string(),
        container_id: id,
        started: (wanted.role != Role::Ephemeral).then_some(is_running),
        allocated_resources: resources
            .as_ref()
            .map(|resources| resources.requests.clone())
            .unwrap_or_default(),
        resources,
        state,
    }
}

fn state(run: &Run, seen: Option<&Seen>, desired: &Desired, index: usize) -> (State, String) {
    let waiting = |reason: &str, message: String| State {
        waiting: Some(Waiting {
            reason: reason.to_owned(),
            message,
        }),
        ..State::default()
    };
    let last_id = || {
        run.last
            .as_ref()
            .map(|last| last.id.clone())
            .unwrap_or_default()
    };
    match (&run.state, seen) {
        (
            RunState::Ordered,
            Some(Seen {
                state: ContainerState::Running { started_at, .. },
                id,
                ..
            }),
        ) => (
            State {
                running: Some(Running {
                    started_at: Some(whole_seconds(*started_at)),
                }),
                ..State::default()
            },
            id.clone(),
        ),
        (RunState::Ended(ended), _) => (
            State {
                terminated: Some(terminated(ended)),
                ..State::default()
            },
            ended.id.clone(),
        ),
        (RunState::BackOff { seconds, .. }, _) => {
            let (name, pod) = (&desired.containers[index].name, &desired.name);
            let pause = pause(*seconds);
            let message = format!(
                "back-off {pause} restarting failed container={name} pod={pod}_{}({})",
                desired.namespace, desired.uid
            );
            (waiting("CrashLoopBackOff", message), last_id())
        }
        (RunState::Waiting | RunState::Ordered, _) => {
            let has_inits = desired
                .containers
                .first()
                .is_some_and(|first| first.role != Role::Main);
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

/// A pause in the text form of Go durations.
fn pause(seconds: u32) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

fn terminated(ended: &Ended) -> Terminated {
    Terminated {
        exit_code: ended.exit_code,
        reason: ended.reason.clone(),
        message: ended.message.clone(),
        started_at: Some(whole_seconds(ended.started_at)),
        finished_at: Some(whole_seconds(ended.finished_at)),
        container_id: ended.id.clone(),
    }
}
