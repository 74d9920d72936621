//! Finding records of one collection by terms that the layer above derives from them.
//!
//! The index is a part of the state, so that a snapshot and a commit each see exactly the terms of
//! the records that they see. It is never persisted: the terms come from the records.

use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use crate::record::Record;

/// Says under which terms the records of a collection are found. A collection has at most one
/// index.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// The collection, without a separator at its end.
    pub collection: &'static str,
    /// Returns the terms of a record. It must be quick and depend on the record's bytes only.
    pub terms: fn(&Record) -> Vec<String>,
}

/// The terms of one index in one state, and the keys behind each.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    index: Index,
    keys: RedBlackTreeMapSync<Arc<str>, RedBlackTreeSetSync<Arc<str>>>,
}

/// How the index changes with one record.
pub(crate) struct TermChange {
    key: Arc<str>,
    old: Vec<String>,
    new: Vec<String>,
}

impl Terms {
    pub(crate) fn of<'a>(index: Index, records: impl Iterator<Item = &'a Arc<Record>>) -> Self {
        let mut terms = Self {
            index,
            keys: RedBlackTreeMapSync::new_sync(),
        };
        for record in records {
            if let Some(change) = terms.change(&record.key, None, Some(record)) {
                terms.apply(change);
            }
        }
        terms
    }

    /// Compares the terms of a key's old and new record; `None` when they are equal, as for most
    /// writes.
    pub(crate) fn change(
        &self,
        key: &Arc<str>,
        old: Option<&Record>,
        new: Option<&Record>,
    ) -> Option<TermChange> {
        let terms = |record: Option<&Record>| record.map(self.index.terms).unwrap_or_default();
        let (old, new) = (terms(old), terms(new));
        (old != new).then(|| TermChange {
            key: Arc::clone(key),
            old,
            new,
        })
    }

    pub(crate) fn apply(&mut self, change: TermChange) {
        let TermChange { key, old, new } = change;
        old.iter().for_each(|term| self.forget(term, &key));
        new.into_iter().for_each(|term| self.learn(term, &key));
    }

    pub(crate) fn keys(&self, term: &str) -> impl Iterator<Item = &Arc<str>> {
        self.keys
            .get(term)
            .into_iter()
            .flat_map(RedBlackTreeSetSync::iter)
    }

    fn learn(&mut self, term: String, key: &Arc<str>) {
        match self.keys.get_mut(term.as_str()) {
            Some(keys) => keys.insert_mut(Arc::clone(key)),
            None => {
                let mut keys = RedBlackTreeSetSync::new_sync();
                keys.insert_mut(Arc::clone(key));
                self.keys.insert_mut(term.into(), keys);
            }
        }
    }

    fn forget(&mut self, term: &str, key: &Arc<str>) {
        let Some(keys) = self.keys.get_mut(term) else {
            return;
        };
        keys.remove_mut(key);
        if keys.is_empty() {
            self.keys.remove_mut(term);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Store};

    /// The words of the value.
    fn words(record: &Record) -> Vec<String> {
        String::from_utf8_lossy(&record.value)
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }

    const BOOKS: Index = Index {
        collection: "books",
        terms: words,
    };
    const BIRDS: Index = Index {
        collection: "birds",
        terms: words,
    };

    fn found(store: &Store, term: &str) -> Vec<String> {
        store
            .snapshot()
            .indexed(&BOOKS, term)
            .map(|record| record.key.to_string())
            .collect()
    }

    async fn write(store: &Store, key: &str, value: &str) {
        let put = |txn: &mut crate::Txn| {
            txn.put(key, value.to_owned(), None);
            Ok::<_, ()>(())
        };
        store.commit(put).await.expect("committed");
    }

    #[tokio::test]
    async fn terms_follow_the_records_and_snapshots_keep_theirs() {
        let store = Store::open_memory_with(Options::default());
        write(&store, "books/a", "red small").await;
        store.index(BOOKS);
        write(&store, "books/b", "red").await;
        write(&store, "birds/a", "red").await;
        assert_eq!(found(&store, "red"), ["books/a", "books/b"]);
        let before = store.snapshot();
        write(&store, "books/a", "small").await;
        assert_eq!(found(&store, "red"), ["books/b"]);
        assert_eq!(found(&store, "small"), ["books/a"]);
        let removed = store.commit(|txn| {
            txn.remove("books/b", None);
            Ok::<_, ()>(txn.indexed(&BOOKS, "red").count())
        });
        assert_eq!(removed.await.expect("committed").value, 0);
        assert_eq!(found(&store, "red"), [""; 0]);
        assert_eq!(before.indexed(&BOOKS, "red").count(), 2);
    }

    #[tokio::test]
    async fn a_refused_commit_leaves_no_terms() {
        let store = Store::open_memory_with(Options::default());
        store.index(BOOKS);
        let refused = store.commit(|txn| {
            txn.put("books/a", "red", None);
            Err::<(), _>(txn.indexed(&BOOKS, "red").count())
        });
        assert!(matches!(refused.await, Err(crate::CommitError::Refused(1))));
        assert_eq!(found(&store, "red"), [""; 0]);
    }

    #[tokio::test]
    async fn collections_have_indexes_of_their_own() {
        let store = Store::open_memory_with(Options::default());
        write(&store, "books/a", "red").await;
        write(&store, "birds/a", "red").await;
        assert_eq!(store.snapshot().indexed(&BIRDS, "red").count(), 0);
        store.index(BOOKS);
        store.index(BIRDS);
        write(&store, "birds/b", "red").await;
        write(&store, "birds/a", "blue").await;
        let birds = store.snapshot().indexed(&BIRDS, "red").next();
        assert_eq!(
            birds.map(|bird| bird.key.to_string()).as_deref(),
            Some("birds/b")
        );
        assert_eq!(found(&store, "red"), ["books/a"]);
    }
}
