//! How much time pods have, by their probes and their controllers.

use serde_json::{Value, json};

use super::*;
use crate::readiness::{UnreadyReason, unready};

const NOW: &str = "2026-01-01T00:10:00Z";

/// A pod of a container that started so many seconds ago, in a snapshot with its owners.
fn snapshot(age: i64, probes: &Value, owner: Option<&str>) -> ClusterSnapshot {
    let now: Timestamp = NOW.parse().expect("a time");
    let at = |seconds: i64| after_seconds(now, -seconds).to_string();
    let mut snapshot = ClusterSnapshot::empty(now);
    let mut container = json!({"name": "c"});
    for (name, probe) in probes.as_object().into_iter().flatten() {
        container[name] = probe.clone();
    }
    let owners = owner.map(|kind| {
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": "web-1", "uid": "u",
            "controller": true}])
    });
    let pod = json!({"metadata": {"name": "p", "namespace": "shop", "ownerReferences": owners,
            "creationTimestamp": at(age + 2)},
        "spec": {"containers": [container]},
        "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "False",
                "lastTransitionTime": at(age + 2)}],
            "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"running": {"startedAt": at(age)}}}]}});
    snapshot.pods = vec![serde_json::from_value(pod).expect("a pod")];
    let set = json!({"metadata": {"name": "web-1", "namespace": "shop", "uid": "u",
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web",
            "uid": "d", "controller": true}]}, "spec": {"selector": {}}});
    snapshot.replica_sets = vec![serde_json::from_value(set).expect("a set")];
    let deployment = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "d"},
        "spec": {"selector": {}, "template": {}, "progressDeadlineSeconds": 120}});
    snapshot.deployments = vec![serde_json::from_value(deployment).expect("a deployment")];
    snapshot
}

fn reason(snapshot: &ClusterSnapshot) -> (UnreadyReason, Option<i64>) {
    let found = unready(snapshot, &snapshot.pods[0]).expect("not ready");
    let left = |at: Timestamp| at.duration_since(snapshot.now).as_secs();
    (found.reason, found.expected.map(left))
}

#[test]
fn a_pod_is_not_yet_ready_as_long_as_its_probes_may_fail() {
    use UnreadyReason::{NotReady, NotYetReady};
    let late = json!({"readinessProbe": {"initialDelaySeconds": 10, "periodSeconds": 5}});
    let both = json!({"readinessProbe": {"periodSeconds": 5},
        "startupProbe": {"failureThreshold": 30, "periodSeconds": 10}});
    // Age, probes, controller; reason, seconds until it should be ready.
    let cases = [
        (3, &late, Some("StatefulSet"), NotYetReady, Some(12)),
        // 10 s, three times 5 s, a timeout of 1 s and 10 s for the kubelet.
        (35, &late, Some("StatefulSet"), NotYetReady, Some(1)),
        (36, &late, Some("StatefulSet"), NotReady, None),
        (200, &both, Some("StatefulSet"), NotYetReady, Some(127)),
        (400, &both, Some("StatefulSet"), NotReady, None),
        // The deadline of the Deployment is 120 s after the birth of the pod.
        (36, &late, Some("ReplicaSet"), NotYetReady, Some(82)),
        (119, &late, Some("ReplicaSet"), NotReady, None),
        (5, &json!({}), None, NotYetReady, Some(5)),
        (15, &json!({}), None, NotReady, None),
    ];
    for (age, probes, owner, expected, left) in cases {
        let found = reason(&snapshot(age, probes, owner));
        assert_eq!(found, (expected, left), "{age} s, {probes}, {owner:?}");
    }
}

#[test]
fn evidence_of_a_failure_ends_the_patience() {
    let late = json!({"readinessProbe": {"initialDelaySeconds": 60}});
    let mut was_ready = snapshot(20, &late, Some("ReplicaSet"));
    let status = was_ready.pods[0].status.as_mut().expect("a status");
    let ready = &mut status.conditions.as_mut().expect("conditions")[0];
    let time = after_seconds(was_ready.now, -3);
    ready.last_transition_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
    assert_eq!(reason(&was_ready).0, UnreadyReason::NotReady);
    let mut exceeded = snapshot(80, &json!({}), Some("ReplicaSet"));
    assert_eq!(reason(&exceeded).0, UnreadyReason::NotYetReady);
    let status = json!({"conditions": [{"type": "Progressing", "status": "False",
        "reason": "ProgressDeadlineExceeded"}]});
    exceeded.deployments[0].status = serde_json::from_value(status).expect("a status");
    assert_eq!(reason(&exceeded).0, UnreadyReason::NotReady);
}

#[test]
fn a_pod_that_is_pulling_is_starting_until_it_takes_too_long() {
    for (age, expected) in [
        (60, UnreadyReason::Starting),
        (700, UnreadyReason::NotReady),
    ] {
        let mut pulling = snapshot(age, &json!({}), Some("StatefulSet"));
        let status = json!({"phase": "Pending", "containerStatuses": [{"name": "c", "image": "i",
            "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}}}]});
        pulling.pods[0].status = serde_json::from_value(status).expect("a status");
        assert_eq!(reason(&pulling).0, expected, "{age} s");
    }
}
