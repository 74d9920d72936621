//! The language that selects parts of a response: `a.b[0].c`, `[*]`, `[sort]`, `[?key=value]`, `#`
//! (length), `^` (sorted keys), `{a.b,c}` (several parts); `~` is a dot inside a key.

use serde_json::{Map, Value};

/// Marks a list whose order does not matter; `mask` sorts it after masking.
pub(super) const UNORDERED: &str = "\0unordered";

/// Returns the part of `doc` at `path`; null if it does not exist.
pub(super) fn dig(doc: &Value, path: &str) -> Value {
    walk(doc, &split(path))
}

fn split(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = path;
    let mut fresh = true;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '.' => {
                rest = &rest[1..];
                fresh = true;
                continue;
            }
            '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
            '{' if fresh => rest.find('}').map_or(rest.len(), |end| end + 1),
            ']' => {
                rest = &rest[1..];
                continue;
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        parts.push(&rest[..length]);
        fresh = first == '[';
        rest = &rest[length..];
    }
    parts
}

fn walk(doc: &Value, parts: &[&str]) -> Value {
    let Some((part, rest)) = parts.split_first() else {
        return doc.clone();
    };
    if doc.is_null() {
        return Value::Null;
    }
    match *part {
        "#" => walk(&length(doc), rest),
        "^" => walk(&keys(doc), rest),
        "[*]" => each(doc, rest).map_or(Value::Null, Value::Array),
        "[sort]" => each(doc, rest).map_or(Value::Null, |items| {
            Value::Object(Map::from_iter([(
                UNORDERED.to_owned(),
                Value::Array(items),
            )]))
        }),
        filter if filter.starts_with("[?") => {
            walk(&filtered(doc, &filter[2..filter.len() - 1]), rest)
        }
        index if index.starts_with('[') => walk(&indexed(doc, &index[1..index.len() - 1]), rest),
        several if several.starts_with('{') => {
            let part = |path: &str| (path.to_owned(), dig(doc, path));
            walk(
                &Value::Object(several[1..several.len() - 1].split(',').map(part).collect()),
                rest,
            )
        }
        key => walk(doc.get(key.replace('~', ".")).unwrap_or(&Value::Null), rest),
    }
}

fn length(doc: &Value) -> Value {
    match doc {
        Value::Array(items) => items.len().into(),
        Value::Object(members) => members.len().into(),
        _ => Value::Null,
    }
}

fn keys(doc: &Value) -> Value {
    doc.as_object().map_or(Value::Null, |members| {
        let mut names: Vec<&String> = members.keys().collect();
        names.sort();
        names.into_iter().cloned().collect()
    })
}

fn each(doc: &Value, rest: &[&str]) -> Option<Vec<Value>> {
    Some(
        doc.as_array()?
            .iter()
            .map(|item| walk(item, rest))
            .collect(),
    )
}

fn filtered(doc: &Value, filter: &str) -> Value {
    let Some((key, want)) = filter.split_once('=') else {
        return Value::Null;
    };
    let fits = |item: &&Value| match dig(item, key) {
        Value::String(text) => text == want,
        Value::Bool(true) => want == "True",
        Value::Bool(false) => want == "False",
        Value::Null => want == "None",
        other => other == want,
    };
    doc.as_array()
        .and_then(|items| items.iter().find(fits))
        .cloned()
        .unwrap_or(Value::Null)
}

fn indexed(doc: &Value, index: &str) -> Value {
    let (Some(items), Ok(index)) = (doc.as_array(), index.parse::<isize>()) else {
        return Value::Null;
    };
    let place = if index < 0 {
        items.len().checked_add_signed(index)
    } else {
        usize::try_from(index).ok()
    };
    place
        .and_then(|place| items.get(place))
        .cloned()
        .unwrap_or(Value::Null)
}

/// Replaces the value at `path`, if it exists, by a mask.
pub(super) fn blank(doc: &mut Value, path: &str) {
    let parts = split(path);
    blank_at(doc, &parts);
}

fn blank_at(doc: &mut Value, parts: &[&str]) {
    match parts {
        [] => {}
        [last] => {
            let key = last.replace('~', ".");
            if let Some(value) = doc.get_mut(&key) {
                *value = Value::String("<any>".to_owned());
            }
        }
        ["[*]", rest @ ..] => doc
            .as_array_mut()
            .into_iter()
            .flatten()
            .for_each(|item| blank_at(item, rest)),
        [index, rest @ ..] if index.starts_with('[') => {
            let place = index[1..index.len() - 1].parse::<usize>().ok();
            if let Some(item) = place.and_then(|place| doc.get_mut(place)) {
                blank_at(item, rest);
            }
        }
        [key, rest @ ..] => {
            if let Some(member) = doc.get_mut(key.replace('~', ".")) {
                blank_at(member, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_picked() {
        let doc =
            json!({"a": [{"k": "x", "v": 1}, {"k": "y", "v": 2}], "m": {"b.c": true, "a": 0}});
        assert_eq!(dig(&doc, "a[1].v"), json!(2));
        assert_eq!(dig(&doc, "a[*].k"), json!(["x", "y"]));
        assert_eq!(dig(&doc, "a[?k=y].v"), json!(2));
        assert_eq!(dig(&doc, "a.#"), json!(2));
        assert_eq!(dig(&doc, "m.^"), json!(["a", "b.c"]));
        assert_eq!(dig(&doc, "m.b~c"), json!(true));
        assert_eq!(
            dig(&doc, "a[*].{k,v}"),
            json!([{"k": "x", "v": 1}, {"k": "y", "v": 2}])
        );
        assert_eq!(dig(&doc, "a[7].v"), Value::Null);
    }

    #[test]
    fn a_value_is_blanked_only_where_it_is() {
        let mut doc = json!({"a": [{"p": 1}, {}]});
        blank(&mut doc, "a[*].p");
        assert_eq!(doc, json!({"a": [{"p": "<any>"}, {}]}));
    }
}
