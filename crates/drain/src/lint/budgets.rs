//! The rules for budgets.

use std::collections::HashSet;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::RuleHit;
use super::context::{CheckedBudget, LintContext};
use super::workloads::of_autoscaler;
use crate::budget::{CountError, PodHealth};
use crate::cluster::SnapshotOrigin;
use crate::format::{listed, plural, verb_for};
use crate::pdb::{self, DisruptionLimit};
use crate::pods;
use crate::readiness::UnreadyReason;
use crate::workloads::{PodCount, Workload};

/// The maximum number of names in a message.
const MAX_NAMED: usize = 4;

fn hit(covered: &CheckedBudget<'_>, message: String) -> RuleHit {
    RuleHit::new("PodDisruptionBudget", &covered.budget.metadata, message)
}

fn each<'a>(
    context: &LintContext<'a>,
    check: impl Fn(&CheckedBudget<'a>) -> Option<String>,
) -> Vec<RuleHit> {
    context
        .budgets
        .iter()
        .filter_map(|covered| Some(hit(covered, check(covered)?)))
        .collect()
}

fn named(workloads: &[&Workload<'_>]) -> String {
    let mut names: Vec<String> = workloads.iter().map(|workload| workload.title()).collect();
    // A custom object may have several templates.
    names.dedup();
    listed(names.iter().map(String::as_str), MAX_NAMED)
}

/// A budget over as many pods as its workloads can have.
struct AtBest {
    pods: i32,
    /// How many of them the budget needs healthy.
    desired: i32,
}

/// Computes the budget if all workloads were complete and as large as they may become. `None` when
/// that is unknown.
fn at_best(context: &LintContext<'_>, covered: &CheckedBudget<'_>) -> Option<AtBest> {
    let by_scale = ::rules::budgets::asks_controllers(covered.budget.spec.as_ref());
    let (mut scaled, mut others, mut counted) = (0_i32, 0_i32, false);
    for workload in context.selected(covered) {
        match workload.count {
            PodCount::Replicas { most, .. } => scaled = scaled.saturating_add(most),
            PodCount::OnePod => others = others.saturating_add(1),
            // Such a budget counts the pods that exist, whoever made them.
            PodCount::Existing(pods) if pods > 0 && !by_scale => {
                // A file that lacks the workload may lack some of its pods, too.
                if workload.is_incomplete() && covered.count.reported.expected == 0 {
                    return None;
                }
                others = others.saturating_add(pods);
                counted = true;
            }
            // The number of pods of a DaemonSet or a Job depends on the cluster.
            PodCount::Existing(_) | PodCount::WithoutScale => return None,
        }
    }
    let mut pods = scaled.saturating_add(others);
    if counted {
        // A dump need not contain all of them.
        pods = pods.max(covered.count.reported.expected);
    }
    let expected = if by_scale { scaled } else { pods };
    let desired = pdb::desired_of(covered.budget, expected)?;
    (!covered.has_foreign_pods && expected > 0).then_some(AtBest { pods, desired })
}

/// Returns true for a limit that allows nothing, however many pods there are.
fn is_absolute(limit: &DisruptionLimit) -> bool {
    let percent = |text: &str| {
        text.strip_suffix('%')
            .and_then(|text| text.parse::<i64>().ok())
    };
    match limit {
        DisruptionLimit::MaxUnavailable(IntOrString::Int(number)) => *number == 0,
        DisruptionLimit::MaxUnavailable(IntOrString::String(text)) => percent(text) == Some(0),
        DisruptionLimit::MinAvailable(IntOrString::String(text)) => {
            percent(text).is_some_and(|percent| percent >= 100)
        }
        DisruptionLimit::MinAvailable(IntOrString::Int(_)) | DisruptionLimit::Unset => false,
    }
}

fn is_negative(limit: &DisruptionLimit) -> bool {
    matches!(
        limit,
        DisruptionLimit::MaxUnavailable(IntOrString::Int(..0))
            | DisruptionLimit::MinAvailable(IntOrString::Int(..0))
    )
}

pub(super) fn never_allows(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        let workloads: Vec<_> = context.selected(covered).collect();
        let limit = pdb::limit_text(&covered.count.limit);
        if is_negative(&covered.count.limit) {
            // The server refuses it, and another rule says so.
            return None;
        }
        match at_best(context, covered) {
            Some(best) if best.pods == 1 => None,
            Some(best) if best.desired >= best.pods => Some(format!(
                "it needs {} healthy of the {} pods of {}, so it never allows a disruption",
                best.desired,
                best.pods,
                named(&workloads)
            )),
            Some(_) => None,
            None if is_absolute(&covered.count.limit) && !selects_none(context, covered) => Some(
                format!("{limit} never allows a disruption, however many pods are healthy"),
            ),
            None => None,
        }
    })
}

/// Returns true when a server shows that the budget selects nothing.
fn selects_none(context: &LintContext<'_>, covered: &CheckedBudget<'_>) -> bool {
    context.snapshot.origin == SnapshotOrigin::Server
        && covered.workloads.is_empty()
        && covered.count.pods.is_empty()
}

