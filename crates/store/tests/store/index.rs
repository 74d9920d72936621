//! The indexes of collections, as snapshots and transactions see them.

use store::{CommitError, Index, Record, Revision, Store};

use crate::ops::{commit, put, remove};

/// The terms of a record in these tests: the words of its value.
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

fn found(store: &Store, index: &Index, term: &str) -> Vec<String> {
    let snapshot = store.snapshot();
    let records = snapshot.indexed(index, term);
    records.map(|record| record.key.to_string()).collect()
}

#[tokio::test]
async fn terms_follow_the_records_and_snapshots_keep_theirs() {
    let store = Store::open_memory();
    put(&store, "books/a", "red small").await;
    store.index(BOOKS);
    put(&store, "books/b", "red").await;
    put(&store, "birds/a", "red").await;
    assert_eq!(found(&store, &BOOKS, "red"), ["books/a", "books/b"]);
    let before = store.snapshot();
    put(&store, "books/a", "small").await;
    assert_eq!(found(&store, &BOOKS, "red"), ["books/b"]);
    assert_eq!(found(&store, &BOOKS, "small"), ["books/a"]);
    let left = commit(&store, |txn| {
        txn.remove("books/b", None);
        txn.indexed(&BOOKS, "red").count()
    });
    assert_eq!(left.await, 0);
    assert_eq!(found(&store, &BOOKS, "red"), [""; 0]);
    assert_eq!(before.indexed(&BOOKS, "red").count(), 2);
}

#[tokio::test]
async fn a_removed_record_keeps_its_terms_in_older_snapshots() {
    let store = Store::open_memory();
    store.index(BOOKS);
    put(&store, "books/a", "red").await;
    remove(&store, "books/a").await;
    assert_eq!(found(&store, &BOOKS, "red"), [""; 0]);
    let old = store.snapshot_at(Revision(1)).expect("in the history");
    assert_eq!(old.indexed(&BOOKS, "red").count(), 1);
}

#[tokio::test]
async fn a_refused_commit_leaves_no_terms() {
    let store = Store::open_memory();
    store.index(BOOKS);
    let refused = store.commit(|txn| {
        txn.put("books/a", "red", None);
        Err::<(), _>(txn.indexed(&BOOKS, "red").count())
    });
    assert!(matches!(refused.await, Err(CommitError::Refused(1))));
    assert_eq!(found(&store, &BOOKS, "red"), [""; 0]);
}

#[tokio::test]
async fn collections_have_indexes_of_their_own() {
    let store = Store::open_memory();
    put(&store, "books/a", "red").await;
    put(&store, "birds/a", "red").await;
    assert_eq!(found(&store, &BIRDS, "red"), [""; 0], "not indexed yet");
    store.index(BOOKS);
    store.index(BIRDS);
    put(&store, "birds/b", "red").await;
    put(&store, "birds/a", "blue").await;
    assert_eq!(found(&store, &BIRDS, "red"), ["birds/b"]);
    assert_eq!(found(&store, &BOOKS, "red"), ["books/a"]);
}
