//! Formats durations, counts and lists of names for people.

use std::borrow::Cow;

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

/// Formats a count with its noun: `1 pod`, `3 pods`. The only place that forms regular plurals.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {}", noun_for(count, noun))
}

/// Returns the noun in the number that the count requires, for sentences without the count.
pub(crate) fn noun_for(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{noun}{ending}")
}

/// Returns the form of a verb that agrees with the count: `verb_for(1, "is", "are")`.
pub(crate) fn verb_for<'a>(count: usize, singular: &'a str, plural: &'a str) -> &'a str {
    if count == 1 { singular } else { plural }
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
        assert_eq!([plural(0, "pod"), plural(1, "pod")], ["0 pods", "1 pod"]);
        assert_eq!(verb_for(1, "is", "are"), "is");
        assert_eq!(verb_for(2, "is", "are"), "are");
    }
}
