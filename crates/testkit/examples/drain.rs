//! Drains a node through the `drain` library and prints its events as JSON.
//!
//! `cargo run -p exeunt-testkit --example drain`
//!
//! The library needs a [`kube::Client`] and nothing else. Here the client belongs to a cluster in
//! this process; `Client::try_default()` gives one for the cluster of your kubeconfig.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use testkit::TestCluster;
use tokio::sync::mpsc::unbounded_channel;

/// Runs one pod on a node, drains the node, and returns the events of the drain.
///
/// # Errors
/// The cluster or the drain does not do what is expected.
pub(crate) async fn run() -> anyhow::Result<Vec<Value>> {
    let cluster = TestCluster::start(1).await?;
    let client = cluster.client();
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "web", "image": "nginx"}]},
    }))?;
    // A controller creates the service account that pods need.
    let created = async || Ok(pods.create(&PostParams::default(), &pod).await.ok());
    cluster.wait_for(Duration::from_secs(5), created).await?;
    let running = async || {
        let phase = pods
            .get("web")
            .await?
            .status
            .and_then(|status| status.phase);
        Ok((phase.as_deref() == Some("Running")).then_some(()))
    };
    cluster.wait_for(Duration::from_secs(60), running).await?;

    let (sender, mut receiver) = unbounded_channel();
    drain::node::drain(&client, cluster.clock(), "node-1", sender).await?;
    let mut events = Vec::new();
    while let Some(event) = receiver.recv().await {
        events.push(serde_json::to_value(event)?);
    }

    anyhow::ensure!(pods.get_opt("web").await?.is_none(), "the pod is evicted");
    let node = Api::<Node>::all(client).get("node-1").await?;
    let unschedulable = node.spec.and_then(|spec| spec.unschedulable);
    anyhow::ensure!(unschedulable == Some(true), "the node is cordoned");
    cluster.stop().await?;
    Ok(events)
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> anyhow::Result<()> {
    for event in run().await? {
        println!("{event}");
    }
    Ok(())
}
