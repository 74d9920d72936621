//! The scenarios: committers, readers, watches and a closer at the same time, with assertions that
//! hold in every schedule.
//!
//! * A commit that was acknowledged is durable and visible, and stays so.
//! * Nothing is visible, watched or reported before it is durable.
//! * A watch delivers every revision once and in order, or ends with `Compacted`.
//! * Closing ends every watch and every waiting call; shuttle reports a deadlock otherwise.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

use crate::commit::CommitError;
use crate::options::StoreOptions;
use crate::record::Revision;
use crate::recording::{DurableImage, RecordingEngine};
use crate::store::Store;
use crate::sync::thread::{self, JoinHandle};
use crate::watch::Watch;

/// The schedules of each scenario and scheduler. `EXEUNT_STORE_SCHEDULES` overrides it, to search
/// longer after a change.
const SCHEDULES: usize = 500;
const SEED: u64 = 0x5EED;
/// The number of preemptions that the PCT scheduler places in each schedule.
const PREEMPTIONS: usize = 4;

const COMMITTERS: usize = 3;
const COMMITS: usize = 2;
/// The revision after all commits.
const LAST: Revision = Revision((COMMITTERS * COMMITS) as u64);

/// What happens beside the committers.
#[derive(Clone, Copy, Debug, Default)]
struct ScheduleSetup {
    /// Commits call the engine themselves; otherwise a writer's thread does.
    inline: bool,
    /// Appends may fail.
    may_fail: bool,
    /// The store is closed while commits are under way; otherwise after them.
    closes_early: bool,
    /// The number of events in the history; unlimited if it is 0.
    history_events: usize,
    /// Another thread compacts the history.
    compacts: bool,
}

#[test]
fn a_store_with_a_writer_keeps_its_guarantees() {
    check(ScheduleSetup::default());
}

#[test]
fn an_inline_store_keeps_its_guarantees() {
    check(ScheduleSetup {
        inline: true,
        closes_early: true,
        ..ScheduleSetup::default()
    });
}

#[test]
fn a_store_that_closes_early_keeps_its_guarantees() {
    check(ScheduleSetup {
        closes_early: true,
        ..ScheduleSetup::default()
    });
}

#[test]
fn a_store_on_a_failing_engine_keeps_its_guarantees() {
    for (inline, closes_early) in [(false, false), (false, true), (true, true)] {
        check(ScheduleSetup {
            inline,
            may_fail: true,
            closes_early,
            ..ScheduleSetup::default()
        });
    }
}

#[test]
fn a_store_with_a_short_history_keeps_its_guarantees() {
    check(ScheduleSetup {
        history_events: 2,
        compacts: true,
        ..ScheduleSetup::default()
    });
}

/// Dropping the last handle closes the store, without a call of `close`.
#[test]
fn a_dropped_store_ends_its_watches() {
    explore(|| {
        let (store, image) = open(ScheduleSetup::default());
        let watch = store.watch("log/", Revision(0)).expect("in the history");
        let watching = watch_to_end(watch, Revision(0), image.clone());
        let committers: Vec<_> = (0..2)
            .map(|id| {
                let store = store.clone();
                thread::spawn(move || block_on(put(&store, id, 0)).expect("the store is open"))
            })
            .collect();
        drop(store);
        let acknowledged = committers.into_iter().map(join).max();
        assert_eq!(acknowledged, Some(Revision(2)));
        assert_eq!(join(watching), Watched::All(Revision(2)));
        assert_eq!(image.read().revision, Revision(2));
    });
}

fn check(scenario: ScheduleSetup) {
    explore(move || run(scenario));
}

/// Runs `scenario` under two schedulers: a random one, and PCT, which finds bugs that need few
/// preemptions at exact places.
fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("EXEUNT_STORE_SCHEDULES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(SCHEDULES);
    let scenario = Arc::new(scenario);
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let scenario = Arc::clone(&scenario);
        let mut config = Config::new();
        config.stack_size = 256 * 1024;
        Runner::new(scheduler, config).run(move || scenario());
    };
    run(Box::new(RandomScheduler::new_from_seed(SEED, schedules)));
    run(Box::new(PctScheduler::new_from_seed(
        SEED,
        PREEMPTIONS,
        schedules,
    )));
}

fn open(scenario: ScheduleSetup) -> (Store, DurableImage) {
    let image = DurableImage::default();
    let engine = Box::new(RecordingEngine {
        image: image.clone(),
        may_fail: scenario.may_fail,
    });
    let mut options = StoreOptions::default();
    if scenario.history_events > 0 {
        options.history_events = scenario.history_events;
    }
    let store = if scenario.inline {
        Store::open_inline(engine, options)
    } else {
        Store::open_threaded(engine, options)
    };
    (store.expect("an empty engine loads"), image)
}

