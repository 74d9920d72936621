//! The members of an object in bytes that this crate has written: compact, and in the order of the
//! type.

/// The members of one object, from the first to the last.
pub(super) struct MemberScanner<'a> {
    /// Behind the bracket, or behind a member.
    rest: &'a [u8],
}

impl<'a> MemberScanner<'a> {
    pub(super) fn of(object: &'a [u8]) -> Self {
        Self {
            rest: object.strip_prefix(b"{").unwrap_or_default(),
        }
    }

    /// The value of a member; `None` when it does not stand behind those that were found before,
    /// and from then on: the search has passed all others.
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

/// Where the value ends with which the text begins; `None` when it does not end. What is broken
/// inside of it is not found.
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

/// Where it goes on behind the quote that ends a string; the text begins behind the one that opened
/// it.
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
    fn what_is_no_object_has_no_members() {
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
