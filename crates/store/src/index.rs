//! An index over one collection, by terms that the layer above derives from its records.
//!
//! The indexes are part of the keyspace, so a snapshot and a commit each see exactly the terms of
//! the records that they see. They are not persisted, because they can be derived from the records.

use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use crate::record::Record;

/// The definition of an index: which terms each record of a collection has. A collection has at
/// most one index.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// The name of the collection, without a trailing separator.
    pub collection: &'static str,
    /// Returns the terms of a record. Must be quick, because it runs inside commits, and must
    /// depend on the record's bytes alone.
    pub terms: fn(&Record) -> Vec<String>,
}

/// The terms of one index in one keyspace, with the keys of the records that have them.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    index: Index,
    keys: RedBlackTreeMapSync<Arc<str>, RedBlackTreeSetSync<Arc<str>>>,
}

/// The change of an index by one write.
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

    /// Compares the terms of a key's old and new record. Returns `None` when they are equal, as
    /// they are for most writes.
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
        old.iter().for_each(|term| self.remove(term, &key));
        new.into_iter().for_each(|term| self.insert(term, &key));
    }

    pub(crate) fn keys(&self, term: &str) -> impl Iterator<Item = &Arc<str>> {
        self.keys
            .get(term)
            .into_iter()
            .flat_map(RedBlackTreeSetSync::iter)
    }

    fn insert(&mut self, term: String, key: &Arc<str>) {
        match self.keys.get_mut(term.as_str()) {
            Some(keys) => keys.insert_mut(Arc::clone(key)),
            None => {
                let mut keys = RedBlackTreeSetSync::new_sync();
                keys.insert_mut(Arc::clone(key));
                self.keys.insert_mut(term.into(), keys);
            }
        }
    }

    fn remove(&mut self, term: &str, key: &Arc<str>) {
        let Some(keys) = self.keys.get_mut(term) else {
            return;
        };
        keys.remove_mut(key);
        if keys.is_empty() {
            self.keys.remove_mut(term);
        }
    }
}
