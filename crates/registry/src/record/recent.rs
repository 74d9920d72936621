//! The trees of the objects that were read or written last, so that who changes one of them again
//! need not parse it: an object that has just come is bound, reported and patched within seconds,
//! and each pod of a namespace looks at the same account.
//!
//! What a whole process keeps is bounded together, by the bytes of the objects that the trees stand
//! for; the oldest go first, and the tree of a state that is replaced goes at once; somebody who
//! still sees that state may bring it back for a while.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use kinds::Tree;

use super::Facts;

/// The bytes of all objects whose trees are kept, which take several times as much. Some thousand
/// pods.
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

    fn turn(&self) -> Option<u64> {
        self.lock().as_ref().map(|kept| kept.turn)
    }

    /// Forgets what was kept in this turn; gives it back to be dropped.
    fn take(&self, turn: u64) -> Option<Kept> {
        self.lock().take_if(|kept| kept.turn == turn)
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
    /// Tells it from what the same record kept earlier.
    turn: u64,
    shelf: &'static Shelf,
}

impl Kept {
    fn new(tree: Tree, bytes: usize, shelf: &'static Shelf) -> Self {
        shelf.bytes.fetch_add(bytes, Ordering::Relaxed);
        Self {
            tree,
            bytes,
            turn: shelf.turns.fetch_add(1, Ordering::Relaxed),
            shelf,
        }
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
    turns: AtomicU64,
    order: Mutex<Order>,
}

/// Those whose trees were kept, each with its turn, the oldest first. Some have been forgotten
/// since.
#[derive(Debug)]
struct Order {
    entries: VecDeque<(Weak<Facts>, u64)>,
    /// With so many entries, those that were forgotten are swept out.
    sweeps_at: usize,
}

/// The fewest entries that are worth a sweep.
const FEW: usize = 4096;

impl Shelf {
    const fn new() -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            order: Mutex::new(Order {
                entries: VecDeque::new(),
                sweeps_at: FEW,
            }),
        }
    }

    fn keep(&'static self, facts: &Arc<Facts>, tree: Tree, bytes: usize) {
        if bytes > LARGEST_BYTES {
            return facts.recent.forget();
        }
        let kept = Kept::new(tree, bytes, self);
        let turn = kept.turn;
        facts.recent.set(Some(kept));
        self.order().add(facts, turn);
        while self.bytes.load(Ordering::Relaxed) > KEPT_BYTES
            && let Some((oldest, turn)) = self.pop()
        {
            drop(oldest.upgrade().and_then(|facts| facts.recent.take(turn)));
        }
    }

    /// Hands out the oldest, so that its tree is not dropped under the lock, which others wait for.
    fn pop(&self) -> Option<(Weak<Facts>, u64)> {
        self.order().entries.pop_front()
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Order {
    fn add(&mut self, facts: &Arc<Facts>, turn: u64) {
        if self.entries.len() >= self.sweeps_at {
            self.entries.retain(|(entry, turn)| {
                entry
                    .upgrade()
                    .is_some_and(|facts| facts.recent.turn() == Some(*turn))
            });
            self.sweeps_at = FEW.max(2 * self.entries.len());
        }
        self.entries.push_back((Arc::downgrade(facts), turn));
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
        let facts: Vec<_> = (0..=KEPT_BYTES / LARGEST_BYTES)
            .map(|_| put(shelf, LARGEST_BYTES))
            .collect();
        let kept: Vec<bool> = facts
            .iter()
            .map(|facts| facts.recent.get().is_some())
            .collect();
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
        assert!(order.entries[0].0.ptr_eq(&Arc::downgrade(&first)));
    }

    #[test]
    fn one_that_is_forgotten_and_kept_again_is_one_and_the_newest() {
        let shelf = shelf();
        let again = put(shelf, LARGEST_BYTES);
        for _ in 0..3 * FEW {
            again.recent.forget();
            shelf.keep(&again, Tree::Bool(true), LARGEST_BYTES);
        }
        assert!(
            shelf.order().entries.len() <= FEW + 1,
            "{}",
            shelf.order().entries.len()
        );
        let others: Vec<_> = (1..KEPT_BYTES / LARGEST_BYTES)
            .map(|_| put(shelf, LARGEST_BYTES))
            .collect();
        again.recent.forget();
        shelf.keep(&again, Tree::Bool(true), LARGEST_BYTES);
        let last = put(shelf, LARGEST_BYTES);
        let kept = |facts: &Arc<Facts>| facts.recent.get().is_some();
        assert!(!kept(&others[0]) && others[1..].iter().all(kept) && kept(&again) && kept(&last));
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let shelf = shelf();
        let grown = put(shelf, 4);
        shelf.keep(&grown, Tree::Bool(false), LARGEST_BYTES + 1);
        assert_eq!(grown.recent.get(), None);
        assert_eq!(put(shelf, LARGEST_BYTES + 1).recent.get(), None);
        assert_eq!(put(shelf, 4).recent.get(), Some(Tree::Bool(true)));
    }
}
