//! Daemon sets in the states that they pass through.

use serde_json::{Value, json};

use super::super::HASH;
use super::super::pod::{GENERATION, make};
use super::*;
use crate::pods::tests::pod;

fn set(extra: Value) -> DaemonSet {
    let mut tree = json!({"metadata": {"name": "ds", "namespace": "n", "uid": "d",
        "generation": 1, "annotations": {GENERATION: "1"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [], "nodeSelector": {"wire": "x"}}}}});
    if let (Some(spec), Some(extra)) = (tree["spec"].as_object_mut(), extra.as_object()) {
        spec.extend(extra.clone());
    }
    serde_json::from_value(tree).expect("a set")
}

fn node(name: &str, wire: &str, taints: Value) -> Arc<Node> {
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {"wire": wire}},
            "spec": {"taints": taints}}))
        .expect("a node"),
    )
}

fn daemon(name: &str, node: &str, hash: &str, phase: &str, ready: bool, leaving: bool) -> Arc<Pod> {
    Arc::new(pod(json!({
        "metadata": {"name": name, "labels": {HASH: hash},
            "deletionTimestamp": leaving.then_some("2026-01-01T00:00:00Z")},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": phase, "conditions": [{"type": "Ready",
            "status": if ready { "True" } else { "False" }}]},
    })))
}

fn plan_of(set: &DaemonSet, pods: &[Arc<Pod>], nodes: &[Arc<Node>]) -> DaemonSetPlan {
    let state = DaemonSetState {
        set,
        hash: "h2",
        held_until: &|_| None,
        now: Timestamp::UNIX_EPOCH,
    };
    plan(&state, pods, nodes)
}

fn planned(set: &DaemonSet, pods: &[Arc<Pod>], nodes: &[Arc<Node>]) -> (Vec<String>, Vec<String>) {
    let plan = plan_of(set, pods, nodes);
    (
        plan.create,
        plan.delete
            .iter()
            .map(|pod| crate::pods::name(pod).to_owned())
            .collect(),
    )
}

#[test]
fn matching_nodes_get_a_pod_and_cordoned_ones_too() {
    let cordoned = json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
    let foreign = json!([{"key": "other", "effect": "NoSchedule"}]);
    let nodes = [
        node("a", "x", json!([])),
        node("b", "x", cordoned),
        node("c", "y", json!([])),
        node("d", "x", foreign),
    ];
    assert_eq!(planned(&set(json!({})), &[], &nodes).0, ["a", "b"]);
    let status = plan_of(&set(json!({})), &[], &nodes)
        .status
        .expect("written");
    assert_eq!(
        (
            status.desired_number_scheduled,
            status.current_number_scheduled,
            status.number_unavailable
        ),
        (2, 0, Some(2))
    );
}

#[test]
fn a_node_is_occupied_until_its_pod_is_gone_and_failed_pods_are_deleted() {
    let nodes = [node("a", "x", json!([]))];
    let empty = Vec::<String>::new();
    assert_eq!(
        planned(
            &set(json!({})),
            &[daemon("p", "a", "h2", "Running", true, true)],
            &nodes
        ),
        (empty.clone(), empty.clone())
    );
    assert_eq!(
        planned(
            &set(json!({})),
            &[daemon("p", "a", "h2", "Failed", false, false)],
            &nodes
        ),
        (empty.clone(), vec!["p".to_owned()])
    );
    let off = [node("a", "y", json!([]))];
    assert_eq!(
        planned(
            &set(json!({})),
            &[daemon("p", "a", "h2", "Running", true, false)],
            &off
        ),
        (empty, vec!["p".to_owned()])
    );
}

#[test]
fn a_rolling_update_deletes_up_to_max_unavailable() {
    let nodes = [node("a", "x", json!([])), node("b", "x", json!([]))];
    let pods = [
        daemon("p", "a", "h1", "Running", true, false),
        daemon("q", "b", "h1", "Running", true, false),
    ];
    assert_eq!(planned(&set(json!({})), &pods, &nodes).1, ["p"]);
    let half = [
        daemon("p", "a", "h2", "Running", false, false),
        daemon("q", "b", "h1", "Running", true, false),
    ];
    assert_eq!(
        planned(&set(json!({})), &half, &nodes).1,
        Vec::<String>::new()
    );
    assert_eq!(
        planned(
            &set(json!({"updateStrategy": {"type": "OnDelete"}})),
            &pods,
            &nodes
        )
        .1,
        Vec::<String>::new()
    );
}

#[test]
fn a_daemon_pod_is_pinned_and_tolerant() {
    let pod = make(&set(json!({})), "a", "h2");
    let tree = serde_json::to_value(&pod).expect("json");
    assert_eq!(
        tree["metadata"]["labels"],
        json!({"app": "web", "controller-revision-hash": "h2", "pod-template-generation": "1"})
    );
    assert_eq!(
        tree["spec"]["tolerations"].as_array().map(Vec::len),
        Some(6)
    );
    assert_eq!(target(&pod), "a");
}

fn surging(surge: Value) -> DaemonSet {
    set(json!({"updateStrategy": {"type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": surge}}}))
}

