//! A budget: its arithmetic as evidence, and what is wrong with it.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::decide::always_allows;
use super::{Evidence, Explanation, Problem, Subject, Verdict, contention, ways};
use crate::budget::{self, Count, Covered, Rule, Standing, Uncounted};
use crate::cluster::Snapshot;
use crate::health::{self, Trouble};
use crate::words::{between, listed, plural};

/// More pods than this are counted and not named.
const MOST_NAMED: usize = 8;

pub(super) fn explain(snapshot: &Snapshot, found: &PodDisruptionBudget) -> Explanation {
    let count = budget::count(snapshot, found);
    let problems = problems(snapshot, &count);
    let name = budget::name(found);
    let healthy = figures(&count);
    let has = |id: &str| problems.iter().any(|problem| problem.id == id);
    let allowed = count.reported.allowed;
    let (verdict, headline) = match () {
        () if has("selects-nothing") => (
            Verdict::Allowed,
            format!("budget {name} selects no pod: it protects nothing and refuses nothing"),
        ),
        () if has("overlap") => (
            Verdict::Blocked,
            format!("budget {name} shares pods with another budget: none of those can be evicted"),
        ),
        () if has("sync-failed") => (
            Verdict::Blocked,
            format!(
                "budget {name} allows 0 disruptions: the disruption controller cannot count its pods"
            ),
        ),
        () if count.reported.stale => (
            Verdict::Refused,
            format!(
                "budget {name} has not been looked at since its spec was edited: every eviction is told to come back"
            ),
        ),
        () if allowed > 0 => (
            Verdict::Allowed,
            format!(
                "budget {name} allows {} now ({healthy})",
                plural(usize::try_from(allowed).unwrap_or_default(), "disruption")
            ),
        ),
        () if has("never-allows")
            || has("single-replica")
            || has("no-rule")
            || counts_nobody(&count) =>
        {
            (
                Verdict::Blocked,
                format!("budget {name} can never allow a disruption ({healthy})"),
            )
        }
        () => (
            Verdict::Refused,
            format!("budget {name} allows 0 disruptions now ({healthy})"),
        ),
    };
    let mut explanation = Explanation::new(Subject::of_budget(found), verdict, headline);
    explanation.evidence = evidence(snapshot, &count);
    explanation.ways = ways::of_budget(snapshot, &count, &problems);
    explanation.problems = held(problems, verdict != Verdict::Allowed);
    explanation
}

/// The same problems, as such that hold pods or as such that are good to know.
pub(super) fn held(problems: Vec<Problem>, blocks: bool) -> Vec<Problem> {
    problems
        .into_iter()
        .map(|problem| Problem { blocks, ..problem })
        .collect()
}

/// A budget that counts by controllers while none of its pods has any.
pub(super) fn counts_nobody(count: &Count<'_>) -> bool {
    !count.unmanaged.is_empty()
        && count
            .figures
            .as_ref()
            .is_ok_and(|figures| figures.expected == 0)
}

/// `needs 2 healthy of 3, has 2`, by the status, since evictions are decided by it.
pub(super) fn figures(count: &Count<'_>) -> String {
    let said = &count.reported;
    format!(
        "needs {} healthy of {}, has {}",
        said.desired, said.expected, said.healthy
    )
}

/// What the budget asks for, in its own words.
pub(super) fn rule(count: &Count<'_>) -> String {
    let value = |value: &IntOrString| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    };
    match &count.rule {
        Rule::MaxUnavailable(max) => format!("maxUnavailable {}", value(max)),
        Rule::MinAvailable(min) => format!("minAvailable {}", value(min)),
        Rule::Nothing => "neither minAvailable nor maxUnavailable".to_owned(),
    }
}

