//! What pods demand of each other before they share a node or a zone: required affinity and
//! anti-affinity, and hard topology spread, in the words of upstream's filters.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm, Taint, TopologySpreadConstraint};

use crate::fit::{self, Unschedulable};
use crate::nodes;
use crate::pods::{is_finished, is_terminating, namespace};
use crate::selector::Selector;

/// True when the pod demands anything of other pods; without it, and without others that do, there
/// is nothing to ask.
#[must_use]
pub fn demands(pod: &Pod) -> bool {
    required(pod, Side::Anti).next().is_some()
        || required(pod, Side::With).next().is_some()
        || hard_spread(pod).next().is_some()
}

/// A node as spread counts it.
#[derive(Clone, Copy, Debug)]
pub struct SpreadNode<'a> {
    /// The node.
    pub node: &'a Node,
    /// It takes no new pods, now or in what is being thought through.
    pub cordoned: bool,
}

/// A pod that is somewhere.
#[derive(Clone, Copy, Debug)]
pub struct PlacedPod<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its node.
    pub node: &'a Node,
    /// It is on its way out: others still keep away from it, and spread counts it no more.
    pub leaving: bool,
}

/// Whether the pod may go to `node` with all these pods where they are. `grounds` are all nodes of
/// the cluster, since hard spread counts those without pods, too.
///
/// # Errors
/// The first demand, of this pod or of another, that would not be met.
pub fn agree(
    pod: &Pod,
    node: &Node,
    grounds: &[SpreadNode<'_>],
    placed: &[PlacedPod<'_>],
) -> Result<(), Unschedulable> {
    let others = || placed.iter().filter(|other| !is_finished(other.pod));
    let shares = |key: &str, other: &Node| {
        domain(node, key).is_some_and(|here| domain(other, key) == Some(here))
    };
    if others().any(|other| {
        required(other.pod, Side::Anti)
            .any(|term| means(term, other.pod, pod) && shares(&term.topology_key, other.node))
    }) {
        return Err(Unschedulable::resolvable(
            "node(s) didn't satisfy existing pods anti-affinity rules",
        ));
    }
    if required(pod, Side::Anti).any(|term| {
        others().any(|other| means(term, pod, other.pod) && shares(&term.topology_key, other.node))
    }) {
        return Err(Unschedulable::resolvable(
            "node(s) didn't match pod anti-affinity rules",
        ));
    }
    let met = |term: &PodAffinityTerm| {
        others().any(|other| means(term, pod, other.pod) && shares(&term.topology_key, other.node))
    };
    // The first pod of a group that wants to be together may go anywhere: it is what the others
    // will follow.
    let is_first = |term: &PodAffinityTerm| {
        means(term, pod, pod) && !others().any(|other| means(term, pod, other.pod))
    };
    if required(pod, Side::With)
        .any(|term| domain(node, &term.topology_key).is_none() || !(met(term) || is_first(term)))
    {
        return Err(Unschedulable::unresolvable(
            "node(s) didn't match pod affinity rules",
        ));
    }
    if hard_spread(pod).any(|constraint| !spreads(constraint, pod, node, grounds, placed)) {
        return Err(Unschedulable::resolvable(
            "node(s) didn't match pod topology spread constraints",
        ));
    }
    Ok(())
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

/// Whether a term of `owner` means `other`. Without namespaces it means those of its own; a
/// selector of namespaces needs their labels, which are not known here, so only the empty one (all)
/// counts.
fn means(term: &PodAffinityTerm, owner: &Pod, other: &Pod) -> bool {
    let listed = term.namespaces.as_deref().unwrap_or_default();
    let all = term.namespace_selector.as_ref().is_some_and(|selector| {
        Selector::compile(Some(selector)).is_ok_and(|selector| selector.is_empty())
    });
    let own = listed.is_empty()
        && term.namespace_selector.is_none()
        && namespace(owner) == namespace(other);
    (own || all || listed.iter().any(|name| name == namespace(other)))
        && Selector::compile(term.label_selector.as_ref())
            .is_ok_and(|selector| selector.matches(other.metadata.labels.as_ref()))
}

/// The pod's constraints of topology spread that forbid and do not merely wish.
pub fn hard_spread(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let constraints = pod
        .spec
        .iter()
        .flat_map(|spec| spec.topology_spread_constraints.iter().flatten());
    constraints.filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
}

/// Whether the constraint counts this node. Unless it says otherwise, a node counts when the pod's
/// node affinity wants it, and even while it is cordoned: an emptied node is then a domain with no
/// pods.
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
        .is_none_or(|spec| nodes::is_wanted(spec, node));
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref());
    let repels = |taint: &Taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !nodes::tolerates(tolerations, taint)
    };
    let shut = nodes::taints(node).any(repels) || (cordoned && repels(&fit::cordon_taint()));
    (wanted || !honours(&constraint.node_affinity_policy, true))
        && !(shut && honours(&constraint.node_taints_policy, false))
}

