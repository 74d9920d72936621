//! Updating, selecting and deleting objects.

use bytes::Bytes;
use registry::request::{DeleteOptions, ListOptions, PatchKind, Verb, WriteOptions};
use serde_json::{Value, json};

use crate::costs;
use crate::objects::with_world;

fn list(count: usize, item: impl Fn(usize) -> Value) -> Value {
    (0..count).map(item).collect()
}

fn merge(patch: &Value) -> Verb {
    Verb::Patch {
        kind: PatchKind::Merge,
        patch: Bytes::from(patch.to_string()),
        options: WriteOptions::default(),
    }
}

/// Creates an object and patches it, or a subresource of it.
fn patched(plural: &'static str, object: Value, subresource: &'static str, patches: Vec<Value>) {
    with_world(|world| async move {
        world.create(plural, "shop", object).await;
        for patch in patches {
            let path = format!("shop/a/{subresource}");
            drop(world.ask(plural, &path, merge(&patch)).await);
        }
    });
}

fn pod(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (name, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][name] = value.clone();
    }
    pod
}

costs! {
    conditions_of_a_pod: 150, |size| {
        let conditions = |status: &str| json!({"status": {"conditions":
            list(size, |at| json!({"type": format!("C{at}"), "status": status}))}});
        patched("pods", pod(json!({})), "status", vec![conditions("True"), conditions("False")]);
    };
    statuses_of_containers: 60, |size| {
        let ended = |code: i32| json!({"status": {"phase": "Running", "containerStatuses":
            list(size, |at| json!({"name": format!("c{at}"), "image": "i", "imageID": "",
                "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code}}}))}});
        let containers = list(size, |at| json!({"name": format!("c{at}"), "image": "i"}));
        let pod = pod(json!({"containers": containers, "restartPolicy": "Never"}));
        patched("pods", pod, "status", vec![ended(0), ended(1)]);
    };
    added_tolerations: 100, |size| {
        let tolerations = |count: usize| list(count, |at| json!({"key": format!("k{at}"),
            "operator": "Exists"}));
        let pod = pod(json!({"tolerations": tolerations(size)}));
        patched("pods", pod, "", vec![json!({"spec": {"tolerations": tolerations(size + 3)}})]);
    };
    removed_gates: 100, |size| {
        let gates = |prefix: &str| list(size, |at| json!({"name": format!("{prefix}{at}")}));
        let pod = pod(json!({"schedulingGates": gates("g")}));
        patched("pods", pod, "", vec![json!({"spec": {"schedulingGates": gates("h")}})]);
    };
    added_ephemeral_containers: 60, |size| {
        let containers = |count: usize| json!({"spec": {"ephemeralContainers":
            list(count, |at| json!({"name": format!("e{at}"), "image": "i"}))}});
        patched("pods", pod(json!({})), "ephemeralcontainers",
            vec![containers(size), containers(size + 1)]);
    };
    changed_images: 60, |size| {
        let containers = |image: &str| list(size, |at| json!({"name": format!("c{at}"),
            "image": image}));
        let pod = pod(json!({"containers": containers("i")}));
        patched("pods", pod, "", vec![json!({"spec": {"containers": containers("j")}}),
            json!({"spec": {"hostname": "other"}})]);
    };
    changed_finalizers: 150, |size| {
        let finalizers = |prefix: &str| list(size, |at| json!(format!("example.com/{prefix}{at}")));
        with_world(|world| async move {
            let object = json!({"metadata": {"name": "a", "finalizers": finalizers("f")}});
            world.create("configmaps", "shop", object).await;
            world.delete("configmaps", "shop/a", DeleteOptions::default()).await.expect("kept");
            let other = json!({"metadata": {"finalizers": finalizers("g")}});
            drop(world.patch("configmaps", "shop/a", other).await);
        });
    };
    ports_of_a_changed_service: 60, |size| {
        let ports = |target: usize| list(size, |at| json!({"name": format!("p{at}"), "port": at + 1,
            "targetPort": target}));
        let service = json!({"metadata": {"name": "a"}, "spec": {"type": "NodePort",
            "ports": ports(1)}});
        patched("services", service, "", vec![json!({"spec": {"ports": ports(2)}})]);
    };
    disrupted_pods_of_a_budget: 150, |size| {
        let pods: serde_json::Map<_, _> = (0..size)
            .map(|at| (format!("p{at}"), json!("2026-11-30T00:00:00Z")))
            .collect();
        let budget = json!({"metadata": {"name": "a"}, "spec": {"minAvailable": 1}});
        let status = json!({"status": {"disruptedPods": pods, "currentHealthy": 1,
            "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1}});
        patched("poddisruptionbudgets", budget, "status", vec![status]);
    };
    requirements_of_a_list: 150, |size| {
        let selector: Vec<String> = (0..size).map(|at| format!("k{at}!=v")).collect();
        with_world(|world| async move {
            world.create("configmaps", "shop", json!({"metadata": {"name": "a"}})).await;
            let options = ListOptions { label_selector: selector.join(","), ..Default::default() };
            world.list("configmaps", "shop", options).await.expect("a list");
        });
    };
    terms_of_a_list: 150, |size| {
        let selector: Vec<String> = (0..size).map(|at| format!("metadata.name!=n{at}")).collect();
        with_world(|world| async move {
            world.create("configmaps", "shop", json!({"metadata": {"name": "a"}})).await;
            let options = ListOptions { field_selector: selector.join(","), ..Default::default() };
            world.list("configmaps", "shop", options).await.expect("a list");
        });
    };
    operations_of_a_json_patch: 100, |size| {
        let operations = list(size, |at| json!({"op": "add", "path": format!("/data/k{at}"),
            "value": "v"}));
        with_world(|world| async move {
            let object = json!({"metadata": {"name": "a"}, "data": {"x": "y"}});
            world.create("configmaps", "shop", object).await;
            let verb = Verb::Patch {
                kind: PatchKind::Json,
                patch: Bytes::from(operations.to_string()),
                options: WriteOptions::default(),
            };
            world.ask("configmaps", "shop/a", verb).await.expect("patched");
        });
    };
}
