//! What every store shows in snapshots.

use store::Revision;

use crate::engines::TestEngine;
use crate::ops::{keys, next, put, remove, text};

pub(crate) async fn ranges_are_ordered_and_stay_in_their_prefix(engine: TestEngine) {
    let store = engine.open();
    for key in [
        "pods/b/1",
        "pods/a/2",
        "pods/a/1",
        "pods/ab/1",
        "podsets/a/1",
        "pod/a/1",
        "pods",
        "nodes/a",
    ] {
        put(&store, key, "").await;
    }
    let all = store.snapshot();
    for (prefix, after, expected) in [
        (
            "pods",
            None,
            &["pods", "pods/a/1", "pods/a/2", "pods/ab/1", "pods/b/1"][..],
        ),
        (
            "pods/",
            None,
            &["pods/a/1", "pods/a/2", "pods/ab/1", "pods/b/1"],
        ),
        ("pods/a/", None, &["pods/a/1", "pods/a/2"]),
        ("pods/a", None, &["pods/a/1", "pods/a/2", "pods/ab/1"]),
        ("pods/a/", Some("pods/a/1"), &["pods/a/2"]),
        ("pods/a/", Some("pods/a/10"), &["pods/a/2"]),
        ("pods/a/", Some("pods/a/2"), &[]),
        ("pods/a/", Some("pods/z"), &[]),
        ("pods/b/", Some("pods/a/2"), &["pods/b/1"]),
        ("po", None, &[]),
        ("", None, &[]),
        ("leases/", None, &[]),
    ] {
        assert_eq!(
            keys(all.range(prefix, after)),
            expected,
            "{prefix} after {after:?}"
        );
        if after.is_none() {
            assert_eq!(all.count(prefix), expected.len(), "{prefix}");
        }
    }
}

pub(crate) async fn a_snapshot_does_not_change(engine: TestEngine) {
    let store = engine.open();
    put(&store, "pods/a", "1").await;
    let before = store.snapshot();
    put(&store, "pods/a", "2").await;
    remove(&store, "pods/a").await;
    put(&store, "pods/b", "3").await;
    assert_eq!(before.revision(), Revision(1));
    assert_eq!(keys(before.range("pods/", None)), ["pods/a"]);
    assert_eq!(
        before.get("pods/a").map(|record| record.modified),
        Some(Revision(1))
    );
    assert_eq!(keys(store.snapshot().range("pods/", None)), ["pods/b"]);
}

pub(crate) async fn every_revision_in_the_history_has_a_snapshot(engine: TestEngine) {
    let store = engine.open();
    put(&store, "pods/a", "1").await;
    put(&store, "pods/b", "2").await;
    remove(&store, "pods/a").await;
    put(&store, "pods/a", "4").await;
    let at = |revision| {
        let snapshot = store
            .snapshot_at(Revision(revision))
            .expect("in the history");
        assert_eq!(snapshot.revision(), Revision(revision));
        snapshot
            .range("pods/", None)
            .map(|record| format!("{}={}", record.key, text(&record)))
            .collect::<Vec<_>>()
    };
    assert_eq!(at(0), Vec::<String>::new());
    assert_eq!(at(1), ["pods/a=1"]);
    assert_eq!(at(2), ["pods/a=1", "pods/b=2"]);
    assert_eq!(at(3), ["pods/b=2"]);
    assert_eq!(at(4), ["pods/a=4", "pods/b=2"]);
    let future = store.snapshot_at(Revision(5)).expect_err("not yet there");
    assert_eq!((future.oldest, future.newest), (Revision(0), Revision(4)));
}

pub(crate) async fn compaction_drops_only_the_past(engine: TestEngine) {
    let store = engine.open();
    for number in 1..=5 {
        put(&store, "pods/a", &number.to_string()).await;
    }
    let mut lagging = store.watch("pods/", Revision(2)).expect("kept");
    let mut fine = store.watch("pods/", Revision(3)).expect("kept");
    store.compact(Revision(3));
    assert_eq!(store.compacted(), Revision(3));
    assert!(store.watch("pods/", Revision(2)).is_err());
    assert!(store.snapshot_at(Revision(2)).is_err());
    assert!(lagging.next().await.expect("open").is_err());
    assert_eq!(next(&mut fine, 2).await, ["+pods/a=4", "+pods/a=5"]);
    assert_eq!(
        store
            .snapshot_at(Revision(3))
            .expect("kept")
            .get("pods/a")
            .expect("there")
            .value,
        "3"
    );
    store.compact(Revision(1));
    assert_eq!(store.compacted(), Revision(3), "it does not go back");
    store.compact(Revision(100));
    assert_eq!(
        store.compacted(),
        Revision(5),
        "what is to come is not compacted"
    );
    let mut now = store.watch("pods/", Revision(5)).expect("kept");
    put(&store, "pods/a", "6").await;
    assert_eq!(next(&mut now, 1).await, ["+pods/a=6"]);
}
