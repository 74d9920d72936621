//! Explanations of small snapshots.

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn snapshot(objects: &[Value]) -> ClusterSnapshot {
    let list = json!({"kind": "List", "items": objects}).to_string();
    ClusterSnapshot::parse(&list, NOW.parse().expect("a time")).expect("a snapshot")
}

fn explained(snapshot: &ClusterSnapshot, kind: &str, name: &str) -> Explanation {
    let subject = ExplainSubject::new(kind, "default", name).expect("a kind");
    explain(snapshot, &subject).expect("it is there")
}

fn ids(explanation: &Explanation) -> Vec<&str> {
    explanation
        .problems
        .iter()
        .map(|problem| problem.id)
        .collect()
}

fn remedies(explanation: &Explanation) -> Vec<&str> {
    explanation
        .remedies
        .iter()
        .map(|remedy| remedy.text.as_str())
        .collect()
}

fn pod(name: &str, owner: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "uid": name,
            "labels": {"app": "web"}, "ownerReferences": [{"apiVersion": "apps/v1", "kind": owner,
                "name": "web", "uid": "u", "controller": true}]},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
}

fn set(replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "uid": "u"},
        "spec": {"replicas": replicas, "selector": {}, "template": {}}})
}

fn budget(spec: Value, status: Value) -> Value {
    let mut spec = spec;
    if spec["selector"].is_null() {
        spec["selector"] = json!({"matchLabels": {"app": "web"}});
    }
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "uid": "b", "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec, "status": status})
}

fn node(name: &str, cordoned: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name},
        "spec": {"unschedulable": cordoned},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

#[test]
fn a_budget_that_cannot_be_counted_is_blocked_with_its_cause() {
    let why = "daemonsets.apps does not implement the scale subresource";
    let failed = json!({"conditions": [{"type": "DisruptionAllowed", "status": "False",
        "reason": "SyncFailed", "message": why, "lastTransitionTime": NOW}]});
    // With the condition, and before the controller has written it; owners that can be counted
    // here, too: the failure of the controller is about the only spec that there was.
    for (owner, status) in [
        ("DaemonSet", failed.clone()),
        ("DaemonSet", json!({})),
        ("StatefulSet", failed),
    ] {
        let snapshot = snapshot(&[
            pod("web-0", owner),
            set(1),
            budget(json!({"maxUnavailable": "50%"}), status),
        ]);
        for (kind, name) in [("pod", "web-0"), ("pdb", "web")] {
            let found = explained(&snapshot, kind, name);
            assert_eq!(found.verdict, EvictionVerdict::Blocked, "{kind} of {owner}");
            assert!(found.headline.contains(why), "{}", found.headline);
            let problems = ids(&found);
            assert!(problems.contains(&"sync-failed"), "{problems:?}");
            assert!(!problems.contains(&"stale"), "{problems:?}");
            let waits = |text: &&str| text.contains("Wait") || text.contains("Retry");
            assert!(
                !remedies(&found).iter().any(waits),
                "{:?}",
                remedies(&found)
            );
        }
    }
}

#[test]
fn a_failure_of_an_older_spec_says_nothing_about_the_newest() {
    let failed = json!({"observedGeneration": 1, "conditions": [{"type": "DisruptionAllowed",
        "status": "False", "reason": "SyncFailed", "message": "no", "lastTransitionTime": NOW}]});
    let mut changed = budget(json!({"minAvailable": 0}), failed);
    changed["metadata"]["generation"] = json!(2);
    changed["metadata"]["creationTimestamp"] = json!(NOW);
    let snapshot = snapshot(&[pod("web-0", "StatefulSet"), set(1), changed]);
    let found = explained(&snapshot, "pod", "web-0");
    assert_eq!(found.verdict, EvictionVerdict::Refused);
    assert_eq!(ids(&found)[0], "stale");
}

#[test]
fn a_job_that_lives_takes_its_finalizer_off() {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "web", "uid": "u"}, "spec": {"template": {}}});
    let mut member = pod("web-x", "Job");
    member["metadata"]["finalizers"] = json!(["batch.kubernetes.io/job-tracking"]);
    let mut late = member.clone();
    late["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:50:00Z");
    let other = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "other", "uid": "o"}, "spec": {"template": {}}});
    let budgets = budget(
        json!({"minAvailable": 0, "selector": {}}),
        json!({"disruptionsAllowed": 1}),
    );
    for (one, jobs, has_finalizer) in [
        (&member, &job, false),
        (&late, &job, false),
        (&member, &other, true),
        (&late, &other, true),
    ] {
        let snapshot = snapshot(&[
            one.clone(),
            jobs.clone(),
            node("n1", false),
            budgets.clone(),
        ]);
        let found = explained(&snapshot, "pod", "web-x");
        assert_eq!(
            ids(&found).contains(&"finalizer"),
            has_finalizer,
            "{:?}",
            ids(&found)
        );
        let advises = remedies(&found)
            .iter()
            .any(|text| text.contains("remove the finalizer"));
        let is_late = one["metadata"]["deletionTimestamp"].is_string();
        assert_eq!(advises, has_finalizer && is_late);
    }
    let mut finished = late.clone();
    finished["status"] = json!({"phase": "Succeeded"});
    let snapshot = snapshot(&[finished, job, node("n1", false)]);
    let found = explained(&snapshot, "pod", "web-x");
    assert_eq!(ids(&found), ["job-controller"]);
}

