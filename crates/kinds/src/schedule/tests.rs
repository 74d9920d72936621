//! Tables of schedules, and a comparison with a search minute by minute.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn valid_schedules_parse_and_invalid_ones_name_the_fault() {
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
fn next_returns_successive_times() {
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
fn schedules_follow_the_clock_of_their_time_zone() {
    check(
        "0 9 * * *",
        "Asia/Tokyo",
        "2026-01-01T00:00:00Z",
        &["2026-01-02T00:00:00Z"],
    );
    // 02:30 does not exist on the last Sunday in March.
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-28T12:00:00Z",
        &["2026-03-30T00:30:00Z"],
    );
    // 02:30 occurs twice on the last Sunday in October.
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

/// A field of a schedule: its text, and the values that it stands for.
#[derive(Clone, Debug)]
struct ModelField {
    text: String,
    values: BTreeSet<i8>,
    /// True for `*`, which leaves days to the other field of days.
    is_star: bool,
}

impl ModelField {
    fn of(text: String, values: impl IntoIterator<Item = i8>) -> Self {
        Self {
            text,
            values: values.into_iter().collect(),
            is_star: false,
        }
    }
}

fn any_field(least: i8, most: i8) -> impl Strategy<Value = ModelField> {
    let star = Just(ModelField {
        is_star: true,
        ..ModelField::of("*".to_owned(), least..=most)
    });
    let stepped = (2..=most).prop_map(move |step| {
        let values = (least..=most).step_by(usize::try_from(step).expect("positive"));
        ModelField::of(format!("*/{step}"), values)
    });
    let range = (least..=most, least..=most, 1..=4_i8).prop_map(|(one, other, step)| {
        let (first, last) = (one.min(other), one.max(other));
        let values = (first..=last).step_by(usize::try_from(step).expect("positive"));
        ModelField::of(format!("{first}-{last}/{step}"), values)
    });
    let single = (least..=most).prop_map(|value| ModelField::of(value.to_string(), [value]));
    let part = prop_oneof![range, single];
    let list = prop::collection::vec(part, 1..4).prop_map(|parts| {
        let texts: Vec<String> = parts.iter().map(|part| part.text.clone()).collect();
        ModelField::of(
            texts.join(","),
            parts.into_iter().flat_map(|part| part.values),
        )
    });
    prop_oneof![2 => star, 1 => stepped, 2 => list]
}

/// Zones with ordinary and odd changes: one by half an hour, one that skips a day, one without any.
const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kolkata",
];

/// Changes of the clock in these zones, the end of a year, and a leap day.
const EVENTFUL: [&str; 9] = [
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-03-08T07:00:00Z",
    "2026-11-01T06:00:00Z",
    "2026-04-04T15:00:00Z",
    "2026-10-03T15:30:00Z",
    "2011-12-30T10:00:00Z",
    "2025-12-31T23:59:00Z",
    "2028-02-29T12:00:00Z",
];

/// How far the model searches: a later time is not compared exactly.
const WINDOW_MINUTES: i64 = 4 * 24 * 60;

proptest! {
    #[test]
    fn next_agrees_with_a_search_minute_by_minute(
        minutes in any_field(0, 59),
        hours in any_field(0, 23),
        days in any_field(1, 31),
        months in any_field(1, 12),
        weekdays in any_field(0, 6),
        zone in prop::sample::select(&ZONES[..]),
        near in prop::sample::select(&EVENTFUL[..]),
        offset in -2 * 86_400..86_400_i64,
    ) {
        let text = [&minutes, &hours, &days, &months, &weekdays].map(|field| field.text.as_str());
        let schedule = Schedule::parse(&text.join(" ")).expect("valid");
        let zone = time_zone(zone).expect("known");
        let near: Timestamp = near.parse().expect("a time");
        let after = near.saturating_add(SignedDuration::from_secs(offset)).expect("in range");
        let matches = |second: &i64| {
            let here = Timestamp::from_second(*second).expect("in range").to_zoned(zone.clone());
            let day = days.values.contains(&here.day());
            let weekday = weekdays.values.contains(&here.weekday().to_sunday_zero_offset());
            let is_day = if days.is_star || weekdays.is_star { day && weekday } else {
                day || weekday };
            is_day
                && minutes.values.contains(&here.minute())
                && hours.values.contains(&here.hour())
                && months.values.contains(&here.month())
        };
        let first = (after.as_second().div_euclid(60) + 1) * 60;
        let expected = (0..WINDOW_MINUTES).map(|minute| first + 60 * minute).find(matches);
        let found = schedule.next(&after, &zone).map(Timestamp::as_second);
        match expected {
            Some(_) => prop_assert_eq!(found, expected, "{} after {}", text.join(" "), after),
            None => prop_assert!(
                found.is_none_or(|found| found >= first + 60 * WINDOW_MINUTES),
                "{} after {}: {:?}", text.join(" "), after, found
            ),
        }
    }

    #[test]
    fn parsing_never_panics(text in "(@every |TZ=[A-Z]{0,3} )?[-*/,0-9a-z? ]{0,24}|.{0,12}") {
        let _ = Schedule::parse(&text);
    }
}
