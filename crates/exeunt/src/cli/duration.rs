//! Spans of time as Go programs take them (`1h30m`, `90s`, `1.5s`, `300ms`, `0`).

use std::time::Duration;

const UNITS: [(&str, f64); 6] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
];
/// A year: longer spans are slips of the hand.
const LONGEST_SECONDS: f64 = 365.0 * 86400.0;

/// Parses a span with units; a bare `0` needs none.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write it like 90s, 5m or 1h30m");
    let mut rest = text;
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let after = &rest[digits..];
        let length = after
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(after.len());
        let unit = UNITS
            .iter()
            .find(|(unit, _)| *unit == &after[..length])
            .map(|(_, seconds)| *seconds);
        let unit = unit
            .or_else(|| (&after[..length] == "h").then_some(3600.0))
            .ok_or_else(wrong)?;
        seconds += number * unit;
        rest = &after[length..];
    }
    if seconds > LONGEST_SECONDS {
        return Err(format!("{text:?} is longer than a year"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// The same, where a bare number means seconds, as `--request-timeout` takes it.
pub(super) fn parse_or_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .or_else(|_| parse(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("1m0.5s", 60_500),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "5", "-1s", "s", "1x", "1.2.3s", "99999999h", "1 s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse_or_seconds("5"), Ok(Duration::from_secs(5)));
    }
}
