//! The parts of an object that every kind has: its metadata, its conditions, and times as the wire
//! shows them.
//!
//! Everything here works on trees and never fails: a member of another type counts as absent, since
//! the codecs have already refused such objects at the door.

use jiff::Timestamp;
use kinds::Tree;
use kinds::tree::Map;

use crate::tree;

/// The metadata, made where it is missing.
pub(crate) fn meta(object: &mut Tree) -> &mut Map {
    tree::ensure(object, &["metadata"])
}

/// One text of the metadata; empty when absent.
pub(crate) fn meta_text<'a>(object: &'a Tree, name: &str) -> &'a str {
    tree::text(object, &["metadata", name])
}

/// The name by which refusals call a new object: its own, or the beginning of the one it will get.
pub(crate) fn shown_name(object: &Tree) -> &str {
    let name = meta_text(object, "name");
    if name.is_empty() {
        meta_text(object, "generateName")
    } else {
        name
    }
}

/// The finalizers.
pub(crate) fn finalizers(object: &Tree) -> Vec<&str> {
    tree::list(object, &["metadata", "finalizers"])
        .iter()
        .filter_map(Tree::as_str)
        .collect()
}

/// Replaces the finalizers; none leaves no member.
pub(crate) fn set_finalizers(object: &mut Tree, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        meta(object).remove("finalizers");
    } else {
        meta(object).insert("finalizers", finalizers.into());
    }
}

/// True when the object is being deleted.
pub(crate) fn terminating(object: &Tree) -> bool {
    !tree::at(object, &["metadata", "deletionTimestamp"]).is_null()
}

/// The condition of this type in `status.conditions`.
pub(crate) fn condition<'a>(object: &'a Tree, kind: &str) -> Option<&'a Tree> {
    tree::list(object, &["status", "conditions"])
        .iter()
        .find(|condition| tree::text(condition, &["type"]) == kind)
}

/// A moment as the wire shows it: RFC 3339 in UTC with whole seconds.
pub(crate) fn wire_time(moment: Timestamp) -> String {
    Timestamp::from_second(moment.as_second())
        .unwrap_or(moment)
        .to_string()
}

/// A time of the wire as a moment.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
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
