//! Types of one name: a name means one thing in the whole workspace.
//!
//! Structs, enums, unions, traits and type aliases count, private ones too, at the level of a
//! module and outside of tests. Associated types belong to their trait and do not count.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::lexer::{RustToken, TokenKind, tokens};
use super::sources::rust_sources;
use super::transition::{TidyCheck, is_exempt};

/// Names that stand for one concept wherever they are used, each with that concept.
const ONE_CONCEPT: &[(&str, &str)] = &[
    (
        "Cluster",
        "a whole cluster in this process, as shipped or for a test",
    ),
    ("Controller", "the controller that its module is named for"),
];

/// One fault per name that crates past the transition share.
pub(super) fn faults(root: &Path) -> Result<Vec<String>> {
    let shared = shared(root)?;
    let strict = shared.iter().filter(|(_, places)| {
        places
            .iter()
            .all(|(crate_name, _)| !is_exempt(crate_name, TidyCheck::Types))
    });
    Ok(strict
        .map(|(name, places)| describe(name, places))
        .collect())
}

/// Every name that more than one type has, with the files, and the number of such names.
pub(super) fn report(root: &Path) -> Result<Vec<String>> {
    let shared = shared(root)?;
    let mut lines: Vec<String> = shared
        .iter()
        .map(|(name, places)| describe(name, places))
        .collect();
    lines.push(format!("{} names that several types have", shared.len()));
    Ok(lines)
}

/// Crate and file of a type.
type TypePlace = (String, String);

fn shared(root: &Path) -> Result<BTreeMap<String, Vec<TypePlace>>> {
    let mut places: BTreeMap<String, Vec<TypePlace>> = BTreeMap::new();
    for source in rust_sources(root)? {
        if source.for_tests() {
            continue;
        }
        for name in names(&source.text) {
            places
                .entry(name)
                .or_default()
                .push((source.crate_name.clone(), source.name.clone()));
        }
    }
    places.retain(|name, places| {
        places.len() > 1 && !ONE_CONCEPT.iter().any(|(known, _)| known == name)
    });
    Ok(places)
}

fn describe(name: &str, places: &[TypePlace]) -> String {
    let files: Vec<&str> = places.iter().map(|(_, file)| file.as_str()).collect();
    format!(
        "{} types are named {name}: {}",
        places.len(),
        files.join(" ")
    )
}

/// Names of the types that a file defines at the level of a module, before its tests.
fn names(source: &str) -> Vec<String> {
    let tokens: Vec<RustToken<'_>> = tokens(source)
        .into_iter()
        .filter(|token| token.kind != TokenKind::Comment)
        .collect();
    let mut found = Vec::new();
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        if token.is("cfg") && tokens.get(at + 2).is_some_and(|next| next.is("test")) {
            break;
        }
        if token.kind == TokenKind::Punctuation {
            match token.text {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        let keyword = ["struct", "enum", "trait", "type", "union"]
            .iter()
            .any(|keyword| token.is(keyword));
        if depth == 0
            && keyword
            && let Some(name) = tokens.get(at + 1)
            && name.kind == TokenKind::Identifier
        {
            found.push(name.text.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_modules_count_and_those_of_traits_and_tests_do_not() {
        let source = "pub struct A<T>(T); enum B { C } type D = u8; impl X for Y { type E = u8; }
            fn f() { struct F; } #[cfg(test)] mod tests { struct G; }";
        assert_eq!(names(source), ["A", "B", "D"]);
    }
}
