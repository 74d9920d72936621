//! For tests only: a whole cluster in a test process, and the replay of recorded conversations.
//!
//! An author of a controller starts a [`Cluster`], points the controller at [`Cluster::client`],
//! and looks at what becomes of the objects. There is no socket and no container, and on a paused
//! runtime no wait takes real time: a minute of grace is over at once.
//!
//! ```
//! use std::time::Duration;
//!
//! use k8s_openapi::api::core::v1::Pod;
//! use kube::Api;
//! use kube::api::PostParams;
//! use testkit::Cluster;
//!
//! # fn main() -> anyhow::Result<()> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
//! # runtime.block_on(async {
//! // In a test: #[tokio::test(start_paused = true)]
//! let cluster = Cluster::start(2).await?;
//! let pods = Api::<Pod>::default_namespaced(cluster.client());
//! let web = serde_json::from_value(serde_json::json!({
//!     "metadata": {"name": "web"},
//!     "spec": {"containers": [{"name": "web", "image": "nginx"}]},
//! }))?;
//! // The account of the namespace is made by a controller, and pods need it.
//! cluster.wait_for(Duration::from_secs(5), async || Ok(pods.create(&PostParams::default(), &web).await.ok())).await?;
//! let ready = async || {
//!     let conditions = pods.get("web").await?.status.and_then(|status| status.conditions).unwrap_or_default();
//!     Ok(conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True").then_some(()))
//! };
//! cluster.wait_for(Duration::from_secs(60), ready).await?;
//! cluster.stop().await
//! # })
//! # }
//! ```
//!
//! Read next: `cluster.rs`, then [`golden`] and [`safety`].

mod cluster;
pub mod golden;
pub mod safety;

pub use cluster::{ADMIN_TOKEN, Builder, Cluster};
