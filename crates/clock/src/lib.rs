//! One clock and one source of randomness for everything that runs.
//!
//! Wall-clock time is derived from `tokio::time`. On a paused runtime the server, the controllers
//! and the simulated nodes therefore share one virtual time, and a test of a grace period of thirty
//! seconds takes no time. Randomness (uids, name suffixes, jitter) comes from one source that can
//! be seeded, so such a run can be repeated.
//!
//! Invariant: no other crate reads the time or randomness of the operating system (`clippy.toml`
//! enforces this).

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A wall clock that advances with `tokio::time`. Clones are cheap and show the same time.
///
/// The clock of the machine may be set while a process runs, by hand or when it first reaches a
/// time server. A system clock follows: timestamps, tokens, leases and certificates need the right
/// time. Durations must not change with it: what waits for one measures it on a [`Clock::steady`],
/// and a timestamp from before a correction is compared after adding [`Clock::correction`].
#[derive(Clone, Debug)]
pub struct Clock {
    wall_at_start: Timestamp,
    start: Instant,
    /// `None` for a clock that no setting of the machine's clock concerns.
    machine: Option<Arc<MachineClock>>,
}

/// How far the machine's clock has been set since the start.
#[derive(Debug)]
struct MachineClock {
    /// The monotonic clock of the machine. Virtual time does not change it.
    start: std::time::Instant,
    /// The correction in nanoseconds that is in effect.
    correction: AtomicI64,
    read: fn() -> Timestamp,
}

/// Differences below this are ignored: two clocks are never read at the same moment, and time
/// servers adjust clocks in small steps all the time. They add up until they exceed it.
const SMALLEST_CORRECTION: SignedDuration = SignedDuration::from_millis(500);

impl Clock {
    /// Creates a clock that starts at the time of the machine and follows its later settings. On a
    /// paused runtime it advances in virtual time all the same.
    #[must_use]
    pub fn system() -> Self {
        Self::following(machine_time)
    }

    /// Creates a clock that follows `read`, for tests that set the machine's clock.
    #[must_use]
    pub fn following(read: fn() -> Timestamp) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "virtual time must not look like a correction"
        )]
        let start = std::time::Instant::now();
        Self {
            machine: Some(Arc::new(MachineClock {
                start,
                correction: AtomicI64::new(0),
                read,
            })),
            ..Self::starting_at(read())
        }
    }

    /// Creates a clock that shows `wall` now, and that nobody sets.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall_at_start: wall,
            start: Instant::now(),
            machine: None,
        }
    }

    /// Returns a clock that shows the same time now, and then advances evenly, for what measures
    /// durations by timestamps.
    #[must_use]
    pub fn steady(&self) -> Self {
        Self::starting_at(self.now())
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        self.wall_at_start
            .saturating_add(passed.saturating_add(self.correction()))
            .unwrap_or(Timestamp::MAX)
    }

    /// Returns by how much the machine's clock was set since this clock was created. The difference
    /// of two results is the error of a duration between timestamps of these two moments.
    #[must_use]
    pub fn correction(&self) -> SignedDuration {
        let machine = self.machine.as_ref();
        machine.map_or(SignedDuration::ZERO, |machine| {
            machine.correction(self.wall_at_start)
        })
    }

    /// Sleeps until `deadline`. Returns at once when it has passed. Settings of the machine's clock
    /// during the sleep have no effect.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        tokio::time::sleep(self.until(deadline)).await;
    }

    /// Returns the duration until `deadline`, or zero when it has passed.
    #[must_use]
    pub fn until(&self, deadline: Timestamp) -> Duration {
        Duration::try_from(deadline.duration_since(self.now())).unwrap_or(Duration::ZERO)
    }
}

impl MachineClock {
    fn correction(&self, wall_at_start: Timestamp) -> SignedDuration {
        let passed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        let uncorrected = wall_at_start
            .saturating_add(passed)
            .unwrap_or(Timestamp::MAX);
        let found = (self.read)().duration_since(uncorrected);
        let known = SignedDuration::from_nanos(self.correction.load(Ordering::Relaxed));
        if found.saturating_sub(known).abs() < SMALLEST_CORRECTION {
            return known;
        }
        // 292 years in either direction.
        let nanos = i64::try_from(found.as_nanos()).unwrap_or_default();
        self.correction.store(nanos, Ordering::Relaxed);
        SignedDuration::from_nanos(nanos)
    }
}

/// The time of the machine.
fn machine_time() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    let now = std::time::SystemTime::now();
    Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH)
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

    /// What the machine's clock shows in a test, in seconds beyond what its monotonic clock says.
    static SET: AtomicI64 = AtomicI64::new(0);

    fn set_machine() -> Timestamp {
        let set = SignedDuration::from_secs(SET.load(Ordering::Relaxed));
        machine_time().saturating_add(set).expect("a time")
    }

    #[tokio::test(start_paused = true)]
    async fn settings_of_the_machines_clock_are_followed_and_change_no_duration() {
        let clock = Clock::following(set_machine);
        let (start, steady) = (clock.now(), clock.steady());
        let since = |clock: &Clock| clock.now().duration_since(start).as_secs();
        // Virtual time is no correction.
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!((since(&clock), since(&steady)), (30, 30));
        assert_eq!(clock.correction(), SignedDuration::ZERO);
        for set in [3600, -3600, 0] {
            SET.store(set, Ordering::Relaxed);
            let distance = (since(&clock) - 30 - set).abs();
            assert!(distance <= 1, "{distance} s beside the machine's clock");
            assert!((clock.correction().as_secs() - set).abs() <= 1);
            assert_eq!(since(&steady), 30);
            assert_eq!(clock.until(clock.now()), Duration::ZERO);
        }
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let (one, two) = (Entropy::seeded(7), Entropy::seeded(7));
        assert_eq!(one.uid(), two.uid());
        assert_eq!(one.suffix(5), two.suffix(5));
        assert_eq!(one.suffix(5).len(), 5);
    }
}
