//! What every store does with commits.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use store::{CommitError, Record, Revision, Unstorable};

use crate::engines::TestEngine;
use crate::ops::{commit, keys, put, render, text};

pub(crate) async fn a_committed_write_can_be_read(engine: TestEngine) {
    let store = engine.open();
    assert_eq!(store.revision(), Revision(0));
    assert!(store.get("pods/shop/a").is_none());
    let revision = put(&store, "pods/shop/a", "one").await;
    assert_eq!((revision, store.revision()), (Revision(1), Revision(1)));
    put(&store, "pods/shop/a", "two").await;
    let record = store.get("pods/shop/a").expect("written");
    assert_eq!(
        (text(&record), record.created, record.modified),
        ("two", Revision(1), Revision(2))
    );
}

pub(crate) async fn every_write_takes_a_revision_of_its_own(engine: TestEngine) {
    let store = engine.open();
    let mut watch = store.watch("pods", Revision(0)).expect("a watch");
    let committed = store
        .commit(|txn| {
            assert_eq!(txn.next_revision(), Revision(1));
            txn.put("pods/a", "1", None);
            assert_eq!(
                (txn.revision(), txn.next_revision()),
                (Revision(1), Revision(2))
            );
            txn.put("pods/a", "2", None);
            txn.remove("pods/a", Some(Bytes::from("3")));
            Ok::<_, Infallible>("done")
        })
        .await
        .expect("a commit");
    assert_eq!(
        (committed.value, committed.revision, store.revision()),
        ("done", Revision(3), Revision(3))
    );
    let events = watch.next().await.expect("open").expect("kept");
    assert_eq!(
        events
            .iter()
            .map(|event| event.revision.0)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(
        events.iter().map(|event| render(event)).collect::<Vec<_>>(),
        ["+pods/a=1", "+pods/a=2", "-pods/a"]
    );
    assert!(events[0].previous.is_none());
    assert_eq!(
        events[1].previous.as_ref().map(|previous| text(previous)),
        Some("1")
    );
    assert_eq!(
        events[2].previous.as_ref().map(|previous| text(previous)),
        Some("2")
    );
}

pub(crate) async fn a_refused_commit_changes_nothing(engine: TestEngine) {
    let store = engine.open();
    put(&store, "pods/a", "1").await;
    let refused = store
        .commit(|txn| {
            txn.put("pods/a", "2", None);
            txn.remove("pods/a", None);
            Err::<(), _>("no")
        })
        .await;
    assert!(matches!(refused, Err(CommitError::Refused("no"))));
    assert_eq!(
        (store.revision(), text(&store.get("pods/a").expect("kept"))),
        (Revision(1), "1")
    );
    assert_eq!(put(&store, "pods/b", "1").await, Revision(2));
}

pub(crate) async fn a_commit_reads_its_own_writes(engine: TestEngine) {
    let store = engine.open();
    put(&store, "pods/a", "1").await;
    commit(&store, |txn| {
        txn.put("pods/b", "2", None);
        txn.remove("pods/a", None);
        assert!(txn.get("pods/a").is_none());
        assert_eq!(keys(txn.range("pods/")), ["pods/b"]);
        txn.put("pods/a", "3", None);
        assert_eq!(keys(txn.range("pods/")), ["pods/a", "pods/b"]);
        assert_eq!(
            txn.get("pods/a").map(|record| record.created),
            Some(Revision(4)),
            "created again"
        );
    })
    .await;
}

pub(crate) async fn a_removal_leaves_its_final_bytes_in_the_event_only(engine: TestEngine) {
    let store = engine.open();
    put(&store, "pods/a", "1").await;
    let last = commit(&store, |txn| {
        txn.remove("pods/a", Some(Bytes::from("last")))
    })
    .await
    .expect("it was there");
    assert_eq!(
        (text(&last), last.created, last.modified),
        ("last", Revision(1), Revision(2))
    );
    assert!(store.get("pods/a").is_none());
    let events = store
        .watch("pods/", Revision(1))
        .expect("kept")
        .next()
        .await
        .expect("open")
        .expect("kept");
    assert!(events[0].removed);
    assert_eq!(
        (text(&events[0].record), events[0].revision),
        ("last", Revision(2))
    );
    assert_eq!(
        events[0].previous.as_ref().map(|previous| text(previous)),
        Some("1")
    );
}

pub(crate) async fn removing_a_missing_key_takes_no_revision(engine: TestEngine) {
    let store = engine.open();
    put(&store, "pods/a", "1").await;
    assert!(
        commit(&store, |txn| txn.remove("pods/b", Some(Bytes::new())))
            .await
            .is_none()
    );
    assert!(
        commit(&store, |txn| txn.remove("nodes/b", None))
            .await
            .is_none()
    );
    assert_eq!(store.revision(), Revision(1));
}

pub(crate) async fn concurrent_commits_are_serialized(engine: TestEngine) {
    let store = engine.open();
    put(&store, "counters/a", "0").await;
    let tasks: Vec<_> = (0..20)
        .map(|_| store.clone())
        .map(|store| {
            tokio::task::spawn(async move {
                for _ in 0..20 {
                    commit(&store, |txn| {
                        let record = txn.get("counters/a").expect("there");
                        let count: u64 = text(&record).parse().expect("a number");
                        txn.put("counters/a", (count + 1).to_string(), None);
                    })
                    .await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(store.get("counters/a").expect("there").value, "400");
    assert_eq!(store.revision(), Revision(401));
}

pub(crate) async fn writes_over_the_limits_are_refused(engine: TestEngine) {
    let store = engine.open();
    for key in [String::new(), "k".repeat(store::MAX_KEY_BYTES + 1)] {
        let refused = store
            .commit(|txn| Ok::<_, Infallible>(txn.put(&key, "1", None)))
            .await;
        assert!(matches!(
            refused,
            Err(CommitError::Unstorable(Unstorable::Key { bytes })) if bytes == key.len()
        ));
    }
    let large = Bytes::from(vec![0; store::MAX_VALUE_BYTES + 1]);
    let refused = store
        .commit(|txn| Ok::<_, Infallible>(txn.put("pods/a", large.clone(), None)))
        .await;
    assert!(matches!(
        refused,
        Err(CommitError::Unstorable(Unstorable::Value { .. }))
    ));
    assert_eq!(store.revision(), Revision(0));
    put(&store, &"k".repeat(store::MAX_KEY_BYTES), "1").await;
}

pub(crate) async fn a_memo_stays_with_its_bytes(engine: TestEngine) {
    let store = engine.open();
    let memo = |record: &Record| {
        record
            .memo
            .get()
            .and_then(|memo| memo.downcast_ref::<u32>())
            .copied()
    };
    let record = commit(&store, |txn| txn.put("pods/a", "1", Some(Arc::new(7_u32)))).await;
    assert_eq!(memo(&record), Some(7));
    assert_eq!(
        store.get("pods/a").map(|record| memo(&record)),
        Some(Some(7))
    );
    let removed = commit(&store, |txn| txn.remove("pods/a", None))
        .await
        .expect("it was there");
    assert_eq!(memo(&removed), Some(7), "the same bytes");
    put(&store, "pods/a", "1").await;
    let removed = commit(&store, |txn| txn.remove("pods/a", Some(Bytes::from("2"))))
        .await
        .expect("it was there");
    assert_eq!(memo(&removed), None, "other bytes");
}

pub(crate) async fn a_panic_in_a_commit_changes_nothing(engine: TestEngine) {
    let store = engine.open();
    let panicking = store.clone();
    let task = tokio::task::spawn(async move {
        commit(&panicking, |txn| {
            txn.put("pods/a", "1", None);
            assert!(txn.get("pods/a").is_none(), "a mistake in the closure");
        })
        .await;
    });
    assert!(task.await.expect_err("it panics").is_panic());
    assert_eq!(put(&store, "pods/b", "1").await, Revision(1));
    assert!(store.get("pods/a").is_none());
}
