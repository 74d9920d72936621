//! Printer columns of custom kinds, and the subset of JSONPath that selects their cells.

use kinds::Tree;
use kinds::tree::json;

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
    path: Vec<PathStep>,
}

/// One step of a path.
#[derive(Debug, PartialEq)]
enum PathStep {
    Member(String),
    Index(i64),
    All,
    /// The items of a list whose member at this path equals this value.
    Where(Vec<String>, Tree),
    /// A step that cannot be parsed; it selects nothing.
    Nowhere,
}

const AGE_TEXT: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// Returns the columns of a version. A version without columns gets the age.
pub(crate) fn columns(version: &Tree) -> Vec<Column> {
    let listed = list(version, &["additionalPrinterColumns"]);
    if listed.is_empty() {
        return vec![Column {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            format: String::new(),
            description: AGE_TEXT.to_owned(),
            priority: 0,
            path: parse(".metadata.creationTimestamp"),
        }];
    }
    let column = |column: &Tree| Column {
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
        path: parse(text(column, &["jsonPath"])),
    };
    listed.iter().map(column).collect()
}

/// Returns true for a path that [`cell`] supports.
pub(crate) fn is_path(path: &str) -> bool {
    !path.is_empty() && !parse(path).contains(&PathStep::Nowhere)
}

/// Returns the cell of an object in a column. `age` renders the time since a timestamp, which is in
/// seconds since 1970. The cell is null when the path selects nothing or the value has another type
/// than the column.
#[must_use]
pub fn cell(column: &Column, object: &Tree, age: impl Fn(i64) -> String) -> Tree {
    let found = follow(object, &column.path);
    let Some(first) = found.first() else {
        return Tree::Null;
    };
    match column.kind.as_str() {
        "string" => json!(
            found
                .iter()
                .map(|value| shown(value))
                .collect::<Vec<_>>()
                .join(" ")
        ),
        "integer" => first.as_i64().map_or(Tree::Null, Tree::from),
        "number" if first.is_number() => (*first).clone(),
        "boolean" if first.is_boolean() => (*first).clone(),
        "date" => match first.as_str().map(str::parse::<jiff::Timestamp>) {
            Some(Ok(time)) => json!(age(time.as_second())),
            Some(Err(_)) => json!("<invalid>"),
            None => Tree::Null,
        },
        _ => Tree::Null,
    }
}

fn shown(value: &Tree) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn follow<'a>(object: &'a Tree, path: &[PathStep]) -> Vec<&'a Tree> {
    let mut here = vec![object];
    for step in path {
        here = here
            .into_iter()
            .flat_map(|value| one_step(value, step))
            .collect();
    }
    here.retain(|value| !value.is_null());
    here
}

fn one_step<'a>(value: &'a Tree, step: &PathStep) -> Vec<&'a Tree> {
    match step {
        PathStep::Member(name) => value.get(name).into_iter().collect(),
        PathStep::Index(index) => {
            let Tree::Array(items) = value else {
                return Vec::new();
            };
            let Ok(from_end) = usize::try_from(index.unsigned_abs()) else {
                return Vec::new();
            };
            let at = if *index < 0 {
                items.len().checked_sub(from_end)
            } else {
                Some(from_end)
            };
            at.and_then(|at| items.get(at)).into_iter().collect()
        }
        PathStep::All => match value {
            Tree::Array(items) => items.iter().collect(),
            Tree::Object(members) => members.values().collect(),
            _ => Vec::new(),
        },
        PathStep::Where(path, wanted) => {
            let holds = |item: &&Tree| {
                path.iter().try_fold(*item, |here, name| here.get(name)) == Some(wanted)
            };
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter(holds)
                .collect()
        }
        PathStep::Nowhere => Vec::new(),
    }
}

/// Parses a path such as `.a.b[0].c[?(@.type=="Ready")]['d.e']`.
fn parse(path: &str) -> Vec<PathStep> {
    let mut steps = Vec::new();
    let mut rest = path.trim().trim_start_matches('{').trim_end_matches('}');
    rest = rest.strip_prefix('$').unwrap_or(rest);
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some(end) = closing(inner) else {
                return vec![PathStep::Nowhere];
            };
            steps.push(bracket(inner[..end].trim()));
            rest = &inner[end + 1..];
            continue;
        }
        let inner = rest.strip_prefix('.').unwrap_or(rest);
        let (name, left) = member(inner);
        match name.as_str() {
            "" if left.starts_with('[') => {}
            "" => return vec![PathStep::Nowhere],
            "*" => steps.push(PathStep::All),
            _ => steps.push(PathStep::Member(name)),
        }
        rest = left;
    }
    steps
}

/// Returns the offset of the closing bracket. Brackets inside quotes are skipped.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if matches!(character, '\'' | '"') => quote = Some(character),
            None if character == ']' => return Some(at),
            None => {}
        }
    }
    None
}

/// Splits off the name before the next dot or bracket. A backslash escapes the next character.
fn member(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => name.extend(characters.next().map(|(_, character)| character)),
            '.' | '[' => return (name, &text[at..]),
            _ => name.push(character),
        }
    }
    (name, "")
}

fn bracket(text: &str) -> PathStep {
    if text == "*" {
        return PathStep::All;
    }
    if let Some(name) = unquoted(text) {
        return PathStep::Member(name.to_owned());
    }
    if let Ok(index) = text.parse() {
        return PathStep::Index(index);
    }
    let condition = text
        .strip_prefix("?(")
        .and_then(|text| text.strip_suffix(')'));
    let Some((path, wanted)) = condition.and_then(|text| text.split_once("==")) else {
        return PathStep::Nowhere;
    };
    let Some(path) = path.trim().strip_prefix("@.") else {
        return PathStep::Nowhere;
    };
    let wanted = wanted.trim();
    let wanted = match unquoted(wanted) {
        Some(text) => Some(Tree::from(text)),
        None => serde_json::from_str(wanted).ok(),
    };
    wanted.map_or(PathStep::Nowhere, |wanted| {
        PathStep::Where(path.split('.').map(str::to_owned).collect(), wanted)
    })
}

fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_path() {
        let object = json!({
            "metadata": {"creationTimestamp": "1970-01-01T00:01:00Z",
                "annotations": {"a.b/c": "noted"}},
            "spec": {"replicas": 3, "share": 0.5, "on": true,
                "parts": [{"name": "x"}, {"name": "y"}]},
            "status": {"conditions": [{"type": "Synced", "status": "False"},
                {"type": "Ready", "status": "True"}]},
        });
        for (kind, path, expected) in [
            ("integer", ".spec.replicas", json!(3)),
            ("string", ".spec.replicas", json!("3")),
            ("number", "spec.share", json!(0.5)),
            ("boolean", ".spec.on", json!(true)),
            ("string", ".spec.none", Tree::Null),
            ("string", ".spec.parts[*].name", json!("x y")),
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
            ("string", ".metadata.annotations['a.b/c']", json!("noted")),
            ("date", ".metadata.creationTimestamp", json!("2m")),
            ("date", ".metadata.annotations['a.b/c']", json!("<invalid>")),
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
        assert!(!is_path(".a[") && !is_path("") && !is_path(".a[?(b)]") && !is_path(".a..b"));
    }
}
