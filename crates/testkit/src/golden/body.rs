//! Bodies of requests in the format of the recordings.
//!
//! Responses quote the beginning of a body and list its unknown fields in their order, so members
//! keep their order here, and the text is spaced as the recording tool spaced it (`{"a": 1, "b":
//! 2}`).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::run::{Variables, fill_text, plain};

/// A JSON document that keeps the order of its members.
#[derive(Clone, Debug)]
pub enum RecordedBody {
    /// A scalar.
    Plain(Value),
    /// A list.
    List(Vec<RecordedBody>),
    /// An object.
    Members(Vec<(String, RecordedBody)>),
}

impl RecordedBody {
    /// Returns the bytes to send: a string unchanged, `{"base64": …}` decoded, everything else as
    /// JSON.
    pub(super) fn encoded(&self, variables: &Variables) -> Bytes {
        match self {
            Self::Plain(Value::String(text)) => plain(&filled(text, variables)).into(),
            Self::Members(members) if members.len() == 1 && members[0].0 == "base64" => {
                match &members[0].1 {
                    Self::Plain(Value::String(text)) => {
                        STANDARD.decode(text).unwrap_or_default().into()
                    }
                    _ => Bytes::new(),
                }
            }
            other => {
                let mut out = String::new();
                other.write(variables, &mut out);
                out.into()
            }
        }
    }

    fn write(&self, variables: &Variables, out: &mut String) {
        match self {
            Self::Plain(Value::String(text)) => write_value(&filled(text, variables), out),
            Self::Plain(value) => write_value(value, out),
            Self::List(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    out.push_str(if place > 0 { ", " } else { "" });
                    item.write(variables, out);
                }
                out.push(']');
            }
            Self::Members(members) => {
                out.push('{');
                let all = members.iter().flat_map(|(key, value)| {
                    expanded(key).into_iter().map(move |key| (key, value))
                });
                for (place, (key, value)) in all.enumerate() {
                    out.push_str(if place > 0 { ", " } else { "" });
                    write_value(&Value::String(fill_text(&key, variables)), out);
                    out.push_str(": ");
                    value.write(variables, out);
                }
                out.push('}');
            }
        }
    }
}

/// Replaces a string that consists of one variable by its value, which may have any type.
fn filled(text: &str, variables: &Variables) -> Value {
    let whole = text
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .and_then(|name| variables.get(name));
    whole
        .cloned()
        .unwrap_or_else(|| Value::String(fill_text(text, variables)))
}

/// Writes a value as JSON. Non-ASCII characters are escaped, as the recording tool did.
fn write_value(value: &Value, out: &mut String) {
    for character in value.to_string().chars() {
        if character.is_ascii() {
            out.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
}

/// A key that ends in `${1..9}` stands for nine keys.
fn expanded(key: &str) -> Vec<String> {
    let range = || {
        let (head, tail) = key.rsplit_once("${")?;
        let (from, to) = tail.strip_suffix('}')?.split_once("..")?;
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        Some(
            (from..=to)
                .map(|number| format!("{head}{number}"))
                .collect(),
        )
    };
    range().unwrap_or_else(|| vec![key.to_owned()])
}

impl<'de> Deserialize<'de> for RecordedBody {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = RecordedBody;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("any JSON")
            }

            fn visit_bool<E>(self, value: bool) -> Result<RecordedBody, E> {
                Ok(RecordedBody::Plain(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<RecordedBody, E> {
                Ok(RecordedBody::Plain(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<RecordedBody, E> {
                Ok(RecordedBody::Plain(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<RecordedBody, E> {
                Ok(RecordedBody::Plain(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<RecordedBody, E> {
                Ok(RecordedBody::Plain(value.into()))
            }

            fn visit_unit<E>(self) -> Result<RecordedBody, E> {
                Ok(RecordedBody::Plain(Value::Null))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<RecordedBody, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = from.next_element()? {
                    items.push(item);
                }
                Ok(RecordedBody::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<RecordedBody, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = from.next_entry()? {
                    members.push(member);
                }
                Ok(RecordedBody::Members(members))
            }
        }
        from.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_keep_their_order_and_their_spaces() {
        let sent: RecordedBody =
            serde_json::from_str(r#"{"z":1,"a":{"k${1..2}":"${n}"},"m":["é","x${n}"]}"#).unwrap();
        let variables = Variables::from([("n".to_owned(), json!(7))]);
        let text = r#"{"z": 1, "a": {"k1": 7, "k2": 7}, "m": ["\u00e9", "x7"]}"#;
        assert_eq!(sent.encoded(&variables), text);
    }

    #[test]
    fn text_and_base64_are_sent_as_they_are() {
        let sent = |text: &str| {
            serde_json::from_str::<RecordedBody>(text)
                .unwrap()
                .encoded(&Variables::new())
        };
        assert_eq!(sent(r#""{{{ é""#), "{{{ é");
        assert_eq!(sent(r#"{"base64":"azhz"}"#), "k8s");
    }
}