pub(super) fn single_replica(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        let best = at_best(context, covered)?;
        let workloads: Vec<_> = context
            .selected(covered)
            .filter(|workload| workload.most() != Some(0))
            .collect();
        if best.pods != 1 || best.desired < 1 {
            return None;
        }
        let what = match workloads.first().map(|workload| workload.count) {
            Some(PodCount::OnePod) => "is the only pod",
            Some(PodCount::Existing(_)) => "has a single pod",
            Some(PodCount::Replicas {
                by_default: true, ..
            }) => "has a single replica (the default: spec.replicas is not set)",
            _ => "has a single replica",
        };
        Some(format!(
            "{} {what}, which the budget never allows to be evicted",
            named(&workloads)
        ))
    })
}

pub(super) fn zero_replicas(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        let workloads: Vec<_> = context.selected(covered).collect();
        let is_empty = |workload: &&Workload<'_>| workload.most() == Some(0);
        (!workloads.is_empty() && workloads.iter().all(is_empty)).then(|| {
            format!(
                "{} {} 0 replicas, so the budget protects nothing",
                named(&workloads),
                verb_for(workloads.len(), "has", "have")
            )
        })
    })
}

pub(super) fn no_rule(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        (covered.count.limit == DisruptionLimit::Unset).then(|| {
            "it sets neither minAvailable nor maxUnavailable, so it never allows a disruption"
                .to_owned()
        })
    })
}

/// What identifies an object of the snapshot.
fn address<T>(object: &T) -> usize {
    std::ptr::from_ref(object).addr()
}

pub(super) fn overlap(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        let others = context.others(covered);
        let pods = covered.count.pods.iter().map(|own| address(own.pod));
        let own: HashSet<usize> = context.selected(covered).map(address).chain(pods).collect();
        let shared = others.filter_map(|other| {
            let workloads: Vec<_> = context
                .selected(other)
                .filter(|workload| own.contains(&address(*workload)))
                .collect();
            let pods = other
                .count
                .pods
                .iter()
                .filter(|theirs| own.contains(&address(theirs.pod)));
            let pods: Vec<&str> = pods.map(|shared| pods::name(shared.pod)).collect();
            let what = match (workloads.is_empty(), pods.is_empty()) {
                (true, true) => return None,
                (false, _) => named(&workloads),
                (true, false) => listed(pods, MAX_NAMED),
            };
            Some(format!(
                "budget {} selects {what} as well",
                pdb::name(other.budget)
            ))
        });
        let shared: Vec<String> = shared.chain(implied(context, covered)).collect();
        (!shared.is_empty()).then(|| shared.join("; "))
    })
}

/// Budgets in files whose selectors show, without any pod, that they select the same pods.
fn implied<'s>(
    context: &'s LintContext<'_>,
    covered: &'s CheckedBudget<'_>,
) -> impl Iterator<Item = String> + 's {
    let sees_pods =
        |one: &CheckedBudget<'_>| !one.workloads.is_empty() || !one.count.pods.is_empty();
    let in_file = context.snapshot.origin != SnapshotOrigin::Server && !sees_pods(covered);
    let own = pdb::selector(covered.budget).ok();
    let others = context.others(covered).filter(move |other| {
        in_file
            && !sees_pods(other)
            && !pdb::has_no_selector(other.budget)
            && !pdb::has_no_selector(covered.budget)
    });
    others.filter_map(move |other| {
        let (own, theirs) = (own.as_ref()?, pdb::selector(other.budget).ok()?);
        let which = match (own.implies(&theirs), theirs.implies(own)) {
            (true, true) => "has an equivalent selector, so it selects the same pods",
            (true, false) => "selects all pods of this budget as well",
            (false, true) => "selects pods of this budget as well",
            (false, false) => return None,
        };
        Some(format!("budget {} {which}", pdb::name(other.budget)))
    })
}

pub(super) fn uncountable(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        if !::rules::budgets::asks_controllers(covered.budget.spec.as_ref()) {
            return None;
        }
        let lost: Vec<_> = context
            .selected(covered)
            .filter(|workload| workload.count == PodCount::WithoutScale)
            .collect();
        match (&covered.count.demand, lost.is_empty()) {
            (_, false) => Some(format!(
                "{} {} no scale subresource, so {} pods cannot be counted",
                named(&lost),
                verb_for(lost.len(), "has", "have"),
                verb_for(lost.len(), "its", "their")
            )),
            (Err(CountError::Fails(why)), true) => {
                Some(format!("its pods cannot be counted: {why}"))
            }
            _ => None,
        }
    })
}

pub(super) fn unmanaged(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        let bare: Vec<_> = context
            .selected(covered)
            .filter(|workload| workload.kind == "Pod")
            .collect();
        let counts = ::rules::budgets::asks_controllers(covered.budget.spec.as_ref());
        (counts && !bare.is_empty()).then(|| {
            format!(
                "it counts the pods that controllers want, but {} {} no controller",
                named(&bare),
                verb_for(bare.len(), "has", "have")
            )
        })
    })
}

