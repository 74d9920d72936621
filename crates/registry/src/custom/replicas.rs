//! Validation of the values at the paths of the scale subresource, which a schema need not type.
//! The messages are those of Go's accessors of untyped objects.

use kinds::Tree;
use kinds::status::{FieldError, FieldErrors};

use crate::strategy::{FieldPath, ScalePaths};

/// Validates the desired number of replicas.
pub(super) fn spec_faults(object: &Tree, scale: Option<&ScalePaths>, faults: &mut FieldErrors) {
    if let Some(scale) = scale {
        count(object, &scale.spec_replicas, faults);
    }
}

/// Validates the observed number of replicas and the selector.
pub(super) fn status_faults(object: &Tree, scale: Option<&ScalePaths>, faults: &mut FieldErrors) {
    let Some(scale) = scale else { return };
    count(object, &scale.status_replicas, faults);
    if scale.selector.names().is_empty() {
        return;
    }
    match value_at(object, &scale.selector) {
        Ok(None | Some(Tree::String(_))) => {}
        Ok(Some(other)) => {
            let why = wrong_type(&scale.selector.names(), other, "string");
            faults.push(FieldError::invalid(
                shown(&scale.selector),
                &Tree::from(""),
                why,
            ));
        }
        Err(why) => faults.push(FieldError::invalid(
            shown(&scale.selector),
            &Tree::from(""),
            why,
        )),
    }
}

fn count(object: &Tree, path: &FieldPath, faults: &mut FieldErrors) {
    let (number, why) = match value_at(object, path) {
        Ok(None) => return,
        Ok(Some(value)) => match value.as_i64() {
            Some(number) if number < 0 => (number, "should be a non-negative integer".to_owned()),
            Some(number) if number > i64::from(i32::MAX) => (
                number,
                format!("should be less than or equal to {}", i32::MAX),
            ),
            Some(_) => return,
            None => (0, wrong_type(&path.names(), value, "int64")),
        },
        Err(why) => (0, why),
    };
    faults.push(FieldError::invalid(shown(path), &Tree::from(number), why));
}

/// Returns the value at a path, or the message for a value on the way that has no members.
fn value_at<'a>(object: &'a Tree, path: &FieldPath) -> Result<Option<&'a Tree>, String> {
    let names = path.names();
    let mut here = object;
    for (place, name) in names.iter().enumerate() {
        match here {
            Tree::Null => return Ok(None),
            Tree::Object(members) => match members.get(name) {
                Some(value) => here = value,
                None => return Ok(None),
            },
            other => {
                let path = &names[..=place];
                return Err(wrong_type(path, other, "map[string]interface{}"));
            }
        }
    }
    Ok(Some(here))
}

fn shown(path: &FieldPath) -> String {
    format!(".{}", path.names().join("."))
}

fn wrong_type(path: &[&str], value: &Tree, expected: &str) -> String {
    format!(
        ".{} accessor error: {} is of the type {}, expected {expected}",
        path.join("."),
        kinds::patch::render_go(value),
        go_type(value)
    )
}

fn go_type(value: &Tree) -> &'static str {
    match value {
        Tree::Null => "<nil>",
        Tree::Bool(_) => "bool",
        Tree::Number(number) if number.as_i64().is_some() => "int64",
        Tree::Number(_) => "float64",
        Tree::String(_) => "string",
        Tree::Array(_) => "[]interface {}",
        Tree::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    #[test]
    fn values_of_other_types_are_reported_as_gos_accessors_do() {
        let path =
            |names: &[&str]| FieldPath::Custom(names.iter().map(|name| (*name).into()).collect());
        let scale = ScalePaths {
            spec_replicas: path(&["spec", "replicas"]),
            status_replicas: path(&["status", "replicas"]),
            selector: path(&["status", "selector"]),
            selector_is_map: false,
        };
        for (object, expected) in [
            (json!({}), vec![]),
            (
                json!({"spec": {"replicas": 3}, "status": {"selector": "a=b"}}),
                vec![],
            ),
            (
                json!({"spec": {"replicas": "x"}}),
                vec![
                    ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: x is of the \
                     type string, expected int64",
                ],
            ),
            (
                json!({"spec": "x"}),
                vec![
                    ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: x is of the \
                     type string, expected map[string]interface{}",
                ],
            ),
            (
                json!({"spec": {"replicas": -1}, "status": {"replicas": 2147483648_i64}}),
                vec![
                    ".spec.replicas: Invalid value: -1: should be a non-negative integer",
                    ".status.replicas: Invalid value: 2147483648: should be less than or equal to \
                     2147483647",
                ],
            ),
            (
                json!({"status": {"selector": ["a"], "replicas": {"b": true}}}),
                vec![
                    ".status.replicas: Invalid value: 0: .status.replicas accessor error: map[b:true] \
                     is of the type map[string]interface {}, expected int64",
                    ".status.selector: Invalid value: \"\": .status.selector accessor error: [a] is \
                     of the type []interface {}, expected string",
                ],
            ),
        ] {
            let mut faults = FieldErrors::default();
            spec_faults(&object, Some(&scale), &mut faults);
            status_faults(&object, Some(&scale), &mut faults);
            let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{object}");
        }
    }
}
