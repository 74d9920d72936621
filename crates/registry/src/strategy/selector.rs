//! Label selectors as validation sees them.

use kinds::{Tree, status::FieldError};

use super::meta::{invalid_text, labels};
use super::path::Path;
use crate::tree::{at, list, text};
use kinds::names;

/// Faults of a `LabelSelector`. `lenient_values` leaves the values of expressions unjudged, as
/// updates of objects do whose stored selector breaks the rules already.
pub(crate) fn faults(
    selector: &Tree,
    path: &Path<'_>,
    lenient_values: bool,
    out: &mut Vec<FieldError>,
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

fn requirement(
    expression: &Tree,
    path: &Path<'_>,
    lenient_values: bool,
    out: &mut Vec<FieldError>,
) {
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

/// True when a selector demands nothing.
pub(crate) fn is_empty(selector: &Tree) -> bool {
    at(selector, &["matchLabels"])
        .as_object()
        .is_none_or(kinds::tree::Map::is_empty)
        && list(selector, &["matchExpressions"]).is_empty()
}

/// True when a selector breaks no rule. None is sound.
pub(crate) fn is_sound(selector: &Tree) -> bool {
    kinds::selector::LabelSelector::from_tree(selector).is_ok()
}

/// True when a selector matches labels. A selector that breaks the rules matches nothing.
pub(crate) fn matches(selector: &Tree, labels: &Tree) -> bool {
    kinds::selector::LabelSelector::from_tree(selector)
        .is_ok_and(|selector| selector.matches(labels))
}

/// Semantic equality of selectors. None matches nothing and is not the empty one.
pub(crate) fn same(one: &Tree, other: &Tree) -> bool {
    one.is_null() == other.is_null()
        && super::same(
            "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
            &[],
            one,
            other,
        )
}

/// A `LabelSelector` as errors show it: members in their wire order.
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