#[test]
fn when_all_nodes_are_cordoned_uncordoning_comes_first() {
    let spent = || {
        budget(
            json!({"minAvailable": 1}),
            json!({"observedGeneration": 1, "expectedPods": 1, "desiredHealthy": 1,
                "currentHealthy": 1, "disruptionsAllowed": 0}),
        )
    };
    for (second, is_first) in [(true, true), (false, false)] {
        let snapshot = snapshot(&[
            pod("web-0", "StatefulSet"),
            set(1),
            node("n1", true),
            node("n2", second),
            spent(),
        ]);
        for (kind, name) in [("pod", "web-0"), ("pdb", "web"), ("node", "n1")] {
            let found = explained(&snapshot, kind, name);
            let first = found.remedies.first().expect("a remedy");
            assert_eq!(
                first.text.starts_with("Uncordon a node first"),
                is_first,
                "{kind}"
            );
        }
    }
}

#[test]
fn a_pod_that_crashes_is_no_reason_to_wait() {
    let status = || {
        json!({"observedGeneration": 1, "expectedPods": 2, "desiredHealthy": 1,
            "currentHealthy": 1, "disruptionsAllowed": 0})
    };
    for (state, waits) in [
        (json!({"waiting": {"reason": "CrashLoopBackOff"}}), false),
        (json!({"waiting": {"reason": "ImagePullBackOff"}}), false),
        (json!({"waiting": {"reason": "ContainerCreating"}}), true),
    ] {
        let mut other = pod("web-1", "StatefulSet");
        other["metadata"]["creationTimestamp"] = json!(NOW);
        other["status"] = json!({"phase": "Pending", "containerStatuses": [{"name": "c",
            "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]});
        let snapshot = snapshot(&[
            pod("web-0", "StatefulSet"),
            other,
            set(2),
            budget(json!({"maxUnavailable": 1}), status()),
        ]);
        let found = explained(&snapshot, "pdb", "web");
        let advised = remedies(&found).iter().any(|text| text.starts_with("Wait"));
        assert_eq!(advised, waits, "{state}");
    }
}

#[test]
fn budgets_of_manifests_are_explained_by_their_templates() {
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let workload = |kind: &str, replicas: Value| {
        let api_version = match kind {
            "Rollout" => "argoproj.io/v1alpha1",
            _ => "apps/v1",
        };
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                "template": template}})
    };
    let database = json!({"apiVersion": "databases.example.com/v1", "kind": "Database",
        "metadata": {"name": "orders"}, "spec": {"members": 3}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": labels}});
    let cases = [
        (
            vec![workload("Deployment", json!(3))],
            json!({"maxUnavailable": 1}),
            EvictionVerdict::Allowed,
            "budget web will allow 1 disruption while its 3 pods are healthy (needs 2)",
        ),
        (
            vec![workload("Rollout", json!(2))],
            json!({"minAvailable": 2}),
            EvictionVerdict::Blocked,
            "budget web will never allow a disruption: it needs 2 healthy of the 2 pods of Rollout web, so it never allows a disruption",
        ),
        (
            vec![workload("StatefulSet", Value::Null)],
            json!({"minAvailable": 1}),
            EvictionVerdict::Blocked,
            "budget web will never allow a disruption: StatefulSet web has a single replica (the default: spec.replicas is not set), which the budget never allows to be evicted",
        ),
        (
            vec![database],
            json!({"minAvailable": 1}),
            EvictionVerdict::Unknown,
            "what budget web will allow cannot be seen: nothing in the file matches its selector, and the pods that Database orders may create are not in it",
        ),
        (
            vec![workload("DaemonSet", Value::Null)],
            json!({"minAvailable": 1}),
            EvictionVerdict::Unknown,
            "what budget web will allow cannot be seen: the number of the pods that it selects is not in the file",
        ),
        (
            vec![service],
            json!({"minAvailable": 1}),
            EvictionVerdict::Unknown,
            "what budget web will allow cannot be seen: the file contains neither pods nor workloads that it selects",
        ),
        (
            vec![workload("Deployment", json!(3))],
            json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "other"}}}),
            EvictionVerdict::Allowed,
            "budget web selects no pods: it protects nothing and refuses nothing (no workload and no pod of its namespace matches its selector)",
        ),
        (
            vec![workload("Deployment", json!(3))],
            json!({"minAvailable": -1}),
            EvictionVerdict::Blocked,
            "the server refuses budget web: PodDisruptionBudget.policy \"web\" is invalid: spec.minAvailable: Invalid value: -1: must be greater than or equal to 0 (422)",
        ),
    ];
    for (mut objects, spec, verdict, headline) in cases {
        let mut own = budget(spec.clone(), Value::Null);
        own["metadata"] = json!({"name": "web"});
        objects.push(own);
        let found = explained(&snapshot(&objects), "pdb", "web");
        assert_eq!(
            (found.verdict, found.headline.as_str()),
            (verdict, headline),
            "{spec}"
        );
    }
}
