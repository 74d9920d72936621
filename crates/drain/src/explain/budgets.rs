//! Explains a budget: its arithmetic as evidence, and what is wrong with it.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    EvictionVerdict, Evidence, ExplainSubject, Explanation, Problem, contention, remedies,
};
use crate::budget::{self, BudgetCount, CountError, CoveredPod, PodHealth};
use crate::cluster::ClusterSnapshot;
use crate::format::{between, for_how_long, listed, plural, verb_for};
use crate::pdb::{self, DisruptionLimit};
use crate::pods;
use crate::readiness::UnreadyReason;
use crate::workloads::autoscalers;

/// How long a disruption controller may take to process a budget, also when another replica has to
/// become the leader.
const SYNC_TIME: SignedDuration = SignedDuration::from_mins(2);
/// The maximum number of pods that a line names.
const MAX_NAMED: usize = 8;

pub(super) fn explain(snapshot: &ClusterSnapshot, found: &PodDisruptionBudget) -> Explanation {
    let count = budget::count(snapshot, found);
    let problems = problems(snapshot, &count);
    let name = pdb::name(found);
    let numbers = numbers(&count);
    let has = |id: &str| problems.iter().any(|problem| problem.id == id);
    let allowed = count.reported.allowed;
    let (verdict, headline) = match () {
        () if has("selects-nothing") => (
            EvictionVerdict::Allowed,
            format!("budget {name} selects no pods: it protects nothing and refuses nothing"),
        ),
        () if has("overlap") => (
            EvictionVerdict::Blocked,
            format!(
                "budget {name} shares pods with another budget: the shared pods cannot be evicted"
            ),
        ),
        () if has("sync-failed") => (
            EvictionVerdict::Blocked,
            format!(
                "budget {name} allows 0 disruptions: the disruption controller cannot count its pods{}",
                sync_failure(&count)
                    .map(|why| format!(": {why}"))
                    .unwrap_or_default()
            ),
        ),
        () if has("never-synced") => (
            EvictionVerdict::Blocked,
            format!(
                "budget {name} refuses every eviction: the disruption controller does not process it"
            ),
        ),
        () if count.reported.stale => (
            EvictionVerdict::Refused,
            format!(
                "budget {name} refuses every eviction: the disruption controller has not processed the newest spec"
            ),
        ),
        () if allowed > 0 => (
            EvictionVerdict::Allowed,
            format!(
                "budget {name} allows {} now ({numbers})",
                plural(allowed, "disruption")
            ),
        ),
        () if has("never-allows")
            || has("single-replica")
            || has("no-rule")
            || expects_no_pods(&count) =>
        {
            (
                EvictionVerdict::Blocked,
                format!("budget {name} can never allow a disruption ({numbers})"),
            )
        }
        () => (
            EvictionVerdict::Refused,
            format!("budget {name} allows 0 disruptions now ({numbers})"),
        ),
    };
    let mut explanation = Explanation::new(ExplainSubject::of_budget(found), verdict, headline);
    explanation.evidence = evidence(snapshot, &count);
    explanation.remedies = remedies::of_budget(snapshot, &count, &problems);
    explanation.problems = with_blocks(problems, verdict != EvictionVerdict::Allowed);
    explanation
}

/// Sets [`Problem::blocks`] of all problems.
pub(super) fn with_blocks(problems: Vec<Problem>, blocks: bool) -> Vec<Problem> {
    problems
        .into_iter()
        .map(|problem| Problem { blocks, ..problem })
        .collect()
}

/// Returns true for a budget that counts by controllers while none of its pods has one: it expects
/// no pods and never allows a disruption.
pub(super) fn expects_no_pods(count: &BudgetCount<'_>) -> bool {
    !count.unmanaged.is_empty()
        && count
            .demand
            .as_ref()
            .is_ok_and(|demand| demand.expected == 0)
}

/// Formats `needs 2 healthy of 3, has 2`, from the status, since the server decides by it.
pub(super) fn numbers(count: &BudgetCount<'_>) -> String {
    let reported = &count.reported;
    format!(
        "needs {} healthy of {}, has {}",
        reported.desired, reported.expected, reported.healthy
    )
}

