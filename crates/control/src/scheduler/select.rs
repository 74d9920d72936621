//! Chooses a node for a pod, or explains why none fits. Pure.
//!
//! The filters run in upstream's order, and the first that fails gives the reason. Among the nodes
//! that fit, a pod goes to a preferred one, then to the one with the fewest pods of its controller,
//! then to the one with the most room.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PodSpec};

use super::cache::{NodeInfo, PodInfo, SchedulerCache};
use crate::meta::{controller_of, uid};
use crate::nodes;
use rules::affinity::{AffinityState, PreferenceState};
use rules::fit::{Unschedulable, admits, has_ports, has_room};

/// The search stops when this many nodes fit.
const MAX_FEASIBLE: usize = 100;

/// Why no node fits: the number of nodes by reason, and the nodes on which preemption would help.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Diagnosis {
    pub(super) nodes: usize,
    pub(super) reasons: BTreeMap<String, usize>,
    pub(super) preemption_helps: Vec<String>,
}

/// Chooses the node for this pod.
pub(super) fn choose(cache: &mut SchedulerCache, pod_info: &PodInfo) -> Result<String, Diagnosis> {
    let mut diagnosis = Diagnosis {
        nodes: cache.nodes(),
        ..Diagnosis::default()
    };
    let mut best: Option<(Score, &str)> = None;
    let mut found = 0;
    let mut last = None;
    let begin = cache.next.clone();
    let (grounds, neighbours) = (
        cache.grounds(&pod_info.pod),
        cache.neighbours(&pod_info.pod),
    );
    let labels_of = |namespace: &str| cache.labels_of(namespace);
    let affinity = AffinityState::new(&pod_info.pod, &grounds, &neighbours, &labels_of);
    let preference = PreferenceState::new(&pod_info.pod, &neighbours, &labels_of);
    let round = cache
        .nodes_by_name
        .range(begin.clone()..)
        .chain(cache.nodes_by_name.range(..begin));
    for (name, info) in round {
        let Some(node) = &info.node else { continue };
        last = Some(name);
        let checked = check(cache, name, node, info, pod_info);
        match checked.and_then(|()| affinity.allows(node)) {
            Ok(()) => {
                let score = Score::of(node, info, pod_info, &preference);
                if best.as_ref().is_none_or(|(known, _)| score < *known) {
                    best = Some((score, name));
                }
                found += 1;
                if found >= MAX_FEASIBLE {
                    break;
                }
            }
            Err(refusal) => {
                if refusal.resolvable {
                    diagnosis.preemption_helps.push(name.clone());
                }
                for reason in refusal.reasons {
                    *diagnosis.reasons.entry(reason).or_default() += 1;
                }
            }
        }
    }
    let chosen = best.map(|(_, name)| name.to_owned());
    let last = last.cloned();
    if found >= MAX_FEASIBLE
        && let Some(last) = last
    {
        // The next search begins after the last node that was examined.
        cache.next = format!("{last}\0");
    }
    chosen.ok_or(diagnosis)
}

fn check(
    cache: &SchedulerCache,
    name: &str,
    node: &Node,
    info: &NodeInfo,
    pod_info: &PodInfo,
) -> Result<(), Unschedulable> {
    admits(node, &pod_info.pod)?;
    has_ports(info.pods.values().map(|other| &*other.pod), &pod_info.pod)?;
    let promised = cache.nominated.iter().filter(|(key, (at, other))| {
        at == name
            && key.as_str() != uid(&pod_info.pod.metadata)
            && other.priority() >= pod_info.priority()
    });
    let (mut used, mut pods) = (Cow::Borrowed(&info.used), info.pods.len());
    for (_, (_, other)) in promised {
        used.to_mut().add(&other.requests);
        pods += 1;
    }
    has_room(&info.has, &used, pods, &pod_info.requests)?;
    reaches_volumes(node, pod_info)
}

/// Checks that the node may use the volumes that the pod's claims are bound to, and one of those
/// that they may still choose.
pub(super) fn reaches_volumes(node: &Node, pod_info: &PodInfo) -> Result<(), Unschedulable> {
    let reaches = |volume: &Arc<PersistentVolume>| {
        let spec = volume.spec.as_ref();
        let affinity = spec.and_then(|spec| spec.node_affinity.as_ref());
        let required = affinity.and_then(|affinity| affinity.required.as_ref());
        required.is_none_or(|required| nodes::matches(required, node))
    };
    let refused = |reason: &str| {
        Err(Unschedulable {
            reasons: vec![reason.to_owned()],
            resolvable: false,
        })
    };
    if !pod_info.volumes.iter().all(reaches) {
        return refused("node(s) didn't match PersistentVolume's node affinity");
    }
    if !pod_info
        .choices
        .iter()
        .all(|choice| choice.iter().any(reaches))
    {
        return refused("node(s) didn't find available persistent volumes to bind");
    }
    Ok(())
}

