//! Claims and volumes: protection, binding, reclaim policies.

use serde_json::{Value, json};

use crate::{World, pod};

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn claim(name: &str, class: Value) -> Value {
    json!({"metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "5Gi"}}}})
}

fn volume(name: &str, size: &str, policy: &str, path: &str) -> Value {
    json!({"metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "manual",
            "persistentVolumeReclaimPolicy": policy, "hostPath": {"path": path},
            "capacity": {"storage": size}}})
}

fn phase(wanted: &'static str) -> impl Fn(&Value) -> bool {
    move |object| object["status"]["phase"] == wanted
}

#[tokio::test(start_paused = true)]
async fn unused_claims_and_volumes_are_deleted() {
    let world = World::start(0).await;
    world.made(CLAIMS, claim("data", json!("none"))).await;
    world
        .made(VOLUMES, volume("v", "1Gi", "Retain", "/data"))
        .await;
    let volume = world
        .until(&format!("{VOLUMES}/v"), phase("Available"))
        .await;
    let finalizers = json!(["kubernetes.io/pv-protection"]);
    assert_eq!(volume["metadata"]["finalizers"], finalizers);
    for path in [format!("{CLAIMS}/data"), format!("{VOLUMES}/v")] {
        world.deleted(&path, Value::Null).await;
        world.until_gone(&path).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_in_use_and_a_bound_volume_wait() {
    let world = World::start(1).await;
    let (claim_path, volume_path) = (format!("{CLAIMS}/data"), format!("{VOLUMES}/v"));
    world
        .made(VOLUMES, volume("v", "10Gi", "Retain", "/data"))
        .await;
    world.made(CLAIMS, claim("data", json!("manual"))).await;
    let bound = world.until(&claim_path, phase("Bound")).await;
    assert_eq!(bound["spec"]["volumeName"], "v");
    assert_eq!(bound["status"]["capacity"]["storage"], "10Gi");
    assert_eq!(bound["status"]["accessModes"], json!(["ReadWriteOnce"]));
    let annotations = json!({"pv.kubernetes.io/bind-completed": "yes",
        "pv.kubernetes.io/bound-by-controller": "yes"});
    assert_eq!(bound["metadata"]["annotations"], annotations);
    let volume = world.until(&volume_path, phase("Bound")).await;
    let reference = &volume["spec"]["claimRef"];
    assert_eq!(reference["kind"], "PersistentVolumeClaim");
    assert_eq!(reference["uid"], bound["metadata"]["uid"]);

    let mut user = pod("user");
    user["spec"]["volumes"] =
        json!([{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]);
    world.made(PODS, user).await;
    world.until(&format!("{PODS}/user"), phase("Running")).await;
    world.deleted(&volume_path, Value::Null).await;
    world.deleted(&claim_path, Value::Null).await;
    world.settle().await;
    assert!(world.exists(&claim_path).await && world.exists(&volume_path).await);
    world.deleted(&format!("{PODS}/user"), Value::Null).await;
    world.until_gone(&claim_path).await;
    world.until_gone(&volume_path).await;
}

#[tokio::test(start_paused = true)]
async fn the_reclaim_policy_decides_about_a_released_volume() {
    let world = World::start(0).await;
    // (policy, path, phase and message of the released volume; none when it is removed)
    let cases = [
        ("Retain", "/data", Some(("Released", ""))),
        ("Delete", "/tmp/data", None),
        (
            "Delete",
            "/data",
            Some((
                "Failed",
                "host_path deleter only supports /tmp/.+ but received provided /data",
            )),
        ),
        (
            "Recycle",
            "/data",
            Some(("Failed", "No recycler plugin found for the volume!")),
        ),
    ];
    for (policy, path, expected) in cases {
        let (claim_path, volume_path) = (format!("{CLAIMS}/data"), format!("{VOLUMES}/v"));
        world.made(VOLUMES, volume("v", "5Gi", policy, path)).await;
        world.made(CLAIMS, claim("data", json!("manual"))).await;
        world.until(&claim_path, phase("Bound")).await;
        world.deleted(&claim_path, Value::Null).await;
        world.until_gone(&claim_path).await;
        if let Some((wanted, message)) = expected {
            let volume = world.until(&volume_path, phase(wanted)).await;
            let found = volume["status"]["message"].as_str().unwrap_or_default();
            assert_eq!(found, message, "{policy}");
            // A new claim of the same name does not get the old one's content.
            world.made(CLAIMS, claim("data", json!("manual"))).await;
            world.settle().await;
            let waiting = world.get(&claim_path).await;
            assert_eq!(waiting["status"]["phase"], "Pending", "{policy}");
            world.deleted(&claim_path, Value::Null).await;
            world.deleted(&volume_path, Value::Null).await;
        }
        world.until_gone(&volume_path).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_says_what_it_waits_for() {
    let world = World::start(0).await;
    let class = json!({"metadata": {"name": "disks"}, "provisioner": "disks.example.com"});
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    world.made(classes, class).await;
    world.made(CLAIMS, claim("none", json!(""))).await;
    world.made(CLAIMS, claim("disk", json!("disks"))).await;
    let message = world.until_event("default", "none", "FailedBinding").await;
    assert_eq!(
        message,
        "no persistent volumes available for this claim and no storage class is set"
    );
    let message = world
        .until_event("default", "disk", "ExternalProvisioning")
        .await;
    assert!(
        message.starts_with("Waiting for a volume to be created either by"),
        "{message}"
    );
    let disk = world.get(&format!("{CLAIMS}/disk")).await;
    let name = "volume.kubernetes.io/storage-provisioner";
    assert_eq!(disk["metadata"]["annotations"][name], "disks.example.com");

    // A default class that comes later is taken by a claim that named none.
    let mut open = claim("open", Value::Null);
    open["spec"]
        .as_object_mut()
        .expect("a spec")
        .remove("storageClassName");
    world.made(CLAIMS, open).await;
    let patch = json!({"metadata": {"annotations":
        {"storageclass.kubernetes.io/is-default-class": "true"}}});
    world.changed(&format!("{classes}/disks"), patch).await;
    world
        .until(&format!("{CLAIMS}/open"), |claim| {
            claim["spec"]["storageClassName"] == "disks"
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_reserved_volume_waits_for_its_claim() {
    let world = World::start(0).await;
    let mut reserved = volume("v", "10Gi", "Retain", "/data");
    reserved["spec"]["claimRef"] = json!({"namespace": "default", "name": "late"});
    world.made(VOLUMES, reserved).await;
    world
        .until(&format!("{VOLUMES}/v"), phase("Available"))
        .await;
    world.made(CLAIMS, claim("other", json!("manual"))).await;
    world.settle().await;
    let other = world.get(&format!("{CLAIMS}/other")).await;
    assert_eq!(other["status"]["phase"], "Pending");
    world.made(CLAIMS, claim("late", json!("manual"))).await;
    world.until(&format!("{CLAIMS}/late"), phase("Bound")).await;
    let volume = world.get(&format!("{VOLUMES}/v")).await;
    let annotation = &volume["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"];
    assert_eq!(annotation, &Value::Null, "the user has bound it");
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_volume_gets_a_claim_that_goes_with_its_pod() {
    let world = World::start(1).await;
    let mut user = pod("web");
    let template = json!({"spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    user["spec"]["volumes"] =
        json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]);
    world.made(PODS, user).await;
    let claim = format!("{CLAIMS}/web-scratch");
    let made = world.until(&claim, |_| true).await;
    assert_eq!(made["metadata"]["ownerReferences"][0]["name"], "web");
    world.deleted(&claim, Value::Null).await;
    world.settle().await;
    assert!(world.exists(&claim).await, "the pod uses it");
    world.deleted(&format!("{PODS}/web"), Value::Null).await;
    world.until_gone(&claim).await;
}

#[tokio::test(start_paused = true)]
async fn a_local_volume_decides_about_the_node_of_its_pod() {
    let world = World::start(3).await;
    let class = json!({"metadata": {"name": "local"},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer"});
    world
        .made("/apis/storage.k8s.io/v1/storageclasses", class)
        .await;
    world.made(CLAIMS, claim("data", json!("local"))).await;
    let message = world
        .until_event("default", "data", "WaitForFirstConsumer")
        .await;
    assert_eq!(
        message,
        "waiting for first consumer to be created before binding"
    );
    let mut user = pod("user");
    user["spec"]["volumes"] =
        json!([{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]);
    world.made(PODS, user).await;
    let message = world
        .until_event("default", "user", "FailedScheduling")
        .await;
    let reason = "3 node(s) didn't find available persistent volumes to bind";
    assert!(message.contains(reason), "{message}");
    let mut local = volume("v", "10Gi", "Retain", "/data");
    local["spec"]["storageClassName"] = json!("local");
    let term = json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In",
        "values": ["node-2"]}]});
    local["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [term]}});
    world.made(VOLUMES, local).await;
    let user = world.until(&format!("{PODS}/user"), phase("Running")).await;
    assert_eq!(user["spec"]["nodeName"], "node-2");
    world.until(&format!("{CLAIMS}/data"), phase("Bound")).await;
}
