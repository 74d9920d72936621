//! An API server inside your own program: in memory, with controllers and one simulated node.
//!
//! `cargo run -p exeunt-cluster --example apiserver [ADDRESS:PORT]`
//!
//! With an address it serves until Ctrl-C, and `kubectl --kubeconfig FILE` reaches it. Without one
//! it takes a free port, reads one object back over TLS, and stops.

use std::net::SocketAddr;

use anyhow::Context as _;
use cluster::{Cluster, Config, Listen, NodeOptions};
use k8s_openapi::api::core::v1::Node;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1);
    let serve = address.is_some();
    let address: SocketAddr = address
        .as_deref()
        .unwrap_or("127.0.0.1:0")
        .parse()
        .context("the argument is not an ADDRESS:PORT")?;
    let directory = tempfile::tempdir()?;

    let cluster = Cluster::start(Config {
        listen: Some(Listen {
            address,
            dir: directory.path().to_owned(),
        }),
        nodes: Some(NodeOptions::numbered("node", 1)),
        ..Config::default()
    })
    .await?;
    let (url, kubeconfig) = cluster.url().zip(cluster.kubeconfig()).context("listens")?;
    println!("serving {url}; kubeconfig {}", kubeconfig.display());

    let loaded = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(loaded, &options).await?;
    let nodes = Api::<Node>::all(Client::try_from(config)?);
    let node = nodes.get("node-1").await?;
    println!("{} is registered", node.metadata.name.unwrap_or_default());

    if serve {
        tokio::signal::ctrl_c().await?;
    }
    cluster.stop().await?;
    Ok(())
}
