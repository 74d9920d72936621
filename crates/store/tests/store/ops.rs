//! Short forms of the operations that most tests use.

use std::convert::Infallible;
use std::sync::Arc;

use store::{Record, Revision, Store, StoreEvent, StoreOptions, Txn, Watch};

/// Commits `decide`, which cannot refuse.
pub(crate) async fn commit<T: Send>(
    store: &Store,
    mut decide: impl FnMut(&mut Txn) -> T + Send,
) -> T {
    store
        .commit(|txn| Ok::<_, Infallible>(decide(txn)))
        .await
        .expect("a commit")
        .value
}

pub(crate) async fn put(store: &Store, key: &str, value: &str) -> Revision {
    commit(store, |txn| txn.put(key, value.to_owned(), None).modified).await
}

pub(crate) async fn remove(store: &Store, key: &str) {
    commit(store, |txn| txn.remove(key, None))
        .await
        .expect("it was there");
}

pub(crate) fn keys(records: impl Iterator<Item = Arc<Record>>) -> Vec<String> {
    records.map(|record| record.key.to_string()).collect()
}

/// `+key=value` for a put and `-key` for a removal.
pub(crate) fn render(event: &StoreEvent) -> String {
    let record = &event.record;
    if event.removed {
        format!("-{}", record.key)
    } else {
        format!("+{}={}", record.key, text(record))
    }
}

pub(crate) fn text(record: &Record) -> &str {
    std::str::from_utf8(&record.value).expect("text")
}

/// The next `count` events.
pub(crate) async fn next(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    while events.len() < count {
        let batch = watch
            .next()
            .await
            .expect("an open store")
            .expect("no compaction");
        assert!(!batch.is_empty());
        events.extend(batch.iter().map(|event| render(event)));
    }
    events
}

pub(crate) fn small_history(events: usize) -> StoreOptions {
    StoreOptions {
        history_events: events,
        ..StoreOptions::default()
    }
}
