//! The delay between readiness changes and the status of their budget. Pure.
//!
//! Pods become unready one after the other, and then ready again. The number of healthy pods in a
//! status therefore says how many of the changes it counts, also when it counts several at once.

use std::time::Duration;

use tokio::time::Instant;

/// The changes and status updates of one budget.
#[derive(Debug, Default)]
pub(super) struct LagTracker {
    falling: bool,
    /// Healthy pods in the latest status.
    healthy: i64,
    /// The number of healthy pods after each acknowledged change that no status counts yet, and
    /// when the change was acknowledged.
    awaited: Vec<(i64, Instant)>,
    lags: Vec<Duration>,
}

impl LagTracker {
    /// Returns the number of healthy pods in the latest status.
    pub(super) fn healthy(&self) -> i64 {
        self.healthy
    }

    /// Sets whether the following changes make pods unready or ready.
    pub(super) fn set_falling(&mut self, falling: bool) {
        self.falling = falling;
    }

    /// Records that the server acknowledged a change which leads to this number.
    pub(super) fn change_acknowledged(&mut self, healthy: i64, now: Instant) {
        if self.is_reached(healthy) {
            // The watch event arrived before the response.
            self.lags.push(Duration::ZERO);
        } else {
            self.awaited.push((healthy, now));
        }
    }

    /// Records a status with this number.
    pub(super) fn status_observed(&mut self, healthy: i64, now: Instant) {
        self.healthy = healthy;
        for (awaited, since) in std::mem::take(&mut self.awaited) {
            if self.is_reached(awaited) {
                self.lags.push(now.saturating_duration_since(since));
            } else {
                self.awaited.push((awaited, since));
            }
        }
    }

    fn is_reached(&self, healthy: i64) -> bool {
        if self.falling {
            self.healthy <= healthy
        } else {
            self.healthy >= healthy
        }
    }

    /// Returns whether the latest status counts all changes.
    pub(super) fn is_settled(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Returns the delays recorded so far and forgets them.
    pub(super) fn take_lags(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.lags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_ends_the_delay_of_all_changes_that_it_counts() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut lags = LagTracker::default();
        lags.status_observed(3, at(0));
        lags.set_falling(true);
        lags.change_acknowledged(2, at(1));
        lags.change_acknowledged(1, at(2));
        lags.status_observed(2, at(4));
        lags.status_observed(1, at(5));
        lags.change_acknowledged(1, at(6));
        assert!(lags.is_settled());
        lags.set_falling(false);
        lags.change_acknowledged(2, at(7));
        assert!(!lags.is_settled());
        lags.status_observed(3, at(9));
        let millis: Vec<u128> = lags.take_lags().iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [3, 3, 0, 2]);
    }
}
