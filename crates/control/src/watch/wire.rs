//! The bytes of lists and watches, as far as they can be understood without knowing the kind. Pure.

use std::borrow::Cow;

use bytes::{Buf, Bytes};
use kinds::json;
use memchr::memmem;
use serde::Deserialize;

/// What a line of a watch says; the object is still its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Put(Cow<'a, [u8]>),
    Gone(Cow<'a, [u8]>),
    Bookmark(Cow<'a, [u8]>),
    Error(Cow<'a, [u8]>),
}

/// Reads a line: `{"type":…,"object":…}`.
///
/// # Errors
/// When it is no such line.
pub(super) fn line(text: &[u8]) -> Result<Line<'_>, serde_json::Error> {
    if let Some((kind, object)) = split(text) {
        return sort(kind, Cow::Borrowed(object));
    }
    // The members in another order, or with spaces between them: nobody sends that, but anybody
    // may.
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

/// Type and object of a line in the order in which every server writes them.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    const BETWEEN: &[u8] = br#"","object":"#;
    let rest = text
        .trim_ascii_end()
        .strip_prefix(br#"{"type":""#)?
        .strip_suffix(b"}")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    Some((&rest[..end], rest[end..].strip_prefix(BETWEEN)?))
}

fn sort<'a>(kind: &[u8], object: Cow<'a, [u8]>) -> Result<Line<'a>, serde_json::Error> {
    match kind {
        b"ADDED" | b"MODIFIED" => Ok(Line::Put(object)),
        b"DELETED" => Ok(Line::Gone(object)),
        b"BOOKMARK" => Ok(Line::Bookmark(object)),
        b"ERROR" => Ok(Line::Error(object)),
        other => Err(serde::de::Error::custom(format_args!(
            "an event of an unknown type {:?}",
            String::from_utf8_lossy(other)
        ))),
    }
}

/// The same JSON without lists of managed fields, which nobody here reads and which are often half
/// of an object.
///
/// The quote that ends the key makes sure that a key was found: inside a text it would be escaped.
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
        // Of the commas before and behind the member, one goes with it.
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

/// Cuts chunks into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

/// The longest line that is put together. No API server lets an object of this size in.
const LONGEST_LINE_BYTES: usize = 64 << 20;

impl Lines {
    /// The lines that end in this chunk, without empty ones.
    ///
    /// # Errors
    /// When a line has no end.
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

/// The same lines without those that tell of a change of an object which the very next line tells
/// of, too. When a line has been taken in, all lines before it count as taken in, too; so a line
/// that does not stand right before its successor stays, and so does one of which it is not plain
/// which object it is about.
pub(super) fn newest(mut lines: Vec<Bytes>) -> Vec<Bytes> {
    let about: Vec<Option<&[u8]>> = lines.iter().map(|line| identity(line)).collect();
    let is_past = |pair: &[Option<&[u8]>]| pair[0].is_some() && pair[0] == pair[1];
    let mut past: Vec<bool> = about.windows(2).map(is_past).collect();
    past.push(false);
    let mut past = past.into_iter();
    // Whoever has made an object waits until it is told to be there, and an end is always told.
    lines.retain(|line| {
        !past.next().unwrap_or(false) || !line.starts_with(br#"{"type":"MODIFIED""#)
    });
    lines
}

/// The uid of the object that a line is about.
///
/// It is taken from metadata that stand before anything else that has members, and from before
/// anything in them that has, so that it can be nothing but the object's own: quotes inside of
/// texts are escaped. Servers write them so.
fn identity(line: &[u8]) -> Option<&[u8]> {
    const METADATA: &[u8] = br#""metadata":{"#;
    const UID: &[u8] = br#""uid":""#;
    let (before, rest) = line.split_at(memmem::find(line, METADATA)? + METADATA.len());
    // Those of the line, the object and the metadata.
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

/// A line was longer than any object can be.
#[derive(Debug)]
pub(super) struct TooLong;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_in_every_form() {
        let object = br#"{"a":"}"}"#.as_slice();
        assert_eq!(
            line(br#"{"type":"MODIFIED","object":{"a":"}"}}"#).expect("a line"),
            Line::Put(object.into())
        );
        assert_eq!(
            line(b"{ \"object\": {\"a\":\"}\"}, \"type\":\"DELETED\" }").expect("a line"),
            Line::Gone(object.into())
        );
        assert_eq!(
            line(b"{\"type\":\"BOOKMARK\",\"object\":{}}\r").expect("a line"),
            Line::Bookmark(b"{}".as_slice().into())
        );
        assert!(line(br#"{"type":"NEW","object":{}}"#).is_err());
        assert!(line(b"no JSON").is_err());
    }

    #[test]
    fn managed_fields_go_wherever_they_stand() {
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
    fn lines_are_put_together_from_chunks() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for chunk in ["a\nb", "c", "d\n\ne\n", "f"] {
            seen.extend(
                lines
                    .feed(Bytes::from_static(chunk.as_bytes()))
                    .expect("fed"),
            );
        }
        assert_eq!(seen, ["a", "bcd", "e"]);
    }

    /// Each line is a letter for its type, the name and the uid of the object.
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
        newest(lines.iter().map(line).collect())
            .iter()
            .map(name)
            .collect()
    }

    #[test]
    fn of_states_of_an_object_that_follow_each_other_the_newest_stays() {
        assert_eq!(stay(&["m a 1"]), ["MODIFIED a"]);
        assert_eq!(
            stay(&["m a 1", "m b 2", "m b 2"]),
            ["MODIFIED a", "MODIFIED b"]
        );
        assert_eq!(
            stay(&["a a 1", "m a 1", "d a 1", "a a 2"]),
            ["ADDED a", "DELETED a", "ADDED a"]
        );
        // Else it would seem that the first state of a had been seen when b is.
        assert_eq!(
            stay(&["a a 1", "m b 2", "m a 1"]),
            ["ADDED a", "MODIFIED b", "MODIFIED a"]
        );
        // Nobody does that; an end is told all the same.
        assert_eq!(stay(&["d a 1", "m a 1"]), ["DELETED a", "MODIFIED a"]);
    }

    #[test]
    fn an_object_is_known_by_its_own_uid_only() {
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
