//! What a cluster consists of and how it behaves.

use std::net::SocketAddr;
use std::path::PathBuf;

use clock::{Clock, Entropy};
use node::NodeOptions;
use registry::Gates;
use server::TokenFile;
use store::Store;

/// The parts of a cluster and their settings.
///
/// The default is an API server over an empty in-memory store with all controllers and the
/// scheduler, without nodes, without a listener, on the system's clock.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where objects are stored.
    pub storage: Storage,
    /// The address on which the API is served over TLS. `None` serves clients inside this process
    /// only and writes no files besides those of the store.
    pub listen: Option<Listen>,
    /// The controllers and the scheduler. `None` starts none: budgets then keep the status that
    /// clients write, and nothing creates service accounts.
    ///
    /// An empty `root_ca` is replaced by the authority of this cluster, and a missing `status_lag`
    /// by one that feeds the server's metrics.
    pub controllers: Option<control::ControllerOptions>,
    /// The simulated nodes. `None` starts none.
    pub nodes: Option<NodeOptions>,
    /// Bearer tokens that authenticate users. Their rights come from RBAC and group membership.
    pub tokens: TokenFile,
    /// The feature gates of the API server.
    pub gates: Gates,
    /// Whether writing a budget that can never allow a disruption returns a `Warning` header.
    /// Kubernetes returns none.
    pub budget_warnings: bool,
    /// Whether refused evictions emit events. Kubernetes emits none.
    pub refusal_events: bool,
    /// The source of time of all parts.
    pub clock: Clock,
    /// The source of uids, generated names and jitter of all parts.
    pub entropy: Entropy,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            storage: Storage::Memory,
            listen: None,
            controllers: Some(control::ControllerOptions::default()),
            nodes: None,
            tokens: TokenFile::default(),
            gates: Gates::default(),
            budget_warnings: false,
            refusal_events: false,
            clock: Clock::system(),
            entropy: Entropy::system(),
        }
    }
}

/// Where objects are stored.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In memory, empty at the start and lost at the end.
    Memory,
    /// In this directory, which is created if it is missing. Every acknowledged write survives a
    /// crash. One process at a time may use a directory.
    Disk(PathBuf),
    /// In a store that is open already. Several clusters may share one: they are then API servers
    /// of one control plane. The cluster that stops first closes it.
    Opened(Store),
}

/// An address to serve, and the directory that keeps what clients need to reach it.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Holds the certificates in `pki/` and the administrator's `kubeconfig`. Certificates that
    /// exist and are valid are used again.
    pub dir: PathBuf,
}
