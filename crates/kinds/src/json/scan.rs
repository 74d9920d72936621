//! Splits JSON into tokens. Error messages are those of Go's parser.

use std::borrow::Cow;

use serde_json::Number;

use super::{DecodeError, MAX_DEPTH};
use crate::Tree;

/// A scanner of one document.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// The kind of a value, as its first character shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Object,
    List,
    String,
    Number,
    Bool(bool),
    Null,
}

impl ValueKind {
    /// Returns the JSON type, as decoding errors name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::List => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Bool(_) => "bool",
            Self::Null => "null",
        }
    }
}

type Scanned<T> = Result<T, DecodeError>;

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    fn unexpected(&self, context: &str) -> DecodeError {
        DecodeError::Syntax(match self.byte() {
            None => "unexpected end of JSON input".to_owned(),
            Some(byte) => format!("invalid character {} {context}", quote_byte(byte)),
        })
    }

    /// Returns the kind of the next value. Consumes `true`, `false` and `null`; other values start
    /// at the current position.
    pub(crate) fn begin(&mut self) -> Scanned<ValueKind> {
        self.skip_space();
        match self.byte() {
            Some(b'{') => Ok(ValueKind::Object),
            Some(b'[') => Ok(ValueKind::List),
            Some(b'"') => Ok(ValueKind::String),
            Some(b'-' | b'0'..=b'9') => Ok(ValueKind::Number),
            Some(b't') => self.word("true").map(|()| ValueKind::Bool(true)),
            Some(b'f') => self.word("false").map(|()| ValueKind::Bool(false)),
            Some(b'n') => self.word("null").map(|()| ValueKind::Null),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn word(&mut self, word: &str) -> Scanned<()> {
        for expected in word.bytes() {
            if self.byte() != Some(expected) {
                return Err(self.unexpected(&format!(
                    "in literal {word} (expecting {})",
                    quote_byte(expected)
                )));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Checks that only white space follows the document.
    pub(crate) fn end(&mut self) -> Scanned<()> {
        self.skip_space();
        if self.at < self.text.len() {
            Err(self.unexpected("after top-level value"))
        } else {
            Ok(())
        }
    }

    fn deeper(&mut self) -> Scanned<()> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            Err(DecodeError::Syntax(format!(
                "exceeded max depth of {MAX_DEPTH}"
            )))
        } else {
            Ok(())
        }
    }

    /// Calls `member` for every key of the object at the current position. `member` must consume
    /// the value.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Scanned<()>,
    ) -> Scanned<()> {
        self.deeper()?;
        self.skip_space();
        if self.byte() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            self.skip_space();
            if self.byte() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.skip_space();
            if self.byte() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            member(self, key)?;
            self.skip_space();
            match self.byte() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    /// Calls `item` for every item of the list at the current position. `item` must consume it.
    pub(crate) fn list(
        &mut self,
        mut item: impl FnMut(&mut Self, usize) -> Scanned<()>,
    ) -> Scanned<()> {
        self.deeper()?;
        self.skip_space();
        if self.byte() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        for index in 0.. {
            item(self, index)?;
            self.skip_space();
            match self.byte() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.unexpected("after array element")),
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// Consumes a number and returns its characters.
    pub(crate) fn number(&mut self) -> Scanned<&'a str> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("in numeric literal")),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) {
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, context: &str) -> Scanned<()> {
        if !self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.unexpected(context));
        }
        self.digits();
        Ok(())
    }

    /// Consumes a string; borrowed if it has no escapes.
    pub(crate) fn string(&mut self) -> Scanned<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        let plain = self.run();
        if self.byte() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        // The first escape decides that the string must be copied.
        let mut out = String::with_capacity(self.at - start + 16);
        out.push_str(plain);
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                _ => return Err(self.unexpected("in string literal")),
            }
            out.push_str(self.run());
        }
    }

    /// Consumes characters up to the next quote, backslash or control character.
    fn run(&mut self) -> &'a str {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        let length = rest
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
            .unwrap_or(rest.len());
        self.at += length;
        &self.text[start..self.at]
    }

    fn escape(&mut self) -> Scanned<char> {
        let character = match self.byte() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(character)
    }

    /// Consumes the four hexadecimal digits of an escape, or the two escapes of a surrogate pair. A
    /// lone surrogate becomes U+FFFD, as in Go.
    fn unicode(&mut self) -> Scanned<char> {
        let first = self.hex()?;
        // A high surrogate only counts together with the low one that follows it.
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Scanned<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.byte().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected("in \\u hexadecimal character escape"));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// Consumes the value that `begin` announced.
    pub(crate) fn skip(&mut self, begins: ValueKind) -> Scanned<()> {
        match begins {
            ValueKind::Bool(_) | ValueKind::Null => Ok(()),
            ValueKind::String => self.string().map(drop),
            ValueKind::Number => self.number().map(drop),
            ValueKind::List => self.list(|scanner, _| {
                let begins = scanner.begin()?;
                scanner.skip(begins)
            }),
            ValueKind::Object => self.object(|scanner, _| {
                let begins = scanner.begin()?;
                scanner.skip(begins)
            }),
        }
    }

    /// Consumes the scalar that `begin` announced. Lists and objects are not consumed and give
    /// null.
    pub(crate) fn scalar(&mut self, begins: ValueKind) -> Scanned<Tree> {
        Ok(match begins {
            ValueKind::Bool(value) => Tree::Bool(value),
            ValueKind::String => Tree::from(self.string()?),
            ValueKind::Number => {
                let text = self.number()?;
                Tree::Number(
                    number(text).ok_or_else(|| {
                        DecodeError::Value(format!("number {text} is out of range"))
                    })?,
                )
            }
            ValueKind::Null | ValueKind::List | ValueKind::Object => Tree::Null,
        })
    }
}

/// Parses a number: an integer if it has no fraction or exponent and fits, else a float.
pub(crate) fn number(text: &str) -> Option<Number> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Some(whole.into());
    }
    let float: f64 = text.parse().ok()?;
    // Adding zero turns negative zero into zero. Negative zero would be written as `-0` and decoded
    // as the integer 0.
    Number::from_f64(float + 0.0)
}

/// Formats a byte as Go's parser does.
fn quote_byte(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        other => {
            let quoted = crate::status::quoted(&char::from(other).to_string());
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}