/// Whether the constraint still holds with the pod on `node`.
fn spreads(
    constraint: &TopologySpreadConstraint,
    pod: &Pod,
    node: &Node,
    grounds: &[SpreadNode<'_>],
    placed: &[PlacedPod<'_>],
) -> bool {
    let Some(here) = domain(node, &constraint.topology_key) else {
        return false;
    };
    let Ok(selector) = Selector::compile(constraint.label_selector.as_ref()) else {
        return false;
    };
    let counts = |other: &PlacedPod<'_>| {
        !(other.leaving || is_finished(other.pod) || is_terminating(other.pod))
            && namespace(other.pod) == namespace(pod)
            && selector.matches(other.pod.metadata.labels.as_ref())
    };
    let mut found: BTreeMap<&str, i32> = BTreeMap::from([(here, 0)]);
    let mut counted: BTreeSet<&str> = BTreeSet::from([nodes::name(node)]);
    for ground in grounds
        .iter()
        .filter(|ground| counts_node(constraint, pod, **ground))
    {
        if let Some(there) = domain(ground.node, &constraint.topology_key) {
            found.entry(there).or_default();
            counted.insert(nodes::name(ground.node));
        }
    }
    for other in placed
        .iter()
        .filter(|other| counted.contains(nodes::name(other.node)) && counts(other))
    {
        if let Some(there) = domain(other.node, &constraint.topology_key) {
            *found.entry(there).or_default() += 1;
        }
    }
    let enough = constraint
        .min_domains
        .is_none_or(|least| i32::try_from(found.len()).unwrap_or(i32::MAX) >= least);
    let least = if enough {
        found.values().copied().min().unwrap_or_default()
    } else {
        0
    };
    let own = i32::from(selector.matches(pod.metadata.labels.as_ref()));
    found[here] + own - least <= constraint.max_skew
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, zone: &str) -> Node {
        serde_json::from_value(
            json!({"metadata": {"name": name, "labels": {"host": name, "zone": zone}}}),
        )
        .expect("a node")
    }

    fn pod(app: &str, extra: Value) -> Pod {
        let mut spec = json!({"containers": []});
        spec.as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        serde_json::from_value(
            json!({"metadata": {"namespace": "n", "labels": {"app": app}}, "spec": spec}),
        )
        .expect("a pod")
    }

    fn term(side: &str, app: &str, key: &str) -> Value {
        let term = json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key});
        json!({"affinity": {side: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
    }

    fn ground(node: &Node, cordoned: bool) -> SpreadNode<'_> {
        SpreadNode { node, cordoned }
    }

    fn check(pod: &Pod, node: &Node, placed: &[(&Pod, &Node)], refusal: Option<&str>) {
        let mut grounds: Vec<SpreadNode<'_>> =
            placed.iter().map(|(_, at)| ground(at, false)).collect();
        grounds.push(ground(node, false));
        let placed: Vec<PlacedPod<'_>> = placed
            .iter()
            .map(|(pod, node)| PlacedPod {
                pod,
                node,
                leaving: false,
            })
            .collect();
        let found = agree(pod, node, &grounds, &placed)
            .err()
            .map(|refusal| refusal.reasons[0].clone());
        assert_eq!(found.as_deref(), refusal);
    }

    #[test]
    fn pods_keep_apart_when_either_of_them_demands_it() {
        let (a, b, c) = (node("a", "1"), node("b", "1"), node("c", "2"));
        let loner = pod("web", term("podAntiAffinity", "web", "zone"));
        let other = pod("web", json!({}));
        check(
            &loner,
            &b,
            &[(&other, &a)],
            Some("node(s) didn't match pod anti-affinity rules"),
        );
        check(
            &other,
            &b,
            &[(&loner, &a)],
            Some("node(s) didn't satisfy existing pods anti-affinity rules"),
        );
        check(&loner, &c, &[(&other, &a)], None);
        check(&pod("db", json!({})), &b, &[(&loner, &a)], None);
        assert!(demands(&loner) && !demands(&other));
    }

    #[test]
    fn pods_follow_those_with_which_they_want_to_be() {
        let (a, b) = (node("a", "1"), node("b", "2"));
        let db = pod("db", json!({}));
        let web = pod("web", term("podAffinity", "db", "zone"));
        check(&web, &a, &[(&db, &a)], None);
        check(
            &web,
            &b,
            &[(&db, &a)],
            Some("node(s) didn't match pod affinity rules"),
        );
        check(
            &pod("web", term("podAffinity", "web", "zone")),
            &b,
            &[(&db, &a)],
            None,
        );
    }

    #[test]
    fn hard_spread_holds_the_skew() {
        let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}}]});
        let (a, b) = (node("a", "1"), node("b", "2"));
        let (web, bystander) = (pod("web", spread), pod("db", json!({})));
        check(
            &web,
            &a,
            &[(&web, &a), (&bystander, &b)],
            Some("node(s) didn't match pod topology spread constraints"),
        );
        check(&web, &b, &[(&web, &a), (&bystander, &b)], None);
    }
    #[test]
    fn hard_spread_counts_an_emptied_node_unless_it_honours_the_taint_of_its_cordon() {
        let web = |policy: &str| {
            let constraint = json!({"maxSkew": 1, "topologyKey": "host", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}}, "nodeTaintsPolicy": policy});
            pod("web", json!({"topologySpreadConstraints": [constraint]}))
        };
        let (a, b, c) = (node("a", "1"), node("b", "1"), node("c", "1"));
        let agrees = |policy: &str, cordoned: bool| {
            let (new, old) = (web(policy), web(policy));
            let grounds = [ground(&a, cordoned), ground(&b, false), ground(&c, false)];
            // The one that leaves its node has stopped to count there.
            let on = |node, leaving| PlacedPod {
                pod: &old,
                node,
                leaving,
            };
            agree(
                &new,
                &b,
                &grounds,
                &[on(&a, true), on(&b, false), on(&c, false)],
            )
            .is_ok()
        };
        assert!(!agrees("Ignore", true) && agrees("Honor", true) && !agrees("Honor", false));
    }
}
