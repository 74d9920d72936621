//! Durations in flags, in Go's notation: `1h30m`, `90s`, `1.5s`, `300ms`, `0`.

use std::time::Duration;

/// One year. A longer duration is a typing error.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Parses a duration with units; a bare `0` needs none.
///
/// # Errors
/// For an invalid or negative duration, and for one of more than a year.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let nanos = kinds::duration::parse_nanos(text)
        .map_err(|_| "expected a duration with a unit, like 90s, 5m or 1h30m".to_owned())?;
    let nanos = u64::try_from(nanos).map_err(|_| "expected a duration of 0 or more".to_owned())?;
    at_most_a_year(Duration::from_nanos(nanos))
}

/// Parses a duration with units, or a bare number of seconds, as `--request-timeout` accepts it.
///
/// # Errors
/// For an invalid or negative duration, and for one of more than a year.
pub(super) fn parse_or_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => at_most_a_year(Duration::from_secs(seconds)),
        Err(_) => parse(text),
    }
}

fn at_most_a_year(duration: Duration) -> Result<Duration, String> {
    if duration > LONGEST {
        return Err("expected a duration of at most one year".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_parsed() {
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
        for text in ["", "5", "-1s", "s", "1x", "1.2.3s", "9999h", "1 s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse_or_seconds("5"), Ok(Duration::from_secs(5)));
        assert!(parse_or_seconds("31536001").is_err());
    }
}
