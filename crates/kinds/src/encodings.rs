//! EncodingCache that are kept, so that an object is encoded once in each form and not once for each
//! reader: protobuf, rows of tables, older versions, frames of watches.
//!
//! Stored bytes are shared and never change, so the place where they lie says which they are. An
//! entry holds them, which keeps the place from being used for anything else: the same address and
//! length are the same bytes. What nobody else holds any more nobody can ask for again; such
//! entries go first. Beyond its limit the cache drops what has not been asked for the longest.
//!
//! Knows no kinds and no forms: the caller says which forms there are.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

/// What an entry costs beside its bytes: key (twice), cell, and the places in map and queue.
const ENTRY_BYTES: usize = 256;
/// How many entries each new one looks at, so that dead ones leave faster than new ones come.
const LOOKED_AT: usize = 2;

/// CachedEncoding bytes, and how long they may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedEncoding {
    /// The encoding.
    pub bytes: Bytes,
    /// The second since 1970 from which they are no longer true; `i64::MAX` for never.
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

/// See the module. `F` tells the encodings of the same bytes apart.
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
    /// The keys in the order in which they are looked at.
    turn: VecDeque<CacheKey<F>>,
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
    /// Filled by the first who asks, while the others wait for it.
    cell: Arc<OnceLock<CachedEncoding>>,
    bytes: usize,
    /// Asked for since it was last looked at.
    is_wanted: bool,
}

impl<F: Clone + Eq + Hash> EncodingCache<F> {
    /// A cache that holds at most so many bytes, those that were encoded included.
    #[must_use]
    pub fn holding(limit_bytes: usize) -> Self {
        let state = CacheState {
            entries: HashMap::new(),
            turn: VecDeque::new(),
            bytes: 0,
        };
        Self {
            state: Mutex::new(state),
            limit_bytes,
            made: AtomicU64::new(0),
            shared: AtomicU64::new(0),
        }
    }

    /// The encoding of `source` in a form, which `make` makes when there is none yet.
    pub fn get(&self, source: &Bytes, form: F, make: impl FnOnce() -> Vec<u8>) -> Bytes {
        self.get_until(source, form, i64::MIN, || make().into())
    }

    /// The same for what is only true for a time; `now` in seconds since 1970.
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
        let cell = self.lock().cell(key.clone(), source, now);
        let mut is_new = false;
        let encoded = cell.get_or_init(|| {
            is_new = true;
            make()
        });
        if is_new {
            self.made.fetch_add(1, Ordering::Relaxed);
            self.lock().settle(&key, &cell, self.limit_bytes);
        } else {
            self.shared.fetch_add(1, Ordering::Relaxed);
        }
        encoded.bytes.clone()
    }

    /// How many encodings were made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// How often one was there already.
    #[must_use]
    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// How many bytes it holds now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, CacheState<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Clone + Eq + Hash> CacheState<F> {
    /// The cell of a key, empty for who comes first.
    fn cell(
        &mut self,
        key: CacheKey<F>,
        source: &Bytes,
        now: i64,
    ) -> Arc<OnceLock<CachedEncoding>> {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.is_wanted = true;
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
                is_wanted: false,
            },
        );
        self.bytes += bytes;
        self.turn.push_back(key);
        cell
    }

    /// Counts what has been made, and makes room.
    fn settle(
        &mut self,
        key: &CacheKey<F>,
        cell: &Arc<OnceLock<CachedEncoding>>,
        limit_bytes: usize,
    ) {
        // It may have been dropped, or replaced, while it was made.
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
        for _ in 0..LOOKED_AT {
            self.look(|entry| entry.source.is_unique());
        }
        while self.bytes > limit_bytes && !self.turn.is_empty() {
            self.look(|entry| entry.source.is_unique() || !std::mem::take(&mut entry.is_wanted));
        }
    }

    /// Looks at the entry whose turn it is: it goes, or waits for its next turn.
    fn look(&mut self, is_over: impl FnOnce(&mut CacheEntry) -> bool) {
        let Some(key) = self.turn.pop_front() else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(&key) {
            if is_over(entry) {
                self.bytes -= entry.bytes;
                self.entries.remove(&key);
            } else {
                self.turn.push_back(key);
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
    fn what_was_encoded_is_not_encoded_again() {
        let cache = EncodingCache::holding(10_000);
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
    fn an_encoding_that_is_no_longer_true_is_made_again() {
        let cache = EncodingCache::holding(10_000);
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
    fn what_nobody_can_ask_for_again_is_dropped() {
        let cache = EncodingCache::holding(usize::MAX);
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
    fn the_limit_holds_and_what_is_asked_for_stays() {
        const LIMIT: usize = 100 * (ENTRY_BYTES + 8);
        let cache = EncodingCache::holding(LIMIT);
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
    fn many_who_ask_at_once_wait_for_one() {
        let cache = EncodingCache::holding(10_000);
        let source = Bytes::from(b"abc".to_vec());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(cache.get(&source, (), || text(&source)), "<abc>"));
            }
        });
        assert_eq!((cache.made(), cache.shared()), (1, 7));
    }
}
