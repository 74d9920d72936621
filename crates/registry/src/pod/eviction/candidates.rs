//! Which budgets may select a pod, without asking all of its namespace: a namespace may have
//! hundreds, and an eviction should not cost more for it.
//!
//! Each budget is found under one requirement of its selector that a pod can only fulfil with a
//! certain label (`shop/app=web`), or, when it has none, under its namespace (`shop/`). A pod asks
//! for its labels and its namespace. What is found this way has still to be matched.

use std::sync::Arc;

use kinds::selector::Operator;
use store::{Index, Record};

use super::budget_of;
use crate::key;
use crate::record::{self, Facts};
use crate::resource::ResourceRef;
use crate::view::View;

/// The index that the store keeps over the budgets.
pub(crate) const BUDGETS: Index = Index {
    collection: "poddisruptionbudgets.policy",
    terms,
};

fn terms(budget: &Record) -> Vec<String> {
    let Some(budgets) = ResourceRef::built_in("policy", "v1", "poddisruptionbudgets") else {
        return Vec::new();
    };
    let (namespace, _) = key::namespace_and_name(&budget.key);
    let Some(selector) =
        budget_of(record::facts(&budgets, budget)).and_then(|budget| budget.selector.as_ref())
    else {
        return Vec::new();
    };
    let pinned = |operator| {
        matches!(
            operator,
            Operator::Equals | Operator::DoubleEquals | Operator::In
        )
    };
    match selector
        .requirements()
        .iter()
        .find(|requirement| pinned(requirement.operator()))
    {
        Some(requirement) => requirement
            .values()
            .iter()
            .map(|value| term(namespace, requirement.key(), value))
            .collect(),
        None => vec![format!("{namespace}/")],
    }
}

fn term(namespace: &str, label: &str, value: &str) -> String {
    format!("{namespace}/{label}={value}")
}

/// The budgets of the namespace that may select a pod with these facts.
pub(super) fn of(view: &impl View, namespace: &str, pod: &Facts) -> Vec<Arc<Record>> {
    let mut found: Vec<Arc<Record>> = view.indexed(&BUDGETS, &format!("{namespace}/")).collect();
    for (label, value) in &pod.labels {
        found.extend(view.indexed(&BUDGETS, &term(namespace, label, value)));
    }
    // In the order of their names, as a list would show them.
    found.sort_by(|left, right| left.key.cmp(&right.key));
    found
}
