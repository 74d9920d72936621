//! The arithmetic of budgets over small snapshots.

use serde_json::{Value, json};

use super::*;
use crate::cluster::SnapshotOrigin;

const NOW: &str = "2026-01-01T00:10:00Z";

fn budget(spec: Value, status: Value) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "shop", "generation": 1}, "spec": spec,
        "status": status})
}

fn pod(name: &str, ready: bool, owner: Option<&str>) -> Value {
    let owners = owner.map(|kind| {
        let version = if kind == "Database" {
            "example.com/v1"
        } else {
            "apps/v1"
        };
        json!([{"apiVersion": version, "kind": kind, "name": "web", "uid": "u",
            "controller": true}])
    });
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"},
            "ownerReferences": owners}, "spec": {"containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready",
            "status": if ready { "True" } else { "False" }}]}})
}

fn set(replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
        "spec": {"replicas": replicas, "serviceName": "web", "selector": {}, "template": {}}})
}

fn snapshot(objects: &[Value]) -> ClusterSnapshot {
    let list = json!({"kind": "List", "items": objects}).to_string();
    let mut snapshot =
        ClusterSnapshot::parse(&list, NOW.parse().expect("a time")).expect("a snapshot");
    snapshot.unread.clear();
    snapshot.origin = SnapshotOrigin::Server;
    snapshot
}

/// Expected, desired, healthy, allowed.
fn check(spec: Value, pods: &[Value], replicas: i32, expected: (i32, i32, i32, i32)) {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    let mut objects = pods.to_vec();
    objects.extend([budget(spec, json!(null)), set(replicas)]);
    let snapshot = snapshot(&objects);
    let count = count(&snapshot, &snapshot.budgets[0]);
    let demand = count.demand.clone().expect("counted");
    assert_eq!(
        (
            demand.expected,
            demand.desired,
            count.healthy(),
            count.allowed().expect("counted")
        ),
        expected,
        "{:?}",
        count.limit
    );
}

fn of_set(ready: usize, unready: usize) -> Vec<Value> {
    (0..ready + unready)
        .map(|n| pod(&format!("web-{n}"), n < ready, Some("StatefulSet")))
        .collect()
}

#[test]
fn both_percentages_round_up_and_count_what_controllers_want() {
    check(
        json!({"maxUnavailable": "30%"}),
        &of_set(7, 0),
        7,
        (7, 4, 7, 3),
    );
    check(
        json!({"maxUnavailable": "30%"}),
        &of_set(2, 1),
        3,
        (3, 2, 2, 0),
    );
    check(
        json!({"minAvailable": "34%"}),
        &of_set(3, 0),
        3,
        (3, 2, 3, 1),
    );
    check(
        json!({"minAvailable": "100%"}),
        &of_set(3, 0),
        3,
        (3, 3, 3, 0),
    );
    check(json!({"maxUnavailable": 1}), &of_set(2, 0), 3, (3, 2, 2, 0));
    check(json!({"maxUnavailable": 9}), &of_set(2, 0), 3, (3, 0, 2, 2));
    check(json!({"minAvailable": 2}), &of_set(3, 1), 9, (4, 2, 3, 1));
    check(json!({}), &of_set(3, 0), 3, (0, 0, 3, 0));
}

#[test]
fn bare_pods_are_healthy_and_not_expected() {
    let mut pods = of_set(3, 0);
    pods.push(pod("bare", true, None));
    check(json!({"minAvailable": "34%"}), &pods, 3, (3, 2, 4, 2));
    check(
        json!({"maxUnavailable": 1}),
        &[pod("bare", true, None)],
        3,
        (0, 0, 1, 0),
    );
}

#[test]
fn a_disrupted_pods_entry_expires_after_two_minutes() {
    let mut pods = of_set(3, 0);
    pods[2]["metadata"]["deletionTimestamp"] = json!(NOW);
    let noted = json!({"disruptionsAllowed": 0, "currentHealthy": 3, "desiredHealthy": 1,
        "expectedPods": 3, "observedGeneration": 1,
        "disruptedPods": {"web-0": "2026-01-01T00:09:00Z", "web-1": "2026-01-01T00:08:00Z"}});
    pods.push(budget(json!({"minAvailable": 1, "selector": {}}), noted));
    let snapshot = snapshot(&pods);
    let count = count(&snapshot, &snapshot.budgets[0]);
    let until = "2026-01-01T00:11:00Z".parse().expect("a time");
    let found: Vec<PodHealth> = count
        .pods
        .iter()
        .map(|covered| covered.health.clone())
        .collect();
    assert_eq!(
        found,
        [
            PodHealth::Granted { until },
            PodHealth::Healthy,
            PodHealth::Terminating
        ]
    );
    assert!(count.drifted(), "the status says 3 and there is 1");
    assert_eq!(count.reported.granted, 2);
}

