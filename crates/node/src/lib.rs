//! The node agent: registration, leases, pods and their end.
//!
//! One agent serves one node or thousands of simulated ones. It sees the world only through a
//! [`kube::Client`], so it works against any Kubernetes API server, and runs containers only
//! through a [`Runtime`].
//!
//! The walk of a pod: one watch for all nodes of the agent -> the newest state of the pod replaces
//! the former one -> `pod/phase.rs` decides, purely -> orders go to the runtime, the status goes to
//! the API as one patch -> when all has ended, a DELETE with grace 0 that is pinned to the uid.
//!
//! It must never know how the API server stores or decides anything.

mod agent;
mod backoff;
mod logs;
mod machine;
mod options;
mod pod;
mod runtime;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use clock::{Clock, Entropy};
use events::EventBroadcaster;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::machine::Machines;

pub use logs::{LogOptions, LogsError, logs};
pub use options::{NodeOptions, OptionsError};
pub use pod::status::{
    Address, Condition, ContainerStatus, PodStatus, Running, State, Terminated, Waiting,
};
pub use pod::view::PodView;
pub use runtime::{
    ANNOTATION_PREFIX, ContainerState, Ended, Observed, Order, Runtime, Seen, Simulated,
};

/// A running agent.
#[derive(Debug)]
pub struct Handle {
    tasks: JoinSet<()>,
    registered: watch::Receiver<bool>,
}

/// Starts an agent for simulated nodes.
///
/// It runs until `shutdown` is cancelled and then leaves the pods as they are; an agent that is
/// started later goes on with them.
///
/// # Errors
/// When the options cannot work. Nothing was started then.
pub fn run(
    client: Client,
    clock: Clock,
    entropy: Entropy,
    options: NodeOptions,
    shutdown: CancellationToken,
) -> Result<Handle, OptionsError> {
    run_with(Simulated::new(), client, clock, entropy, options, shutdown)
}

/// Starts an agent for nodes with this runtime; see [`run`].
///
/// # Errors
/// When the options cannot work. Nothing was started then.
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
    let machines = Machines::new(
        client.clone(),
        clock.clone(),
        entropy.clone(),
        options.clone(),
    );
    tasks.spawn(machines.run(registering, shutdown.clone()));
    let agent = Agent::new(client, clock, entropy, &options, runtime, recorder);
    tasks.spawn(agent.run(shutdown));
    Ok(Handle { tasks, registered })
}

impl Handle {
    /// Waits until all nodes are registered; false when the agent ended before.
    pub async fn registered(&self) -> bool {
        self.registered
            .clone()
            .wait_for(|registered| *registered)
            .await
            .is_ok()
    }

    /// Waits until the agent has ended, after shutdown.
    pub async fn stopped(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
