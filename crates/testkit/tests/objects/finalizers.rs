//! Every finalizer that the server itself sets is removed by somebody: an object with only these
//! goes when it is deleted.

use serde_json::{Value, json};

use crate::{World, pod};

/// An object that gets a finalizer without asking for it, or by a delete option.
struct Row {
    finalizer: &'static str,
    /// Its collection.
    path: &'static str,
    body: Value,
    options: Value,
}

fn rows() -> Vec<Row> {
    let row = |finalizer, path, body, options| Row {
        finalizer,
        path,
        body,
        options,
    };
    let named = |more: Value| {
        let mut object = json!({"metadata": {"name": "one"}});
        let members = object.as_object_mut().expect("an object");
        members.extend(more.as_object().expect("an object").clone());
        object
    };
    let storage = json!({"requests": {"storage": "1Gi"}});
    let template = json!({"spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "i"}]}});
    let names = json!({"plural": "things", "singular": "thing", "kind": "Thing"});
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema});
    vec![
        row(
            "kubernetes.io/pvc-protection",
            "/api/v1/namespaces/default/persistentvolumeclaims",
            named(json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": storage}})),
            json!({}),
        ),
        row(
            "kubernetes.io/pv-protection",
            "/api/v1/persistentvolumes",
            named(json!({"spec": {"accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/data"}}})),
            json!({}),
        ),
        row(
            "networking.k8s.io/service-cidr-finalizer",
            "/apis/networking.k8s.io/v1/servicecidrs",
            named(json!({"spec": {"cidrs": ["10.98.0.0/24"]}})),
            json!({}),
        ),
        row(
            "foregroundDeletion",
            "/api/v1/namespaces/default/configmaps",
            named(json!({})),
            json!({"propagationPolicy": "Foreground"}),
        ),
        row(
            "orphan",
            "/api/v1/namespaces/default/configmaps",
            named(json!({})),
            json!({"propagationPolicy": "Orphan"}),
        ),
        row(
            "batch.kubernetes.io/job-tracking",
            "/apis/batch/v1/namespaces/default/jobs",
            named(json!({"spec": {"template": template}})),
            json!({"propagationPolicy": "Foreground"}),
        ),
        row(
            "kubernetes",
            "/api/v1/namespaces",
            named(json!({})),
            json!({}),
        ),
        row(
            "customresourcecleanup.apiextensions.k8s.io",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            json!({"metadata": {"name": "things.example.com"},
                "spec": {"group": "example.com", "names": names, "scope": "Namespaced",
                    "versions": [version]}}),
            json!({}),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_finalizer_of_the_system_is_removed_by_somebody() {
    let world = World::start(1).await;
    for row in rows() {
        let made = world.made(row.path, row.body).await;
        let name = made["metadata"]["name"].as_str().expect("a name");
        world.settle().await;
        let path = format!("{}/{name}", row.path);
        let present = world.get(&path).await;
        let held = [
            &present["metadata"]["finalizers"],
            &present["spec"]["finalizers"],
        ];
        let expected = json!(row.finalizer);
        let is_set_by_deletion = matches!(row.finalizer, "orphan" | "foregroundDeletion")
            || row.finalizer.starts_with("batch")
            || row.finalizer.starts_with("custom");
        let is_held = held
            .iter()
            .any(|list| list.as_array().is_some_and(|list| list.contains(&expected)));
        assert!(is_held || is_set_by_deletion, "{path}: {present:#}");
        world.deleted(&path, row.options).await;
        world.until_gone(&path).await;
    }
    // Pods of a job have its finalizer; none may be left over.
    let pods = world.get("/api/v1/namespaces/default/pods").await;
    assert_eq!(pods["items"], json!([]));
    world
        .made("/api/v1/namespaces/default/pods", pod("last"))
        .await;
}