/// One node after the other with its pods: `old` and `new` stand for available pods of that
/// template, `old-` and `new-` for unready ones, `!` for a terminating one, `~` before it for a
/// node that is no longer wanted but keeps its pods.
fn cluster(shape: &str) -> (Vec<Arc<Node>>, Vec<Arc<Pod>>) {
    let taint = json!([{"key": "other", "effect": "NoSchedule"}]);
    let (mut nodes, mut pods) = (Vec::new(), Vec::new());
    for (index, text) in shape.split_whitespace().enumerate() {
        let name = format!("n{index}");
        let unwanted = text.starts_with('~');
        let taints = if unwanted { taint.clone() } else { json!([]) };
        nodes.push(node(&name, "x", taints));
        let texts = text.trim_start_matches('~').split('+');
        for (place, text) in texts.filter(|text| *text != "none").enumerate() {
            let hash = if text.starts_with("old") { "h1" } else { "h2" };
            let (ready, leaving) = (!text.contains('-'), text.contains('!'));
            let pod = format!("{name}{}", ["a", "b", "c"][place]);
            pods.push(daemon(&pod, &name, hash, "Running", ready, leaving));
        }
    }
    (nodes, pods)
}

#[test]
fn an_update_surges_or_makes_room_within_its_limits() {
    let strategy = |unavailable: Value| {
        set(json!({"updateStrategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": 0}}}))
    };
    // (strategy, nodes with pods, created on, deleted)
    let cases: [(DaemonSet, &str, &str, &str); 24] = [
        (strategy(json!(1)), "old old old", "", "n0a"),
        (strategy(json!(2)), "old old old", "", "n0a n1a"),
        (strategy(json!("50%")), "old old old old", "", "n0a n1a"),
        (strategy(json!(1)), "new- old", "", ""),
        (strategy(json!(2)), "new- old", "", "n1a"),
        (strategy(json!(1)), "old- old", "", "n0a"),
        (strategy(json!(1)), "old! old", "", ""),
        (strategy(json!(1)), "old none", "n1", ""),
        // A pod that may stay on a node that gets none is replaced like the others.
        (strategy(json!(1)), "~old new", "", "n0a"),
        (strategy(json!(1)), "~new new", "", ""),
        (surging(json!(1)), "old old", "n0", ""),
        (surging(json!(2)), "old old old", "n0 n1", ""),
        (surging(json!("100%")), "old old", "n0 n1", ""),
        (surging(json!(1)), "old+new- old", "", ""),
        (surging(json!(1)), "old+new old", "", "n0a"),
        (surging(json!(1)), "old-+new- old", "", "n0a"),
        (surging(json!(1)), "new old", "n1", ""),
        // An unready old pod is not counted against the surge.
        (surging(json!(1)), "old- old", "n0 n1", ""),
        // A terminating pod does not hold its node.
        (surging(json!(1)), "old! new", "n0", ""),
        (surging(json!(1)), "old+old new", "", "n0b"),
        (surging(json!(1)), "old+new-+new- old", "", "n0c"),
        // A pod on a node that is no longer wanted stays until others do its work.
        (surging(json!(1)), "~old new-", "", ""),
        (surging(json!(1)), "~old new", "", "n0a"),
        (surging(json!(1)), "~old- new-", "", "n0a"),
    ];
    for (set, shape, created, deleted) in cases {
        let (nodes, pods) = cluster(shape);
        let found = planned(&set, &pods, &nodes);
        let found = (found.0.join(" "), found.1.join(" "));
        assert_eq!(found, (created.to_owned(), deleted.to_owned()), "{shape}");
    }
}

#[test]
fn a_terminating_pod_counts_until_it_is_gone() {
    let (nodes, pods) = cluster("new! new-");
    let status = plan_of(&set(json!({})), &pods, &nodes)
        .status
        .expect("written");
    assert_eq!(
        (
            status.current_number_scheduled,
            status.number_ready,
            status.number_available,
            status.updated_number_scheduled
        ),
        (2, 1, Some(1), Some(2))
    );
}

#[test]
fn a_pod_is_updated_by_hash_or_by_generation() {
    let labelled = |hash: &str, generation: &str| {
        pod(json!({"metadata": {"labels": {HASH: hash, "pod-template-generation": generation}}}))
    };
    let set = set(json!({}));
    let cases = [
        ("h2", "1", true),
        ("h2", "7", true),
        ("h1", "1", true),
        ("h1", "7", false),
    ];
    for (hash, generation, expected) in cases {
        let found = is_updated(&set, &labelled(hash, generation), "h2");
        assert_eq!(found, expected, "{hash} {generation}");
    }
}

#[test]
fn failed_pods_are_deleted_after_a_pause_and_lost_pods_at_once() {
    let nodes = [node("a", "x", json!([]))];
    let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(2);
    let set = set(json!({}));
    let held = DaemonSetState {
        set: &set,
        hash: "h2",
        held_until: &|_| Some(later),
        now: Timestamp::UNIX_EPOCH,
    };
    let failed = [daemon("p", "a", "h2", "Failed", false, false)];
    let waiting = plan(&held, &failed, &nodes);
    assert!(waiting.delete.is_empty() && waiting.events.is_empty());
    assert_eq!(waiting.recheck, Some(later));
    let found = plan_of(&set, &failed, &nodes);
    assert_eq!(found.failed_on, ["a"]);
    assert_eq!(
        found.events[0].2,
        "Found failed daemon pod /p on node a, will try to kill it"
    );
    let succeeded = [daemon("p", "a", "h2", "Succeeded", false, false)];
    let found = plan_of(&set, &succeeded, &nodes);
    assert_eq!(found.events[0].1, "SucceededDaemonPod");
    // A finished pod that something holds no longer occupies its node.
    let gone = [daemon("p", "a", "h2", "Failed", false, true)];
    assert_eq!(planned(&set, &gone, &nodes).0, ["a"]);
    let mut unbound = make(&set, "lost", "h2");
    unbound.metadata.name = Some("u".to_owned());
    let there = daemon("p", "a", "h2", "Running", true, false);
    assert_eq!(planned(&set, &[there, Arc::new(unbound)], &nodes).1, ["u"]);
}
