//! Warnings about a budget that was just written and does not work as intended: it never allows an
//! eviction, selects no pods, or shares pods with another budget.
//!
//! [`budget_warnings`] is pure. Its input is read from a snapshot after the write was committed.
//! Upstream returns no such warnings, so an option enables them.

use std::collections::HashSet;
use std::sync::Arc;

use kinds::Tree;
use kinds::selector::LabelSelector;
use rules::eviction::Phase;
use store::{Record, Snapshot};

use crate::facts::{BudgetFacts, PodFacts};
use crate::key;
use crate::record::{self, Facts};
use crate::request::{Refusal, Reply};
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::{Registry, object, tree};

/// The maximum number of pods that a warning names, and of budgets that get a warning each.
const MAX_NAMED: usize = 3;

/// The limit that the spec of a budget sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    MinAvailable(Amount),
    MaxUnavailable(Amount),
    Unset,
}

/// An absolute number of pods, or a percentage of the expected pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    Number(i64),
    Percent(i64),
}

/// A budget with the pods and the other budgets that it concerns: the input of [`budget_warnings`].
#[derive(Debug)]
struct BudgetContext {
    limit: Limit,
    /// The names of the selected pods that have not ended and are not being deleted.
    pods: Vec<String>,
    /// The expected number of selected pods. It is at least the number of `pods`.
    expected: i64,
    /// The other budgets that select some of `pods`, each with the names of these pods.
    others: Vec<(String, Vec<String>)>,
}

impl Registry {
    /// Returns true if the answer of a write to this target gets warnings from
    /// [`Registry::advise`].
    pub(crate) fn is_advised(&self, target: &Target) -> bool {
        self.options().budget_warnings
            && target.resource.group == "policy"
            && target.resource.plural == "poddisruptionbudgets"
    }

    /// Adds warnings about the budget to the answer of its write. Returns any other answer
    /// unchanged.
    pub(crate) fn advise(
        &self,
        namespace: &str,
        reply: Result<Reply, Refusal>,
    ) -> Result<Reply, Refusal> {
        let mut reply = reply?;
        if let Reply::Object { json, warnings, .. } = &mut reply {
            let budget = record::parse(json);
            if !object::terminating(&budget) {
                warnings.extend(
                    read_context(&self.store().snapshot(), namespace, &budget)
                        .map_or_else(Vec::new, |context| budget_warnings(&context)),
                );
            }
        }
        Ok(reply)
    }
}

/// Reads the pods and the other budgets that a budget concerns. Returns `None` if its selector is
/// invalid.
fn read_context(snapshot: &Snapshot, namespace: &str, budget: &Tree) -> Option<BudgetContext> {
    let pods = ResourceRef::built_in("", "v1", "pods")?;
    let budgets = ResourceRef::built_in("policy", "v1", "poddisruptionbudgets")?;
    let selector = LabelSelector::from_tree(tree::at(budget, &["spec", "selector"])).ok()?;
    let selected: Vec<Arc<Record>> = snapshot
        .range(&key::prefix(&pods, namespace), None)
        .filter(|pod| {
            let facts = record::facts(&pods, pod);
            is_live(facts) && selector.matches(facts)
        })
        .collect();
    let limit = limit(tree::at(budget, &["spec"]));
    let count = i64::try_from(selected.len()).unwrap_or(i64::MAX);
    // Reading the owners of all pods is expensive. It matters only if the limit is tight for the
    // existing pods: a larger number of expected pods never makes it tighter.
    let expected = if is_tight(limit, count) {
        count.max(replicas(snapshot, namespace, &selected))
    } else {
        count
    };
    let own = object::meta_text(budget, "name");
    let others = snapshot
        .range(&key::prefix(&budgets, namespace), None)
        .filter(|other| key::namespace_and_name(&other.key).1 != own)
        .filter_map(|other| shared_pods(&budgets, &pods, &other, &selected))
        .collect();
    Some(BudgetContext {
        limit,
        pods: selected.iter().map(|pod| name_of(pod)).collect(),
        expected,
        others,
    })
}

/// Returns the name of the object in this record.
fn name_of(record: &Record) -> String {
    key::namespace_and_name(&record.key).1.to_owned()
}

/// Returns false for pods that have ended or are being deleted. Budgets do not protect these.
fn is_live(pod: &Facts) -> bool {
    let facts: Option<&PodFacts> = pod.of_kind();
    facts.is_some_and(|pod| {
        !pod.state.terminating && !matches!(pod.state.phase, Phase::Succeeded | Phase::Failed)
    })
}

