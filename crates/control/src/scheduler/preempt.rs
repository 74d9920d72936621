//! Chooses the pods to preempt for a pod of higher priority. Pure.
//!
//! On each node all pods of lower priority are removed in a copy, and then as many as possible are
//! put back, those that a disruption budget protects first. Budgets are preferences here, as
//! upstream: a pod that must run may violate them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::cache::{NodeInfo, PodInfo, SchedulerCache};
use super::select::{Diagnosis, reaches_volumes};
use crate::meta::ObjectKey;
use crate::pods::{is_terminating, name, namespace};
use crate::selector::Selector;
use rules::affinity::{AffinityState, PlacedPod};
use rules::fit::{admits, has_ports, has_room};

/// A node and the pods that have to leave it.
#[derive(Debug)]
pub(super) struct Preemption {
    pub(super) node: String,
    pub(super) victims: Vec<Arc<Pod>>,
}

/// Returns the cheapest preemption for this pod among the nodes on which it helps.
pub(super) fn preempt(
    cache: &SchedulerCache,
    pod_info: &PodInfo,
    diagnosis: &Diagnosis,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Option<Preemption> {
    if never_preempts(&pod_info.pod) {
        return None;
    }
    let (grounds, neighbours) = (
        cache.grounds(&pod_info.pod),
        cache.neighbours(&pod_info.pod),
    );
    let labels_of = |namespace: &str| cache.labels_of(namespace);
    let affinity = AffinityState::new(&pod_info.pod, &grounds, &neighbours, &labels_of);
    let candidates = diagnosis.preemption_helps.iter().filter_map(|node| {
        let info = cache.nodes_by_name.get(node)?;
        candidate(info, node, pod_info, affinity.clone(), budgets)
    });
    let best = candidates.min_by(|a, b| a.cost.cmp(&b.cost).then_with(|| a.node.cmp(b.node)))?;
    Some(Preemption {
        node: best.node.to_owned(),
        victims: best.victims,
    })
}

/// True when the pod must not preempt others.
pub(super) fn never_preempts(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never")
}

/// True while pods that this one has preempted are still terminating.
pub(super) fn is_under_way(cache: &SchedulerCache, pod_info: &PodInfo, node: &str) -> bool {
    let Some(info) = cache.nodes_by_name.get(node) else {
        return false;
    };
    info.pods
        .values()
        .any(|other| is_terminating(&other.pod) && other.priority() < pod_info.priority())
}

struct Candidate<'a> {
    node: &'a str,
    cost: PreemptionCost,
    victims: Vec<Arc<Pod>>,
}

/// Smaller is better.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct PreemptionCost {
    violations: usize,
    highest: i32,
    sum: i64,
    count: usize,
    /// The earliest start among the victims of highest priority. A later start is better.
    earliest_start: Reverse<Option<Timestamp>>,
}

fn candidate<'a>(
    present: &'a NodeInfo,
    node: &'a str,
    pod_info: &PodInfo,
    mut affinity: AffinityState<'a>,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Option<Candidate<'a>> {
    let mut info = present.clone();
    let at = present.node.as_ref()?;
    admits(at, &pod_info.pod).ok()?;
    reaches_volumes(at, pod_info).ok()?;
    let placed = |other: &PodInfo| {
        let known = present.pods.get(crate::meta::uid(&other.pod.metadata))?;
        Some(PlacedPod {
            pod: &known.pod,
            node: at,
            leaving: false,
        })
    };
    let lower: Vec<String> = info
        .pods
        .iter()
        .filter(|(_, other)| other.priority() < pod_info.priority())
        .map(|(uid, _)| uid.clone())
        .collect();
    let mut removed: Vec<PodInfo> = lower.iter().filter_map(|uid| info.leave(uid)).collect();
    for placed in removed.iter().filter_map(placed) {
        affinity.leave(&placed);
    }
    if removed.is_empty() || !fits(&info, pod_info, &affinity) {
        return None;
    }
    removed.sort_by_key(|other| (Reverse(other.priority()), started(&other.pod)));
    let protected = violating(&removed, budgets);
    let (mut victims, mut violations) = (Vec::new(), 0);
    let kept_first = removed
        .iter()
        .zip(&protected)
        .filter(|(_, protected)| **protected);
    let then = removed
        .iter()
        .zip(&protected)
        .filter(|(_, protected)| !**protected);
    for (other, protected) in kept_first.chain(then) {
        info.enter(other.clone());
        let placed = placed(other);
        placed.iter().for_each(|placed| affinity.enter(placed));
        if !fits(&info, pod_info, &affinity) {
            info.leave(crate::meta::uid(&other.pod.metadata));
            placed.iter().for_each(|placed| affinity.leave(placed));
            violations += usize::from(*protected);
            victims.push(other.clone());
        }
    }
    let highest = victims.iter().map(PodInfo::priority).max()?;
    let cost = PreemptionCost {
        violations,
        highest,
        sum: victims
            .iter()
            .map(|victim| i64::from(victim.priority()))
            .sum(),
        count: victims.len(),
        earliest_start: Reverse(
            victims
                .iter()
                .filter(|victim| victim.priority() == highest)
                .filter_map(|victim| started(&victim.pod))
                .min(),
        ),
    };
    Some(Candidate {
        node,
        cost,
        victims: victims.into_iter().map(|victim| victim.pod).collect(),
    })
}

fn fits(info: &NodeInfo, pod_info: &PodInfo, affinity: &AffinityState<'_>) -> bool {
    let allows = |node: &Arc<Node>| affinity.allows(node).is_ok();
    info.node.as_ref().is_some_and(allows)
        && has_ports(info.pods.values().map(|other| &*other.pod), &pod_info.pod).is_ok()
        && has_room(&info.has, &info.used, info.pods.len(), &pod_info.requests).is_ok()
}

