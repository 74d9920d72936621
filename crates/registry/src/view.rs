//! Reads of the store that serve a snapshot and the inside of a commit alike.

use std::sync::Arc;

use store::{Index, Record, Snapshot, Txn};

/// The state of the store at one revision.
pub(crate) trait StoreView {
    /// Returns the record of a key.
    fn record(&self, key: &str) -> Option<Arc<Record>>;
    /// Returns all records whose key begins with `prefix`, in the order of their keys.
    fn records(&self, prefix: &str) -> impl Iterator<Item = Arc<Record>>;
    /// Returns the records that have this term in an index, in the order of their keys.
    fn indexed(&self, index: &Index, term: &str) -> impl Iterator<Item = Arc<Record>>;
}

impl StoreView for Snapshot {
    fn record(&self, key: &str) -> Option<Arc<Record>> {
        self.get(key)
    }

    fn records(&self, prefix: &str) -> impl Iterator<Item = Arc<Record>> {
        self.range(prefix, None)
    }

    fn indexed(&self, index: &Index, term: &str) -> impl Iterator<Item = Arc<Record>> {
        self.indexed(index, term)
    }
}

impl StoreView for Txn {
    fn record(&self, key: &str) -> Option<Arc<Record>> {
        self.get(key)
    }

    fn records(&self, prefix: &str) -> impl Iterator<Item = Arc<Record>> {
        self.range(prefix)
    }

    fn indexed(&self, index: &Index, term: &str) -> impl Iterator<Item = Arc<Record>> {
        self.indexed(index, term)
    }
}