/// Returns the name of the other budget and the names of the selected pods that it selects too, or
/// `None` if it selects none of them.
fn shared_pods(
    budgets: &ResourceRef,
    pods: &ResourceRef,
    other: &Record,
    selected: &[Arc<Record>],
) -> Option<(String, Vec<String>)> {
    let budget: &BudgetFacts = record::facts(budgets, other).of_kind()?;
    let selector = budget.selector.as_ref()?;
    let both: Vec<String> = selected
        .iter()
        .filter(|pod| selector.matches(record::facts(pods, pod)))
        .map(|pod| name_of(pod))
        .collect();
    (!both.is_empty()).then(|| (budget.name.clone(), both))
}

/// Returns the sum of `spec.replicas` of the controllers that own these pods. Counts each
/// controller once. Controllers other than ReplicaSets, StatefulSets and ReplicationControllers do
/// not count.
fn replicas(snapshot: &Snapshot, namespace: &str, selected: &[Arc<Record>]) -> i64 {
    let mut seen = HashSet::new();
    let mut sum = 0_i64;
    for pod in selected {
        let pod = record::parse(&pod.value);
        let owners = tree::list(&pod, &["metadata", "ownerReferences"]);
        let Some(owner) = owners
            .iter()
            .find(|owner| tree::flag(owner, &["controller"]))
        else {
            continue;
        };
        let (group, plural) = match tree::text(owner, &["kind"]) {
            "ReplicaSet" => ("apps", "replicasets"),
            "StatefulSet" => ("apps", "statefulsets"),
            "ReplicationController" => ("", "replicationcontrollers"),
            _ => continue,
        };
        let Some(resource) = kinds::resource(group, "v1", plural) else {
            continue;
        };
        let key = key::of(resource, namespace, tree::text(owner, &["name"]));
        if seen.insert(key.clone())
            && let Some(found) = snapshot.get(&key)
        {
            sum = sum.saturating_add(
                tree::int(&record::parse(&found.value), &["spec", "replicas"]).unwrap_or(0),
            );
        }
    }
    sum
}

/// Returns the limit of a spec. `minAvailable` takes precedence.
fn limit(spec: &Tree) -> Limit {
    let amount = |name: &str| match tree::at(spec, &[name]) {
        Tree::Number(number) => number.as_i64().map(Amount::Number),
        Tree::String(value) => value
            .strip_suffix('%')
            .and_then(|percent| percent.parse().ok())
            .map(Amount::Percent),
        _ => None,
    };
    let min_available = amount("minAvailable").map(Limit::MinAvailable);
    min_available
        .or_else(|| amount("maxUnavailable").map(Limit::MaxUnavailable))
        .unwrap_or(Limit::Unset)
}

/// Returns true if `minAvailable` requires all of this number of pods. Percentages are rounded up,
/// as in the disruption controller.
fn is_tight(limit: Limit, pods: i64) -> bool {
    match limit {
        Limit::MinAvailable(Amount::Number(least)) => least >= pods,
        Limit::MinAvailable(Amount::Percent(percent)) => pods.saturating_mul(100 - percent) < 100,
        Limit::MaxUnavailable(_) | Limit::Unset => false,
    }
}

/// Returns the warnings about a budget.
fn budget_warnings(context: &BudgetContext) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(never_allows(context));
    if context.pods.is_empty() {
        let hint = "compare the selector with the labels of the pods";
        warnings.push(format!(
            "spec.selector: selects no pods at present, so the budget protects nothing: {hint}"
        ));
    }
    for (other, pods) in context.others.iter().take(MAX_NAMED) {
        let (noun, verb) = if pods.len() == 1 {
            ("pod", "is")
        } else {
            ("pods", "are")
        };
        warnings.push(format!(
            "spec.selector: {noun} {} {verb} also selected by the budget {other}; \
             evictions of pods with more than one budget are always refused: \
             make the selectors disjoint or delete one of the budgets",
            render_names(pods)
        ));
    }
    if let Some(more) = context
        .others
        .len()
        .checked_sub(MAX_NAMED)
        .filter(|&more| more > 0)
    {
        warnings.push(format!(
            "spec.selector: {more} more budgets select pods of this one"
        ));
    }
    warnings
}

