//! Faults in the fields of objects that the API server refuses and the tools report before it does.
//!
//! Functions append faults to a list, so that one response reports all of them. Absent fields are
//! valid unless stated otherwise. The texts are upstream's.
//!
//! Read next: `budget.rs`, the spec of a budget.

pub mod budget;
pub mod path;
pub mod selector;

use kinds::status::{FieldError, FieldErrors, FieldFault};
use kinds::{Tree, names};

use crate::tree::{at, list, text};
use path::Path;

/// Returns an `Invalid` fault for a string value.
#[must_use]
pub fn invalid_text(
    path: impl Into<String>,
    value: &str,
    detail: impl std::fmt::Display,
) -> FieldError {
    FieldError::invalid(path, &Tree::from(value), detail)
}

/// Returns an `Invalid` fault that prints `shown` as the value. Needed for values whose members
/// have an order of their own.
#[must_use]
pub fn invalid_shown(
    path: impl Into<String>,
    shown: &str,
    detail: impl std::fmt::Display,
) -> FieldError {
    FieldError {
        fault: FieldFault::Invalid,
        field: path.into(),
        body: format!("Invalid value: {shown}: {detail}"),
    }
}

/// Validates a map of labels.
pub fn labels(labels: &Tree, path: &Path<'_>, out: &mut FieldErrors) {
    let members = labels.as_object().into_iter().flatten();
    let mut members: Vec<(&str, &Tree)> = members.map(|(key, value)| (&**key, value)).collect();
    members.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in members {
        out.extend(
            names::qualified_name(key)
                .into_iter()
                .map(|fault| invalid_text(path, key, fault)),
        );
        let value = value.as_str().unwrap_or_default();
        out.extend(
            names::label_value(value)
                .into_iter()
                .map(|fault| invalid_text(path, value, fault)),
        );
    }
}

/// Rejects numbers below zero. Absent is valid.
pub fn nonnegative(tree: &Tree, field: &str, path: &Path<'_>, out: &mut FieldErrors) {
    let value = at(tree, &[field]);
    if value.as_i64().is_some_and(|number| number < 0) {
        out.push(FieldError::invalid(
            path.child(field),
            value,
            "must be greater than or equal to 0",
        ));
    }
}

/// Rejects unsupported values. Absent counts as the empty string.
pub fn one_of(
    tree: &Tree,
    field: &str,
    supported: &[&str],
    path: &Path<'_>,
    out: &mut FieldErrors,
) {
    let value = text(tree, &[field]);
    if !supported.contains(&value) {
        out.push(FieldError::not_supported(
            path.child(field),
            &Tree::from(value),
            supported,
        ));
    }
}

/// Rejects unsupported values. Absent is valid.
pub fn one_of_if_set(
    tree: &Tree,
    field: &str,
    supported: &[&str],
    path: &Path<'_>,
    out: &mut FieldErrors,
) {
    if !at(tree, &[field]).is_null() {
        one_of(tree, field, supported, path, out);
    }
}

/// Parses a string such as `25%`. Saturates at the largest number.
#[must_use]
pub fn percent(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('%')?;
    names::percent(text)
        .is_empty()
        .then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Rejects values that are neither a non-negative number nor a percentage. Absent is valid.
pub fn number_or_percent(value: &Tree, path: &Path<'_>, out: &mut FieldErrors) {
    if let Some(text) = value.as_str() {
        out.extend(
            names::percent(text)
                .into_iter()
                .map(|fault| invalid_text(path, text, fault)),
        );
    } else if value.as_i64().is_some_and(|number| number < 0) {
        out.push(FieldError::invalid(
            path,
            value,
            "must be greater than or equal to 0",
        ));
    }
}

/// Rejects percentages above 100.
pub fn at_most_all(value: &Tree, path: &Path<'_>, out: &mut FieldErrors) {
    if value
        .as_str()
        .and_then(percent)
        .is_some_and(|percent| percent > 100)
    {
        out.push(FieldError::invalid(
            path,
            value,
            "must not be greater than 100%",
        ));
    }
}
