//! The prose of a file: comments, string literals, names of functions, and Markdown.

use crate::tidy::lexer::{RustToken, TokenKind, tokens};

/// The mark of a comment that lets a phrase stand.
const ALLOW: &str = "tidy: allow";

/// A piece of prose that is read as a whole, with the line of each of its characters.
#[derive(Debug, Default)]
pub(super) struct Passage {
    /// The prose; line breaks are spaces, and code between backticks is left out.
    pub(super) text: String,
    /// Offset in `text` and line, for the first character of each line.
    lines: Vec<(usize, usize)>,
    /// Lines on which a phrase may stand.
    allowed: Vec<usize>,
}

impl Passage {
    /// The line of the source on which an offset of the text stands.
    pub(super) fn line(&self, at: usize) -> usize {
        let last = self.lines.iter().rev().find(|(offset, _)| *offset <= at);
        last.map_or(0, |(_, line)| *line)
    }

    /// Whether `tidy: allow` lets the phrase at an offset stand.
    pub(super) fn is_allowed(&self, at: usize) -> bool {
        self.allowed.contains(&self.line(at))
    }

    fn add(&mut self, line: usize, text: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.lines.push((self.text.len(), line));
        self.text.push_str(text);
    }

    /// Leaves out what stands between backticks, also across lines.
    fn without_code(mut self) -> Passage {
        let mut inside = false;
        self.text = self
            .text
            .chars()
            .map(|c| {
                if c == '`' {
                    inside = !inside;
                }
                // Bytes stay as many as they were: the lines are found by offset.
                if inside && c.is_ascii() { '`' } else { c }
            })
            .collect();
        self
    }
}

/// The passages of a Rust file. Of code for tests only comments and names are read, since strings
/// there are mostly inputs and what others say.
pub(super) fn passages(source: &str, for_tests: bool) -> Vec<Passage> {
    let tokens = tokens(source);
    let first_test = tokens
        .windows(6)
        .find(|window| {
            let words: Vec<&str> = window.iter().map(|token| token.text).collect();
            words == ["#", "[", "cfg", "(", "test", ")"]
        })
        .map_or(usize::MAX, |window| window[0].line);
    let allowed = allowed_lines(source);
    let mut found = comments(&tokens);
    for (at, token) in tokens.iter().enumerate() {
        let mut passage = Passage::default();
        if token.kind == TokenKind::String && !for_tests && token.line < first_test {
            for (offset, line) in token.text.lines().enumerate() {
                passage.add(token.line + offset, line.trim().trim_end_matches('\\'));
            }
        } else if token.kind == TokenKind::Identifier && at > 0 && tokens[at - 1].is("fn") {
            passage.add(token.line, &token.text.replace('_', " "));
        } else {
            continue;
        }
        found.push(passage.without_code());
    }
    for passage in &mut found {
        passage.allowed.clone_from(&allowed);
    }
    found
}

/// Lines with the mark, and those after them.
fn allowed_lines(source: &str) -> Vec<usize> {
    let marked = source
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains(ALLOW));
    marked.flat_map(|(at, _)| [at + 1, at + 2]).collect()
}

/// Runs of comments, as paragraphs.
fn comments(tokens: &[RustToken<'_>]) -> Vec<Passage> {
    let mut found = Vec::new();
    let mut lines: Vec<(usize, &str)> = Vec::new();
    for token in tokens {
        let next = lines.last().is_some_and(|(line, _)| token.line == line + 1);
        if token.kind != TokenKind::Comment || !next {
            found.extend(paragraphs(&std::mem::take(&mut lines)));
        }
        if token.kind == TokenKind::Comment {
            for (at, line) in token.text.lines().enumerate() {
                let line = line.trim_start_matches(['/', '!', '*', ' ']);
                lines.push((token.line + at, line));
            }
        }
    }
    found.extend(paragraphs(&lines));
    found
}

/// The passages of a Markdown file: paragraphs, rows of tables and items of lists.
pub(super) fn markdown(text: &str) -> Vec<Passage> {
    let lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()))
        .collect();
    let allowed = allowed_lines(text);
    let mut found = paragraphs(&lines);
    for passage in &mut found {
        passage.allowed.clone_from(&allowed);
    }
    found
}

fn paragraphs(lines: &[(usize, &str)]) -> Vec<Passage> {
    let mut found = Vec::new();
    let mut passage = Passage::default();
    let mut fenced = false;
    for (number, line) in lines {
        let fence = line.starts_with("```");
        let breaks = line.is_empty() || line.starts_with(['|', '-', '#']) || fence;
        if breaks && !passage.text.is_empty() {
            found.push(std::mem::take(&mut passage));
        }
        fenced ^= fence;
        if !fence && !fenced && !line.is_empty() {
            passage.add(*number, line);
        }
    }
    found.push(passage);
    found.into_iter().map(Passage::without_code).collect()
}
