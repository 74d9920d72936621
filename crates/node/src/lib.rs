//! The node agent: registers nodes, renews their leases, and runs their pods.
//!
//! One agent serves one node or thousands of simulated ones. It accesses the cluster only through a
//! [`kube::Client`], so it works with any Kubernetes API server, and it runs containers only
//! through a [`Runtime`].
//!
//! The path of a pod: one watch covers all nodes of the agent. The newest state of a pod replaces
//! the one before. `pod/phase.rs`, a pure function, decides. Its requests go to the runtime, and
//! the status goes to the API as one patch. When all containers have ended, the agent deletes the
//! object with grace period 0 and the uid as a precondition.
//!
//! The agent must never know how the API server stores or decides anything.
//!
//! Read next: `agent.rs` for the loop, `pod/phase.rs` for the decisions.

mod addresses;
mod agent;
mod backoff;
mod logs;
mod options;
mod pace;
mod pod;
mod registration;
mod runtime;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use clock::{Clock, Entropy};
use events::EventBroadcaster;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::registration::NodeRegistration;

pub use logs::{LogOptions, LogsError, logs};
pub use options::{NodeOptions, OptionsError};
pub use runtime::{
    ANNOTATION_PREFIX, ContainerExit, ContainerObservation, ContainerState, PodObservation,
    Runtime, RuntimeRequest, Simulated,
};
pub use wire::status::{
    ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerStatusState, PodCondition, PodIp, PodStatus,
};
pub use wire::view::PodView;

/// A running agent.
#[derive(Debug)]
pub struct Handle {
    tasks: JoinSet<()>,
    registered: watch::Receiver<bool>,
}

/// Starts an agent for simulated nodes.
///
/// The agent runs until `shutdown` is cancelled, and leaves the pods as they are then. An agent
/// that is started later continues with them.
///
/// # Errors
///
/// Those of [`NodeOptions::check`]. Nothing is started then.
pub fn run(
    client: Client,
    clock: Clock,
    entropy: Entropy,
    options: NodeOptions,
    shutdown: CancellationToken,
) -> Result<Handle, OptionsError> {
    run_with(Simulated::new(), client, clock, entropy, options, shutdown)
}

/// Starts an agent whose nodes use this runtime; like [`run`] otherwise.
///
/// # Errors
///
/// Those of [`NodeOptions::check`]. Nothing is started then.
pub fn run_with(
    runtime: impl Runtime,
    client: Client,
    clock: Clock,
    entropy: Entropy,
    options: NodeOptions,
    shutdown: CancellationToken,
) -> Result<Handle, OptionsError> {
    options.check()?;
    let options = Arc::new(options);
    let (registering, registered) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let (events, writer) = EventBroadcaster::new(
        client.clone(),
        clock.clone(),
        Some(pod::events::rate_limit(options.events_per_second)),
    );
    if options.events_per_second > 0 {
        tasks.spawn(writer.run(shutdown.clone()));
    }
    let recorder = events.recorder(pod::events::COMPONENT);
    let registration = NodeRegistration::new(
        client.clone(),
        clock.clone(),
        entropy.clone(),
        options.clone(),
    );
    tasks.spawn(registration.run(registering, shutdown.clone()));
    // Grace periods and probes are durations: a machine whose clock is set must not cut them short.
    let agent = Agent::new(client, clock.steady(), entropy, &options, runtime, recorder);
    tasks.spawn(agent.run(shutdown));
    Ok(Handle { tasks, registered })
}

impl Handle {
    /// Waits until all nodes are registered. Returns false when the agent ended before.
    pub async fn registered(&self) -> bool {
        self.registered
            .clone()
            .wait_for(|registered| *registered)
            .await
            .is_ok()
    }

    /// Waits until the agent has ended, which it does after shutdown.
    pub async fn stopped(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
