//! Why a cluster cannot start or stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use files::FileError;
use registry::request::Refusal;
use server::certs::CertsError;
use store::{EngineError, OpenError};

/// Why a cluster cannot start, serve or stop. When [`Cluster::start`](crate::Cluster::start)
/// returns one, the parts that were already started have been cancelled.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The address is in use, does not belong to this machine, or needs more rights.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address from the configuration.
        address: SocketAddr,
        /// What the operating system reports.
        #[source]
        source: std::io::Error,
    },
    /// The certificates in the directory of [`Listen`](crate::Listen) cannot be read or created.
    #[error("cannot load or create certificates in {}", .dir.display())]
    Certificates {
        /// The directory of the certificates.
        dir: PathBuf,
        /// The file and the reason.
        #[source]
        source: CertsError,
    },
    /// The certificates of an in-process cluster cannot be created.
    #[error("cannot create certificates")]
    Keys(#[source] CertsError),
    /// The key that signs service account tokens is not an ECDSA P-256 key.
    #[error("cannot use the service account key")]
    AccountKey(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store cannot be opened. Nothing was changed on disk.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The objects that every cluster has (namespaces, priority classes, ...) cannot be created.
    #[error("cannot create the initial objects")]
    InitialObjects(#[source] Refusal),
    /// The default roles and role bindings cannot be created.
    #[error("cannot create the default roles")]
    DefaultRoles(#[source] Refusal),
    /// The administrator's kubeconfig cannot be written.
    #[error("cannot write kubeconfig {}", .path.display())]
    Kubeconfig {
        /// Where it was to be written.
        path: PathBuf,
        /// What the operating system reports.
        #[source]
        source: FileError,
    },
    /// The node options contradict each other or exceed a limit.
    #[error("cannot start simulated nodes")]
    Nodes(#[source] node::OptionsError),
    /// The node agent ended before all nodes were registered.
    #[error("cannot register the simulated nodes: the node agent ended early")]
    Registration,
    /// TLS rejects the serving certificate.
    #[error("cannot serve HTTPS")]
    Serve(#[source] CertsError),
    /// The storage engine failed, now or earlier. Acknowledged writes are durable.
    #[error("cannot close the store")]
    Close(#[source] Arc<EngineError>),
    /// A task panicked.
    #[error("the task that was to {doing} failed")]
    Task {
        /// What the task did.
        doing: &'static str,
        /// The panic.
        #[source]
        source: tokio::task::JoinError,
    },
}

impl ClusterError {
    /// Returns the error of a file that others could have changed, or that this process may not
    /// access, if that is the reason.
    #[must_use]
    pub fn file(&self) -> Option<&FileError> {
        match self {
            Self::Certificates {
                source: CertsError::File(error),
                ..
            }
            | Self::Kubeconfig { source: error, .. }
            | Self::Store(OpenError {
                reason: EngineError::Untrusted(error),
                ..
            }) => Some(error),
            _ => None,
        }
    }
}
