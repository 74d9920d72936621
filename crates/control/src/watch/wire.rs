//! The bytes of lists and watches, as far as they can be understood without knowing the kind. Pure.

use std::borrow::Cow;

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
    // The members in another order, or with spaces between them: nobody sends that, but anybody may.
    #[derive(Deserialize)]
    struct Whole {
        r#type: String,
        object: serde_json::Value,
    }
    let whole: Whole = serde_json::from_slice(text)?;
    sort(whole.r#type.as_bytes(), Cow::Owned(serde_json::to_vec(&whole.object)?))
}

/// Type and object of a line in the order in which every server writes them.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    const BETWEEN: &[u8] = br#"","object":"#;
    let rest = text.trim_ascii_end().strip_prefix(br#"{"type":""#)?.strip_suffix(b"}")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    Some((&rest[..end], rest[end..].strip_prefix(BETWEEN)?))
}

fn sort<'a>(kind: &[u8], object: Cow<'a, [u8]>) -> Result<Line<'a>, serde_json::Error> {
    match kind {
        b"ADDED" | b"MODIFIED" => Ok(Line::Put(object)),
        b"DELETED" => Ok(Line::Gone(object)),
        b"BOOKMARK" => Ok(Line::Bookmark(object)),
        b"ERROR" => Ok(Line::Error(object)),
        other => Err(serde::de::Error::custom(format_args!("an event of an unknown type {:?}", String::from_utf8_lossy(other)))),
    }
}

/// The same JSON without lists of managed fields, which nobody here reads and which are often half of an object.
///
/// The quote that ends the key makes sure that a key was found: inside a text it would be escaped.
pub(crate) fn without_managed_fields(json: &[u8]) -> Cow<'_, [u8]> {
    const KEY: &[u8] = br#""managedFields":["#;
    let mut left: Vec<u8> = Vec::new();
    let mut rest = json;
    while let Some(at) = memmem::find(rest, KEY) {
        let list = &rest[at + KEY.len() - 1..];
        let Some(end) = end_of_list(list) else { break };
        if left.is_empty() {
            left.reserve(json.len() - end);
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
        return Cow::Borrowed(json);
    }
    left.extend_from_slice(rest);
    Cow::Owned(left)
}

/// Where the list ends with which the text begins.
fn end_of_list(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'[' => depth += 1,
            b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'"' => at += end_of_text(&text[at + 1..])?,
            _ => {}
        }
        at += 1;
    }
}

/// How far it is behind the quote that ends a text.
fn end_of_text(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
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
    /// Shows every line that ends in this chunk.
    ///
    /// # Errors
    /// What `each` fails with, and a line without end.
    pub(super) fn feed<E>(&mut self, mut chunk: &[u8], mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>
    where
        E: From<TooLong>,
    {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let line = if self.begun.is_empty() {
                Cow::Borrowed(&chunk[..end])
            } else {
                self.begun.extend_from_slice(&chunk[..end]);
                Cow::Owned(std::mem::take(&mut self.begun))
            };
            chunk = &chunk[end + 1..];
            if !line.is_empty() {
                each(&line)?;
            }
        }
        if self.begun.len() + chunk.len() > LONGEST_LINE_BYTES {
            return Err(TooLong.into());
        }
        self.begun.extend_from_slice(chunk);
        Ok(())
    }
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
        assert_eq!(line(br#"{"type":"MODIFIED","object":{"a":"}"}}"#).expect("a line"), Line::Put(object.into()));
        assert_eq!(line(b"{ \"object\": {\"a\":\"}\"}, \"type\":\"DELETED\" }").expect("a line"), Line::Gone(object.into()));
        assert_eq!(line(b"{\"type\":\"BOOKMARK\",\"object\":{}}\r").expect("a line"), Line::Bookmark(b"{}".as_slice().into()));
        assert!(line(br#"{"type":"NEW","object":{}}"#).is_err());
        assert!(line(b"no JSON").is_err());
    }

    #[test]
    fn managed_fields_go_wherever_they_stand() {
        let stripped = |text: &str| String::from_utf8(without_managed_fields(text.as_bytes()).into_owned()).expect("text");
        for (text, expected) in [
            (r#"{"name":"a"}"#, r#"{"name":"a"}"#),
            (r#"{"name":"a","managedFields":[{"f":{"]\"":[1]}}],"uid":"u"}"#, r#"{"name":"a","uid":"u"}"#),
            (r#"{"name":"a","managedFields":[{}]}"#, r#"{"name":"a"}"#),
            (r#"{"managedFields":[],"uid":"u"}"#, r#"{"uid":"u"}"#),
            (r#"{"managedFields":[]}"#, r#"{}"#),
            (r#"[{"managedFields":[1],"a":1},{"a":2,"managedFields":[2]}]"#, r#"[{"a":1},{"a":2}]"#),
            (r#"{"note":"\"managedFields\":[1]"}"#, r#"{"note":"\"managedFields\":[1]"}"#),
            (r#"{"managedFields":[1"#, r#"{"managedFields":[1"#),
        ] {
            assert_eq!(stripped(text), expected, "{text}");
        }
    }

    #[test]
    fn lines_are_put_together_from_chunks() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for chunk in ["a\nb", "c", "d\n\ne\n", "f"] {
            let each = |line: &[u8]| {
                seen.push(String::from_utf8_lossy(line).into_owned());
                Ok(())
            };
            lines.feed::<super::super::Failure>(chunk.as_bytes(), each).expect("fed");
        }
        assert_eq!(seen, ["a", "bcd", "e"]);
    }
}
