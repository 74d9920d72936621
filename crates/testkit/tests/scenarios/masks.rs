//! Masks output that differs between runs for reasons that no scenario is about, such as generated
//! names, which depend on the order of all requests.

use regex::{Captures, Regex};

/// Replaces the generated suffixes of the names of a Deployment's pods, in the order in which the
/// names appear: `web-6d4f9c7b8-x2x7q` becomes `web-(a)`.
pub(crate) fn generated_names(text: &str) -> String {
    let name = Regex::new(
        r"\b([a-z][a-z0-9-]*?)-((?:[0-9a-z]{8,10}-)?[bcdfghjklmnpqrstvwxz2456789]{5})\b",
    )
    .expect("a pattern");
    let mut seen: Vec<String> = Vec::new();
    let named = name.replace_all(text, |found: &Captures<'_>| {
        let end = found[2].to_owned();
        let place = seen
            .iter()
            .position(|known| *known == end)
            .unwrap_or_else(|| {
                seen.push(end);
                seen.len() - 1
            });
        let suffix = char::from(b'a' + u8::try_from(place % 26).unwrap_or_default());
        format!("{}-({suffix})", &found[1])
    });
    named.into_owned()
}

/// Events of the same time have no order, so they are sorted by this one.
const ORDER: [&str; 6] = [
    "cordoned", "started", "asked", "refused", "accepted", "gone",
];

/// Sorts consecutive lines of the same time (`   7.0  gone default/web-0`).
pub(crate) fn same_moments(text: &str) -> String {
    let moment = |line: &str| {
        line.trim_start()
            .split_once("  ")
            .filter(|(time, _)| time.parse::<f64>().is_ok())
            .map(|(time, _)| time.to_owned())
    };
    let rank = |line: &str| {
        let verb = line.split_whitespace().nth(1).unwrap_or_default();
        ORDER
            .iter()
            .position(|known| *known == verb)
            .unwrap_or(ORDER.len())
    };
    let mut lines: Vec<&str> = text.lines().collect();
    for group in
        lines.chunk_by_mut(|one, other| moment(one).is_some() && moment(one) == moment(other))
    {
        group.sort_by_key(|line| (rank(line), *line));
    }
    lines.join("\n") + "\n"
}

#[test]
fn a_name_gets_the_same_suffix_everywhere() {
    let text = "web-6d4f9c7b8-x2x7q waits for web-6d4f9c7b8-bbbbb; web-6d4f9c7b8-x2x7q is ready; db-0 and node-1 too";
    assert_eq!(
        generated_names(text),
        "web-(a) waits for web-(b); web-(a) is ready; db-0 and node-1 too"
    );
}
