//! Takes protobuf messages apart without knowing their types: `{"field number": [values]}`.
//! Strings, messages and other bytes are distinguished heuristically, as the recorder did.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// A whole answer: the envelope's type and its object.
pub(super) fn unwrap(part: &[u8]) -> Value {
    if let Some(envelope) = part.strip_prefix(b"k8s\0") {
        let outer = message(envelope).unwrap_or_default();
        let meta = outer
            .get("1")
            .and_then(|values| values.get(0))
            .cloned()
            .unwrap_or_else(|| json!({}));
        let text = |field: &str| {
            meta.get(field)
                .and_then(|values| values.get(0))
                .cloned()
                .unwrap_or(Value::Null)
        };
        let raw = outer
            .get("2")
            .and_then(|values| values.get(0))
            .cloned()
            .unwrap_or_else(|| json!({}));
        return json!({"apiVersion": text("1"), "kind": text("2"), "raw": raw});
    }
    if let Ok(text) = std::str::from_utf8(part)
        && text.chars().all(|character| character >= ' ')
    {
        return Value::String(text.to_owned());
    }
    if let Some(fields) = message(part) {
        return Value::Object(fields);
    }
    if part.contains(&0) {
        return json!({"bytes": STANDARD.encode(part)});
    }
    Value::String(String::from_utf8_lossy(part).into_owned())
}

/// The frames of a watch.
pub(super) fn frames(mut rest: &[u8]) -> Value {
    let mut events = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length))
            .unwrap_or(usize::MAX)
            .min(tail.len());
        let event = message(&tail[..length]).unwrap_or_default();
        let first = |field: &str| {
            event
                .get(field)
                .and_then(|values| values.get(0))
                .cloned()
                .unwrap_or(Value::Null)
        };
        let object = first("2");
        let inner = object.get("1").map_or_else(
            || object.clone(),
            |values| values.get(0).cloned().unwrap_or(Value::Null),
        );
        events.push(json!({"type": first("1"), "object": inner}));
        rest = &tail[length..];
    }
    Value::Array(events)
}

fn message(raw: &[u8]) -> Option<Map<String, Value>> {
    let mut out: Map<String, Value> = Map::new();
    let mut at = 0;
    while at < raw.len() {
        let key = varint(raw, &mut at)?;
        let (field, wire) = (key >> 3, key & 7);
        if field == 0 {
            return None;
        }
        let value = match wire {
            0 => json!(varint(raw, &mut at)?),
            2 => {
                let length = usize::try_from(varint(raw, &mut at)?).ok()?;
                let part = raw.get(at..at.checked_add(length)?)?;
                at += length;
                unwrap(part)
            }
            1 | 5 => {
                let length = if wire == 1 { 8 } else { 4 };
                let part = raw.get(at..at + length)?;
                at += length;
                Value::String(STANDARD.encode(part))
            }
            _ => return None,
        };
        let values = out.entry(field.to_string()).or_insert_with(|| json!([]));
        values.as_array_mut()?.push(value);
    }
    Some(out)
}

fn varint(raw: &[u8], at: &mut usize) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0_u32);
    loop {
        let byte = *raw.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 127).checked_shl(shift)?;
        shift += 7;
        if byte < 128 {
            return Some(value);
        }
    }
}