#[test]
fn owners_without_scale_differ_from_owners_that_were_not_read() {
    let check = |kind: &str, unread: Option<&'static str>, expected: CountError| {
        let mut snapshot = snapshot(&[
            pod("p", true, Some(kind)),
            budget(json!({"maxUnavailable": 1, "selector": {}}), json!(null)),
        ]);
        let why = "forbidden".to_owned();
        snapshot
            .unread
            .extend(unread.map(|resource| crate::cluster::Unread {
                resource,
                why,
                cause: crate::cluster::UnreadCause::Failed,
            }));
        assert_eq!(
            count(&snapshot, &snapshot.budgets[0]).demand,
            Err(expected),
            "{kind}"
        );
    };
    check(
        "DaemonSet",
        None,
        CountError::Fails("daemonsets.apps does not implement the scale subresource".into()),
    );
    check(
        "StatefulSet",
        None,
        CountError::Fails("found no controllers for pod \"p\"".into()),
    );
    check(
        "StatefulSet",
        Some("statefulsets.apps"),
        CountError::Unseen("statefulsets.apps were not read: forbidden".into()),
    );
    check(
        "Database",
        None,
        CountError::Unseen("the scale of Database web was not read".into()),
    );
}

#[test]
fn an_owner_that_a_file_lacks_was_not_seen() {
    for kind in ["StatefulSet", "ReplicaSet"] {
        let mut other = set(3);
        other["kind"] = json!(kind);
        other["metadata"]["name"] = json!("other");
        let mut snapshot = snapshot(&[
            pod("p", true, Some(kind)),
            other,
            budget(json!({"maxUnavailable": 1, "selector": {}}), json!(null)),
        ]);
        snapshot.origin = SnapshotOrigin::Dump;
        let expected = CountError::Unseen(format!("{kind} web is not in the file"));
        assert_eq!(count(&snapshot, &snapshot.budgets[0]).demand, Err(expected));
    }
}

#[test]
fn null_selects_nothing_and_empty_selects_all_of_the_namespace() {
    let mut other = pod("other", true, None);
    other["metadata"]["namespace"] = json!("elsewhere");
    let mut null = budget(json!({"minAvailable": 1}), json!(null));
    null["metadata"]["name"] = json!("null");
    let snapshot = snapshot(&[
        pod("p", true, None),
        other,
        budget(json!({"minAvailable": 1, "selector": {}}), json!(null)),
        null,
    ]);
    let covered = |index: usize| count(&snapshot, &snapshot.budgets[index]).pods.len();
    assert_eq!((covered(0), covered(1)), (1, 0));
    assert_eq!(snapshot.budgets_selecting(&snapshot.pods[0]).len(), 1);
}

#[test]
fn a_rolling_deployment_counts_once() {
    let owner = |kind: &str, name: &str, uid: &str| {
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid,
        "controller": true}])
    };
    let set = |name: &str| {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": name, "namespace": "shop", "uid": name,
            "ownerReferences": owner("Deployment", "web", "d")}, "spec": {"selector": {}}})
    };
    let member = |name: &str, of: &str| {
        let mut pod = pod(name, true, None);
        pod["metadata"]["ownerReferences"] = owner("ReplicaSet", of, of);
        pod
    };
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "d"},
        "spec": {"replicas": 2, "selector": {}, "template": {}}});
    let budget = budget(json!({"maxUnavailable": 1, "selector": {}}), json!(null));
    let snapshot = snapshot(&[
        member("a", "old"),
        member("b", "new"),
        set("old"),
        set("new"),
        deployment,
        budget,
    ]);
    let count = count(&snapshot, &snapshot.budgets[0]);
    assert_eq!(
        count.demand,
        Ok(Demand {
            expected: 2,
            desired: 1
        })
    );
    assert_eq!(count.owners.len(), 1);
    assert_eq!(count.allowed_at_best(), Some(1));
}
