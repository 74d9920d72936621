//! Formats durations, counts and lists of names for people. Number agreement is decided here and
//! nowhere else: nouns by [`plural`], verbs and pronouns by [`verb_for`], names with their noun by
//! `NounPhrase`.

use std::borrow::Cow;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// Formats a duration in its largest sensible unit: `35 s`, `14 min`, `5 h`, `3 d`. Negative
/// durations are `0 s`.
pub(crate) fn span(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Returns text that stays on its line: line breaks, which messages of webhooks contain, are
/// shown as `\n` and `\r`.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\r']) {
        Cow::Owned(text.replace('\n', "\\n").replace('\r', "\\r"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Formats the distance between two times, in either direction.
pub(crate) fn between(now: Timestamp, then: Timestamp) -> String {
    span(now.duration_since(then).abs())
}

/// Formats ` for 5 min`, or nothing when `since` is unknown.
pub(crate) fn for_how_long(now: Timestamp, since: Option<Timestamp>) -> String {
    since
        .map(|since| format!(" for {}", between(now, since)))
        .unwrap_or_default()
}

/// Formats a count with its noun: `0 pods`, `1 pod`, `3 pods`. The only place that forms regular
/// plurals.
#[must_use]
pub fn plural(count: impl TryInto<usize>, noun: &str) -> String {
    let count = count.try_into().unwrap_or_default();
    format!("{count} {}", noun_for(count, noun))
}

/// Returns the noun in the number that the count requires, for sentences without the count.
#[must_use]
pub fn noun_for(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{noun}{ending}")
}

/// Returns the form of a verb or pronoun that agrees with the count: `verb_for(1, "is", "are")`.
#[must_use]
pub fn verb_for<'a>(count: impl TryInto<usize>, singular: &'a str, plural: &'a str) -> &'a str {
    if count.try_into().is_ok_and(|count| count == 1) {
        singular
    } else {
        plural
    }
}

/// Names with their noun, as the subject of a sentence: `Service a`, `Services a and b`, `Services
/// a, b and 3 more`, `no Service`.
#[derive(Clone, Debug)]
pub(crate) struct NounPhrase<'a> {
    noun: &'a str,
    names: Vec<&'a str>,
    most: usize,
}

impl<'a> NounPhrase<'a> {
    /// Takes the noun in the singular. At most `most` names are listed.
    pub(crate) fn new(
        noun: &'a str,
        names: impl IntoIterator<Item = &'a str>,
        most: usize,
    ) -> Self {
        Self {
            noun,
            names: names.into_iter().collect(),
            most,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the form of a verb or pronoun that agrees with the subject.
    pub(crate) fn agree<'v>(&self, singular: &'v str, plural: &'v str) -> &'v str {
        if self.names.len() > 1 {
            plural
        } else {
            singular
        }
    }
}

impl fmt::Display for NounPhrase<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(out, "no {}", self.noun);
        }
        let noun = noun_for(self.names.len(), self.noun);
        let names = listed(self.names.iter().copied(), self.most);
        write!(out, "{noun} {names}")
    }
}

/// Formats a list of names: `a`, `a and b`, `a, b and 3 more`. Names at most `most` of them.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [head @ .., last] if names.len() <= most => format!("{} and {last}", head.join(", ")),
        _ => format!(
            "{} and {} more",
            names[..most].join(", "),
            names.len() - most
        ),
    }
}

/// Returns the resource name of a kind as kubectl accepts it: `deployment` for `Deployment`.
pub(crate) fn resource(kind: &str) -> String {
    kind.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_one_unit_and_lists_are_bounded() {
        let seconds = [-5, 0, 119, 120, 7199, 7200, 172_799, 200_000];
        let spans: Vec<String> = seconds
            .into_iter()
            .map(|seconds| span(SignedDuration::from_secs(seconds)))
            .collect();
        assert_eq!(
            spans,
            [
                "0 s", "0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"
            ]
        );
        assert_eq!(listed(["a"], 2), "a");
        assert_eq!(listed(["a", "b"], 2), "a and b");
        assert_eq!(listed(["a", "b", "c", "d"], 2), "a, b and 2 more");
    }

    #[test]
    fn nouns_and_verbs_agree_with_their_count() {
        for (count, noun, verb) in [
            (0, "0 pods", "are"),
            (1, "1 pod", "is"),
            (2, "2 pods", "are"),
            (1000, "1000 pods", "are"),
        ] {
            assert_eq!(plural(count, "pod"), noun);
            assert_eq!(verb_for(count, "is", "are"), verb);
        }
        assert_eq!(plural(-1_i32, "pod"), "0 pods");
    }

    #[test]
    fn names_their_noun_and_their_verb_agree() {
        let names = ["a", "b", "c", "d", "e"];
        for (count, expected) in [
            (0, "no Service sends"),
            (1, "Service a sends"),
            (2, "Services a and b send"),
            (3, "Services a, b and c send"),
            (5, "Services a, b, c and 2 more send"),
        ] {
            let services = NounPhrase::new("Service", names.into_iter().take(count), 3);
            let verb = services.agree("sends", "send");
            assert_eq!(format!("{services} {verb}"), expected);
        }
    }
}
