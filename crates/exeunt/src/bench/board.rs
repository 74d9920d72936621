//! What is known of one budget: which number of healthy pods was shown last, and which numbers are
//! waited for. Pure.
//!
//! Pods become unready one after the other, and then ready again, so that a number that is shown
//! says how many of the changes were counted, also when several are counted together.

use std::time::Duration;

use tokio::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Board {
    falling: bool,
    shown: i64,
    /// The numbers that acknowledged changes lead to, and when they were acknowledged.
    awaited: Vec<(i64, Instant)>,
    lags: Vec<Duration>,
}

impl Board {
    /// The number that was shown last.
    pub(super) fn shown(&self) -> i64 {
        self.shown
    }

    /// From now on the numbers fall, or rise.
    pub(super) fn turn(&mut self, falling: bool) {
        self.falling = falling;
    }

    /// A change was acknowledged that leads to this number.
    pub(super) fn acknowledged(&mut self, healthy: i64, now: Instant) {
        if self.is_reached(healthy) {
            // The watcher was faster than the answer.
            self.lags.push(Duration::ZERO);
        } else {
            self.awaited.push((healthy, now));
        }
    }

    /// A status shows this number.
    pub(super) fn show(&mut self, healthy: i64, now: Instant) {
        self.shown = healthy;
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
            self.shown <= healthy
        } else {
            self.shown >= healthy
        }
    }

    /// Nothing is waited for.
    pub(super) fn is_even(&self) -> bool {
        self.awaited.is_empty()
    }

    /// The lags up to now.
    pub(super) fn take_lags(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.lags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_answers_all_changes_that_it_counts() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut board = Board::default();
        board.show(3, at(0));
        board.turn(true);
        board.acknowledged(2, at(1));
        board.acknowledged(1, at(2));
        board.show(2, at(4));
        board.show(1, at(5));
        board.acknowledged(1, at(6));
        assert!(board.is_even());
        board.turn(false);
        board.acknowledged(2, at(7));
        assert!(!board.is_even());
        board.show(3, at(9));
        let lags: Vec<u128> = board.take_lags().iter().map(Duration::as_millis).collect();
        assert_eq!(lags, [3, 3, 0, 2]);
    }
}
