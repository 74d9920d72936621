//! Finding records of one collection by terms that the layer above derives from them.
//!
//! The index is a part of the state, so that a snapshot and a commit each see exactly the terms of
//! the records that they see. It is never persisted: the terms come from the records.

use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use crate::record::{Record, collection_of};

/// Says under which terms the records of a collection are found.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// The collection, without a separator at its end.
    pub collection: &'static str,
    /// The terms of a record: quick, and always the same for the same bytes.
    pub terms: fn(&Record) -> Vec<String>,
}

/// The terms of one state, and the keys behind each.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    index: Option<Index>,
    keys: RedBlackTreeMapSync<Arc<str>, RedBlackTreeSetSync<Arc<str>>>,
}

impl Terms {
    pub(crate) fn none() -> Self {
        Self {
            index: None,
            keys: RedBlackTreeMapSync::new_sync(),
        }
    }

    pub(crate) fn of<'a>(index: Index, records: impl Iterator<Item = &'a Arc<Record>>) -> Self {
        let mut terms = Self {
            index: Some(index),
            ..Self::none()
        };
        records.for_each(|record| terms.replace(&record.key, None, Some(record)));
        terms
    }

    /// Whether the keys of this collection have terms.
    pub(crate) fn covers(&self, key: &str) -> bool {
        self.index
            .is_some_and(|index| index.collection == collection_of(key))
    }

    /// The record of a key is another one now. Asked for keys that are covered.
    pub(crate) fn replace(&mut self, key: &Arc<str>, old: Option<&Record>, new: Option<&Record>) {
        let Some(index) = self.index else { return };
        let terms = |record: Option<&Record>| record.map(index.terms).unwrap_or_default();
        let (old, new) = (terms(old), terms(new));
        // Most writes change no term.
        if old == new {
            return;
        }
        old.iter().for_each(|term| self.forget(term, key));
        new.into_iter().for_each(|term| self.learn(term, key));
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

    fn found(store: &Store, term: &str) -> Vec<String> {
        store
            .snapshot()
            .indexed(term)
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
        store.index(Index {
            collection: "books",
            terms: words,
        });
        write(&store, "books/b", "red").await;
        write(&store, "birds/a", "red").await;
        assert_eq!(found(&store, "red"), ["books/a", "books/b"]);
        let before = store.snapshot();
        write(&store, "books/a", "small").await;
        assert_eq!(found(&store, "red"), ["books/b"]);
        assert_eq!(found(&store, "small"), ["books/a"]);
        let removed = store.commit(|txn| {
            txn.remove("books/b", None);
            Ok::<_, ()>(txn.indexed("red").count())
        });
        assert_eq!(removed.await.expect("committed").value, 0);
        assert_eq!(found(&store, "red"), [""; 0]);
        assert_eq!(before.indexed("red").count(), 2);
    }

    #[tokio::test]
    async fn a_refused_commit_leaves_no_terms() {
        let store = Store::open_memory_with(Options::default());
        store.index(Index {
            collection: "books",
            terms: words,
        });
        let refused = store.commit(|txn| {
            txn.put("books/a", "red", None);
            Err::<(), _>(txn.indexed("red").count())
        });
        assert!(matches!(refused.await, Err(crate::CommitError::Refused(1))));
        assert_eq!(found(&store, "red"), [""; 0]);
    }
}
