//! Decides which nodes get a pod and which pods are deleted. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    Toleration,
};

use super::HASH;
use crate::meta::{annotation, controlled_by};
use crate::nodes;
use crate::percentage::scaled;
use crate::podcontrol::{BURST, from_template};
use crate::pods::{Availability, availability, is_ready, is_terminating, node_name, phase};

const GENERATION: &str = "deprecated.daemonset.template.generation";

/// The taints that every daemon pod tolerates, as key and effect.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// What to do now.
#[derive(Debug)]
pub(super) struct DaemonSetPlan {
    /// The names of nodes that get a pod.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// The deleted pods that have failed, with their nodes.
    pub(super) failed: Vec<(Arc<Pod>, String)>,
    /// None when the present status is right.
    pub(super) status: Option<DaemonSetStatus>,
    pub(super) available_at: Option<Timestamp>,
}

/// The hash of the template that a pod was created from.
pub(super) fn hash_of(pod: &Pod) -> Option<&String> {
    pod.metadata.labels.as_ref()?.get(HASH)
}

/// The node that a pod was created for, even before it is bound.
fn target(pod: &Pod) -> &str {
    if !node_name(pod).is_empty() {
        return node_name(pod);
    }
    let required = pod.spec.as_ref().and_then(|spec| {
        spec.affinity
            .as_ref()?
            .node_affinity
            .as_ref()?
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let field = required.and_then(|required| {
        required
            .node_selector_terms
            .first()?
            .match_fields
            .as_ref()?
            .first()
    });
    field
        .and_then(|field| field.values.as_ref()?.first())
        .map_or("", String::as_str)
}

fn tolerations(set: &DaemonSet) -> Vec<Toleration> {
    let spec = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let mut list = spec
        .and_then(|spec| spec.tolerations.clone())
        .unwrap_or_default();
    let host = spec.is_some_and(|spec| spec.host_network == Some(true));
    let network = host.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    for (key, effect) in TOLERATED.into_iter().chain(network) {
        let known = list.iter().any(|one| {
            one.key.as_deref() == Some(key)
                && one.effect.as_deref() == Some(effect)
                && one.operator.as_deref() == Some("Exists")
                && one.toleration_seconds.is_none()
        });
        if !known {
            list.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some(effect.to_owned()),
                ..Toleration::default()
            });
        }
    }
    list
}

/// Returns (whether the node gets a pod, whether it may keep the one it has).
fn wants(set: &DaemonSet, node: &Node) -> (bool, bool) {
    let Some(spec) = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
    else {
        return (false, false);
    };
    let pinned = spec.node_name.as_deref().unwrap_or_default();
    if (!pinned.is_empty() && pinned != nodes::name(node)) || !nodes::matches_affinity(spec, node) {
        return (false, false);
    }
    let tolerations = tolerations(set);
    let bears = |effects: &[&str]| {
        nodes::taints(node)
            .filter(|taint| effects.contains(&taint.effect.as_str()))
            .all(|taint| nodes::tolerates(Some(&tolerations), taint))
    };
    (bears(&["NoSchedule", "NoExecute"]), bears(&["NoExecute"]))
}

/// Makes the plan. `hash` is that of the present template.
pub(super) fn plan(
    set: &DaemonSet,
    pods: &[Arc<Pod>],
    all: &[Arc<Node>],
    hash: &str,
    now: Timestamp,
) -> DaemonSetPlan {
    let mut on: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in pods {
        on.entry(target(pod)).or_default().push(pod);
    }
    let mut plan = DaemonSetPlan {
        create: Vec::new(),
        delete: Vec::new(),
        failed: Vec::new(),
        status: None,
        available_at: None,
    };
    let mut new = DaemonSetStatus::default();
    let (mut available, mut updated) = (0, 0);
    let mut old: Vec<(&Arc<Pod>, bool)> = Vec::new();
    let mut unavailable = 0;
    let min_ready = set
        .spec
        .as_ref()
        .and_then(|spec| spec.min_ready_seconds)
        .unwrap_or_default();
    for node in all {
        let name = nodes::name(node);
        let here = on.remove(name).unwrap_or_default();
        let (gets, keeps) = wants(set, node);
        if !gets {
            new.number_misscheduled += i32::from(!here.is_empty());
        }
        let alive = tidy(&here, gets, keeps, name, &mut plan);
        if !gets {
            continue;
        }
        new.desired_number_scheduled += 1;
        let Some(pod) = alive else {
            unavailable += 1;
            if here.is_empty() {
                plan.create.push(name.to_owned());
            } else {
                // A terminating pod counts as scheduled until it is gone.
                new.current_number_scheduled += 1;
            }
            continue;
        };
        new.current_number_scheduled += 1;
        new.number_ready += i32::from(is_ready(pod));
        let judged = availability(pod, min_ready, now);
        if let Availability::At(at) = judged {
            plan.available_at = Some(plan.available_at.map_or(at, |earliest| earliest.min(at)));
        }
        let is_available = judged == Availability::Now && !is_terminating(pod);
        available += i32::from(is_available);
        unavailable += i32::from(!is_available);
        if hash_of(pod).is_some_and(|known| known == hash) {
            updated += 1;
        } else {
            old.push((pod, is_available));
        }
    }
    // The pod garbage collector deletes pods of nodes that no longer exist.
    roll(
        set,
        &old,
        unavailable,
        new.desired_number_scheduled,
        &mut plan,
    );
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    let non_zero = |count: i32| Some(count).filter(|count| *count != 0);
    let present = set.status.clone().unwrap_or_default();
    let status = DaemonSetStatus {
        collision_count: present.collision_count,
        conditions: present.conditions.clone(),
        number_available: non_zero(available),
        number_unavailable: non_zero(new.desired_number_scheduled - available),
        updated_number_scheduled: non_zero(updated),
        observed_generation: set.metadata.generation,
        ..new
    };
    plan.status = (status != present).then_some(status);
    plan
}

