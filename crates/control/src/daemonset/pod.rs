//! Makes the pods of a daemon set, and says which nodes get one. Pure.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    Toleration,
};

use super::HASH;
use crate::meta::{annotation, controlled_by};
use crate::nodes;
use crate::podcontrol::from_template;
use crate::pods::node_name;

/// The annotation of a set that counts the changes of its template, and the label of pods with that
/// count.
pub(super) const GENERATION: &str = "deprecated.daemonset.template.generation";
const POD_GENERATION: &str = "pod-template-generation";

/// The taints that every daemon pod tolerates, as key and effect.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// The hash of the template that a pod was created from.
pub(super) fn hash_of(pod: &Pod) -> Option<&String> {
    pod.metadata.labels.as_ref()?.get(HASH)
}

/// The node that a pod was created for, even before it is bound.
pub(super) fn target(pod: &Pod) -> &str {
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

/// True when the pod was created from the present template: by its hash or, as upstream, by the
/// generation of the template.
pub(super) fn is_updated(set: &DaemonSet, pod: &Pod, hash: &str) -> bool {
    let generation = annotation(&set.metadata, GENERATION);
    let labels = pod.metadata.labels.as_ref();
    let of_pod = labels.and_then(|labels| labels.get(POD_GENERATION));
    hash_of(pod).is_some_and(|known| known == hash)
        || (of_pod.is_some() && of_pod.map(String::as_str) == generation)
}

/// Returns (whether the node gets a pod, whether it may keep the one it has).
pub(super) fn wants(set: &DaemonSet, node: &Node) -> (bool, bool) {
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
        labels.insert(POD_GENERATION.to_owned(), generation.to_owned());
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
