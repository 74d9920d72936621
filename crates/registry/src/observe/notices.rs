//! Refusals that people should find with `kubectl describe`: collected per subject, and told as
//! events at most once in a while with how often it happened.
//!
//! Bounded: at most [`MAX_OPEN`] subjects at a time, at most one write per subject and [`PAUSE`],
//! forgotten when nothing has happened for [`MEMORY`]. All subjects together are told slowly
//! ([`AT_ONCE`], [`ONE_EVERY`]), so that a thousand refusals are not a thousand writes beside the
//! evictions. Knows neither events nor the store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Subjects that are remembered at the same time; refusals of others are only counted.
const MAX_OPEN: usize = 1024;
/// Between two writes about a subject.
const PAUSE: Duration = Duration::from_secs(10);
/// A refusal after this long begins a new event.
const MEMORY: Duration = Duration::from_secs(300);

/// So many are told at once after a quiet time …
const AT_ONCE: u32 = 50;
/// … and then one each time this has passed.
const ONE_EVERY: Duration = Duration::from_millis(20);
/// The quiet time after which no more are told at once.
const LONGEST_SPARE: Duration = ONE_EVERY.saturating_mul(AT_ONCE);

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// What is to be written now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Telling {
    pub(super) key: String,
    pub(super) subject: Subject,
    pub(super) message: String,
    pub(super) count: u32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// The event that was written before.
    pub(super) event: Option<String>,
}

#[derive(Debug)]
struct Notice {
    telling: Telling,
    written: u32,
    seen: Instant,
    next_write: Instant,
}

