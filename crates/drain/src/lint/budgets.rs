//! The rules about budgets.

use super::Hit;
use super::scene::{Covered, Scene, Workload};
use crate::budget::{self, Rule, Standing, Uncounted};
use crate::explain::decide::always_allows;
use crate::health::{self, Trouble};
use crate::words::{listed, plural};

/// Names in a message.
const MOST_NAMED: usize = 4;

fn hit<'a>(covered: &Covered<'a>, message: String) -> Hit<'a> {
    Hit {
        kind: "PodDisruptionBudget",
        meta: &covered.budget.metadata,
        message,
    }
}

fn each<'a>(scene: &Scene<'a>, check: impl Fn(&Covered<'a>) -> Option<String>) -> Vec<Hit<'a>> {
    scene
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
    listed(names.iter().map(String::as_str), MOST_NAMED)
}

/// The pods that there would be at best, and how many of them the budget wants healthy; none when
/// that cannot be said.
fn at_best(scene: &Scene<'_>, covered: &Covered<'_>) -> Option<(i32, i32)> {
    let mut scaled = 0_i32;
    let mut bare = 0_i32;
    for workload in scene.selected(covered) {
        match (workload.replicas, workload.kind) {
            (Some(replicas), _) => scaled = scaled.saturating_add(replicas),
            (None, "Pod") => bare = bare.saturating_add(1),
            // How many pods a DaemonSet or a Job has depends on the cluster.
            _ => return None,
        }
    }
    let foreign = covered.count.owners.iter().any(|owner| {
        !scene
            .selected(covered)
            .any(|known| (known.kind, known.name()) == (owner.kind, owner.name))
    });
    let expected = if ::rules::budgets::asks_controllers(covered.budget.spec.as_ref()) {
        scaled
    } else {
        scaled.saturating_add(bare)
    };
    let desired = budget::desired_of(covered.budget, expected)?;
    // What other controllers run is not known here.
    (!foreign && expected > 0).then(|| (scaled.saturating_add(bare), desired))
}

pub(super) fn never_allows<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |covered| {
        let (pods, desired) = at_best(scene, covered)?;
        let workloads: Vec<_> = scene.selected(covered).collect();
        (pods > 1 && desired >= pods).then(|| {
            format!(
                "of the {pods} pods of {} it needs {desired} healthy, so none may ever go",
                named(&workloads)
            )
        })
    })
}

pub(super) fn single_replica<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |covered| {
        let (pods, desired) = at_best(scene, covered)?;
        let workloads: Vec<_> = scene.selected(covered).collect();
        (pods == 1 && desired >= 1).then(|| {
            format!(
                "{} runs a single replica, and the budget never lets it go",
                named(&workloads)
            )
        })
    })
}

pub(super) fn no_rule<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |covered| {
        (covered.count.rule == Rule::Nothing).then(|| {
            "it says neither minAvailable nor maxUnavailable, and allows nothing".to_owned()
        })
    })
}

pub(super) fn overlap<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |covered| {
        let (space, name) = (
            budget::namespace(covered.budget),
            budget::name(covered.budget),
        );
        let others = scene.budgets.iter().filter(|other| {
            budget::namespace(other.budget) == space && budget::name(other.budget) != name
        });
        let shared = others.filter_map(|other| {
            let workloads: Vec<_> = scene
                .selected(other)
                .filter(|workload| {
                    scene
                        .selected(covered)
                        .any(|own| std::ptr::eq(own, *workload))
                })
                .collect();
            let pods = other.count.pods.iter().filter(|theirs| {
                covered
                    .count
                    .pods
                    .iter()
                    .any(|own| std::ptr::eq(own.pod, theirs.pod))
            });
            let pods: Vec<&str> = pods.map(|shared| health::name(shared.pod)).collect();
            let what = match (workloads.is_empty(), pods.is_empty()) {
                (true, true) => return None,
                (false, _) => named(&workloads),
                (true, false) => listed(pods, MOST_NAMED),
            };
            Some(format!(
                "budget {} selects {what} as well",
                budget::name(other.budget)
            ))
        });
        let shared: Vec<String> = shared.collect();
        (!shared.is_empty()).then(|| shared.join("; "))
    })
}

