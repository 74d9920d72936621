//! Explains a budget of manifests: they contain templates and no pods, so what the budget will
//! allow follows from the workloads that it selects.
//!
//! The rules of lint judge such a budget; this module turns their findings into an explanation.

use std::time::Duration;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::budgets::limit;
use super::{EvictionVerdict, Evidence, ExplainSubject, Explanation, Problem};
use crate::budget::{self, BudgetCount};
use crate::cluster::{ClusterSnapshot, SnapshotOrigin};
use crate::format::{listed, plural, verb_for};
use crate::lint::{Finding, LintOptions, SourceMap, lint};
use crate::pdb;
use crate::workloads::{PodCount, Workload, Workloads};

/// The problems of an explanation that a rule of lint finds in manifests.
const PROBLEMS: &[(&str, &str)] = &[
    ("server-refuses", "server-refuses"),
    ("pdb-overlap", "overlap"),
    ("pdb-uncountable", "sync-failed"),
    ("pdb-no-rule", "no-rule"),
    ("pdb-single-replica", "single-replica"),
    ("pdb-never-allows", "never-allows"),
    ("pdb-unmanaged-pods", "unmanaged"),
    ("pdb-selects-nothing", "selects-nothing"),
    ("pdb-pods-unseen", "pods-unseen"),
];
/// The maximum number of workloads that a line names.
const MAX_NAMED: usize = 4;

/// Explains a budget of a file that contains no pods of it. `None` when there are pods.
pub(super) fn explain(
    snapshot: &ClusterSnapshot,
    found: &PodDisruptionBudget,
) -> Option<Explanation> {
    if snapshot.origin == SnapshotOrigin::Server {
        return None;
    }
    let count = &budget::count(snapshot, found);
    if !count.pods.is_empty() {
        return None;
    }
    let workloads = Workloads::of(snapshot).all;
    let selector = pdb::selector(found).ok();
    let selected: Vec<&Workload<'_>> = workloads
        .iter()
        .filter(|workload| workload.namespace == pdb::namespace(found))
        .filter(|workload| {
            let selector = selector.as_ref();
            selector.is_some_and(|selector| selector.matches(workload.labels))
        })
        .collect();
    let problems = problems(snapshot, found);
    let (verdict, headline) = verdict(count, &selected, &problems);
    let mut explanation = Explanation::new(ExplainSubject::of_budget(found), verdict, headline);
    let titles: Vec<String> = selected.iter().map(|one| sized(one)).collect();
    let what = match titles.is_empty() {
        true => "no pod and no pod template of the file".to_owned(),
        false => format!(
            "the pods of {}",
            listed(titles.iter().map(String::as_str), MAX_NAMED)
        ),
    };
    explanation.evidence.push(Evidence::line(format!(
        "budget {} ({}) selects {what}",
        pdb::name(found),
        limit(count)
    )));
    explanation.problems =
        super::budgets::with_blocks(problems, verdict == EvictionVerdict::Blocked);
    Some(explanation)
}

/// Returns what lint finds about the budget, in the order of [`PROBLEMS`].
fn problems(snapshot: &ClusterSnapshot, found: &PodDisruptionBudget) -> Vec<Problem> {
    let options = LintOptions {
        max_grace: Duration::MAX,
    };
    let findings = lint(snapshot, &SourceMap::default(), &options);
    let is_own = |finding: &&Finding| {
        let object = &finding.object;
        object.kind == "PodDisruptionBudget"
            && (object.namespace.as_str(), object.name.as_str())
                == (pdb::namespace(found), pdb::name(found))
    };
    let own: Vec<&Finding> = findings.iter().filter(is_own).collect();
    let of_rule = |(rule, id): &(&str, &'static str)| {
        let finding = own.iter().find(|finding| finding.rule == *rule)?;
        Some(Problem::new(id, finding.message.clone()))
    };
    PROBLEMS.iter().filter_map(of_rule).collect()
}

fn verdict(
    count: &BudgetCount<'_>,
    selected: &[&Workload<'_>],
    problems: &[Problem],
) -> (EvictionVerdict, String) {
    let name = pdb::name(count.budget);
    let has = |id: &str| problems.iter().find(|problem| problem.id == id);
    let blocks = [
        "overlap",
        "sync-failed",
        "no-rule",
        "single-replica",
        "never-allows",
    ];
    if let Some(why) = has("server-refuses") {
        let text = format!("the server refuses budget {name}: {}", why.text);
        return (EvictionVerdict::Blocked, text);
    }
    if let Some(why) = problems.iter().find(|problem| blocks.contains(&problem.id)) {
        let text = format!("budget {name} will never allow a disruption: {}", why.text);
        return (EvictionVerdict::Blocked, text);
    }
    if let Some(why) = has("selects-nothing") {
        let text = format!(
            "budget {name} selects no pods: it protects nothing and refuses nothing ({})",
            why.text
        );
        return (EvictionVerdict::Allowed, text);
    }
    let unknown = |why: &str| {
        let text = format!("what budget {name} will allow cannot be seen: {why}");
        (EvictionVerdict::Unknown, text)
    };
    if let Some(why) = has("pods-unseen") {
        return unknown(&why.text);
    }
    if selected.is_empty() {
        return unknown("the file contains neither pods nor workloads that it selects");
    }
    match pods_of(selected).and_then(|pods| Some((pods, pdb::desired_of(count.budget, pods)?))) {
        None => unknown("the number of the pods that it selects is not in the file"),
        Some((0, _)) => (
            EvictionVerdict::Allowed,
            format!("budget {name} has nothing to protect: its workloads have 0 replicas"),
        ),
        Some((pods, desired)) => {
            let text = format!(
                "budget {name} will allow {} while its {} {} healthy (needs {desired})",
                plural(pods.saturating_sub(desired).max(0), "disruption"),
                plural(pods, "pod"),
                verb_for(pods, "is", "are")
            );
            (EvictionVerdict::Allowed, text)
        }
    }
}

/// Returns how many pods the workloads have at least, `None` when that is unknown.
fn pods_of(selected: &[&Workload<'_>]) -> Option<i32> {
    selected.iter().try_fold(0_i32, |sum, workload| {
        let pods = match workload.count {
            PodCount::Replicas { least, .. } => least,
            PodCount::OnePod => 1,
            PodCount::Existing(_) | PodCount::WithoutScale => return None,
        };
        Some(sum.saturating_add(pods))
    })
}

/// Formats `Deployment web (3 replicas)`.
fn sized(workload: &Workload<'_>) -> String {
    let title = workload.title();
    match workload.count {
        PodCount::Replicas { least, most, .. } if least != most => {
            format!("{title} ({least} to {most} replicas)")
        }
        PodCount::Replicas { most, .. } => format!("{title} ({})", plural(most, "replica")),
        _ => title,
    }
}