/// Formats the limit as it is written in the spec.
pub(super) fn limit(count: &BudgetCount<'_>) -> String {
    pdb::limit_text(&count.limit)
}

/// How the limit becomes a number of pods.
fn arithmetic(count: &BudgetCount<'_>) -> Option<String> {
    let demand = match &count.demand {
        Ok(demand) => demand,
        Err(CountError::Unseen(why)) => return Some(format!("its pods cannot be counted: {why}")),
        Err(CountError::Fails(_)) => return None,
    };
    let (limit, expected, desired) = (limit(count), demand.expected, demand.desired);
    let rounded = if limit.ends_with('%') {
        ", rounded up"
    } else {
        ""
    };
    let base = match &count.limit {
        DisruptionLimit::Unset => {
            return Some(
                "without minAvailable or maxUnavailable it allows nothing, however many pods are healthy"
                    .to_owned(),
            );
        }
        DisruptionLimit::MinAvailable(IntOrString::Int(_)) => match count.pods.len() {
            1 => "the 1 pod that exists".to_owned(),
            pods => format!("the {} that exist", plural(pods, "pod")),
        },
        _ => {
            let pods = plural(expected, "pod");
            format!("the {pods} that controllers want")
        }
    };
    let allowed = count.allowed().unwrap_or_default();
    Some(format!(
        "{limit} of {base}{rounded}: needs {desired} healthy, has {}, allows {allowed}",
        count.healthy()
    ))
}

