//! One topology spread constraint with `DoNotSchedule`: how many pods each domain has.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::{Node, Pod, Taint, TopologySpreadConstraint};

use super::term::narrowed;
use super::{PlacedPod, SpreadNode, domain};
use crate::fit::{self, Unschedulable};
use crate::nodes;
use crate::pods::{is_finished, is_terminating, namespace};
use crate::selector::Selector;

/// The counts of one constraint.
#[derive(Clone, Debug)]
pub(super) struct SpreadState<'a> {
    topology_key: String,
    max_skew: i64,
    min_domains: Option<usize>,
    namespace: String,
    /// `None` for a selector that does not compile; the constraint then never holds.
    selector: Option<Selector>,
    /// 1 when the constraint counts its own pod. A pod outside of its own selector does not change
    /// the skew.
    own: i64,
    /// The names of the nodes that the constraint counts.
    counted: HashSet<&'a str>,
    /// The number of pods in each domain of these nodes.
    domains: HashMap<&'a str, i64>,
    /// The number of pods on each of the other nodes.
    elsewhere: HashMap<&'a str, i64>,
    /// The smallest number in `domains`.
    least: i64,
}

impl<'a> SpreadState<'a> {
    pub(super) fn new(
        constraint: &TopologySpreadConstraint,
        pod: &Pod,
        all_nodes: &[SpreadNode<'a>],
    ) -> Self {
        let keys = constraint.match_label_keys.as_deref();
        let selector = narrowed(constraint.label_selector.as_ref(), pod, keys, None);
        let selects_own = selector
            .as_ref()
            .is_some_and(|selector| selector.matches(pod.metadata.labels.as_ref()));
        let (mut counted, mut domains) = (HashSet::new(), HashMap::new());
        for spread_node in all_nodes {
            if let Some(there) = domain(spread_node.node, &constraint.topology_key)
                && counts_node(constraint, pod, *spread_node)
            {
                domains.entry(there).or_insert(0);
                counted.insert(nodes::name(spread_node.node));
            }
        }
        Self {
            topology_key: constraint.topology_key.clone(),
            max_skew: i64::from(constraint.max_skew),
            min_domains: constraint
                .min_domains
                .and_then(|least| usize::try_from(least).ok()),
            namespace: namespace(pod).to_owned(),
            selector,
            own: i64::from(selects_own),
            counted,
            domains,
            elsewhere: HashMap::new(),
            least: 0,
        }
    }

    /// Counts a pod, `by` times. [`SpreadState::settle`] must follow.
    pub(super) fn count(&mut self, other: &PlacedPod<'a>, by: i64) {
        let is_counted = !(other.leaving || is_finished(other.pod) || is_terminating(other.pod))
            && namespace(other.pod) == self.namespace
            && self
                .selector
                .as_ref()
                .is_some_and(|selector| selector.matches(other.pod.metadata.labels.as_ref()));
        if !is_counted {
            return;
        }
        let Some(there) = domain(other.node, &self.topology_key) else {
            return;
        };
        let name = nodes::name(other.node);
        if self.counted.contains(name) {
            *self.domains.entry(there).or_default() += by;
        } else {
            *self.elsewhere.entry(name).or_default() += by;
        }
    }

    /// Brings the smallest number up to date.
    pub(super) fn settle(&mut self) {
        self.least = self.domains.values().copied().min().unwrap_or_default();
    }

    /// Checks whether the constraint holds with the pod on `node`.
    pub(super) fn allows(&self, node: &Node) -> Result<(), Unschedulable> {
        let Some(here) = domain(node, &self.topology_key) else {
            return Err(Unschedulable::unresolvable(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            ));
        };
        let refusal =
            || Unschedulable::resolvable("node(s) didn't match pod topology spread constraints");
        if self.selector.is_none() {
            return Err(refusal());
        }
        let known = self.domains.get(here).copied();
        let is_counted = self.counted.contains(nodes::name(node));
        // The candidate always counts, even if its taints or affinity would exclude it.
        let extra = match is_counted {
            true => 0,
            false => self
                .elsewhere
                .get(nodes::name(node))
                .copied()
                .unwrap_or_default(),
        };
        let found = known.unwrap_or_default() + extra;
        let domains = self.domains.len() + usize::from(known.is_none());
        let least = if self.min_domains.is_some_and(|wanted| domains < wanted) {
            // Too few domains: the missing ones count as empty, which forces pods onto new domains.
            0
        } else if is_counted {
            self.least
        } else {
            let others = self.domains.iter().filter(|(there, _)| **there != here);
            others.map(|(_, count)| *count).fold(found, i64::min)
        };
        if found + self.own - least <= self.max_skew {
            Ok(())
        } else {
            Err(refusal())
        }
    }
}

/// Returns whether the constraint counts this node. By default a node counts if the pod's node
/// affinity matches it, even while it is cordoned: a drained node is a domain without pods.
fn counts_node(
    constraint: &TopologySpreadConstraint,
    pod: &Pod,
    SpreadNode { node, cordoned }: SpreadNode<'_>,
) -> bool {
    let honours = |policy: &Option<String>, by_default: bool| {
        policy
            .as_deref()
            .map_or(by_default, |policy| policy == "Honor")
    };
    let wanted = pod
        .spec
        .as_ref()
        .is_none_or(|spec| nodes::matches_affinity(spec, node));
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref());
    let repels = |taint: &Taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !nodes::tolerates(tolerations, taint)
    };
    let shut = nodes::taints(node).any(repels) || (cordoned && repels(&fit::cordon_taint()));
    (wanted || !honours(&constraint.node_affinity_policy, true))
        && !(shut && honours(&constraint.node_taints_policy, false))
}
