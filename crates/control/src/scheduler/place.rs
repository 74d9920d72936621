//! Which node a pod gets, or why it gets none. Pure.
//!
//! Demands are looked at in the order of upstream's filters, and the first that a node does not
//! meet is its reason. Among the nodes that will do, the pod goes where it is liked, then where the
//! fewest of its siblings are, then where the most room is left.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, PodSpec};

use super::cluster::{Cluster, Place, Tenant};
use crate::meta::{controller_of, uid};
use crate::nodes;
use rules::fit::{Unschedulable, admits, has_ports, has_room};

/// So many nodes that will do are enough to choose from.
const ENOUGH: usize = 100;

/// Why no node will do: reasons with the number of nodes, and the nodes that would do if others
/// left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusals {
    pub(super) nodes: usize,
    pub(super) reasons: BTreeMap<String, usize>,
    pub(super) room_helps: Vec<String>,
}

/// The node for this pod.
pub(super) fn choose(cluster: &mut Cluster, tenant: &Tenant) -> Result<String, Refusals> {
    let mut refusals = Refusals {
        nodes: cluster.nodes(),
        ..Refusals::default()
    };
    let mut best: Option<(Score, &str)> = None;
    let mut found = 0;
    let mut last = None;
    let begin = cluster.next.clone();
    let round = cluster
        .places
        .range(begin.clone()..)
        .chain(cluster.places.range(..begin));
    for (name, place) in round {
        let Some(node) = &place.node else { continue };
        last = Some(name);
        match check(cluster, name, node, place, tenant) {
            Ok(()) => {
                let score = Score::of(node, place, tenant);
                if best.as_ref().is_none_or(|(known, _)| score < *known) {
                    best = Some((score, name));
                }
                found += 1;
                if found >= ENOUGH {
                    break;
                }
            }
            Err(refusal) => {
                if refusal.resolvable {
                    refusals.room_helps.push(name.clone());
                }
                for reason in refusal.reasons {
                    *refusals.reasons.entry(reason).or_default() += 1;
                }
            }
        }
    }
    let chosen = best.map(|(_, name)| name.to_owned());
    if found >= ENOUGH
        && let Some(last) = last.cloned()
    {
        // The next search begins behind the last node that was looked at.
        cluster.next = format!("{last}\0");
    }
    chosen.ok_or(refusals)
}

fn check(
    cluster: &Cluster,
    name: &str,
    node: &Node,
    place: &Place,
    tenant: &Tenant,
) -> Result<(), Unschedulable> {
    admits(node, &tenant.pod)?;
    has_ports(place.tenants.values().map(|other| &*other.pod), &tenant.pod)?;
    let promised = cluster.nominated.iter().filter(|(key, (at, other))| {
        at == name
            && key.as_str() != uid(&tenant.pod.metadata)
            && other.priority() >= tenant.priority()
    });
    let (mut used, mut pods) = (Cow::Borrowed(&place.used), place.tenants.len());
    for (_, (_, other)) in promised {
        used.to_mut().add(&other.requests);
        pods += 1;
    }
    has_room(&place.has, &used, pods, &tenant.requests)
}

/// Smaller is better.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    unwelcome: usize,
    dislike: i64,
    siblings: usize,
    load_permille: i64,
    tenants: usize,
}

impl Score {
    fn of(node: &Node, place: &Place, tenant: &Tenant) -> Self {
        let nothing = PodSpec::default();
        let spec = tenant.pod.spec.as_ref().unwrap_or(&nothing);
        let soft = nodes::taints(node).filter(|taint| taint.effect == "PreferNoSchedule");
        let load = |name: &str| {
            let (has, used) = (
                place.has.get(name),
                place
                    .used
                    .get(name)
                    .saturating_add(tenant.requests.get(name)),
            );
            if has > 0 {
                used.saturating_mul(1000) / has
            } else {
                0
            }
        };
        Self {
            unwelcome: soft
                .filter(|taint| !nodes::tolerates(spec.tolerations.as_ref(), taint))
                .count(),
            dislike: -nodes::preference(spec, node),
            siblings: controller_of(&tenant.pod.metadata)
                .and_then(|owner| place.siblings.get(&owner.uid).copied())
                .unwrap_or_default(),
            load_permille: load("cpu").saturating_add(load("memory")) / 2,
            tenants: place.tenants.len(),
        }
    }
}

