//! A histogram of durations in the Prometheus text format, made of atomic counters without a lock.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A histogram of durations with fixed buckets.
#[derive(Debug)]
pub(super) struct Histogram {
    /// The upper bound of each bucket in milliseconds, in ascending order, with the number of
    /// durations above the previous bound and at most this one.
    buckets: Vec<(u32, AtomicU64)>,
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Creates an empty histogram. `bounds_ms` are the upper bounds of the buckets in milliseconds,
    /// in ascending order.
    pub(super) fn new(bounds_ms: &[u32]) -> Self {
        let buckets = bounds_ms
            .iter()
            .map(|&bound| (bound, AtomicU64::new(0)))
            .collect();
        Self {
            buckets,
            count: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Counts one duration.
    pub(super) fn observe(&self, took: Duration) {
        if let Some((_, below)) = self
            .buckets
            .iter()
            .find(|(bound, _)| took <= Duration::from_millis(u64::from(*bound)))
        {
            below.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// Appends the histogram to `out`, with its bounds and sum in seconds.
    pub(super) fn render(&self, out: &mut String, name: &str, help: &str) -> std::fmt::Result {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram")?;
        let mut below = 0;
        for (bound, count) in &self.buckets {
            below += count.load(Ordering::Relaxed);
            writeln!(
                out,
                "{name}_bucket{{le=\"{}\"}} {below}",
                f64::from(*bound) / 1000.0
            )?;
        }
        // A concurrent `observe` may have incremented only its bucket so far. The last bucket must
        // not be lower than the one before it.
        let count = self.count.load(Ordering::Relaxed).max(below);
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        writeln!(
            out,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let histogram = Histogram::new(&[10, 1000]);
        for took in [10, 11, 2000] {
            histogram.observe(Duration::from_millis(took));
        }
        let mut out = String::new();
        histogram
            .render(&mut out, "x", "y")
            .expect("writing to a String cannot fail");
        let expected = "# HELP x y\n# TYPE x histogram\nx_bucket{le=\"0.01\"} 1\n\
            x_bucket{le=\"1\"} 2\nx_bucket{le=\"+Inf\"} 3\nx_sum 2.021\nx_count 3\n";
        assert_eq!(out, expected);
    }
}
