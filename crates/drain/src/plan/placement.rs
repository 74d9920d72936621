//! Schedules replacements in the model, by the filters of the scheduler and with its messages.

use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use rules::{affinity, fit, nodes};

use super::model::{ClusterModel, ModelNode, ModelPod, ModelPodState};
use super::timing::Millis;

impl<'a> ClusterModel<'a> {
    /// Schedules a pending pod at `now`. When no node can take it, the pod stays pending and keeps
    /// the reasons.
    pub(super) fn place(&mut self, pod: usize, now: Millis) {
        match self.choose(&self.pods[pod]) {
            Ok(node) => {
                let ready = now.saturating_add(self.pods[pod].start);
                self.pods[pod].node = Some(node);
                self.pods[pod].refusals.clear();
                self.set(pod, ModelPodState::Starting(ready));
            }
            Err(refusals) => self.pods[pod].refusals = refusals,
        }
    }

    /// Returns the node with the fewest siblings and then the least load, or the reasons of all
    /// nodes with their number.
    fn choose(&self, pod: &ModelPod<'_>) -> Result<usize, Vec<(String, usize)>> {
        let (mut grounds, mut neighbours) = (Vec::new(), Vec::new());
        if self.has_affinity {
            neighbours = self.neighbours(pod);
            grounds = self
                .nodes
                .iter()
                .map(|node| affinity::SpreadNode {
                    node: node.object,
                    cordoned: node.is_closed,
                })
                .collect();
        }
        let state = self
            .has_affinity
            .then(|| affinity::AffinityState::new(pod.object, &grounds, &neighbours, &|_| None));
        let mut refusals: Vec<(String, usize)> = Vec::new();
        let mut best: Option<((usize, i64), usize)> = None;
        for (index, node) in self.nodes.iter().enumerate() {
            match self.check(pod, node, state.as_ref()) {
                Ok(()) => {
                    let score = (self.siblings(pod, node), load(pod, node));
                    if best.is_none_or(|(known, _)| score < known) {
                        best = Some((score, index));
                    }
                }
                Err(reason) => match refusals.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, count)) => *count += 1,
                    None => refusals.push((reason, 1)),
                },
            }
        }
        refusals.sort();
        best.map(|(_, index)| index).ok_or(refusals)
    }

    fn check(
        &self,
        pod: &ModelPod<'_>,
        node: &ModelNode<'_>,
        state: Option<&affinity::AffinityState<'_>>,
    ) -> Result<(), String> {
        let first =
            |refusal: fit::Unschedulable| refusal.reasons.into_iter().next().unwrap_or_default();
        if node.is_closed {
            return Err("node(s) were unschedulable".to_owned());
        }
        fit::admits(node.object, pod.object).map_err(first)?;
        if pod
            .volumes
            .iter()
            .any(|volume| !is_reachable(volume, node.object))
        {
            return Err("node(s) didn't match PersistentVolume's node affinity".to_owned());
        }
        let others = node.pods.iter().map(|other| self.pods[*other].object);
        fit::has_ports(others, pod.object).map_err(first)?;
        fit::has_room(
            &node.allocatable,
            &node.used,
            node.pods.len(),
            &pod.requests,
        )
        .map_err(first)?;
        state.map_or(Ok(()), |state| state.allows(node.object).map_err(first))
    }

    /// Returns the pods whose nodes matter: all pods when this one has affinity or spread
    /// constraints, else only pods that have some themselves.
    fn neighbours(&self, pod: &ModelPod<'_>) -> Vec<affinity::PlacedPod<'a>> {
        let all = affinity::has_constraints(pod.object);
        self.pods
            .iter()
            .filter(|other| {
                other.state.uses_node() && (all || affinity::has_constraints(other.object))
            })
            .filter_map(|other| {
                Some(affinity::PlacedPod {
                    pod: other.object,
                    node: self.nodes[other.node?].object,
                    leaving: matches!(other.state, ModelPodState::Terminating(_)),
                })
            })
            .collect()
    }

    fn siblings(&self, pod: &ModelPod<'_>, node: &ModelNode<'_>) -> usize {
        let is_sibling =
            |other: &&usize| !pod.owner.is_empty() && self.pods[**other].owner == pod.owner;
        node.pods.iter().filter(is_sibling).count()
    }
}

/// Returns the share of CPU and memory that is used with the pod on the node, in thousandths.
fn load(pod: &ModelPod<'_>, node: &ModelNode<'_>) -> i64 {
    let of = |name: &str| {
        let allocatable = node.allocatable.get(name);
        let used = node.used.get(name) + pod.requests.get(name);
        if allocatable > 0 {
            used.saturating_mul(1000) / allocatable
        } else {
            0
        }
    };
    of("cpu") + of("memory")
}

fn is_reachable(volume: &PersistentVolume, node: &Node) -> bool {
    let required = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    required.is_none_or(|required| nodes::matches(required, node))
}

/// Formats reasons with their numbers of nodes as the scheduler does.
pub(super) fn describe(refusals: &[(String, usize)]) -> String {
    let nodes: usize = refusals.iter().map(|(_, count)| count).sum();
    if nodes == 0 {
        return "the cluster has no nodes".to_owned();
    }
    let reasons: Vec<String> = refusals
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    format!("0/{nodes} nodes are available: {}", reasons.join(", "))
}