/// The refusal in upstream's words. `preemption` says what came of making room.
pub(super) fn render(refusals: &Refusals) -> String {
    if refusals.nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let nodes = refusals.nodes;
    let mut reasons: Vec<String> = refusals
        .reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    reasons.sort();
    let (helps, vain) = (refusals.room_helps.len(), nodes - refusals.room_helps.len());
    let mut preemption = Vec::new();
    if helps > 0 {
        preemption.push(format!(
            "{helps} No preemption victims found for incoming pod"
        ));
    }
    if vain > 0 {
        preemption.push(format!("{vain} Preemption is not helpful for scheduling"));
    }
    format!(
        "0/{nodes} nodes are available: {}. no new claims to deallocate, preemption: 0/{nodes} nodes are available: {}.",
        reasons.join(", "),
        preemption.join(", ")
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::pods::tests::pod;

    pub(in crate::scheduler) fn node(name: &str, extra: Value) -> Arc<Node> {
        let mut tree = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": {},
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "3"}}});
        merge(&mut tree, extra);
        Arc::new(serde_json::from_value(tree).expect("a node"))
    }

    fn merge(tree: &mut Value, extra: Value) {
        match (tree, extra) {
            (Value::Object(tree), Value::Object(extra)) => {
                for (key, value) in extra {
                    merge(tree.entry(key).or_insert(Value::Null), value);
                }
            }
            (tree, extra) => *tree = extra,
        }
    }

    pub(in crate::scheduler) fn tenant(name: &str, cpu: &str, extra: Value) -> Tenant {
        let mut tree = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        merge(&mut tree, extra);
        Tenant::new(Arc::new(pod(tree)))
    }

    pub(in crate::scheduler) fn cluster(nodes: &[Arc<Node>]) -> Cluster {
        let mut cluster = Cluster::default();
        for node in nodes {
            cluster.learn_node(nodes::name(node), Some(node));
        }
        cluster
    }

    fn owned(name: &str) -> Tenant {
        tenant(
            name,
            "100m",
            json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true}]}}),
        )
    }

    #[test]
    fn siblings_spread_over_the_nodes() {
        let mut cluster = cluster(&[
            node("a", json!({})),
            node("b", json!({})),
            node("c", json!({})),
        ]);
        let mut chosen = Vec::new();
        for name in ["1", "2", "3"] {
            let at = choose(&mut cluster, &owned(name)).expect("a node");
            cluster.assume(&at, owned(name));
            chosen.push(at);
        }
        chosen.sort();
        assert_eq!(chosen, ["a", "b", "c"]);
    }

    #[test]
    fn every_refusal_is_told_in_upstreams_words() {
        let cases = [
            (
                node("a", json!({"spec": {"unschedulable": true}})),
                "node(s) were unschedulable",
                0,
            ),
            (
                node(
                    "a",
                    json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
                ),
                "node(s) had untolerated taint(s)",
                0,
            ),
            (
                node(
                    "a",
                    json!({"metadata": {"labels": {"kubernetes.io/hostname": "z"}}}),
                ),
                "node(s) didn't match Pod's node affinity/selector",
                0,
            ),
            (
                node("a", json!({"status": {"allocatable": {"cpu": "400m"}}})),
                "Insufficient cpu",
                0,
            ),
            (
                node("a", json!({"status": {"allocatable": {"pods": "0"}}})),
                "Too many pods",
                1,
            ),
        ];
        for (node, reason, helped) in cases {
            let pod = tenant(
                "p",
                "500m",
                json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "a"}}}),
            );
            let refusals = choose(&mut cluster(&[node]), &pod).expect_err(reason);
            assert_eq!(refusals.room_helps.len(), helped, "{reason}");
            assert!(
                render(&refusals).starts_with(&format!("0/1 nodes are available: 1 {reason}. ")),
                "{}",
                render(&refusals)
            );
        }
        assert_eq!(
            render(&Refusals::default()),
            "no nodes available to schedule pods"
        );
    }

    #[test]
    fn the_message_is_whole() {
        let mut cluster = cluster(&[
            node("a", json!({"spec": {"unschedulable": true}})),
            node("b", json!({})),
        ]);
        cluster.assume("b", tenant("other", "800m", json!({})));
        let refusals = choose(&mut cluster, &tenant("p", "500m", json!({}))).expect_err("no room");
        assert_eq!(
            render(&refusals),
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/2 nodes are \
             available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn room_is_counted_until_a_pod_leaves_or_ends() {
        let mut cluster = cluster(&[node("a", json!({}))]);
        cluster.assume("a", tenant("p", "600m", json!({"spec": {"nodeName": "a"}})));
        let q = tenant("q", "600m", json!({}));
        choose(&mut cluster, &q).expect_err("taken");
        let ended = tenant(
            "p",
            "600m",
            json!({"spec": {"nodeName": "a"}, "status": {"phase": "Succeeded"}}),
        );
        assert!(
            cluster.learn_pod(Some(&ended.pod), Some(&ended.pod)),
            "room is freed"
        );
        assert_eq!(choose(&mut cluster, &q), Ok("a".to_owned()));
    }

    #[test]
    fn a_preferred_taint_is_avoided_and_not_forbidden() {
        let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
        assert_eq!(
            choose(
                &mut cluster(&[node("a", soft.clone()), node("b", json!({}))]),
                &tenant("p", "1m", json!({}))
            ),
            Ok("b".to_owned())
        );
        assert_eq!(
            choose(
                &mut cluster(&[node("a", soft)]),
                &tenant("p", "1m", json!({}))
            ),
            Ok("a".to_owned())
        );
    }

    #[test]
    fn room_that_is_being_made_for_a_more_important_pod_is_not_given_away() {
        let mut cluster = cluster(&[node("a", json!({}))]);
        let high = tenant("high", "700m", json!({"spec": {"priority": 10}}));
        cluster
            .nominated
            .insert("high".to_owned(), ("a".to_owned(), high.clone()));
        choose(&mut cluster, &tenant("low", "700m", json!({}))).expect_err("promised");
        assert_eq!(choose(&mut cluster, &high), Ok("a".to_owned()));
    }
}
