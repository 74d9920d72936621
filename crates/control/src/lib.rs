//! Controllers and the scheduler.
//!
//! Everything here sees the world through one [`kube::Client`] and works against any Kubernetes API
//! server. It never knows how objects are stored or served, and never asks the machine for the
//! time.
//!
//! How data flows: one watcher per kind fills a [`caches`] entry, which calls the controllers that
//! subscribed; they map the change to keys of their work [`queue`]. A worker takes a key, reads the
//! caches, makes a plan (a pure function with `now` as an argument) and applies it with idempotent
//! requests. No reconciler learns why it was called, so a lost or doubled wake-up costs nothing but
//! time.
//!
//! Invariant: nothing waits for a polling interval. What depends on time is a delayed key in a
//! queue.
//!
//! Read next: [`run`], `caches.rs`, `queue.rs`, then `disruption.rs`, the controller that matters
//! most here.

mod caches;
mod claim;
mod claimprotection;
mod context;
mod cronjob;
mod daemonset;
mod deployment;
mod discovery;
mod disruption;
mod endpoints;
mod endpointslice;
mod error;
mod expectations;
mod garbage;
mod job;
mod meta;
pub mod model;
mod namespace;
mod nodelifecycle;
mod pod;
mod podcontrol;
mod podgc;
mod pods;
mod queue;
mod replicaset;
mod revisions;
mod scheduler;
mod selectors;
mod serviceaccount;
mod statefulset;
mod tainteviction;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use clock::{Clock, Entropy};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::caches::Caches;
use crate::context::Context;
pub(crate) use rules::{nodes, selector};

/// What can be chosen about the controllers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The certificate authority (PEM) that every namespace gets in its `kube-root-ca.crt` config
    /// map; empty: no map is made.
    pub root_ca: String,
    /// How long a node may be silent before its state is unknown.
    pub node_monitor_grace: Duration,
    /// The same for a node that has never told its state.
    pub node_startup_grace: Duration,
    /// How long the object of a node must be missing before its pods are removed.
    pub orphan_quarantine: Duration,
    /// How many finished pods are kept.
    pub terminated_pod_threshold: usize,
    /// False leaves the placing of pods to another scheduler.
    pub schedule: bool,
    /// Learns how long the status of a budget lagged behind its pods.
    pub status_lag: Option<StatusLag>,
}

/// Learns for each written status of a budget how long it lagged: from the moment at which the
/// oldest change of a pod that it counts was seen until the status was committed.
#[derive(Clone)]
pub struct StatusLag(Arc<dyn Fn(Duration) + Send + Sync>);

impl StatusLag {
    /// Calls `observe` for each.
    pub fn new(observe: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    fn observe(&self, lag: Duration) {
        (self.0)(lag);
    }
}

impl std::fmt::Debug for StatusLag {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("StatusLag").finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root_ca: String::new(),
            node_monitor_grace: Duration::from_secs(50),
            node_startup_grace: Duration::from_secs(60),
            orphan_quarantine: Duration::from_secs(40),
            terminated_pod_threshold: 12_500,
            schedule: true,
            status_lag: None,
        }
    }
}

/// The running controllers. Dropping it does not stop them; the token given to [`run`] does.
#[derive(Debug)]
pub struct Handle {
    tasks: TaskTracker,
}

impl Handle {
    /// Waits until every controller has stopped, which they do soon after the shutdown token was
    /// cancelled.
    pub async fn stopped(self) {
        self.tasks.wait().await;
    }
}

/// Starts all controllers and returns at once. They run until `shutdown` is cancelled.
///
/// Needs a tokio runtime. A watch or a request that fails is tried again with growing pauses for as
/// long as it takes, so the API server may come up later than the controllers.
#[must_use]
pub fn run(
    client: Client,
    clock: Clock,
    entropy: Entropy,
    options: Options,
    shutdown: CancellationToken,
) -> Handle {
    let tasks = TaskTracker::new();
    let context = Context::new(client, clock, entropy, options, shutdown, tasks.clone());
    let mut caches = Caches::new();
    disruption::start(&context, &mut caches);
    replicaset::start(&context, &mut caches);
    deployment::start(&context, &mut caches);
    if context.options.schedule {
        scheduler::start(&context, &mut caches);
    }
    endpointslice::start(&context, &mut caches);
    endpoints::start(&context, &mut caches);
    serviceaccount::start(&context, &mut caches);
    let namespaces = namespace::start(&context, &mut caches);
    nodelifecycle::start(&context, &mut caches);
    tainteviction::start(&context, &mut caches);
    podgc::start(&context, &mut caches);
    statefulset::start(&context, &mut caches);
    daemonset::start(&context, &mut caches);
    job::start(&context, &mut caches);
    cronjob::start(&context, &mut caches);
    claimprotection::start(&context, &mut caches);
    garbage::start(&context, &mut caches, namespaces);
    caches.start(&context);
    tasks.close();
    Handle { tasks }
}
