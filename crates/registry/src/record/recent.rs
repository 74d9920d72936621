//! The trees of the objects that were read or written last, so that who changes one of them again need not parse it:
//! an object that has just come is bound, reported and patched within seconds, and each pod of a namespace looks at the
//! same account.
//!
//! What a whole process keeps is bounded together, by the bytes of the objects that the trees stand for; the oldest go
//! first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kinds::Tree;

use super::Facts;

/// The bytes of all objects whose trees are kept, which take several times as much. Some thousand pods.
const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// Larger objects are rare, and would push out all others.
const LARGEST_BYTES: usize = 64 * 1024;

/// The tree of a record, while it is a recent one.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Option<Tree>>);

impl Recent {
    pub(super) const fn none() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn get(&self) -> Option<Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, tree: Option<Tree>) {
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), tree);
        drop(before);
    }
}

/// The kept ones, the oldest first.
static ORDER: Mutex<Order> = Mutex::new(Order { entries: VecDeque::new(), bytes: 0 });

struct Order {
    entries: VecDeque<(Weak<Facts>, usize)>,
    bytes: usize,
}

impl Order {
    /// Adds one; gives back those that have to go.
    fn add(&mut self, facts: &Arc<Facts>, bytes: usize) -> Vec<Weak<Facts>> {
        self.entries.push_back((Arc::downgrade(facts), bytes));
        self.bytes += bytes;
        let mut oldest = Vec::new();
        while self.bytes > KEPT_BYTES
            && let Some((facts, bytes)) = self.entries.pop_front()
        {
            self.bytes -= bytes;
            oldest.push(facts);
        }
        oldest
    }
}

/// Keeps the tree of a record of so many bytes. It must be what parsing the bytes gives.
pub(super) fn keep(facts: &Arc<Facts>, tree: &Tree, bytes: usize) {
    if bytes > LARGEST_BYTES {
        return;
    }
    facts.recent.set(Some(tree.clone()));
    let oldest = ORDER.lock().unwrap_or_else(PoisonError::into_inner).add(facts, bytes);
    for facts in oldest.iter().filter_map(Weak::upgrade) {
        facts.recent.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut order = Order { entries: VecDeque::new(), bytes: 0 };
        let facts: Vec<Arc<Facts>> = (0..3).map(|_| Arc::default()).collect();
        assert!(order.add(&facts[0], KEPT_BYTES / 2).is_empty());
        assert!(order.add(&facts[1], KEPT_BYTES / 2).is_empty());
        let gone = order.add(&facts[2], KEPT_BYTES / 2);
        assert_eq!(gone.len(), 1);
        assert!(gone[0].ptr_eq(&Arc::downgrade(&facts[0])));
        assert_eq!(order.bytes, KEPT_BYTES);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let facts = Arc::<Facts>::default();
        keep(&facts, &Tree::Bool(true), LARGEST_BYTES + 1);
        assert_eq!(facts.recent.get(), None);
        keep(&facts, &Tree::Bool(true), 4);
        assert_eq!(facts.recent.get(), Some(Tree::Bool(true)));
    }
}
