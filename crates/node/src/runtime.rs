//! The narrow door to whatever runs containers.
//!
//! A runtime takes orders and shows what is. It never decides: restarts, grace and order are
//! decided in `pod/phase.rs`. An order returns at once; what came of it shows in the next
//! observation. A runtime whose containers change on their own (a real one) names the pods that
//! changed through [`Runtime::changes`]; one that knows the future (the simulated one) says when
//! the next change is due.

mod simulated;

pub use simulated::{ANNOTATION_PREFIX, Simulated};

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::pod::view::PodView;

/// Runs the containers of pods.
///
/// Containers are counted init containers first, then the ordinary ones, then the ephemeral ones.
pub trait Runtime: Send + Sync + 'static {
    /// Takes note of the newest state of a pod; called before anything is ordered for it and
    /// whenever the pod changes. Returns what the pod's author should be told.
    fn admit(&self, pod: &PodView, now: Timestamp) -> Vec<String>;

    /// Finds again what an earlier agent started for this pod. Called once per pod, after
    /// [`Runtime::admit`], when the API says that containers were started before.
    fn adopt(&self, pod: &PodView, now: Timestamp);

    /// Takes an order; returns at once. A container for which a start was ordered is
    /// [`ContainerState::Creating`] from this moment on.
    fn order(&self, uid: &str, order: Order, now: Timestamp);

    /// What is, in the order of the containers. A pod of which the runtime knows nothing has none.
    fn observe(&self, uid: &str, now: Timestamp) -> Observed;

    /// Uids of pods that changed for another reason than the passing of time. Taken once.
    fn changes(&self) -> Option<mpsc::Receiver<Arc<str>>> {
        None
    }
}

/// What a runtime shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Create and start a container.
    Start {
        /// Which.
        container: usize,
        /// 0 for the first start, one more with each restart.
        attempt: u32,
    },
    /// Run the preStop hook of a running container.
    PreStop {
        /// Which.
        container: usize,
    },
    /// Send the stop signal, and kill what still runs after the timeout. A second order may
    /// only shorten it.
    Stop {
        /// Which.
        container: usize,
        /// Time between the signal and the kill.
        timeout: Duration,
    },
    /// Release everything the pod holds; its containers have ended.
    Remove,
}

/// What is.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The latest attempt of each container.
    pub containers: Vec<Seen>,
    /// When the next change is due, if the runtime knows.
    pub next_change: Option<Timestamp>,
}

/// The latest attempt of one container.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Which attempt this is about.
    pub attempt: u32,
    /// What it does.
    pub state: ContainerState,
    /// True when a preStop hook was ordered and has come to its end.
    pub hook_done: bool,
    /// Why the hook failed, if it did.
    pub hook_failure: Option<String>,
    /// Id of the container with the runtime's scheme; empty before it is created.
    pub id: String,
    /// Id of the image with the runtime's scheme; empty before it is known.
    pub image_id: String,
}

/// What a container does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// There is none.
    #[default]
    Absent,
    /// It was ordered and has not started yet.
    Creating,
    /// It runs.
    Running {
        /// Since when.
        started_at: Timestamp,
        /// True when its readiness probe passes, or when it has none.
        ready: bool,
        /// What the failing readiness probe says, if it fails.
        unhealthy: Option<String>,
    },
    /// It has ended.
    Exited(Ended),
}

/// The end of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When it had started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`…
    pub reason: String,
    /// More, for people.
    pub message: String,
    /// Id of the container with the runtime's scheme.
    pub id: String,
}
