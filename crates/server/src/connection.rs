//! What one connection is doing, shared by its task (deadlines) and its requests.
//!
//! A connection counts the requests that are being answered and the bytes of responses that it
//! holds for a client that has not read them. All connections of a server count the latter together
//! ([`ResponseLimit`]): when they hold too much, those whose clients read nothing are closed, the
//! fullest first, so that clients that do not read lose to those that do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Size from which the bytes of a response are counted. A connection has at most a few hundred
/// responses at once, so smaller ones add up to little.
pub(crate) const COUNTED_FROM_BYTES: usize = 4 * 1024;

/// Time without reading after which a client loses what is held for it, if all hold too much.
const SLOW_AFTER: Duration = Duration::from_secs(2);
/// So many times the limit, also clients that read lose what is held for them: a burst of large
/// answers may exceed the limit until it is read.
const HARD_LIMIT_FACTOR: usize = 4;

/// A connection, or a service for callers inside this process.
#[derive(Debug)]
pub(crate) struct ServedConnection {
    number: u64,
    /// Requests that have begun and that have ended.
    begun: AtomicU64,
    ended: AtomicU64,
    /// Bytes of responses that are held, and how often some were released.
    held_bytes: AtomicUsize,
    releases: AtomicU64,
    /// Milliseconds since `created` at which the client last read something, or first could.
    read_at: AtomicU64,
    created: Instant,
    /// `None` for callers inside this process, who read at once.
    limit: Option<Arc<ResponseLimit>>,
    /// Cancelled to close the connection.
    pub(crate) closing: CancellationToken,
}

/// What a connection had done at some moment. Two equal ones mean that nothing happened between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionProgress {
    begun: u64,
    ended: u64,
    held_bytes: usize,
    releases: u64,
}

impl ConnectionProgress {
    /// Returns whether the client has made a request so far.
    pub(crate) fn has_begun(self) -> bool {
        self.begun > 0
    }

    /// Returns whether no request is being answered, and nothing is held for the client.
    pub(crate) fn is_idle(self) -> bool {
        self.begun == self.ended && self.held_bytes == 0
    }

    /// Returns whether the client had something to read and read nothing since `before`.
    pub(crate) fn is_stuck_since(self, before: Self) -> bool {
        self.held_bytes > 0 && before.held_bytes > 0 && self.releases == before.releases
    }
}

impl ServedConnection {
    /// Returns a connection whose held responses count against `limit`.
    pub(crate) fn new(number: u64, limit: Option<&Arc<ResponseLimit>>) -> Arc<Self> {
        let connection = Arc::new(Self {
            number,
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            held_bytes: AtomicUsize::new(0),
            releases: AtomicU64::new(0),
            read_at: AtomicU64::new(0),
            created: Instant::now(),
            limit: limit.cloned(),
            closing: CancellationToken::new(),
        });
        if let Some(limit) = limit {
            let known = Arc::downgrade(&connection);
            limit.connections().insert(number, known);
        }
        connection
    }

    /// Returns the number of the connection, which no other has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Counts a request until the guard is dropped, which must happen after its response was sent.
    pub(crate) fn begin(self: &Arc<Self>) -> RequestGuard {
        self.begun.fetch_add(1, Ordering::Relaxed);
        RequestGuard(self.clone())
    }

    pub(crate) fn progress(&self) -> ConnectionProgress {
        ConnectionProgress {
            begun: self.begun.load(Ordering::Relaxed),
            ended: self.ended.load(Ordering::Relaxed),
            held_bytes: self.held_bytes.load(Ordering::Relaxed),
            releases: self.releases.load(Ordering::Relaxed),
        }
    }

    /// Counts bytes that are held until the guard is dropped.
    fn hold(self: &Arc<Self>, bytes: usize) -> HeldBytes {
        if self.held_bytes.fetch_add(bytes, Ordering::Relaxed) == 0 {
            self.mark_read();
        }
        let held = HeldBytes {
            connection: self.clone(),
            bytes,
        };
        if let Some(limit) = &self.limit {
            limit.add(bytes);
        }
        held
    }

    fn mark_read(&self) {
        let elapsed = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.read_at.store(elapsed, Ordering::Relaxed);
    }

    /// Returns whether the client has read nothing of what is held for it for a while.
    fn is_slow(&self) -> bool {
        let read_at = Duration::from_millis(self.read_at.load(Ordering::Relaxed));
        self.created.elapsed() >= read_at + SLOW_AFTER
    }
}

impl Drop for ServedConnection {
    fn drop(&mut self) {
        if let Some(limit) = &self.limit {
            limit.connections().remove(&self.number);
        }
    }
}

/// Counts a request while it is answered.
#[derive(Debug)]
pub(crate) struct RequestGuard(Arc<ServedConnection>);

impl RequestGuard {
    /// Counts bytes that the response holds until the guard is dropped; `None` if they are few, or
    /// if the caller is inside this process.
    pub(crate) fn hold(&self, bytes: usize) -> Option<HeldBytes> {
        (bytes >= COUNTED_FROM_BYTES && self.0.limit.is_some()).then(|| self.0.hold(bytes))
    }

