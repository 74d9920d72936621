//! The events about refused evictions that wait to be written.
//!
//! One event counts all refusals with its key. Memory and writes are bounded:
//!
//! - At most [`MAX_PENDING`] events are held at the same time.
//! - An event is written at most once in each [`MIN_WRITE_GAP`]. It is dropped [`FORGET_AFTER`]
//!   after its last refusal.
//! - All events share a token bucket ([`BURST`], [`REFILL_INTERVAL`]), so that a thousand
//!   refusals do not cause a thousand writes that compete with evictions.
//!
//! This module does not know the API object `Event` or the store. `events` writes what
//! [`PendingRefusals::next`] returns.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The maximum number of events held at the same time. Refusals with further keys are only
/// counted, see [`PendingRefusals::dropped`].
const MAX_PENDING: usize = 1024;
/// The minimum time between two writes of one event.
const MIN_WRITE_GAP: Duration = Duration::from_secs(10);
/// The time without a refusal after which an event is dropped. A later refusal starts a new event.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// The maximum number of events that are written at once, after a time without writes.
const BURST: u32 = 50;
/// The time after which one more event may be written.
const REFILL_INTERVAL: Duration = Duration::from_millis(20);
/// The time without writes after which a full [`BURST`] is available.
const MAX_CREDIT: Duration = REFILL_INTERVAL.saturating_mul(BURST);

/// The object that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// An event about refused evictions that concern one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusalEvent {
    /// The key that all counted refusals share. It identifies the subject and, for a pod, the
    /// budgets that refused.
    pub(super) key: String,
    pub(super) subject: Subject,
    pub(super) message: String,
    /// The number of refusals since `first`.
    pub(super) count: u32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// The name of the event object, if one has been written.
    pub(super) event_name: Option<String>,
}

#[derive(Debug)]
struct PendingRefusal {
    event: RefusalEvent,
    /// The count in the last write; 0 before the first write.
    written_count: u32,
    last_refusal: Instant,
    next_write: Instant,
}

impl PendingRefusal {
    /// Returns the time at which the event is to be written or, if it has no unwritten refusals,
    /// dropped.
    fn due(&self) -> Instant {
        if self.event.count > self.written_count {
            self.next_write
        } else {
            self.last_refusal + FORGET_AFTER
        }
    }
}

/// A bounded, rate-limited queue of events about refused evictions, with one entry per key.
#[derive(Debug, Default)]
pub(super) struct PendingRefusals {
    by_key: Mutex<HashMap<String, PendingRefusal>>,
    /// The time from which the credit of the token bucket counts: each [`REFILL_INTERVAL`] since
    /// then pays for one write. `None` before the first write, when the credit is [`MAX_CREDIT`].
    credit_since: Mutex<Option<Instant>>,
    changed: Notify,
    dropped: AtomicU64,
}