/// How the needed number comes about.
fn arithmetic(count: &Count<'_>) -> Option<String> {
    let figures = match &count.figures {
        Ok(figures) => figures,
        Err(Uncounted::Unseen(why)) => {
            return Some(format!("its pods cannot be counted from here: {why}"));
        }
        Err(Uncounted::Fails(_)) => return None,
    };
    let (rule, expected, desired) = (rule(count), figures.expected, figures.desired);
    let rounded = if rule.ends_with('%') {
        ", rounded up"
    } else {
        ""
    };
    let base =
        match &count.rule {
            Rule::Nothing => return Some(
                "without minAvailable and maxUnavailable it allows nothing, whatever is healthy"
                    .to_owned(),
            ),
            Rule::MinAvailable(IntOrString::Int(_)) => {
                format!("the {} that there are", plural(count.pods.len(), "pod"))
            }
            _ => format!("the {expected} that controllers want"),
        };
    let allowed = count.allowed().unwrap_or_default();
    Some(format!(
        "{rule} of {base}{rounded}: needs {desired} healthy, has {}, so {allowed} may go",
        count.healthy()
    ))
}

pub(super) fn evidence(snapshot: &Snapshot, count: &Count<'_>) -> Vec<Evidence> {
    let policy = if always_allows(count.budget) {
        "AlwaysAllow"
    } else {
        "IfHealthyBudget"
    };
    let name = budget::name(count.budget);
    let first = format!(
        "budget {name} ({}, unready pods by {policy}) selects {}",
        rule(count),
        selected(count)
    );
    let (healthy, others): (Vec<_>, Vec<_>) = count
        .pods
        .iter()
        .partition(|covered| covered.standing == Standing::Healthy);
    let mut parts: Vec<String> = others
        .iter()
        .take(MOST_NAMED)
        .map(|covered| line(snapshot, covered))
        .collect();
    if others.len() > MOST_NAMED {
        parts.push(format!(
            "{} more that do not count",
            others.len() - MOST_NAMED
        ));
    }
    if !healthy.is_empty() {
        let names = healthy.iter().map(|covered| health::name(covered.pod));
        parts.push(format!("healthy: {}", listed(names, MOST_NAMED)));
    }
    let mut evidence = vec![Evidence { text: first, parts }];
    evidence.extend(arithmetic(count).map(Evidence::line));
    let said = &count.reported;
    let settled = if said.stale {
        "; written before the newest edit of the spec"
    } else {
        ""
    };
    evidence.push(Evidence::line(format!(
        "its status says: {}, allows {}{settled}",
        figures(count),
        said.allowed
    )));
    evidence
}

