//! Constraints between pods: required affinity and anti-affinity, and topology spread with
//! `DoNotSchedule`; and what pods prefer about their neighbours.
//!
//! The logic, the order and the messages are those of the scheduler's filters `PodTopologySpread`
//! and `InterPodAffinity`. An [`AffinityState`] counts all placed pods once for the pod that is to
//! be scheduled; then each node is checked in time that does not depend on the number of pods.

mod preference;
mod spread;
mod term;

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm, TopologySpreadConstraint};

use crate::fit::Unschedulable;
use crate::pods::is_finished;
pub use preference::PreferenceState;
use spread::SpreadState;
use term::CompiledTerm;

/// Returns the labels of a namespace by its name; `None` where they are not known. Terms that
/// select namespaces by labels select none that is not known.
pub type NamespaceLabels<'a> = dyn Fn(&str) -> Option<BTreeMap<String, String>> + 'a;

/// Returns whether the pod constrains where it may run relative to other pods. If neither it nor
/// any other pod does, no state is needed.
#[must_use]
pub fn has_constraints(pod: &Pod) -> bool {
    keeps_others_away(pod)
        || required(pod, Side::With).next().is_some()
        || hard_spread(pod).next().is_some()
}

/// Returns whether the pod has required anti-affinity, which concerns pods that come later even if
/// they have no constraints.
#[must_use]
pub fn keeps_others_away(pod: &Pod) -> bool {
    required(pod, Side::Anti).next().is_some()
}

/// Returns whether the pod prefers some neighbours or domains to others.
#[must_use]
pub fn has_preferences(pod: &Pod) -> bool {
    preference::is_any(pod)
}

/// A node, as topology spread counts it.
#[derive(Clone, Copy, Debug)]
pub struct SpreadNode<'a> {
    /// The node.
    pub node: &'a Node,
    /// True if the node takes no new pods, in the cluster or in a simulation.
    pub cordoned: bool,
}

/// A pod on a node.
#[derive(Clone, Copy, Debug)]
pub struct PlacedPod<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The node that it runs on.
    pub node: &'a Node,
    /// True if the pod is about to leave. Anti-affinity still keeps away from it; topology spread
    /// no longer counts it.
    pub leaving: bool,
}

/// A term with the number of pods that it selects in each domain.
#[derive(Clone, Debug)]
struct TermState {
    term: CompiledTerm,
    domains: HashMap<String, usize>,
}

/// What the constraints of a pod, and those of the pods around it, say about nodes.
#[derive(Clone)]
pub struct AffinityState<'a> {
    pod: &'a Pod,
    labels_of: &'a NamespaceLabels<'a>,
    with: Vec<TermState>,
    anti: Vec<TermState>,
    /// The number of placed pods that keep the pod away from a domain, by topology key.
    kept_away: BTreeMap<String, HashMap<String, usize>>,
    spread: Vec<SpreadState<'a>>,
}

impl std::fmt::Debug for AffinityState<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AffinityState")
            .field("with", &self.with)
            .field("anti", &self.anti)
            .field("kept_away", &self.kept_away)
            .field("spread", &self.spread)
            .finish_non_exhaustive()
    }
}

