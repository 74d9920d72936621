//! What large clusters cost the tools: explain, lint and plan over a node with many pods. See
//! `registry/tests/costs`, of which this is a part.

#![expect(clippy::print_stderr, reason = "a test that skips says so")]

#[path = "../../registry/tests/costs/measure.rs"]
mod measure;

use drain::cluster::ClusterSnapshot;
use drain::explain::{ExplainSubject, SubjectKind, explain};
use drain::lint::{LintOptions, SourceMap, lint};
use drain::plan::{PlanOptions, make};
use serde_json::{Value, json};

use measure::costs;

extern crate exeunt_drain as drain;

/// Returns a node with so many pods of an application for each hundred, with a budget and a claim.
fn cluster(pods: usize) -> ClusterSnapshot {
    let mut documents: Vec<Value> = vec![json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n"}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}]}})];
    for at in 0..pods {
        let app = format!("app{}", at / 100);
        documents.push(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("p{at}"), "namespace": "shop", "uid": format!("u{at}"),
                "labels": {"app": app}, "ownerReferences": [{"apiVersion": "apps/v1",
                    "kind": "ReplicaSet", "name": app, "uid": app, "controller": true}]},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "v",
                    "persistentVolumeClaim": {"claimName": format!("c{at}")}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}));
        documents.push(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": format!("c{at}"), "namespace": "shop"},
            "spec": {"volumeName": format!("v{at}")}}));
        documents.push(json!({"apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": format!("v{at}")}, "spec": {"capacity": {}}}));
        documents.push(
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
            "metadata": {"name": format!("a{at}")}, "spec": {"attacher": "x", "nodeName": "n",
                "source": {"persistentVolumeName": format!("v{at}")}},
            "status": {"attached": true}}),
        );
    }
    // One budget for all, which allows nothing: the most is said about it.
    documents.push(
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "shop"},
        "spec": {"minAvailable": pods, "selector": {}}, "status": {"expectedPods": pods,
            "currentHealthy": pods, "desiredHealthy": pods, "disruptionsAllowed": 0}}),
    );
    let list = json!({"apiVersion": "v1", "kind": "List", "items": documents});
    let now = "2026-11-30T00:00:00Z".parse().expect("a time");
    ClusterSnapshot::parse(&list.to_string(), now).expect("valid")
}

/// Returns a cluster of two kinds of nodes, with so many pods on those that are drained, ten of an
/// application. A budget for each application lets one of them go at a time.
fn applications(pods: usize) -> ClusterSnapshot {
    let mut documents: Vec<Value> = Vec::new();
    for at in 0..pods.div_ceil(10) {
        for pool in ["old", "new"] {
            documents.push(json!({"apiVersion": "v1", "kind": "Node",
                "metadata": {"name": format!("{pool}{at}")},
                "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "200"},
                    "conditions": [{"type": "Ready", "status": "True"}]}}));
        }
        let (app, uid) = (format!("app{at}"), format!("uid-{at}"));
        documents.push(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": app, "namespace": format!("space{at}"), "uid": uid},
            "spec": {"replicas": 10, "selector": {}}}));
        documents.push(
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": app, "namespace": format!("space{at}")},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": app}}}}),
        );
        for number in 0..10 {
            let name = format!("{app}-{number}");
            documents.push(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": format!("space{at}"), "uid": name,
                    "labels": {"app": app}, "ownerReferences": [{"apiVersion": "apps/v1",
                        "kind": "ReplicaSet", "name": app, "uid": uid, "controller": true}]},
                "spec": {"nodeName": format!("old{at}"),
                    "containers": [{"name": "c", "image": "i"}]},
                "status": {"phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True"}]}}));
        }
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": documents});
    let now = "2026-11-30T00:00:00Z".parse().expect("a time");
    ClusterSnapshot::parse(&list.to_string(), now).expect("valid")
}

costs! {
    pods_of_a_planned_node: 40, |size| {
        let snapshot = cluster(size);
        let mut options = PlanOptions::of(vec!["n".to_owned()]);
        options.filter.force = true;
        make(&snapshot, &options).expect("the node exists");
    };
    a_planned_node_of_a_large_cluster: 200, |size| {
        make(&applications(size), &PlanOptions::of(vec!["old0".to_owned()]))
            .expect("the node exists");
    };
    applications_of_a_linted_cluster: 200, |size| {
        drop(lint(&applications(size), &SourceMap::default(), &LintOptions {
            max_grace: std::time::Duration::from_secs(600),
        }));
    };
    pods_of_an_explained_node: 40, |size| {
        let snapshot = cluster(size);
        let subject = ExplainSubject { kind: SubjectKind::Node, namespace: String::new(),
            name: "n".to_owned() };
        explain(&snapshot, &subject).expect("it is there");
    };
    pods_of_a_linted_cluster: 40, |size| {
        drop(lint(&cluster(size), &SourceMap::default(), &LintOptions {
            max_grace: std::time::Duration::from_secs(600),
        }));
    };
}
