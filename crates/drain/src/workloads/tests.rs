//! The number of pods of workloads, of each kind and under autoscalers.

use serde_json::{Value, json};

use super::*;
use crate::cluster::ClusterSnapshot;

fn parsed(objects: &[Value]) -> ClusterSnapshot {
    let list = json!({"kind": "List", "items": objects}).to_string();
    ClusterSnapshot::parse(&list, jiff::Timestamp::UNIX_EPOCH).expect("a snapshot")
}

fn workload(kind: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["template"] = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let api_version = match kind {
        "Rollout" => "argoproj.io/v1alpha1",
        "ReplicationController" => "v1",
        "Job" => "batch/v1",
        _ => "apps/v1",
    };
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, "spec": spec})
}

fn hpa(kind: &str, least: Option<i32>, most: i32) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"}, "spec": {"minReplicas": least, "maxReplicas": most,
            "scaleTargetRef": {"kind": kind, "name": "web"}}})
}

fn keda(kind: Option<&str>, spec: Value) -> Value {
    let mut spec = spec;
    spec["scaleTargetRef"] = json!({"kind": kind, "name": "web"});
    json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "k"},
        "spec": spec})
}

#[test]
fn autoscalers_decide_how_many_pods_there_may_be() {
    let replicas = |least: i32, most: i32, by_default: bool| PodCount::Replicas {
        least,
        most,
        by_default,
    };
    let cases = [
        (
            workload("Deployment", json!({})),
            None,
            replicas(1, 1, true),
        ),
        (
            workload("StatefulSet", json!({"replicas": 3})),
            None,
            replicas(3, 3, false),
        ),
        (
            workload("Rollout", json!({"replicas": 3})),
            None,
            replicas(3, 3, false),
        ),
        (workload("Rollout", json!({})), None, PodCount::Existing(0)),
        (workload("Job", json!({})), None, PodCount::WithoutScale),
        (
            workload("Deployment", json!({})),
            Some(hpa("Deployment", Some(3), 9)),
            replicas(3, 9, false),
        ),
        (
            workload("StatefulSet", json!({"replicas": 1})),
            Some(hpa("StatefulSet", Some(3), 9)),
            replicas(3, 9, false),
        ),
        (
            workload("Rollout", json!({})),
            Some(hpa("Rollout", None, 2)),
            replicas(1, 2, false),
        ),
        (
            workload("Deployment", json!({"replicas": 0})),
            Some(hpa("Deployment", Some(3), 9)),
            replicas(0, 0, false),
        ),
        (
            workload("Deployment", json!({"replicas": 2})),
            Some(hpa("StatefulSet", Some(3), 9)),
            replicas(2, 2, false),
        ),
        (
            workload("Deployment", json!({})),
            Some(keda(None, json!({"minReplicaCount": 2}))),
            replicas(2, 100, false),
        ),
        (
            workload("StatefulSet", json!({})),
            Some(keda(Some("StatefulSet"), json!({"maxReplicaCount": 4}))),
            replicas(1, 4, false),
        ),
    ];
    for (object, scaler, expected) in cases {
        let objects: Vec<Value> = std::iter::once(object).chain(scaler).collect();
        let snapshot = parsed(&objects);
        let found = Workloads::of(&snapshot);
        let counts: Vec<PodCount> = found.all.iter().map(|one| one.count).collect();
        assert_eq!(counts, [expected], "{objects:?}");
    }
}

#[test]
fn what_keda_makes_of_a_scaled_object_is_no_second_autoscaler() {
    let mut made = hpa("Deployment", Some(1), 100);
    made["metadata"]["ownerReferences"] = json!([{"apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject", "name": "k", "uid": "u", "controller": true}]);
    let snapshot = parsed(&[
        workload("Deployment", json!({})),
        made,
        keda(None, json!({"minReplicaCount": 0})),
    ]);
    let found: Vec<(&str, i32)> = autoscalers(&snapshot)
        .iter()
        .map(|scaler| (scaler.kind, scaler.least))
        .collect();
    assert_eq!(found, [("ScaledObject", 0)]);
}

#[test]
fn pods_lead_to_their_topmost_controller() {
    let pod = |name: &str, owner: Value, labels: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "uid": name,
            "labels": labels, "ownerReferences": owner},
            "spec": {"containers": [{"name": "c", "image": "i"}]}})
    };
    let owner = |kind: &str, name: &str| {
        json!([{"apiVersion": "x/v1", "kind": kind, "name": name, "uid": name,
            "controller": true}])
    };
    let mut set = workload("ReplicaSet", json!({"replicas": 2}));
    set["metadata"] = json!({"name": "canary-7", "ownerReferences": owner("Rollout", "canary")});
    let snapshot = parsed(&[
        workload("Deployment", json!({"replicas": 2})),
        // The ReplicaSet between them is missing, and the label shows the Deployment.
        pod(
            "a",
            owner("ReplicaSet", "web-5f"),
            json!({"pod-template-hash": "5f"}),
        ),
        set,
        pod("b", owner("ReplicaSet", "canary-7"), json!({})),
        pod("c", owner("Prometheus", "k8s"), json!({})),
        pod("d", owner("Prometheus", "k8s"), json!({})),
        pod("e", Value::Null, json!({})),
    ]);
    let found = Workloads::of(&snapshot);
    let titles: Vec<(String, PodCount)> = found
        .all
        .iter()
        .map(|one| (one.title(), one.count))
        .collect();
    let two = PodCount::Replicas {
        least: 2,
        most: 2,
        by_default: false,
    };
    assert_eq!(
        titles,
        [
            ("Deployment web".to_owned(), two),
            ("Pod e".to_owned(), PodCount::OnePod),
            ("Prometheus k8s".to_owned(), PodCount::Existing(2)),
            ("Rollout canary".to_owned(), two),
        ]
    );
    let of_pods: Vec<Option<usize>> = snapshot
        .pods
        .iter()
        .map(|pod| found.index_of(pod))
        .collect();
    assert_eq!(of_pods, [Some(0), Some(3), Some(2), Some(2), Some(1)]);
}
