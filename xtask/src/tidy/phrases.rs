//! Phrases that are not plain technical English, in comments, string literals, names of functions
//! and Markdown.
//!
//! A phrase matches whole words, in any case, also across a line break. What stands between
//! backticks or in a fenced block is code and is not read. `tidy: allow` in a comment on the line
//! of a match or on the line before it, followed by a reason, lets the phrase stand.

mod rules;
mod text;

use std::path::Path;

use anyhow::{Context, Result};

use self::rules::{PhraseRule, PhraseScope, RULES};
use self::text::{Passage, markdown, passages};
use super::sources::rust_sources;
use super::transition::{TidyCheck, is_exempt};
use super::{files_below, shown};

/// Directories whose Markdown is not ours to write: recorded data and inputs.
const FOREIGN: &[&str] = &["golden/", "fuzz/", "facts/"];

/// One fault per phrase, of crates that are past the transition.
pub(super) fn faults(root: &Path) -> Result<Vec<String>> {
    let found = all(root)?.into_iter();
    Ok(found
        .filter(|(crate_name, _)| !is_exempt(crate_name, TidyCheck::Phrases))
        .map(|(_, fault)| fault)
        .collect())
}

/// Every phrase, whatever its crate.
pub(super) fn report(root: &Path) -> Result<Vec<String>> {
    Ok(all(root)?.into_iter().map(|(_, fault)| fault).collect())
}

/// Crate (or `docs` for Markdown) and fault.
fn all(root: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for source in rust_sources(root)? {
        // The table of rules spells out every phrase.
        if source.name.ends_with("tidy/phrases/rules.rs") {
            continue;
        }
        for passage in passages(&source.text, source.for_tests()) {
            for fault in check(&source.name, &passage) {
                found.push((source.crate_name.clone(), fault));
            }
        }
    }
    for path in files_below(root, ".md")? {
        let name = shown(root, &path);
        if FOREIGN.iter().any(|directory| name.starts_with(directory)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        for passage in markdown(&text) {
            for fault in check(&name, &passage) {
                found.push(("docs".to_owned(), fault));
            }
        }
    }
    Ok(found)
}

/// One fault per match of a rule in a passage.
fn check(name: &str, passage: &Passage) -> Vec<String> {
    let mut faults = Vec::new();
    let lower = passage.text.to_lowercase();
    for rule in RULES {
        for at in matches(&passage.text, &lower, rule) {
            if passage.is_allowed(at) {
                continue;
            }
            faults.push(format!(
                "{name}:{}: {:?}: write {} instead",
                passage.line(at),
                rule.phrase,
                rule.instead
            ));
        }
    }
    faults
}

/// Offsets at which a rule matches.
fn matches(text: &str, lower: &str, rule: &PhraseRule) -> Vec<usize> {
    // Lower case changes the length of a few characters, and with it the offsets.
    if lower.len() != text.len() {
        return Vec::new();
    }
    let phrase = rule.phrase.to_lowercase();
    lower
        .match_indices(&phrase)
        .map(|(at, _)| at)
        .filter(|&at| is_whole(lower, at, phrase.len()))
        .filter(|&at| match rule.scope {
            PhraseScope::Anywhere => true,
            PhraseScope::Sentence => starts_sentence(text, at) && !is_question(&text[at..]),
            PhraseScope::Passage => {
                text[..at].trim().is_empty() && text.starts_with(char::is_uppercase)
            }
        })
        // `None` is a value of many fields of Kubernetes.
        .filter(|&at| !text[at..at + phrase.len()].ends_with("None"))
        .filter(|&at| {
            let after = lower[at + phrase.len()..].trim_start();
            !rule
                .unless_before
                .iter()
                .any(|word| after.starts_with(word))
        })
        .filter(|&at| {
            let before = lower[..at].trim_end();
            !rule.unless_after.is_some_and(|word| before.ends_with(word))
        })
        .collect()
}

/// Whether no alphabetic character, digit or underscore adjoins these bytes.
fn is_whole(text: &str, at: usize, length: usize) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    !text[..at].chars().next_back().is_some_and(word)
        && !text[at + length..].chars().next().is_some_and(word)
}

fn starts_sentence(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end_matches([' ', '\n', '"', '*', '-', '(']);
    text[at..].starts_with(char::is_uppercase)
        && (before.is_empty() || before.ends_with(['.', ':', '?', '!', '|']))
}

fn is_question(text: &str) -> bool {
    text.find(['.', '?', '!'])
        .is_some_and(|end| text[end..].starts_with('?'))
}

#[cfg(test)]
mod tests;
