//! Controllers and the scheduler.
//!
//! This crate knows the cluster only through one [`kube::Client`] and works against any Kubernetes
//! API server. It must not know how objects are stored or served, and must not read the machine's
//! clock.
//!
//! How data flows: one reflector per kind fills an `informer` cache and passes each change to the
//! controllers that subscribed. They map the change to keys of their work `queue`. A worker takes
//! a key, reads the caches, makes a plan (a pure function with `now` as an argument) and applies it
//! with idempotent requests. Reconcilers do not know why they run, so a lost or duplicate wake-up
//! costs nothing but time.
//!
//! Invariant: nothing polls. What depends on time is a delayed key in a queue.
//!
//! Read next: [`run`], `informer.rs`, `queue.rs`, then `disruption.rs`, the controller that
//! evictions depend on.

mod api;
mod claim;
mod claimprotection;
mod clusterroleaggregation;
mod context;
mod cronjob;
mod daemonset;
mod deployment;
mod discovery;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslicemirroring;
mod ephemeralvolume;
mod error;
mod expectations;
mod garbage;
mod informer;
mod informers;
mod job;
mod meta;
pub mod model;
mod namespace;
mod nodelifecycle;
mod pacing;
mod partialpod;
mod percentage;
mod podcontrol;
mod podgc;
mod pods;
mod queue;
mod reflector;
mod replicaset;
mod revisions;
mod scheduler;
mod selectors;
mod serviceaccount;
mod servicecidr;
mod servicepods;
mod statefulset;
mod synced;
mod tainteviction;
mod tokensecret;
mod volumebinder;
mod volumeprotection;

use std::sync::Arc;
use std::time::Duration;

use clock::{Clock, Entropy};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::ControllerContext;
use crate::informers::Informers;
pub(crate) use rules::{nodes, selector};

/// Options of the controllers.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// The certificate authority (PEM) for the config map `kube-root-ca.crt` of every namespace.
    /// When it is empty, the config map is not created.
    pub root_ca: String,
    /// How long a node may be silent before its conditions become `Unknown`.
    pub node_monitor_grace: Duration,
    /// How long a node that has never reported its status may be silent.
    pub node_startup_grace: Duration,
    /// How long a node object must be missing before the pods of the node are removed.
    pub orphan_quarantine: Duration,
    /// How many finished pods are kept.
    pub terminated_pod_threshold: usize,
    /// How many pods controllers create in a second, all together, once the burst is used up. What
    /// a missing handful of pods takes is created at once and counted.
    pub pods_per_second: u32,
    /// How many pods controllers may create at once. The default is what a large cluster loses when
    /// a tenth of its nodes are drained.
    pub pod_burst: u32,
    /// Whether the scheduler runs. Set this to false when another scheduler binds pods.
    pub schedule: bool,
    /// Receives how long the status of a budget lagged behind its pods.
    pub status_lag: Option<StatusLag>,
}

/// Receives, for each written status of a budget, the time from the moment at which the oldest
/// counted change of a pod was seen until the status was committed.
#[derive(Clone)]
pub struct StatusLag(Arc<dyn Fn(Duration) + Send + Sync>);

impl StatusLag {
    /// Wraps a function that is called with each lag.
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

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            root_ca: String::new(),
            node_monitor_grace: Duration::from_secs(50),
            node_startup_grace: Duration::from_secs(60),
            orphan_quarantine: Duration::from_secs(40),
            terminated_pod_threshold: 12_500,
            pods_per_second: 500,
            pod_burst: 5_000,
            schedule: true,
            status_lag: None,
        }
    }
}

/// The running controllers. Dropping this does not stop them; the token given to [`run`] does.
#[derive(Debug)]
pub struct ControllerHandle {
    tasks: TaskTracker,
}

impl ControllerHandle {
    /// Waits until every controller has stopped after the shutdown token was cancelled.
    pub async fn stopped(self) {
        self.tasks.wait().await;
    }
}

/// Starts all controllers and returns at once. They run until `shutdown` is cancelled.
///
/// Needs a tokio runtime. A watch or request that fails is retried with growing pauses for as long
/// as it takes, so the API server may start later than the controllers.
#[must_use]
pub fn run(
    client: Client,
    clock: Clock,
    entropy: Entropy,
    options: ControllerOptions,
    shutdown: CancellationToken,
) -> ControllerHandle {
    let tasks = TaskTracker::new();
    let context = ControllerContext::new(client, clock, entropy, options, shutdown, tasks.clone());
    let mut informers = Informers::new();
    disruption::start(&context, &mut informers);
    replicaset::start(&context, &mut informers);
    deployment::start(&context, &mut informers);
    if context.options.schedule {
        scheduler::start(&context, &mut informers);
    }
    endpointslice::start(&context, &mut informers);
    endpoints::start(&context, &mut informers);
    endpointslicemirroring::start(&context, &mut informers);
    serviceaccount::start(&context, &mut informers);
    let namespaces = namespace::start(&context, &mut informers);
    nodelifecycle::start(&context, &mut informers);
    tainteviction::start(&context, &mut informers);
    podgc::start(&context, &mut informers);
    statefulset::start(&context, &mut informers);
    daemonset::start(&context, &mut informers);
    job::start(&context, &mut informers);
    cronjob::start(&context, &mut informers);
    claimprotection::start(&context, &mut informers);
    volumeprotection::start(&context, &mut informers);
    volumebinder::start(&context, &mut informers);
    ephemeralvolume::start(&context, &mut informers);
    servicecidr::start(&context, &mut informers);
    tokensecret::start(&context, &mut informers);
    clusterroleaggregation::start(&context, &mut informers);
    garbage::start(&context, &mut informers, namespaces);
    informers.start(&context);
    tasks.close();
    ControllerHandle { tasks }
}
