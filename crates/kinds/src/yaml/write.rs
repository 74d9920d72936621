//! Writes a tree as block YAML: members sorted, lists not indented below their key, strings plain
//! if they read back as strings.

use super::read;
use crate::Tree;

pub(super) fn document(tree: &Tree) -> String {
    let mut out = String::new();
    match tree {
        Tree::Object(members) if !members.is_empty() => map(&mut out, members, 0, false),
        Tree::Array(items) if !items.is_empty() => list(&mut out, items, 0, false),
        other => {
            leaf(&mut out, other, 1);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n(' ', level * 2));
}

/// Writes a map. `inline`: the first member follows a dash that is written already.
fn map(out: &mut String, members: &crate::tree::Map, level: usize, inline: bool) {
    for (at, (name, member)) in members.iter().enumerate() {
        if at > 0 || !inline {
            indent(out, level);
        }
        text(out, name, level, true);
        out.push(':');
        match member {
            Tree::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                map(out, inner, level + 1, false);
            }
            Tree::Array(items) if !items.is_empty() => {
                out.push('\n');
                list(out, items, level, false);
            }
            other => {
                out.push(' ');
                leaf(out, other, level + 1);
                out.push('\n');
            }
        }
    }
}

fn list(out: &mut String, items: &[Tree], level: usize, inline: bool) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 || !inline {
            indent(out, level);
        }
        out.push_str("- ");
        match item {
            Tree::Object(members) if !members.is_empty() => map(out, members, level + 1, true),
            Tree::Array(items) if !items.is_empty() => list(out, items, level + 1, true),
            other => {
                leaf(out, other, level + 1);
                out.push('\n');
            }
        }
    }
}

/// Writes a scalar, without the line end.
fn leaf(out: &mut String, tree: &Tree, level: usize) {
    match tree {
        Tree::String(value) => text(out, value, level, false),
        Tree::Array(_) => out.push_str("[]"),
        Tree::Object(_) => out.push_str("{}"),
        other => out.push_str(&String::from_utf8_lossy(&crate::json::encode_untyped(
            other,
        ))),
    }
}

fn text(out: &mut String, value: &str, level: usize, key: bool) {
    let printable = value.chars().all(|character| {
        character == '\n'
            || (!character.is_control()
                && !matches!(character, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}'))
    });
    if !printable || needs_double_quotes(value) {
        double_quoted(out, value);
    } else if value.contains('\n') {
        // A block scalar cannot represent spaces before a line end.
        if key || value.ends_with(' ') || value.contains(" \n") || value.trim().is_empty() {
            double_quoted(out, value);
        } else {
            block(out, value, level);
        }
    } else if plain_is_safe(value) {
        out.push_str(value);
    } else {
        out.push('\'');
        out.push_str(&value.replace('\'', "''"));
        out.push('\'');
    }
}

/// Returns whether a plain scalar would not read back as a string.
fn needs_double_quotes(value: &str) -> bool {
    read::plain(value).is_some()
        || looks_like_time(value)
        || looks_sexagesimal(value)
        || matches!(value, "<<" | "=")
        || matches!(
            value.trim_start_matches(['+', '-']),
            ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
        )
}

/// Returns whether the string looks like `2026-01-02`, with or without a time.
fn looks_like_time(value: &str) -> bool {
    let mut parts = value.splitn(3, '-');
    let (year, month, rest) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let day = rest
        .find(|character: char| !character.is_ascii_digit())
        .map_or(rest, |at| &rest[..at]);
    let after = &rest[day.len()..];
    year.len() == 4
        && digits(year)
        && month.len() <= 2
        && digits(month)
        && (1..=2).contains(&day.len())
        && (after.is_empty() || (after.starts_with(['T', 't', ' ']) && after.contains(':')))
}

/// Returns whether the string looks like `1:30`, which YAML 1.1 reads as a number of base 60.
fn looks_sexagesimal(value: &str) -> bool {
    let digits = value.trim_start_matches(['+', '-']);
    digits.contains(':')
        && digits.starts_with(|character: char| character.is_ascii_digit())
        && digits.split(':').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'_'))
        })
}

fn plain_is_safe(value: &str) -> bool {
    let Some(first) = value.chars().next() else {
        return false;
    };
    if value.starts_with(' ')
        || value.ends_with(' ')
        || value.starts_with("---")
        || value.starts_with("...")
    {
        return false;
    }
    if matches!(
        first,
        '#' | ','
            | '['
            | ']'
            | '{'
            | '}'
            | '&'
            | '*'
            | '!'
            | '|'
            | '>'
            | '\''
            | '"'
            | '%'
            | '@'
            | '`'
    ) {
        return false;
    }
    let lone = value[first.len_utf8()..]
        .chars()
        .next()
        .is_none_or(|second| second == ' ');
    if matches!(first, '-' | '?' | ':') && lone {
        return false;
    }
    !value.contains(": ") && !value.contains(" #") && !value.ends_with(':')
}

fn block(out: &mut String, value: &str, level: usize) {
    out.push('|');
    if value.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !value.ends_with('\n') {
        out.push('-');
    } else if value.ends_with("\n\n") {
        out.push('+');
    }
    for line in value.strip_suffix('\n').unwrap_or(value).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, level);
            out.push_str(line);
        }
    }
}

fn double_quoted(out: &mut String, value: &str) {
    out.push('"');
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            other
                if other.is_control() || matches!(other, '\u{feff}' | '\u{2028}' | '\u{2029}') =>
            {
                let code = u32::from(other);
                out.push_str(&if code < 0x100 {
                    format!("\\x{code:02X}")
                } else {
                    format!("\\u{code:04X}")
                });
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