/// Returns a warning if the budget never allows an eviction of a healthy pod.
fn never_allows(context: &BudgetContext) -> Option<String> {
    const EFFECT: &str =
        "no healthy pod can ever be evicted and nodes with such pods cannot be drained";
    match context.limit {
        Limit::Unset => Some(format!(
            "spec: neither minAvailable nor maxUnavailable is set, so {EFFECT}: \
             set maxUnavailable to 1 or more"
        )),
        Limit::MaxUnavailable(Amount::Number(0)) => Some(format!(
            "spec.maxUnavailable: with 0 {EFFECT}: set it to 1 or more"
        )),
        Limit::MaxUnavailable(Amount::Percent(0)) => Some(format!(
            "spec.maxUnavailable: with 0% {EFFECT}: set it to 1 or more"
        )),
        Limit::MinAvailable(Amount::Percent(100..)) => Some(format!(
            "spec.minAvailable: with 100% {EFFECT}: set maxUnavailable to 1 instead"
        )),
        Limit::MinAvailable(amount)
            if context.expected > 0 && is_tight(context.limit, context.expected) =>
        {
            let (shown, expected) = (render_amount(amount), context.expected);
            let hint = "lower it, set maxUnavailable to 1 instead, or run more replicas";
            Some(format!(
                "spec.minAvailable: {shown} of {expected} selected pods leaves none to spare, \
                 so {EFFECT}: {hint}"
            ))
        }
        _ => None,
    }
}

/// Returns the amount as it is written in the spec.
fn render_amount(amount: Amount) -> String {
    match amount {
        Amount::Number(number) => number.to_string(),
        Amount::Percent(percent) => format!("{percent}%"),
    }
}

/// Returns up to [`MAX_NAMED`] names, separated by commas, and the number of further ones.
fn render_names(names: &[String]) -> String {
    let first = names
        .iter()
        .take(MAX_NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().checked_sub(MAX_NAMED) {
        Some(more) if more > 0 => format!("{first} and {more} more"),
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    /// Returns the warnings about a budget that selects this number of pods, each cut before its
    /// common part.
    fn warnings_of(spec: &Tree, pods: i64) -> Vec<String> {
        let names = (0..pods).map(|number| format!("p{number}")).collect();
        let context = BudgetContext {
            limit: limit(spec),
            pods: names,
            expected: pods,
            others: Vec::new(),
        };
        budget_warnings(&context)
            .into_iter()
            .map(|warning| {
                warning
                    .split(" no healthy")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn budgets_that_never_allow_an_eviction_get_a_warning() {
        for (spec, pods, expected) in [
            (
                json!({"maxUnavailable": 0}),
                3,
                Some("spec.maxUnavailable: with 0"),
            ),
            (
                json!({"maxUnavailable": "0%"}),
                3,
                Some("spec.maxUnavailable: with 0%"),
            ),
            (json!({"maxUnavailable": 1}), 1, None),
            (json!({"maxUnavailable": "1%"}), 1, None),
            (
                json!({"minAvailable": "100%"}),
                3,
                Some("spec.minAvailable: with 100%"),
            ),
            (
                json!({"minAvailable": 3}),
                3,
                Some("spec.minAvailable: 3 of 3 selected pods leaves none to spare, so"),
            ),
            (
                json!({"minAvailable": 5}),
                1,
                Some("spec.minAvailable: 5 of 1 selected pods leaves none to spare, so"),
            ),
            (json!({"minAvailable": 2}), 3, None),
            (json!({"minAvailable": 0}), 1, None),
            // Percentages are rounded up: 50% of 1 pod is 1, and 90% of 10 pods is 9.
            (
                json!({"minAvailable": "50%"}),
                1,
                Some("spec.minAvailable: 50% of 1 selected pods leaves none to spare, so"),
            ),
            (json!({"minAvailable": "90%"}), 10, None),
            (
                json!({"minAvailable": "91%"}),
                10,
                Some("spec.minAvailable: 91% of 10 selected pods leaves none to spare, so"),
            ),
            (
                json!({}),
                3,
                Some("spec: neither minAvailable nor maxUnavailable is set, so"),
            ),
        ] {
            assert_eq!(
                warnings_of(&spec, pods),
                Vec::from_iter(expected.map(str::to_owned)),
                "{spec} over {pods}"
            );
        }
    }

    #[test]
    fn warnings_name_a_bounded_number_of_pods_and_budgets() {
        let names = |count: usize| {
            (0..count)
                .map(|number| format!("p{number}"))
                .collect::<Vec<_>>()
        };
        let others = ["a", "b", "c", "d", "e"]
            .map(|name| (name.to_owned(), names(5)))
            .to_vec();
        let context = BudgetContext {
            limit: limit(&json!({"maxUnavailable": 1})),
            pods: names(5),
            expected: 5,
            others,
        };
        let warnings = budget_warnings(&context);
        assert_eq!(warnings.len(), 4);
        assert!(
            warnings[0].contains("pods p0, p1, p2 and 2 more are also selected by the budget a;"),
            "{}",
            warnings[0]
        );
        assert_eq!(
            warnings[3],
            "spec.selector: 2 more budgets select pods of this one"
        );
        assert_eq!(render_names(&names(3)), "p0, p1, p2");
    }
}
