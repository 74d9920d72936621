//! A pod: whether it could be evicted now, why not, and what would follow.

use k8s_openapi::api::core::v1::Pod;

use super::decide::{Decision, Refusal, always_allows, decide};
use super::{
    Evidence, Explanation, Problem, Subject, Verdict, after, budgets, leaving, ways, webhooks,
};
use crate::budget;
use crate::cluster::{NOT_IN_FILE, Snapshot};
use crate::health;
use crate::words::{between, listed};

/// The resource without which nothing can be said.
const BUDGETS: &str = "poddisruptionbudgets.policy";

pub(super) fn explain(snapshot: &Snapshot, pod: &Pod) -> Explanation {
    if let Some(deadline) = &pod.metadata.deletion_timestamp {
        return leaving::explain(snapshot, pod, deadline.0);
    }
    if let Some(unread) = snapshot
        .unread
        .iter()
        .find(|unread| unread.resource == BUDGETS && unread.why != NOT_IN_FILE)
    {
        let headline = format!(
            "whether {} can be evicted cannot be said: budgets cannot be read ({})",
            health::name(pod),
            unread.why
        );
        let mut explanation = Explanation::new(Subject::of_pod(pod), Verdict::Unknown, headline);
        explanation.problems = after::problems(snapshot, pod);
        return explanation;
    }
    let decision = decide(snapshot, pod);
    let mut problems = match &decision {
        Decision::Refused(Refusal::Overlap(all)) => vec![overlap(all)],
        Decision::Free(found)
        | Decision::Charged(found)
        | Decision::Refused(
            Refusal::Stale(found)
            | Refusal::Impossible(found, _)
            | Refusal::SyncFailed(found, _)
            | Refusal::Spent(found),
        ) => budgets::problems(snapshot, &budget::count(snapshot, found)),
        _ => Vec::new(),
    };
    problems = budgets::held(problems, matches!(decision, Decision::Refused(_)));
    let after = after::problems(snapshot, pod);
    let (verdict, headline) = match after.iter().find(|problem| problem.id == "webhook-down") {
        // The server asks webhooks before it looks at budgets.
        Some(down) => (
            Verdict::Blocked,
            format!("{} cannot be evicted: {}", health::name(pod), down.text),
        ),
        None => headline(snapshot, pod, &decision, &problems),
    };
    let mut explanation = Explanation::new(Subject::of_pod(pod), verdict, headline);
    explanation.evidence = evidence(snapshot, pod, &decision);
    if let Decision::Refused(refusal) = &decision {
        explanation.ways = ways::of_refusal(snapshot, pod, refusal, &problems);
    }
    explanation
        .ways
        .extend(webhooks::ways(snapshot, health::namespace(pod)));
    problems.extend(after);
    explanation.problems = problems;
    explanation
}

fn overlap(all: &[&k8s_openapi::api::policy::v1::PodDisruptionBudget]) -> Problem {
    let names = listed(all.iter().map(|found| budget::name(found)), 5);
    Problem::new(
        "overlap",
        format!(
            "budgets {names} all select it, and the server answers 500 to every eviction of such a pod"
        ),
    )
}

fn headline(
    snapshot: &Snapshot,
    pod: &Pod,
    decision: &Decision<'_>,
    problems: &[Problem],
) -> (Verdict, String) {
    let name = health::name(pod);
    let no = |why: String| format!("{name} cannot be evicted now: {why}");
    let never = |why: String| format!("{name} cannot be evicted: {why}");
    match decision {
        Decision::Bypasses(why) => (
            Verdict::Allowed,
            format!("{name} can be evicted now: {why}, so no budget is asked"),
        ),
        Decision::Unprotected
            if snapshot
                .unread
                .iter()
                .any(|unread| unread.resource == BUDGETS) =>
        {
            (
                Verdict::Allowed,
                format!("{name} can be evicted as far as the file shows: it holds no budgets"),
            )
        }
        Decision::Unprotected => (
            Verdict::Allowed,
            format!("{name} can be evicted now: no budget selects it"),
        ),
        Decision::Free(found) => {
            let why = match always_allows(found) {
                true => "lets unready pods go always (AlwaysAllow)",
                false => "has its healthy pods without it",
            };
            (
                Verdict::Allowed,
                format!(
                    "{name} can be evicted now: it is not Ready, and budget {} {why}",
                    budget::name(found)
                ),
            )
        }
        Decision::Charged(found) => {
            let count = budget::count(snapshot, found);
            let figures = budgets::figures(&count);
            (
                Verdict::Allowed,
                format!(
                    "{name} can be evicted now: budget {} allows {} ({figures})",
                    budget::name(found),
                    count.reported.allowed
                ),
            )
        }
        Decision::Refused(refusal) => match refusal {
            Refusal::Namespace => (
                Verdict::Refused,
                no(format!(
                    "namespace {} is being deleted, and takes no evictions (403)",
                    health::namespace(pod)
                )),
            ),
            Refusal::Overlap(all) => {
                let names = listed(all.iter().map(|found| budget::name(found)), 5);
                (
                    Verdict::Blocked,
                    never(format!("more than one budget selects it ({names})")),
                )
            }
            Refusal::Stale(found) => (
                Verdict::Refused,
                no(format!(
                    "budget {} is still being processed by the server (its status is older than its spec)",
                    budget::name(found)
                )),
            ),
            Refusal::Impossible(found, why) => (
                Verdict::Blocked,
                never(format!(
                    "budget {} is unusable: {why} (403)",
                    budget::name(found)
                )),
            ),
            Refusal::SyncFailed(found, why) => (
                Verdict::Blocked,
                never(format!(
                    "budget {} failed to be synced, so it allows nothing: {why}",
                    budget::name(found)
                )),
            ),
            Refusal::Spent(found) => {
                let count = budget::count(snapshot, found);
                let figures = budgets::figures(&count);
                let text = format!(
                    "budget {} allows 0 disruptions ({figures})",
                    budget::name(found)
                );
                let hopeless = |problem: &Problem| {
                    matches!(
                        problem.id,
                        "never-allows" | "single-replica" | "no-rule" | "sync-failed"
                    )
                };
                match problems.iter().any(hopeless) || budgets::counts_nobody(&count) {
                    true => (Verdict::Blocked, never(format!("{text}, and never will"))),
                    false => (Verdict::Refused, no(text)),
                }
            }
        },
    }
}