impl PendingRefusals {
    /// Records a refusal under this key. Calls `subject` and `message` only when their values are
    /// used. Counts the refusal as dropped if the queue is full.
    pub(super) fn record(
        &self,
        key: String,
        now: Timestamp,
        subject: impl FnOnce() -> Subject,
        message: impl FnOnce() -> String,
    ) {
        let mut pending = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let refused_at = Instant::now();
        if let Some(entry) = pending.get_mut(&key) {
            let all_written = entry.event.count == entry.written_count;
            entry.event.count = entry.event.count.saturating_add(1);
            (entry.event.last, entry.last_refusal) = (now, refused_at);
            if all_written {
                entry.event.message = message();
                self.changed.notify_one();
            }
        } else if pending.len() < MAX_PENDING {
            let event = RefusalEvent {
                key: key.clone(),
                subject: subject(),
                message: message(),
                count: 1,
                first: now,
                last: now,
                event_name: None,
            };
            pending.insert(
                key,
                PendingRefusal {
                    event,
                    written_count: 0,
                    last_refusal: refused_at,
                    next_write: refused_at,
                },
            );
            self.changed.notify_one();
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until at least one event may be written, marks the returned events as written, and
    /// returns them.
    pub(super) async fn next(&self) -> Vec<RefusalEvent> {
        loop {
            let (due, wake) = self.take_due(Instant::now());
            if !due.is_empty() {
                return due;
            }
            match wake {
                None => self.changed.notified().await,
                Some(wake) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(wake) => {}
                },
            }
        }
    }

    /// Returns the events that are due and that the token bucket allows, and the time of the next
    /// call; `None` when nothing is pending. Drops events without a recent refusal.
    fn take_due(&self, now: Instant) -> (Vec<RefusalEvent>, Option<Instant>) {
        let mut pending = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let mut credit_since = self
            .credit_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let credit = credit_since.map_or(MAX_CREDIT, |since| {
            now.saturating_duration_since(since).min(MAX_CREDIT)
        });
        if credit < REFILL_INTERVAL {
            return (Vec::new(), Some(now + (REFILL_INTERVAL - credit)));
        }
        pending.retain(|_, entry| entry.event.count > entry.written_count || entry.due() > now);
        let mut due: Vec<&mut PendingRefusal> = pending
            .values_mut()
            .filter(|entry| entry.due() <= now)
            .collect();
        // The events that have waited longest come first.
        due.sort_by(|one, other| (one.due(), &one.event.key).cmp(&(other.due(), &other.event.key)));
        let mut left = credit;
        let mut taken = Vec::new();
        for entry in due {
            let Some(rest) = left.checked_sub(REFILL_INTERVAL) else {
                break;
            };
            left = rest;
            entry.written_count = entry.event.count;
            entry.next_write = now + MIN_WRITE_GAP;
            taken.push(entry.event.clone());
        }
        *credit_since = now.checked_sub(left);
        let next = pending.values().map(PendingRefusal::due).min();
        (
            taken,
            next.map(|next| next.max(now + REFILL_INTERVAL.saturating_sub(left))),
        )
    }

    /// Records the name of the event object that was written for this key. `None` means that the
    /// write failed: the event is dropped.
    pub(super) fn written(&self, key: &str, event_name: Option<String>) {
        let mut pending = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        match event_name {
            None => drop(pending.remove(key)),
            Some(event_name) => {
                if let Some(entry) = pending.get_mut(key) {
                    entry.event.event_name = Some(event_name);
                }
            }
        }
    }

    /// Returns the number of refusals without an event because the queue was full.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pending: &PendingRefusals, key: &str) {
        let subject = || Subject {
            api_version: "v1",
            kind: "Pod",
            namespace: "n".into(),
            name: key.into(),
            uid: "u".into(),
        };
        pending.record(key.to_owned(), Timestamp::UNIX_EPOCH, subject, || {
            "why".to_owned()
        });
    }

    /// Takes the events that are due now; returns their keys and counts.
    fn take(pending: &PendingRefusals) -> Vec<(String, u32)> {
        pending
            .take_due(Instant::now())
            .0
            .into_iter()
            .map(|event| (event.key, event.count))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn first_refusal_is_written_at_once_and_later_ones_together() {
        let pending = PendingRefusals::default();
        record(&pending, "a");
        assert_eq!(take(&pending), [("a".to_owned(), 1)]);
        for _ in 0..5 {
            record(&pending, "a");
        }
        record(&pending, "b");
        assert_eq!(take(&pending), [("b".to_owned(), 1)]);
        tokio::time::advance(MIN_WRITE_GAP).await;
        assert_eq!(take(&pending), [("a".to_owned(), 6)]);
        assert_eq!(take(&pending), []);
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_after_a_long_pause_starts_a_new_event() {
        let pending = PendingRefusals::default();
        record(&pending, "a");
        assert_eq!(take(&pending).len(), 1);
        tokio::time::advance(FORGET_AFTER).await;
        assert_eq!(pending.take_due(Instant::now()), (Vec::new(), None));
        record(&pending, "a");
        assert_eq!(take(&pending), [("a".to_owned(), 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn writes_of_many_subjects_are_rate_limited_and_in_order() {
        let pending = PendingRefusals::default();
        for number in 0..BURST + 3 {
            record(&pending, &format!("{number:04}"));
        }
        let (first, wake) = pending.take_due(Instant::now());
        assert_eq!(
            (first.len(), wake),
            (BURST as usize, Some(Instant::now() + REFILL_INTERVAL))
        );
        record(&pending, "later");
        assert_eq!(
            pending.take_due(Instant::now()),
            (Vec::new(), Some(Instant::now() + REFILL_INTERVAL))
        );
        tokio::time::advance(2 * REFILL_INTERVAL).await;
        assert_eq!(
            take(&pending),
            [("0050".to_owned(), 1), ("0051".to_owned(), 1)]
        );
        tokio::time::advance(3 * REFILL_INTERVAL).await;
        assert_eq!(
            take(&pending),
            [("0052".to_owned(), 1), ("later".to_owned(), 1)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn number_of_pending_events_is_bounded() {
        let pending = PendingRefusals::default();
        for number in 0..MAX_PENDING + 3 {
            record(&pending, &number.to_string());
        }
        assert_eq!(
            (
                pending.by_key.lock().expect("lock").len(),
                pending.dropped()
            ),
            (MAX_PENDING, 3)
        );
        pending.written("0", None);
        record(&pending, "new");
        assert_eq!(
            (
                pending.by_key.lock().expect("lock").len(),
                pending.dropped()
            ),
            (MAX_PENDING, 3)
        );
    }
}
