//! A cache of encodings, so that an object is encoded once in each form and not once for each
//! reader. Forms are, for example, protobuf, table rows, older versions, watch frames.
//!
//! Stored bytes are shared and immutable, so the key of an entry is their address and length. An
//! entry holds a reference to the bytes. That keeps the address from being reused: the same key
//! always means the same bytes.
//!
//! When an entry holds the last reference, no reader can ask for it again; such entries are dropped
//! first. Beyond the limit the cache drops entries that were not used since their last check (a
//! clock algorithm).
//!
//! The cache knows no kinds and no forms: the caller defines the forms.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

/// Estimated overhead of an entry in bytes: the key (twice), the cell, and the slots in map and
/// queue.
const ENTRY_BYTES: usize = 256;
/// How many entries each insertion checks. More than one, so that unreachable entries leave faster
/// than new ones arrive.
const CHECKS_PER_INSERTION: usize = 2;

/// Encoded bytes and their validity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedEncoding {
    /// The bytes.
    pub bytes: Bytes,
    /// The Unix time in seconds from which the bytes are outdated; `i64::MAX` for never.
    pub until: i64,
}

impl From<Vec<u8>> for CachedEncoding {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into(),
            until: i64::MAX,
        }
    }
}

/// The cache. `F` distinguishes the encodings of the same bytes.
#[derive(Debug)]
pub struct EncodingCache<F> {
    state: Mutex<CacheState<F>>,
    limit_bytes: usize,
    made: AtomicU64,
    shared: AtomicU64,
}

#[derive(Debug)]
struct CacheState<F> {
    entries: HashMap<CacheKey<F>, CacheEntry>,
    /// Keys in the order in which their entries are checked.
    queue: VecDeque<CacheKey<F>>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CacheKey<F> {
    address: usize,
    length: usize,
    form: F,
}

#[derive(Debug)]
struct CacheEntry {
    source: Bytes,
    /// Filled by the first reader, while others wait for it.
    cell: Arc<OnceLock<CachedEncoding>>,
    bytes: usize,
    /// True if the entry was used since it was last checked.
    was_used: bool,
}

impl<F: Clone + Eq + Hash> EncodingCache<F> {
    /// Creates a cache that holds at most so many bytes, including the bytes that were encoded.
    #[must_use]
    pub fn with_limit(limit_bytes: usize) -> Self {
        let state = CacheState {
            entries: HashMap::new(),
            queue: VecDeque::new(),
            bytes: 0,
        };
        Self {
            state: Mutex::new(state),
            limit_bytes,
            made: AtomicU64::new(0),
            shared: AtomicU64::new(0),
        }
    }

    /// Returns the encoding of `source` in a form; calls `make` if it is not cached.
    pub fn get(&self, source: &Bytes, form: F, make: impl FnOnce() -> Vec<u8>) -> Bytes {
        self.get_until(source, form, i64::MIN, || make().into())
    }

    /// Returns the encoding of `source` in a form, if it is still valid at `now` (Unix time in
    /// seconds); else calls `make`. For encodings that are outdated after some time, like the age
    /// in a table.
    pub fn get_until(
        &self,
        source: &Bytes,
        form: F,
        now: i64,
        make: impl FnOnce() -> CachedEncoding,
    ) -> Bytes {
        let key = CacheKey {
            address: source.as_ptr().addr(),
            length: source.len(),
            form,
        };
        // The lock is released before `make` runs; readers of the same key wait at the cell.
        let cell = self.lock().cell(key.clone(), source, now);
        // Only the thread that runs the closure made the encoding.
        let mut is_new = false;
        let encoded = cell.get_or_init(|| {
            is_new = true;
            make()
        });
        if is_new {
            self.made.fetch_add(1, Ordering::Relaxed);
            self.lock().account(&key, &cell, self.limit_bytes);
        } else {
            self.shared.fetch_add(1, Ordering::Relaxed);
        }
        encoded.bytes.clone()
    }

    /// Returns how many encodings were made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Returns how many requests were answered from the cache.
    #[must_use]
    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// Returns how many bytes the cache holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, CacheState<F>> {
        // A panic while the lock is held leaves a valid cache: at worst a byte count is off.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Clone + Eq + Hash> CacheState<F> {
    /// Returns the cell of a key, empty if this is the first request for it or the encoding is
    /// outdated.
    fn cell(
        &mut self,
        key: CacheKey<F>,
        source: &Bytes,
        now: i64,
    ) -> Arc<OnceLock<CachedEncoding>> {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.was_used = true;
            if entry.cell.get().is_some_and(|encoded| encoded.until <= now) {
                entry.cell = Arc::default();
            }
            return Arc::clone(&entry.cell);
        }
        let cell = Arc::default();
        let bytes = ENTRY_BYTES + source.len();
        self.entries.insert(
            key.clone(),
            CacheEntry {
                source: source.clone(),
                cell: Arc::clone(&cell),
                bytes,
                was_used: false,
            },
        );
        self.bytes += bytes;
        self.queue.push_back(key);
        cell
    }

