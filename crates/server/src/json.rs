//! Works on JSON text: finds members, indents, and escapes as upstream's encoder does.
//!
//! Stored objects are sent as bytes. Working on the text avoids decoding and encoding them again.

/// Escapes `<`, `>`, `&` and the line separators of Unicode, as Go's encoder does. In JSON these
/// occur only inside strings.
pub(crate) fn escape(json: Vec<u8>) -> Vec<u8> {
    let special = |at: usize| match json[at] {
        b'<' => Some(("\\u003c", 1)),
        b'>' => Some(("\\u003e", 1)),
        b'&' => Some(("\\u0026", 1)),
        0xe2 if json[at..].starts_with(&[0xe2, 0x80, 0xa8]) => Some(("\\u2028", 3)),
        0xe2 if json[at..].starts_with(&[0xe2, 0x80, 0xa9]) => Some(("\\u2029", 3)),
        _ => None,
    };
    let Some(first) = (0..json.len()).find(|&at| special(at).is_some()) else {
        return json;
    };
    let mut out = Vec::with_capacity(json.len() + 32);
    out.extend_from_slice(&json[..first]);
    let mut at = first;
    while at < json.len() {
        match special(at) {
            Some((text, length)) => {
                out.extend_from_slice(text.as_bytes());
                at += length;
            }
            None => {
                out.push(json[at]);
                at += 1;
            }
        }
    }
    out
}

/// Indents compact JSON by two spaces for each level. Empty objects and lists stay on one line.
pub(crate) fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + json.len() / 2);
    indent_part(json, 0, &mut out);
    out
}

/// Appends a part of compact JSON that begins at this depth, and returns the depth at its end. A
/// part begins and ends between two tokens, but not within an empty object or list.
pub(crate) fn indent_part(json: &[u8], mut depth: usize, out: &mut Vec<u8>) -> usize {
    let mut at = 0;
    while at < json.len() {
        let byte = json[at];
        match byte {
            b'"' => {
                let end = end_of_string(json, at);
                out.extend_from_slice(&json[at..end]);
                at = end;
                continue;
            }
            b'{' | b'[' if matches!(json.get(at + 1), Some(b'}' | b']')) => {
                out.extend_from_slice(&json[at..at + 2]);
                at += 2;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                out.push(byte);
                break_line(out, depth);
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                break_line(out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                break_line(out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\t' | b'\r' => {}
            _ => out.push(byte),
        }
        at += 1;
    }
    depth
}

fn break_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + depth * 2, b' ');
}

/// Returns the text of a member of an object, without decoding anything.
pub(crate) fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut at = skip_space(object, 0);
    if object.get(at) != Some(&b'{') {
        return None;
    }
    at = skip_space(object, at + 1);
    while object.get(at) == Some(&b'"') {
        let key_end = end_of_string(object, at);
        let key = object.get(at + 1..key_end - 1)?;
        let start = skip_space(object, skip_space(object, key_end) + 1);
        let end = kinds::json::end_of_value(object.get(start..)?)
            .map_or(object.len(), |length| start + length);
        if key == name.as_bytes() {
            return object.get(start..end);
        }
        at = skip_space(object, skip_space(object, end) + 1);
    }
    None
}

/// Returns the value of a string member without escapes. Names, kinds and times have none.
pub(crate) fn text_member<'a>(object: &'a [u8], name: &str) -> Option<&'a str> {
    let quoted = member(object, name)?;
    let inner = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(inner).ok()
}

fn skip_space(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

/// Returns the position after the closing quote of the string that starts at `at`.
fn end_of_string(json: &[u8], at: usize) -> usize {
    kinds::json::end_of_text(&json[at + 1..]).map_or(json.len(), |length| at + 1 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_with_a_meaning_in_html_are_escaped() {
        let text = "{\"m\":\"<a>&\u{2028}ü😀\"}".to_owned();
        assert_eq!(
            escape(text.into_bytes()),
            "{\"m\":\"\\u003ca\\u003e\\u0026\\u2028ü😀\"}".as_bytes()
        );
    }

    #[test]
    fn indenting_breaks_lines_and_leaves_strings_alone() {
        let json = r#"{"a":{},"b":[],"c":[1,{"d":"x,{\"y\":1}"}]}"#;
        let expected = "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1,\n    {\n      \"d\": \"x,{\\\"y\\\":1}\"\n    }\n  ]\n}";
        assert_eq!(
            String::from_utf8(indent(json.as_bytes())).expect("text"),
            expected
        );
    }

    #[test]
    fn members_are_found_by_name_at_the_top_only() {
        let json = br#" {"kind":"Pod", "spec":{"metadata":1,"s":"}\""} , "metadata" : {"name":"a","n":[1,2]},"last":12}"#;
        assert_eq!(
            member(json, "metadata"),
            Some(&br#"{"name":"a","n":[1,2]}"#[..])
        );
        assert_eq!(member(json, "last"), Some(&b"12"[..]));
        assert_eq!(member(json, "none"), None);
        assert_eq!(text_member(json, "kind"), Some("Pod"));
    }

    #[test]
    fn truncated_json_does_not_panic() {
        for json in [
            &b""[..],
            b"{",
            b"{\"",
            b"{\"a",
            b"{\"a\"",
            b"{\"a\":",
            b"{\"a\":\"\\",
            b"[[[",
            b"}",
        ] {
            let _ = (member(json, "a"), indent(json));
        }
    }
}
