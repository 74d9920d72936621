//! What survives a failure of the disk, a hanging disk and a power failure.

use std::convert::Infallible;
use std::sync::mpsc;

use bytes::Bytes;
use futures::{FutureExt, poll};
use store::{
    Batch, CommitError, Engine, EngineError, Record, Revision, Store, StoreOptions, Stored,
};

use crate::engines::TestEngine;
use crate::faulty::{DiskFailure, FaultyDisk};
use crate::ops::{commit, put};

const FAILURES: [DiskFailure; 4] = [
    DiskFailure::Write,
    DiskFailure::Sync,
    DiskFailure::Late,
    DiskFailure::Panic,
];

/// Commits two keys that must never differ, and a third one that is removed and created again.
async fn write_pair(store: &Store, number: u64) -> Result<Revision, CommitError<Infallible>> {
    let write = |txn: &mut store::Txn| {
        txn.put("pairs/left", number.to_string(), None);
        txn.remove(&format!("numbers/{}", number.saturating_sub(1)), None);
        txn.put(&format!("numbers/{number}"), "", None);
        txn.put("pairs/right", number.to_string(), None);
        Ok(())
    };
    store
        .commit(write)
        .await
        .map(|committed| committed.revision)
}

fn number_in(record: &Record) -> u64 {
    std::str::from_utf8(&record.value)
        .expect("text")
        .parse()
        .expect("a number")
}

