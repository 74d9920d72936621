//! The trees of the objects that were read or written last, so that who changes one of them again need not parse it:
//! an object that has just come is bound, reported and patched within seconds, and each pod of a namespace looks at the
//! same account.
//!
//! What a whole process keeps is bounded together, by the bytes of the objects that the trees stand for; the oldest go
//! first, and the tree of a state that has been replaced goes at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use kinds::Tree;

use super::Facts;

/// The bytes of all objects whose trees are kept, which take several times as much. Some thousand pods.
const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// Larger objects are rare, and would push out all others.
const LARGEST_BYTES: usize = 64 * 1024;

/// The tree of a record, while it is a recent one.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Option<Kept>>);

impl Recent {
    pub(super) const fn none() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn get(&self) -> Option<Tree> {
        self.lock().as_ref().map(|kept| kept.tree.clone())
    }

    /// Forgets the tree: its record has been replaced or is too old.
    pub(super) fn forget(&self) {
        self.set(None);
    }

    fn set(&self, kept: Option<Kept>) {
        let before = std::mem::replace(&mut *self.lock(), kept);
        drop(before);
    }

    fn is_kept(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tree that counts as so many bytes while it is kept.
#[derive(Debug)]
struct Kept {
    tree: Tree,
    bytes: usize,
    shelf: &'static Shelf,
}

impl Kept {
    fn new(tree: Tree, bytes: usize, shelf: &'static Shelf) -> Self {
        shelf.bytes.fetch_add(bytes, Ordering::Relaxed);
        Self { tree, bytes, shelf }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.shelf.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Keeps the tree of a record of so many bytes. It must be what parsing the bytes gives.
pub(super) fn keep(facts: &Arc<Facts>, tree: Tree, bytes: usize) {
    SHELF.keep(facts, tree, bytes);
}

static SHELF: Shelf = Shelf::new();

/// All trees that are kept.
#[derive(Debug)]
struct Shelf {
    bytes: AtomicUsize,
    order: Mutex<Order>,
}

/// Those whose trees were kept, the oldest first. Some have been forgotten since.
#[derive(Debug)]
struct Order {
    entries: VecDeque<Weak<Facts>>,
    /// With so many entries, those that were forgotten are swept out.
    sweeps_at: usize,
}

/// The fewest entries that are worth a sweep.
const FEW: usize = 4096;

impl Shelf {
    const fn new() -> Self {
        Self { bytes: AtomicUsize::new(0), order: Mutex::new(Order { entries: VecDeque::new(), sweeps_at: FEW }) }
    }

    fn keep(&'static self, facts: &Arc<Facts>, tree: Tree, bytes: usize) {
        if bytes > LARGEST_BYTES {
            return;
        }
        facts.recent.set(Some(Kept::new(tree, bytes, self)));
        self.order().add(facts);
        while self.bytes.load(Ordering::Relaxed) > KEPT_BYTES
            && let Some(oldest) = self.pop()
        {
            if let Some(oldest) = oldest.upgrade() {
                oldest.recent.forget();
            }
        }
    }

    /// A tree is not dropped under the lock, which others wait for.
    fn pop(&self) -> Option<Weak<Facts>> {
        self.order().entries.pop_front()
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Order {
    fn add(&mut self, facts: &Arc<Facts>) {
        if self.entries.len() >= self.sweeps_at {
            self.entries.retain(|entry| entry.upgrade().is_some_and(|facts| facts.recent.is_kept()));
            self.sweeps_at = FEW.max(2 * self.entries.len());
        }
        self.entries.push_back(Arc::downgrade(facts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> &'static Shelf {
        Box::leak(Box::new(Shelf::new()))
    }

    fn put(shelf: &'static Shelf, bytes: usize) -> Arc<Facts> {
        let facts = Arc::default();
        shelf.keep(&facts, Tree::Bool(true), bytes);
        facts
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let shelf = shelf();
        let facts: Vec<_> = (0..=KEPT_BYTES / LARGEST_BYTES).map(|_| put(shelf, LARGEST_BYTES)).collect();
        let kept: Vec<bool> = facts.iter().map(|facts| facts.recent.is_kept()).collect();
        assert!(!kept[0] && kept[1..].iter().all(|kept| *kept), "{kept:?}");
        assert_eq!(shelf.bytes.load(Ordering::Relaxed), KEPT_BYTES);
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let shelf = shelf();
        let first = put(shelf, LARGEST_BYTES);
        // One object that is written again and again.
        for _ in 0..2 * KEPT_BYTES / LARGEST_BYTES {
            put(shelf, LARGEST_BYTES).recent.forget();
        }
        // The state of one that is gone.
        drop(put(shelf, LARGEST_BYTES));
        assert_eq!(first.recent.get(), Some(Tree::Bool(true)));
        assert_eq!(shelf.bytes.load(Ordering::Relaxed), LARGEST_BYTES);
    }

    #[test]
    fn those_that_are_forgotten_do_not_pile_up() {
        let shelf = shelf();
        let first = put(shelf, 1);
        (0..3 * FEW).for_each(|_| drop(put(shelf, 1)));
        let order = shelf.order();
        assert!(order.entries.len() <= FEW + 1, "{}", order.entries.len());
        assert!(order.entries[0].ptr_eq(&Arc::downgrade(&first)));
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let shelf = shelf();
        assert_eq!(put(shelf, LARGEST_BYTES + 1).recent.get(), None);
        assert_eq!(put(shelf, 4).recent.get(), Some(Tree::Bool(true)));
    }
}