/// Returns the pods that crash and that the budget may hold.
fn held_crashing<'s>(covered: &'s CheckedBudget<'_>) -> Vec<&'s str> {
    if pdb::always_allows_unready(covered.budget) {
        return Vec::new();
    }
    let crashing = covered.count.pods.iter().filter(|pod| {
        matches!(&pod.health,
            PodHealth::Unready(unready) if unready.reason == UnreadyReason::Crashing)
    });
    crashing.map(|pod| pods::name(pod.pod)).collect()
}

pub(super) fn unhealthy_policy(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        let crashing = held_crashing(covered);
        (!crashing.is_empty()).then(|| {
            format!(
                "{} in a crash loop ({}) cannot be evicted unless enough other pods are healthy",
                plural(crashing.len(), "pod"),
                listed(crashing, MAX_NAMED)
            )
        })
    })
}

pub(super) fn unhealthy_policy_unset(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        let spec = covered.budget.spec.as_ref();
        let is_set = spec.is_some_and(|spec| spec.unhealthy_pod_eviction_policy.is_some());
        (!is_set && held_crashing(covered).is_empty()).then(|| {
            "unhealthyPodEvictionPolicy is not set: pods that run without being ready can block a drain"
                .to_owned()
        })
    })
}

pub(super) fn refused(context: &LintContext<'_>) -> Vec<RuleHit> {
    let hits = context
        .snapshot
        .refused
        .iter()
        .map(|refused| RuleHit::new(&refused.kind, &refused.metadata, refused.why.clone()));
    hits.collect()
}

/// Why a budget selects nothing that can be seen.
enum Nothing {
    /// Nothing matches its selector.
    Certain(&'static str),
    /// Something that is not in the file may match it.
    Unseen(String),
}

fn selected_nothing(context: &LintContext<'_>, covered: &CheckedBudget<'_>) -> Option<Nothing> {
    if !covered.workloads.is_empty() || !covered.count.pods.is_empty() {
        return None;
    }
    if pdb::has_no_selector(covered.budget) {
        return Some(Nothing::Certain(
            "it has no selector, so it selects nothing",
        ));
    }
    let mut makers = context.snapshot.makers_in(pdb::namespace(covered.budget));
    if let Some(maker) = makers.next() {
        return Some(Nothing::Unseen(format!(
            "nothing in the file matches its selector, and the pods that {} {} may create are not in it",
            maker.kind,
            maker.metadata.name.as_deref().unwrap_or_default()
        )));
    }
    // A file that contains only budgets does not show what they select.
    if context.workloads.is_empty() && context.snapshot.pods.is_empty() {
        return (context.snapshot.origin == SnapshotOrigin::Server)
            .then_some(Nothing::Certain(NO_MATCH));
    }
    Some(Nothing::Certain(NO_MATCH))
}

const NO_MATCH: &str = "no workload and no pod of its namespace matches its selector";

pub(super) fn selects_nothing(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        match selected_nothing(context, covered)? {
            Nothing::Certain(why) => Some(why.to_owned()),
            Nothing::Unseen(_) => None,
        }
    })
}

pub(super) fn unseen(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        if let Some(Nothing::Unseen(why)) = selected_nothing(context, covered) {
            return Some(why);
        }
        let is_file = context.snapshot.origin != SnapshotOrigin::Server;
        match &covered.count.demand {
            Err(CountError::Unseen(why)) if is_file && !covered.count.pods.is_empty() => {
                Some(format!("its pods cannot be counted: {why}"))
            }
            _ => None,
        }
    })
}

pub(super) fn several_workloads(context: &LintContext<'_>) -> Vec<RuleHit> {
    each(context, |covered| {
        let workloads: Vec<_> = context
            .selected(covered)
            .filter(|workload| workload.kind != "Pod")
            .collect();
        let first = workloads
            .first()
            .map(|workload| (workload.kind, workload.name));
        let is_other = |one: &&Workload<'_>| Some((one.kind, one.name)) != first;
        workloads
            .iter()
            .any(is_other)
            .then(|| format!("it selects {}", named(&workloads)))
    })
}

pub(super) fn autoscaler_minimum(context: &LintContext<'_>) -> Vec<RuleHit> {
    let hits = context.autoscalers.iter().filter_map(|scaler| {
        let least = scaler.low();
        let covered = context.budgets_in(scaler.namespace).find(|covered| {
            context.selected(covered).any(|workload| {
                matches!(workload.count, PodCount::Replicas { .. })
                    && scaler.scales(workload.namespace, workload.kind, workload.name)
            })
        })?;
        let needed = pdb::desired_of(covered.budget, least).filter(|needed| *needed >= least)?;
        let message = format!(
            "it may scale {} {} down to {least}, but budget {} needs {needed} healthy",
            scaler.target_kind,
            scaler.target_name,
            pdb::name(covered.budget)
        );
        Some(of_autoscaler(scaler, message))
    });
    hits.collect()
}
