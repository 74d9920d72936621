//! Random operations compared with a model: a list of maps, one for each revision.

use std::collections::BTreeMap;

use futures::FutureExt;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use store::{CommitError, Revision, Snapshot, Store, StoreOptions, Txn, Watch};

use crate::engines::TestEngine;
use crate::ops::render;

/// A small history, so that the operations often cross its end.
const HISTORY: StoreOptions = StoreOptions {
    history_events: 20,
    history_bytes: usize::MAX,
};

const KEYS: [&str; 7] = [
    "nodes/a",
    "pods/a/1",
    "pods/a/2",
    "pods/ab/1",
    "pods/b/1",
    "pods",
    "podsets/a",
];
const PREFIXES: [&str; 8] = [
    "nodes/", "pods", "pods/", "pods/a", "pods/a/", "pods/a/1", "podsets/", "leases/",
];

#[derive(Clone, Debug)]
enum ModelWrite {
    Put(&'static str, u8),
    Remove(&'static str),
}

#[derive(Clone, Debug)]
enum Operation {
    /// A commit. The flag makes its closure return an error at the end.
    Commit(Vec<ModelWrite>, bool),
    KeepSnapshot,
    /// Takes a snapshot of the revision this far back.
    SnapshotAt(u64),
    /// Starts a watch from the revision this far back.
    Watch(&'static str, u64),
    /// Takes all events that some watch has.
    Drain(prop::sample::Index),
    DropWatch(prop::sample::Index),
    /// Compacts up to the revision this far back.
    Compact(u64),
    /// Drops the store and opens it again.
    Reopen,
}

fn writes() -> impl Strategy<Value = Vec<ModelWrite>> {
    let key = prop::sample::select(&KEYS[..]);
    let write = prop_oneof![
        3 => (key.clone(), any::<u8>()).prop_map(|(key, value)| ModelWrite::Put(key, value)),
        2 => key.prop_map(ModelWrite::Remove),
    ];
    prop::collection::vec(write, 0..5)
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let prefix = prop::sample::select(&PREFIXES[..]);
    let operation = prop_oneof![
        12 => writes().prop_map(|writes| Operation::Commit(writes, false)),
        2 => writes().prop_map(|writes| Operation::Commit(writes, true)),
        1 => Just(Operation::KeepSnapshot),
        3 => (0..30_u64).prop_map(Operation::SnapshotAt),
        3 => (prefix, 0..30_u64).prop_map(|(prefix, back)| Operation::Watch(prefix, back)),
        5 => any::<prop::sample::Index>().prop_map(Operation::Drain),
        1 => any::<prop::sample::Index>().prop_map(Operation::DropWatch),
        1 => (0..30_u64).prop_map(Operation::Compact),
        1 => Just(Operation::Reopen),
    ];
    prop::collection::vec(operation, 1..80)
}

/// The records by key: value, creation revision, modification revision.
type RecordMap = BTreeMap<String, (String, u64, u64)>;

/// The map of every revision, and the event that led to each but the first.
struct Model {
    maps: Vec<RecordMap>,
    events: Vec<(String, String)>,
}

impl Model {
    fn newest(&self) -> u64 {
        self.events.len() as u64
    }

    fn map(&self, revision: Revision) -> &RecordMap {
        &self.maps[usize::try_from(revision.0).expect("few revisions")]
    }

    /// Applies one write.
    fn write(&mut self, write: &ModelWrite) {
        let revision = self.newest() + 1;
        let mut map = self.maps.last().expect("never empty").clone();
        let event = match write {
            ModelWrite::Put(key, value) => {
                let created = map.get(*key).map_or(revision, |entry| entry.1);
                map.insert((*key).to_owned(), (value.to_string(), created, revision));
                ((*key).to_owned(), format!("+{key}={value}"))
            }
            ModelWrite::Remove(key) if map.remove(*key).is_some() => {
                ((*key).to_owned(), format!("-{key}"))
            }
            ModelWrite::Remove(_) => return,
        };
        self.maps.push(map);
        self.events.push(event);
    }

    /// Returns the revisions of the events of `prefix` in `after + 1..=until`, rendered.
    fn events(&self, prefix: &str, after: u64, until: u64) -> Vec<(u64, String)> {
        let numbered = (1..)
            .zip(&self.events)
            .filter(|(revision, _)| (after + 1..=until).contains(revision));
        let matching = numbered.filter(|(_, (key, _))| belongs(key, prefix));
        matching
            .map(|(revision, (_, text))| (revision, text.clone()))
            .collect()
    }
}

fn belongs(key: &str, prefix: &str) -> bool {
    key.starts_with(prefix) && key.split('/').next() == prefix.split('/').next()
}

fn apply(txn: &mut Txn, writes: &[ModelWrite]) {
    for write in writes {
        match write {
            ModelWrite::Put(key, value) => drop(txn.put(key, value.to_string(), None)),
            ModelWrite::Remove(key) => drop(txn.remove(key, None)),
        }
    }
}

fn compare(snapshot: &Snapshot, model: &Model) {
    let map = model.map(snapshot.revision());
    for prefix in PREFIXES {
        let expected: Vec<_> = map.iter().filter(|(key, _)| belongs(key, prefix)).collect();
        let found: RecordMap = snapshot
            .range(prefix, None)
            .map(|record| {
                let value = String::from_utf8(record.value.to_vec()).expect("text");
                (
                    record.key.to_string(),
                    (value, record.created.0, record.modified.0),
                )
            })
            .collect();
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            expected,
            "{prefix} at {}",
            snapshot.revision()
        );
        assert_eq!(snapshot.count(prefix), expected.len());
        for after in KEYS {
            let rest = expected
                .iter()
                .filter(|(key, _)| key.as_str() > after)
                .count();
            assert_eq!(
                snapshot.range(prefix, Some(after)).count(),
                rest,
                "{prefix} after {after}"
            );
        }
    }
}

/// Takes everything that the watch has. Returns false when it was compacted.
fn drain(watch: &mut Watch, prefix: &str, cursor: &mut u64, oldest: u64, model: &Model) -> bool {
    let lost = !model.events(prefix, *cursor, oldest).is_empty();
    let mut found = Vec::new();
    while let Some(taken) = watch.next().now_or_never() {
        let Ok(events) = taken.expect("an open store") else {
            assert!(lost, "no event of {prefix} after {cursor} was compacted");
            return false;
        };
        found.extend(events.iter().map(|event| (event.revision.0, render(event))));
    }
    assert!(!lost, "an event of {prefix} after {cursor} was skipped");
    assert_eq!(found, model.events(prefix, *cursor, model.newest()));
    assert_eq!(watch.progress().0, model.newest().max(*cursor));
    *cursor = model.newest();
    true
}

async fn run(engine: TestEngine, operations: Vec<Operation>) {
    let mut store = engine.open_with(HISTORY);
    let mut model = Model {
        maps: vec![RecordMap::new()],
        events: Vec::new(),
    };
    let mut kept: Vec<Snapshot> = Vec::new();
    let mut watches: Vec<(Watch, &str, u64)> = Vec::new();
    for operation in operations {
        let (oldest, back) = (store.compacted().0, |by: u64| {
            model.newest().saturating_sub(by)
        });
        match operation {
            Operation::Commit(writes, refuse) => commit(&store, &mut model, &writes, refuse).await,
            Operation::KeepSnapshot => kept.push(store.snapshot()),
            Operation::SnapshotAt(by) => match store.snapshot_at(Revision(back(by))) {
                Ok(snapshot) => compare(&snapshot, &model),
                Err(compacted) => assert!(compacted.requested.0 < oldest),
            },
            Operation::Watch(prefix, by) => match store.watch(prefix, Revision(back(by))) {
                Ok(watch) => watches.push((watch, prefix, back(by))),
                Err(compacted) => assert!(compacted.requested.0 < oldest),
            },
            Operation::Drain(index) if !watches.is_empty() => {
                let index = index.index(watches.len());
                let (watch, prefix, cursor) = &mut watches[index];
                if !drain(watch, prefix, cursor, oldest, &model) {
                    watches.swap_remove(index);
                }
            }
            Operation::DropWatch(index) if !watches.is_empty() => {
                drop(watches.swap_remove(index.index(watches.len())))
            }
            Operation::Compact(by) => {
                store.compact(Revision(back(by)));
                assert_eq!(store.compacted().0, oldest.max(back(by)));
            }
            Operation::Reopen if engine.is_durable() => {
                watches.clear();
                drop(store);
                store = engine.open_with(HISTORY);
                assert_eq!(store.compacted(), store.revision());
            }
            Operation::Drain(_) | Operation::DropWatch(_) | Operation::Reopen => {}
        }
        assert_eq!(store.revision().0, model.newest());
        assert!(
            store.compacted().0 + 20 >= model.newest(),
            "compacted without a reason"
        );
    }
    compare(&store.snapshot(), &model);
    kept.iter().for_each(|snapshot| compare(snapshot, &model));
    for (watch, prefix, cursor) in &mut watches {
        drain(watch, prefix, cursor, store.compacted().0, &model);
    }
}

async fn commit(store: &Store, model: &mut Model, writes: &[ModelWrite], refuse: bool) {
    let decide = |txn: &mut Txn| {
        apply(txn, writes);
        if refuse { Err(()) } else { Ok(()) }
    };
    match store.commit(decide).await {
        Ok(committed) => {
            writes.iter().for_each(|write| model.write(write));
            assert_eq!(committed.revision.0, model.newest());
        }
        Err(error) => assert!(
            refuse && matches!(error, CommitError::Refused(())),
            "{error}"
        ),
    }
}

fn check(engine: TestEngine, operations: Vec<Operation>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(run(engine, operations));
}

/// Runs this number of cases. The seeds of failed cases are saved beside this file and run first
/// from then on. They are to be committed.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_store_in_memory_agrees_with_the_model(operations in operations()) {
        check(TestEngine::Memory, operations);
    }

    #[test]
    fn a_reopened_store_agrees_with_the_model(operations in operations()) {
        check(TestEngine::inline(), operations);
    }
}

proptest! {
    // Fewer cases: threads and disks are slow, and add little to the cases above.
    #![proptest_config(cases(40))]

    #[test]
    fn a_store_with_a_writer_agrees_with_the_model(operations in operations()) {
        check(TestEngine::threaded(), operations);
    }

    #[test]
    fn a_store_on_disk_agrees_with_the_model(operations in operations()) {
        check(TestEngine::disk(), operations);
    }
}
