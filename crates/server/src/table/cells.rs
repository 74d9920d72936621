//! Small pieces that cells are made of.

use std::cell::Cell;

use kinds::Tree;
use kinds::duration::{human_age, human_age_lasts};
use kinds::tree::json;

/// The present time, in seconds since 1970. It remembers until when the ages that were read off it
/// stay true.
pub(super) struct Moment {
    now: i64,
    until: Cell<i64>,
}

impl Moment {
    pub(super) fn at(now: i64) -> Self {
        Self {
            now,
            until: Cell::new(i64::MAX),
        }
    }

    /// How long ago that was.
    pub(super) fn age(&self, then: i64) -> String {
        let seconds = self.now.saturating_sub(then);
        self.until.set(
            self.until
                .get()
                .min(self.now.saturating_add(human_age_lasts(seconds))),
        );
        human_age(seconds)
    }

    /// The first second in which an age that was asked for may be another.
    pub(super) fn until(&self) -> i64 {
        self.until.get()
    }
}

/// The text at a path, or nothing.
pub(super) fn text<'a>(object: &'a Tree, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Tree::as_str)
        .unwrap_or_default()
}

/// The text at a path, or what stands for nothing.
pub(super) fn text_or(object: &Tree, pointer: &str, nothing: &str) -> Tree {
    let found = text(object, pointer);
    json!(if found.is_empty() { nothing } else { found })
}

/// The whole number at a path; 0 when there is none.
pub(super) fn number(object: &Tree, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Tree::as_i64)
        .unwrap_or_default()
}

/// The items at a path.
pub(super) fn items<'a>(object: &'a Tree, pointer: &str) -> &'a [Tree] {
    object
        .pointer(pointer)
        .and_then(Tree::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The number of members at a path.
pub(super) fn members(object: &Tree, pointer: &str) -> usize {
    object
        .pointer(pointer)
        .and_then(Tree::as_object)
        .map_or(0, kinds::tree::Map::len)
}

/// A time in seconds since 1970.
pub(super) fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_second)
}

/// How long ago the time at a path was.
pub(super) fn since(object: &Tree, pointer: &str, now: &Moment) -> String {
    seconds(text(object, pointer)).map_or_else(|| "<unknown>".to_owned(), |then| now.age(then))
}

/// The object's name.
pub(super) fn name(object: &Tree) -> Tree {
    json!(text(object, "/metadata/name"))
}

/// The object's age.
pub(super) fn age(object: &Tree, now: &Moment) -> Tree {
    json!(since(object, "/metadata/creationTimestamp", now))
}

/// The texts, or `<none>`.
pub(super) fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> Tree {
    let texts: Vec<&str> = texts.into_iter().collect();
    json!(if texts.is_empty() {
        "<none>".to_owned()
    } else {
        texts.join(",")
    })
}

/// At most `most` texts, and how many more there are.
pub(super) fn some(texts: &[String], most: usize) -> String {
    match texts.len() {
        0 => "<none>".to_owned(),
        count if count > most => format!("{} + {} more...", texts[..most].join(","), count - most),
        _ => texts.join(","),
    }
}

/// A map as `a=b,c=d`, or `<none>`.
pub(super) fn pairs(object: &Tree, pointer: &str) -> Tree {
    let found = object.pointer(pointer).and_then(Tree::as_object);
    let texts: Vec<String> = found
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    joined(texts.iter().map(String::as_str))
}

/// Names and images of a template's containers.
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

/// A label selector as kubectl shows it: `a=b,c in (x,y)`, `<none>` or `<invalid>`.
pub(super) fn selector(object: &Tree, pointer: &str) -> Tree {
    json!(kinds::selector::formatted(
        object.pointer(pointer).unwrap_or(&Tree::Null)
    ))
}

/// The condition of this type.
pub(super) fn condition<'a>(object: &'a Tree, kind: &str) -> Option<&'a Tree> {
    items(object, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == kind)
}
