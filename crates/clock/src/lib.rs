//! One clock and one source of randomness for everything that runs.
//!
//! Wall-clock time is derived from `tokio::time`, so that on a paused runtime the server, the
//! controllers and the simulated nodes live in the same virtual time and a test of thirty seconds
//! of grace takes none. Randomness (uids, name suffixes, jitter) comes from one seedable source,
//! so that such a run can be repeated.
//!
//! Invariant: no other crate asks the operating system for the time or for randomness
//! (`clippy.toml` forbids it).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Tells the time. Cheap to clone; clones agree with each other.
#[derive(Clone, Debug)]
pub struct Clock {
    wall_at_start: Timestamp,
    start: Instant,
}

impl Clock {
    /// A clock that begins at the machine's present time and advances with `tokio::time`.
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

    /// A clock that shows `wall` now and advances with `tokio::time`.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall_at_start: wall,
            start: Instant::now(),
        }
    }

    /// The present wall-clock time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        self.wall_at_start
            .saturating_add(passed)
            .unwrap_or(Timestamp::MAX)
    }

    /// Sleeps until the wall clock shows `deadline`; returns at once when it is past.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        tokio::time::sleep(self.until(deadline)).await;
    }

    /// How long it is until `deadline`; zero when it is past.
    #[must_use]
    pub fn until(&self, deadline: Timestamp) -> Duration {
        Duration::try_from(deadline.duration_since(self.now())).unwrap_or(Duration::ZERO)
    }
}

/// Cuts off fractions of a second, which a `metav1.Time` does not hold.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The source of everything random. Cheap to clone; clones share one sequence.
#[derive(Clone, Debug)]
pub struct Entropy {
    generator: Arc<Mutex<fastrand::Rng>>,
}

/// The alphabet of generated name suffixes: no vowels and no look-alikes, as Kubernetes has it.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

impl Entropy {
    /// Seeded by the operating system.
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

    /// The sequence that belongs to `seed`.
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

    /// A new random (version 4) uid in its usual text form.
    #[must_use]
    pub fn uid(&self) -> String {
        let bytes = self.with(|random| random.u128(..)).to_be_bytes();
        uuid::Builder::from_random_bytes(bytes)
            .into_uuid()
            .to_string()
    }

    /// `length` letters for a generated name.
    #[must_use]
    pub fn suffix(&self, length: usize) -> String {
        self.with(|random| {
            (0..length)
                .map(|_| char::from(SUFFIX_LETTERS[random.usize(..SUFFIX_LETTERS.len())]))
                .collect()
        })
    }

    /// A number below `bound`; 0 when `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.with(|random| random.u64(..bound))
        }
    }

    /// `base` lengthened by a random part of at most `fraction` of it (0.1 = up to 10 %).
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
    fn the_same_seed_gives_the_same_names() {
        let (one, two) = (Entropy::seeded(7), Entropy::seeded(7));
        assert_eq!(one.uid(), two.uid());
        assert_eq!(one.suffix(5), two.suffix(5));
        assert_eq!(one.suffix(5).len(), 5);
    }
}
