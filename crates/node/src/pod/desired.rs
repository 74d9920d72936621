//! The desired state of one pod, in the compact form that the agent keeps in memory.
//!
//! The newest state replaces the one before as a whole. There is never a queue of changes.

use std::sync::Arc;

use crate::wire::status::Resources;
use crate::wire::view::{self, ExitCodes, PodView};

/// The desired state of one pod.
#[derive(Clone, Debug)]
pub(crate) struct DesiredPod {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Box<str>,
    pub(crate) uid: Arc<str>,
    pub(crate) generation: i64,
    /// The grace period of the deletion in seconds; `None` while the pod is not being deleted.
    pub(crate) deletion_grace: Option<i64>,
    /// The default grace period of the specification.
    pub(crate) grace_seconds: i64,
    /// The longest time in seconds that the pod may run on the node.
    pub(crate) active_deadline_seconds: Option<i64>,
    /// True when the object is gone from the API, because it was deleted by force.
    pub(crate) gone: bool,
    pub(crate) restart_policy: RestartPolicy,
    pub(crate) host_network: bool,
    /// The readiness gates with the status of their conditions.
    pub(crate) readiness_gates: Vec<GateStatus>,
    /// All containers, init containers first, ephemeral ones last.
    pub(crate) containers: Vec<DesiredContainer>,
    /// The published phase.
    pub(crate) phase: PodPhase,
}

/// The policy on restarting containers that have exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// A readiness gate with the current status of its condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GateStatus {
    pub(crate) condition: String,
    pub(crate) status: Option<String>,
}

/// The desired state of one container.
#[derive(Clone, Debug)]
pub(crate) struct DesiredContainer {
    pub(crate) name: Box<str>,
    pub(crate) image: Box<str>,
    pub(crate) role: ContainerRole,
    /// The container's own policy, which takes precedence over the pod's.
    pub(crate) restart_policy: Option<RestartPolicy>,
    /// The exit codes after which the container restarts whatever the policies say.
    pub(crate) restart_on: Vec<ExitCodes>,
    pub(crate) has_pre_stop: bool,
    /// The resource requests and limits; `None` for a container without any.
    pub(crate) resources: Option<Box<Resources>>,
}

/// The part that a container plays in the start and the end of its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerRole {
    /// An init container: runs to completion before the next container starts.
    Init,
    /// A restartable init container: starts among the init containers and runs as long as the pod.
    Sidecar,
    /// A main container. The pod is complete when all of them are.
    Main,
    /// An ephemeral container: added for debugging, runs once, and nothing depends on it.
    Ephemeral,
}

/// The phase of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PodPhase {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl PodPhase {
    /// Parses the name of a phase. Unknown names count as `Pending`.
    pub(crate) fn parse(name: &str) -> Self {
        match name {
            "Running" => Self::Running,
            "Succeeded" => Self::Succeeded,
            "Failed" => Self::Failed,
            _ => Self::Pending,
        }
    }

    /// Returns the name of the phase in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// Returns true for phases that a pod never leaves.
    pub(crate) fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl RestartPolicy {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "Always" => Some(Self::Always),
            "OnFailure" => Some(Self::OnFailure),
            "Never" => Some(Self::Never),
            _ => None,
        }
    }

    /// Returns true when a container that exited with this code is restarted.
    fn restarts_after(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

impl DesiredContainer {
    /// Returns true when this container is restarted after it exited with this code. `pod` is the
    /// policy of the pod.
    pub(crate) fn restarts_after(&self, exit_code: i32, pod: RestartPolicy) -> bool {
        let matches =
            |codes: &ExitCodes| codes.values.contains(&exit_code) == (codes.operator == "In");
        match self.role {
            ContainerRole::Sidecar => true,
            ContainerRole::Ephemeral => false,
            _ if self.restart_on.iter().any(matches) => true,
            ContainerRole::Init if exit_code == 0 => false,
            ContainerRole::Init => self.restart_policy.unwrap_or(pod) != RestartPolicy::Never,
            ContainerRole::Main => self.restart_policy.unwrap_or(pod).restarts_after(exit_code),
        }
    }
}

impl DesiredPod {
    /// Extracts the desired state from a pod.
    pub(crate) fn from_view(pod: &PodView) -> Self {
        let inits = pod
            .spec
            .init_containers
            .iter()
            .map(|init| container(init, ContainerRole::Init));
        let mains = pod
            .spec
            .containers
            .iter()
            .map(|main| container(main, ContainerRole::Main));
        let ephemeral = pod
            .spec
            .ephemeral_containers
            .iter()
            .map(|ephemeral| container(ephemeral, ContainerRole::Ephemeral));
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
            active_deadline_seconds: pod.spec.active_deadline_seconds,
            gone: false,
            restart_policy: RestartPolicy::parse(&pod.spec.restart_policy)
                .unwrap_or(RestartPolicy::Always),
            host_network: pod.spec.host_network,
            readiness_gates: pod
                .spec
                .readiness_gates
                .iter()
                .map(|gate| gate_status(gate, pod))
                .collect(),
            containers: inits.chain(mains).chain(ephemeral).collect(),
            phase: PodPhase::parse(&pod.status.phase),
        }
    }

    /// Returns true when the pod is being deleted or is gone.
    pub(crate) fn is_ending(&self) -> bool {
        self.gone || self.deletion_grace.is_some()
    }

    /// Returns the time that containers have between the start of their termination and the kill:
    /// the grace period of the deletion, or else of the specification, at least one second.
    pub(crate) fn effective_grace_seconds(&self) -> u64 {
        u64::try_from(self.deletion_grace.unwrap_or(self.grace_seconds).max(1)).unwrap_or(1)
    }
}

fn container(container: &view::ContainerView, role: ContainerRole) -> DesiredContainer {
    let restart_policy = container
        .restart_policy
        .as_deref()
        .and_then(RestartPolicy::parse);
    let role = if role == ContainerRole::Init && restart_policy == Some(RestartPolicy::Always) {
        ContainerRole::Sidecar
    } else {
        role
    };
    DesiredContainer {
        name: container.name.as_str().into(),
        image: container.image.as_str().into(),
        role,
        restart_policy,
        restart_on: container
            .restart_policy_rules
            .iter()
            .filter(|rule| rule.action == "RestartPolicy")
            .filter_map(|rule| rule.exit_codes.clone())
            .collect(),
        has_pre_stop: container
            .lifecycle
            .as_ref()
            .is_some_and(|lifecycle| lifecycle.pre_stop.is_some()),
        resources: container
            .resources
            .clone()
            .filter(|resources| *resources != Resources::default())
            .map(Box::new),
    }
}

fn gate_status(gate: &view::ReadinessGate, pod: &PodView) -> GateStatus {
    let condition = pod
        .status
        .conditions
        .iter()
        .find(|condition| condition.kind == gate.condition_type);
    GateStatus {
        condition: gate.condition_type.clone(),
        status: condition.map(|condition| condition.status.clone()),
    }
}
