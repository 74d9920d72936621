//! Whose place a more important pod may take. Pure.
//!
//! On each node all less important pods are taken away in thought, and then as many as possible are
//! put back, those that a disruption budget protects first. Budgets are preferred, not binding: a
//! pod that must run may break one.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::cluster::{Cluster, Place, Tenant};
use super::place::Refusals;
use crate::meta::Key;
use crate::pods::{is_terminating, name, namespace};
use crate::selector::Selector;
use rules::fit::{admits, has_ports, has_room};

/// A node and who has to leave it.
#[derive(Debug)]
pub(super) struct Preemption {
    pub(super) node: String,
    pub(super) victims: Vec<Arc<Pod>>,
}

/// The least harmful way to make room for this pod, among the nodes on which room helps.
pub(super) fn preempt(
    cluster: &Cluster,
    tenant: &Tenant,
    refusals: &Refusals,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Option<Preemption> {
    let policy = tenant
        .pod
        .spec
        .as_ref()
        .and_then(|spec| spec.preemption_policy.as_deref());
    if policy == Some("Never") {
        return None;
    }
    let candidates = refusals
        .room_helps
        .iter()
        .filter_map(|node| candidate(cluster.places.get(node)?, node, tenant, budgets));
    let best = candidates.min_by(|a, b| a.harm.cmp(&b.harm).then_with(|| a.node.cmp(b.node)))?;
    Some(Preemption {
        node: best.node.to_owned(),
        victims: best.victims,
    })
}

/// True while pods that gave way to this one are still leaving.
pub(super) fn is_being_made(cluster: &Cluster, tenant: &Tenant, node: &str) -> bool {
    let Some(place) = cluster.places.get(node) else {
        return false;
    };
    place
        .tenants
        .values()
        .any(|other| is_terminating(&other.pod) && other.priority() < tenant.priority())
}

struct Candidate<'a> {
    node: &'a str,
    harm: Harm,
    victims: Vec<Arc<Pod>>,
}

/// Smaller is better.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Harm {
    violations: usize,
    highest: i32,
    sum: i64,
    count: usize,
    /// Of the most important victims, the one that started first: the later, the better.
    earliest_start: Reverse<Option<Timestamp>>,
}

fn candidate<'a>(
    place: &Place,
    node: &'a str,
    tenant: &Tenant,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Option<Candidate<'a>> {
    let mut place = place.clone();
    admits(place.node.as_ref()?, &tenant.pod).ok()?;
    let lower: Vec<String> = place
        .tenants
        .iter()
        .filter(|(_, other)| other.priority() < tenant.priority())
        .map(|(uid, _)| uid.clone())
        .collect();
    let mut removed: Vec<Tenant> = lower.iter().filter_map(|uid| place.leave(uid)).collect();
    if removed.is_empty() || !fits(&place, tenant) {
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
        place.enter(other.clone());
        if !fits(&place, tenant) {
            place.leave(crate::meta::uid(&other.pod.metadata));
            violations += usize::from(*protected);
            victims.push(other.clone());
        }
    }
    let highest = victims.iter().map(Tenant::priority).max()?;
    let harm = Harm {
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
        harm,
        victims: victims.into_iter().map(|victim| victim.pod).collect(),
    })
}

fn fits(place: &Place, tenant: &Tenant) -> bool {
    has_ports(place.tenants.values().map(|other| &*other.pod), &tenant.pod).is_ok()
        && has_room(
            &place.has,
            &place.used,
            place.tenants.len(),
            &tenant.requests,
        )
        .is_ok()
}

fn started(pod: &Pod) -> Option<Timestamp> {
    pod.status
        .as_ref()
        .and_then(|status| status.start_time.as_ref())
        .or(pod.metadata.creation_timestamp.as_ref())
        .map(|time| time.0)
}

/// Which of these pods a budget would not let go, if they went in this order.
fn violating(pods: &[Tenant], budgets: &[Arc<PodDisruptionBudget>]) -> Vec<bool> {
    let mut left: BTreeMap<Key, i32> = BTreeMap::new();
    let violates = |pod: &Pod, left: &mut BTreeMap<Key, i32>| {
        let mut violated = false;
        for budget in budgets.iter().filter(|budget| protects(budget, pod)) {
            let status = budget.status.as_ref();
            let noted = status
                .and_then(|status| status.disrupted_pods.as_ref())
                .is_some_and(|noted| noted.contains_key(name(pod)));
            if noted {
                continue;
            }
            let allowed = left.entry(Key::of(&**budget)).or_insert_with(|| {
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
        .map(|tenant| violates(&tenant.pod, &mut left))
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
    use crate::scheduler::place::choose;
    use crate::scheduler::place::tests::{cluster, node, tenant};

    fn victims(
        cluster: &mut Cluster,
        pod: &Tenant,
        budgets: &[Arc<PodDisruptionBudget>],
    ) -> Option<Vec<String>> {
        let refusals = choose(cluster, pod).expect_err("no room");
        let preemption = preempt(cluster, pod, &refusals, budgets)?;
        Some(
            preemption
                .victims
                .iter()
                .map(|pod| name(pod).to_owned())
                .collect(),
        )
    }

    fn high(cpu: &str) -> Tenant {
        tenant("high", cpu, json!({"spec": {"priority": 1000}}))
    }

    #[test]
    fn a_less_important_pod_gives_way_and_an_equal_one_does_not() {
        let mut cluster = cluster(&[node("a", json!({}))]);
        cluster.assume("a", tenant("low", "700m", json!({})));
        assert_eq!(
            victims(&mut cluster, &high("700m"), &[]),
            Some(vec!["low".to_owned()])
        );
        assert_eq!(
            victims(&mut cluster, &tenant("equal", "700m", json!({})), &[]),
            None
        );
        let patient = tenant(
            "high",
            "700m",
            json!({"spec": {"priority": 1000, "preemptionPolicy": "Never"}}),
        );
        assert_eq!(victims(&mut cluster, &patient, &[]), None);
    }

    #[test]
    fn a_pod_whose_budget_is_spent_is_kept_when_another_will_do() {
        let budget = |allowed: i32| {
            let tree = json!({"metadata": {"name": "b", "namespace": "n"}, "spec": {"selector": {"matchLabels": {"g": "kept"}}}, "status": {"disruptionsAllowed": allowed}});
            [Arc::new(
                serde_json::from_value::<PodDisruptionBudget>(tree).expect("a budget"),
            )]
        };
        let mut cluster = cluster(&[node("a", json!({}))]);
        cluster.assume(
            "a",
            tenant(
                "kept",
                "400m",
                json!({"metadata": {"labels": {"g": "kept"}}}),
            ),
        );
        cluster.assume(
            "a",
            tenant(
                "free",
                "400m",
                json!({"metadata": {"labels": {"g": "free"}}}),
            ),
        );
        assert_eq!(
            victims(&mut cluster, &high("500m"), &budget(0)),
            Some(vec!["free".to_owned()])
        );
        // When both must go, the budget does not save anybody.
        assert_eq!(
            victims(&mut cluster, &high("900m"), &budget(0)).map(|victims| victims.len()),
            Some(2)
        );
    }

    #[test]
    fn only_as_many_as_needed_leave_and_the_least_important_first() {
        let mut cluster = cluster(&[node("a", json!({}))]);
        cluster.assume("a", tenant("low", "400m", json!({"spec": {"priority": 1}})));
        cluster.assume(
            "a",
            tenant("middle", "400m", json!({"spec": {"priority": 2}})),
        );
        assert_eq!(
            victims(&mut cluster, &high("500m"), &[]),
            Some(vec!["low".to_owned()])
        );
    }
}
