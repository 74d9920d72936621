//! Masks what varies between runs, so that recorded and new responses can be compared.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::{Regex, bytes};
use serde_json::{Value, json};

use super::path::UNORDERED;

const UID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";

static MASKS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        (UID, "<uid>"),
        (r"kube-api-access-[a-z0-9]{5}\b", "kube-api-access-<x>"),
        (r#"(resourceVersion\\*":\\*")\d+"#, "${1}<rv>"),
        (
            r"(resource ?version|ResourceVersion in (?:the )?(?:precondition|record)) \(?\d+\)?",
            "${1} <rv>",
        ),
    ]
    .into_iter()
    .map(|(pattern, mask)| (Regex::new(pattern).expect("a sound expression"), mask))
    .collect()
});
static BYTE_UID: LazyLock<bytes::Regex> =
    LazyLock::new(|| bytes::Regex::new(UID).expect("a sound expression"));
static BYTE_TIME: LazyLock<bytes::Regex> = LazyLock::new(|| {
    bytes::Regex::new(r"(?-u)\x08[\x80-\xff]{4}[\x06\x07]\x10\x00").expect("a sound expression")
});
static AGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(\d+[smhdy])+$").expect("a sound expression"));

/// Returns a string with its varying parts masked.
pub(super) fn text(text: &str, namespace: &str) -> String {
    let mut text = text.replace(namespace, "<ns>");
    for (pattern, mask) in MASKS.iter() {
        text = pattern.replace_all(&text, *mask).into_owned();
    }
    text
}

/// Returns a document with its varying parts masked.
pub(super) fn document(value: &Value, namespace: &str, managed: bool) -> Value {
    masked(value, namespace, "", managed)
}

fn masked(value: &Value, namespace: &str, key: &str, managed: bool) -> Value {
    match value {
        Value::Object(members) if members.len() == 1 && members.contains_key("base64") => {
            blob(&members["base64"], namespace)
        }
        Value::Object(members) if members.contains_key(UNORDERED) => {
            let mut items = members[UNORDERED].as_array().cloned().unwrap_or_default();
            items = items
                .iter()
                .map(|item| masked(item, namespace, key, managed))
                .collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(members) => {
            let mut members = members.clone();
            if members.get("kind").is_some_and(|kind| kind == "Table") {
                ages(&mut members, &[]);
            }
            let keep = |name: &str| managed || name != "managedFields";
            members
                .iter()
                .filter(|(name, _)| keep(name))
                .map(|(name, value)| (name.clone(), masked(value, namespace, name, managed)))
                .collect()
        }
        Value::Array(items) => items
            .iter()
            .map(|item| masked(item, namespace, key, managed))
            .collect(),
        Value::String(value) if key == "resourceVersion" && !value.is_empty() => json!("<rv>"),
        Value::String(value) if key == "continue" && !value.is_empty() => json!("<token>"),
        Value::String(value) => Value::String(text(value, namespace)),
        other => other.clone(),
    }
}

/// Masks protobuf bytes. Only strings of a fixed length can be masked, because lengths are encoded.
fn blob(base64: &Value, namespace: &str) -> Value {
    let raw = STANDARD
        .decode(base64.as_str().unwrap_or_default())
        .unwrap_or_default();
    let pattern = bytes::Regex::new(&regex::escape(namespace)).expect("an escaped text");
    let raw = pattern
        .replace_all(&raw, bytes::NoExpand(b"<the-ns->"))
        .into_owned();
    let raw = BYTE_TIME
        .replace_all(&raw, bytes::NoExpand(b"<a-time>"))
        .into_owned();
    let raw = BYTE_UID
        .replace_all(
            &raw,
            bytes::NoExpand(b"<uid-uid-uid-uid-uid-uid-uid-uid-id>"),
        )
        .into_owned();
    json!({"base64": STANDARD.encode(raw)})
}

/// Masks the cells of a table that contain an age. Returns their columns, because only the first
/// table of a watch names them.
pub(super) fn ages(table: &mut serde_json::Map<String, Value>, known: &[usize]) -> Vec<usize> {
    const NAMES: [&str; 4] = ["Age", "Last Seen", "First Seen", "LAST SEEN"];
    let named = |column: &Value| {
        column
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(|name| NAMES.contains(&name))
    };
    let columns = table.get("columnDefinitions").and_then(Value::as_array);
    let found: Vec<usize> = columns
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, column)| named(column))
        .map(|(place, _)| place)
        .collect();
    let columns = if found.is_empty() {
        known.to_vec()
    } else {
        found
    };
    for row in table
        .get_mut("rows")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for &column in &columns {
            if let Some(Value::String(cell)) =
                row.get_mut("cells").and_then(|cells| cells.get_mut(column))
                && AGE.is_match(cell)
            {
                *cell = "<age>".to_owned();
            }
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_parts_are_masked() {
        let found = document(
            &json!({
                "metadata": {
                    "resourceVersion": "17",
                    "uid": "0a1b2c3d-0000-4000-8000-0123456789ab",
                    "managedFields": [],
                },
                "at": "2026-01-02T03:04:05Z in w1",
            }),
            "w1",
            false,
        );
        assert_eq!(
            found,
            json!({"metadata": {"resourceVersion": "<rv>", "uid": "<uid>"}, "at": "<time> in <ns>"})
        );
    }
}