/// Returns the number in the pair, after checking that both come from one commit.
fn read_pair(store: &Store) -> u64 {
    let read = |key| store.get(key).map_or(0, |record| number_in(&record));
    let (left, right): (u64, u64) = (read("pairs/left"), read("pairs/right"));
    assert_eq!(left, right, "part of a commit");
    assert_eq!(
        store.snapshot().count("numbers/"),
        usize::from(left > 0),
        "part of a commit"
    );
    assert!(left == 0 || store.get(&format!("numbers/{left}")).is_some());
    left
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_failure_at_any_call() {
    for engine in [TestEngine::inline(), TestEngine::threaded()] {
        let (TestEngine::Inline(disk) | TestEngine::Threaded(disk)) = &engine else {
            unreachable!("made above")
        };
        let mut written = 0;
        for (call, failure) in (0..6).flat_map(|call| FAILURES.map(|failure| (call, failure))) {
            let store = engine.open();
            assert_eq!(read_pair(&store), written);
            disk.fail_at(call, failure);
            let mut acknowledged = store.revision();
            let error = loop {
                match write_pair(&store, written + 1).await {
                    Ok(revision) => (written, acknowledged) = (written + 1, revision),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, CommitError::Failed(_)), "{error}");
            let refused = write_pair(&store, 0)
                .await
                .expect_err("the store has failed");
            assert!(matches!(refused, CommitError::Failed(_)), "{refused}");
            assert_eq!(
                (read_pair(&store), store.revision()),
                (written, acknowledged),
                "only durable commits are visible"
            );
            assert!(store.failure().is_some());
            assert!(store.close().await.is_err());
            drop(store);

            disk.crash();
            let store = engine.open();
            let late = u64::from(failure == DiskFailure::Late);
            assert_eq!(
                read_pair(&store),
                written + late,
                "{failure:?} at call {call}"
            );
            assert!(store.revision() >= acknowledged);
            written += late;
        }
    }
}

/// An engine that announces each append and blocks until the test permits it.
struct BlockingEngine {
    disk: FaultyDisk,
    appends: mpsc::Sender<usize>,
    permits: mpsc::Receiver<()>,
}

impl Engine for BlockingEngine {
    fn load(&mut self, each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
        self.disk.load(each)
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        let announced = self.appends.send(batch.writes.len());
        announced.expect("the test holds the receiver");
        self.permits.recv().expect("the test holds the sender");
        self.disk.append(batch)
    }
}

/// A store on a [`BlockingEngine`], with the test's side of the engine.
///
/// The fields are dropped in order: without `permits` a blocked append fails, so that a failing
/// test does not wait for the writer forever.
struct Blocked {
    /// Lets one append through for each message.
    permits: mpsc::Sender<()>,
    /// Receives the number of writes of each append as it starts.
    appends: mpsc::Receiver<usize>,
    disk: FaultyDisk,
    store: Store,
}

impl Blocked {
    fn new() -> Self {
        let (announce, appends) = mpsc::channel();
        let (permits, permitted) = mpsc::channel();
        let disk = FaultyDisk::default();
        let engine = BlockingEngine {
            disk: disk.clone(),
            appends: announce,
            permits: permitted,
        };
        let store = Store::open_threaded(Box::new(engine), StoreOptions::default());
        Self {
            store: store.expect("a readable disk"),
            disk,
            appends,
            permits,
        }
    }

    /// Waits until an append has started, and returns its number of writes.
    fn append_started(&self) -> usize {
        self.appends.recv().expect("the writer is running")
    }

    fn permit(&self, appends: usize) {
        (0..appends).for_each(|_| self.permits.send(()).expect("the engine is open"));
    }
}

#[tokio::test]
async fn nothing_is_visible_before_it_is_synced() {
    let blocked = Blocked::new();
    let store = &blocked.store;
    let mut watch = store.watch("pods/", Revision(0)).expect("kept");
    let mut writing = Box::pin(put(store, "pods/a", "1"));
    assert!(poll!(&mut writing).is_pending());
    blocked.append_started();

    assert!(store.get("pods/a").is_none());
    assert_eq!(
        (store.revision(), store.snapshot().count("pods/")),
        (Revision(0), 0)
    );
    assert!(watch.next().now_or_never().is_none());
    assert_eq!(watch.progress(), Revision(0));
    // Other commits see what is applied, but their outcome waits until it is durable.
    let mut refused = Box::pin(store.commit(|txn| Err::<(), _>(txn.get("pods/a").is_some())));
    let mut reading = Box::pin(commit(store, |txn| txn.get("pods/a").is_some()));
    assert!(poll!(&mut refused).is_pending());
    assert!(poll!(&mut reading).is_pending());

    blocked.permit(1);
    assert_eq!(writing.await, Revision(1));
    assert!(matches!(refused.await, Err(CommitError::Refused(true))));
    assert!(reading.await);
    assert_eq!(store.get("pods/a").expect("durable").value, "1");
    assert_eq!(watch.next().await.expect("open").expect("kept").len(), 1);
}

#[tokio::test]
async fn commits_that_arrive_during_a_sync_share_the_next_one() {
    let blocked = Blocked::new();
    let store = &blocked.store;
    let mut first = Box::pin(put(store, "pods/first", "1"));
    assert!(poll!(&mut first).is_pending());
    assert_eq!(blocked.append_started(), 1);
    let keys: Vec<_> = (0..10)
        .map(|number| format!("pods/{}", number / 2))
        .collect();
    let mut rest: Vec<_> = keys
        .iter()
        .map(|key| Box::pin(put(store, key, "1")))
        .collect();
    for commit in &mut rest {
        assert!(poll!(commit).is_pending());
    }
    blocked.permit(1);
    first.await;
    assert_eq!(blocked.append_started(), 5, "ten commits to five keys");
    assert_eq!(store.revision(), Revision(1));
    blocked.permit(1);
    futures::future::join_all(rest).await;
    assert_eq!(store.revision(), Revision(11));
    assert!(blocked.appends.try_recv().is_err(), "nothing else was due");
}

#[tokio::test]
async fn commits_that_wait_behind_a_failed_sync_fail_too() {
    let blocked = Blocked::new();
    let store = &blocked.store;
    blocked.disk.fail_at(0, DiskFailure::Sync);
    let mut first = Box::pin(put(store, "pods/a", "1").map(|_| ()));
    assert!(poll!(&mut first).is_pending());
    blocked.append_started();
    let mut behind =
        Box::pin(store.commit(|txn| Ok::<_, Infallible>(txn.put("pods/b", "1", None))));
    let mut refused = Box::pin(store.commit(|txn| Err::<(), _>(txn.get("pods/a").is_some())));
    assert!(poll!(&mut behind).is_pending());
    assert!(poll!(&mut refused).is_pending());
    drop(first);
    blocked.permit(1);
    assert!(matches!(behind.await, Err(CommitError::Failed(_))));
    assert!(
        matches!(refused.await, Err(CommitError::Failed(_))),
        "the refusal depended on a write that is lost"
    );
    assert_eq!(store.revision(), Revision(0));
}

/// The limit counts the batch that the engine is writing as well as the commits behind it.
/// Therefore the result does not depend on how many commits the writer took into that batch.
#[tokio::test]
async fn a_store_on_a_hanging_disk_refuses_commits_over_its_memory_limit() {
    let blocked = Blocked::new();
    let store = &blocked.store;
    let large = Bytes::from(vec![0; store::MAX_VALUE_BYTES]);
    let write = |_| {
        store.commit(|txn| Ok::<_, Infallible>(txn.put("pods/a", large.clone(), None).modified))
    };
    let mut commits: Vec<_> = (0..12).map(write).map(Box::pin).collect();
    let answers: Vec<_> = commits.iter_mut().map(FutureExt::now_or_never).collect();
    let (accepted, refused) = answers.split_at(4);
    assert!(accepted.iter().all(Option::is_none), "64 MiB may wait");
    assert!(
        refused
            .iter()
            .all(|answer| matches!(answer, Some(Err(CommitError::Busy))))
    );
    // At most one append for each commit that was accepted, and one for the last commit below.
    blocked.permit(5);
    let reached = store.reached(Revision(4)).await;
    reached.expect("the disk works again");
    assert_eq!(put(store, "pods/a", "1").await, Revision(5));
}

#[tokio::test]
async fn close_waits_until_applied_commits_are_durable() {
    let blocked = Blocked::new();
    let store = &blocked.store;
    let mut writing = Box::pin(put(store, "pods/a", "1"));
    assert!(poll!(&mut writing).is_pending());
    blocked.append_started();
    drop(writing);
    let mut behind = Box::pin(put(store, "pods/b", "1"));
    assert!(poll!(&mut behind).is_pending());
    let mut closing = Box::pin(store.close());
    assert!(poll!(&mut closing).is_pending());
    blocked.permit(2);
    closing.await.expect("no failure");
    assert_eq!(behind.await, Revision(2));
    let again = TestEngine::Inline(blocked.disk.clone()).open();
    assert_eq!(
        again.snapshot().count("pods/"),
        2,
        "including the commit whose future was dropped"
    );
}

#[tokio::test]
async fn watches_end_when_the_engine_fails_while_the_store_closes() {
    let blocked = Blocked::new();
    let store = &blocked.store;
    blocked.disk.fail_at(0, DiskFailure::Sync);
    let mut watch = store.watch("pods/", Revision(0)).expect("kept");
    let mut writing =
        Box::pin(store.commit(|txn| Ok::<_, Infallible>(txn.put("pods/a", "1", None))));
    assert!(poll!(&mut writing).is_pending());
    blocked.append_started();
    let mut closing = Box::pin(store.close());
    assert!(poll!(&mut closing).is_pending());
    blocked.permit(1);
    assert!(closing.await.is_err());
    assert!(matches!(writing.await, Err(CommitError::Failed(_))));
    assert!(watch.next().now_or_never().expect("ended").is_none());
}

#[tokio::test]
async fn watches_of_a_failed_store_stay_open_until_it_is_closed() {
    for engine in [TestEngine::inline(), TestEngine::threaded()] {
        let (TestEngine::Inline(disk) | TestEngine::Threaded(disk)) = &engine else {
            unreachable!("made above")
        };
        let store = engine.open();
        let mut watch = store.watch("pairs/", Revision(0)).expect("kept");
        disk.fail_at(0, DiskFailure::Write);
        write_pair(&store, 1).await.expect_err("the disk fails");
        assert!(watch.next().now_or_never().is_none());
        store.close().await.expect_err("the store has failed");
        assert!(watch.next().now_or_never().expect("ended").is_none());
    }
}
