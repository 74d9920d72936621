//! What a pod prefers about its neighbours: preferred affinity and anti-affinity, and topology
//! spread with `ScheduleAnyway`. Preferences order the nodes that fit.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Node, Pod, WeightedPodAffinityTerm};

use super::term::{CompiledTerm, narrowed};
use super::{NamespaceLabels, PlacedPod, domain, soft_spread};
use crate::pods::{is_finished, is_terminating, namespace};
use crate::selector::Selector;

/// The preferences of one pod among placed pods.
#[derive(Clone, Debug, Default)]
pub struct PreferenceState {
    /// The weight of each domain, by topology key.
    weights: HashMap<String, HashMap<String, i64>>,
    /// The number of pods in each domain from which the pod would keep a distance, by topology key.
    crowds: HashMap<String, HashMap<String, i64>>,
}

impl PreferenceState {
    /// Counts the pods `placed`, in time linear in their number.
    #[must_use]
    pub fn new(pod: &Pod, placed: &[PlacedPod<'_>], labels_of: &NamespaceLabels<'_>) -> Self {
        let terms: Vec<(CompiledTerm, i64)> = preferred(pod)
            .map(|(term, sign)| {
                let compiled = CompiledTerm::new(&term.pod_affinity_term, pod);
                (compiled, sign * i64::from(term.weight))
            })
            .collect();
        let spreads: Vec<(&str, Selector)> = soft_spread(pod)
            .filter_map(|constraint| {
                let keys = constraint.match_label_keys.as_deref();
                let selector = narrowed(constraint.label_selector.as_ref(), pod, keys, None)?;
                Some((constraint.topology_key.as_str(), selector))
            })
            .collect();
        let mut out = Self::default();
        if terms.is_empty() && spreads.is_empty() {
            return out;
        }
        let mut add = |key: &str, node: &Node, by: i64, crowd: bool| {
            let Some(there) = domain(node, key) else {
                return;
            };
            let map = if crowd {
                &mut out.crowds
            } else {
                &mut out.weights
            };
            let domains = map.entry(key.to_owned()).or_default();
            *domains.entry(there.to_owned()).or_default() += by;
        };
        for other in placed.iter().filter(|other| !is_finished(other.pod)) {
            for (term, weight) in &terms {
                if term.selects(other.pod, labels_of) {
                    add(&term.topology_key, other.node, *weight, false);
                }
            }
            let stays = !is_terminating(other.pod) && namespace(other.pod) == namespace(pod);
            for (key, selector) in spreads.iter().filter(|_| stays) {
                if selector.matches(other.pod.metadata.labels.as_ref()) {
                    add(key, other.node, 1, true);
                }
            }
        }
        out
    }

    /// Returns the sum of the weights that speak for a node; negative if most speak against it.
    #[must_use]
    pub fn weight(&self, node: &Node) -> i64 {
        sum(&self.weights, node)
    }

    /// Returns the number of pods in the domains of a node from which the pod would keep a
    /// distance.
    #[must_use]
    pub fn crowd(&self, node: &Node) -> i64 {
        sum(&self.crowds, node)
    }
}

fn sum(counts: &HashMap<String, HashMap<String, i64>>, node: &Node) -> i64 {
    let found = counts.iter().filter_map(|(key, domains)| {
        let here = domain(node, key)?;
        domains.get(here).copied()
    });
    found.sum()
}

/// Returns the preferred terms, each with the sign of its weight.
fn preferred(pod: &Pod) -> impl Iterator<Item = (&WeightedPodAffinityTerm, i64)> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let with = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
    let with = with.and_then(|with| {
        with.preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let anti = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let anti = anti.and_then(|anti| {
        anti.preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let with = with.into_iter().flatten().map(|term| (term, 1));
    with.chain(anti.into_iter().flatten().map(|term| (term, -1)))
}

/// Returns whether the pod prefers something about its neighbours.
pub(super) fn is_any(pod: &Pod) -> bool {
    preferred(pod).next().is_some() || soft_spread(pod).next().is_some()
}