impl<'a> AffinityState<'a> {
    /// Counts the pods `placed` for `pod`, in time linear in nodes and pods. `all_nodes` are all
    /// nodes of the cluster, because topology spread counts nodes without pods, too.
    #[must_use]
    pub fn new(
        pod: &'a Pod,
        all_nodes: &[SpreadNode<'a>],
        placed: &[PlacedPod<'a>],
        labels_of: &'a NamespaceLabels<'a>,
    ) -> Self {
        let compiled = |side| {
            let terms = required(pod, side).map(|term| TermState {
                term: CompiledTerm::new(term, pod),
                domains: HashMap::new(),
            });
            terms.collect()
        };
        let spread = hard_spread(pod);
        let mut state = Self {
            pod,
            labels_of,
            with: compiled(Side::With),
            anti: compiled(Side::Anti),
            kept_away: BTreeMap::new(),
            spread: spread
                .map(|constraint| SpreadState::new(constraint, pod, all_nodes))
                .collect(),
        };
        for other in placed {
            state.count(other, true);
        }
        state.spread.iter_mut().for_each(SpreadState::settle);
        state
    }

    /// Counts one more pod.
    pub fn enter(&mut self, other: &PlacedPod<'a>) {
        self.count(other, true);
        self.spread.iter_mut().for_each(SpreadState::settle);
    }

    /// Stops counting a pod that was counted.
    pub fn leave(&mut self, other: &PlacedPod<'a>) {
        self.count(other, false);
        self.spread.iter_mut().for_each(SpreadState::settle);
    }

    fn count(&mut self, other: &PlacedPod<'a>, enters: bool) {
        for spread in &mut self.spread {
            spread.count(other, if enters { 1 } else { -1 });
        }
        if is_finished(other.pod) {
            return;
        }
        // As upstream, a pod counts only if all terms select it.
        let is_followed = !self.with.is_empty() && self.follows(other.pod);
        for state in self.with.iter_mut().filter(|_| is_followed) {
            change(
                &mut state.domains,
                &state.term.topology_key,
                other.node,
                enters,
            );
        }
        for state in &mut self.anti {
            if state.term.selects(other.pod, self.labels_of) {
                change(
                    &mut state.domains,
                    &state.term.topology_key,
                    other.node,
                    enters,
                );
            }
        }
        for term in required(other.pod, Side::Anti) {
            let compiled = CompiledTerm::new(term, other.pod);
            if compiled.selects(self.pod, self.labels_of) {
                let domains = self.kept_away.entry(compiled.topology_key).or_default();
                change(domains, &term.topology_key, other.node, enters);
            }
        }
    }

    /// Returns whether all affinity terms of the pod select another one.
    fn follows(&self, other: &Pod) -> bool {
        let mut terms = self.with.iter();
        terms.all(|state| state.term.selects(other, self.labels_of))
    }

    /// Checks whether the pod may run on `node` beside the counted pods.
    ///
    /// # Errors
    /// The first constraint, of this pod or of another, that is violated.
    pub fn allows(&self, node: &Node) -> Result<(), Unschedulable> {
        for spread in &self.spread {
            spread.allows(node)?;
        }
        let count = |state: &TermState| {
            let here = domain(node, &state.term.topology_key);
            here.and_then(|here| state.domains.get(here))
                .copied()
                .unwrap_or_default()
        };
        let in_domains = || {
            let mut terms = self.with.iter();
            terms.all(|state| domain(node, &state.term.topology_key).is_some())
        };
        // The first pod of a group with affinity to itself may go anywhere; the others follow it.
        let is_first = || {
            let mut terms = self.with.iter();
            terms.all(|state| state.domains.is_empty()) && self.follows(self.pod) && in_domains()
        };
        if !self.with.iter().all(|state| count(state) > 0) && !is_first() {
            return Err(Unschedulable::unresolvable(
                "node(s) didn't match pod affinity rules",
            ));
        }
        if self.anti.iter().any(|state| count(state) > 0) {
            return Err(Unschedulable::resolvable(
                "node(s) didn't match pod anti-affinity rules",
            ));
        }
        let is_kept_away = self.kept_away.iter().any(|(key, domains)| {
            let here = domain(node, key);
            here.is_some_and(|here| domains.contains_key(here))
        });
        if is_kept_away {
            return Err(Unschedulable::resolvable(
                "node(s) didn't satisfy existing pods anti-affinity rules",
            ));
        }
        Ok(())
    }
}

/// Counts one pod more or less in the domain of its node.
fn change(domains: &mut HashMap<String, usize>, key: &str, node: &Node, enters: bool) {
    let Some(there) = domain(node, key) else {
        return;
    };
    if enters {
        *domains.entry(there.to_owned()).or_default() += 1;
    } else if let Some(count) = domains.get_mut(there) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            domains.remove(there);
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    With,
    Anti,
}

fn required(pod: &Pod, side: Side) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let terms = affinity.and_then(|affinity| match side {
        Side::With => affinity
            .pod_affinity
            .as_ref()?
            .required_during_scheduling_ignored_during_execution
            .as_ref(),
        Side::Anti => affinity
            .pod_anti_affinity
            .as_ref()?
            .required_during_scheduling_ignored_during_execution
            .as_ref(),
    });
    terms.into_iter().flatten()
}

fn domain<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn spread_constraints(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.topology_spread_constraints.iter().flatten())
}

/// Returns the topology spread constraints that forbid scheduling.
pub fn hard_spread(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    spread_constraints(pod).filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
}

/// Returns the topology spread constraints that only affect the choice among the nodes that fit.
fn soft_spread(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    spread_constraints(pod).filter(|constraint| constraint.when_unsatisfiable != "DoNotSchedule")
}

#[cfg(test)]
mod tests;