fn started(pod: &Pod) -> Option<Timestamp> {
    pod.status
        .as_ref()
        .and_then(|status| status.start_time.as_ref())
        .or(pod.metadata.creation_timestamp.as_ref())
        .map(|time| time.0)
}

/// Returns which of these pods a budget would protect, if they were evicted in this order.
fn violating(pods: &[PodInfo], budgets: &[Arc<PodDisruptionBudget>]) -> Vec<bool> {
    let mut left: BTreeMap<ObjectKey, i32> = BTreeMap::new();
    let violates = |pod: &Pod, left: &mut BTreeMap<ObjectKey, i32>| {
        let mut violated = false;
        for budget in budgets.iter().filter(|budget| protects(budget, pod)) {
            let status = budget.status.as_ref();
            let evicted = status
                .and_then(|status| status.disrupted_pods.as_ref())
                .is_some_and(|evicted| evicted.contains_key(name(pod)));
            if evicted {
                continue;
            }
            let allowed = left.entry(ObjectKey::of(&**budget)).or_insert_with(|| {
                status
                    .and_then(|status| status.disruptions_allowed)
                    .unwrap_or_default()
            });
            *allowed -= 1;
            violated |= *allowed < 0;
        }
        violated
    };
    pods.iter()
        .map(|pod_info| violates(&pod_info.pod, &mut left))
        .collect()
}

fn protects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    budget.metadata.namespace.as_deref().unwrap_or_default() == namespace(pod)
        && Selector::compile(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()))
            .is_ok_and(|selector| {
                !selector.is_empty() && selector.matches(pod.metadata.labels.as_ref())
            })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scheduler::select::choose;
    use crate::scheduler::select::tests::{cache, node, pod_info};

    fn victims(
        cache: &mut SchedulerCache,
        pod: &PodInfo,
        budgets: &[Arc<PodDisruptionBudget>],
    ) -> Option<Vec<String>> {
        let diagnosis = choose(cache, pod).expect_err("no room");
        let preemption = preempt(cache, pod, &diagnosis, budgets)?;
        Some(
            preemption
                .victims
                .iter()
                .map(|pod| name(pod).to_owned())
                .collect(),
        )
    }

    fn high(cpu: &str) -> PodInfo {
        pod_info("high", cpu, json!({"spec": {"priority": 1000}}))
    }

    #[test]
    fn a_pod_of_lower_priority_is_preempted_and_one_of_equal_priority_is_not() {
        let mut cache = cache(&[node("a", json!({}))]);
        cache.assume("a", pod_info("low", "700m", json!({})));
        assert_eq!(
            victims(&mut cache, &high("700m"), &[]),
            Some(vec!["low".to_owned()])
        );
        assert_eq!(
            victims(&mut cache, &pod_info("equal", "700m", json!({})), &[]),
            None
        );
        let patient = pod_info(
            "high",
            "700m",
            json!({"spec": {"priority": 1000, "preemptionPolicy": "Never"}}),
        );
        assert_eq!(victims(&mut cache, &patient, &[]), None);
    }

    #[test]
    fn a_pod_whose_budget_is_exhausted_is_spared_when_another_victim_suffices() {
        let budget = |allowed: i32| {
            let tree = json!({"metadata": {"name": "b", "namespace": "n"},
                "spec": {"selector": {"matchLabels": {"g": "kept"}}},
                "status": {"disruptionsAllowed": allowed}});
            [Arc::new(
                serde_json::from_value::<PodDisruptionBudget>(tree).expect("a budget"),
            )]
        };
        let mut cache = cache(&[node("a", json!({}))]);
        cache.assume(
            "a",
            pod_info(
                "kept",
                "400m",
                json!({"metadata": {"labels": {"g": "kept"}}}),
            ),
        );
        cache.assume(
            "a",
            pod_info(
                "free",
                "400m",
                json!({"metadata": {"labels": {"g": "free"}}}),
            ),
        );
        assert_eq!(
            victims(&mut cache, &high("500m"), &budget(0)),
            Some(vec!["free".to_owned()])
        );
        // When both pods have to leave, the budget protects neither.
        assert_eq!(
            victims(&mut cache, &high("900m"), &budget(0)).map(|victims| victims.len()),
            Some(2)
        );
    }

    #[test]
    fn pods_that_anti_affinity_keeps_away_are_preempted() {
        let term = json!({"topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": "db"}}});
        let anti = json!({"podAntiAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        let mut cache = cache(&[node("a", json!({}))]);
        let db = json!({"metadata": {"labels": {"app": "db"}}});
        cache.assume("a", pod_info("db", "1m", db));
        cache.assume("a", pod_info("free", "1m", json!({})));
        let choosy = pod_info(
            "high",
            "1m",
            json!({"spec": {"priority": 1000, "affinity": anti}}),
        );
        assert_eq!(
            victims(&mut cache, &choosy, &[]),
            Some(vec!["db".to_owned()])
        );
    }

    #[test]
    fn only_as_many_pods_as_needed_are_preempted_and_lowest_priority_first() {
        let mut cache = cache(&[node("a", json!({}))]);
        cache.assume(
            "a",
            pod_info("low", "400m", json!({"spec": {"priority": 1}})),
        );
        cache.assume(
            "a",
            pod_info("middle", "400m", json!({"spec": {"priority": 2}})),
        );
        assert_eq!(
            victims(&mut cache, &high("500m"), &[]),
            Some(vec!["low".to_owned()])
        );
    }
}
