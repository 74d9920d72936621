//! Durations: Go's notation in parameters and flags (`1h2m`), and the short ages of tables
//! (`3d4h`).

/// Why a string is not a duration. The messages are those of Go's `time.ParseDuration`, which
/// clients of the API see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The string is not a sequence of numbers with units, or the duration is out of range.
    #[error("time: invalid duration {0}")]
    Invalid(String),
    /// A number has no unit.
    #[error("time: missing unit in duration {0}")]
    MissingUnit(String),
    /// The characters after a number are not a unit.
    #[error("time: unknown unit {unit} in duration {text}")]
    UnknownUnit {
        /// The unit, quoted.
        unit: String,
        /// The whole string, quoted.
        text: String,
    },
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("h", 3600 * NANOS_PER_SECOND),
];

/// Parses Go's notation of a duration (`300ms`, `-1.5h`, `2h45m`) and returns nanoseconds.
///
/// # Errors
/// For an invalid duration, and for one of more than 292 years, which Go cannot hold either.
pub fn parse_nanos(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(crate::status::quoted(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // The only number that needs no unit.
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after_fraction) = after.strip_prefix('.').map_or(("", after), split_digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after_fraction
            .find(|character: char| character == '.' || character.is_ascii_digit())
            .unwrap_or(after_fraction.len());
        let (unit, next) = after_fraction.split_at(end);
        total += term(text, whole, fraction, unit)?;
        // A term is at most 2^63 and the sum of the terms before it is checked, so that this
        // addition cannot overflow.
        if total > i128::from(i64::MAX) + i128::from(negative) {
            return Err(invalid());
        }
        // Units may come in any order and repeat, as in Go: `1s1h1s`.
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// Parses one number with its unit and returns nanoseconds.
fn term(text: &str, whole: &str, fraction: &str, unit: &str) -> Result<i128, DurationError> {
    let quoted = || crate::status::quoted(text);
    if unit.is_empty() {
        return Err(DurationError::MissingUnit(quoted()));
    }
    let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(DurationError::UnknownUnit {
            unit: crate::status::quoted(unit),
            text: quoted(),
        });
    };
    let limit = i128::from(i64::MAX) + 1;
    let units: i128 = if whole.is_empty() {
        0
    } else {
        whole
            .parse()
            .map_err(|_| DurationError::Invalid(quoted()))?
    };
    let nanos = i128::from(*nanos);
    let value = units
        .checked_mul(nanos)
        .filter(|value| *value <= limit)
        .ok_or_else(|| DurationError::Invalid(quoted()))?;
    // Go drops digits below a nanosecond. 18 digits are more than an hour has nanoseconds.
    let digits = &fraction[..fraction.len().min(18)];
    let part = if digits.is_empty() {
        0
    } else {
        digits.parse::<i128>().unwrap_or(0)
    };
    let scale = u32::try_from(digits.len())
        .ok()
        .map_or(1, |count| 10_i128.pow(count));
    Ok(value + part * nanos / scale)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.bytes()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// Formats an age as kubectl's tables do: with two units while the second one matters, else with
/// one. An age of less than -1 seconds is `<invalid>`.
#[must_use]
pub fn human_age(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => two(days, 'd', hours % 24, 'h'),
        () if years < 2 => format!("{days}d"),
        () if years < 8 => two(years, 'y', days % 365, 'd'),
        () => format!("{years}y"),
    }
}

/// Returns for how many more seconds [`human_age`] formats this age in the same way, at least. A
/// cached table cell is valid that long.
#[must_use]
pub fn human_age_lasts(seconds: i64) -> i64 {
    let step = match seconds {
        ..600 => 1,
        600..28_800 => 60,
        28_800..691_200 => 3_600,
        _ => 86_400,
    };
    step - seconds.rem_euclid(step)
}

fn two(large: i64, large_unit: char, small: i64, small_unit: char) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit}{small}{small_unit}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ages_are_short() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        let table = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 60, "3h1m"),
            (8 * HOUR, "8h"),
            (48 * HOUR - 1, "47h"),
            (48 * HOUR, "2d"),
            (2 * DAY + 5 * HOUR, "2d5h"),
            (8 * DAY, "8d"),
            (2 * 365 * DAY - 1, "729d"),
            (2 * 365 * DAY, "2y"),
            (2 * 365 * DAY + 3 * DAY, "2y3d"),
            (8 * 365 * DAY + DAY, "8y"),
        ];
        for (seconds, shown) in table {
            assert_eq!(human_age(seconds), shown, "{seconds}");
        }
    }

    #[test]
    fn an_age_is_formatted_alike_for_as_long_as_promised() {
        let mut seconds = -5;
        while seconds < 9 * 365 * 86_400 {
            let lasts = human_age_lasts(seconds);
            assert_eq!(
                human_age(seconds),
                human_age(seconds + lasts - 1),
                "{seconds}"
            );
            seconds += lasts.max(seconds / 50);
        }
    }

    #[test]
    fn go_durations_are_parsed() {
        let table = [
            ("0", 0),
            ("1h2m", 3_720_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("300ms", 300_000_000),
            ("1µs", 1000),
            (".5s", 500_000_000),
            ("1.s", NANOS_PER_SECOND),
            ("+5s", 5 * NANOS_PER_SECOND),
            ("0.1234567891234567891234s", 123_456_789),
        ];
        for (text, nanos) in table {
            assert_eq!(parse_nanos(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn invalid_durations_are_rejected_with_the_messages_of_go() {
        let table = [
            ("", r#"time: invalid duration """#),
            ("-", r#"time: invalid duration "-""#),
            ("x", r#"time: invalid duration "x""#),
            ("3000000h", r#"time: invalid duration "3000000h""#),
            ("30", r#"time: missing unit in duration "30""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
        ];
        for (text, message) in table {
            assert_eq!(parse_nanos(text).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(
            text in "[-+]?([0-9]{0,40}[.]?[0-9]{0,30}(ns|us|µs|ms|s|m|h|d|)){0,3}|.{0,8}") {
            let _ = parse_nanos(&text);
        }
    }
}
