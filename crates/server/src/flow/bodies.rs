//! Limits what request bodies hold in memory: while they arrive, and while their requests are
//! worked on.
//!
//! A body that is there when its request is first looked at costs nothing here. Any other body
//! registers with [`BodyLimits::expect`] until its last byte has arrived. When all of them together
//! hold too much, the one that has waited longest is given up, so that clients that send nothing
//! lose to those that send.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Bytes that all incomplete requests hold together: twenty bodies of the largest size, or thirty
/// thousand requests whose bodies do not come.
const MAX_ARRIVING_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that the incomplete requests of one connection hold together: every stream of an HTTP/2
/// connection with a small body, or five bodies of the largest size.
const MAX_CONNECTION_BYTES: usize = 16 * 1024 * 1024;
/// What an incomplete request costs beside its headers and its body: the state of its stream and
/// of its task.
const REQUEST_BYTES: usize = 2 * 1024;
/// Size from which a complete body counts against [`MAX_WORKED_BYTES`]. An eviction, a pod or a
/// lease is smaller.
const LARGE_BODY_BYTES: usize = 64 * 1024;
/// Bytes of the large bodies that are worked on at the same time. Their trees take several times as
/// much.
const MAX_WORKED_BYTES: usize = 32 * 1024 * 1024;

/// What the bodies of one server hold, and the limits.
#[derive(Debug, Default)]
pub(crate) struct BodyLimits {
    arriving: Mutex<Arriving>,
    worked_bytes: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Arriving {
    /// In the order in which they were registered.
    bodies: BTreeMap<u64, ArrivingBody>,
    next: u64,
    bytes: usize,
    by_connection: HashMap<u64, usize>,
}

#[derive(Debug)]
struct ArrivingBody {
    connection: u64,
    bytes: usize,
    given_up: CancellationToken,
}

impl Arriving {
    fn remove(&mut self, id: u64) -> Option<ArrivingBody> {
        let body = self.bodies.remove(&id)?;
        self.bytes -= body.bytes;
        if let Some(held) = self.by_connection.get_mut(&body.connection) {
            *held -= body.bytes;
            if *held == 0 {
                self.by_connection.remove(&body.connection);
            }
        }
        Some(body)
    }
}

impl BodyLimits {
    /// Registers a request of a connection whose body has not arrived. `head_bytes` is the size of
    /// its headers.
    pub(crate) fn expect(&self, connection: u64, head_bytes: usize) -> ArrivingGuard<'_> {
        let given_up = CancellationToken::new();
        let mut arriving = self.lock();
        let id = arriving.next;
        arriving.next += 1;
        let body = ArrivingBody {
            connection,
            bytes: 0,
            given_up: given_up.clone(),
        };
        arriving.bodies.insert(id, body);
        drop(arriving);
        let guard = ArrivingGuard {
            limits: self,
            id,
            given_up,
        };
        // A refusal is seen with the first piece of the body.
        let _ = guard.grow(REQUEST_BYTES + head_bytes);
        guard
    }

    /// Counts a complete body until the guard is dropped; `None` if too many large ones are being
    /// worked on. A single one always passes.
    pub(crate) fn work_on(&self, bytes: usize) -> Option<WorkedGuard> {
        let bytes = if bytes < LARGE_BODY_BYTES { 0 } else { bytes };
        let guard = WorkedGuard {
            worked_bytes: (bytes > 0).then(|| (self.worked_bytes.clone(), bytes)),
        };
        let before = match &guard.worked_bytes {
            Some((worked, bytes)) => worked.fetch_add(*bytes, Ordering::Relaxed),
            None => 0,
        };
        (before == 0 || before + bytes <= MAX_WORKED_BYTES).then_some(guard)
    }

    /// Returns the bytes that incomplete requests hold.
    #[cfg(test)]
    pub(crate) fn arriving_bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Arriving> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registration of a request whose body arrives. Dropping it ends the registration.
#[derive(Debug)]
pub(crate) struct ArrivingGuard<'a> {
    limits: &'a BodyLimits,
    id: u64,
    given_up: CancellationToken,
}

