//! The composition: isolation, durability, listening, shutdown.
#![expect(
    clippy::unwrap_used,
    reason = "tests fail by panicking, their helpers too"
)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use clock::Clock;
use cluster::{
    Cluster, ClusterConfig, ClusterError, ControllerOptions, Listen, NodeOptions, Storage,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ComponentStatus, ConfigMap, Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

#[expect(dead_code, reason = "`main` runs the example by itself")]
#[path = "../examples/apiserver.rs"]
mod apiserver;

fn config_maps(cluster: &Cluster) -> Api<ConfigMap> {
    Api::default_namespaced(cluster.client())
}

async fn create_config_map(cluster: &Cluster) {
    let object = serde_json::from_value(json!({"metadata": {"name": "kept"}})).unwrap();
    let maps = config_maps(cluster);
    maps.create(&PostParams::default(), &object).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn clusters_in_one_process_share_nothing() {
    let one = Cluster::start(ClusterConfig::default()).await.unwrap();
    let other = Cluster::start(ClusterConfig::default()).await.unwrap();
    create_config_map(&one).await;
    assert!(config_maps(&one).get_opt("kept").await.unwrap().is_some());
    assert!(config_maps(&other).get_opt("kept").await.unwrap().is_none());
    one.stop().await.unwrap();
    assert!(config_maps(&other).get_opt("kept").await.unwrap().is_none());
    other.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nodes_are_registered_when_the_cluster_has_started() {
    let config = ClusterConfig {
        nodes: Some(NodeOptions::numbered("node", 3)),
        ..ClusterConfig::default()
    };
    let cluster = Cluster::start(config).await.unwrap();
    let nodes = Api::<Node>::all(cluster.client());
    let listed = nodes.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.len(), 3);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_cluster_frees_its_store() {
    let directory = tempfile::tempdir().unwrap();
    let config = || ClusterConfig {
        storage: Storage::Disk(directory.path().join("store")),
        controllers: Some(ControllerOptions::default()),
        nodes: Some(NodeOptions::numbered("node", 2)),
        ..ClusterConfig::default()
    };
    drop(Cluster::start(config()).await.unwrap());
    // The parts notice one after the other that they are cancelled.
    let reopened = async {
        loop {
            match Cluster::start(config()).await {
                Err(ClusterError::Store(_)) => tokio::task::yield_now().await,
                other => break other.unwrap(),
            }
        }
    };
    let reopened = tokio::time::timeout(Duration::from_secs(60), reopened).await;
    reopened.expect("the store is free").stop().await.unwrap();
}

#[tokio::test]
async fn objects_on_disk_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let config = || ClusterConfig {
        storage: Storage::Disk(directory.path().join("store")),
        ..ClusterConfig::default()
    };
    let cluster = Cluster::start(config()).await.unwrap();
    create_config_map(&cluster).await;
    cluster.stop().await.unwrap();
    let cluster = Cluster::start(config()).await.unwrap();
    assert!(
        config_maps(&cluster)
            .get_opt("kept")
            .await
            .unwrap()
            .is_some()
    );
    cluster.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stopped_controllers_are_reported_as_unhealthy_components() {
    let mut cluster = Cluster::start(ClusterConfig::default()).await.unwrap();
    let components = Api::<ComponentStatus>::all(cluster.client());
    let healthy = async || {
        let manager = components.get("controller-manager").await.unwrap();
        manager.conditions.unwrap()[0].status.clone()
    };
    assert_eq!(healthy().await, "True");
    cluster.stop_controllers().await;
    assert_eq!(healthy().await, "False");
    cluster.start_controllers(cluster::ControllerOptions::default());
    assert_eq!(healthy().await, "True");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = ClusterConfig {
        listen: Some(Listen {
            address: taken.local_addr().unwrap(),
            dir: directory.path().join("state"),
        }),
        ..ClusterConfig::default()
    };
    let error = Cluster::start(config).await.unwrap_err();
    assert!(matches!(error, ClusterError::Listen { .. }), "{error}");
    assert!(!directory.path().join("state").exists());
}

#[tokio::test]
async fn the_example_serves_over_tls_and_frees_its_address() {
    let directory = tempfile::tempdir().unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let cluster = apiserver::start(address, directory.path()).await.unwrap();
    let url = cluster.url().unwrap().to_owned();
    cluster.stop().await.unwrap();
    let address = url.trim_start_matches("https://");
    std::net::TcpListener::bind(address).expect("the listener is closed");
}

/// By how many seconds the machine's clock is set in the test below.
static CLOCK_SET: AtomicI64 = AtomicI64::new(0);

fn machine_time() -> Timestamp {
    let set = SignedDuration::from_secs(CLOCK_SET.load(Ordering::Relaxed));
    Clock::system().now().saturating_add(set).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_changes_timestamps_and_no_durations() {
    let clock = Clock::following(machine_time);
    let config = ClusterConfig {
        nodes: Some(NodeOptions::numbered("node", 1)),
        clock: clock.clone(),
        ..ClusterConfig::default()
    };
    let cluster = Cluster::start(config).await.unwrap();
    let client = cluster.client();
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let nodes = Api::<Node>::all(client.clone());
    let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
    let spec = json!({"containers": [{"name": "c", "image": "i"}], "nodeName": "node-1",
        "terminationGracePeriodSeconds": 30});
    // It uses the whole grace period.
    let annotations = json!({"sim.exeunt.dev/ignore-sigterm": "true"});
    let mut last_version = 0;
    for (round, set) in [86_400_i64, -86_400, 0].into_iter().enumerate() {
        let name = format!("p{round}");
        let pod = json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec});
        let pod = serde_json::from_value(pod).unwrap();
        pods.create(&PostParams::default(), &pod).await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
        pods.delete(&name, &DeleteParams::default()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        CLOCK_SET.store(set, Ordering::Relaxed);

        // Neither killed at once, nor waited for until the clock is back.
        let deleted = tokio::time::Instant::now();
        while pods.get_opt(&name).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(
                deleted.elapsed() < Duration::from_secs(60),
                "{set}: it stays"
            );
        }
        assert!(
            deleted.elapsed() > Duration::from_secs(20),
            "{set}: it was killed early"
        );
        tokio::time::sleep(Duration::from_secs(100)).await;

        // The node renewed its lease all the time, with the new time.
        let node = nodes.get("node-1").await.unwrap();
        let ready = node.status.unwrap().conditions.unwrap();
        let ready = ready
            .into_iter()
            .find(|condition| condition.type_ == "Ready")
            .unwrap();
        assert_eq!(ready.status, "True", "{set}: {ready:?}");
        assert_eq!(
            node.spec.unwrap().taints.unwrap_or_default().len(),
            0,
            "{set}"
        );
        let renewed = leases
            .get("node-1")
            .await
            .unwrap()
            .spec
            .unwrap()
            .renew_time
            .unwrap()
            .0;
        let age = clock.now().duration_since(renewed).as_secs();
        assert!((0..40).contains(&age), "{set}: the lease is {age} s old");
        let version = node
            .metadata
            .resource_version
            .unwrap()
            .parse::<u64>()
            .unwrap();
        assert!(version >= last_version, "{set}: versions only rise");
        last_version = version;
    }
    cluster.stop().await.unwrap();
}
