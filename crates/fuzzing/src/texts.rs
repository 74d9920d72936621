//! Schedules of CronJobs, and kubeconfig files.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kinds::schedule::{Schedule, time_zone};
use kube::config::Kubeconfig;

/// How many times of a schedule are looked at.
const TIMES: usize = 4;

/// A schedule, and after a line break the name of a time zone. The properties: each time is later
/// than the one before, and a schedule that is parsed again fires at the same times.
pub fn cron(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (schedule, zone) = text.split_once('\n').unwrap_or((&text, "UTC"));
    let zone = time_zone(zone).unwrap_or(TimeZone::UTC);
    let Ok(parsed) = Schedule::parse(schedule) else {
        return;
    };
    let again = Schedule::parse(schedule).unwrap_or_else(|error| panic!("{error}: {schedule}"));
    let mut time = Timestamp::UNIX_EPOCH;
    for _ in 0..TIMES {
        let next = parsed.next(&time, &zone);
        assert_eq!(next, again.next(&time, &zone), "{schedule}");
        let Some(next) = next else { break };
        assert!(next > time, "{schedule} fires at {next}, after {time}");
        time = next;
    }
}

/// A kubeconfig. Reading it fails with an error or gives a configuration that can be written and
/// read again.
pub fn kubeconfig(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(config) = Kubeconfig::from_yaml(&text) else {
        return;
    };
    let Ok(shown) = serde_json::to_string(&config) else {
        return;
    };
    let again = Kubeconfig::from_yaml(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
    assert_eq!(again.current_context, config.current_context);
    assert_eq!(again.clusters.len(), config.clusters.len());
    // Two files of different kinds cannot be merged, which is an error and no panic.
    let _ = again.merge(config);
}
