//! A lexer for Rust source: just enough of it to find paths, comments and string literals.
//!
//! It knows nested comments, raw strings and lifetimes, so that what stands inside a string is
//! never taken for code. It never fails: the compiler has read the same file before.

/// What one token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// An identifier or a keyword; raw identifiers come without their `r#`.
    Identifier,
    /// A string literal of any form, with its quotes.
    String,
    /// A number, a character or a lifetime.
    Other,
    /// One character of punctuation.
    Punctuation,
    /// A line comment or a block comment, with its slashes; doc comments too.
    Comment,
}

/// One token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct RustToken<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
    /// The line on which the token begins; the first line is 1.
    pub(super) line: usize,
}

impl RustToken<'_> {
    /// Whether this is the given identifier, keyword or character of punctuation.
    pub(super) fn is(&self, text: &str) -> bool {
        matches!(self.kind, TokenKind::Identifier | TokenKind::Punctuation) && self.text == text
    }
}

/// Splits a source file into tokens; white space is left out.
pub(super) fn tokens(source: &str) -> Vec<RustToken<'_>> {
    let mut lexer = Lexer {
        source,
        at: 0,
        line: 1,
    };
    std::iter::from_fn(|| lexer.next()).collect()
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<RustToken<'a>> {
        let blank = self.rest().len() - self.rest().trim_start().len();
        self.take(blank);
        let first = self.rest().chars().next()?;
        let (kind, length) = self.measure(first);
        let line = self.line;
        let mut text = self.take(length);
        if kind == TokenKind::Identifier {
            text = text.strip_prefix("r#").unwrap_or(text);
        }
        Some(RustToken { kind, text, line })
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn take(&mut self, length: usize) -> &'a str {
        let text = &self.source[self.at..self.at + length];
        self.line += text.matches('\n').count();
        self.at += length;
        text
    }

    /// The kind and the length in bytes of the token that begins here.
    fn measure(&self, first: char) -> (TokenKind, usize) {
        let rest = self.rest();
        if rest.starts_with("//") {
            (TokenKind::Comment, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (TokenKind::Comment, block_comment(rest))
        } else if let Some(length) = string(rest) {
            (TokenKind::String, length)
        } else if first == '\'' {
            (TokenKind::Other, character_or_lifetime(rest))
        } else if first.is_ascii_digit() {
            (TokenKind::Other, word(rest))
        } else if first.is_alphabetic() || first == '_' {
            let raw = if rest.starts_with("r#") { 2 } else { 0 };
            (TokenKind::Identifier, raw + word(&rest[raw..]))
        } else {
            (TokenKind::Punctuation, first.len_utf8())
        }
    }
}

fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the string literal that begins here, if one does.
fn string(text: &str) -> Option<usize> {
    let prefix = ["b", "c", ""]
        .into_iter()
        .find(|prefix| {
            text.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with(['"', 'r']))
        })?
        .len();
    let rest = &text[prefix..];
    if let Some(raw) = rest.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix + 1 + hashes + 1 + length);
    }
    Some(prefix + quoted(rest, '"'))
}

/// The length of a literal between two equal quotes, in which a backslash escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

fn character_or_lifetime(text: &str) -> usize {
    let mut after = text.chars().skip(1);
    let (second, third) = (after.next(), after.next());
    if second == Some('\\') || third == Some('\'') {
        quoted(text, '\'')
    } else {
        1 + word(&text[1..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str, kind: TokenKind) -> Vec<&str> {
        tokens(source)
            .into_iter()
            .filter(|token| token.kind == kind)
            .map(|token| token.text)
            .collect()
    }

    #[test]
    fn strings_and_comments_hide_what_stands_in_them() {
        let source = "a /* b /* c */ \"d\" */ \"e \\\" f\" br#\"g \" h\"# // i\nr#type";
        assert_eq!(texts(source, TokenKind::Identifier), ["a", "type"]);
        assert_eq!(
            texts(source, TokenKind::String),
            ["\"e \\\" f\"", "br#\"g \" h\"#"]
        );
        assert_eq!(texts(source, TokenKind::Comment).len(), 2);
    }

    #[test]
    fn quotes_of_characters_open_no_string() {
        let source = "'\"' 'a' '\\'' <'life> b'\"' rest";
        assert_eq!(texts(source, TokenKind::Identifier), ["b", "rest"]);
        assert!(texts(source, TokenKind::String).is_empty());
    }

    #[test]
    fn every_token_knows_the_line_on_which_it_begins() {
        let lines: Vec<usize> = tokens("a\n\"b\nc\"\nd").iter().map(|t| t.line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }
}
