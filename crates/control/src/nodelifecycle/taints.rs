//! The taints that follow from conditions and cordoning. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::meta::on_wire;
use crate::nodes;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    (
        "NetworkUnavailable",
        "node.kubernetes.io/network-unavailable",
    ),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
];
/// The conditions that become unknown when a node is silent.
const REPORTED_BY_NODES: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Zones with more nodes than this are large.
const LARGE: usize = 50;

/// The status of a node's Ready condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadyStatus {
    Ready,
    NotReady,
    Unknown,
    /// The node has no such condition.
    NeverReported,
}

fn condition<'a>(node: &'a Node, ty: &str) -> Option<&'a NodeCondition> {
    node.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == ty)
}

pub(super) fn ready_status(node: &Node) -> ReadyStatus {
    match condition(node, "Ready").map(|condition| condition.status.as_str()) {
        None => ReadyStatus::NeverReported,
        Some("True") => ReadyStatus::Ready,
        Some("False") => ReadyStatus::NotReady,
        Some(_) => ReadyStatus::Unknown,
    }
}

/// The heartbeat time in the Ready condition; none when the node has no such condition.
pub(super) fn heartbeat(node: &Node) -> Option<Option<Time>> {
    condition(node, "Ready").map(|condition| condition.last_heartbeat_time.clone())
}

/// The node with the conditions of a silent node; none when it has them already.
pub(super) fn with_unknown_conditions(node: &Node, now: Timestamp) -> Option<Node> {
    let mut silent = node.clone();
    let conditions = silent
        .status
        .get_or_insert_default()
        .conditions
        .get_or_insert_default();
    for ty in REPORTED_BY_NODES {
        match conditions
            .iter_mut()
            .find(|condition| condition.type_ == ty)
        {
            Some(known) if known.status == "Unknown" => {}
            Some(known) => {
                known.status = "Unknown".to_owned();
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time = Some(on_wire(now));
            }
            None => conditions.push(NodeCondition {
                type_: ty.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(on_wire(now)),
            }),
        }
    }
    (silent != *node).then_some(silent)
}

pub(super) fn has(node: &Node, key: &str, effect: &str) -> bool {
    nodes::taints(node).any(|taint| taint.key == key && taint.effect == effect)
}

/// The taints that prevent scheduling, as key and effect.
pub(super) fn wanted(node: &Node) -> Vec<(&'static str, &'static str)> {
    let mut keys = Vec::new();
    match ready_status(node) {
        ReadyStatus::NotReady => keys.push(NOT_READY),
        ReadyStatus::Unknown => keys.push(UNREACHABLE),
        // A node that has not reported yet keeps the taint that it was created with.
        ReadyStatus::NeverReported if has(node, NOT_READY, "NoSchedule") => keys.push(NOT_READY),
        ReadyStatus::Ready | ReadyStatus::NeverReported => {}
    }
    let pressed =
        |ty: &str| condition(node, ty).is_some_and(|condition| condition.status == "True");
    keys.extend(
        PRESSURES
            .iter()
            .filter(|(ty, _)| pressed(ty))
            .map(|(_, key)| *key),
    );
    if nodes::is_cordoned(node) {
        keys.push(UNSCHEDULABLE);
    }
    keys.into_iter().map(|key| (key, "NoSchedule")).collect()
}

/// The key of the taint that would evict the pods of this node.
pub(super) fn evicting(node: &Node) -> Option<&'static str> {
    match ready_status(node) {
        ReadyStatus::NotReady => Some(NOT_READY),
        ReadyStatus::Unknown => Some(UNREACHABLE),
        ReadyStatus::Ready | ReadyStatus::NeverReported => None,
    }
}

/// The new list of taints; none when the present one is right. Foreign taints stay.
pub(super) fn plan(
    node: &Node,
    wanted: &[(&'static str, &'static str)],
    now: Time,
) -> Option<Vec<Taint>> {
    let ours = |taint: &Taint| {
        let keeps_away = matches!(taint.key.as_str(), NOT_READY | UNREACHABLE | UNSCHEDULABLE)
            || PRESSURES.iter().any(|(_, key)| taint.key == *key);
        match taint.effect.as_str() {
            "NoSchedule" => keeps_away,
            "NoExecute" => matches!(taint.key.as_str(), NOT_READY | UNREACHABLE),
            _ => false,
        }
    };
    let stays = |taint: &&Taint| {
        !ours(taint)
            || wanted
                .iter()
                .any(|(key, effect)| taint.key == *key && taint.effect == *effect)
    };
    let mut list: Vec<Taint> = nodes::taints(node).filter(stays).cloned().collect();
    for (key, effect) in wanted
        .iter()
        .filter(|(key, effect)| !has(node, key, effect))
    {
        list.push(Taint {
            key: (*key).to_owned(),
            effect: (*effect).to_owned(),
            time_added: Some(now.clone()),
            value: None,
        });
    }
    (!nodes::taints(node).eq(&list)).then_some(list)
}

/// The region and zone of a node.
pub(super) fn zone(node: &Node) -> String {
    let label = |name: &str| {
        node.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(name))
            .map_or("", String::as_str)
    };
    format!(
        "{}:{}",
        label("topology.kubernetes.io/region"),
        label("topology.kubernetes.io/zone")
    )
}

