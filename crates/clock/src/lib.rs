//! One clock and one source of randomness for everything that runs.
//!
//! Wall-clock time is derived from `tokio::time`. On a paused runtime the server, the controllers
//! and the simulated nodes therefore share one virtual time, and a test of a grace period of thirty
//! seconds takes no time. Randomness (uids, name suffixes, jitter) comes from one source that can
//! be seeded, so such a run can be repeated.
//!
//! Invariant: no other crate reads the time or randomness of the operating system (`clippy.toml`
//! enforces this).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A wall clock that advances with `tokio::time`. Clones are cheap and show the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    wall_at_start: Timestamp,
    start: Instant,
}

impl Clock {
    /// Creates a clock that starts at the time of the machine. Later adjustments of the machine's
    /// clock have no effect on it.
    #[must_use]
    pub fn system() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the machine's clock"
        )]
        let now = std::time::SystemTime::now();
        let wall = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
        Self::starting_at(wall)
    }

    /// Creates a clock that shows `wall` now.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall_at_start: wall,
            start: Instant::now(),
        }
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        self.wall_at_start
            .saturating_add(passed)
            .unwrap_or(Timestamp::MAX)
    }

    /// Sleeps until `deadline`. Returns at once when it has passed.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        tokio::time::sleep(self.until(deadline)).await;
    }

    /// Returns the duration until `deadline`, or zero when it has passed.
    #[must_use]
    pub fn until(&self, deadline: Timestamp) -> Duration {
        Duration::try_from(deadline.duration_since(self.now())).unwrap_or(Duration::ZERO)
    }
}

/// Drops the fraction of a second, because a `metav1.Time` has whole seconds.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A source of randomness. Clones are cheap and draw from one sequence. Not for secrets: the
/// generator is predictable.
#[derive(Clone, Debug)]
pub struct Entropy {
    generator: Arc<Mutex<fastrand::Rng>>,
}

/// The characters of generated name suffixes. Like upstream's, they leave out vowels, which could
/// form words, and look-alikes.
const SUFFIX_CHARACTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

impl Entropy {
    /// Creates a source that is seeded by the operating system.
    #[must_use]
    pub fn system() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that seeds from the machine"
        )]
        let generator = fastrand::Rng::new();
        Self {
            generator: Arc::new(Mutex::new(generator)),
        }
    }

    /// Creates a source with the sequence of `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            generator: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
        }
    }

    fn with<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(
            &mut self
                .generator
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Returns a random (version 4) UUID in its hyphenated form.
    #[must_use]
    pub fn uid(&self) -> String {
        let bytes = self.with(|random| random.u128(..)).to_be_bytes();
        uuid::Builder::from_random_bytes(bytes)
            .into_uuid()
            .to_string()
    }

    /// Returns `length` characters for a generated name.
    #[must_use]
    pub fn suffix(&self, length: usize) -> String {
        self.with(|random| {
            (0..length)
                .map(|_| char::from(SUFFIX_CHARACTERS[random.usize(..SUFFIX_CHARACTERS.len())]))
                .collect()
        })
    }

    /// Returns a number below `bound`, or 0 when `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.with(|random| random.u64(..bound))
        }
    }

    /// Returns `base`, extended by a random part of at most `fraction` of it. A fraction of 0.1
    /// extends it by up to 10 %.
    #[must_use]
    pub fn jitter(&self, base: Duration, fraction: f64) -> Duration {
        base.mul_f64(1.0 + fraction.max(0.0) * self.with(fastrand::Rng::f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn wall_time_advances_with_virtual_time() {
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(clock.now().as_second(), 30);
        clock
            .sleep_until(Timestamp::from_second(120).expect("a valid time"))
            .await;
        assert_eq!(clock.now().as_second(), 120);
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let (one, two) = (Entropy::seeded(7), Entropy::seeded(7));
        assert_eq!(one.uid(), two.uid());
        assert_eq!(one.suffix(5), two.suffix(5));
        assert_eq!(one.suffix(5).len(), 5);
    }
}
