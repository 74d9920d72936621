//! The width of lines: at most 100 columns in Rust sources.
//!
//! rustfmt keeps to that width where it can. It does not touch the inside of macros, comments, and
//! statements with a string literal that is too long for any line. Such a literal is the only
//! exception: people search for the text of a message, so it may stay on one line.

use std::path::Path;

use anyhow::Result;

use super::lexer::{TokenKind, tokens};
use super::sources::{SourceFile, rust_sources};
use super::transition::{TidyCheck, is_exempt};

/// rustfmt's `max_width`.
const COLUMNS_AT_MOST: usize = 100;

/// One fault per line that is too wide, of crates that are past the transition.
pub(super) fn faults(root: &Path) -> Result<Vec<String>> {
    let sources = rust_sources(root)?;
    let strict = sources
        .iter()
        .filter(|source| !is_exempt(&source.crate_name, TidyCheck::Width));
    Ok(strict.flat_map(check).collect())
}

/// Every line that is too wide, whatever its crate.
pub(super) fn report(root: &Path) -> Result<Vec<String>> {
    Ok(rust_sources(root)?.iter().flat_map(check).collect())
}

fn check(source: &SourceFile) -> Vec<String> {
    let wide: Vec<(usize, &str)> = source
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.chars().count() > COLUMNS_AT_MOST)
        .map(|(at, line)| (at + 1, line))
        .collect();
    if wide.is_empty() {
        return Vec::new();
    }
    let literals = unbreakable_literals(&source.text);
    wide.into_iter()
        .filter(|(number, _)| !literals.contains(number))
        .map(|(number, line)| {
            format!(
                "{}:{number}: {} columns, more than {COLUMNS_AT_MOST}",
                source.name,
                line.chars().count()
            )
        })
        .collect()
}

/// The lines of string literals that would be too wide even on a line of their own.
fn unbreakable_literals(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for token in tokens(text) {
        if token.kind != TokenKind::String {
            continue;
        }
        for (at, part) in token.text.lines().enumerate() {
            let number = token.line + at;
            let line = lines[number - 1];
            let indent = line.len() - line.trim_start().len();
            // Indented by one level more than its statement, with a comma or semicolon behind it.
            let alone = indent + 4 + part.trim_start().chars().count() + 1;
            if alone > COLUMNS_AT_MOST || at > 0 {
                found.push(number);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faulty(text: &str) -> usize {
        check(&SourceFile {
            crate_name: "demo".to_owned(),
            name: "a.rs".to_owned(),
            text: text.to_owned(),
        })
        .len()
    }

    #[test]
    fn only_a_literal_that_fits_on_no_line_may_be_wide() {
        let long = "x".repeat(95);
        assert_eq!(faulty(&format!("    f(\"{long}\");\n")), 0);
        assert_eq!(faulty(&format!("    // \"{long}\"\n")), 1);
        let many = "\"short\", ".repeat(13);
        assert_eq!(faulty(&format!("    f({many});\n")), 1);
        assert_eq!(faulty(&format!("    {}\n", "x".repeat(96))), 0);
    }

    #[test]
    fn columns_are_characters() {
        assert_eq!(faulty(&format!("// {}\n", "ä".repeat(97))), 0);
    }
}
