//! What is left when the disk fails and when the power goes.

use std::convert::Infallible;
use std::sync::mpsc;

use bytes::Bytes;
use futures::{FutureExt, poll};
use store::{Batch, CommitError, Engine, EngineError, Options, Record, Revision, Store, Stored};

use crate::conformance::{commit, put};
use crate::faulty::{Disk, Failure};
use crate::place::Place;

const FAILURES: [Failure; 4] = [Failure::Write, Failure::Sync, Failure::Late, Failure::Panic];

/// One commit of two keys that must never differ, and of a third that is removed and made anew.
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

/// The number that the pair shows, after checking that it is one commit's.
fn read_pair(store: &Store) -> u64 {
    let read = |key| store.get(key).map_or(0, |record| number_in(&record));
    let (left, right): (u64, u64) = (read("pairs/left"), read("pairs/right"));
    assert_eq!(left, right, "half a commit");
    assert_eq!(
        store.snapshot().count("numbers/"),
        usize::from(left > 0),
        "half a commit"
    );
    assert!(left == 0 || store.get(&format!("numbers/{left}")).is_some());
    left
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_failure_at_any_call() {
    for place in [Place::inline(), Place::threaded()] {
        let (Place::Inline(disk) | Place::Threaded(disk)) = &place else {
            unreachable!("made above")
        };
        let mut written = 0;
        for (call, failure) in (0..6).flat_map(|call| FAILURES.map(|failure| (call, failure))) {
            let store = place.open();
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
            let refused = write_pair(&store, 0).await.expect_err("it is poisoned");
            assert!(matches!(refused, CommitError::Failed(_)), "{refused}");
            assert_eq!(
                (read_pair(&store), store.revision()),
                (written, acknowledged),
                "only what is durable is seen"
            );
            assert!(store.failure().is_some());
            assert!(store.close().await.is_err());
            drop(store);

            disk.crash();
            let store = place.open();
            let late = u64::from(failure == Failure::Late);
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

/// An engine whose appends wait until they are let through.
struct Gate {
    disk: Disk,
    entered: mpsc::Sender<usize>,
    open: mpsc::Receiver<()>,
}

impl Engine for Gate {
    fn load(&mut self, each: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
        self.disk.load(each)
    }

    fn append(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        self.entered
            .send(batch.writes.len())
            .expect("the test listens");
        self.open.recv().expect("the test opens the gate");
        self.disk.append(batch)
    }
}

/// A store behind a gate, what tells that an append waits there, and what lets it through.
fn gated() -> (Store, Disk, mpsc::Receiver<usize>, mpsc::Sender<()>) {
    let (entered, arrivals) = mpsc::channel();
    let (opener, open) = mpsc::channel();
    let disk = Disk::default();
    let gate = Gate {
        disk: disk.clone(),
        entered,
        open,
    };
    (
        Store::open_threaded(Box::new(gate), Options::default()).expect("a store"),
        disk,
        arrivals,
        opener,
    )
}

#[tokio::test]
async fn nothing_is_seen_before_it_is_synced() {
    let (store, _, arrivals, opener) = gated();
    let mut watch = store.watch("pods/", Revision(0)).expect("kept");
    let mut writing = Box::pin(put(&store, "pods/a", "1"));
    assert!(poll!(&mut writing).is_pending());
    arrivals.recv().expect("it syncs");

    assert!(store.get("pods/a").is_none());
    assert_eq!(
        (store.revision(), store.snapshot().count("pods/")),
        (Revision(0), 0)
    );
    assert!(watch.next().now_or_never().is_none());
    assert_eq!(watch.progress(), Revision(0));
    // Others build on what is applied, but are not answered before it is durable.
    let mut refused = Box::pin(store.commit(|txn| Err::<(), _>(txn.get("pods/a").is_some())));
    let mut reading = Box::pin(commit(&store, |txn| txn.get("pods/a").is_some()));
    assert!(poll!(&mut refused).is_pending());
    assert!(poll!(&mut reading).is_pending());

    opener.send(()).expect("the gate is there");
    assert_eq!(writing.await, Revision(1));
    assert!(matches!(refused.await, Err(CommitError::Refused(true))));
    assert!(reading.await);
    assert_eq!(store.get("pods/a").expect("durable").value, "1");
    assert_eq!(watch.next().await.expect("open").expect("kept").len(), 1);
}

#[tokio::test]
async fn commits_that_come_during_a_sync_share_the_next_one() {
    let (store, _, arrivals, opener) = gated();
    let mut first = Box::pin(put(&store, "pods/first", "1"));
    assert!(poll!(&mut first).is_pending());
    assert_eq!(arrivals.recv(), Ok(1));
    let keys: Vec<_> = (0..10)
        .map(|number| format!("pods/{}", number / 2))
        .collect();
    let mut rest: Vec<_> = keys
        .iter()
        .map(|key| Box::pin(put(&store, key, "1")))
        .collect();
    for commit in &mut rest {
        assert!(poll!(commit).is_pending());
    }
    opener.send(()).expect("the gate is there");
    first.await;
    assert_eq!(arrivals.recv(), Ok(5), "ten commits to five keys");
    assert_eq!(store.revision(), Revision(1));
    opener.send(()).expect("the gate is there");
    futures::future::join_all(rest).await;
    assert_eq!(store.revision(), Revision(11));
    assert!(
        arrivals.try_recv().is_err(),
        "there was nothing more to sync"
    );
}

#[tokio::test]
async fn those_who_wait_behind_a_failed_sync_fail_too() {
    let (store, disk, arrivals, opener) = gated();
    disk.fail_at(0, Failure::Sync);
    let mut first = Box::pin(put(&store, "pods/a", "1").map(|_| ()));
    assert!(poll!(&mut first).is_pending());
    arrivals.recv().expect("it syncs");
    let mut behind =
        Box::pin(store.commit(|txn| Ok::<_, Infallible>(txn.put("pods/b", "1", None))));
    let mut refused = Box::pin(store.commit(|txn| Err::<(), _>(txn.get("pods/a").is_some())));
    assert!(poll!(&mut behind).is_pending());
    assert!(poll!(&mut refused).is_pending());
    drop(first);
    opener.send(()).expect("the gate is there");
    assert!(matches!(behind.await, Err(CommitError::Failed(_))));
    assert!(
        matches!(refused.await, Err(CommitError::Failed(_))),
        "it was refused because of what is lost"
    );
    assert_eq!(store.revision(), Revision(0));
}

#[tokio::test]
async fn a_disk_that_hangs_makes_the_store_refuse_before_memory_runs_out() {
    let (store, _, _arrivals, opener) = gated();
    let large = Bytes::from(vec![0; store::MAX_VALUE_BYTES]);
    let write = |_| {
        store.commit(|txn| Ok::<_, Infallible>(txn.put("pods/a", large.clone(), None).modified))
    };
    let mut commits: Vec<_> = (0..12).map(write).map(Box::pin).collect();
    let answers: Vec<_> = commits.iter_mut().map(FutureExt::now_or_never).collect();
    let waiting = answers.iter().filter(|answer| answer.is_none()).count();
    assert!((4..10).contains(&waiting), "{waiting} may wait");
    assert!(
        answers
            .iter()
            .flatten()
            .all(|answer| matches!(answer, Err(CommitError::Busy)))
    );
    (0..waiting + 1).for_each(|_| opener.send(()).expect("the gate is there"));
    store
        .reached(Revision(waiting as u64))
        .await
        .expect("the disk works again");
    assert_eq!(
        put(&store, "pods/a", "1").await,
        Revision(waiting as u64 + 1)
    );
}

#[tokio::test]
async fn closing_waits_for_what_is_applied() {
    let (store, disk, arrivals, opener) = gated();
    let mut writing = Box::pin(put(&store, "pods/a", "1"));
    assert!(poll!(&mut writing).is_pending());
    arrivals.recv().expect("it syncs");
    drop(writing);
    let mut behind = Box::pin(put(&store, "pods/b", "1"));
    assert!(poll!(&mut behind).is_pending());
    let mut closing = Box::pin(store.close());
    assert!(poll!(&mut closing).is_pending());
    opener.send(()).expect("the gate is there");
    opener.send(()).expect("the gate is there");
    closing.await.expect("an orderly end");
    assert_eq!(behind.await, Revision(2));
    let again = Place::Inline(disk).open();
    assert_eq!(
        again.snapshot().count("pods/"),
        2,
        "also what nobody waited for any more"
    );
}
