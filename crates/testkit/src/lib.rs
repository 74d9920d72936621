//! Kubernetes in a test process, for tests of controllers, operators and drain tools.
//!
//! A [`TestCluster`] is the assembly that `exeunt serve` runs: API server, controllers, scheduler
//! and simulated nodes. A test points its code at [`TestCluster::client`] and asserts what becomes
//! of the objects. Evictions are granted and refused as by a real API server, budgets are kept up
//! to date, and nodes terminate pods with hooks and grace periods.
//!
//! # Example
//!
//! A pod under a budget that allows no disruption: its eviction is refused until the budget is
//! deleted, and then the node takes the pod's grace period to stop it.
//!
//! ```
//! use std::time::Duration;
//!
//! use k8s_openapi::api::core::v1::Pod;
//! use k8s_openapi::api::policy::v1::PodDisruptionBudget;
//! use kube::Api;
//! use kube::api::{DeleteParams, EvictParams, PostParams};
//! use serde_json::{from_value, json};
//! use testkit::TestCluster;
//!
//! # fn main() -> anyhow::Result<()> {
//! # let runtime = tokio::runtime::Builder::new_current_thread()
//! #     .enable_all().start_paused(true).build()?;
//! # runtime.block_on(async {
//! // In a test, this is the body of an async fn with #[tokio::test(start_paused = true)].
//! let cluster = TestCluster::start(1).await?;
//! let pods = Api::<Pod>::default_namespaced(cluster.client());
//! let budgets = Api::<PodDisruptionBudget>::default_namespaced(cluster.client());
//!
//! let budget = from_value(json!({
//!     "metadata": {"name": "web"},
//!     "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
//! }))?;
//! budgets.create(&PostParams::default(), &budget).await?;
//! let pod = from_value(json!({
//!     "metadata": {"name": "web", "labels": {"app": "web"}},
//!     "spec": {"containers": [{"name": "web", "image": "nginx"}]},
//! }))?;
//! // A controller creates the service account that pods need.
//! let created = async || Ok(pods.create(&PostParams::default(), &pod).await.ok());
//! cluster.wait_for(Duration::from_secs(5), created).await?;
//! let counted = async || {
//!     let status = budgets.get("web").await?.status.unwrap_or_default();
//!     Ok((status.current_healthy == Some(1)).then_some(()))
//! };
//! cluster.wait_for(Duration::from_secs(60), counted).await?;
//!
//! let refused = pods.evict("web", &EvictParams::default()).await;
//! assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 429));
//!
//! budgets.delete("web", &DeleteParams::default()).await?;
//! pods.evict("web", &EvictParams::default()).await?;
//! let deleted = async || Ok(pods.get_opt("web").await?.is_none().then_some(()));
//! cluster.wait_for(Duration::from_secs(60), deleted).await?;
//! cluster.stop().await
//! # })
//! # }
//! ```
//!
//! `examples/recycler.rs` tests a whole controller, and `examples/drain.rs` drains a node through
//! the `drain` library.
//!
//! # Guarantees
//!
//! - **Virtual time.** On a paused runtime (`start_paused = true`) no wait takes real time: a
//!   minute of grace passes as soon as nothing else can run. [`TestCluster::clock`] is the clock.
//! - **Isolation.** Clusters share nothing, in one process or in several, unless they are given the
//!   same [store](TestClusterBuilder::store). Tests can run concurrently.
//! - **No ports, no files, no containers.** Requests go through the HTTP service of the server
//!   without a socket, and objects are in memory.
//! - **Repeatability.** Uids, generated names and jitter come from a
//!   [seed](TestClusterBuilder::seed), and the wall clock [starts](TestClusterBuilder::starting_at)
//!   at a fixed time. On a current-thread runtime, the same requests in the same order give the
//!   same objects.
//!
//! # Assumptions
//!
//! - The runtime is tokio's, with `enable_all`. Paused time needs the current-thread flavour, which
//!   is `#[tokio::test]`'s default.
//! - The code under test waits with `tokio::time` and takes the time from [`TestCluster::clock`].
//!   Code that reads the system's clock sees real time.
//!
//! # Caveats
//!
//! - Do not pause the clock in a test that waits for something outside the runtime (a socket, a
//!   child process, a thread): virtual time runs ahead meanwhile.
//! - Simulated nodes run no images. Annotations say how their containers behave: see
//!   `docs/simulated-nodes.md`.
//! - [`TestCluster::client`] has all rights. Use [`TestCluster::client_as`] to test with the rights
//!   of a user.
//! - A `kube::Client` with the default configuration repeats requests after a 429;
//!   [`TestCluster::client`] does not.
//!
//! Read next: `cluster.rs`, then [`golden`] for recorded conversations and [`safety`] for stores
//! that crash.

mod cluster;
pub mod golden;
pub mod safety;

pub use cluster::{ADMIN_TOKEN, TestCluster, TestClusterBuilder};