fn run(scenario: ScheduleSetup) {
    let (store, image) = open(scenario);
    let early = store.watch("log/", Revision(0)).expect("in the history");
    let early = watch_to_end(early, Revision(0), image.clone());
    let committers: Vec<_> = (0..COMMITTERS)
        .map(|id| {
            let (store, image) = (store.clone(), image.clone());
            thread::spawn(move || commit_some(&store, &image, id, scenario))
        })
        .collect();
    let reader = {
        let (store, image) = (store.clone(), image.clone());
        thread::spawn(move || read_some(&store, &image))
    };
    let waiter = {
        let store = store.clone();
        thread::spawn(move || {
            let reached = block_on(store.reached(LAST));
            assert_eq!(reached.is_ok(), store.revision() == LAST);
            if scenario.compacts {
                store.compact(Revision(LAST.0 / 2));
            }
        })
    };
    let mut acknowledged = Vec::new();
    let mut committers = Some(committers);
    if !scenario.closes_early {
        let joined = committers.take().into_iter().flatten().map(join);
        acknowledged = joined.collect();
    }
    let closed = block_on(store.close());
    assert_eq!(closed.is_ok(), store.failure().is_none());
    assert!(closed.is_ok() || scenario.may_fail);
    acknowledged.extend(committers.into_iter().flatten().map(join));
    join(waiter);
    let late = join(reader);

    let newest = store.revision();
    assert!(acknowledged.iter().all(|revision| *revision <= newest));
    assert_eq!(image.read().revision, newest, "nothing is lost or early");
    for watch in [Some(early), late].into_iter().flatten() {
        match join(watch) {
            Watched::All(last) => assert_eq!(last, newest),
            Watched::Compacted => assert!(scenario.history_events > 0),
        }
    }
    let refused = block_on(put(&store, 0, 0)).expect_err("the store is closed");
    assert!(matches!(
        refused,
        CommitError::Closed(_) | CommitError::Failed(_)
    ));
}

async fn put(store: &Store, id: usize, number: usize) -> Result<Revision, CommitError<()>> {
    let key = format!("log/{id}/{number}");
    let committed = store.commit(|txn| {
        txn.put(&key, "", None);
        Ok(())
    });
    committed.await.map(|committed| committed.revision)
}

/// Makes some commits and returns the newest revision that was acknowledged.
fn commit_some(
    store: &Store,
    image: &DurableImage,
    id: usize,
    scenario: ScheduleSetup,
) -> Revision {
    let mut newest = Revision(0);
    for number in 0..COMMITS {
        match block_on(put(store, id, number)) {
            Ok(revision) => {
                assert!(newest < revision);
                newest = revision;
                let key = format!("log/{id}/{number}");
                assert_eq!(image.read().keys.get(&key), Some(&revision), "not durable");
                let visible = store.get(&key).map(|record| record.modified);
                assert_eq!(visible, Some(revision), "acknowledged but not visible");
            }
            Err(CommitError::Closed(_)) => {
                assert!(scenario.closes_early);
                break;
            }
            Err(CommitError::Failed(_)) => {
                assert!(scenario.may_fail);
                break;
            }
            Err(error) => panic!("unexpected: {error}"),
        }
    }
    newest
}

/// Reads in all ways that there are. Returns a watch from the middle of what it has seen, unless
/// the history no longer has it.
fn read_some(store: &Store, image: &DurableImage) -> Option<JoinHandle<Watched>> {
    let mut newest = Revision(0);
    for _ in 0..2 {
        let snapshot = store.snapshot();
        assert!(
            snapshot.revision() <= image.read().revision,
            "visible early"
        );
        assert!(newest <= snapshot.revision(), "went back");
        newest = snapshot.revision();
        assert_eq!(snapshot.count("log/") as u64, newest.0, "one key a commit");
        if let Ok(old) = store.snapshot_at(Revision(newest.0 / 2)) {
            assert_eq!(old.count("log/") as u64, newest.0 / 2);
        }
        // The closure sees applied commits that are not durable. The answer waits for them.
        if let Err(CommitError::Refused(seen)) =
            block_on(store.commit(|txn| Err::<(), _>(txn.revision())))
        {
            assert!(seen <= image.read().revision, "reported early");
        }
    }
    // A revision that the store reaches at any moment from now on, or never.
    if let Ok(last) = store.snapshot_at(LAST) {
        assert_eq!(last.count("log/") as u64, LAST.0);
    }
    let after = Revision(newest.0 / 2);
    let watch = store.watch("log/", after).ok()?;
    Some(watch_to_end(watch, after, image.clone()))
}

/// The end of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    /// Every event up to this revision was delivered, and the store was closed.
    All(Revision),
    Compacted,
}

fn watch_to_end(mut watch: Watch, after: Revision, image: DurableImage) -> JoinHandle<Watched> {
    thread::spawn(move || {
        let mut last = after;
        while let Some(delivered) = block_on(watch.next()) {
            let Ok(events) = delivered else {
                return Watched::Compacted;
            };
            assert!(!events.is_empty());
            for event in events {
                assert_eq!(event.revision, last.next(), "a gap or a repetition");
                last = event.revision;
            }
            assert!(last <= image.read().revision, "delivered early");
            assert!(watch.progress() >= last);
        }
        Watched::All(last)
    })
}

fn join<T>(handle: JoinHandle<T>) -> T {
    handle.join().expect("the thread did not panic")
}
