//! Hard topology spread that counts a node even while it is cordoned: the node that was emptied is
//! a domain with no pods, so no other may take more, and the budget waits for a successor that
//! finds no place.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use rules::affinity::{PlacedPod, SpreadNode, agree, hard_spread};

use super::Problem;
use crate::cluster::Snapshot;
use crate::{budget, health};

/// Tells a pod whose successor finds no node while this one is cordoned, and would find one if its
/// constraints honoured the taint of the cordon.
pub(super) fn problem(snapshot: &Snapshot, pod: &Pod) -> Option<Problem> {
    let home = health::node_of(pod)?;
    let constraint = hard_spread(pod).next()?;
    if fits(snapshot, pod, home) || !fits(snapshot, &honouring(pod), home) {
        return None;
    }
    let waits = budget::selecting(snapshot, pod);
    let waits = waits
        .first()
        .map(|found| format!(", and budget {} waits for it", budget::name(found)))
        .unwrap_or_default();
    let key = &constraint.topology_key;
    let text = format!(
        "its spread over {key} (maxSkew {}) counts {home} even while it is cordoned: its successor finds no node{waits}; \
         nodeTaintsPolicy: Honor in the constraint would let it",
        constraint.max_skew
    );
    Some(Problem::blocking("spread-counts-cordoned", text))
}

/// The same pod with constraints that leave cordoned nodes out.
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

/// Whether some other node takes the successor while `home` is cordoned, by its spread and by what
/// it demands of nodes; room is not looked at.
fn fits(snapshot: &Snapshot, pod: &Pod, home: &str) -> bool {
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
    // Spread looks at no other namespace.
    let near = snapshot
        .pods
        .iter()
        .filter(|other| health::namespace(other) == health::namespace(pod));
    let placed = near.filter_map(|other| {
        let node = *by_name.get(health::node_of(other)?)?;
        // A drain takes all of them, and the last one is the one that is stuck.
        let leaving = rules::nodes::name(node) == home && owner(other) == owner(pod);
        Some(PlacedPod {
            pod: other,
            node,
            leaving,
        })
    });
    let placed: Vec<PlacedPod<'_>> = placed.collect();
    let open = grounds
        .iter()
        .filter(|ground| !ground.cordoned && health::node_is_ready(ground.node));
    open.filter(|ground| rules::fit::admits(ground.node, pod).is_ok())
        .any(|ground| agree(pod, ground.node, &grounds, &placed).is_ok())
}

fn owner(pod: &Pod) -> Option<&str> {
    health::controller_of(pod).map(|owner| owner.uid.as_str())
}
