//! The interface between the agent and a container runtime.
//!
//! A runtime carries out requests and reports observations. It makes no decisions: restarts, grace
//! periods and the order of containers are decided in `pod/phase.rs`. A request returns at once,
//! and its effect shows in the next observation. A runtime whose containers change on their own
//! reports the pods that changed through [`Runtime::changes`]; a runtime that knows the future, as
//! the simulated one does, reports in each observation when the next change is due.

mod simulated;

pub use simulated::{ANNOTATION_PREFIX, Simulated};

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::wire::view::PodView;

/// Runs the containers of pods.
///
/// A container is identified by its index in the pod: init containers first, then main containers,
/// then ephemeral containers.
pub trait Runtime: Send + Sync + 'static {
    /// Stores the newest state of a pod. Called before the first request for the pod and whenever
    /// the pod changes. Returns warnings to show to the author of the pod.
    fn update(&self, pod: &PodView, now: Timestamp) -> Vec<String>;

    /// Restores the containers that an earlier agent started for this pod. Called once per pod,
    /// after [`Runtime::update`], when the published status says that the pod was started.
    fn restore(&self, pod: &PodView, now: Timestamp);

    /// Accepts a request and returns at once. A container whose start was requested is
    /// [`ContainerState::Creating`] from this call on.
    fn request(&self, uid: &str, request: RuntimeRequest, now: Timestamp);

    /// Returns the state of all containers of a pod. A pod that the runtime does not know has none.
    fn observe(&self, uid: &str, now: Timestamp) -> PodObservation;

    /// Returns a channel with the uids of pods that change on their own. Called once, at the start.
    fn changes(&self) -> Option<mpsc::Receiver<Arc<str>>> {
        None
    }
}

/// A request to a container runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeRequest {
    /// Create and start a container.
    StartContainer {
        /// The index of the container.
        container: usize,
        /// 0 for the first start, one more with each restart.
        attempt: u32,
    },
    /// Run the preStop hook of a running container.
    RunPreStopHook {
        /// The index of the container.
        container: usize,
    },
    /// Send the stop signal to a container, and kill it after the timeout. For a container that is
    /// still being created, cancel the start. A second request can only make the kill earlier.
    StopContainer {
        /// The index of the container.
        container: usize,
        /// The time between the stop signal and the kill.
        timeout: Duration,
    },
    /// Release everything that the pod holds. All its containers have ended.
    RemovePod,
}

/// The state of a pod's containers.
#[derive(Clone, Debug, Default)]
pub struct PodObservation {
    /// The latest attempt of each container, by its index.
    pub containers: Vec<ContainerObservation>,
    /// When the next change is due, if the runtime knows.
    pub next_change: Option<Timestamp>,
}

/// The state of the latest attempt of one container.
#[derive(Clone, Debug, Default)]
pub struct ContainerObservation {
    /// The number of the attempt.
    pub attempt: u32,
    /// The state.
    pub state: ContainerState,
    /// True when a preStop hook was requested and has ended.
    pub hook_done: bool,
    /// The error of the hook, if it failed.
    pub hook_failure: Option<String>,
    /// The id of the container with the runtime's scheme; empty before it is created.
    pub id: String,
    /// The id of the image with the runtime's scheme; empty before it is known.
    pub image_id: String,
}

/// The state of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// The runtime does not have the container.
    #[default]
    Absent,
    /// The start was requested and has not completed.
    Creating,
    /// The container runs.
    Running {
        /// When the container started.
        started_at: Timestamp,
        /// True when the readiness probe passes, or when the container has no probe.
        ready: bool,
        /// The output of the readiness probe, if it fails.
        unhealthy: Option<String>,
    },
    /// The container has exited.
    Exited(ContainerExit),
}

/// The end of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerExit {
    /// When the container started.
    pub started_at: Timestamp,
    /// When the container exited.
    pub finished_at: Timestamp,
    /// The exit code; 128 plus the signal when a signal killed the process.
    pub exit_code: i32,
    /// A machine-readable reason: `Completed`, `Error`, `OOMKilled`…
    pub reason: String,
    /// A human-readable explanation.
    pub message: String,
    /// The id of the container with the runtime's scheme.
    pub id: String,
}