/// Smaller is better.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    soft_taints: usize,
    negated_preference: i64,
    /// The pods from which the pod would keep a distance.
    crowd: i64,
    siblings: usize,
    load_permille: i64,
    pods: usize,
}

impl Score {
    fn of(node: &Node, info: &NodeInfo, pod_info: &PodInfo, preference: &PreferenceState) -> Self {
        let nothing = PodSpec::default();
        let spec = pod_info.pod.spec.as_ref().unwrap_or(&nothing);
        let soft = nodes::taints(node).filter(|taint| taint.effect == "PreferNoSchedule");
        let load = |name: &str| {
            let (has, used) = (
                info.has.get(name),
                info.used
                    .get(name)
                    .saturating_add(pod_info.requests.get(name)),
            );
            if has > 0 {
                used.saturating_mul(1000) / has
            } else {
                0
            }
        };
        Self {
            soft_taints: soft
                .filter(|taint| !nodes::tolerates(spec.tolerations.as_ref(), taint))
                .count(),
            negated_preference: -nodes::preferred_affinity_score(spec, node)
                .saturating_add(preference.weight(node)),
            crowd: preference.crowd(node),
            siblings: controller_of(&pod_info.pod.metadata)
                .and_then(|owner| info.siblings.get(&owner.uid).copied())
                .unwrap_or_default(),
            load_permille: load("cpu").saturating_add(load("memory")) / 2,
            pods: info.pods.len(),
        }
    }
}

/// Why preemption was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotEligible {
    /// The pod must not preempt others.
    ByPolicy,
    /// Pods that it has preempted are still terminating.
    UnderWay,
}

impl NotEligible {
    fn text(self) -> &'static str {
        match self {
            Self::ByPolicy => "not eligible due to preemptionPolicy=Never.",
            Self::UnderWay => "not eligible due to a terminating pod on the nominated node.",
        }
    }
}