    /// Counts the bytes of a new encoding and drops entries beyond the limit.
    fn account(
        &mut self,
        key: &CacheKey<F>,
        cell: &Arc<OnceLock<CachedEncoding>>,
        limit_bytes: usize,
    ) {
        // Another thread may have dropped or replaced the entry while this one encoded.
        if let Some(entry) = self
            .entries
            .get_mut(key)
            .filter(|entry| Arc::ptr_eq(&entry.cell, cell))
        {
            let bytes = ENTRY_BYTES
                + entry.source.len()
                + cell.get().map_or(0, |encoded| encoded.bytes.len());
            self.bytes = self.bytes - entry.bytes + bytes;
            entry.bytes = bytes;
        }
        for _ in 0..CHECKS_PER_INSERTION {
            self.check_next(|entry| entry.source.is_unique());
        }
        while self.bytes > limit_bytes && !self.queue.is_empty() {
            self.check_next(|entry| {
                entry.source.is_unique() || !std::mem::take(&mut entry.was_used)
            });
        }
    }

    /// Checks the entry whose queue it is: drops it or puts it at the end of the queue.
    fn check_next(&mut self, is_dead: impl FnOnce(&mut CacheEntry) -> bool) {
        let Some(key) = self.queue.pop_front() else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(&key) {
            if is_dead(entry) {
                self.bytes -= entry.bytes;
                self.entries.remove(&key);
            } else {
                self.queue.push_back(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Vec<u8> {
        [b"<", bytes, b">"].concat()
    }

    #[test]
    fn an_object_is_encoded_once_in_each_form() {
        let cache = EncodingCache::with_limit(10_000);
        let source = Bytes::from(b"abc".to_vec());
        for (form, made) in [(1, 1), (1, 1), (2, 2), (1, 2)] {
            assert_eq!(cache.get(&source.clone(), form, || text(&source)), "<abc>");
            assert_eq!(cache.made(), made);
        }
        assert_eq!(cache.shared(), 2);
        let slice = source.slice(1..);
        assert_eq!(
            cache.get(&slice, 1, || text(&slice)),
            "<bc>",
            "a part of the bytes is not the bytes"
        );
    }

    #[test]
    fn an_outdated_encoding_is_made_again() {
        let cache = EncodingCache::with_limit(10_000);
        let source = Bytes::from(b"abc".to_vec());
        let at = |now: i64| {
            cache.get_until(&source, (), now, || CachedEncoding {
                bytes: now.to_string().into(),
                until: now + 10,
            })
        };
        assert_eq!(
            [at(100), at(109), at(110), at(119)],
            ["100", "100", "110", "110"]
        );
        assert_eq!(cache.bytes(), ENTRY_BYTES + 3 + 3);
    }

    #[test]
    fn unreachable_encodings_are_dropped() {
        let cache = EncodingCache::with_limit(usize::MAX);
        for number in 0..1000_u32 {
            let source = Bytes::from(number.to_be_bytes().to_vec());
            assert_eq!(
                cache.get(&source, (), || text(&number.to_be_bytes())),
                text(&number.to_be_bytes())
            );
        }
        assert!(
            cache.bytes() <= 4 * (ENTRY_BYTES + 4 + 6),
            "{}",
            cache.bytes()
        );
    }

    #[test]
    fn the_limit_holds_and_used_encodings_stay() {
        const LIMIT: usize = 100 * (ENTRY_BYTES + 8);
        let cache = EncodingCache::with_limit(LIMIT);
        let held: Vec<Bytes> = (0..1000_u32)
            .map(|number| Bytes::from(number.to_be_bytes().to_vec()))
            .collect();
        for source in &held {
            cache.get(source, (), || source.to_vec());
            cache.get(&held[0], (), || held[0].to_vec());
            assert!(cache.bytes() <= LIMIT);
        }
        assert_eq!(
            cache.made(),
            1000,
            "the one that is always asked for was made once"
        );
        assert!(cache.bytes() > LIMIT / 2);
    }

    #[test]
    fn concurrent_readers_wait_for_one_encoding() {
        let cache = EncodingCache::with_limit(10_000);
        let source = Bytes::from(b"abc".to_vec());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(cache.get(&source, (), || text(&source)), "<abc>"));
            }
        });
        assert_eq!((cache.made(), cache.shared()), (1, 7));
    }
}
