//! A token bucket over wall-clock time. Pure.

use jiff::Timestamp;

/// How many events may be emitted: `burst` at once, and `per_second` in the long run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Tokens that come back in a second.
    pub per_second: f64,
    /// Tokens that an unused bucket holds.
    pub burst: f64,
}

/// The tokens that are left of a [`RateLimit`].
#[derive(Debug)]
pub(crate) struct TokenBucket {
    limit: RateLimit,
    left: f64,
    refilled_at: Timestamp,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn full(limit: RateLimit, now: Timestamp) -> Self {
        Self {
            limit,
            left: limit.burst,
            refilled_at: now,
        }
    }

    /// Takes a token; false when none is left.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }

    /// True when the bucket behaves like a new one.
    pub(crate) fn is_full(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        self.left >= self.limit.burst
    }

    fn refill(&mut self, now: Timestamp) {
        // A wall clock that is set back must not take tokens away.
        let passed = now.duration_since(self.refilled_at).as_secs_f64().max(0.0);
        self.refilled_at = now;
        self.left = (self.left + passed * self.limit.per_second).min(self.limit.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a valid time")
    }

    #[test]
    fn a_bucket_allows_its_burst_and_then_its_rate() {
        let limit = RateLimit {
            per_second: 1.0 / 300.0,
            burst: 25.0,
        };
        let mut bucket = TokenBucket::full(limit, at(0));
        assert_eq!((0..40).filter(|_| bucket.take(at(0))).count(), 25);
        assert!(!bucket.take(at(299)));
        assert!(bucket.take(at(301)));
        assert!(!bucket.take(at(302)));
    }

    #[test]
    fn a_bucket_holds_no_more_than_its_burst_and_loses_nothing_when_the_clock_goes_back() {
        let limit = RateLimit {
            per_second: 10.0,
            burst: 2.0,
        };
        let mut bucket = TokenBucket::full(limit, at(100));
        assert!(bucket.take(at(100)));
        assert!(!bucket.is_full(at(100)));
        assert!(bucket.take(at(50)), "one token was left");
        assert!(bucket.is_full(at(1000)));
        assert_eq!((0..9).filter(|_| bucket.take(at(1000))).count(), 2);
    }
}
