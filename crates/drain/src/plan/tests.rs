//! Plans for small clusters.

use serde_json::{Value, json};

use super::*;

const ALL: FilterOptions = FilterOptions {
    force: true,
    ignore_daemonsets: true,
    delete_emptydir_data: true,
    skip_after_seconds: 0,
};

fn options(nodes: &[&str]) -> PlanOptions {
    PlanOptions {
        filter: ALL,
        ..PlanOptions::of(nodes.iter().map(|name| (*name).to_owned()).collect())
    }
}

/// Builds a cluster.
struct Sketch {
    snapshot: ClusterSnapshot,
}

impl Sketch {
    fn new(nodes: &[&str]) -> Self {
        let mut sketch = Self {
            snapshot: ClusterSnapshot::empty("2026-01-01T01:00:00Z".parse().expect("a time")),
        };
        for name in nodes {
            sketch = sketch.node(name, json!({}));
        }
        sketch
    }

    fn node(mut self, name: &str, spec: Value) -> Self {
        let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": spec,
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}]}});
        self.snapshot
            .nodes
            .push(serde_json::from_value(node).expect("a node"));
        self
    }

    /// Adds a workload with a ready pod on each of these nodes.
    fn app(mut self, kind: &str, app: &str, nodes: &[&str], spec: &Value) -> Self {
        let meta = json!({"name": app, "namespace": "shop", "uid": format!("uid-{app}")});
        let workload = json!({"metadata": meta,
            "spec": {"replicas": nodes.len(), "selector": {}, "template": {}}});
        match kind {
            "ReplicaSet" => self
                .snapshot
                .replica_sets
                .push(serde_json::from_value(workload).expect("a set")),
            "StatefulSet" => self
                .snapshot
                .stateful_sets
                .push(serde_json::from_value(workload).expect("a set")),
            "DaemonSet" => self
                .snapshot
                .daemon_sets
                .push(serde_json::from_value(workload).expect("a set")),
            _ => {}
        }
        for (number, node) in nodes.iter().enumerate() {
            self = self.pod(kind, app, &format!("{app}-{number}"), node, spec);
        }
        self
    }

    fn pod(mut self, kind: &str, app: &str, name: &str, node: &str, spec: &Value) -> Self {
        let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": app,
            "uid": format!("uid-{app}"), "controller": true});
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": app}},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 30,
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": "Running", "conditions": [
                {"type": "PodScheduled", "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:20Z"}]},
        });
        if !kind.is_empty() {
            pod["metadata"]["ownerReferences"] = json!([owner]);
        }
        for (key, value) in spec.as_object().expect("an object") {
            pod["spec"][key] = value.clone();
        }
        self.snapshot
            .pods
            .push(serde_json::from_value(pod).expect("a pod"));
        self
    }

    /// Replaces the status of the last pod.
    fn with_status(mut self, status: Value) -> Self {
        let last = self.snapshot.pods.last_mut().expect("a pod");
        last.status = serde_json::from_value(status).expect("a status");
        self
    }

    fn budget(mut self, app: &str, spec: Value) -> Self {
        let mut spec = spec;
        spec["selector"] = json!({"matchLabels": {"app": app}});
        let budget = json!({"metadata": {"name": app, "namespace": "shop"}, "spec": spec});
        self.snapshot
            .budgets
            .push(serde_json::from_value(budget).expect("a budget"));
        self
    }

    fn plan(&self, nodes: &[&str]) -> DrainPlan {
        make(&self.snapshot, &options(nodes)).expect("a plan")
    }
}

fn fates(plan: &DrainPlan, node: usize) -> Vec<(&str, &Fate)> {
    plan.nodes[node]
        .pods
        .iter()
        .map(|pod| (pod.pod.as_str(), &pod.fate))
        .collect()
}

#[test]
fn without_budgets_a_drain_takes_as_long_as_the_slowest_pod_ends() {
    let plan = Sketch::new(&["a", "b"])
        .app("ReplicaSet", "web", &["a", "a", "b"], &json!({}))
        .plan(&["a"]);
    assert_eq!((plan.seconds, plan.worst_seconds), (Some(1.0), Some(30.0)));
    assert!(
        fates(&plan, 0).iter().all(|(_, fate)| **fate
            == Fate::Moves {
                to: Some("b".to_owned())
            }),
        "{plan:?}"
    );
}

