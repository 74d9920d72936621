//! Constraints between pods: required affinity and anti-affinity, and topology spread with
//! `DoNotSchedule`.
//!
//! The logic and the messages are those of the scheduler's filters `InterPodAffinity` and
//! `PodTopologySpread`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm, Taint, TopologySpreadConstraint};

use crate::fit::{self, Unschedulable};
use crate::nodes;
use crate::pods::{is_finished, is_terminating, namespace};
use crate::selector::Selector;

/// Returns whether the pod constrains where it may run relative to other pods. If neither it nor
/// any other pod does, [`allows`] need not be called.
#[must_use]
pub fn has_constraints(pod: &Pod) -> bool {
    required(pod, Side::Anti).next().is_some()
        || required(pod, Side::With).next().is_some()
        || hard_spread(pod).next().is_some()
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

/// Checks whether the pod may run on `node` beside the pods `placed`. `all_nodes` are all nodes of
/// the cluster, because topology spread counts nodes without pods, too.
///
/// # Errors
/// The first constraint, of this pod or of another, that is violated.
pub fn allows(
    pod: &Pod,
    node: &Node,
    all_nodes: &[SpreadNode<'_>],
    placed: &[PlacedPod<'_>],
) -> Result<(), Unschedulable> {
    let others = || placed.iter().filter(|other| !is_finished(other.pod));
    let shares = |key: &str, other: &Node| {
        domain(node, key).is_some_and(|here| domain(other, key) == Some(here))
    };
    if others().any(|other| {
        required(other.pod, Side::Anti)
            .any(|term| selects(term, other.pod, pod) && shares(&term.topology_key, other.node))
    }) {
        return Err(Unschedulable::resolvable(
            "node(s) didn't satisfy existing pods anti-affinity rules",
        ));
    }
    if required(pod, Side::Anti).any(|term| {
        others()
            .any(|other| selects(term, pod, other.pod) && shares(&term.topology_key, other.node))
    }) {
        return Err(Unschedulable::resolvable(
            "node(s) didn't match pod anti-affinity rules",
        ));
    }
    // As upstream, a pod counts only if all terms select it.
    let selects_all = |other: &Pod| required(pod, Side::With).all(|term| selects(term, pod, other));
    let met = |term: &PodAffinityTerm| {
        others().any(|other| shares(&term.topology_key, other.node) && selects_all(other.pod))
    };
    // The first pod of a group with affinity to itself may go anywhere; the others follow it.
    let is_first = || selects_all(pod) && !others().any(|other| selects_all(other.pod));
    let in_domains =
        required(pod, Side::With).all(|term| domain(node, &term.topology_key).is_some());
    if !(in_domains && (required(pod, Side::With).all(met) || is_first())) {
        return Err(Unschedulable::unresolvable(
            "node(s) didn't match pod affinity rules",
        ));
    }
    if hard_spread(pod).any(|constraint| !spreads(constraint, pod, node, all_nodes, placed)) {
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

/// Returns whether a term of `owner` selects `other`. Without namespaces a term selects in the
/// owner's namespace. A namespace selector needs the labels of namespaces, which are not known
/// here; so only the empty one, which selects all namespaces, is evaluated.
fn selects(term: &PodAffinityTerm, owner: &Pod, other: &Pod) -> bool {
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

/// Returns the topology spread constraints that forbid scheduling; others only affect scores.
pub fn hard_spread(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let constraints = pod
        .spec
        .iter()
        .flat_map(|spec| spec.topology_spread_constraints.iter().flatten());
    constraints.filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
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

/// Returns whether the constraint holds with the pod on `node`.
fn spreads(
    constraint: &TopologySpreadConstraint,
    pod: &Pod,
    node: &Node,
    all_nodes: &[SpreadNode<'_>],
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
    // The candidate always counts, even if its taints or affinity would exclude it.
    let mut counted: BTreeSet<&str> = BTreeSet::from([nodes::name(node)]);
    for spread_node in all_nodes
        .iter()
        .filter(|spread_node| counts_node(constraint, pod, **spread_node))
    {
        if let Some(there) = domain(spread_node.node, &constraint.topology_key) {
            found.entry(there).or_default();
            counted.insert(nodes::name(spread_node.node));
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
    // Too few domains: the missing ones count as empty, which forces pods onto new domains.
    let least = if enough {
        found.values().copied().min().unwrap_or_default()
    } else {
        0
    };
    // A pod outside of its own selector does not change the skew.
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

    fn spread_node(node: &Node, cordoned: bool) -> SpreadNode<'_> {
        SpreadNode { node, cordoned }
    }

    fn check(pod: &Pod, node: &Node, placed: &[(&Pod, &Node)], refusal: Option<&str>) {
        let mut nodes: Vec<SpreadNode<'_>> = placed
            .iter()
            .map(|(_, at)| spread_node(at, false))
            .collect();
        nodes.push(spread_node(node, false));
        let placed: Vec<PlacedPod<'_>> = placed
            .iter()
            .map(|(pod, node)| PlacedPod {
                pod,
                node,
                leaving: false,
            })
            .collect();
        let found = allows(pod, node, &nodes, &placed)
            .err()
            .map(|refusal| refusal.reasons[0].clone());
        assert_eq!(found.as_deref(), refusal);
    }

    #[test]
    fn a_pod_counts_for_affinity_only_if_all_terms_select_it() {
        let (a, b) = (node("a", "1"), node("b", "1"));
        let label = |key: &str| {
            json!({"labelSelector": {"matchExpressions": [{"key": key, "operator": "Exists"}]},
                "topologyKey": "zone"})
        };
        let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution":
            [label("app"), label("tier")]});
        let guest = pod("web", json!({"affinity": {"podAffinity": rule}}));
        let mut half = pod("db", json!({}));
        let refusal = Some("node(s) didn't match pod affinity rules");
        let mut other_half = half.clone();
        other_half.metadata.labels = Some([("tier".to_owned(), "x".to_owned())].into());
        check(&guest, &b, &[(&half, &a), (&other_half, &a)], refusal);
        half.metadata
            .labels
            .get_or_insert_default()
            .insert("tier".to_owned(), "x".to_owned());
        check(&guest, &b, &[(&half, &a)], None);
    }

    #[test]
    fn anti_affinity_of_either_pod_keeps_pods_apart() {
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
        assert!(has_constraints(&loner) && !has_constraints(&other));
    }

    #[test]
    fn affinity_needs_a_matching_pod_in_the_domain() {
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
        // The first pod of a group goes anywhere, the second to the first; a pod that is not of the
        // group that it follows waits for it.
        const AFFINITY: Option<&str> = Some("node(s) didn't match pod affinity rules");
        let follower = pod("web", term("podAffinity", "web", "zone"));
        check(&follower, &b, &[(&db, &a)], None);
        check(&follower, &b, &[(&follower, &a)], AFFINITY);
        check(&web, &a, &[], AFFINITY);
    }

    #[test]
    fn topology_spread_limits_the_skew() {
        let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule",
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
    fn topology_spread_counts_a_drained_node_unless_it_honours_taints() {
        let web = |policy: &str| {
            let constraint = json!({"maxSkew": 1, "topologyKey": "host",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}}, "nodeTaintsPolicy": policy});
            pod("web", json!({"topologySpreadConstraints": [constraint]}))
        };
        let (a, b, c) = (node("a", "1"), node("b", "1"), node("c", "1"));
        let agrees = |policy: &str, cordoned: bool| {
            let (new, old) = (web(policy), web(policy));
            let nodes = [
                spread_node(&a, cordoned),
                spread_node(&b, false),
                spread_node(&c, false),
            ];
            // The pod that leaves its node no longer counts there.
            let on = |node, leaving| PlacedPod {
                pod: &old,
                node,
                leaving,
            };
            allows(
                &new,
                &b,
                &nodes,
                &[on(&a, true), on(&b, false), on(&c, false)],
            )
            .is_ok()
        };
        assert!(!agrees("Ignore", true) && agrees("Honor", true) && !agrees("Honor", false));
    }

    #[test]
    fn topology_spread_that_honours_taints_leaves_out_nodes_that_the_pod_does_not_tolerate() {
        let tolerating = |key: &str| {
            changed(&spreading(json!({"nodeTaintsPolicy": "Honor"})), |pod| {
                pod["spec"]["tolerations"] = json!([{"key": key, "operator": "Exists"}]);
            })
        };
        let a = node("a", "1");
        let tainted = |effect: &str| {
            let mut node = node("b", "2");
            let taint = json!({"key": "k", "effect": effect});
            node.spec = serde_json::from_value(json!({"taints": [taint]})).expect("a spec");
            node
        };
        // The empty zone 2 counts, so that zone 1 is too full, unless its node is left out.
        let bystander = pod("db", json!({}));
        for (effect, tolerated, refusal) in [
            ("NoSchedule", "other", None),
            ("NoExecute", "other", None),
            ("NoSchedule", "k", Some(SPREAD)),
            ("PreferNoSchedule", "other", Some(SPREAD)),
        ] {
            let (web, b) = (tolerating(tolerated), tainted(effect));
            check(&web, &a, &[(&web, &a), (&bystander, &b)], refusal);
        }
        let (web, b) = (
            tolerating("node.kubernetes.io/unschedulable"),
            node("b", "2"),
        );
        let nodes = [spread_node(&a, false), spread_node(&b, true)];
        let placed = [PlacedPod {
            pod: &web,
            node: &a,
            leaving: false,
        }];
        assert!(
            allows(&web, &a, &nodes, &placed).is_err(),
            "a cordon is tolerated"
        );
    }

    const ANTI: &str = "node(s) didn't match pod anti-affinity rules";
    const SPREAD: &str = "node(s) didn't match pod topology spread constraints";

    fn changed(pod: &Pod, change: impl FnOnce(&mut Value)) -> Pod {
        let mut value = serde_json::to_value(pod).expect("a value");
        change(&mut value);
        serde_json::from_value(value).expect("a pod")
    }

    #[test]
    fn a_term_selects_in_its_own_namespace_unless_it_names_others() {
        let (a, b) = (node("a", "1"), node("b", "1"));
        let loner = pod("web", term("podAntiAffinity", "web", "zone"));
        let elsewhere = changed(&pod("web", json!({})), |pod| {
            pod["metadata"]["namespace"] = json!("m");
        });
        let naming = |key: &str, value: Value| {
            changed(&loner, |pod| {
                let anti = &mut pod["spec"]["affinity"]["podAntiAffinity"];
                anti["requiredDuringSchedulingIgnoredDuringExecution"][0][key] = value;
            })
        };
        check(&loner, &b, &[(&elsewhere, &a)], None);
        check(
            &naming("namespaces", json!(["m"])),
            &b,
            &[(&elsewhere, &a)],
            Some(ANTI),
        );
        check(
            &naming("namespaces", json!(["x"])),
            &b,
            &[(&elsewhere, &a)],
            None,
        );
        check(
            &naming("namespaceSelector", json!({})),
            &b,
            &[(&elsewhere, &a)],
            Some(ANTI),
        );
        let labelled = json!({"matchLabels": {"team": "t"}});
        check(
            &naming("namespaceSelector", labelled),
            &b,
            &[(&elsewhere, &a)],
            None,
        );
        // Naming other namespaces leaves the own one out.
        check(
            &naming("namespaces", json!(["m"])),
            &b,
            &[(&pod("web", json!({})), &a)],
            None,
        );
    }

    #[test]
    fn finished_pods_keep_nobody_away_and_nodes_without_the_label_share_no_domain() {
        let (a, b) = (node("a", "1"), node("b", "1"));
        let loner = pod("web", term("podAntiAffinity", "web", "zone"));
        let finished = changed(&loner, |pod| pod["status"]["phase"] = json!("Succeeded"));
        check(&loner, &b, &[(&finished, &a)], None);
        let bare = Node::default();
        check(&loner, &bare, &[(&loner, &bare)], None);
        let follower = pod("web", term("podAffinity", "web", "zone"));
        check(
            &follower,
            &bare,
            &[],
            Some("node(s) didn't match pod affinity rules"),
        );
    }

    fn spreading(extra: Value) -> Pod {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}}});
        constraint
            .as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        pod("web", json!({"topologySpreadConstraints": [constraint]}))
    }

    #[test]
    fn topology_spread_counts_only_living_pods_of_its_namespace() {
        let (a, b) = (node("a", "1"), node("b", "2"));
        let web = spreading(json!({}));
        let ignored = [
            changed(&web, |pod| pod["metadata"]["namespace"] = json!("m")),
            changed(&web, |pod| pod["status"]["phase"] = json!("Failed")),
            changed(&web, |pod| {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }),
        ];
        let bystander = pod("db", json!({}));
        check(&web, &a, &[(&web, &a), (&bystander, &b)], Some(SPREAD));
        for other in &ignored {
            check(&web, &a, &[(other, &a), (&bystander, &b)], None);
        }
        check(&web, &Node::default(), &[(&bystander, &a)], Some(SPREAD));
        let soft = spreading(json!({"whenUnsatisfiable": "ScheduleAnyway"}));
        check(&soft, &a, &[(&web, &a), (&bystander, &b)], None);
        assert!(has_constraints(&web) && !has_constraints(&soft));
        assert!(has_constraints(&pod(
            "web",
            term("podAffinity", "web", "zone")
        )));
    }

    #[test]
    fn too_few_domains_count_as_an_empty_one() {
        let (a, b) = (node("a", "1"), node("b", "2"));
        let three = spreading(json!({"minDomains": 3}));
        let two = spreading(json!({"minDomains": 2}));
        check(&two, &a, &[(&two, &a), (&two, &b)], None);
        check(&three, &a, &[(&two, &a), (&two, &b)], Some(SPREAD));
    }

    #[test]
    fn a_larger_skew_and_a_pod_outside_of_its_own_selector_have_room() {
        let (a, b) = (node("a", "1"), node("b", "2"));
        let bystander = pod("db", json!({}));
        let wide = spreading(json!({"maxSkew": 2}));
        check(&wide, &a, &[(&wide, &a), (&bystander, &b)], None);
        check(
            &wide,
            &a,
            &[(&wide, &a), (&wide, &a), (&bystander, &b)],
            Some(SPREAD),
        );
        let outside = spreading(json!({"labelSelector": {"matchLabels": {"app": "db"}}}));
        check(&outside, &a, &[(&bystander, &a), (&wide, &b)], None);
    }

    #[test]
    fn topology_spread_leaves_out_nodes_that_node_affinity_excludes() {
        let (a, b) = (node("a", "1"), node("b", "2"));
        let bystander = pod("db", json!({}));
        let pinned = |policy: &str| {
            changed(&spreading(json!({"nodeAffinityPolicy": policy})), |pod| {
                pod["spec"]["nodeSelector"] = json!({"zone": "1"});
            })
        };
        for (policy, refusal) in [("Honor", None), ("Ignore", Some(SPREAD))] {
            let web = pinned(policy);
            check(&web, &a, &[(&web, &a), (&bystander, &b)], refusal);
        }
    }
}