/// Deletes finished pods and all but the oldest. Returns the pod that counts.
fn tidy<'a>(
    here: &[&'a Arc<Pod>],
    gets: bool,
    keeps: bool,
    node: &str,
    plan: &mut DaemonSetPlan,
) -> Option<&'a Arc<Pod>> {
    let mut alive: Vec<&Arc<Pod>> = Vec::new();
    for pod in here.iter().filter(|pod| !is_terminating(pod)) {
        match phase(pod) {
            "Failed" => {
                plan.failed.push((Arc::clone(pod), node.to_owned()));
                plan.delete.push(Arc::clone(pod));
            }
            "Succeeded" => plan.delete.push(Arc::clone(pod)),
            _ => alive.push(pod),
        }
    }
    alive.sort_by_key(|pod| {
        (
            node_name(pod).is_empty(),
            pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            pod.metadata.name.clone(),
        )
    });
    let spare = if keeps || gets { 1 } else { 0 };
    plan.delete
        .extend(alive.iter().skip(spare).map(|pod| Arc::clone(pod)));
    alive.first().copied().filter(|_| spare == 1)
}

/// Deletes pods of older templates within `maxUnavailable`, unavailable ones first.
fn roll(
    set: &DaemonSet,
    old: &[(&Arc<Pod>, bool)],
    unavailable: i32,
    desired: i32,
    plan: &mut DaemonSetPlan,
) {
    let strategy = set
        .spec
        .as_ref()
        .and_then(|spec| spec.update_strategy.as_ref());
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return;
    }
    let limit =
        strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.max_unavailable.as_ref());
    let limit = limit.map_or(1, |limit| scaled(limit, desired, true));
    let mut room = limit.max(1) - unavailable;
    for (pod, available) in old.iter().filter(|(pod, _)| !is_terminating(pod)) {
        if !*available {
            plan.delete.push(Arc::clone(pod));
        } else if room > 0 {
            room -= 1;
            plan.delete.push(Arc::clone(pod));
        }
    }
}

/// Makes the pod for one node.
pub(super) fn make(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let template = set
        .spec
        .as_ref()
        .map(|spec| spec.template.clone())
        .unwrap_or_default();
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = from_template(
        &template,
        namespace,
        set.metadata.name.as_deref().unwrap_or_default(),
        controlled_by(set),
    );
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.to_owned());
    if let Some(generation) = annotation(&set.metadata, GENERATION) {
        labels.insert("pod-template-generation".to_owned(), generation.to_owned());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(set));
    let name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm {
        match_fields: Some(vec![name]),
        match_expressions: None,
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    node_affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![term],
    });
    pod
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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

    fn daemon(
        name: &str,
        node: &str,
        hash: &str,
        phase: &str,
        ready: bool,
        leaving: bool,
    ) -> Arc<Pod> {
        Arc::new(pod(json!({
            "metadata": {"name": name, "labels": {HASH: hash},
                "deletionTimestamp": leaving.then_some("2026-01-01T00:00:00Z")},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready",
                "status": if ready { "True" } else { "False" }}]},
        })))
    }

    fn planned(
        set: &DaemonSet,
        pods: &[Arc<Pod>],
        nodes: &[Arc<Node>],
    ) -> (Vec<String>, Vec<String>) {
        let plan = plan(set, pods, nodes, "h2", Timestamp::UNIX_EPOCH);
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
        let status = plan(&set(json!({})), &[], &nodes, "h2", Timestamp::UNIX_EPOCH)
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
}
