//! The rules for budgets.

use std::collections::HashSet;

use super::RuleHit;
use super::context::{CheckedBudget, LintContext, Workload};
use crate::budget::{CountError, PodHealth};
use crate::format::{listed, plural, verb_for};
use crate::pdb::{self, DisruptionLimit};
use crate::pods;
use crate::readiness::UnreadyReason;

/// The maximum number of names in a message.
const MAX_NAMED: usize = 4;

fn hit<'a>(covered: &CheckedBudget<'a>, message: String) -> RuleHit<'a> {
    RuleHit {
        kind: "PodDisruptionBudget",
        meta: &covered.budget.metadata,
        message,
    }
}

fn each<'a>(
    context: &LintContext<'a>,
    check: impl Fn(&CheckedBudget<'a>) -> Option<String>,
) -> Vec<RuleHit<'a>> {
    context
        .budgets
        .iter()
        .filter_map(|covered| Some(hit(covered, check(covered)?)))
        .collect()
}

fn named(workloads: &[&Workload<'_>]) -> String {
    let names: Vec<String> = workloads
        .iter()
        .map(|workload| format!("{} {}", workload.kind, workload.name()))
        .collect();
    listed(names.iter().map(String::as_str), MAX_NAMED)
}

/// Returns the number of pods if all workloads were complete, and how many of them the budget needs
/// healthy. `None` when that is unknown.
fn at_best(context: &LintContext<'_>, covered: &CheckedBudget<'_>) -> Option<(i32, i32)> {
    let mut scaled = 0_i32;
    let mut bare = 0_i32;
    for workload in context.selected(covered) {
        match (workload.replicas, workload.kind) {
            (Some(replicas), _) => scaled = scaled.saturating_add(replicas),
            (None, "Pod") => bare = bare.saturating_add(1),
            // The number of pods of a DaemonSet or a Job depends on the cluster.
            _ => return None,
        }
    }
    let foreign = covered.count.owners.iter().any(|owner| {
        !context
            .selected(covered)
            .any(|known| (known.kind, known.name()) == (owner.kind, owner.name))
    });
    let expected = if ::rules::budgets::asks_controllers(covered.budget.spec.as_ref()) {
        scaled
    } else {
        scaled.saturating_add(bare)
    };
    let desired = pdb::desired_of(covered.budget, expected)?;
    // The replicas of other controllers are unknown.
    (!foreign && expected > 0).then(|| (scaled.saturating_add(bare), desired))
}

pub(super) fn never_allows<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |covered| {
        let (pods, desired) = at_best(context, covered)?;
        let workloads: Vec<_> = context.selected(covered).collect();
        (pods > 1 && desired >= pods).then(|| {
            format!(
                "it needs {desired} healthy of the {pods} pods of {}, so it never allows a disruption",
                named(&workloads)
            )
        })
    })
}

pub(super) fn single_replica<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |covered| {
        let (pods, desired) = at_best(context, covered)?;
        let workloads: Vec<_> = context.selected(covered).collect();
        (pods == 1 && desired >= 1).then(|| {
            format!(
                "{} has a single replica, which the budget never allows to be evicted",
                named(&workloads)
            )
        })
    })
}

pub(super) fn no_rule<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
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

pub(super) fn overlap<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |covered| {
        let (space, name) = (pdb::namespace(covered.budget), pdb::name(covered.budget));
        let others = context.budgets.iter().filter(|other| {
            pdb::namespace(other.budget) == space && pdb::name(other.budget) != name
        });
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
        let shared: Vec<String> = shared.collect();
        (!shared.is_empty()).then(|| shared.join("; "))
    })
}

pub(super) fn uncountable<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |covered| {
        if !::rules::budgets::asks_controllers(covered.budget.spec.as_ref()) {
            return None;
        }
        let lost: Vec<_> = context
            .selected(covered)
            .filter(|workload| matches!(workload.kind, "DaemonSet" | "Job"))
            .collect();
        match (&covered.count.demand, lost.is_empty()) {
            (_, false) => Some(format!(
                "{} {} no scale subresource, so its pods cannot be counted",
                named(&lost),
                verb_for(lost.len(), "has", "have")
            )),
            (Err(CountError::Fails(why)), true) => {
                Some(format!("its pods cannot be counted: {why}"))
            }
            _ => None,
        }
    })
}

pub(super) fn unmanaged<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
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

pub(super) fn unhealthy_policy<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |covered| {
        let crashing = covered.count.pods.iter().filter(|pod| {
            matches!(&pod.health,
                PodHealth::Unready(unready) if unready.reason == UnreadyReason::Crashing)
        });
        let crashing: Vec<&str> = crashing.map(|pod| pods::name(pod.pod)).collect();
        let held = !crashing.is_empty() && !pdb::always_allows_unready(covered.budget);
        held.then(|| {
            format!(
                "{} in a crash loop ({}) cannot be evicted unless enough other pods are healthy",
                plural(crashing.len(), "pod"),
                listed(crashing, MAX_NAMED)
            )
        })
    })
}

pub(super) fn selects_nothing<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    // A file that contains only budgets does not show what they select.
    if context.workloads.is_empty() && context.snapshot.pods.is_empty() {
        return Vec::new();
    }
    each(context, |covered| {
        let nothing = covered.workloads.is_empty() && covered.count.pods.is_empty();
        let why = if pdb::has_no_selector(covered.budget) {
            "it has no selector, so it selects nothing"
        } else {
            "no workload and no pod of its namespace matches its selector"
        };
        nothing.then(|| why.to_owned())
    })
}

pub(super) fn several_workloads<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    each(context, |covered| {
        let workloads: Vec<_> = context
            .selected(covered)
            .filter(|workload| workload.kind != "Pod")
            .collect();
        (workloads.len() > 1).then(|| format!("it selects {}", named(&workloads)))
    })
}

pub(super) fn autoscaler_minimum<'a>(context: &LintContext<'a>) -> Vec<RuleHit<'a>> {
    let hits = context.snapshot.autoscalers.iter().filter_map(|scaler| {
        let space = scaler.metadata.namespace.as_deref().unwrap_or("default");
        let (target, least) = (
            &scaler.spec.scale_target_ref,
            scaler.spec.min_replicas.unwrap_or(1),
        );
        let covered = context.budgets.iter().find(|covered| {
            pdb::namespace(covered.budget) == space
                && context.selected(covered).any(|workload| {
                    (workload.kind, workload.name()) == (&target.kind, &target.name)
                })
        })?;
        let needed = pdb::desired_of(covered.budget, least).filter(|needed| *needed >= least)?;
        let message = format!(
            "it may scale {} {} down to {least}, but budget {} needs {needed} healthy",
            target.kind,
            target.name,
            pdb::name(covered.budget)
        );
        Some(RuleHit {
            kind: "HorizontalPodAutoscaler",
            meta: &scaler.metadata,
            message,
        })
    });
    hits.collect()
}
