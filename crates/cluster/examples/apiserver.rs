//! An API server inside another program: in memory, with controllers and one simulated node.
//!
//! `cargo run -p exeunt-cluster --example apiserver [ADDRESS:PORT]`
//!
//! With an address it serves until Ctrl-C, and `kubectl --kubeconfig FILE` reaches it. Without one
//! it takes a free port, reads a node over TLS, and stops.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use cluster::{Cluster, ClusterConfig, Listen, NodeOptions};
use k8s_openapi::api::core::v1::Node;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};

/// Starts a cluster that listens at this address and keeps its files in this directory.
///
/// # Errors
/// The cluster cannot start, or its node cannot be read with its kubeconfig.
pub(crate) async fn start(address: SocketAddr, directory: &Path) -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(ClusterConfig {
        listen: Some(Listen {
            address,
            dir: directory.to_owned(),
        }),
        nodes: Some(NodeOptions::numbered("node", 1)),
        ..ClusterConfig::default()
    })
    .await?;
    let kubeconfig = cluster.kubeconfig().context("the cluster listens")?;
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Api::<Node>::all(Client::try_from(config)?)
        .get("node-1")
        .await?;
    Ok(cluster)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> anyhow::Result<()> {
    let argument = std::env::args().nth(1);
    let address = argument.as_deref().unwrap_or("127.0.0.1:0").parse();
    let directory = tempfile::tempdir()?;
    let cluster = start(address.context("expected ADDRESS:PORT")?, directory.path()).await?;
    if let (Some(url), Some(kubeconfig)) = (cluster.url(), cluster.kubeconfig()) {
        println!("serving {url}; kubeconfig {}", kubeconfig.display());
    }
    if argument.is_some() {
        tokio::signal::ctrl_c().await?;
    }
    cluster.stop().await?;
    Ok(())
}
