//! Pods of one budget that want to go at the same time: what a dry run, which judges each of them
//! alone, cannot say; and drains that get in each other's way at a budget.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::decide::{Decision, decide};
use super::{Explanation, Problem, Risk, Verdict, Way};
use crate::budget::{self, Count, Standing};
use crate::cluster::Snapshot;
use crate::health;
use crate::words::{between, listed, plural};

/// Names in a text.
const MOST_NAMED: usize = 5;

/// What is wrong with judging the pods of a node one by one: several that share what a budget
/// allows, and refusals that the drain itself will end. `told` explains the pods of `going`, in
/// their order.
pub(super) fn judged_alone(
    snapshot: &Snapshot,
    going: &[&Pod],
    told: &[Explanation],
) -> Vec<Problem> {
    let mut groups: Vec<(&PodDisruptionBudget, Vec<&str>)> = Vec::new();
    for pod in going {
        let Decision::Charged(found) = decide(snapshot, pod) else {
            continue;
        };
        match groups
            .iter_mut()
            .find(|(known, _)| std::ptr::eq(*known, found))
        {
            Some((_, pods)) => pods.push(health::name(pod)),
            None => groups.push((found, vec![health::name(pod)])),
        }
    }
    let allowed = |found: &PodDisruptionBudget| {
        usize::try_from(budget::reported(found).allowed).unwrap_or_default()
    };
    let shared = groups.into_iter().filter(|(found, pods)| pods.len() > allowed(found)).map(|(found, pods)| {
        let count = plural(allowed(found), "disruption");
        let text = format!(
            "{} share budget {}, which allows {count} now: a dry run judges each alone and lets all of them go, a drain lets them go in turns",
            listed(pods, MOST_NAMED),
            budget::name(found)
        );
        Problem::new("judged-alone", text)
    });
    let refused = told
        .iter()
        .filter(|one| one.verdict == Verdict::Refused)
        .map(|one| one.subject.name.as_str());
    let refused: Vec<&str> = refused.collect();
    let passing = (!refused.is_empty()).then(|| {
        let names = listed(refused.iter().copied(), MOST_NAMED);
        Problem::new("judged-alone", format!("{names}: a dry run refuses by the budgets of this moment, and a drain may pass all the same"))
    });
    shared.chain(passing).collect()
}

/// Drains that contend for a budget: more of its pods stand on cordoned nodes than it ever lets go
/// at a time.
pub(super) fn contended(snapshot: &Snapshot, count: &Count<'_>) -> Option<Problem> {
    let at_a_time = usize::try_from(count.allowed_at_best()?)
        .ok()
        .filter(|most| *most > 0)?;
    let waiting = waiting(snapshot, count);
    if waiting.len() <= at_a_time {
        return None;
    }
    let turns = waiting.len().div_ceil(at_a_time);
    let on = nodes(&waiting);
    let mut text = format!(
        "{} of its pods wait on cordoned nodes ({}) and it lets {at_a_time} go at a time: {turns} turns, each as long as a successor needs",
        waiting.len(),
        listed(on.iter().copied(), MOST_NAMED)
    );
    text.extend(refusals(snapshot, &waiting));
    text.extend(changed(snapshot, count));
    Some(Problem::new("contended", text))
}

/// How to go on where drains contend.
pub(super) fn ways(snapshot: &Snapshot, count: &Count<'_>) -> Vec<Way> {
    let waiting = waiting(snapshot, count);
    let on = nodes(&waiting);
    let together = match on.as_slice() {
        [one] => format!("exeunt drain {one}"),
        several => format!(
            "exeunt drain --parallel {} {}",
            several.len(),
            several.join(" ")
        ),
    };
    vec![
        Way {
            risk: Risk::Safe,
            text: "Let one command drain all of them: it asks when the budget frees, and the nodes take turns".into(),
            commands: vec![together],
        },
        Way {
            risk: Risk::Safe,
            text: "See how long the turns take, and which nodes do not wait for each other".into(),
            commands: vec![format!("exeunt plan {}", on.join(" "))],
        },
    ]
}

/// The pods that a drain of the cordoned nodes has yet to make leave.
fn waiting<'a>(snapshot: &Snapshot, count: &Count<'a>) -> Vec<&'a Pod> {
    let cordoned = |name: &str| {
        snapshot
            .nodes
            .iter()
            .any(|node| rules::nodes::name(node) == name && rules::nodes::is_cordoned(node))
    };
    let stays = |covered: &&budget::Covered<'_>| {
        !matches!(
            covered.standing,
            Standing::Terminating | Standing::Granted { .. }
        )
    };
    let there = count.pods.iter().filter(stays).map(|covered| covered.pod);
    there
        .filter(|pod| !super::node::stays(pod) && health::node_of(pod).is_some_and(cordoned))
        .collect()
}

fn nodes<'a>(pods: &[&'a Pod]) -> Vec<&'a str> {
    let mut names: Vec<&str> = pods.iter().filter_map(|pod| health::node_of(pod)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What events tell of refusals, where the server writes such.
fn refusals(snapshot: &Snapshot, pods: &[&Pod]) -> Option<String> {
    let of = |uid: &str| {
        pods.iter()
            .any(|pod| pod.metadata.uid.as_deref() == Some(uid))
    };
    let told = snapshot
        .events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("EvictionRefused"));
    let told = told.filter(|event| event.involved_object.uid.as_deref().is_some_and(of));
    let times: i32 = told.map(|event| event.count.unwrap_or(1)).sum();
    (times > 0).then(|| format!("; events tell of {times} refused evictions of them"))
}

/// When what the budget allows last changed between something and nothing.
fn changed(snapshot: &Snapshot, count: &Count<'_>) -> Option<String> {
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
