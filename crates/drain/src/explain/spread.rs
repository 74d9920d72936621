//! Hard topology spread that counts a cordoned node: the drained node is a domain without pods, so
//! no other domain may get one more, and the replacement of the last pod finds no node.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use rules::affinity::{AffinityState, PlacedPod, SpreadNode, hard_spread};

use super::Problem;
use crate::cluster::ClusterSnapshot;
use crate::{pdb, pods};

/// Reports a pod whose replacement finds no node while the pod's node is cordoned, and would find
/// one if the constraints honoured the taint of the cordon.
pub(super) fn problem(snapshot: &ClusterSnapshot, pod: &Pod) -> Option<Problem> {
    let home = pods::node_of(pod)?;
    let constraint = hard_spread(pod).next()?;
    if fits(snapshot, pod, home) || !fits(snapshot, &honouring(pod), home) {
        return None;
    }
    let waits = snapshot.budgets_selecting(pod);
    let waits = waits
        .first()
        .map(|found| format!(", and budget {} waits for it", pdb::name(found)))
        .unwrap_or_default();
    let key = &constraint.topology_key;
    let text = format!(
        "its topology spread over {key} (maxSkew {}) counts {home} even while it is cordoned: its replacement finds no node{waits}; \
         nodeTaintsPolicy: Honor in the constraint avoids this",
        constraint.max_skew
    );
    Some(Problem::blocking("spread-counts-cordoned", text))
}

/// Returns the pod with constraints that exclude cordoned nodes.
fn honouring(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    for constraint in pod
        .spec
        .iter_mut()
        .flat_map(|spec| spec.topology_spread_constraints.iter_mut().flatten())
    {
        constraint.node_taints_policy = Some("Honor".to_owned());
    }
    pod
}

/// Returns true when another node can take the replacement while `home` is cordoned, as far as
/// spread, affinity, taints and labels decide. Free capacity is not checked.
fn fits(snapshot: &ClusterSnapshot, pod: &Pod, home: &str) -> bool {
    let ground = |node| SpreadNode {
        node,
        cordoned: rules::nodes::is_cordoned(node) || rules::nodes::name(node) == home,
    };
    let grounds: Vec<SpreadNode<'_>> = snapshot.nodes.iter().map(ground).collect();
    let by_name: HashMap<&str, &Node> = snapshot
        .nodes
        .iter()
        .map(|node| (rules::nodes::name(node), node))
        .collect();
    // Topology spread counts only pods of the same namespace.
    let near = snapshot.pods_in(pods::namespace(pod));
    let placed = near.filter_map(|other| {
        let node = *by_name.get(pods::node_of(other)?)?;
        // A drain evicts all of them; the replacement of the last one is the one that is stuck.
        let leaving = rules::nodes::name(node) == home && owner_uid(other) == owner_uid(pod);
        Some(PlacedPod {
            pod: other,
            node,
            leaving,
        })
    });
    let placed: Vec<PlacedPod<'_>> = placed.collect();
    let state = AffinityState::new(pod, &grounds, &placed, &|_| None);
    let open = grounds
        .iter()
        .filter(|ground| !ground.cordoned && pods::node_is_ready(ground.node));
    open.filter(|ground| rules::fit::admits(ground.node, pod).is_ok())
        .any(|ground| state.allows(ground.node).is_ok())
}

fn owner_uid(pod: &Pod) -> Option<&str> {
    pods::controller_of(pod).map(|owner| owner.uid.as_str())
}