fn evidence(snapshot: &Snapshot, pod: &Pod, decision: &Decision<'_>) -> Vec<Evidence> {
    let mut evidence = vec![state(snapshot, pod)];
    let found = match decision {
        Decision::Free(found) | Decision::Charged(found) => Some(*found),
        Decision::Refused(
            Refusal::Stale(found)
            | Refusal::Impossible(found, _)
            | Refusal::SyncFailed(found, _)
            | Refusal::Spent(found),
        ) => Some(*found),
        _ => None,
    };
    if let Some(found) = found {
        let count = budget::count(snapshot, found);
        evidence.extend(budgets::evidence(snapshot, &count));
        evidence.extend(policy(pod, &count));
    }
    evidence.extend(refusals(snapshot, pod));
    evidence
}

fn state(snapshot: &Snapshot, pod: &Pod) -> Evidence {
    let name = health::name(pod);
    let place =
        health::node_of(pod).map_or_else(|| "on no node".to_owned(), |node| format!("on {node}"));
    let owner = health::controller_of(pod).map_or_else(
        || "without a controller".to_owned(),
        |owner| format!("of {} {}", owner.kind, owner.name),
    );
    let health = match health::unready(snapshot, pod) {
        None => "Ready".to_owned(),
        Some(unready) => {
            let since = unready
                .since
                .map(|since| format!(" for {}", between(snapshot.now, since)))
                .unwrap_or_default();
            format!("not Ready{since}: {}", unready.why)
        }
    };
    Evidence::line(format!(
        "{name} ({}) {owner} {place}: {health}",
        health::phase(pod)
    ))
}

/// The cell of the policy's table that applies to an unready pod.
fn policy(pod: &Pod, count: &budget::Count<'_>) -> Option<Evidence> {
    if health::is_ready(pod) {
        return None;
    }
    let (healthy, desired) = (count.reported.healthy, count.reported.desired);
    let cell = match (
        always_allows(count.budget),
        healthy >= desired && desired > 0,
    ) {
        (true, _) => "AlwaysAllow: unready pods always go".to_owned(),
        (false, true) => format!(
            "IfHealthyBudget, and {healthy} healthy >= {desired} needed: it goes without charging the budget"
        ),
        (false, false) if desired == 0 => {
            "IfHealthyBudget, and 0 are needed: the shortcut of unready pods wants at least one"
                .to_owned()
        }
        (false, false) => format!(
            "IfHealthyBudget, and {healthy} healthy < {desired} needed: it is held like a ready one"
        ),
    };
    Some(Evidence::line(format!("policy for an unready pod: {cell}")))
}

/// What the server has written about refusals, where it writes such events.
fn refusals(snapshot: &Snapshot, pod: &Pod) -> Option<Evidence> {
    let told: Vec<_> = snapshot
        .events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("EvictionRefused"))
        .filter(|event| {
            event.involved_object.uid.is_some() && event.involved_object.uid == pod.metadata.uid
        })
        .collect();
    let last = told
        .iter()
        .filter_map(|event| event.last_timestamp.as_ref())
        .max_by_key(|at| at.0)?;
    let times: i32 = told.iter().map(|event| event.count.unwrap_or(1)).sum();
    let (ago, plural) = (
        between(snapshot.now, last.0),
        if times == 1 { "" } else { "s" },
    );
    Some(Evidence::line(format!(
        "events tell of {times} refused eviction{plural} of it, the last {ago} ago"
    )))
}
