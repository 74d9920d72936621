//! Warnings about a budget that was just written and that cannot do what it is for: it never allows
//! an eviction, selects nothing, or shares pods with another budget.
//!
//! [`advice`] is pure; what it looks at is read from a snapshot after the write, outside of its
//! commit. Upstream gives no such warnings, so they are an option.

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

/// How many pods or budgets a warning names.
const MAX_NAMED: usize = 3;

/// What a budget demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    MinAvailable(Amount),
    MaxUnavailable(Amount),
    Nothing,
}

/// A number of pods, or a part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    Number(i64),
    Percent(i64),
}

/// A budget and what it meets.
#[derive(Debug)]
struct Facing {
    limit: Limit,
    /// Names of the live pods that it selects.
    pods: Vec<String>,
    /// How many pods there should be of those.
    expected: i64,
    /// Other budgets, each with the names of the pods that both select.
    others: Vec<(String, Vec<String>)>,
}

impl Registry {
    /// Whether writing this deserves a look afterwards.
    pub(crate) fn is_advised(&self, target: &Target) -> bool {
        self.options().budget_warnings
            && target.resource.group == "policy"
            && target.resource.plural == "poddisruptionbudgets"
    }

    /// Adds to the answer of a write what should be known about the budget.
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
                    look(&self.store().snapshot(), namespace, &budget)
                        .map_or_else(Vec::new, |facing| advice(&facing)),
                );
            }
        }
        Ok(reply)
    }
}

/// Reads what the budget meets.
fn look(snapshot: &Snapshot, namespace: &str, budget: &Tree) -> Option<Facing> {
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
    // Reading the owners of all pods costs, and more pods than there are only leave more room.
    let expected = if is_tight(limit, count) {
        count.max(replicas(snapshot, namespace, &selected))
    } else {
        count
    };
    let own = object::meta_text(budget, "name");
    let others = snapshot
        .range(&key::prefix(&budgets, namespace), None)
        .filter(|other| key::namespace_and_name(&other.key).1 != own)
        .filter_map(|other| shared(&budgets, &pods, &other, &selected))
        .collect();
    Some(Facing {
        limit,
        pods: selected.iter().map(|pod| name_of(pod)).collect(),
        expected,
        others,
    })
}

fn name_of(record: &Record) -> String {
    key::namespace_and_name(&record.key).1.to_owned()
}

/// Returns false for pods that have ended or are being deleted: budgets do not protect them.
fn is_live(pod: &Facts) -> bool {
    let facts: Option<&PodFacts> = pod.of_kind();
    facts.is_some_and(|pod| {
        !pod.state.terminating && !matches!(pod.state.phase, Phase::Succeeded | Phase::Failed)
    })
}

fn shared(
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

/// How many pods the controllers of these pods are to keep.
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

fn limit(spec: &Tree) -> Limit {
    let amount = |name: &str| match tree::at(spec, &[name]) {
        Tree::Number(number) => number.as_i64().map(Amount::Number),
        Tree::String(text) => text
            .strip_suffix('%')
            .and_then(|percent| percent.parse().ok())
            .map(Amount::Percent),
        _ => None,
    };
    let least = amount("minAvailable").map(Limit::MinAvailable);
    least
        .or_else(|| amount("maxUnavailable").map(Limit::MaxUnavailable))
        .unwrap_or(Limit::Nothing)
}

/// True when a demand leaves nothing of this many pods. Parts are rounded up, as the disruption
/// controller does.
fn is_tight(limit: Limit, pods: i64) -> bool {
    match limit {
        Limit::MinAvailable(Amount::Number(least)) => least >= pods,
        Limit::MinAvailable(Amount::Percent(percent)) => pods.saturating_mul(100 - percent) < 100,
        Limit::MaxUnavailable(_) | Limit::Nothing => false,
    }
}

/// What should be known about a budget.
fn advice(facing: &Facing) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(never(facing));
    if facing.pods.is_empty() {
        let way = "compare the selector with the labels of the pods";
        warnings.push(format!(
            "spec.selector: selects no pods at present, so the budget protects nothing: {way}"
        ));
    }
    for (other, pods) in facing.others.iter().take(MAX_NAMED) {
        let (noun, verb) = if pods.len() == 1 {
            ("pod", "is")
        } else {
            ("pods", "are")
        };
        warnings.push(format!(
            "spec.selector: {noun} {} {verb} also selected by the budget {other}; evictions of pods with more than one budget are always \
             refused: make the selectors disjoint or delete one of the budgets",
            named(pods)
        ));
    }
    if let Some(more) = facing
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

/// Why the budget can never allow an eviction, if so.
fn never(facing: &Facing) -> Option<String> {
    const SO: &str =
        "no healthy pod can ever be evicted and nodes with such pods cannot be drained";
    match facing.limit {
        Limit::Nothing => Some(format!(
            "spec: neither minAvailable nor maxUnavailable is set, so {SO}: set maxUnavailable to 1 or more"
        )),
        Limit::MaxUnavailable(Amount::Number(0)) => Some(format!(
            "spec.maxUnavailable: with 0 {SO}: set it to 1 or more"
        )),
        Limit::MaxUnavailable(Amount::Percent(0)) => Some(format!(
            "spec.maxUnavailable: with 0% {SO}: set it to 1 or more"
        )),
        Limit::MinAvailable(Amount::Percent(100..)) => Some(format!(
            "spec.minAvailable: with 100% {SO}: set maxUnavailable to 1 instead"
        )),
        Limit::MinAvailable(amount)
            if facing.expected > 0 && is_tight(facing.limit, facing.expected) =>
        {
            let (shown, expected) = (shown(amount), facing.expected);
            let way = "lower it, set maxUnavailable to 1 instead, or run more replicas";
            Some(format!(
                "spec.minAvailable: {shown} of {expected} selected pods leaves none to spare, so {SO}: {way}"
            ))
        }
        _ => None,
    }
}

fn shown(amount: Amount) -> String {
    match amount {
        Amount::Number(number) => number.to_string(),
        Amount::Percent(percent) => format!("{percent}%"),
    }
}

fn named(names: &[String]) -> String {
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

    /// The warnings of a budget over this many pods, cut where the way out begins.
    fn warned(spec: &Tree, pods: i64) -> Vec<String> {
        let names = (0..pods).map(|number| format!("p{number}")).collect();
        let facing = Facing {
            limit: limit(spec),
            pods: names,
            expected: pods,
            others: Vec::new(),
        };
        advice(&facing)
            .into_iter()
            .map(|text| {
                text.split(" no healthy")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn budgets_that_never_allow_an_eviction_are_told() {
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
            // Rounded up, half of one pod is that pod, and nine tenths of ten are nine.
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
                warned(&spec, pods),
                Vec::from_iter(expected.map(str::to_owned)),
                "{spec} over {pods}"
            );
        }
    }

    #[test]
    fn shared_pods_are_named_up_to_a_number() {
        let names = |count: usize| {
            (0..count)
                .map(|number| format!("p{number}"))
                .collect::<Vec<_>>()
        };
        let others = ["a", "b", "c", "d", "e"]
            .map(|name| (name.to_owned(), names(5)))
            .to_vec();
        let facing = Facing {
            limit: limit(&json!({"maxUnavailable": 1})),
            pods: names(5),
            expected: 5,
            others,
        };
        let warnings = advice(&facing);
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
        assert_eq!(named(&names(3)), "p0, p1, p2");
    }
}
