//! Percentiles of durations, and the processor time of this process.

use std::fmt;
use std::time::Duration;

/// Durations, formatted as their percentiles.
#[derive(Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn extend(&mut self, more: impl IntoIterator<Item = Duration>) {
        self.0.extend(more);
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let Some(last) = sorted.len().checked_sub(1) else {
            return out.write_str("none");
        };
        let millis = |thousandths: usize| sorted[last * thousandths / 1000].as_secs_f64() * 1e3;
        write!(
            out,
            "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            millis(500),
            millis(990),
            millis(999),
            millis(1000)
        )
    }
}

/// Returns the user and system time of this process, in steps of 10 ms; zero where `/proc` does not
/// exist.
pub(super) fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_formatted_as_their_percentiles() {
        let mut times = Latencies::default();
        assert_eq!(times.to_string(), "none");
        times.extend((0..=1000).map(Duration::from_millis));
        assert_eq!(
            times.to_string(),
            "p50 500.00 ms, p99 990.00 ms, p99.9 999.00 ms, max 1000.00 ms"
        );
    }
}
