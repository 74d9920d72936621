//! Pods of one budget that leave at the same time: what a dry run cannot show, since it judges each
//! pod alone, and drains that wait for the same budget.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::{EvictionVerdict, Explanation, Problem, Remedy, Risk};
use crate::budget::{BudgetCount, CoveredPod, PodHealth};
use crate::cluster::ClusterSnapshot;
use crate::format::{between, listed, plural, verb_for};
use crate::prediction::{Prediction, predict};
use crate::{pdb, pods};

/// The maximum number of names in a line.
const MAX_NAMED: usize = 5;

/// Returns where a dry run per pod misleads: pods that share what a budget allows, and refusals
/// that end during the drain. `explanations` are those of the `leaving` pods, in the same order.
pub(super) fn judged_alone(
    snapshot: &ClusterSnapshot,
    leaving: &[&Pod],
    explanations: &[Explanation],
) -> Vec<Problem> {
    let mut groups: Vec<(&PodDisruptionBudget, Vec<&str>)> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    for pod in leaving {
        let Prediction::Charged(found) = predict(snapshot, pod) else {
            continue;
        };
        let place = *places
            .entry(std::ptr::from_ref(found).addr())
            .or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, pods)) => pods.push(pods::name(pod)),
            None => groups.push((found, vec![pods::name(pod)])),
        }
    }
    let allowed = |found: &PodDisruptionBudget| {
        usize::try_from(pdb::reported(found).allowed).unwrap_or_default()
    };
    let shared = groups
        .into_iter()
        .filter(|(found, pods)| pods.len() > allowed(found))
        .map(|(found, pods)| {
            let text = format!(
                "{} share budget {}, which allows {} now: a dry run judges each pod alone and allows all of them, a drain evicts them in turns",
                listed(pods, MAX_NAMED),
                pdb::name(found),
                plural(allowed(found), "disruption"),
            );
            Problem::new("judged-alone", text)
        });
    let refused: Vec<&str> = explanations
        .iter()
        .filter(|one| one.verdict == EvictionVerdict::Refused)
        .map(|one| one.subject.name.as_str())
        .collect();
    let passing = (!refused.is_empty()).then(|| {
        let text = format!(
            "{} {} refused by the budgets of this moment: a dry run reports that, a drain waits and may succeed",
            listed(refused.iter().copied(), MAX_NAMED),
            verb_for(refused.len(), "is", "are"),
        );
        Problem::new("judged-alone", text)
    });
    shared.chain(passing).collect()
}

/// Reports drains that contend for a budget: more of its pods are on cordoned nodes than it ever
/// allows to be disrupted at a time.
pub(super) fn contended(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Option<Problem> {
    let at_a_time = usize::try_from(count.allowed_at_best()?)
        .ok()
        .filter(|most| *most > 0)?;
    let waiting = waiting(snapshot, count);
    if waiting.len() <= at_a_time {
        return None;
    }
    let nodes = node_names(&waiting);
    let mut text = format!(
        "{} of its pods wait on cordoned nodes ({}) and it allows {at_a_time} at a time: {} rounds, each as long as a replacement takes to become ready",
        waiting.len(),
        listed(nodes.iter().copied(), MAX_NAMED),
        waiting.len().div_ceil(at_a_time),
    );
    text.extend(refusals(snapshot, &waiting));
    text.extend(changed(snapshot, count));
    Some(Problem::new("contended", text))
}

/// Returns what to do when drains contend for a budget.
pub(super) fn remedies(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Vec<Remedy> {
    let waiting = waiting(snapshot, count);
    let nodes = node_names(&waiting);
    let together = match nodes.as_slice() {
        [one] => format!("exeunt drain {one}"),
        several => format!(
            "exeunt drain --parallel {} {}",
            several.len(),
            several.join(" ")
        ),
    };
    vec![
        Remedy::new(
            Risk::Safe,
            "Drain all of them with one command: it retries when the budget allows, and the nodes take turns",
            [together],
        ),
        Remedy::new(
            Risk::Safe,
            "Simulate the drain: how long the rounds take, and which nodes do not wait for each other",
            [format!("exeunt plan {}", nodes.join(" "))],
        ),
    ]
}

/// Returns the pods that a drain of the cordoned nodes has yet to evict.
fn waiting<'a>(snapshot: &ClusterSnapshot, count: &BudgetCount<'a>) -> Vec<&'a Pod> {
    let cordoned: HashSet<&str> = snapshot
        .nodes
        .iter()
        .filter(|node| rules::nodes::is_cordoned(node))
        .map(rules::nodes::name)
        .collect();
    let is_cordoned = |name: &str| cordoned.contains(name);
    let remains = |covered: &&CoveredPod<'_>| {
        !matches!(
            covered.health,
            PodHealth::Terminating | PodHealth::Granted { .. }
        )
    };
    count
        .pods
        .iter()
        .filter(remains)
        .map(|covered| covered.pod)
        .filter(|pod| !pods::stays_on_node(pod) && pods::node_of(pod).is_some_and(is_cordoned))
        .collect()
}

fn node_names<'a>(pods: &[&'a Pod]) -> Vec<&'a str> {
    let mut names: Vec<&str> = pods.iter().filter_map(|pod| pods::node_of(pod)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The refusals that the server has recorded as events, where it records them.
fn refusals(snapshot: &ClusterSnapshot, pods: &[&Pod]) -> Option<String> {
    let uids: HashSet<&str> = pods
        .iter()
        .filter_map(|pod| pod.metadata.uid.as_deref())
        .collect();
    let of = |uid: &str| uids.contains(uid);
    let times: i32 = snapshot
        .events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("EvictionRefused"))
        .filter(|event| event.involved_object.uid.as_deref().is_some_and(of))
        .map(|event| event.count.unwrap_or(1))
        .sum();
    let times = usize::try_from(times).ok().filter(|times| *times > 0)?;
    Some(format!(
        "; events record {} of their evictions",
        plural(times, "refusal")
    ))
}

/// When `disruptionsAllowed` last changed between zero and more.
fn changed(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Option<String> {
    let conditions = count.budget.status.as_ref()?.conditions.as_ref()?;
    let allowed = conditions
        .iter()
        .find(|condition| condition.type_ == "DisruptionAllowed")?;
    let ago = between(snapshot.now, allowed.last_transition_time.0);
    Some(format!(
        "; DisruptionAllowed became {} {ago} ago",
        allowed.status
    ))
}
