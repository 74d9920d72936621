//! Finds members in the JSON of an object without decoding it. The JSON is this crate's own:
//! compact, and in the order of the type.

/// A forward search over the members of one object.
pub(super) struct MemberScanner<'a> {
    /// The unread part: it starts after the opening bracket or after a member.
    rest: &'a [u8],
}

impl<'a> MemberScanner<'a> {
    pub(super) fn of(object: &'a [u8]) -> Self {
        Self {
            rest: object.strip_prefix(b"{").unwrap_or_default(),
        }
    }

    /// Returns the value of a member. `None` if the member is absent or precedes one found before;
    /// the search has then passed all members.
    pub(super) fn find(&mut self, name: &str) -> Option<&'a [u8]> {
        loop {
            let text = self
                .rest
                .strip_prefix(b",")
                .unwrap_or(self.rest)
                .strip_prefix(b"\"")?;
            let (key, behind) = text.split_at_checked(end_of_text(text)?)?;
            let value = behind.strip_prefix(b":")?;
            let (value, rest) = value.split_at_checked(end_of_value(value)?)?;
            self.rest = rest;
            if key.strip_suffix(b"\"") == Some(name.as_bytes()) {
                return Some(value);
            }
        }
    }
}

/// Returns the length of the JSON value at the start of `text`; `None` if the value does not end.
/// Errors inside of the value go unnoticed.
#[must_use]
pub fn end_of_value(text: &[u8]) -> Option<usize> {
    if !matches!(text.first()?, b'{' | b'[' | b'"') {
        return text
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']'));
    }
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => at += end_of_text(text.get(at + 1..)?)?,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Returns the length of a JSON string including its closing quote; `text` starts after the opening
/// one. `None` if the string does not end.
#[must_use]
pub fn end_of_text(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_in_their_order() {
        let object = br#"{"a":{"x":["]}\"",{}],"b":1},"n":-1.5,"t":"\\","l":[],"b":true}"#;
        let mut scanner = MemberScanner::of(object);
        let found: Vec<_> = ["a", "t", "b", "n"]
            .map(|name| scanner.find(name).map(String::from_utf8_lossy))
            .into();
        assert_eq!(
            found,
            [
                Some(r#"{"x":["]}\"",{}],"b":1}"#.into()),
                Some(r#""\\""#.into()),
                Some("true".into()),
                None
            ]
        );
    }

    #[test]
    fn broken_objects_have_no_members() {
        for text in [
            "",
            "{",
            "{}",
            "[1]",
            "null",
            r#"{"a"#,
            r#"{"a""#,
            r#"{"a":"#,
            r#"{"a":{"#,
            r#"{"a":1"#,
            r#"{"a":"\"#,
        ] {
            assert_eq!(MemberScanner::of(text.as_bytes()).find("a"), None, "{text}");
        }
    }
}