/// Renders the failure in upstream's words.
pub(super) fn render(diagnosis: &Diagnosis, not_eligible: Option<NotEligible>) -> String {
    if diagnosis.nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let nodes = diagnosis.nodes;
    let mut reasons: Vec<String> = diagnosis
        .reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    reasons.sort();
    let (helps, vain) = (
        diagnosis.preemption_helps.len(),
        nodes - diagnosis.preemption_helps.len(),
    );
    let mut preemption = Vec::new();
    if helps > 0 {
        preemption.push(format!(
            "{helps} No preemption victims found for incoming pod"
        ));
    }
    if vain > 0 {
        preemption.push(format!("{vain} Preemption is not helpful for scheduling"));
    }
    let preemption = match not_eligible {
        Some(why) => why.text().to_owned(),
        None => format!("0/{nodes} nodes are available: {}.", preemption.join(", ")),
    };
    format!(
        "0/{nodes} nodes are available: {}. no new claims to deallocate, preemption: {preemption}",
        reasons.join(", "),
    )
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::tests::pod;

    pub(in crate::scheduler) fn node(name: &str, extra: Value) -> Arc<Node> {
        let mut tree = json!({"metadata": {"name": name,
            "labels": {"kubernetes.io/hostname": name}}, "spec": {},
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

    pub(in crate::scheduler) fn pod_info(name: &str, cpu: &str, extra: Value) -> PodInfo {
        let mut tree = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        merge(&mut tree, extra);
        PodInfo::new(Arc::new(pod(tree)))
    }

    pub(in crate::scheduler) fn cache(nodes: &[Arc<Node>]) -> SchedulerCache {
        let mut cache = SchedulerCache::default();
        for node in nodes {
            cache.observe_node(nodes::name(node), Some(node));
        }
        cache
    }

    fn owned(name: &str) -> PodInfo {
        pod_info(
            name,
            "100m",
            json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                "name": "rs", "uid": "rs", "controller": true}]}}),
        )
    }

    #[test]
    fn pods_of_one_controller_spread_over_the_nodes() {
        let mut cache = cache(&[
            node("a", json!({})),
            node("b", json!({})),
            node("c", json!({})),
        ]);
        let mut chosen = Vec::new();
        for name in ["1", "2", "3"] {
            let at = choose(&mut cache, &owned(name)).expect("a node");
            cache.assume(&at, owned(name));
            chosen.push(at);
        }
        chosen.sort();
        assert_eq!(chosen, ["a", "b", "c"]);
    }

    #[test]
    fn every_failed_filter_is_reported_in_upstreams_words() {
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
            let pod = pod_info(
                "p",
                "500m",
                json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "a"}}}),
            );
            let diagnosis = choose(&mut cache(&[node]), &pod).expect_err(reason);
            assert_eq!(diagnosis.preemption_helps.len(), helped, "{reason}");
            assert!(
                render(&diagnosis, None)
                    .starts_with(&format!("0/1 nodes are available: 1 {reason}. ")),
                "{}",
                render(&diagnosis, None)
            );
        }
        assert_eq!(
            render(&Diagnosis::default(), None),
            "no nodes available to schedule pods"
        );
    }

    #[test]
    fn the_message_is_complete() {
        let mut cache = cache(&[
            node("a", json!({"spec": {"unschedulable": true}})),
            node("b", json!({})),
        ]);
        cache.assume("b", pod_info("other", "800m", json!({})));
        let diagnosis = choose(&mut cache, &pod_info("p", "500m", json!({}))).expect_err("no room");
        assert_eq!(
            render(&diagnosis, None),
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. no new \
             claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims \
             found for incoming pod, 1 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn constraints_between_pods_are_kept_and_named() {
        let nodes = || {
            let zone =
                |zone: &str| json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
            cache(&[node("a", zone("1")), node("b", zone("2"))])
        };
        let web = |name: &str, spec: Value| {
            let labels = json!({"metadata": {"labels": {"app": "web"}}, "spec": spec});
            pod_info(name, "1m", labels)
        };
        let term = json!({"topologyKey": "topology.kubernetes.io/zone",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        let rule = |side: &str| {
            json!({"affinity": {side: {"requiredDuringSchedulingIgnoredDuringExecution":
                [term.clone()]}}})
        };
        let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}}]});
        // (placed pods with their nodes, the pod, where it goes or why it goes nowhere)
        type Case = (
            Vec<(PodInfo, &'static str)>,
            PodInfo,
            Result<&'static str, &'static str>,
        );
        let plain = |name: &str| web(name, json!({}));
        let cases: Vec<Case> = vec![
            (
                vec![(plain("1"), "a")],
                web("p", rule("podAntiAffinity")),
                Ok("b"),
            ),
            (
                vec![(web("1", rule("podAntiAffinity")), "a")],
                plain("p"),
                Ok("b"),
            ),
            (
                vec![(plain("1"), "b")],
                web("p", rule("podAffinity")),
                Ok("b"),
            ),
            (vec![(plain("1"), "a")], web("p", spread.clone()), Ok("b")),
            (
                vec![(plain("1"), "a"), (plain("2"), "b")],
                web("p", rule("podAntiAffinity")),
                Err("2 node(s) didn't match pod anti-affinity rules"),
            ),
            (
                vec![
                    (web("1", rule("podAntiAffinity")), "a"),
                    (web("2", rule("podAntiAffinity")), "b"),
                ],
                plain("p"),
                Err("2 node(s) didn't satisfy existing pods anti-affinity rules"),
            ),
            (
                vec![],
                pod_info("p", "1m", json!({"spec": rule("podAffinity")})),
                Err("2 node(s) didn't match pod affinity rules"),
            ),
            (
                vec![(plain("1"), "a"), (plain("2"), "a"), (plain("3"), "a")],
                web(
                    "p",
                    json!({"nodeSelector": {"kubernetes.io/hostname": "a"},
                    "topologySpreadConstraints": spread["topologySpreadConstraints"]}),
                ),
                Err("1 Too many pods, 1 node(s) didn't match Pod's node affinity/selector"),
            ),
        ];
        for (placed, pod, expected) in cases {
            let mut cache = nodes();
            for (other, at) in placed {
                cache.assume(at, other);
            }
            match (choose(&mut cache, &pod), expected) {
                (Ok(found), Ok(at)) => assert_eq!(found, at),
                (Err(diagnosis), Err(reason)) => {
                    let text = render(&diagnosis, None);
                    let expected = format!("0/2 nodes are available: {reason}. ");
                    assert!(text.starts_with(&expected), "{text}");
                }
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        }
        let port = json!({"spec": {"containers": [{"name": "c",
            "ports": [{"containerPort": 80, "hostPort": 80}]}]}});
        let mut cache = nodes();
        cache.assume("a", pod_info("1", "1m", port.clone()));
        cache.assume("b", pod_info("2", "1m", port.clone()));
        let refused = choose(&mut cache, &pod_info("p", "1m", port)).expect_err("no port");
        assert_eq!(
            render(&refused, Some(NotEligible::ByPolicy)),
            "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod \
             ports. no new claims to deallocate, preemption: not eligible due to \
             preemptionPolicy=Never."
        );
    }

    #[test]
    fn a_node_must_reach_the_volumes_of_the_pod() {
        let volume = |host: &str| {
            let term = json!({"matchExpressions": [{"key": "kubernetes.io/hostname",
                "operator": "In", "values": [host]}]});
            let affinity = json!({"required": {"nodeSelectorTerms": [term]}});
            let volume = json!({"metadata": {"name": host}, "spec": {"nodeAffinity": affinity}});
            Arc::new(serde_json::from_value::<PersistentVolume>(volume).expect("a volume"))
        };
        let nodes = || cache(&[node("a", json!({})), node("b", json!({}))]);
        let pod = |volumes, choices| PodInfo {
            volumes,
            choices,
            ..pod_info("p", "1m", json!({}))
        };
        let (a, b, c) = (volume("a"), volume("b"), volume("c"));
        let affinity = "2 node(s) didn't match PersistentVolume's node affinity";
        let choice = "2 node(s) didn't find available persistent volumes to bind";
        let cases = [
            (pod(vec![b.clone()], vec![]), Ok("b")),
            (pod(vec![c.clone()], vec![]), Err(affinity)),
            (pod(vec![], vec![vec![c.clone(), a]]), Ok("a")),
            (pod(vec![], vec![vec![b, c.clone()], vec![c]]), Err(choice)),
            (pod(vec![], vec![vec![]]), Err(choice)),
        ];
        for (pod, expected) in cases {
            match (choose(&mut nodes(), &pod), expected) {
                (Ok(found), Ok(at)) => assert_eq!(found, at),
                (Err(diagnosis), Err(reason)) => {
                    let text = render(&diagnosis, None);
                    assert!(text.contains(reason), "{text}");
                }
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn preferences_between_pods_decide_among_nodes_that_fit() {
        let term = json!({"topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        let preferred = |side: &str| {
            json!({"spec": {"affinity": {side: {"preferredDuringSchedulingIgnoredDuringExecution":
                [{"weight": 1, "podAffinityTerm": term.clone()}]}}}})
        };
        for (side, expected) in [("podAffinity", "a"), ("podAntiAffinity", "b")] {
            let mut cache = cache(&[node("a", json!({})), node("b", json!({}))]);
            let labels = json!({"metadata": {"labels": {"app": "web"}}});
            cache.assume("a", pod_info("1", "500m", labels));
            let chosen = choose(&mut cache, &pod_info("p", "1m", preferred(side)));
            assert_eq!(chosen.as_deref(), Ok(expected), "{side}");
        }
    }

    #[test]
    fn requests_count_until_the_pod_is_gone_or_finished() {
        let mut cache = cache(&[node("a", json!({}))]);
        cache.assume(
            "a",
            pod_info("p", "600m", json!({"spec": {"nodeName": "a"}})),
        );
        let q = pod_info("q", "600m", json!({}));
        choose(&mut cache, &q).expect_err("taken");
        let ended = pod_info(
            "p",
            "600m",
            json!({"spec": {"nodeName": "a"}, "status": {"phase": "Succeeded"}}),
        );
        assert!(
            cache.observe_pod(Some(&ended.pod), Some(&ended.pod)),
            "room is freed"
        );
        assert_eq!(choose(&mut cache, &q), Ok("a".to_owned()));
    }

    #[test]
    fn a_preferred_taint_is_avoided_and_not_forbidden() {
        let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
        assert_eq!(
            choose(
                &mut cache(&[node("a", soft.clone()), node("b", json!({}))]),
                &pod_info("p", "1m", json!({}))
            ),
            Ok("b".to_owned())
        );
        assert_eq!(
            choose(
                &mut cache(&[node("a", soft)]),
                &pod_info("p", "1m", json!({}))
            ),
            Ok("a".to_owned())
        );
    }

    #[test]
    fn room_for_a_nominated_pod_of_higher_priority_is_reserved() {
        let mut cache = cache(&[node("a", json!({}))]);
        let high = pod_info("high", "700m", json!({"spec": {"priority": 10}}));
        cache
            .nominated
            .insert("high".to_owned(), ("a".to_owned(), high.clone()));
        choose(&mut cache, &pod_info("low", "700m", json!({}))).expect_err("promised");
        assert_eq!(choose(&mut cache, &high), Ok("a".to_owned()));
    }
}
