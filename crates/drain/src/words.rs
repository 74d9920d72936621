//! Durations, lists and names as people read them.

use jiff::{SignedDuration, Timestamp};

/// A time span in its largest sensible unit: `35 s`, `14 min`, `5 h`, `3 d`.
pub(crate) fn span(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long ago something was, or how long until it is.
pub(crate) fn between(now: Timestamp, then: Timestamp) -> String {
    span(now.duration_since(then).abs())
}

/// `1 pod`, `3 pods`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// `a`, `a and b`, `a, b and 3 more`: at most `most` of them by name.
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

/// The singular by which kubectl knows a kind of workload.
pub(crate) fn resource(kind: &str) -> String {
    kind.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_lists_are_short() {
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
}
