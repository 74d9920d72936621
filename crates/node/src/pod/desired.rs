//! What the API wants of one pod, in the compact form in which the agent keeps it.
//!
//! The newest state replaces the former one as a whole; there is never a queue of edits.

use std::sync::Arc;

use super::status::Resources;
use super::view::{self, ExitCodes, PodView};

/// What the API wants of one pod.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Box<str>,
    pub(crate) uid: Arc<str>,
    pub(crate) generation: i64,
    /// Grace of the pending deletion; none while nobody deletes the pod.
    pub(crate) deletion_grace: Option<i64>,
    /// Grace that the specification gives.
    pub(crate) grace_seconds: i64,
    /// True when the object is no longer in the API (deleted by force).
    pub(crate) gone: bool,
    pub(crate) restart: Restart,
    pub(crate) host_network: bool,
    /// Readiness gates and the status of their conditions, if these exist.
    pub(crate) gates: Vec<Gate>,
    /// All containers, init containers first, ephemeral ones last.
    pub(crate) containers: Vec<Container>,
    /// The phase that the API shows.
    pub(crate) phase: Phase,
}

/// When containers are started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// A readiness gate as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) condition: String,
    pub(crate) status: Option<String>,
}

/// One container.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) name: Box<str>,
    pub(crate) image: Box<str>,
    pub(crate) role: Role,
    /// The container's own policy and rules, which go before the pod's.
    pub(crate) restart: Option<Restart>,
    pub(crate) restart_on: Vec<ExitCodes>,
    pub(crate) has_pre_stop: bool,
    /// What it asks for; none when that is nothing.
    pub(crate) resources: Option<Box<Resources>>,
}

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// Starts among the init containers and runs as long as the pod.
    Sidecar,
    /// An ordinary container.
    Main,
    /// Added to look into the pod; runs once, and nothing depends on it.
    Ephemeral,
}

/// Phase of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    /// Reads the API's text; unknown texts count as pending.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "Running" => Self::Running,
            "Succeeded" => Self::Succeeded,
            "Failed" => Self::Failed,
            _ => Self::Pending,
        }
    }

    /// The API's text.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// True when nothing may run in the pod any more.
    pub(crate) fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl Restart {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "Always" => Some(Self::Always),
            "OnFailure" => Some(Self::OnFailure),
            "Never" => Some(Self::Never),
            _ => None,
        }
    }

    /// Whether a container that ended with this code runs again.
    pub(crate) fn after(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

impl Container {
    /// Whether this container runs again after it ended with this code in a pod with this policy.
    pub(crate) fn restarts_after(&self, exit_code: i32, pod: Restart) -> bool {
        let matches =
            |codes: &ExitCodes| codes.values.contains(&exit_code) == (codes.operator == "In");
        match self.role {
            Role::Sidecar => true,
            Role::Ephemeral => false,
            _ if self.restart_on.iter().any(matches) => true,
            Role::Init if exit_code == 0 => false,
            Role::Init => self.restart.unwrap_or(pod) != Restart::Never,
            Role::Main => self.restart.unwrap_or(pod).after(exit_code),
        }
    }
}

impl Desired {
    /// The part of `pod` that is kept.
    pub(crate) fn from_view(pod: &PodView) -> Self {
        let inits = pod
            .spec
            .init_containers
            .iter()
            .map(|container| keep(container, Role::Init));
        let mains = pod
            .spec
            .containers
            .iter()
            .map(|container| keep(container, Role::Main));
        let ephemeral = pod
            .spec
            .ephemeral_containers
            .iter()
            .map(|container| keep(container, Role::Ephemeral));
        let deletion = pod.metadata.deletion_timestamp.as_ref().map(|_| {
            pod.metadata
                .deletion_grace_period_seconds
                .unwrap_or_default()
        });
        Self {
            namespace: pod.metadata.namespace.as_deref().unwrap_or_default().into(),
            name: pod.metadata.name.as_deref().unwrap_or_default().into(),
            uid: pod.uid().into(),
            generation: pod.metadata.generation.unwrap_or_default(),
            deletion_grace: deletion,
            grace_seconds: pod.spec.termination_grace_period_seconds.unwrap_or(30),
            gone: false,
            restart: Restart::parse(&pod.spec.restart_policy).unwrap_or(Restart::Always),
            host_network: pod.spec.host_network,
            gates: pod
                .spec
                .readiness_gates
                .iter()
                .map(|gate| look_up(gate, pod))
                .collect(),
            containers: inits.chain(mains).chain(ephemeral).collect(),
            phase: Phase::parse(&pod.status.phase),
        }
    }

    /// True when somebody deletes the pod, or did so by force.
    pub(crate) fn is_ending(&self) -> bool {
        self.gone || self.deletion_grace.is_some()
    }

    /// Seconds that the containers have between the first notice and the kill: the grace of the
    /// deletion, else that of the specification, at least one.
    pub(crate) fn effective_grace(&self) -> u64 {
        u64::try_from(self.deletion_grace.unwrap_or(self.grace_seconds).max(1)).unwrap_or(1)
    }
}

fn keep(container: &view::Container, role: Role) -> Container {
    let restart = container.restart_policy.as_deref().and_then(Restart::parse);
    let role = if role == Role::Init && restart == Some(Restart::Always) {
        Role::Sidecar
    } else {
        role
    };
    Container {
        name: container.name.as_str().into(),
        image: container.image.as_str().into(),
        role,
        restart,
        restart_on: container
            .restart_policy_rules
            .iter()
            .filter(|rule| rule.action == "Restart")
            .filter_map(|rule| rule.exit_codes.clone())
            .collect(),
        has_pre_stop: container
            .lifecycle
            .as_ref()
            .is_some_and(|lifecycle| lifecycle.pre_stop.is_some()),
        resources: container
            .resources
            .clone()
            .filter(|asked| *asked != Resources::default())
            .map(Box::new),
    }
}

fn look_up(gate: &view::ReadinessGate, pod: &PodView) -> Gate {
    let condition = pod
        .status
        .conditions
        .iter()
        .find(|condition| condition.kind == gate.condition_type);
    Gate {
        condition: gate.condition_type.clone(),
        status: condition.map(|condition| condition.status.clone()),
    }
}
