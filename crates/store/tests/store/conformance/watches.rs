//! What every store delivers to watches.

use store::Revision;

use crate::engines::TestEngine;
use crate::ops::{next, put, small_history};

pub(crate) async fn a_watch_delivers_every_event_after_its_revision_once(engine: TestEngine) {
    let store = engine.open();
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

pub(crate) async fn a_watch_sees_only_its_prefix(engine: TestEngine) {
    let store = engine.open();
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

pub(crate) async fn many_watches_wait_for_the_same_events(engine: TestEngine) {
    let store = engine.open();
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

pub(crate) async fn a_watch_that_falls_behind_the_history_is_compacted(engine: TestEngine) {
    let store = engine.open_with(small_history(10));
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

pub(crate) async fn a_quiet_watch_survives_the_history_of_others(engine: TestEngine) {
    let store = engine.open_with(small_history(10));
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

pub(crate) async fn progress_advances_without_events(engine: TestEngine) {
    let store = engine.open();
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

pub(crate) async fn a_watch_ends_after_the_last_event_of_a_dropped_store(engine: TestEngine) {
    let store = engine.open();
    let mut watch = store.watch("pods/", Revision(0)).expect("kept");
    put(&store, "pods/a", "1").await;
    drop(store.clone());
    put(&store, "pods/b", "2").await;
    drop(store);
    assert_eq!(next(&mut watch, 2).await, ["+pods/a=1", "+pods/b=2"]);
    assert!(watch.next().await.is_none());
}

pub(crate) async fn a_reader_can_wait_for_a_revision(engine: TestEngine) {
    let store = engine.open();
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
