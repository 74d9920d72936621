//! What every store does when it is closed and opened again.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use store::{Closed, CommitError, Revision};

use crate::engines::TestEngine;
use crate::ops::{commit, next, put, remove};

pub(crate) async fn a_closed_store_refuses_commits_and_ends_watches(engine: TestEngine) {
    let store = engine.open();
    put(&store, "pods/a", "1").await;
    let mut behind = store.watch("pods/", Revision(0)).expect("kept");
    let mut waiting = store.watch("pods/", Revision(1)).expect("kept");
    let waiting = tokio::task::spawn(async move { waiting.next().await.is_none() });
    store.close().await.expect("an orderly end");
    store.close().await.expect("twice is as good");
    let refused = store
        .commit(|txn| Ok::<_, Infallible>(txn.put("pods/a", "2", None)))
        .await;
    assert!(matches!(refused, Err(CommitError::Closed(Closed))));
    assert!(waiting.await.expect("no panic"));
    assert_eq!(
        next(&mut behind, 1).await,
        ["+pods/a=1"],
        "what was due is delivered"
    );
    assert!(behind.next().await.is_none());
    assert!(
        store
            .watch("pods/", Revision(1))
            .expect("kept")
            .next()
            .await
            .is_none()
    );
    assert_eq!(store.get("pods/a").expect("still readable").value, "1");
    assert_eq!(store.reached(Revision(2)).await, Err(Closed));
}

pub(crate) async fn records_and_revisions_survive_a_restart(engine: TestEngine) {
    if !engine.is_durable() {
        return;
    }
    let store = engine.open();
    commit(&store, |txn| {
        txn.put("pods/a", "1", Some(Arc::new(7_u32)));
        txn.put("pods/b", "2", None);
        txn.put("pods/a", "3", None);
        txn.put("nodes/a", vec![0, 255, 10], None);
        txn.put("pods/c", "", None);
    })
    .await;
    remove(&store, "pods/b").await;
    store.close().await.expect("an orderly end");
    drop(store);

    let store = engine.open();
    assert_eq!(
        (store.revision(), store.compacted()),
        (Revision(6), Revision(6)),
        "also when a removal was last"
    );
    let found: HashMap<_, _> = ["nodes", "pods"]
        .iter()
        .flat_map(|prefix| store.snapshot().range(prefix, None).collect::<Vec<_>>())
        .map(|record| {
            (
                record.key.to_string(),
                (record.value.to_vec(), record.created.0, record.modified.0),
            )
        })
        .collect();
    let expected = [
        ("nodes/a", vec![0, 255, 10], 4, 4),
        ("pods/a", b"3".to_vec(), 1, 3),
        ("pods/c", vec![], 5, 5),
    ];
    assert_eq!(
        found,
        expected
            .into_iter()
            .map(|(key, value, from, to)| (key.to_owned(), (value, from, to)))
            .collect()
    );
    assert!(
        store.watch("pods/", Revision(5)).is_err(),
        "older watches are told that they missed something"
    );
    let mut watch = store
        .watch("pods/", Revision(6))
        .expect("the last revision goes on");
    assert_eq!(put(&store, "pods/a", "4").await, Revision(7));
    assert_eq!(next(&mut watch, 1).await, ["+pods/a=4"]);
    drop(store);
    assert_eq!(
        engine.open().revision(),
        Revision(7),
        "dropping the store closes it"
    );
}
