//! The differences between two documents as readable lines.

use serde_json::Value;

/// Returns the differences. The order of lists and every field matter.
pub(super) fn differences(want: &Value, got: &Value, at: &str) -> Vec<String> {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            let mut names: Vec<&String> = want.keys().chain(got.keys()).collect();
            names.sort();
            names.dedup();
            let one = |name: &String| match (want.get(name), got.get(name)) {
                (Some(want), None) => vec![format!("{at}.{name}: missing, want {}", short(want))],
                (None, Some(got)) => vec![format!("{at}.{name}: unexpected {}", short(got))],
                (Some(want), Some(got)) => differences(want, got, &format!("{at}.{name}")),
                (None, None) => Vec::new(),
            };
            names.into_iter().flat_map(one).collect()
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => want
            .iter()
            .zip(got)
            .enumerate()
            .flat_map(|(place, (want, got))| differences(want, got, &format!("{at}[{place}]")))
            .collect(),
        (Value::Number(want), Value::Number(got)) if want.as_f64() == got.as_f64() => Vec::new(),
        (want, got) if want == got => Vec::new(),
        (want, got) => vec![format!(
            "{}: want {} got {}",
            if at.is_empty() { "." } else { at },
            short(want),
            short(got)
        )],
    }
}

/// Formats a value in at most one line.
pub(super) fn short(value: &Value) -> String {
    const LENGTH: usize = 200;
    let text = value.to_string();
    if text.chars().count() <= LENGTH {
        text
    } else {
        text.chars().take(LENGTH).chain(['…']).collect()
    }
}
