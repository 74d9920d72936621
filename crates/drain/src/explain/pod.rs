//! Explains a pod: whether it could be evicted now, why not, and what would follow.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use rules::eviction::{Bypass, MAX_DISRUPTED_PODS, Unhealthy};

use super::views::ExplainViews;
use super::{
    EvictionVerdict, Evidence, ExplainSubject, Explanation, Problem, budgets, consequences,
    remedies, terminating, webhooks,
};
use crate::budget;
use crate::cluster::{ClusterSnapshot, NOT_IN_FILE};
use crate::format::{between, for_how_long, listed, plural};
use crate::prediction::{Prediction, RefusalReason, predict};
use crate::{pdb, pods, readiness};

/// The resource without which no eviction can be predicted.
const BUDGETS: &str = "poddisruptionbudgets.policy";

pub(super) fn explain<'a>(
    snapshot: &'a ClusterSnapshot,
    pod: &'a Pod,
    views: &ExplainViews<'a>,
) -> Explanation {
    if let Some(deadline) = &pod.metadata.deletion_timestamp {
        return terminating::explain(snapshot, pod, deadline.0);
    }
    let subject = ExplainSubject::of_pod(pod);
    let unreadable = snapshot
        .unread(BUDGETS)
        .filter(|unread| unread.why != NOT_IN_FILE);
    if let Some(unread) = unreadable {
        let headline = format!(
            "whether {} can be evicted is unknown: cannot read budgets ({})",
            pods::name(pod),
            unread.why
        );
        let mut explanation = Explanation::new(subject, EvictionVerdict::Unknown, headline);
        explanation.problems = consequences::problems(snapshot, pod, views);
        return explanation;
    }
    let prediction = predict(snapshot, pod);
    let is_refused = matches!(prediction, Prediction::Refused(_));
    let problems = match (&prediction, prediction.budget()) {
        (Prediction::Refused(RefusalReason::SeveralBudgets(all)), _) => vec![overlap(all)],
        (_, Some(found)) => views.budget(found).problems.clone(),
        _ => Vec::new(),
    };
    let mut problems = budgets::with_blocks(problems, is_refused);
    let after = consequences::problems(snapshot, pod, views);
    let (verdict, headline) = match after.iter().find(|problem| problem.id == "webhook-down") {
        // The server calls webhooks before it reads budgets.
        Some(down) => (
            EvictionVerdict::Blocked,
            format!("{} cannot be evicted: {}", pods::name(pod), down.text),
        ),
        None => headline(snapshot, pod, &prediction, &problems, views),
    };
    let mut explanation = Explanation::new(subject, verdict, headline);
    explanation.evidence = evidence(snapshot, pod, &prediction, views);
    if let Prediction::Refused(reason) = &prediction {
        explanation.remedies =
            remedies::of_refusal(pod, reason, |budget| views.budget(budget).remedies.clone());
    }
    explanation
        .remedies
        .extend(webhooks::remedies(snapshot, pods::namespace(pod)));
    problems.extend(after);
    explanation.problems = problems;
    explanation
}

fn overlap(all: &[&PodDisruptionBudget]) -> Problem {
    Problem::new(
        "overlap",
        format!(
            "budgets {} select it: the server answers 500 to every eviction of such a pod",
            names(all)
        ),
    )
}

fn names(budgets: &[&PodDisruptionBudget]) -> String {
    listed(budgets.iter().map(|found| pdb::name(found)), 5)
}

fn headline<'a>(
    snapshot: &'a ClusterSnapshot,
    pod: &Pod,
    prediction: &Prediction<'a>,
    problems: &[Problem],
    views: &ExplainViews<'a>,
) -> (EvictionVerdict, String) {
    let name = pods::name(pod);
    let reason = match prediction {
        Prediction::Refused(reason) => reason,
        granted => {
            let how = granted_because(snapshot, granted, views);
            return (
                EvictionVerdict::Allowed,
                format!("{name} can be evicted {how}"),
            );
        }
    };
    let now = |why: String| {
        (
            EvictionVerdict::Refused,
            format!("{name} cannot be evicted now: {why}"),
        )
    };
    let ever = |why: String| {
        (
            EvictionVerdict::Blocked,
            format!("{name} cannot be evicted: {why}"),
        )
    };
    match reason {
        RefusalReason::NamespaceTerminating => now(format!(
            "namespace {} is being deleted and accepts no evictions (403)",
            pods::namespace(pod)
        )),
        RefusalReason::SeveralBudgets(all) => {
            ever(format!("more than one budget selects it ({})", names(all)))
        }
        RefusalReason::Stale(found) => {
            let name = pdb::name(found);
            let late = format!(
                "the disruption controller has not processed the newest spec of budget {name}"
            );
            let view = views.budget(found);
            let has = |id: &str| problems.iter().any(|problem| problem.id == id);
            match budgets::sync_failure(&view.count) {
                Some(why) => ever(format!(
                    "budget {name} allows nothing, because the disruption controller cannot sync it: {why}"
                )),
                None if has("never-synced") => ever(format!("{late} and is down")),
                None => now(late),
            }
        }
        RefusalReason::NegativeAllowance(found) => ever(format!(
            "the status of budget {} is invalid: disruptionsAllowed is negative (403)",
            pdb::name(found)
        )),
        RefusalReason::TooManyDisruptedPods(found) => ever(format!(
            "the status of budget {} is invalid: disruptedPods has more than {MAX_DISRUPTED_PODS} entries (403)",
            pdb::name(found)
        )),
        RefusalReason::SyncFailed(found, why) => ever(format!(
            "budget {} allows nothing, because the disruption controller cannot sync it: {why}",
            pdb::name(found)
        )),
        RefusalReason::NoDisruptionsAllowed(found) => {
            let view = views.budget(found);
            let count = &view.count;
            let text = format!(
                "budget {} allows 0 disruptions ({})",
                pdb::name(found),
                budgets::numbers(count)
            );
            let is_permanent = |problem: &Problem| {
                matches!(
                    problem.id,
                    "never-allows" | "single-replica" | "no-rule" | "sync-failed"
                )
            };
            match problems.iter().any(is_permanent) || budgets::expects_no_pods(count) {
                true => ever(format!("{text} and can never allow one")),
                false => now(text),
            }
        }
    }
}

