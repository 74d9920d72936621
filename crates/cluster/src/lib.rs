//! A whole cluster in one process: store, API server, controllers, scheduler and simulated nodes.
//!
//! This crate is the composition root. The `exeunt` binary, `testkit` and the examples all call
//! [`Cluster::start`], so a test runs the same assembly that ships. The crate prints nothing, reads
//! no environment variables and handles no signals; everything that can vary is a field of
//! [`ClusterConfig`].
//!
//! # Guarantees
//!
//! - Controllers and nodes reach the API through the server's own service, without a socket. A
//!   listener is optional.
//! - Two clusters in one process share nothing, unless they are given the same store.
//! - Waiting uses `tokio::time` and [`ClusterConfig::clock`]. On a paused runtime, an in-memory
//!   cluster without a listener runs in virtual time.
//! - [`Cluster::stop`] ends the parts in dependency order: controllers and nodes, then the
//!   listener, then the store.
//!
//! # Example
//!
//! ```
//! use cluster::{Cluster, ClusterConfig};
//! use k8s_openapi::api::core::v1::Namespace;
//! use kube::Api;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let cluster = Cluster::start(ClusterConfig::default()).await?;
//! let namespaces = Api::<Namespace>::all(cluster.client());
//! assert_eq!(namespaces.get("default").await?.metadata.name.as_deref(), Some("default"));
//! cluster.stop().await?;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! Read next: `run.rs`, which assembles the parts from top to bottom.

mod advertise;
mod config;
mod error;
mod logs;
mod memory;
mod run;

pub use config::{ClusterConfig, Listen, Storage};
pub use error::ClusterError;
pub use run::Cluster;

// The types that appear in `ClusterConfig`, `Cluster` and `ClusterError`, so that callers need not
// depend on the parts themselves.
pub use clock::{Clock, Entropy};
pub use control::ControllerOptions;
pub use node::{NodeOptions, OptionsError as NodeOptionsError};
pub use registry::Gates;
pub use registry::request::User;
pub use server::{CallerService, TokenFile, TokenFileError, administrator};
pub use store::{EngineError, Store};
