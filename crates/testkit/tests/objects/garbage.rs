//! Owners and dependents.

use serde_json::{Value, json};

use crate::{World, owner, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Three pods of which each owns the next, and the last the first.
async fn circle(world: &World, grace_seconds: i64) {
    let mut pods = Vec::new();
    for name in ["pod1", "pod2", "pod3"] {
        let mut pod = pod(name);
        pod["spec"]["terminationGracePeriodSeconds"] = json!(grace_seconds);
        pods.push(world.made(PODS, pod).await);
    }
    for (number, owned_by) in [(0, 2), (1, 0), (2, 1)] {
        let path = format!("{PODS}/pod{}", number + 1);
        let owners = json!([owner("Pod", &pods[owned_by])]);
        let patch = json!({"metadata": {"ownerReferences": owners}});
        world.changed(&path, patch).await;
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_own_each_other_in_a_circle_are_deleted() {
    for nodes in [0, 1] {
        for grace_seconds in [0, 30] {
            for policy in ["Foreground", "Background"] {
                let world = World::start(nodes).await;
                circle(&world, grace_seconds).await;
                if grace_seconds > 0 {
                    world.settle().await;
                }
                let options = json!({"propagationPolicy": policy});
                world.deleted(&format!("{PODS}/pod1"), options).await;
                for name in ["pod1", "pod2", "pod3"] {
                    world.until_gone(&format!("{PODS}/{name}")).await;
                }
            }
        }
    }
}

/// An object of a kind without behaviour that this owner reference makes a dependent.
async fn dependent(world: &World, path: &str, name: &str, reference: Value) {
    let metadata = json!({"name": name, "ownerReferences": [reference]});
    let mut object = json!({"metadata": metadata});
    if path.ends_with("clusterroles") {
        object["rules"] = json!([]);
    }
    world.made(path, object).await;
}

#[tokio::test(start_paused = true)]
async fn a_reference_that_leads_nowhere_does_not_keep_its_object() {
    let world = World::start(0).await;
    world
        .made("/api/v1/namespaces", json!({"metadata": {"name": "other"}}))
        .await;
    let owning = world
        .made(MAPS, json!({"metadata": {"name": "owner"}}))
        .await;
    let with = |member: &str, value: &str| {
        let mut reference = owner("ConfigMap", &owning);
        reference[member] = json!(value);
        reference
    };
    dependent(&world, MAPS, "right", owner("ConfigMap", &owning)).await;
    let wrong_uid = with("uid", "00000000-0000-0000-0000-000000000000");
    dependent(&world, MAPS, "uid", wrong_uid).await;
    dependent(&world, MAPS, "kind", with("kind", "Secret")).await;
    dependent(&world, MAPS, "name", with("name", "none")).await;
    // A kind that is not served can be served by another server: nothing is known about it.
    dependent(&world, MAPS, "unknown", with("kind", "Unknown")).await;
    let elsewhere = "/api/v1/namespaces/other/configmaps";
    dependent(&world, elsewhere, "namespace", owner("ConfigMap", &owning)).await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    dependent(&world, roles, "wide", owner("ConfigMap", &owning)).await;

    for name in ["uid", "kind", "name"] {
        world.until_gone(&format!("{MAPS}/{name}")).await;
    }
    world.until_gone(&format!("{elsewhere}/namespace")).await;
    let uid = owning["metadata"]["uid"].as_str().expect("a uid");
    let told = |namespace: &str| {
        format!(
            "ownerRef [v1/ConfigMap, namespace: {namespace}, name: owner, uid: {uid}] does not \
             exist in namespace \"{namespace}\""
        )
    };
    let reason = "OwnerRefInvalidNamespace";
    let message = world.until_event("other", "namespace", reason).await;
    assert_eq!(message, told("other"));
    // Events about objects without a namespace are in `default`.
    let message = world.until_event("default", "wide", reason).await;
    assert_eq!(message, told(""));
    world.settle().await;
    for path in [
        MAPS.to_owned() + "/right",
        MAPS.to_owned() + "/unknown",
        format!("{roles}/wide"),
    ] {
        assert!(world.exists(&path).await, "{path}");
    }
    world.deleted(&format!("{MAPS}/owner"), json!({})).await;
    world.until_gone(&format!("{MAPS}/right")).await;
    world.settle().await;
    assert!(world.exists(&format!("{roles}/wide")).await);
}

#[tokio::test(start_paused = true)]
async fn one_right_owner_is_enough() {
    let world = World::start(0).await;
    let owning = world
        .made(MAPS, json!({"metadata": {"name": "owner"}}))
        .await;
    let mut wrong = owner("ConfigMap", &owning);
    wrong["uid"] = json!("00000000-0000-0000-0000-000000000000");
    wrong["controller"] = json!(false);
    let references = json!([wrong, owner("ConfigMap", &owning)]);
    let metadata = json!({"name": "kept", "ownerReferences": references});
    world.made(MAPS, json!({"metadata": metadata})).await;
    let kept = world
        .until(&format!("{MAPS}/kept"), |map| {
            let owners = map["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.len() == 1)
        })
        .await;
    let uid = &owning["metadata"]["uid"];
    assert_eq!(&kept["metadata"]["ownerReferences"][0]["uid"], uid);
}
