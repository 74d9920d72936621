//! The parts that objects of every kind have: metadata, conditions, and times in the form of the
//! wire.
//!
//! The functions work on trees and never fail: a member of an unexpected type counts as absent,
//! because the codecs have refused such objects before.

use jiff::Timestamp;
use kinds::Tree;
use kinds::tree::Map;

use crate::tree;

/// Returns the metadata, which is added if it is missing.
pub(crate) fn meta(object: &mut Tree) -> &mut Map {
    tree::ensure(object, &["metadata"])
}

/// Returns a string of the metadata; empty when absent.
pub(crate) fn meta_text<'a>(object: &'a Tree, name: &str) -> &'a str {
    tree::text(object, &["metadata", name])
}

/// Returns the name by which refusals refer to a new object: its name, or its `generateName`.
pub(crate) fn shown_name(object: &Tree) -> &str {
    let name = meta_text(object, "name");
    if name.is_empty() {
        meta_text(object, "generateName")
    } else {
        name
    }
}

/// Returns the finalizers of the metadata.
pub(crate) fn finalizers(object: &Tree) -> Vec<&str> {
    tree::list(object, &["metadata", "finalizers"])
        .iter()
        .filter_map(Tree::as_str)
        .collect()
}

/// Replaces the finalizers; an empty list removes the member.
pub(crate) fn set_finalizers(object: &mut Tree, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        meta(object).remove("finalizers");
    } else {
        meta(object).insert("finalizers", finalizers.into());
    }
}

/// Returns true when the object has a deletion timestamp.
pub(crate) fn terminating(object: &Tree) -> bool {
    !tree::at(object, &["metadata", "deletionTimestamp"]).is_null()
}

/// Returns the condition of this type in `status.conditions`.
pub(crate) fn condition<'a>(object: &'a Tree, kind: &str) -> Option<&'a Tree> {
    tree::list(object, &["status", "conditions"])
        .iter()
        .find(|condition| tree::text(condition, &["type"]) == kind)
}

/// Formats a time as the wire has it: RFC 3339 in UTC with whole seconds.
pub(crate) fn wire_time(moment: Timestamp) -> String {
    Timestamp::from_second(moment.as_second())
        .unwrap_or(moment)
        .to_string()
}

/// Parses a time of the wire.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_times_have_whole_seconds() {
        let moment = Timestamp::from_millisecond(1_999).expect("a valid time");
        assert_eq!(wire_time(moment), "1970-01-01T00:00:01Z");
    }
}
