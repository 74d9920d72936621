//! Validation of `PodDisruptionBudget`, which has no defaults.
//!
//! All fields of the spec may change. `rules` validates the spec, for the tools too.

use std::collections::BTreeSet;

use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use rules::validation::budget;

use super::checks::{Faults, nonnegative, one_of};
use super::meta::invalid_text;
use super::path::Path;
use super::{KindFacts, Strategy, StrategyContext, selector};
use crate::facts::BudgetFacts;
use crate::tree::{at, int, list, put, take, text};

pub(crate) struct PodDisruptionBudget;

/// Integer fields of the status, which are always serialized.
const COUNTS: [&str; 4] = [
    "disruptionsAllowed",
    "currentHealthy",
    "desiredHealthy",
    "expectedPods",
];
/// Key of the label term that kept empty `policy/v1beta1` selectors from matching all pods.
const LEGACY_KEY: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

const REASON_LIMIT: usize = 1024;
const MESSAGE_LIMIT: usize = 32 * 1024;

impl Strategy for PodDisruptionBudget {
    fn facts(&self, object: &Tree) -> Option<KindFacts> {
        Some(Box::new(BudgetFacts::of(object)))
    }

    fn default(&self, object: &mut Tree) {
        strip_legacy_term(object);
    }

    fn has_own_metadata_rules(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, context: &StrategyContext<'_>, object: &mut Tree) {
        for count in COUNTS {
            put(object, &["status", count], 0);
        }
        if !context.gates.unhealthy_pod_eviction_policy {
            take(object, &["spec", "unhealthyPodEvictionPolicy"]);
        }
    }

    fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        let in_use = !at(old, &["spec", "unhealthyPodEvictionPolicy"]).is_null();
        if context.subresource.is_empty() && !context.gates.unhealthy_pod_eviction_policy && !in_use
        {
            take(new, &["spec", "unhealthyPodEvictionPolicy"]);
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        budget::spec(object, false, &mut out);
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        if context.subresource == "status" {
            status(at(new, &["status"]), &mut out);
        } else {
            let mut stored = FieldErrors::default();
            selector::faults(
                at(old, &["spec", "selector"]),
                &Path::root("spec.selector"),
                false,
                &mut stored,
            );
            budget::spec(new, !stored.is_empty(), &mut out);
        }
        out
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Removes the legacy term from a selector that has other terms too.
fn strip_legacy_term(object: &mut Tree) {
    let terms = list(object, &["spec", "selector", "matchExpressions"]);
    let is_legacy = |term: &Tree| text(term, &["key"]) == LEGACY_KEY;
    if !terms.iter().any(is_legacy) {
        return;
    }
    let nothing_else = terms.len() == 1
        && text(&terms[0], &["operator"]) == "Exists"
        && list(&terms[0], &["values"]).is_empty()
        && crate::tree::is_empty(at(object, &["spec", "selector", "matchLabels"]));
    if !nothing_else {
        let kept: Vec<Tree> = terms
            .iter()
            .filter(|term| !is_legacy(term))
            .cloned()
            .collect();
        put(object, &["spec", "selector", "matchExpressions"], kept);
    }
}

fn status(status: &Tree, out: &mut Faults) {
    const STATUS: Path<'static> = Path::root("status");
    conditions(
        list(status, &["conditions"]),
        &STATUS.child("conditions"),
        out,
    );
    for count in COUNTS {
        nonnegative(status, count, &STATUS, out);
    }
}

/// Validates conditions of the common type `metav1.Condition`.
pub(crate) fn conditions(conditions: &[Tree], path: &Path<'_>, out: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let kind = text(condition, &["type"]);
        if !seen.insert(kind) {
            out.push(FieldError::duplicate(path.child("type"), &Tree::from(kind)));
        }
        out.extend(
            names::qualified_name(kind)
                .into_iter()
                .map(|fault| invalid_text(path.child("type"), kind, fault)),
        );
        one_of(
            condition,
            "status",
            &["False", "True", "Unknown"],
            &path,
            out,
        );
        if int(condition, &["observedGeneration"]).is_some_and(|generation| generation < 0) {
            let shown = at(condition, &["observedGeneration"]);
            out.push(FieldError::invalid(
                path.child("observedGeneration"),
                shown,
                "must be greater than or equal to zero",
            ));
        }
        if text(condition, &["lastTransitionTime"]).is_empty() {
            out.push(FieldError::required(path.child("lastTransitionTime"), ""));
        }
        reason(text(condition, &["reason"]), &path, out);
        if text(condition, &["message"]).len() > MESSAGE_LIMIT {
            out.push(FieldError::too_long(path.child("message"), MESSAGE_LIMIT));
        }
    }
}

fn reason(reason: &str, path: &Path<'_>, out: &mut Faults) {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b',' | b':');
    let bytes = reason.as_bytes();
    let sound = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes
            .last()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && bytes.iter().copied().all(inner);
    if reason.is_empty() {
        out.push(FieldError::required(path.child("reason"), ""));
    } else if !sound {
        let detail = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
        out.push(invalid_text(path.child("reason"), reason, detail));
    }
    if reason.len() > REASON_LIMIT {
        out.push(FieldError::too_long(path.child("reason"), REASON_LIMIT));
    }
}