impl Notice {
    /// When something is to be done about it: tell it, or forget it.
    fn due(&self) -> Instant {
        if self.telling.count > self.written {
            self.next_write
        } else {
            self.seen + MEMORY
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Notices {
    open: Mutex<HashMap<String, Notice>>,
    /// When everything that was told had its time, see [`ONE_EVERY`].
    paid_until: Mutex<Option<Instant>>,
    bell: Notify,
    dropped: AtomicU64,
}

impl Notices {
    /// Takes note of a refusal. Subject and text are only made when they are going to be used.
    pub(super) fn note(
        &self,
        key: String,
        now: Timestamp,
        subject: impl FnOnce() -> Subject,
        message: impl FnOnce() -> String,
    ) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = Instant::now();
        if let Some(notice) = open.get_mut(&key) {
            let settled = notice.telling.count == notice.written;
            notice.telling.count = notice.telling.count.saturating_add(1);
            (notice.telling.last, notice.seen) = (now, seen);
            if settled {
                notice.telling.message = message();
                self.bell.notify_one();
            }
        } else if open.len() < MAX_OPEN {
            let telling = Telling {
                key: key.clone(),
                subject: subject(),
                message: message(),
                count: 1,
                first: now,
                last: now,
                event: None,
            };
            open.insert(
                key,
                Notice {
                    telling,
                    written: 0,
                    seen,
                    next_write: seen,
                },
            );
            self.bell.notify_one();
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until there is something to tell, and gives it out as told.
    pub(super) async fn next(&self) -> Vec<Telling> {
        loop {
            let (due, wake) = self.take_due(Instant::now());
            if !due.is_empty() {
                return due;
            }
            match wake {
                None => self.bell.notified().await,
                Some(wake) => tokio::select! {
                    () = self.bell.notified() => {}
                    () = tokio::time::sleep_until(wake) => {}
                },
            }
        }
    }

    /// What is due and may be told by now, and when to look again. Forgets what is long past.
    fn take_due(&self, now: Instant) -> (Vec<Telling>, Option<Instant>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut paid_until = self
            .paid_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let spare = paid_until.map_or(LONGEST_SPARE, |paid| {
            now.saturating_duration_since(paid).min(LONGEST_SPARE)
        });
        if spare < ONE_EVERY {
            return (Vec::new(), Some(now + (ONE_EVERY - spare)));
        }
        open.retain(|_, notice| notice.telling.count > notice.written || notice.due() > now);
        let mut due: Vec<&mut Notice> = open
            .values_mut()
            .filter(|notice| notice.due() <= now)
            .collect();
        // Those who have waited longest come first.
        due.sort_by(|one, other| {
            (one.due(), &one.telling.key).cmp(&(other.due(), &other.telling.key))
        });
        let mut left = spare;
        let mut told = Vec::new();
        for notice in due {
            let Some(rest) = left.checked_sub(ONE_EVERY) else {
                break;
            };
            left = rest;
            notice.written = notice.telling.count;
            notice.next_write = now + PAUSE;
            told.push(notice.telling.clone());
        }
        *paid_until = now.checked_sub(left);
        let next = open.values().map(Notice::due).min();
        (
            told,
            next.map(|next| next.max(now + ONE_EVERY.saturating_sub(left))),
        )
    }

    /// Under which name a telling was written; none when it could not be, and is forgotten.
    pub(super) fn written(&self, key: &str, event: Option<String>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            None => drop(open.remove(key)),
            Some(event) => {
                if let Some(notice) = open.get_mut(key) {
                    notice.telling.event = Some(event);
                }
            }
        }
    }

    /// Refusals that were not told because too many subjects were open.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(notices: &Notices, key: &str) {
        let subject = || Subject {
            api_version: "v1",
            kind: "Pod",
            namespace: "n".into(),
            name: key.into(),
            uid: "u".into(),
        };
        notices.note(key.to_owned(), Timestamp::UNIX_EPOCH, subject, || {
            "why".to_owned()
        });
    }

    /// The counts that are told by now, by subject.
    fn told(notices: &Notices) -> Vec<(String, u32)> {
        notices
            .take_due(Instant::now())
            .0
            .into_iter()
            .map(|telling| (telling.key, telling.count))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_refusal_is_told_at_once_and_the_next_ones_together() {
        let notices = Notices::default();
        note(&notices, "a");
        assert_eq!(told(&notices), [("a".to_owned(), 1)]);
        for _ in 0..5 {
            note(&notices, "a");
        }
        note(&notices, "b");
        assert_eq!(told(&notices), [("b".to_owned(), 1)]);
        tokio::time::advance(PAUSE).await;
        assert_eq!(told(&notices), [("a".to_owned(), 6)]);
        assert_eq!(told(&notices), []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_long_past_is_forgotten_and_begins_anew() {
        let notices = Notices::default();
        note(&notices, "a");
        assert_eq!(told(&notices).len(), 1);
        tokio::time::advance(MEMORY).await;
        assert_eq!(notices.take_due(Instant::now()), (Vec::new(), None));
        note(&notices, "a");
        assert_eq!(told(&notices), [("a".to_owned(), 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn many_subjects_are_told_slowly_and_in_their_order() {
        let notices = Notices::default();
        for number in 0..AT_ONCE + 3 {
            note(&notices, &format!("{number:04}"));
        }
        let (first, wake) = notices.take_due(Instant::now());
        assert_eq!(
            (first.len(), wake),
            (AT_ONCE as usize, Some(Instant::now() + ONE_EVERY))
        );
        note(&notices, "later");
        assert_eq!(
            notices.take_due(Instant::now()),
            (Vec::new(), Some(Instant::now() + ONE_EVERY))
        );
        tokio::time::advance(2 * ONE_EVERY).await;
        assert_eq!(
            told(&notices),
            [("0050".to_owned(), 1), ("0051".to_owned(), 1)]
        );
        tokio::time::advance(3 * ONE_EVERY).await;
        assert_eq!(
            told(&notices),
            [("0052".to_owned(), 1), ("later".to_owned(), 1)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let notices = Notices::default();
        for number in 0..MAX_OPEN + 3 {
            note(&notices, &number.to_string());
        }
        assert_eq!(
            (notices.open.lock().expect("lock").len(), notices.dropped()),
            (MAX_OPEN, 3)
        );
        notices.written("0", None);
        note(&notices, "new");
        assert_eq!(
            (notices.open.lock().expect("lock").len(), notices.dropped()),
            (MAX_OPEN, 3)
        );
    }
}
