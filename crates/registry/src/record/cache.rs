//! The trees of the objects that a registry read or wrote last, so that a second change does not
//! parse the object again: a new object is bound, reported and patched within seconds, and each pod
//! of a namespace looks at the same account.
//!
//! One cache belongs to one registry, which bounds it by the bytes of the objects that the trees
//! stand for. The oldest trees go first. The tree of a replaced state goes at once; a reader that
//! still sees that state may bring it back for a while.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use kinds::Tree;

use super::Facts;

/// The most bytes of objects whose trees are cached: some thousand pods. The trees take several
/// times as much memory.
const CACHED_BYTES: usize = 8 * 1024 * 1024;
/// Larger objects are not cached: they are rare, and one would evict many others.
const LARGEST_BYTES: usize = 64 * 1024;
/// The list of cached trees is swept when it has this many entries, or twice as many as the last
/// sweep left, so that a sweep costs a constant share of each insertion.
const MIN_SWEEP: usize = 4096;

/// The cache of one registry. Clones are handles to the same cache.
#[derive(Clone, Debug)]
pub(crate) struct TreeCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes: AtomicUsize,
    insertions: AtomicU64,
    order: Mutex<InsertionOrder>,
}

/// The records whose trees were cached, each with the number of its insertion, the oldest first.
/// Some trees have been dropped since.
#[derive(Debug)]
struct InsertionOrder {
    entries: VecDeque<(Weak<Facts>, u64)>,
    sweep_at: usize,
}

/// The place of one record's tree. It is empty before the tree is cached and after it is dropped.
#[derive(Debug, Default)]
pub(super) struct TreeSlot(Mutex<Option<CachedTree>>);

#[derive(Debug)]
struct CachedTree {
    tree: Tree,
    /// The bytes that the tree accounts for in its cache.
    bytes: usize,
    /// The number of the insertion, which differs each time the same slot is filled.
    insertion: u64,
    cache: Arc<Shared>,
}

impl TreeSlot {
    /// Returns the tree if it is cached.
    pub(super) fn get(&self) -> Option<Tree> {
        self.lock().as_ref().map(|cached| cached.tree.clone())
    }

    /// Drops the tree, because its record has been replaced.
    pub(super) fn clear(&self) {
        self.set(None);
    }

    fn set(&self, cached: Option<CachedTree>) {
        // The old tree is dropped after the lock is released: freeing a large one takes long.
        let before = std::mem::replace(&mut *self.lock(), cached);
        drop(before);
    }

    fn insertion(&self) -> Option<u64> {
        self.lock().as_ref().map(|cached| cached.insertion)
    }

    /// Takes the tree of this insertion, unless the slot has been filled again since.
    fn take(&self, insertion: u64) -> Option<CachedTree> {
        self.lock().take_if(|cached| cached.insertion == insertion)
    }

