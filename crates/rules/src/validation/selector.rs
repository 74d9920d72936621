//! Validation and rendering of label selectors.

use kinds::status::{FieldError, FieldErrors};
use kinds::{Tree, names};

use super::path::Path;
use super::{at, invalid_text, labels, list, text};

/// Validates a `LabelSelector`. `lenient_values` skips the values of expressions, for updates of
/// objects whose stored selector is already invalid.
pub fn faults(selector: &Tree, path: &Path<'_>, lenient_values: bool, out: &mut FieldErrors) {
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

/// Renders a `LabelSelector` as errors show it: with members in wire order.
#[must_use]
pub fn shown(selector: &Tree) -> String {
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
