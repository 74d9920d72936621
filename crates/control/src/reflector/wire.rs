//! The bytes of lists and watch events, as far as they do not depend on the kind. Pure.

use std::borrow::Cow;

use bytes::{Buf, Bytes};
use kinds::json;
use memchr::memmem;
use serde::Deserialize;

/// A watch event whose object is still encoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WatchLine<'a> {
    Applied(Cow<'a, [u8]>),
    Deleted(Cow<'a, [u8]>),
    Bookmark(Cow<'a, [u8]>),
    Error(Cow<'a, [u8]>),
}

/// Parses a watch event, `{"type":…,"object":…}`.
///
/// # Errors
/// The line is not JSON, not of this form, or has an unknown type.
pub(super) fn line(text: &[u8]) -> Result<WatchLine<'_>, serde_json::Error> {
    if let Some((kind, object)) = split(text) {
        return sort(kind, Cow::Borrowed(object));
    }
    // Members in another order or with spaces between them. No known server sends this, but JSON
    // allows it.
    #[derive(Deserialize)]
    struct Whole {
        r#type: String,
        object: serde_json::Value,
    }
    let whole: Whole = serde_json::from_slice(text)?;
    sort(
        whole.r#type.as_bytes(),
        Cow::Owned(serde_json::to_vec(&whole.object)?),
    )
}

/// Splits an event into type and object, if its members are in the order that all servers use.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    const BETWEEN: &[u8] = br#"","object":"#;
    let rest = text
        .trim_ascii_end()
        .strip_prefix(br#"{"type":""#)?
        .strip_suffix(b"}")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    Some((&rest[..end], rest[end..].strip_prefix(BETWEEN)?))
}

fn sort<'a>(kind: &[u8], object: Cow<'a, [u8]>) -> Result<WatchLine<'a>, serde_json::Error> {
    match kind {
        b"ADDED" | b"MODIFIED" => Ok(WatchLine::Applied(object)),
        b"DELETED" => Ok(WatchLine::Deleted(object)),
        b"BOOKMARK" => Ok(WatchLine::Bookmark(object)),
        b"ERROR" => Ok(WatchLine::Error(object)),
        other => Err(serde::de::Error::custom(format_args!(
            "unknown event type {:?}",
            String::from_utf8_lossy(other)
        ))),
    }
}

/// Removes lists of managed fields, which no controller reads and which are often half of an
/// object.
///
/// The quotation mark before the colon shows that a key was found: inside a string it would be
/// escaped.
pub(crate) fn without_managed_fields(object: &[u8]) -> Cow<'_, [u8]> {
    const KEY: &[u8] = br#""managedFields":["#;
    let mut left: Vec<u8> = Vec::new();
    let mut rest = object;
    while let Some(at) = memmem::find(rest, KEY) {
        let list = &rest[at + KEY.len() - 1..];
        let Some(end) = json::end_of_value(list) else {
            break;
        };
        if left.is_empty() {
            left.reserve(object.len() - end);
        }
        left.extend_from_slice(&rest[..at]);
        rest = &list[end..];
        // One of the commas around the member is removed with it.
        if let Some(behind) = rest.strip_prefix(b",") {
            rest = behind;
        } else if left.last() == Some(&b',') {
            left.pop();
        }
    }
    if left.is_empty() {
        return Cow::Borrowed(object);
    }
    left.extend_from_slice(rest);
    Cow::Owned(left)
}

/// Splits chunks into lines.
#[derive(Debug, Default)]
pub(super) struct LineSplitter {
    /// The beginning of a line whose end has not been received.
    begun: Vec<u8>,
}

/// The longest line that is assembled. No API server accepts an object of this size.
const LONGEST_LINE_BYTES: usize = 64 << 20;

impl LineSplitter {
    /// Returns the lines that end in this chunk, without empty ones.
    ///
    /// # Errors
    /// A line exceeds [`LONGEST_LINE_BYTES`].
    pub(super) fn feed(&mut self, mut chunk: Bytes) -> Result<Vec<Bytes>, TooLong> {
        let mut lines = Vec::new();
        while let Some(end) = memchr::memchr(b'\n', &chunk) {
            let mut line = chunk.split_to(end);
            chunk.advance(1);
            if !self.begun.is_empty() {
                self.begun.extend_from_slice(&line);
                line = std::mem::take(&mut self.begun).into();
            }
            if !line.is_empty() {
                lines.push(line);
            }
        }
        if self.begun.len() + chunk.len() > LONGEST_LINE_BYTES {
            return Err(TooLong);
        }
        self.begun.extend_from_slice(&chunk);
        Ok(lines)
    }
}

