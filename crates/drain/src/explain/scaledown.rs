//! Explains why an autoscaler cannot remove an idle node. An autoscaler evicts all pods of the node
//! at once, and keeps the node when one of them cannot be moved.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::{Node, Pod};
use rules::resources::{Amounts, allocatable, requests};

use super::{Problem, budgets, consequences, spread};
use crate::budget::{BudgetCounter, PodHealth};
use crate::cluster::ClusterSnapshot;
use crate::format::{listed, plural};
use crate::{pdb, plan, pods};

/// Autoscalers consider nodes with less than this share requested, in percent.
const IDLE_PERCENT: i64 = 50;
/// The maximum number of names in a line.
const MAX_NAMED: usize = 4;

/// Returns what keeps an idle node. Empty when the cluster shows no autoscaler.
pub(super) fn problems(snapshot: &ClusterSnapshot, found: &Node) -> Vec<Problem> {
    let Some(autoscaler) = autoscaler(snapshot) else {
        return Vec::new();
    };
    let name = rules::nodes::name(found);
    let leaving = snapshot.pods_leaving(name);
    let requested = requested_percent(snapshot, found);
    if requested >= IDLE_PERCENT || leaving.is_empty() {
        return Vec::new();
    }
    let reasons = kept(&leaving)
        .into_iter()
        .chain(tight_budgets(snapshot, &leaving))
        .chain(unplaceable(snapshot, name, &leaving));
    let problems = reasons.map(|why| {
        Problem::new(
            "scale-down",
            format!(
                "only {requested} % of the node is requested, but {autoscaler} cannot remove it: {why}"
            ),
        )
    });
    problems.collect()
}

/// Detects the autoscaler by its taints, labels or pods.
fn autoscaler(snapshot: &ClusterSnapshot) -> Option<&'static str> {
    let is_tainted = |node: &Node| {
        rules::nodes::taints(node).any(|taint| {
            taint.key.ends_with("OfClusterAutoscaler")
                || taint.key == "ToBeDeletedByClusterAutoscaler"
        })
    };
    let is_karpenters = |node: &Node| {
        node.metadata
            .labels
            .iter()
            .flatten()
            .any(|(key, _)| key == "karpenter.sh/nodepool")
    };
    let runs = |pod: &Pod, name: &str| {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        containers
            .filter_map(|container| container.image.as_deref())
            .any(|image| pods::image_name(image) == name)
    };
    if snapshot.nodes.iter().any(is_karpenters) {
        return Some("Karpenter");
    }
    let has_pod = || {
        snapshot
            .pods
            .iter()
            .any(|pod| runs(pod, "cluster-autoscaler"))
    };
    (snapshot.nodes.iter().any(is_tainted) || has_pod()).then_some("the cluster autoscaler")
}

/// Returns how much of the node its pods request, in percent of the scarcer of CPU and memory.
fn requested_percent(snapshot: &ClusterSnapshot, node: &Node) -> i64 {
    let (has, mut requested) = (allocatable(node), Amounts::default());
    snapshot
        .pods_on(rules::nodes::name(node))
        .filter(|pod| !pods::is_finished(pod))
        .for_each(|pod| requested.add(&requests(pod)));
    let share = |name: &str| {
        if has.get(name) > 0 {
            requested.get(name).saturating_mul(100) / has.get(name)
        } else {
            0
        }
    };
    share("cpu").max(share("memory"))
}

/// Pods that autoscalers never evict: without a controller, or excluded by an annotation.
fn kept(leaving: &[&Pod]) -> Vec<String> {
    let kept = leaving
        .iter()
        .filter_map(|pod| match consequences::keep_annotation(pod) {
            Some((name, value)) => Some(format!(
                "{} has the annotation {name}={value}",
                pods::name(pod)
            )),
            None if pods::controller_of(pod).is_none() => {
                Some(format!("{} has no controller", pods::name(pod)))
            }
            None => None,
        });
    kept.collect()
}

/// Budgets that do not allow all their pods on the node to be evicted at once, and the pods
/// elsewhere that use them up.
fn tight_budgets(snapshot: &ClusterSnapshot, leaving: &[&Pod]) -> Vec<String> {
    let mut near: HashMap<&str, Vec<&Pod>> = HashMap::new();
    for pod in leaving {
        near.entry(pods::namespace(pod)).or_default().push(pod);
    }
    let counter = BudgetCounter::new(snapshot);
    let tight = snapshot.budgets.iter().filter_map(|found| {
        let candidates = near.get(pdb::namespace(found))?;
        let selector = pdb::selector(found).ok()?;
        let here: Vec<&str> = candidates
            .iter()
            .filter(|pod| selector.matches(pod.metadata.labels.as_ref()))
            .map(|pod| pods::name(pod))
            .collect();
        let allowed = usize::try_from(pdb::reported(found).allowed).unwrap_or_default();
        if here.len() <= allowed {
            return None;
        }
        let count = counter.count(found);
        let named: HashSet<&str> = here.iter().copied().collect();
        let elsewhere = count.pods.iter().filter(|covered| {
            covered.health != PodHealth::Healthy && !named.contains(pods::name(covered.pod))
        });
        let users: Vec<String> = elsewhere
            .map(|covered| budgets::unhealthy_line(snapshot, covered))
            .collect();
        let users = match users.is_empty() {
            true => String::new(),
            false => format!(
                "; used up elsewhere by {}",
                listed(users.iter().map(String::as_str), MAX_NAMED)
            ),
        };
        let needed = here.len();
        Some(format!(
            "budget {} allows {}, but evicting {} at once needs {needed}{users}",
            pdb::name(found),
            plural(allowed, "disruption"),
            listed(here, MAX_NAMED),
        ))
    });
    tight.collect()
}

/// Pods that no other node can take.
fn unplaceable(snapshot: &ClusterSnapshot, node: &str, leaving: &[&Pod]) -> Option<String> {
    let unplaced = plan::unplaceable(snapshot, node, leaving);
    let is_trapped = |key: &str| {
        leaving
            .iter()
            .find(|pod| key == pods::key(pod))
            .is_some_and(|pod| spread::problem(snapshot, pod).is_some())
    };
    let texts: Vec<String> = unplaced
        .iter()
        .map(|one| {
            let hint = if is_trapped(&one.pod) {
                " (its topology spread counts the node while it is cordoned)"
            } else {
                ""
            };
            format!("no other node can take {}: {}{hint}", one.pod, one.why)
        })
        .collect();
    (!texts.is_empty()).then(|| listed(texts.iter().map(String::as_str), MAX_NAMED))
}