    fn lock(&self) -> MutexGuard<'_, Option<CachedTree>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CachedTree {
    fn drop(&mut self) {
        self.cache.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Default for TreeCache {
    fn default() -> Self {
        let order = InsertionOrder {
            entries: VecDeque::new(),
            sweep_at: MIN_SWEEP,
        };
        let shared = Shared {
            bytes: AtomicUsize::new(0),
            insertions: AtomicU64::new(0),
            order: Mutex::new(order),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl TreeCache {
    /// Caches the tree of a record of so many bytes, and drops the oldest trees beyond the bound.
    /// The tree must be what parsing the bytes gives.
    pub(super) fn insert(&self, facts: &Arc<Facts>, tree: Tree, bytes: usize) {
        if bytes > LARGEST_BYTES {
            return facts.slot.clear();
        }
        let shared = &self.shared;
        shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        let insertion = shared.insertions.fetch_add(1, Ordering::Relaxed);
        facts.slot.set(Some(CachedTree {
            tree,
            bytes,
            insertion,
            cache: Arc::clone(shared),
        }));
        shared.order().push(facts, insertion);
        while shared.bytes.load(Ordering::Relaxed) > CACHED_BYTES
            && let Some((oldest, insertion)) = shared.pop_oldest()
        {
            drop(
                oldest
                    .upgrade()
                    .and_then(|facts| facts.slot.take(insertion)),
            );
        }
    }
}

impl Shared {
    /// Returns the oldest entry, so that the caller drops its tree after the lock is released.
    fn pop_oldest(&self) -> Option<(Weak<Facts>, u64)> {
        self.order().entries.pop_front()
    }

    fn order(&self) -> MutexGuard<'_, InsertionOrder> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InsertionOrder {
    fn push(&mut self, facts: &Arc<Facts>, insertion: u64) {
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|(entry, insertion)| {
                entry
                    .upgrade()
                    .is_some_and(|facts| facts.slot.insertion() == Some(*insertion))
            });
            self.sweep_at = MIN_SWEEP.max(2 * self.entries.len());
        }
        self.entries.push_back((Arc::downgrade(facts), insertion));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(cache: &TreeCache, bytes: usize) -> Arc<Facts> {
        let facts = Arc::default();
        cache.insert(&facts, Tree::Bool(true), bytes);
        facts
    }

    fn is_cached(facts: &Arc<Facts>) -> bool {
        facts.slot.get().is_some()
    }

    fn bytes(cache: &TreeCache) -> usize {
        cache.shared.bytes.load(Ordering::Relaxed)
    }

    fn entries(cache: &TreeCache) -> usize {
        cache.shared.order().entries.len()
    }

    #[test]
    fn the_oldest_trees_go_when_the_bound_is_reached() {
        let cache = TreeCache::default();
        let facts: Vec<_> = (0..=CACHED_BYTES / LARGEST_BYTES)
            .map(|_| insert(&cache, LARGEST_BYTES))
            .collect();
        let cached: Vec<bool> = facts.iter().map(is_cached).collect();
        assert!(
            !cached[0] && cached[1..].iter().all(|cached| *cached),
            "{cached:?}"
        );
        assert_eq!(bytes(&cache), CACHED_BYTES);
    }

    #[test]
    fn caches_share_no_bound() {
        let (one, other) = (TreeCache::default(), TreeCache::default());
        let first = insert(&one, LARGEST_BYTES);
        let others: Vec<_> = (0..2 * CACHED_BYTES / LARGEST_BYTES)
            .map(|_| insert(&other, LARGEST_BYTES))
            .collect();
        assert!(is_cached(&first) && !is_cached(&others[0]));
        assert_eq!(bytes(&one), LARGEST_BYTES);
    }

    #[test]
    fn a_dropped_tree_makes_room() {
        let cache = TreeCache::default();
        let first = insert(&cache, LARGEST_BYTES);
        // One object that is written again and again.
        for _ in 0..2 * CACHED_BYTES / LARGEST_BYTES {
            insert(&cache, LARGEST_BYTES).slot.clear();
        }
        // The record of a deleted object.
        drop(insert(&cache, LARGEST_BYTES));
        assert_eq!(first.slot.get(), Some(Tree::Bool(true)));
        assert_eq!(bytes(&cache), LARGEST_BYTES);
    }

    #[test]
    fn entries_of_dropped_trees_do_not_accumulate() {
        let cache = TreeCache::default();
        let first = insert(&cache, 1);
        (0..3 * MIN_SWEEP).for_each(|_| drop(insert(&cache, 1)));
        assert!(entries(&cache) <= MIN_SWEEP + 1, "{}", entries(&cache));
        let order = cache.shared.order();
        assert!(order.entries[0].0.ptr_eq(&Arc::downgrade(&first)));
    }

    #[test]
    fn a_tree_that_is_cached_again_counts_once_and_is_the_newest() {
        let cache = TreeCache::default();
        let again = insert(&cache, LARGEST_BYTES);
        for _ in 0..3 * MIN_SWEEP {
            again.slot.clear();
            cache.insert(&again, Tree::Bool(true), LARGEST_BYTES);
        }
        assert!(entries(&cache) <= MIN_SWEEP + 1, "{}", entries(&cache));
        let others: Vec<_> = (1..CACHED_BYTES / LARGEST_BYTES)
            .map(|_| insert(&cache, LARGEST_BYTES))
            .collect();
        again.slot.clear();
        cache.insert(&again, Tree::Bool(true), LARGEST_BYTES);
        let last = insert(&cache, LARGEST_BYTES);
        assert!(!is_cached(&others[0]) && others[1..].iter().all(is_cached));
        assert!(is_cached(&again) && is_cached(&last));
    }

    #[test]
    fn a_large_object_is_not_cached() {
        let cache = TreeCache::default();
        let grown = insert(&cache, 4);
        cache.insert(&grown, Tree::Bool(false), LARGEST_BYTES + 1);
        assert_eq!(grown.slot.get(), None);
        assert_eq!(insert(&cache, LARGEST_BYTES + 1).slot.get(), None);
        assert_eq!(insert(&cache, 4).slot.get(), Some(Tree::Bool(true)));
    }
}
