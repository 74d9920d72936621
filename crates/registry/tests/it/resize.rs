//! In-place resize of pods: what may change, and what the node has room for.

use serde_json::{Value, json};

use crate::world::{World, refused};

fn resources(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": "4", "memory": "8Gi"}})
}

async fn world() -> World {
    let world = World::new().await;
    world
        .create(
            "nodes",
            "",
            json!({"metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux"}}}),
        )
        .await;
    let status = json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}});
    world
        .patch("nodes", "/n/status", status)
        .await
        .expect("the status can be written");
    world
}

async fn pod(world: &World, name: &str, node: &str) {
    let spec = json!({
        "automountServiceAccountToken": false, "nodeName": node,
        "initContainers": [{"name": "i", "image": "img"}],
        "containers": [{"name": "c", "image": "img", "resources": resources("1", "1Gi")}],
    });
    world
        .create(
            "pods",
            "shop",
            json!({"metadata": {"name": name}, "spec": spec}),
        )
        .await;
}

/// The resize of the only container, by a merge patch.
fn resize(container: Value) -> Value {
    let mut whole = json!({"name": "c", "image": "img"});
    for (name, value) in container.as_object().expect("members") {
        whole[name] = value.clone();
    }
    json!({"spec": {"containers": [whole]}})
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_resized_within_its_node() {
    let world = world().await;
    pod(&world, "p", "n").await;
    let (_, resized) = world
        .patch(
            "pods",
            "shop/p/resize",
            resize(json!({"resources": resources("2", "1Gi")})),
        )
        .await
        .expect("it fits");
    assert_eq!(
        (
            &resized["spec"]["containers"][0]["resources"]["requests"]["cpu"],
            &resized["metadata"]["generation"]
        ),
        (&json!("2"), &json!(2))
    );
    let check = async |cpu: &str, memory: &str, lack: &str| {
        let answer = world
            .patch(
                "pods",
                "shop/p/resize",
                resize(json!({"resources": resources(cpu, memory)})),
            )
            .await;
        let text = format!(
            "pods \"p\" is forbidden: Node didn't have enough allocatable resources: {lack}"
        );
        assert_eq!(refused(answer), (403, text));
    };
    check("2100m", "1Gi", "cpu, requested: 2100, allocatable: 2000").await;
    let both = "cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824";
    check("3", "2Gi", both).await;
    // A resize that changes nothing is not checked against the node, nor is a pod without one.
    world
        .patch(
            "nodes",
            "/n/status",
            json!({"status": {"allocatable": {"cpu": "1m"}}}),
        )
        .await
        .expect("written");
    world
        .patch(
            "pods",
            "shop/p/resize",
            resize(json!({"resources": resources("2", "1Gi")})),
        )
        .await
        .expect("nothing changes");
    pod(&world, "free", "").await;
    world
        .patch(
            "pods",
            "shop/free/resize",
            resize(json!({"resources": resources("3", "1Gi")})),
        )
        .await
        .expect("no node");
    pod(&world, "lost", "gone").await;
    let answer = world
        .patch(
            "pods",
            "shop/lost/resize",
            resize(json!({"resources": resources("2", "1Gi")})),
        )
        .await;
    assert_eq!(
        refused(answer),
        (
            403,
            "pods \"lost\" is forbidden: node \"gone\" not found".to_owned()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_resize_changes_amounts_of_cpu_and_memory_and_nothing_else() {
    let world = world().await;
    pod(&world, "p", "n").await;
    let check = async |patch: Value, faults: &str| {
        let answer = world.patch("pods", "shop/p/resize", patch).await;
        assert_eq!(
            refused(answer),
            (422, format!("Pod \"p\" is invalid: {faults}"))
        );
    };
    let guaranteed =
        json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}});
    let class =
        "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing";
    let init = json!({"name": "i", "image": "img", "resources": guaranteed});
    let mut all = resize(json!({"resources": guaranteed}));
    all["spec"]["initContainers"] = json!([init]);
    check(all, class).await;
    let mut less = resources("1", "1Gi");
    less["limits"]
        .as_object_mut()
        .expect("members")
        .remove("memory");
    less["limits"]["memory"] = Value::Null;
    check(
        resize(json!({"resources": less})),
        "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
    )
    .await;
    let mut more = resources("1", "1Gi");
    more["requests"]["ephemeral-storage"] = json!("1Gi");
    check(
        resize(json!({"resources": more})),
        "spec: Forbidden: only cpu and memory resources are mutable",
    )
    .await;
    let renamed = json!({"spec": {"containers": [{"name": "d", "image": "img",
        "resources": resources("1", "1Gi")}]}});
    check(
        renamed,
        "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
    )
    .await;
    let added = json!({"spec": {"containers": [{"name": "c", "image": "img",
        "resources": resources("1", "1Gi")}, {"name": "d", "image": "i"}]}});
    check(
        added,
        "spec.containers: Forbidden: containers may not be added or removed on resize",
    )
    .await;
    // Changes of other parts of the pod are ignored.
    let patch = resize(json!({"image": "other", "resources": resources("500m", "1Gi")}));
    let (_, resized) = world
        .patch("pods", "shop/p/resize", patch)
        .await
        .expect("it fits");
    assert_eq!(resized["spec"]["containers"][0]["image"], "img");
}