impl ArrivingGuard<'_> {
    /// Counts more bytes, and gives up the oldest requests if all together hold too much. Returns
    /// false if this request is given up: the connection holds too much, or others needed the room.
    pub(crate) fn grow(&self, bytes: usize) -> bool {
        let mut arriving = self.limits.lock();
        let arriving = &mut *arriving;
        let Some(body) = arriving.bodies.get_mut(&self.id) else {
            return false;
        };
        body.bytes += bytes;
        arriving.bytes += bytes;
        let of_connection = arriving.by_connection.entry(body.connection).or_default();
        *of_connection += bytes;
        if *of_connection > MAX_CONNECTION_BYTES {
            self.given_up.cancel();
            arriving.remove(self.id);
            return false;
        }
        while arriving.bytes > MAX_ARRIVING_BYTES {
            let Some((&oldest, _)) = arriving.bodies.first_key_value() else {
                break;
            };
            if let Some(body) = arriving.remove(oldest) {
                body.given_up.cancel();
            }
        }
        !self.given_up.is_cancelled()
    }

    /// Returns when the request is given up.
    pub(crate) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }
}

impl Drop for ArrivingGuard<'_> {
    fn drop(&mut self) {
        self.limits.lock().remove(self.id);
    }
}

/// Counts a large body until it is dropped.
#[derive(Debug)]
pub(crate) struct WorkedGuard {
    worked_bytes: Option<(Arc<AtomicUsize>, usize)>,
}

impl Drop for WorkedGuard {
    fn drop(&mut self) {
        if let Some((worked, bytes)) = &self.worked_bytes {
            worked.fetch_sub(*bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: usize = 1024 * 1024;

    #[test]
    fn the_oldest_body_is_given_up_when_all_hold_too_much() {
        let limits = BodyLimits::default();
        let guards: Vec<_> = (0..25)
            .map(|connection| limits.expect(connection, 0))
            .collect();
        let grown: Vec<bool> = guards
            .iter()
            .map(|guard| guard.grow(3 * MEBIBYTE))
            .collect();
        assert!(grown.iter().all(|grown| *grown), "each fits when it comes");
        let given_up = guards
            .iter()
            .position(|guard| !guard.given_up.is_cancelled())
            .expect("the last one fits");
        assert!((3..6).contains(&given_up), "{given_up}");
        assert!(
            guards[given_up..]
                .iter()
                .all(|guard| !guard.given_up.is_cancelled())
        );
        assert!(!guards[0].grow(1), "its room belongs to others");
        assert!(limits.arriving_bytes() <= MAX_ARRIVING_BYTES);
        drop(guards);
        assert_eq!(limits.arriving_bytes(), 0);
        assert!(limits.lock().by_connection.is_empty());
    }

    #[test]
    fn one_connection_cannot_take_all_room() {
        let limits = BodyLimits::default();
        let other = limits.expect(2, 0);
        let guards: Vec<_> = (0..10).map(|_| limits.expect(1, 0)).collect();
        let grown = guards
            .iter()
            .filter(|guard| guard.grow(3 * MEBIBYTE))
            .count();
        assert_eq!(grown, 5);
        assert!(other.grow(3 * MEBIBYTE), "it has another connection");
    }

    #[test]
    fn a_thousand_streams_with_small_bodies_fit_into_a_connection() {
        let limits = BodyLimits::default();
        let guards: Vec<_> = (0..1_000).map(|_| limits.expect(1, 2_000)).collect();
        assert!(guards.iter().all(|guard| guard.grow(8_000)));
    }

    #[test]
    fn large_bodies_in_work_are_limited_and_small_ones_are_not() {
        let limits = BodyLimits::default();
        let held: Vec<_> = (0..20)
            .map_while(|_| limits.work_on(3 * MEBIBYTE))
            .collect();
        assert_eq!(held.len(), 10);
        assert!(limits.work_on(10_000).is_some());
        drop(held);
        assert!(
            limits.work_on(40 * MEBIBYTE).is_some(),
            "nothing else is worked on"
        );
    }
}