#[test]
fn a_budget_delays_its_pods_by_the_start_times_of_their_siblings() {
    let sketch = Sketch::new(&["a", "b"])
        .app("ReplicaSet", "web", &["a", "a", "a", "b"], &json!({}))
        .budget("web", json!({"maxUnavailable": 1}));
    let plan = sketch.plan(&["a"]);
    // At 0, 20 and 40 seconds: each as soon as the replacement of the one before is ready.
    assert_eq!(plan.seconds, Some(41.0));
    let budget = &plan.budgets[0];
    assert_eq!(
        (
            budget.needs,
            budget.least_healthy,
            budget.leaving,
            budget.waiting
        ),
        (Some(3), 3, 3, 2)
    );
}

#[test]
fn a_stateful_set_replaces_a_pod_after_its_deletion() {
    let sketch = Sketch::new(&["a", "b"])
        .app("StatefulSet", "db", &["a", "a", "b"], &json!({}))
        .budget("db", json!({"minAvailable": 2}));
    // 1 to end, 20 to start, 1 to end.
    assert_eq!(sketch.plan(&["a"]).seconds, Some(22.0));
}

#[test]
fn a_budget_that_never_allows_is_proven_from_its_numbers() {
    let plan = Sketch::new(&["a", "b"])
        .app("ReplicaSet", "web", &["a", "b"], &json!({}))
        .budget("web", json!({"maxUnavailable": 0}))
        .plan(&["a"]);
    assert!(!plan.finishes);
    assert_eq!(
        (plan.stuck[0].pod.as_str(), plan.stuck[0].reason),
        ("shop/web-0", StuckReason::NeverAllows)
    );
    assert_eq!(fates(&plan, 0), [("shop/web-0", &Fate::Stuck)]);
}

#[test]
fn a_replacement_without_a_node_explains_a_deadlock() {
    // Both nodes are drained and the third is full: the replacement of the first pod cannot start,
    // so the second one never leaves.
    let sketch = Sketch::new(&["a", "b", "c"])
        .app("ReplicaSet", "web", &["a", "b"], &json!({}))
        .app(
            "ReplicaSet",
            "big",
            &["c"],
            &json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "4"}}}]}),
        )
        .budget("web", json!({"minAvailable": 1}));
    let plan = sketch.plan(&["a", "b"]);
    assert_eq!(
        (plan.stuck[0].pod.as_str(), plan.stuck[0].reason),
        ("shop/web-1", StuckReason::Exhausted)
    );
    assert!(
        plan.stuck[0].because.iter().any(|line| line.starts_with(
            "the replacement of shop/web-0 finds no node: 0/3 nodes are available: 1 Insufficient cpu"
        )),
        "{plan:?}"
    );
    assert_eq!(plan.unplaced[0].pod, "shop/web-0");
}

#[test]
fn unready_pods_are_judged_by_the_policy() {
    let broken = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]});
    let sketch = |policy: &str| {
        Sketch::new(&["a", "b"])
            .app("ReplicaSet", "web", &["b"], &json!({}))
            .pod("ReplicaSet", "web", "web-x", "a", &json!({}))
            .with_status(broken.clone())
            .budget(
                "web",
                json!({"minAvailable": 2, "unhealthyPodEvictionPolicy": policy}),
            )
    };
    assert!(sketch("AlwaysAllow").plan(&["a"]).finishes);
    let plan = sketch("IfHealthyBudget").plan(&["a"]);
    assert_eq!(plan.stuck[0].reason, StuckReason::NeverAllows);
}

#[test]
fn pods_of_several_budgets_are_never_evicted() {
    let sketch = Sketch::new(&["a", "b"]).app("ReplicaSet", "web", &["a"], &json!({}));
    let plan = sketch
        .budget("web", json!({"minAvailable": 0}))
        .budget("web", json!({"minAvailable": 0}))
        .plan(&["a"]);
    assert_eq!(plan.stuck[0].reason, StuckReason::SeveralBudgets);
}