    /// Counts these bytes until all copies of them are dropped. Bytes that others hold, too, cost
    /// nothing more: frames of a watch, for example.
    pub(crate) fn count(&self, bytes: Bytes) -> Bytes {
        if !bytes.is_unique() {
            return bytes;
        }
        match self.hold(bytes.len()) {
            Some(held) => Bytes::from_owner(CountedBytes { bytes, _held: held }),
            None => bytes,
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

struct CountedBytes {
    bytes: Bytes,
    _held: HeldBytes,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Counts bytes of a response while they are held.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    connection: Arc<ServedConnection>,
    bytes: usize,
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection
            .held_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
        connection.releases.fetch_add(1, Ordering::Relaxed);
        connection.mark_read();
        if let Some(limit) = &connection.limit {
            limit.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// The limit of what all connections of a server hold.
#[derive(Debug)]
pub(crate) struct ResponseLimit {
    max_bytes: usize,
    held_bytes: AtomicUsize,
    connections: Mutex<HashMap<u64, Weak<ServedConnection>>>,
}

impl ResponseLimit {
    /// Returns a limit of so many bytes.
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            max_bytes,
            held_bytes: AtomicUsize::new(0),
            connections: Mutex::default(),
        })
    }

    /// Returns the bytes that are held for clients.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Weak<ServedConnection>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: usize) {
        let held = self.held_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > self.max_bytes {
            let is_hard = held > HARD_LIMIT_FACTOR * self.max_bytes;
            self.close_the_fullest(held - self.max_bytes, is_hard);
        }
    }

    /// Closes connections of slow clients until what is left of all is `excess_bytes` less; those
    /// of others only if `is_hard`. Connections that are being closed already count as closed.
    fn close_the_fullest(&self, excess_bytes: usize, is_hard: bool) {
        let held = |connection: &ServedConnection| connection.held_bytes.load(Ordering::Relaxed);
        let mut open: Vec<(usize, Arc<ServedConnection>)> = self
            .connections()
            .values()
            .filter_map(Weak::upgrade)
            .map(|connection| (held(&connection), connection))
            .collect();
        let mut freed: usize = open
            .extract_if(.., |(_, connection)| connection.closing.is_cancelled())
            .map(|(held, _)| held)
            .sum();
        open.retain(|(held, connection)| *held > 0 && (is_hard || connection.is_slow()));
        open.sort_by_key(|(held, _)| std::cmp::Reverse(*held));
        for (held_bytes, connection) in open {
            if freed >= excess_bytes {
                break;
            }
            tracing::info!(
                held_bytes,
                "closing a connection whose client does not read, to free memory"
            );
            freed += held_bytes;
            connection.closing.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_holds_most_and_does_not_read_is_closed() {
        let limit = ResponseLimit::new(100_000);
        let slow = ServedConnection::new(1, Some(&limit));
        let quick = ServedConnection::new(2, Some(&limit));
        let (one, other) = (slow.begin(), quick.begin());
        let kept: Vec<_> = (0..4).map(|_| one.count(vec![0; 10_000].into())).collect();
        let copies: Vec<_> = (0..7)
            .map(|_| other.count(vec![0; 10_000].into()))
            .collect();
        assert!(!slow.closing.is_cancelled(), "it may read yet");
        tokio::time::advance(SLOW_AFTER).await;
        drop(copies);
        let more: Vec<_> = (0..7)
            .map(|_| other.count(vec![0; 10_000].into()))
            .collect();
        assert!(slow.closing.is_cancelled() && !quick.closing.is_cancelled());
        let most: Vec<_> = (0..40)
            .map(|_| other.count(vec![0; 10_000].into()))
            .collect();
        assert!(
            quick.closing.is_cancelled(),
            "memory has a bound in any case"
        );
        drop((kept, more, most));
        assert_eq!(limit.held_bytes(), 0);
        drop((one, other, slow, quick));
        assert!(limit.connections().is_empty());
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_stuck() {
        let limit = ResponseLimit::new(100_000);
        let connection = ServedConnection::new(1, Some(&limit));
        assert!(!connection.progress().has_begun() && connection.progress().is_idle());
        let request = connection.begin();
        let waiting = connection.progress();
        assert!(
            !waiting.is_idle() && !waiting.is_stuck_since(waiting),
            "nothing to read"
        );
        let (first, second) = (
            request.count(vec![0; 10_000].into()),
            request.count(vec![0; 10_000].into()),
        );
        let before = connection.progress();
        assert!(connection.progress().is_stuck_since(before));
        drop(first);
        assert!(!connection.progress().is_stuck_since(before));
        drop(request);
        assert!(
            !connection.progress().is_idle(),
            "a response is not read yet"
        );
        drop(second);
        assert!(connection.progress().is_idle());
    }

    #[tokio::test]
    async fn callers_inside_this_process_are_not_counted() {
        let connection = ServedConnection::new(1, None);
        let request = connection.begin();
        let _bytes = request.count(vec![0; 10_000].into());
        assert_eq!(connection.progress().held_bytes, 0);
    }
}