pub(super) fn uncountable<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |covered| {
        if !::rules::budgets::asks_controllers(covered.budget.spec.as_ref()) {
            return None;
        }
        let lost: Vec<_> = scene
            .selected(covered)
            .filter(|workload| matches!(workload.kind, "DaemonSet" | "Job"))
            .collect();
        match (&covered.count.figures, lost.is_empty()) {
            (_, false) => Some(format!("{} has no scale to count by", named(&lost))),
            (Err(Uncounted::Fails(why)), true) => {
                Some(format!("its pods cannot be counted: {why}"))
            }
            _ => None,
        }
    })
}

pub(super) fn unmanaged<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |covered| {
        let bare: Vec<_> = scene
            .selected(covered)
            .filter(|workload| workload.kind == "Pod")
            .collect();
        let counts = ::rules::budgets::asks_controllers(covered.budget.spec.as_ref());
        (counts && !bare.is_empty())
            .then(|| format!("it counts by controllers, and {} has none", named(&bare)))
    })
}

pub(super) fn unhealthy_policy<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |covered| {
        let crashing = covered
            .count
            .pods
            .iter()
            .filter(|pod| matches!(&pod.standing, Standing::Unready(unready) if unready.trouble == Trouble::Crashing));
        let crashing: Vec<&str> = crashing.map(|pod| health::name(pod.pod)).collect();
        let held = !crashing.is_empty() && !always_allows(covered.budget);
        held.then(|| {
            format!(
                "{} in a crash loop ({}), and the budget holds them unless enough others are healthy",
                plural(crashing.len(), "pod"),
                listed(crashing, MOST_NAMED)
            )
        })
    })
}

pub(super) fn selects_nothing<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    // A file with nothing but budgets says nothing about what they select.
    if scene.workloads.is_empty() && scene.snapshot.pods.is_empty() {
        return Vec::new();
    }
    each(scene, |covered| {
        let nothing = covered.workloads.is_empty() && covered.count.pods.is_empty();
        let null = covered
            .budget
            .spec
            .as_ref()
            .is_none_or(|spec| spec.selector.is_none());
        let why = if null {
            "it has no selector, which selects nothing"
        } else {
            "no workload or pod of its namespace has the labels of its selector"
        };
        nothing.then(|| why.to_owned())
    })
}

pub(super) fn several_workloads<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    each(scene, |covered| {
        let workloads: Vec<_> = scene
            .selected(covered)
            .filter(|workload| workload.kind != "Pod")
            .collect();
        (workloads.len() > 1).then(|| format!("it selects {}", named(&workloads)))
    })
}

pub(super) fn autoscaler_minimum<'a>(scene: &Scene<'a>) -> Vec<Hit<'a>> {
    let hits = scene.snapshot.autoscalers.iter().filter_map(|scaler| {
        let space = scaler.metadata.namespace.as_deref().unwrap_or("default");
        let (target, least) = (
            &scaler.spec.scale_target_ref,
            scaler.spec.min_replicas.unwrap_or(1),
        );
        let covered = scene.budgets.iter().find(|covered| {
            budget::namespace(covered.budget) == space
                && scene.selected(covered).any(|workload| {
                    (workload.kind, workload.name()) == (&target.kind, &target.name)
                })
        })?;
        let needed = budget::desired_of(covered.budget, least).filter(|needed| *needed >= least)?;
        let message = format!(
            "it may shrink {} {} to {least}, where budget {} needs {needed} healthy",
            target.kind,
            target.name,
            budget::name(covered.budget)
        );
        Some(Hit {
            kind: "HorizontalPodAutoscaler",
            meta: &scaler.metadata,
            message,
        })
    });
    hits.collect()
}