/// The end of "NAME can be evicted …".
fn granted_because<'a>(
    snapshot: &'a ClusterSnapshot,
    prediction: &Prediction<'a>,
    views: &ExplainViews<'a>,
) -> String {
    match prediction {
        Prediction::Bypassed(bypass) => {
            let why = match bypass {
                Bypass::Terminating => "it is being deleted already",
                Bypass::NotStarted => "its containers have not started",
                Bypass::Finished => "it has finished",
            };
            format!("now: {why}, so budgets do not apply")
        }
        Prediction::NoBudget if snapshot.unread(BUDGETS).is_some() => {
            "as far as the file shows: it contains no budgets".to_owned()
        }
        Prediction::NoBudget => "now: no budget selects it".to_owned(),
        Prediction::Uncharged(found, why) => {
            let why = match why {
                Unhealthy::AlwaysAllowed => "always allows that (AlwaysAllow)",
                Unhealthy::BudgetSatisfied => "has enough healthy pods without it",
            };
            format!(
                "now: it is not Ready, and budget {} {why}",
                pdb::name(found)
            )
        }
        Prediction::Charged(found) => {
            let view = views.budget(found);
            let count = &view.count;
            let allowed = usize::try_from(count.reported.allowed).unwrap_or_default();
            format!(
                "now: budget {} allows {} ({})",
                pdb::name(found),
                plural(allowed, "disruption"),
                budgets::numbers(count)
            )
        }
        Prediction::Refused(_) => String::new(),
    }
}

fn evidence<'a>(
    snapshot: &'a ClusterSnapshot,
    pod: &Pod,
    prediction: &Prediction<'a>,
    views: &ExplainViews<'a>,
) -> Vec<Evidence> {
    let mut evidence = vec![state(snapshot, pod)];
    if let Some(found) = prediction.budget() {
        let view = views.budget(found);
        evidence.extend(view.evidence.iter().cloned());
        evidence.extend(policy(pod, &view.count));
    }
    evidence.extend(refusals(snapshot, pod));
    evidence
}

fn state(snapshot: &ClusterSnapshot, pod: &Pod) -> Evidence {
    let name = pods::name(pod);
    let on_node =
        pods::node_of(pod).map_or_else(|| "on no node".to_owned(), |node| format!("on {node}"));
    let owner = pods::controller_of(pod).map_or_else(
        || "without a controller".to_owned(),
        |owner| format!("of {} {}", owner.kind, owner.name),
    );
    let health = match readiness::unready(snapshot, pod) {
        None => "Ready".to_owned(),
        Some(unready) => {
            let since = for_how_long(snapshot.now, unready.since);
            format!("not Ready{since}: {}", unready.why)
        }
    };
    Evidence::line(format!(
        "{name} ({}) {owner} {on_node}: {health}",
        pods::phase(pod)
    ))
}

/// How the budget's policy applies to an unready pod.
fn policy(pod: &Pod, count: &budget::BudgetCount<'_>) -> Option<Evidence> {
    if pods::is_ready(pod) {
        return None;
    }
    let (healthy, desired) = (count.reported.healthy, count.reported.desired);
    let effect = match (
        pdb::always_allows_unready(count.budget),
        pdb::eviction_state(count.budget).is_satisfied(),
    ) {
        (true, _) => "AlwaysAllow: evictions of unready pods are always granted".to_owned(),
        (false, true) => format!(
            "IfHealthyBudget, and {healthy} healthy >= {desired} needed: its eviction is granted without charging the budget"
        ),
        (false, false) if desired == 0 => {
            "IfHealthyBudget, and 0 needed: the exception for unready pods applies only when the budget needs at least one"
                .to_owned()
        }
        (false, false) => format!(
            "IfHealthyBudget, and {healthy} healthy < {desired} needed: the budget protects it like a ready pod"
        ),
    };
    Some(Evidence::line(format!("policy for unready pods: {effect}")))
}

/// The refusals that the server has recorded as events, where it records them.
fn refusals(snapshot: &ClusterSnapshot, pod: &Pod) -> Option<Evidence> {
    let events: Vec<_> = snapshot
        .events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("EvictionRefused"))
        .filter(|event| {
            event.involved_object.uid.is_some() && event.involved_object.uid == pod.metadata.uid
        })
        .collect();
    let last = events
        .iter()
        .filter_map(|event| event.last_timestamp.as_ref())
        .max_by_key(|at| at.0)?;
    let times: i32 = events.iter().map(|event| event.count.unwrap_or(1)).sum();
    Some(Evidence::line(format!(
        "events record {} of its eviction, the last {} ago",
        plural(times, "refusal"),
        between(snapshot.now, last.0)
    )))
}
