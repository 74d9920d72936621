//! Validation, equality and rendering of label selectors.
//!
//! An absent selector matches nothing, an empty one matches everything.

use kinds::{
    Tree,
    status::{FieldError, FieldErrors},
};

use super::meta::{invalid_text, labels};
use super::path::Path;
use crate::tree::{at, list, text};
use kinds::names;

/// Validates a `LabelSelector`. `lenient_values` skips the values of expressions, for updates of
/// objects whose stored selector is already invalid.
pub(crate) fn faults(
    selector: &Tree,
    path: &Path<'_>,
    lenient_values: bool,
    out: &mut FieldErrors,
) {
    labels(
        at(selector, &["matchLabels"]),
        &path.child("matchLabels"),
        out,
    );
    let expressions = path.child("matchExpressions");
    for (index, expression) in list(selector, &["matchExpressions"]).iter().enumerate() {
        requirement(expression, &expressions.index(index), lenient_values, out);
    }
}

fn requirement(expression: &Tree, path: &Path<'_>, lenient_values: bool, out: &mut FieldErrors) {
    let values = list(expression, &["values"]);
    match text(expression, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            out.push(FieldError::required(
                path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ));
        }
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                out.push(FieldError::forbidden(path.child("values"), detail));
            }
        }
        other => out.push(invalid_text(
            path.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    let key = text(expression, &["key"]);
    out.extend(
        names::qualified_name(key)
            .into_iter()
            .map(|fault| invalid_text(path.child("key"), key, fault)),
    );
    if !lenient_values {
        let at_values = path.child("values");
        for (index, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            out.extend(
                names::label_value(value)
                    .into_iter()
                    .map(|fault| invalid_text(at_values.index(index), value, fault)),
            );
        }
    }
}

/// Returns `true` if a selector has no requirements.
pub(crate) fn is_empty(selector: &Tree) -> bool {
    at(selector, &["matchLabels"])
        .as_object()
        .is_none_or(kinds::tree::Map::is_empty)
        && list(selector, &["matchExpressions"]).is_empty()
}

/// Returns `true` if a selector is valid. Absent is valid.
pub(crate) fn is_sound(selector: &Tree) -> bool {
    kinds::selector::LabelSelector::from_tree(selector).is_ok()
}

/// Returns `true` if a selector matches labels. An invalid selector matches nothing.
pub(crate) fn matches(selector: &Tree, labels: &Tree) -> bool {
    kinds::selector::LabelSelector::from_tree(selector)
        .is_ok_and(|selector| selector.matches(labels))
}

/// Compares selectors semantically. An absent selector differs from an empty one.
pub(crate) fn same(one: &Tree, other: &Tree) -> bool {
    one.is_null() == other.is_null()
        && super::same(
            "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
            &[],
            one,
            other,
        )
}

/// Renders a `LabelSelector` as errors show it: with members in wire order.
pub(crate) fn shown(selector: &Tree) -> String {
    if selector.is_null() {
        return "null".to_owned();
    }
    let mut parts = Vec::new();
    let wanted = at(selector, &["matchLabels"]);
    if wanted.as_object().is_some_and(|labels| !labels.is_empty()) {
        parts.push(format!("\"matchLabels\":{wanted}"));
    }
    let expressions: Vec<String> = list(selector, &["matchExpressions"])
        .iter()
        .map(shown_requirement)
        .collect();
    if !expressions.is_empty() {
        parts.push(format!("\"matchExpressions\":[{}]", expressions.join(",")));
    }
    format!("{{{}}}", parts.join(","))
}

fn shown_requirement(expression: &Tree) -> String {
    let mut shown = format!(
        "{{\"key\":{},\"operator\":{}",
        Tree::from(text(expression, &["key"])),
        Tree::from(text(expression, &["operator"]))
    );
    if !list(expression, &["values"]).is_empty() {
        shown.push_str(&format!(",\"values\":{}", at(expression, &["values"])));
    }
    shown.push('}');
    shown
}