/// The interval at which nodes of a zone are tainted; none when they must not be.
pub(super) fn interval(
    of: &str,
    all: &[Arc<Node>],
    usual: Duration,
    rare: Duration,
) -> Option<Duration> {
    let mut zones: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for node in all {
        let (up, down) = zones.entry(zone(node)).or_default();
        *(if ready_status(node) == ReadyStatus::Ready {
            up
        } else {
            down
        }) += 1;
    }
    if zones.values().all(|(up, _)| *up == 0) {
        return None;
    }
    let (up, down) = zones.get(of).copied().unwrap_or_default();
    let mostly_down = up > 0 && down > 2 && down * 100 >= (up + down) * 55;
    match (mostly_down, up + down > LARGE) {
        (false, _) => Some(usual),
        (true, true) => Some(rare),
        (true, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(ready: Value, spec: Value, zone: &str) -> Node {
        let conditions = if ready.is_null() {
            json!([])
        } else {
            json!([{"type": "Ready", "status": ready, "reason": "KubeletReady"}])
        };
        serde_json::from_value(json!({"metadata": {"name": "a",
            "labels": {"topology.kubernetes.io/zone": zone}}, "spec": spec,
            "status": {"conditions": conditions}}))
        .expect("a node")
    }

    fn planned(node: &Node, drive: bool) -> Option<Vec<(String, String)>> {
        let mut wanted = wanted(node);
        wanted.extend(
            evicting(node)
                .filter(|_| drive)
                .map(|key| (key, "NoExecute")),
        );
        let list = plan(node, &wanted, on_wire(Timestamp::UNIX_EPOCH))?;
        Some(
            list.into_iter()
                .map(|taint| (taint.key, taint.effect))
                .collect(),
        )
    }

    #[test]
    fn taints_follow_conditions_and_cordoning() {
        let own = json!({"key": "own", "effect": "NoSchedule"});
        let taint = |key: &str, effect: &str| {
            json!({"key": format!("node.kubernetes.io/{key}"),
            "effect": effect})
        };
        let expected_taints = |list: &[(&str, &str)]| {
            Some(
                list.iter()
                    .map(|(key, effect)| ((*key).to_owned(), (*effect).to_owned()))
                    .collect::<Vec<_>>(),
            )
        };
        let cases = [
            (
                node(
                    json!("True"),
                    json!({"taints": [own, taint("not-ready", "NoSchedule")]}),
                    "",
                ),
                expected_taints(&[("own", "NoSchedule")]),
            ),
            (node(json!("True"), json!({"taints": [own]}), ""), None),
            (
                node(
                    Value::Null,
                    json!({"taints": [taint("not-ready", "NoSchedule")]}),
                    "",
                ),
                None,
            ),
            (
                node(json!("True"), json!({"unschedulable": true}), ""),
                expected_taints(&[(UNSCHEDULABLE, "NoSchedule")]),
            ),
            (
                node(
                    json!("True"),
                    json!({"taints": [taint("unschedulable", "NoSchedule")]}),
                    "",
                ),
                expected_taints(&[]),
            ),
            (
                node(json!("Unknown"), json!({}), ""),
                expected_taints(&[(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
            ),
            (
                node(
                    json!("False"),
                    json!({"taints": [taint("unreachable", "NoExecute")]}),
                    "",
                ),
                expected_taints(&[(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
            ),
        ];
        for (node, expected) in cases {
            assert_eq!(planned(&node, true), expected, "{node:?}");
        }
    }

    #[test]
    fn a_silent_node_has_unknown_conditions_once() {
        let silent =
            with_unknown_conditions(&node(json!("True"), json!({}), ""), Timestamp::UNIX_EPOCH)
                .expect("changed");
        let reasons: Vec<_> = silent
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_ref())
            .expect("conditions")
            .iter()
            .map(|c| c.reason.clone().unwrap_or_default())
            .collect();
        assert_eq!(
            reasons,
            [
                "NodeStatusUnknown",
                "NodeStatusNeverUpdated",
                "NodeStatusNeverUpdated",
                "NodeStatusNeverUpdated"
            ]
        );
        assert_eq!(
            with_unknown_conditions(&silent, Timestamp::UNIX_EPOCH),
            None
        );
    }

    #[test]
    fn no_pods_are_evicted_when_every_node_is_down() {
        let (usual, rare) = (Duration::from_secs(10), Duration::from_secs(100));
        let up = |zone: &str| Arc::new(node(json!("True"), json!({}), zone));
        let down = |zone: &str| Arc::new(node(json!("Unknown"), json!({}), zone));
        assert_eq!(interval(":a", &[down("a")], usual, rare), None);
        assert_eq!(
            interval(":a", &[down("a"), up("b")], usual, rare),
            Some(usual),
            "a zone that is wholly down, beside one that is not"
        );
        assert_eq!(
            interval(":a", &[down("a"), up("a")], usual, rare),
            Some(usual)
        );
        let mostly = [down("a"), down("a"), down("a"), up("a")];
        assert_eq!(interval(":a", &mostly, usual, rare), None);
        let large: Vec<_> = (0..60)
            .map(|i| if i < 40 { down("a") } else { up("a") })
            .collect();
        assert_eq!(interval(":a", &large, usual, rare), Some(rare));
    }
}
