//! Building blocks of cells.

use std::cell::Cell;

use kinds::Tree;
use kinds::duration::{human_age, human_age_lasts};
use kinds::tree::json;

/// The time of a request, in seconds since 1970. It records until when the ages that were computed
/// from it stay the same.
pub(super) struct AgeClock {
    now: i64,
    until: Cell<i64>,
}

impl AgeClock {
    pub(super) fn at(now: i64) -> Self {
        Self {
            now,
            until: Cell::new(i64::MAX),
        }
    }

    /// Returns the age of `then`, as kubectl prints it.
    pub(super) fn age(&self, then: i64) -> String {
        let seconds = self.now.saturating_sub(then);
        self.until.set(
            self.until
                .get()
                .min(self.now.saturating_add(human_age_lasts(seconds))),
        );
        human_age(seconds)
    }

    /// Returns the first second in which one of the computed ages can change.
    pub(super) fn until(&self) -> i64 {
        self.until.get()
    }
}

/// Returns the string at a path, or an empty one.
pub(super) fn text<'a>(object: &'a Tree, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Tree::as_str)
        .unwrap_or_default()
}

/// Returns the string at a path, or `default` if it is empty.
pub(super) fn text_or(object: &Tree, pointer: &str, nothing: &str) -> Tree {
    let found = text(object, pointer);
    json!(if found.is_empty() { nothing } else { found })
}

/// Returns the integer at a path, or 0.
pub(super) fn number(object: &Tree, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Tree::as_i64)
        .unwrap_or_default()
}

/// Returns the items of the list at a path.
pub(super) fn items<'a>(object: &'a Tree, pointer: &str) -> &'a [Tree] {
    object
        .pointer(pointer)
        .and_then(Tree::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Returns the number of members at a path.
pub(super) fn members(object: &Tree, pointer: &str) -> usize {
    object
        .pointer(pointer)
        .and_then(Tree::as_object)
        .map_or(0, kinds::tree::Map::len)
}

/// Parses a time into seconds since 1970.
pub(super) fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_second)
}

/// Returns the age of the time at a path.
pub(super) fn since(object: &Tree, pointer: &str, now: &AgeClock) -> String {
    seconds(text(object, pointer)).map_or_else(|| "<unknown>".to_owned(), |then| now.age(then))
}

/// Returns the name of an object.
pub(super) fn name(object: &Tree) -> Tree {
    json!(text(object, "/metadata/name"))
}

/// Returns the age of an object.
pub(super) fn age(object: &Tree, now: &AgeClock) -> Tree {
    json!(since(object, "/metadata/creationTimestamp", now))
}

/// Joins strings with commas; `<none>` without any.
pub(super) fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> Tree {
    let texts: Vec<&str> = texts.into_iter().collect();
    json!(if texts.is_empty() {
        "<none>".to_owned()
    } else {
        texts.join(",")
    })
}

/// Joins at most `most` strings, followed by the number of the others.
pub(super) fn some(texts: &[String], most: usize) -> String {
    match texts.len() {
        0 => "<none>".to_owned(),
        count if count > most => format!("{} + {} more...", texts[..most].join(","), count - most),
        _ => texts.join(","),
    }
}

/// Renders a map as `a=b,c=d`; `<none>` if it is empty.
pub(super) fn pairs(object: &Tree, pointer: &str) -> Tree {
    let found = object.pointer(pointer).and_then(Tree::as_object);
    let texts: Vec<String> = found
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    joined(texts.iter().map(String::as_str))
}

/// Returns the names and images of the containers of a template.
pub(super) fn containers(object: &Tree, pointer: &str) -> [Tree; 2] {
    let containers = items(object, pointer);
    let part = |member: &'static str| {
        let texts: Vec<&str> = containers
            .iter()
            .map(|container| container[member].as_str().unwrap_or_default())
            .collect();
        json!(texts.join(","))
    };
    [part("name"), part("image")]
}

/// Renders a label selector as kubectl does: `a=b,c in (x,y)`, `<none>` or `<invalid>`.
pub(super) fn selector(object: &Tree, pointer: &str) -> Tree {
    json!(kinds::selector::formatted(
        object.pointer(pointer).unwrap_or(&Tree::Null)
    ))
}

/// Returns the condition of a type.
pub(super) fn condition<'a>(object: &'a Tree, kind: &str) -> Option<&'a Tree> {
    items(object, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == kind)
}
