//! The index of budgets by their selectors: an eviction finds the budgets that may select its pod
//! without reading all of the namespace, which may have hundreds.
//!
//! Each budget is indexed under one requirement of its selector that only pods with a certain label
//! fulfil (`shop/app=web`), or, if it has no such requirement, under its namespace (`shop/`). The
//! lookup uses the namespace and each label of the pod. Budgets that it finds have still to be
//! matched.

use std::sync::Arc;

use kinds::selector::Operator;
use store::{Index, Record};

use crate::facts::BudgetFacts;
use crate::key;
use crate::record::{self, Facts};
use crate::resource::ResourceRef;
use crate::view::StoreView;

/// The index of budgets, which the store keeps.
pub(crate) const BUDGETS: Index = Index {
    collection: "poddisruptionbudgets.policy",
    terms,
};

fn terms(budget: &Record) -> Vec<String> {
    let Some(budgets) = ResourceRef::built_in("policy", "v1", "poddisruptionbudgets") else {
        return Vec::new();
    };
    let (namespace, _) = key::namespace_and_name(&budget.key);
    let facts: Option<&BudgetFacts> = record::facts(&budgets, budget).of_kind();
    let Some(selector) = facts.and_then(|budget| budget.selector.as_ref()) else {
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

/// Returns the budgets of the namespace that may select a pod with these facts, sorted by name.
pub(super) fn of(view: &impl StoreView, namespace: &str, pod: &Facts) -> Vec<Arc<Record>> {
    let mut found: Vec<Arc<Record>> = view.indexed(&BUDGETS, &format!("{namespace}/")).collect();
    for (label, value) in &pod.labels {
        found.extend(view.indexed(&BUDGETS, &term(namespace, label, value)));
    }
    // A refusal depends on the order when several budgets select the pod.
    found.sort_by(|left, right| left.key.cmp(&right.key));
    found
}
