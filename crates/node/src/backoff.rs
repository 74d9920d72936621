//! Growing pauses between retries of a failed request.
//!
//! kube's own back-off reads the clock and the randomness of the machine. This one takes its
//! randomness from [`Entropy`], so that runs in virtual time can be repeated.

use std::time::Duration;

use clock::Entropy;
use kube::runtime::utils::Backoff;

/// The pause before the first retry.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause, before jitter.
const MAX: Duration = Duration::from_secs(10);

/// Waits of 0.5 s, 1 s, 2 s … 10 s, each lengthened a little at random, so that many
/// agents do not come back at the same moment.
#[derive(Clone, Debug)]
pub(crate) struct RequestBackoff {
    entropy: Entropy,
    next: Duration,
}

impl RequestBackoff {
    pub(crate) fn new(entropy: Entropy) -> Self {
        Self {
            entropy,
            next: FIRST,
        }
    }
}

impl Iterator for RequestBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.entropy.jitter(self.next, 0.2);
        self.next = (self.next * 2).min(MAX);
        Some(pause)
    }
}

impl Backoff for RequestBackoff {
    fn reset(&mut self) {
        self.next = FIRST;
    }
}
