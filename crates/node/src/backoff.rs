//! Growing pauses after failures, in the project's own time and randomness.

use std::time::Duration;

use clock::Entropy;
use kube::runtime::utils::Backoff;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses of 0.5 s, 1 s, 2 s … 10 s, each lengthened a little at random, so that many agents do
/// not come back at the same moment.
#[derive(Clone, Debug)]
pub(crate) struct Pauses {
    entropy: Entropy,
    next: Duration,
}

impl Pauses {
    pub(crate) fn new(entropy: Entropy) -> Self {
        Self {
            entropy,
            next: FIRST,
        }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.entropy.jitter(self.next, 0.2);
        self.next = (self.next * 2).min(LONGEST);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.next = FIRST;
    }
}
