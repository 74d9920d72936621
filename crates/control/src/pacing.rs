//! How fast controllers create pods.
//!
//! A mistyped number of replicas must not fill the memory of the server before anybody notices, and
//! must not keep it from answering others. All controllers share one token bucket. Owners that miss
//! a few pods never wait: they are what an eviction leaves behind, and large ones must not hold
//! them up.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Pods that an owner may miss without waiting for its turn.
const SMALL: usize = 16;
/// Time after which an owner that got nothing asks again.
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The token bucket. A token is the creation of a pod.
#[derive(Debug)]
pub(crate) struct PodPace {
    per_second: f64,
    burst: f64,
    state: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl PodPace {
    /// Returns a full bucket.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: f64::from(per_second),
            burst: f64::from(burst),
            state: Mutex::new(Bucket {
                tokens: f64::from(burst),
                at: Instant::now(),
            }),
        }
    }

    /// Returns how many of the pods that an owner misses may be created now.
    pub(crate) fn grant(&self, missing: usize) -> usize {
        let mut bucket = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let refill = now.duration_since(bucket.at).as_secs_f64() * self.per_second;
        bucket.tokens = (bucket.tokens + refill).min(self.burst);
        bucket.at = now;
        let granted = if missing <= SMALL {
            missing
        } else {
            missing.min(whole(bucket.tokens))
        };
        // What small owners get is owed by the large ones, which wait longer for it.
        bucket.tokens = (bucket.tokens - pods(granted)).max(-self.burst);
        granted
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is between zero and the burst, which is a u32"
)]
fn whole(tokens: f64) -> usize {
    tokens.max(0.0) as usize
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a reconciliation asks for a few hundred"
)]
fn pods(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn large_owners_get_the_burst_and_then_the_rate() {
        let pace = PodPace::new(100, 1_000);
        assert_eq!(
            [pace.grant(500), pace.grant(600), pace.grant(500)],
            [500, 500, 0]
        );
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!([pace.grant(500), pace.grant(500)], [200, 0]);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(pace.grant(5_000), 1_000, "it saves no more than the burst");
    }

    #[tokio::test(start_paused = true)]
    async fn small_owners_do_not_wait_for_large_ones() {
        let pace = PodPace::new(100, 1_000);
        pace.grant(5_000);
        assert_eq!([pace.grant(16), pace.grant(1), pace.grant(17)], [16, 1, 0]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.grant(500), 83, "it pays for what they got");
    }
}