fn selected(count: &Count<'_>) -> String {
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

/// A pod that does not count, and why.
pub(super) fn line(snapshot: &Snapshot, covered: &Covered<'_>) -> String {
    let pod = covered.pod;
    let place = health::node_of(pod)
        .map(|node| format!(", on {node}"))
        .unwrap_or_default();
    let name = health::name(pod);
    match &covered.standing {
        Standing::Healthy => format!("{name}: healthy{place}"),
        Standing::Terminating => {
            let deadline = pod
                .metadata
                .deletion_timestamp
                .as_ref()
                .map_or(snapshot.now, |time| time.0);
            let left = match deadline > snapshot.now {
                true => format!("{} of its grace are left", between(snapshot.now, deadline)),
                false => format!("its grace ended {} ago", between(snapshot.now, deadline)),
            };
            format!("{name}: terminating, {left}{place}")
        }
        Standing::Granted { until } => {
            format!(
                "{name}: its eviction was granted and it has not begun to go; it counts again in {}{place}",
                between(snapshot.now, *until)
            )
        }
        Standing::Unready(unready) => {
            let since = unready
                .since
                .map(|since| format!(" for {}", between(snapshot.now, since)))
                .unwrap_or_default();
            format!("{name}: not Ready{since}: {}{place}", unready.why)
        }
    }
}

/// What is wrong with a budget, the worst first.
pub(super) fn problems(snapshot: &Snapshot, count: &Count<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(overlap(snapshot, count));
    problems.extend(status(count));
    problems.extend(shape(count));
    problems.extend(autoscaler(snapshot, count));
    if count.reported.allowed <= 0 {
        problems.extend(eaten(snapshot, count));
    }
    problems.extend(operator(count));
    problems.extend(contention::contended(snapshot, count));
    problems
}

fn overlap(snapshot: &Snapshot, count: &Count<'_>) -> Vec<Problem> {
    let shared = budget::overlaps(snapshot, count);
    let text = |(other, pods): (&PodDisruptionBudget, Vec<&Pod>)| {
        let names = listed(pods.iter().map(|pod| health::name(pod)), 4);
        format!(
            "budget {} selects {names} as well: a pod with two budgets cannot be evicted at all (the server answers 500)",
            budget::name(other)
        )
    };
    shared
        .into_iter()
        .map(|found| Problem::new("overlap", text(found)))
        .collect()
}

/// What the status shows of the controller's trouble.
fn status(count: &Count<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if count.reported.stale {
        problems.push(Problem::new(
            "stale",
            "the disruption controller has not seen the newest spec (observedGeneration is behind): normal for a moment, else it is down or slow",
        ));
    }
    if let Some(why) = &count.reported.sync_failed {
        problems.push(Problem::new(
            "sync-failed",
            format!("the disruption controller cannot count the pods: {why}"),
        ));
    } else if let Err(Uncounted::Fails(why)) = &count.figures {
        problems.push(Problem::new(
            "sync-failed",
            format!("the number of pods cannot be counted: {why}"),
        ));
    }
    if count.drifted()
        && let Ok(figures) = &count.figures
    {
        let counted = format!(
            "{} healthy of {}, needs {}",
            count.healthy(),
            figures.expected,
            figures.desired
        );
        problems.push(Problem::new(
            "drift",
            format!("the status is not what the pods say ({counted}): the disruption controller is behind or down"),
        ));
    }
    if rules::budgets::asks_controllers(count.budget.spec.as_ref()) && !count.unmanaged.is_empty() {
        let names = listed(count.unmanaged.iter().map(|pod| health::name(pod)), 4);
        let text = format!(
            "without a controller: {names}; {} counts by what controllers want, and only an integer minAvailable counts such pods",
            rule(count)
        );
        problems.push(Problem::new("unmanaged", text));
    }
    problems
}

/// What is wrong with the budget whatever the pods do.
fn shape(count: &Count<'_>) -> Vec<Problem> {
    if count.rule == Rule::Nothing {
        return vec![Problem::new(
            "no-rule",
            "it says neither minAvailable nor maxUnavailable, and therefore allows nothing",
        )];
    }
    if count.pods.is_empty() {
        let null = count
            .budget
            .spec
            .as_ref()
            .is_none_or(|spec| spec.selector.is_none());
        let why = if null {
            "it has no selector (null selects nothing, {} selects all)"
        } else {
            "no pod has the labels of its selector"
        };
        return vec![Problem::new("selects-nothing", why)];
    }
    if counts_nobody(count) {
        return Vec::new();
    }
    let wanted: i32 = count
        .owners
        .iter()
        .filter_map(|owner| owner.replicas.as_ref().ok())
        .copied()
        .fold(0, i32::saturating_add);
    if count.allowed_at_best() != Some(0) || (wanted == 0 && count.unmanaged.is_empty()) {
        return Vec::new();
    }
    let owners = listed(count.owners.iter().map(|owner| owner.name), 3);
    let rule = rule(count);
    match (wanted, count.owners.first()) {
        (1, Some(owner)) if count.unmanaged.is_empty() => {
            let text = format!(
                "{} {} runs a single replica, and {rule} protects that one: no healthy pod of it can ever be evicted",
                owner.kind, owner.name
            );
            vec![Problem::new("single-replica", text)]
        }
        (_, None) => vec![Problem::new(
            "never-allows",
            format!(
                "{rule} leaves nothing to disrupt even when all {} pods are healthy",
                count.pods.len()
            ),
        )],
        _ => vec![Problem::new(
            "never-allows",
            format!(
                "{rule} leaves nothing to disrupt even when all {wanted} pods of {owners} are healthy"
            ),
        )],
    }
}

/// An autoscaler whose lower end leaves nothing to disrupt.
fn autoscaler(snapshot: &Snapshot, count: &Count<'_>) -> Vec<Problem> {
    let found = snapshot.autoscalers.iter().filter(|scaler| {
        scaler.metadata.namespace.as_deref() == Some(budget::namespace(count.budget))
    });
    let tight = found.filter_map(|scaler| {
        let spec = &scaler.spec;
        let target = &spec.scale_target_ref;
        count.owners.iter().find(|owner| (owner.kind, owner.name) == (target.kind.as_str(), target.name.as_str()))?;
        let least = spec.min_replicas.unwrap_or(1);
        let needed = budget::desired_of(count.budget, least)?;
        let name = scaler.metadata.name.as_deref().unwrap_or_default();
        let text = format!(
            "HorizontalPodAutoscaler {name} may shrink {} {} to {least}, where the budget needs {needed} healthy and allows nothing",
            target.kind, target.name
        );
        (needed >= least).then(|| Problem::new("hpa-minimum", text))
    });
    tight.collect()
}

/// Who uses the budget up.
fn eaten(snapshot: &Snapshot, count: &Count<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let names = |wanted: fn(&Standing) -> bool| -> Vec<&str> {
        count
            .pods
            .iter()
            .filter(|covered| wanted(&covered.standing))
            .map(|covered| health::name(covered.pod))
            .collect()
    };
    let unready = names(|standing| matches!(standing, Standing::Unready(_)));
    if !unready.is_empty() {
        let text = format!(
            "not Ready, and so not counted: {}",
            listed(unready.iter().copied(), 5)
        );
        problems.push(Problem::new("unready-pods", text));
        if !always_allows(count.budget) && count.reported.healthy < count.reported.desired {
            let text = format!(
                "the unready pods cannot go either: policy IfHealthyBudget lets them go only while {} others are healthy, and {} are",
                count.reported.desired, count.reported.healthy
            );
            problems.push(Problem::new("policy", text));
        }
    }
    let terminating = names(|standing| *standing == Standing::Terminating);
    if !terminating.is_empty() {
        problems.push(Problem::new(
            "terminating-pods",
            format!(
                "on the way out, and so not counted: {}",
                listed(terminating, 5)
            ),
        ));
    }
    let granted = names(|standing| matches!(standing, Standing::Granted { .. }));
    if !granted.is_empty() {
        let text = format!(
            "evictions were granted and not yet seen (disruptedPods): {}; each counts again two minutes after its grant",
            listed(granted, 5)
        );
        problems.push(Problem::new("granted-pods", text));
    }
    problems.extend(homeless(snapshot, count));
    problems.extend(missing(snapshot, count));
    problems
}

/// Replacements that find no node, which is a deadlock when the nodes are cordoned for a drain.
fn homeless(snapshot: &Snapshot, count: &Count<'_>) -> Option<Problem> {
    let waits = |covered: &&Covered<'_>| matches!(&covered.standing, Standing::Unready(unready) if unready.trouble == Trouble::Unschedulable);
    let pods: Vec<&str> = count
        .pods
        .iter()
        .filter(waits)
        .map(|covered| health::name(covered.pod))
        .collect();
    let cordoned: Vec<&str> = snapshot
        .nodes
        .iter()
        .filter(|node| rules::nodes::is_cordoned(node))
        .map(rules::nodes::name)
        .collect();
    if pods.is_empty() {
        return None;
    }
    let why = match cordoned.is_empty() {
        true => String::new(),
        false => {
            let (are, they_are) = if cordoned.len() == 1 {
                ("is", "it is")
            } else {
                ("are", "they are")
            };
            let nodes = listed(cordoned, 4);
            format!(
                "; {nodes} {are} cordoned, and while {they_are}, the budget waits for the pod and the drain for the budget"
            )
        }
    };
    Some(Problem::new(
        "replacement-pending",
        format!("no node takes {}{why}", listed(pods, 4)),
    ))
}

/// Pods that a controller wants and does not get.
fn missing(snapshot: &Snapshot, count: &Count<'_>) -> Option<Problem> {
    let figures = count.figures.as_ref().ok()?;
    // A controller may wait until the pod that goes is gone.
    let there = count.pods.len();
    let short = usize::try_from(figures.expected)
        .unwrap_or_default()
        .checked_sub(there)
        .filter(|short| *short > 0)?;
    if matches!(count.rule, Rule::MinAvailable(IntOrString::Int(_))) {
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
            "{} fewer than {} wants{why}",
            plural(short, "pod"),
            listed(names, 3)
        ),
    ))
}

/// A budget that a controller writes is its tool, and edits do not last.
fn operator(count: &Count<'_>) -> Option<Problem> {
    let owner = rules::owners::controller_of(&count.budget.metadata)?;
    let text = format!(
        "{} {} writes this budget, perhaps as a lock on its data: edits will be undone, ask that controller instead",
        owner.kind, owner.name
    );
    Some(Problem::new("operator-budget", text))
}