/// Removes events that the very next event supersedes, because both show states of one object. When
/// an event has been processed, all events before it count as processed. So an event is kept unless
/// it stands right before its successor, and also when its object cannot be identified cheaply.
pub(super) fn without_superseded(mut lines: Vec<Bytes>) -> Vec<Bytes> {
    let about: Vec<Option<&[u8]>> = lines.iter().map(|line| identity(line)).collect();
    let is_past = |pair: &[Option<&[u8]>]| pair[0].is_some() && pair[0] == pair[1];
    let mut past: Vec<bool> = about.windows(2).map(is_past).collect();
    past.push(false);
    let mut past = past.into_iter();
    // Clients that create an object wait until they see it, so additions are kept. So are
    // deletions.
    lines.retain(|line| {
        !past.next().unwrap_or(false) || !line.starts_with(br#"{"type":"MODIFIED""#)
    });
    lines
}

/// The uid of the object of an event.
///
/// The uid is read only from metadata that stand before any other member with members of its own,
/// and only before any such member inside the metadata. So it can be nothing but the object's own:
/// quotation marks inside strings are escaped. All servers write objects in this order.
fn identity(line: &[u8]) -> Option<&[u8]> {
    const METADATA: &[u8] = br#""metadata":{"#;
    const UID: &[u8] = br#""uid":""#;
    let (before, rest) = line.split_at(memmem::find(line, METADATA)? + METADATA.len());
    // The braces of the event, the object and the metadata.
    if memchr::memchr_iter(b'{', before).count() != 3
        || memchr::memchr2(b'[', b'}', before).is_some()
    {
        return None;
    }
    let (before, rest) = rest.split_at(memmem::find(rest, UID)? + UID.len());
    if memchr::memchr3(b'{', b'[', b'}', before).is_some() {
        return None;
    }
    rest.get(..memchr::memchr(b'"', rest)?)
}

/// A line is longer than any object can be.
#[derive(Debug)]
pub(super) struct TooLong;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_event_is_parsed_in_every_form() {
        let object = br#"{"a":"}"}"#.as_slice();
        assert_eq!(
            line(br#"{"type":"MODIFIED","object":{"a":"}"}}"#).expect("a line"),
            WatchLine::Applied(object.into())
        );
        assert_eq!(
            line(b"{ \"object\": {\"a\":\"}\"}, \"type\":\"DELETED\" }").expect("a line"),
            WatchLine::Deleted(object.into())
        );
        assert_eq!(
            line(b"{\"type\":\"BOOKMARK\",\"object\":{}}\r").expect("a line"),
            WatchLine::Bookmark(b"{}".as_slice().into())
        );
        assert!(line(br#"{"type":"NEW","object":{}}"#).is_err());
        assert!(line(b"no JSON").is_err());
    }

    #[test]
    fn managed_fields_are_removed_wherever_they_stand() {
        let stripped = |text: &str| {
            String::from_utf8(without_managed_fields(text.as_bytes()).into_owned()).expect("text")
        };
        for (text, expected) in [
            (r#"{"name":"a"}"#, r#"{"name":"a"}"#),
            (
                r#"{"name":"a","managedFields":[{"f":{"]\"":[1]}}],"uid":"u"}"#,
                r#"{"name":"a","uid":"u"}"#,
            ),
            (r#"{"name":"a","managedFields":[{}]}"#, r#"{"name":"a"}"#),
            (r#"{"managedFields":[],"uid":"u"}"#, r#"{"uid":"u"}"#),
            (r#"{"managedFields":[]}"#, r#"{}"#),
            (
                r#"[{"managedFields":[1],"a":1},{"a":2,"managedFields":[2]}]"#,
                r#"[{"a":1},{"a":2}]"#,
            ),
            (
                r#"{"note":"\"managedFields\":[1]"}"#,
                r#"{"note":"\"managedFields\":[1]"}"#,
            ),
            (r#"{"managedFields":[1"#, r#"{"managedFields":[1"#),
        ] {
            assert_eq!(stripped(text), expected, "{text}");
        }
    }

    #[test]
    fn lines_are_assembled_from_chunks() {
        let (mut lines, mut seen) = (LineSplitter::default(), Vec::new());
        for chunk in ["a\nb", "c", "d\n\ne\n", "f"] {
            seen.extend(
                lines
                    .feed(Bytes::from_static(chunk.as_bytes()))
                    .expect("fed"),
            );
        }
        assert_eq!(seen, ["a", "bcd", "e"]);
    }

    /// Each line holds a character for the type, the name and the uid of the object.
    fn stay(lines: &[&str]) -> Vec<String> {
        let line = |text: &&str| {
            let mut words = text.split(' ');
            let kind = match words.next() {
                Some("a") => "ADDED",
                Some("m") => "MODIFIED",
                _ => "DELETED",
            };
            let (name, uid) = (
                words.next().unwrap_or_default(),
                words.next().unwrap_or_default(),
            );
            let metadata = format!(r#"{{"name":"{name}","uid":"{uid}","labels":{{"uid":"x"}}}}"#);
            Bytes::from(format!(
                r#"{{"type":"{kind}","object":{{"kind":"Pod","metadata":{metadata},"spec":{{}}}}}}"#
            ))
        };
        let name = |line: &Bytes| {
            let text = String::from_utf8_lossy(line);
            let part = |from: &str| {
                text.split_once(from)
                    .and_then(|(_, rest)| rest.split('"').next())
                    .unwrap_or_default()
                    .to_owned()
            };
            format!("{} {}", part(r#""type":""#), part(r#""name":""#))
        };
        without_superseded(lines.iter().map(line).collect())
            .iter()
            .map(name)
            .collect()
    }

    #[test]
    fn of_successive_states_of_one_object_only_the_newest_is_kept() {
        assert_eq!(stay(&["m a 1"]), ["MODIFIED a"]);
        assert_eq!(
            stay(&["m a 1", "m b 2", "m b 2"]),
            ["MODIFIED a", "MODIFIED b"]
        );
        assert_eq!(
            stay(&["a a 1", "m a 1", "d a 1", "a a 2"]),
            ["ADDED a", "DELETED a", "ADDED a"]
        );
        // Otherwise the first state of a would seem to have been seen when b is.
        assert_eq!(
            stay(&["a a 1", "m b 2", "m a 1"]),
            ["ADDED a", "MODIFIED b", "MODIFIED a"]
        );
        // No server does that. A deletion is still kept.
        assert_eq!(stay(&["d a 1", "m a 1"]), ["DELETED a", "MODIFIED a"]);
    }

    #[test]
    fn an_event_is_identified_by_the_uid_of_its_own_object_only() {
        let known = |object: &str| {
            let line = format!(r#"{{"type":"MODIFIED","object":{object}}}"#);
            identity(line.as_bytes()).map(|uid| String::from_utf8_lossy(uid).into_owned())
        };
        assert_eq!(
            known(r#"{"kind":"Pod","metadata":{"name":"a","uid":"1","labels":{}}}"#).as_deref(),
            Some("1")
        );
        for other in [
            r#"{"kind":"Pod","metadata":{"name":"a"}}"#,
            r#"{"kind":"Pod","metadata":{"name":"a"},"uid":"1"}"#,
            r#"{"kind":"Pod","metadata":{"labels":{"a":"b"},"uid":"1"}}"#,
            r#"{"kind":"Pod","metadata":{"ownerReferences":[{"uid":"1"}],"uid":"2"}}"#,
            r#"{"data":{"metadata":{"uid":"1"}},"metadata":{"uid":"2"}}"#,
            r#"{"data":[{"metadata":{"uid":"1"}}],"metadata":{"uid":"2"}}"#,
            r#"{"data":{},"x":{"metadata":{"uid":"1"}},"metadata":{"uid":"2"}}"#,
            r#"{"data":{},"metadata":{"uid":"1"}}"#,
        ] {
            assert_eq!(known(other), None, "{other}");
        }
    }
}
