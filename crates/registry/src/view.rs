//! Reading the store at one moment, be it a snapshot or the inside of a commit.

use std::sync::Arc;

use store::{Record, Snapshot, Txn};

/// The state of the store at one moment.
pub(crate) trait View {
    /// The record of a key.
    fn record(&self, key: &str) -> Option<Arc<Record>>;
    /// All records whose key begins with `prefix`, in the order of their keys.
    fn records(&self, prefix: &str) -> impl Iterator<Item = Arc<Record>>;
    /// The budgets that have this term, see `pod/eviction/candidates.rs`.
    fn budgets(&self, term: &str) -> impl Iterator<Item = Arc<Record>>;
}

impl View for Snapshot {
    fn record(&self, key: &str) -> Option<Arc<Record>> {
        self.get(key)
    }

    fn records(&self, prefix: &str) -> impl Iterator<Item = Arc<Record>> {
        self.range(prefix, None)
    }

    fn budgets(&self, term: &str) -> impl Iterator<Item = Arc<Record>> {
        self.indexed(term)
    }
}

impl View for Txn {
    fn record(&self, key: &str) -> Option<Arc<Record>> {
        self.get(key)
    }

    fn records(&self, prefix: &str) -> impl Iterator<Item = Arc<Record>> {
        self.range(prefix)
    }

    fn budgets(&self, term: &str) -> impl Iterator<Item = Arc<Record>> {
        self.indexed(term)
    }
}
