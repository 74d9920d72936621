//! Printer columns of custom kinds.

use kinds::Tree;
use kinds::tree::json;

use super::jsonpath::JsonPath;
use crate::tree::{int, list, text};

/// A table column after the name column.
#[derive(Debug)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// The OpenAPI format, for example `int32`; empty when not set.
    pub format: String,
    /// The description that clients get in the table.
    pub description: String,
    /// Clients show columns of priority 0 always, and others in wide output only.
    pub priority: i64,
    path: JsonPath,
}

const AGE_TEXT: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// Returns the columns of a version. A version without columns gets the age. A column whose path
/// cannot be parsed is left out, and so are those behind it.
pub(crate) fn columns(version: &Tree) -> Vec<Column> {
    let listed = list(version, &["additionalPrinterColumns"]);
    if listed.is_empty() {
        let age = json!({"name": "Age", "type": "date", "description": AGE_TEXT,
            "jsonPath": ".metadata.creationTimestamp"});
        return column(&age).into_iter().collect();
    }
    listed.iter().map_while(column).collect()
}

fn column(column: &Tree) -> Option<Column> {
    Some(Column {
        name: text(column, &["name"]).to_owned(),
        kind: text(column, &["type"]).to_owned(),
        format: text(column, &["format"]).to_owned(),
        description: match text(column, &["description"]) {
            "" => format!(
                "Custom resource definition column (in JSONPath format): {}",
                text(column, &["jsonPath"])
            ),
            given => given.to_owned(),
        },
        priority: int(column, &["priority"]).unwrap_or(0),
        path: JsonPath::parse(text(column, &["jsonPath"]))?,
    })
}

/// Returns the cell of an object in a column. `age` renders the time since a timestamp, which is in
/// seconds since 1970. The cell is null when the path selects nothing or the value has another type
/// than the column. Of several values the first is shown.
#[must_use]
pub fn cell(column: &Column, object: &Tree, age: impl Fn(i64) -> String) -> Tree {
    let Some(found) = column.path.find(object) else {
        return Tree::Null;
    };
    match (column.kind.as_str(), found.as_ref()) {
        ("string", value) => json!(shown(value)),
        ("integer", Tree::Number(number)) => number
            .as_i64()
            .map_or_else(|| whole(number.as_f64()), Tree::from),
        ("number", value @ Tree::Number(_)) | ("boolean", value @ Tree::Bool(_)) => value.clone(),
        ("date", Tree::String(text)) => match text.as_str() {
            "" | "null" => json!("<unknown>"),
            text => match text.parse::<jiff::Timestamp>() {
                Ok(time) => json!(age(time.as_second())),
                Err(_) => json!("<invalid>"),
            },
        },
        _ => Tree::Null,
    }
}

/// Returns a number without its fraction.
fn whole(number: Option<f64>) -> Tree {
    let digits = number.map(|number| format!("{:.0}", number.trunc()));
    digits
        .and_then(|digits| digits.parse::<i64>().ok())
        .map_or(Tree::Null, Tree::from)
}

/// Renders a value: texts as they are, lists and objects as JSON.
fn shown(value: &Tree) -> String {
    match value {
        Tree::String(text) => text.to_string(),
        Tree::Null => "<no value>".to_owned(),
        value => String::from_utf8_lossy(&kinds::json::encode_untyped(value)).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_path() {
        let object = json!({
            "metadata": {"creationTimestamp": "1970-01-01T00:01:00Z",
                "annotations": {"a.b/c": "noted"}},
            "spec": {"replicas": 3, "share": 0.5, "on": true, "gone": null,
                "parts": [{"name": "x"}, {"name": "y"}]},
            "status": {"conditions": [{"type": "Synced", "status": "False"},
                {"type": "Ready", "status": "True"}]},
        });
        for (kind, path, expected) in [
            ("integer", ".spec.replicas", json!(3)),
            ("string", ".spec.replicas", json!("3")),
            ("number", ".spec.share", json!(0.5)),
            ("number", ".spec.replicas", json!(3)),
            ("integer", ".spec.share", json!(0)),
            ("integer", ".spec.parts", Tree::Null),
            (
                "string",
                ".spec.parts",
                json!(r#"[{"name":"x"},{"name":"y"}]"#),
            ),
            ("string", ".spec.gone", json!("<no value>")),
            ("boolean", ".spec.on", json!(true)),
            ("string", ".spec.none", Tree::Null),
            ("string", ".spec.parts[*].name", json!("x")),
            ("string", ".spec.parts[-1:].name", json!("y")),
            ("string", ".spec.parts[-1].name", json!("y")),
            (
                "string",
                r#".status.conditions[?(@.type=="Ready")].status"#,
                json!("True"),
            ),
            (
                "string",
                ".status.conditions[?(@.type == 'Synced')].status",
                json!("False"),
            ),
            ("string", r".metadata.annotations.a\.b/c", json!("noted")),
            ("string", r".metadata.annotations['a\.b/c']", json!("noted")),
            ("date", ".metadata.creationTimestamp", json!("2m")),
            ("date", r".metadata.annotations.a\.b/c", json!("<invalid>")),
        ] {
            let version = json!({"additionalPrinterColumns": [{"name": "C", "type": kind,
                "jsonPath": path}]});
            assert_eq!(
                cell(&columns(&version)[0], &object, |then| {
                    kinds::duration::human_age(180 - then)
                }),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn a_path_that_cannot_be_parsed_ends_the_columns() {
        let column = |path: &str| json!({"name": path, "type": "string", "jsonPath": path});
        let version = json!({"additionalPrinterColumns": [column(".a"), column(".b["),
            column(".c")]});
        let names: Vec<String> = columns(&version).into_iter().map(|one| one.name).collect();
        assert_eq!(names, [".a"]);
    }
}
