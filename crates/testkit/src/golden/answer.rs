//! Turns the bytes of a response into the document that is compared.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde_json::{Value, json};

use super::path::{blank, dig};
use super::{HttpResponse, TranscriptStep, mask, protobuf};

/// Returns the body of a response in the form that the step compares.
pub(super) fn parse(step: &TranscriptStep, answer: &HttpResponse) -> Value {
    let kind = answer
        .headers
        .get("content-type")
        .cloned()
        .unwrap_or_default();
    let mut body = by_type(&answer.body, &kind);
    if let Some(stream) = &step.stream
        && answer.code < 300
    {
        body = lines(&answer.body);
        if stream != "all" {
            without_bookmarks(&mut body);
        }
    }
    if step.json && body.is_string() {
        body = serde_json::from_slice(&answer.body).unwrap_or(body);
    }
    if step.proto && kind.contains("protobuf") {
        body = if kind.contains("stream=watch") {
            protobuf::frames(&answer.body)
        } else {
            protobuf::unwrap(&answer.body)
        };
    }
    for path in &step.drop {
        blank(&mut body, path);
    }
    mask_ages(&mut body);
    if let (Some(pattern), Value::String(text)) = (&step.grep, &body) {
        body = matches(pattern, text);
    }
    body
}

/// Returns the response with a decompressed body.
pub(super) fn unzipped(answer: HttpResponse) -> HttpResponse {
    if answer
        .headers
        .get("content-encoding")
        .is_none_or(|encoding| encoding != "gzip")
    {
        return answer;
    }
    let mut body = Vec::new();
    match flate2::read::GzDecoder::new(answer.body.as_ref()).read_to_end(&mut body) {
        Ok(_) => HttpResponse {
            body: body.into(),
            ..answer
        },
        Err(_) => answer,
    }
}

fn by_type(raw: &[u8], kind: &str) -> Value {
    if kind.contains("json") {
        return serde_json::from_slice(raw).unwrap_or_else(|_| lines(raw));
    }
    if kind.contains("protobuf") {
        return json!({"base64": STANDARD.encode(raw)});
    }
    Value::String(String::from_utf8_lossy(raw).into_owned())
}

fn lines(raw: &[u8]) -> Value {
    raw.split(|&byte| byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .collect()
}

/// Removes bookmarks, which may arrive at any time, except the one that ends the initial events.
fn without_bookmarks(body: &mut Value) {
    let plain = |event: &Value| {
        event.get("type").is_some_and(|kind| kind == "BOOKMARK")
            && dig(event, "object.metadata.annotations").is_null()
    };
    if let Some(events) = body.as_array_mut() {
        events.retain(|event| !plain(event));
    }
}

fn mask_ages(body: &mut Value) {
    let mut columns = Vec::new();
    let mut table = |value: &mut Value| {
        let value = if value.get("object").is_some() {
            value.get_mut("object")
        } else {
            Some(value)
        };
        if let Some(Value::Object(members)) = value
            && members.get("kind").is_some_and(|kind| kind == "Table")
        {
            columns = mask::ages(members, &columns);
        }
    };
    match body {
        Value::Array(items) => items.iter_mut().for_each(table),
        one => table(one),
    }
}

/// Returns all matches as Python's `findall` does: the whole match, or the group if there is one.
fn matches(pattern: &str, text: &str) -> Value {
    let Ok(pattern) = Regex::new(&format!("(?m){pattern}")) else {
        return json!(format!("bad expression {pattern}"));
    };
    let one = |found: regex::Captures<'_>| {
        let group = |place: usize| found.get(place).map_or("", |part| part.as_str());
        match found.len() {
            1 => json!(group(0)),
            2 => json!(group(1)),
            groups => (1..groups).map(group).collect(),
        }
    };
    pattern.captures_iter(text).map(one).collect()
}