#[test]
fn pods_that_stay_end_or_are_refused_have_reasons() {
    let sketch = Sketch::new(&["a", "b"])
        .app("DaemonSet", "log", &["a"], &json!({}))
        .pod("", "bare", "bare", "a", &json!({}))
        .app(
            "ReplicaSet",
            "web",
            &["a"],
            &json!({"volumes": [{"name": "t", "emptyDir": {}}]}),
        );
    let plan = sketch.plan(&["a"]);
    assert!(plan.finishes);
    assert_eq!(
        fates(&plan, 0)[0].1,
        &Fate::Stays {
            why: "ignoring DaemonSet-managed Pods".to_owned()
        }
    );
    assert_eq!(fates(&plan, 0)[1].1, &Fate::Ends);
    assert_eq!(
        plan.nodes[0].pods[2].notes,
        ["the contents of its emptyDir volumes are lost"]
    );
    let strict = PlanOptions {
        filter: FilterOptions::default(),
        ..options(&["a"])
    };
    let plan = make(&sketch.snapshot, &strict).expect("a plan");
    assert!(!plan.finishes);
    let refused = plan.nodes[0]
        .pods
        .iter()
        .filter(|pod| matches!(pod.fate, Fate::Refused { .. }))
        .count();
    assert_eq!(refused, 3);
}

#[test]
fn waves_keep_nodes_of_one_budget_apart() {
    let sketch = Sketch::new(&["a", "b", "c", "d"])
        .app("ReplicaSet", "web", &["a", "b"], &json!({}))
        .app("ReplicaSet", "api", &["c"], &json!({}))
        .budget("web", json!({"maxUnavailable": 1}));
    let plan = sketch.plan(&["a", "b", "c"]);
    assert_eq!((plan.waves.len(), plan.fewest_waves), (2, true));
    assert!(
        !plan
            .waves
            .iter()
            .any(|wave| wave.contains(&"a".to_owned()) && wave.contains(&"b".to_owned()))
    );
}

#[test]
fn pods_that_must_keep_apart_find_no_room_on_too_few_nodes() {
    let apart = json!({"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "web"}},
            "topologyKey": "kubernetes.io/hostname"}]}}});
    let sketch = Sketch::new(&["a", "b"]).app("ReplicaSet", "web", &["a", "b"], &apart);
    let plan = sketch.plan(&["a"]);
    assert!(plan.finishes);
    assert_eq!(
        plan.unplaced[0].why,
        "0/2 nodes are available: 1 node(s) didn't match pod anti-affinity rules, 1 node(s) were unschedulable"
    );
}

#[test]
fn a_missing_node_is_an_error() {
    let sketch = Sketch::new(&["a"]);
    assert_eq!(
        make(&sketch.snapshot, &options(&["x"])),
        Err(PlanError::NodeNotFound("x".to_owned()))
    );
}

#[test]
fn the_text_begins_with_the_result() {
    let sketch = Sketch::new(&["a", "b"])
        .app("ReplicaSet", "web", &["a", "a", "b"], &json!({}))
        .budget("web", json!({"maxUnavailable": 1}));
    let text = sketch.plan(&["a"]).render(&options(&["a"]));
    insta::assert_snapshot!(text, @r"
    This drain would finish in about 21 s: 1 node, 2 pods.

    Node a (empty after 21 s):
      shop/web-0 moves to b after 0 s
      shop/web-1 moves to b after 20 s

    Budgets:
      shop/web: needs 2 healthy, has 3, at least 2 during the drain; 2 of its pods leave, 1 pod waits for it, 20 s in total

    Forecast: 21 s with 1 node at a time
      50 s if every pod uses its whole grace period
      assumes that pods terminate 1 s after their stop signal
      assumes that pods start within 10 s where the cluster shows no start of a sibling
    ");
    let stuck = Sketch::new(&["a", "b"])
        .app("ReplicaSet", "web", &["a"], &json!({}))
        .budget("web", json!({"minAvailable": 1}))
        .plan(&["a"]);
    insta::assert_snapshot!(stuck.render(&options(&["a"])), @r"
    This drain would not finish: 1 of 1 pod cannot leave (1 node).

    Stuck: shop/web-0
      budget shop/web needs 1 healthy pod and can never have more: it never allows an eviction

    Node a (never empty):
      shop/web-0 is stuck

    Budgets:
      shop/web: needs 1 healthy, has 1, at least 1 during the drain; 1 of its pods leaves, 1 pod waits for it
    ");
}
