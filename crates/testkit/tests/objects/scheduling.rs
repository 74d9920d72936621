//! Where pods go, as their neighbours decide.

use serde_json::{Value, json};

use crate::{World, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn labelled(name: &str, app: &str, more: Value) -> Value {
    let mut pod = pod(name);
    pod["metadata"]["labels"] = json!({"app": app});
    let spec = pod["spec"].as_object_mut().expect("a spec");
    spec.extend(more.as_object().expect("an object").clone());
    pod
}

fn with(side: &str, app: &str) -> Value {
    let term = json!({"topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app": app}}});
    json!({"affinity": {side: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

fn runs(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_the_neighbour_that_it_needs() {
    let world = World::start(2).await;
    world
        .made(PODS, labelled("web", "web", with("podAffinity", "db")))
        .await;
    let message = world
        .until_event("default", "web", "FailedScheduling")
        .await;
    let expected = "0/2 nodes are available: 2 node(s) didn't match pod affinity rules. no new \
                    claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is \
                    not helpful for scheduling.";
    assert_eq!(message, expected);
    let db = world.made(PODS, labelled("db", "db", json!({}))).await;
    assert_eq!(db["status"]["phase"], "Pending");
    let db = world.until(&format!("{PODS}/db"), runs).await;
    let web = world.until(&format!("{PODS}/web"), runs).await;
    assert_eq!(web["spec"]["nodeName"], db["spec"]["nodeName"]);
}

#[tokio::test(start_paused = true)]
async fn pods_that_keep_apart_wait_for_a_place() {
    let world = World::start(2).await;
    for name in ["one", "two", "three"] {
        let apart = with("podAntiAffinity", "web");
        world.made(PODS, labelled(name, "web", apart)).await;
        world.settle().await;
    }
    let message = world
        .until_event("default", "three", "FailedScheduling")
        .await;
    let expected = "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. ";
    assert!(message.starts_with(expected), "{message}");
    world.deleted(&format!("{PODS}/one"), Value::Null).await;
    world.until(&format!("{PODS}/three"), runs).await;
}

#[tokio::test(start_paused = true)]
async fn topology_spread_fills_the_emptiest_domain() {
    let world = World::start(3).await;
    let constraint = json!({"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}});
    let spread = json!({"topologySpreadConstraints": [constraint]});
    let mut nodes = Vec::new();
    for number in 0..6 {
        let name = format!("web-{number}");
        world
            .made(PODS, labelled(&name, "web", spread.clone()))
            .await;
        let pod = world.until(&format!("{PODS}/{name}"), runs).await;
        nodes.push(pod["spec"]["nodeName"].as_str().expect("a node").to_owned());
    }
    for round in nodes.chunks_mut(3) {
        round.sort();
        assert_eq!(round, ["node-1", "node-2", "node-3"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gated_pod_is_not_scheduled() {
    let world = World::start(1).await;
    let gates = json!({"schedulingGates": [{"name": "example.com/wait"}]});
    world.made(PODS, labelled("web", "web", gates)).await;
    world.settle().await;
    let web = world.get(&format!("{PODS}/web")).await;
    let condition = &web["status"]["conditions"][0];
    assert_eq!(condition["reason"], "SchedulingGated");
    let message = "Scheduling is blocked due to non-empty scheduling gates";
    assert_eq!(condition["message"], message);
    let open = json!({"spec": {"schedulingGates": null}});
    world.changed(&format!("{PODS}/web"), open).await;
    world.until(&format!("{PODS}/web"), runs).await;
}
