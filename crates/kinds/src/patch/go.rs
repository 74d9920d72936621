//! Formats values as Go does, for error messages that show them.

use std::fmt::Write;

use crate::Tree;

/// Formats `map[a:1 b:[x y]]`.
pub(super) fn render(tree: &Tree) -> String {
    let mut out = String::new();
    write(&mut out, tree);
    out
}

fn write(out: &mut String, tree: &Tree) {
    match tree {
        Tree::Null => out.push_str("<nil>"),
        Tree::String(text) => out.push_str(text),
        Tree::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { " " });
                write(out, item);
            }
            out.push(']');
        }
        Tree::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            out.push_str("map[");
            for (index, (name, value)) in members.into_iter().enumerate() {
                // Writing to a string cannot fail.
                let _ = write!(out, "{}{name}:", if index == 0 { "" } else { " " });
                write(out, value);
            }
            out.push(']');
        }
        Tree::Bool(_) | Tree::Number(_) => {
            let _ = write!(out, "{tree}");
        }
    }
}
