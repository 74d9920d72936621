//! How API servers on one store publish themselves.

use std::net::Ipv4Addr;
use std::time::Duration;

use registry::PublishedServer;
use registry::request::Verb;
use serde_json::{Value, json};

use crate::world::World;

fn server(number: u8) -> PublishedServer {
    PublishedServer {
        identity: format!("apiserver-{number}"),
        address: Ipv4Addr::new(192, 0, 2, number).into(),
        port: 6443,
    }
}

async fn get(world: &World, group: &str, plural: &str, path: &str) -> Value {
    let verb = Verb::Get {
        resource_version: String::new(),
    };
    let answer = world.ask_of(group, plural, path, verb).await;
    answer.map_or(Value::Null, |(_, object)| object)
}

async fn endpoints(world: &World) -> Value {
    get(world, "", "endpoints", "default/kubernetes").await
}

/// The addresses in the EndpointSlice.
async fn sliced(world: &World) -> Vec<Value> {
    let slice = get(
        world,
        "discovery.k8s.io",
        "endpointslices",
        "default/kubernetes",
    )
    .await;
    let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
    endpoints
        .into_iter()
        .map(|endpoint| endpoint["addresses"][0].clone())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_endpoints_are_the_servers_whose_lease_runs() {
    let world = World::new().await;
    let start = |number| {
        let registry = world.registry.clone();
        tokio::spawn(async move { registry.publish(&server(number)).await })
    };
    let first = start(1);
    let second = start(2);
    tokio::time::sleep(Duration::from_secs(12)).await;

    let found = endpoints(&world).await;
    let labels = &found["metadata"]["labels"];
    assert_eq!(labels["endpointslice.kubernetes.io/skip-mirror"], "true");
    assert_eq!(
        found["subsets"],
        json!([{"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}],
            "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}]}])
    );
    assert_eq!(sliced(&world).await, ["192.0.2.1", "192.0.2.2"]);
    let leases = "coordination.k8s.io";
    let lease = get(&world, leases, "leases", "kube-system/apiserver-1").await;
    assert_eq!(lease["spec"]["holderIdentity"], "apiserver-1");
    let label = &lease["metadata"]["labels"]["apiserver.kubernetes.io/identity"];
    assert_eq!(label, "kube-apiserver");

    // One that says goodbye is dropped at once, one that crashes when its lease has run out.
    second.abort();
    world.registry.withdraw(&server(2)).await.expect("a commit");
    assert_eq!(sliced(&world).await, ["192.0.2.1"]);
    let third = start(3);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sliced(&world).await, ["192.0.2.1", "192.0.2.3"]);
    third.abort();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(sliced(&world).await, ["192.0.2.1"]);

    // What a user changes or removes comes back; what is right is not written again.
    let revision = found["metadata"]["resourceVersion"].clone();
    let gone = world
        .ask_of(
            "",
            "services",
            "default/kubernetes",
            Verb::Delete(Default::default()),
        )
        .await;
    gone.expect("it can be deleted");
    tokio::time::sleep(Duration::from_secs(12)).await;
    let service = get(&world, "", "services", "default/kubernetes").await;
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    let later = endpoints(&world).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let last = endpoints(&world).await;
    assert_ne!(later["metadata"]["resourceVersion"], revision);
    assert_eq!(last, later);

    // The last server stays published.
    first.abort();
    world.registry.withdraw(&server(1)).await.expect("a commit");
    assert_eq!(sliced(&world).await, ["192.0.2.1"]);
}

#[tokio::test(start_paused = true)]
async fn objects_of_addresses_are_repaired() {
    let world = World::new().await;
    let made = world
        .create(
            "services",
            "shop",
            json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}),
        )
        .await;
    let address = made["spec"]["clusterIP"]
        .as_str()
        .expect("an address")
        .to_owned();
    let group = "networking.k8s.io";
    let path = format!("/{address}");
    let gone = world
        .ask_of(
            group,
            "ipaddresses",
            &path,
            Verb::Delete(Default::default()),
        )
        .await;
    gone.expect("it can be deleted");
    let registry = world.registry.clone();
    let publishing = tokio::spawn(async move { registry.publish(&server(1)).await });
    tokio::time::sleep(Duration::from_secs(200)).await;
    let object = get(&world, group, "ipaddresses", &path).await;
    assert_eq!(object["spec"]["parentRef"]["name"], "web");
    publishing.abort();
}
