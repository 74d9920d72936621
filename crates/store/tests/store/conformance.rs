//! What every store does, whatever engine it is on.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use store::{Closed, CommitError, Event, Options, Record, Revision, Store, Txn, Unstorable, Watch};

use crate::place::Place;

macro_rules! on_every_engine {
    ($($(#[$meta:meta])* $name:ident)*) => {
        mod memory { $(#[tokio::test] async fn $name() { super::$name(crate::place::Place::Memory).await })* }
        mod inline { $(#[tokio::test] async fn $name() { super::$name(crate::place::Place::inline()).await })* }
        mod disk { $(#[tokio::test] async fn $name() { super::$name(crate::place::Place::disk()).await })* }
        mod threaded { $(#[tokio::test] async fn $name() { super::$name(crate::place::Place::threaded()).await })* }
    };
}

on_every_engine! {
    a_committed_write_can_be_read
    every_write_takes_a_revision_of_its_own
    a_refused_commit_changes_nothing
    a_commit_reads_its_own_writes
    a_removal_leaves_its_final_bytes_in_the_event_only
    removing_what_is_not_there_takes_no_revision
    ranges_are_ordered_and_stay_in_their_prefix
    a_snapshot_stays_as_it_is
    every_revision_in_the_history_can_be_seen_again
    a_watch_delivers_everything_after_its_revision_once
    a_watch_sees_only_its_prefix
    a_watch_waits_for_what_is_to_come
    a_watch_that_lags_behind_the_history_is_compacted
    a_quiet_watch_survives_the_history_of_others
    progress_moves_on_without_events
    compaction_forgets_only_the_past
    a_closed_store_refuses_commits_and_ends_watches
    a_watch_outlives_neither_the_store_nor_its_last_events
    concurrent_commits_are_serialised
    what_cannot_be_stored_is_refused
    a_memo_stays_with_its_bytes
    a_panic_in_a_commit_changes_nothing
    a_revision_can_be_waited_for
    records_and_revisions_survive_a_restart
}

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

fn keys(records: impl Iterator<Item = Arc<Record>>) -> Vec<String> {
    records.map(|record| record.key.to_string()).collect()
}

/// `+key=value` for a put and `-key` for a removal.
pub(crate) fn render(event: &Event) -> String {
    let record = &event.record;
    if event.removed {
        format!("-{}", record.key)
    } else {
        format!("+{}={}", record.key, text(record))
    }
}

fn text(record: &Record) -> &str {
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

fn small_history(events: usize) -> Options {
    Options {
        history_events: events,
        ..Options::default()
    }
}

async fn a_committed_write_can_be_read(place: Place) {
    let store = place.open();
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

async fn every_write_takes_a_revision_of_its_own(place: Place) {
    let store = place.open();
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

async fn a_refused_commit_changes_nothing(place: Place) {
    let store = place.open();
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

async fn a_commit_reads_its_own_writes(place: Place) {
    let store = place.open();
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
            "it was made anew"
        );
    })
    .await;
}

async fn a_removal_leaves_its_final_bytes_in_the_event_only(place: Place) {
    let store = place.open();
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

async fn removing_what_is_not_there_takes_no_revision(place: Place) {
    let store = place.open();
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

async fn ranges_are_ordered_and_stay_in_their_prefix(place: Place) {
    let store = place.open();
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

async fn a_snapshot_stays_as_it_is(place: Place) {
    let store = place.open();
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

async fn every_revision_in_the_history_can_be_seen_again(place: Place) {
    let store = place.open();
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

async fn a_watch_delivers_everything_after_its_revision_once(place: Place) {
    let store = place.open();
    for number in 1..=3 {
        put(&store, "pods/a", &number.to_string()).await;
    }
    let mut watch = store.watch("pods/", Revision(1)).expect("kept");
    let mut other = store.watch("pods/", Revision(3)).expect("kept");
    let mut whole = store.watch("pods/", Revision(0)).expect("kept");
    let mut future = store.watch("pods/", Revision(4)).expect("not refused");
    for number in 4..=5 {
        put(&store, "pods/a", &number.to_string()).await;
    }
    assert_eq!(
        next(&mut watch, 4).await,
        ["+pods/a=2", "+pods/a=3", "+pods/a=4", "+pods/a=5"]
    );
    assert_eq!(next(&mut other, 2).await, ["+pods/a=4", "+pods/a=5"]);
    assert_eq!(next(&mut whole, 5).await.len(), 5);
    assert_eq!(next(&mut future, 1).await, ["+pods/a=5"]);
    assert_eq!(
        [watch, other, whole, future].map(|watch| watch.progress()),
        [Revision(5); 4]
    );
}

async fn a_watch_sees_only_its_prefix(place: Place) {
    let store = place.open();
    let mut one = store.watch("pods/shop/", Revision(0)).expect("kept");
    let mut odd = store.watch("pods/sh", Revision(0)).expect("kept");
    let mut none = store.watch("pod", Revision(0)).expect("kept");
    for key in [
        "pods/shop/a",
        "pods/ship/a",
        "nodes/a",
        "pods/zoo/a",
        "pods/shop/b",
        "pod/a",
    ] {
        put(&store, key, "").await;
    }
    let mut late = store.watch("pods/shop/b", Revision(0)).expect("kept");
    assert_eq!(next(&mut one, 2).await, ["+pods/shop/a=", "+pods/shop/b="]);
    assert_eq!(
        next(&mut odd, 3).await,
        ["+pods/shop/a=", "+pods/ship/a=", "+pods/shop/b="]
    );
    assert_eq!(next(&mut none, 1).await, ["+pod/a="]);
    assert_eq!(next(&mut late, 1).await, ["+pods/shop/b="]);
}

async fn a_watch_waits_for_what_is_to_come(place: Place) {
    let store = place.open();
    let watchers: Vec<_> = (0..50)
        .map(|_| store.watch("pods/", Revision(0)).expect("kept"))
        .map(|mut watch| tokio::task::spawn(async move { next(&mut watch, 20).await }))
        .collect();
    for number in 0..20 {
        put(&store, &format!("pods/{number}"), "").await;
        tokio::task::yield_now().await;
    }
    let expected: Vec<_> = (0..20).map(|number| format!("+pods/{number}=")).collect();
    for watcher in watchers {
        assert_eq!(watcher.await.expect("no panic"), expected);
    }
}

async fn a_watch_that_lags_behind_the_history_is_compacted(place: Place) {
    let store = place.open_with(small_history(10));
    let mut watch = store.watch("pods/", Revision(0)).expect("kept");
    for number in 0..10 {
        put(&store, "pods/a", &number.to_string()).await;
    }
    assert_eq!(
        next(&mut watch, 10).await.len(),
        10,
        "the history still has them all"
    );
    for number in 0..11 {
        put(&store, "pods/a", &number.to_string()).await;
    }
    let compacted = watch
        .next()
        .await
        .expect("open")
        .expect_err("one event is lost");
    assert_eq!(
        (compacted.requested, compacted.oldest, compacted.newest),
        (Revision(10), Revision(11), Revision(21))
    );
    assert!(
        watch.next().await.expect("open").is_err(),
        "and it stays lost"
    );
    assert_eq!(watch.progress(), Revision(10));
    assert_eq!(store.compacted(), Revision(11));
    assert!(store.watch("pods/", Revision(10)).is_err());
    assert!(store.snapshot_at(Revision(10)).is_err());
    assert_eq!(
        next(&mut store.watch("pods/", Revision(11)).expect("kept"), 10)
            .await
            .len(),
        10
    );
    assert_eq!(
        store.snapshot_at(Revision(11)).expect("kept").revision(),
        Revision(11)
    );
}

async fn a_quiet_watch_survives_the_history_of_others(place: Place) {
    let store = place.open_with(small_history(10));
    let mut quiet = store.watch("pods/quiet/", Revision(0)).expect("kept");
    let mut elsewhere = store.watch("nodes/", Revision(0)).expect("kept");
    for number in 0..100 {
        put(&store, "pods/busy/a", &number.to_string()).await;
    }
    put(&store, "pods/quiet/a", "1").await;
    put(&store, "nodes/a", "1").await;
    assert_eq!(next(&mut quiet, 1).await, ["+pods/quiet/a=1"]);
    assert_eq!(next(&mut elsewhere, 1).await, ["+nodes/a=1"]);
}

async fn progress_moves_on_without_events(place: Place) {
    let store = place.open();
    let mut watch = store.watch("pods/", Revision(0)).expect("kept");
    put(&store, "nodes/a", "1").await;
    assert_eq!(watch.progress(), Revision(1));
    put(&store, "pods/a", "1").await;
    put(&store, "nodes/a", "2").await;
    assert_eq!(
        watch.progress(),
        Revision(0),
        "the pod's event has not been delivered"
    );
    next(&mut watch, 1).await;
    assert_eq!(watch.progress(), Revision(3));
    assert_eq!(
        store.watch("pods/", Revision(9)).expect("kept").progress(),
        Revision(9)
    );
}

async fn compaction_forgets_only_the_past(place: Place) {
    let store = place.open();
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

async fn a_closed_store_refuses_commits_and_ends_watches(place: Place) {
    let store = place.open();
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

async fn a_watch_outlives_neither_the_store_nor_its_last_events(place: Place) {
    let store = place.open();
    let mut watch = store.watch("pods/", Revision(0)).expect("kept");
    put(&store, "pods/a", "1").await;
    drop(store.clone());
    put(&store, "pods/b", "2").await;
    drop(store);
    assert_eq!(next(&mut watch, 2).await, ["+pods/a=1", "+pods/b=2"]);
    assert!(watch.next().await.is_none());
}

async fn concurrent_commits_are_serialised(place: Place) {
    let store = place.open();
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

async fn what_cannot_be_stored_is_refused(place: Place) {
    let store = place.open();
    for key in [String::new(), "k".repeat(store::MAX_KEY_BYTES + 1)] {
        let refused = store
            .commit(|txn| Ok::<_, Infallible>(txn.put(&key, "1", None)))
            .await;
        assert!(
            matches!(refused, Err(CommitError::Unstorable(Unstorable::Key { bytes })) if bytes == key.len())
        );
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

async fn a_memo_stays_with_its_bytes(place: Place) {
    let store = place.open();
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

async fn a_panic_in_a_commit_changes_nothing(place: Place) {
    let store = place.open();
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

async fn a_revision_can_be_waited_for(place: Place) {
    let store = place.open();
    store.reached(Revision(0)).await.expect("it is there");
    let waiting = store.clone();
    let waiting = tokio::task::spawn(async move {
        waiting.reached(Revision(2)).await.expect("it comes");
        waiting.revision()
    });
    put(&store, "pods/a", "1").await;
    put(&store, "pods/a", "2").await;
    assert!(waiting.await.expect("no panic") >= Revision(2));
}

async fn records_and_revisions_survive_a_restart(place: Place) {
    if !place.is_durable() {
        return;
    }
    let store = place.open();
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

    let store = place.open();
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
        place.open().revision(),
        Revision(7),
        "dropping the store closes it"
    );
}