pub(super) fn evidence(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Vec<Evidence> {
    let policy = if pdb::always_allows_unready(count.budget) {
        "AlwaysAllow"
    } else {
        "IfHealthyBudget"
    };
    let name = pdb::name(count.budget);
    let first = format!(
        "budget {name} ({}, policy for unready pods: {policy}) selects {}",
        limit(count),
        selected(count)
    );
    let (healthy, others): (Vec<_>, Vec<_>) = count
        .pods
        .iter()
        .partition(|covered| covered.health == PodHealth::Healthy);
    let mut parts: Vec<String> = others
        .iter()
        .take(MAX_NAMED)
        .map(|covered| unhealthy_line(snapshot, covered))
        .collect();
    if others.len() > MAX_NAMED {
        parts.push(format!(
            "{} more that are not healthy",
            others.len() - MAX_NAMED
        ));
    }
    if !healthy.is_empty() {
        let names = healthy.iter().map(|covered| pods::name(covered.pod));
        parts.push(format!("healthy: {}", listed(names, MAX_NAMED)));
    }
    let mut evidence = vec![Evidence { text: first, parts }];
    evidence.extend(arithmetic(count).map(Evidence::line));
    let stale = if count.reported.stale && sync_failure(count).is_none() {
        "; the status is older than the spec"
    } else {
        ""
    };
    evidence.push(Evidence::line(format!(
        "its status: {}, allows {}{stale}",
        numbers(count),
        count.reported.allowed
    )));
    evidence
}

fn selected(count: &BudgetCount<'_>) -> String {
    let owners: Vec<String> = count
        .owners
        .iter()
        .map(|owner| match &owner.replicas {
            Ok(replicas) => format!("{} {} (wants {replicas})", owner.kind, owner.name),
            Err(_) => format!("{} {}", owner.kind, owner.name),
        })
        .collect();
    let bare = (!count.unmanaged.is_empty())
        .then(|| format!("{} without a controller", count.unmanaged.len()));
    let of: Vec<String> = owners.into_iter().chain(bare).collect();
    let pods = plural(count.pods.len(), "pod");
    if of.is_empty() {
        pods
    } else {
        format!("{pods} of {}", listed(of.iter().map(String::as_str), 4))
    }
}

/// Describes a selected pod: why it is not healthy, and where it runs.
pub(super) fn unhealthy_line(snapshot: &ClusterSnapshot, covered: &CoveredPod<'_>) -> String {
    let pod = covered.pod;
    let on_node = pods::node_of(pod)
        .map(|node| format!(", on {node}"))
        .unwrap_or_default();
    let name = pods::name(pod);
    match &covered.health {
        PodHealth::Healthy => format!("{name}: healthy{on_node}"),
        PodHealth::Terminating => {
            let deadline = pod
                .metadata
                .deletion_timestamp
                .as_ref()
                .map_or(snapshot.now, |time| time.0);
            let left = match deadline > snapshot.now {
                true => format!("{} of its grace left", between(snapshot.now, deadline)),
                false => format!("its grace expired {} ago", between(snapshot.now, deadline)),
            };
            format!("{name}: terminating, {left}{on_node}")
        }
        PodHealth::Granted { until } => {
            format!(
                "{name}: eviction granted, deletion not observed yet; its disruptedPods entry expires in {}{on_node}",
                between(snapshot.now, *until)
            )
        }
        PodHealth::Unready(unready) => {
            let since = for_how_long(snapshot.now, unready.since);
            format!("{name}: not Ready{since}: {}{on_node}", unready.why)
        }
    }
}

/// Returns what is wrong with a budget, the worst first.
pub(super) fn problems(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(overlap(snapshot, count));
    problems.extend(status(snapshot, count));
    problems.extend(spec(count));
    problems.extend(autoscaler(snapshot, count));
    if count.reported.allowed <= 0 {
        problems.extend(used_up_by(snapshot, count));
    }
    problems.extend(operator(count));
    problems.extend(contention::contended(snapshot, count));
    problems
}

fn overlap(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Vec<Problem> {
    let shared = budget::overlaps(snapshot, count);
    let text = |(other, pods): (&PodDisruptionBudget, Vec<&Pod>)| {
        let names = listed(pods.iter().map(|pod| pods::name(pod)), 4);
        format!(
            "budget {} selects {names} as well: the server answers 500 to evictions of a pod with two budgets",
            pdb::name(other)
        )
    };
    shared
        .into_iter()
        .map(|found| Problem::new("overlap", text(found)))
        .collect()
}

/// Failures of the disruption controller that the status shows.
fn status(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(why) = sync_failure(count) {
        problems.push(Problem::new(
            "sync-failed",
            format!("the disruption controller cannot count the pods: {why}"),
        ));
    } else if count.reported.stale {
        problems.push(stale(snapshot, count));
    }
    if count.drifted()
        && let Ok(demand) = &count.demand
    {
        let counted = format!(
            "needs {} healthy of {}, has {}",
            demand.desired,
            demand.expected,
            count.healthy()
        );
        problems.push(Problem::new(
            "drift",
            format!("the status differs from the pods ({counted}): the disruption controller is behind or down"),
        ));
    }
    if rules::budgets::asks_controllers(count.budget.spec.as_ref()) && !count.unmanaged.is_empty() {
        let names = listed(count.unmanaged.iter().map(|pod| pods::name(pod)), 4);
        let text = format!(
            "{names} {} no controller, but {} counts the pods that controllers want; only an integer minAvailable counts such pods",
            verb_for(count.unmanaged.len(), "has", "have"),
            limit(count)
        );
        problems.push(Problem::new("unmanaged", text));
    }
    problems
}

/// Returns why the disruption controller cannot count the pods. An old failure says nothing about a
/// newer spec that can be counted.
pub(super) fn sync_failure<'c>(count: &'c BudgetCount<'_>) -> Option<&'c str> {
    let reported = count.reported.sync_failed.as_deref();
    // A budget that was never changed can only have failed with the spec that it has.
    let is_changed = count.budget.metadata.generation.unwrap_or_default() > 1;
    match &count.demand {
        Ok(_) if count.reported.stale && is_changed => None,
        Err(CountError::Fails(why)) => reported.or(Some(why)),
        _ => reported,
    }
}

/// A status that is older than the spec: late, or never to come.
fn stale(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Problem {
    let changed = pdb::changed_at(count.budget);
    match changed.filter(|at| snapshot.now.duration_since(*at) > SYNC_TIME) {
        Some(at) => Problem::new(
            "never-synced",
            format!(
                "the disruption controller has not processed the newest spec for {}: it is down, and waiting does not help",
                between(snapshot.now, at)
            ),
        ),
        None => Problem::new(
            "stale",
            "the disruption controller has not processed the newest spec (observedGeneration is behind): normal for a moment, otherwise the controller is down or slow",
        ),
    }
}

/// What is wrong with the spec, whatever the pods do.
fn spec(count: &BudgetCount<'_>) -> Vec<Problem> {
    if count.limit == DisruptionLimit::Unset {
        return vec![Problem::new(
            "no-rule",
            "it sets neither minAvailable nor maxUnavailable, so it allows nothing",
        )];
    }
    if count.pods.is_empty() {
        let why = if pdb::has_no_selector(count.budget) {
            "it has no selector (a null selector selects nothing, {} selects all pods)"
        } else {
            "no pod matches its selector"
        };
        return vec![Problem::new("selects-nothing", why)];
    }
    if expects_no_pods(count) {
        return Vec::new();
    }
    let wanted = count.most();
    if count.allowed_at_best() != Some(0) || (wanted == 0 && count.unmanaged.is_empty()) {
        return Vec::new();
    }
    let owners = listed(count.owners.iter().map(|owner| owner.name), 3);
    let limit = limit(count);
    match (wanted, count.owners.first()) {
        (1, Some(owner)) if count.unmanaged.is_empty() => {
            let text = format!(
                "{} {} has a single replica, which {limit} protects: while it is healthy it can never be evicted",
                owner.kind, owner.name
            );
            vec![Problem::new("single-replica", text)]
        }
        (_, None) => vec![Problem::new(
            "never-allows",
            format!(
                "{limit} allows no disruption even when {} healthy",
                every_pod(i32::try_from(count.pods.len()).unwrap_or(i32::MAX), "")
            ),
        )],
        _ => {
            let pods = every_pod(count.most(), &format!(" of {owners}"));
            let text = format!("{limit} allows no disruption even when {pods} healthy");
            vec![Problem::new("never-allows", text)]
        }
    }
}

/// Formats `the pod of web is` or `all 3 pods of web are`.
fn every_pod(pods: i32, of: &str) -> String {
    match pods {
        1 => format!("the pod{of} is"),
        _ => format!("all {pods} pods{of} are"),
    }
}

/// Autoscalers whose minimum leaves nothing to disrupt.
fn autoscaler(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Vec<Problem> {
    let tight = autoscalers(snapshot).into_iter().filter_map(|scaler| {
        let space = pdb::namespace(count.budget);
        let mut owners = count.owners.iter();
        owners.find(|owner| scaler.scales(space, owner.kind, owner.name))?;
        let least = scaler.low();
        let needed = pdb::desired_of(count.budget, least)?;
        let text = format!(
            "{} {} may scale {} {} down to {least}, where the budget needs {needed} healthy and allows nothing",
            scaler.kind, scaler.name, scaler.target_kind, scaler.target_name
        );
        (needed >= least).then(|| Problem::new("hpa-minimum", text))
    });
    tight.collect()
}

/// The pods that use up the budget.
fn used_up_by(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let names = |wanted: fn(&PodHealth) -> bool| -> Vec<&str> {
        count
            .pods
            .iter()
            .filter(|covered| wanted(&covered.health))
            .map(|covered| pods::name(covered.pod))
            .collect()
    };
    let unready = names(|health| matches!(health, PodHealth::Unready(_)));
    if !unready.is_empty() {
        let text = format!(
            "not Ready, so not counted as healthy: {}",
            listed(unready.iter().copied(), 5)
        );
        problems.push(Problem::new("unready-pods", text));
        let reported = &count.reported;
        if !pdb::always_allows_unready(count.budget) && reported.healthy < reported.desired {
            let text = format!(
                "the unready pods cannot be evicted either: policy IfHealthyBudget allows that only while {} {} healthy, and {} {}",
                plural(reported.desired, "pod"),
                verb_for(reported.desired, "is", "are"),
                reported.healthy,
                verb_for(reported.healthy, "is", "are")
            );
            problems.push(Problem::new("policy", text));
        }
    }
    let terminating = names(|health| *health == PodHealth::Terminating);
    if !terminating.is_empty() {
        problems.push(Problem::new(
            "terminating-pods",
            format!(
                "terminating, so not counted as healthy: {}",
                listed(terminating, 5)
            ),
        ));
    }
    let granted = names(|health| matches!(health, PodHealth::Granted { .. }));
    if !granted.is_empty() {
        let text = format!(
            "evictions granted, deletions not observed yet: {}; a disruptedPods entry expires two minutes after its grant",
            listed(granted, 5)
        );
        problems.push(Problem::new("granted-pods", text));
    }
    problems.extend(unschedulable(snapshot, count));
    problems.extend(missing(snapshot, count));
    problems
}

/// Replacements that find no node. When nodes are cordoned for a drain, this is a deadlock: the
/// drain waits for the budget, and the budget for the replacement.
fn unschedulable(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Option<Problem> {
    let waits = |covered: &&CoveredPod<'_>| {
        matches!(&covered.health,
        PodHealth::Unready(unready) if unready.reason == UnreadyReason::Unschedulable)
    };
    let pods: Vec<&str> = count
        .pods
        .iter()
        .filter(waits)
        .map(|covered| pods::name(covered.pod))
        .collect();
    if pods.is_empty() {
        return None;
    }
    let cordoned: Vec<&str> = snapshot
        .nodes
        .iter()
        .filter(|node| rules::nodes::is_cordoned(node))
        .map(rules::nodes::name)
        .collect();
    let why = match cordoned.len() {
        0 => String::new(),
        nodes => format!(
            "; {} {} cordoned, and until {} uncordoned the drain waits for the budget and the budget for the pod",
            listed(cordoned, 4),
            verb_for(nodes, "is", "are"),
            verb_for(nodes, "it is", "they are"),
        ),
    };
    Some(Problem::new(
        "replacement-pending",
        format!("no node can take {}{why}", listed(pods, 4)),
    ))
}

/// Pods that a controller wants and that do not exist.
fn missing(snapshot: &ClusterSnapshot, count: &BudgetCount<'_>) -> Option<Problem> {
    let demand = count.demand.as_ref().ok()?;
    // A terminating pod exists: its controller may wait for its end before replacing it.
    let missing = usize::try_from(demand.expected)
        .unwrap_or_default()
        .checked_sub(count.pods.len())
        .filter(|missing| *missing > 0)?;
    if matches!(
        count.limit,
        DisruptionLimit::MinAvailable(IntOrString::Int(_))
    ) {
        return None;
    }
    let names: Vec<&str> = count.owners.iter().map(|owner| owner.name).collect();
    let failed = snapshot.events.iter().rev().find(|event| {
        let about = event.involved_object.name.as_deref().unwrap_or_default();
        event.reason.as_deref() == Some("FailedCreate")
            && names.iter().any(|name| about.starts_with(name))
    });
    let why = failed
        .and_then(|event| event.message.as_deref())
        .map(|message| format!(": {message}"))
        .unwrap_or_default();
    Some(Problem::new(
        "missing-pods",
        format!(
            "{} fewer than {} {}{why}",
            plural(missing, "pod"),
            listed(names.iter().copied(), 3),
            verb_for(names.len(), "wants", "want"),
        ),
    ))
}

/// A controller that owns the budget reverts edits of it.
fn operator(count: &BudgetCount<'_>) -> Option<Problem> {
    let owner = pods::controller(&count.budget.metadata)?;
    let text = format!(
        "{} {} owns this budget and may use it to protect data: it reverts edits, so change its configuration instead",
        owner.kind, owner.name
    );
    Some(Problem::new("operator-budget", text))
}
