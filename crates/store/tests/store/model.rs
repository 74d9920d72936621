//! Random operations against a model: a list of maps, one for each revision.

use std::collections::BTreeMap;

use futures::FutureExt;
use proptest::prelude::*;
use store::{CommitError, Options, Revision, Snapshot, Store, Txn, Watch};

use crate::conformance::render;
use crate::place::Place;

/// Small, so that the operations run over its edge all the time.
const HISTORY: Options = Options {
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
enum Write {
    Put(&'static str, u8),
    Remove(&'static str),
}

#[derive(Clone, Debug)]
enum Step {
    /// A commit; refused at its end when the flag says so.
    Commit(Vec<Write>, bool),
    KeepSnapshot,
    /// A snapshot so many revisions back.
    SnapshotAt(u64),
    /// A watch from so many revisions back.
    Watch(&'static str, u64),
    /// Takes all that some watch has.
    Drain(prop::sample::Index),
    DropWatch(prop::sample::Index),
    /// Compacts up to so many revisions back.
    Compact(u64),
    /// Closes the store and opens it again.
    Reopen,
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let key = prop::sample::select(&KEYS[..]);
    let write = prop_oneof![
        3 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Write::Put(key, value)),
        2 => key.prop_map(Write::Remove),
    ];
    prop::collection::vec(write, 0..5)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let prefix = prop::sample::select(&PREFIXES[..]);
    let step = prop_oneof![
        12 => writes().prop_map(|writes| Step::Commit(writes, false)),
        2 => writes().prop_map(|writes| Step::Commit(writes, true)),
        1 => Just(Step::KeepSnapshot),
        3 => (0..30_u64).prop_map(Step::SnapshotAt),
        3 => (prefix, 0..30_u64).prop_map(|(prefix, back)| Step::Watch(prefix, back)),
        5 => any::<prop::sample::Index>().prop_map(Step::Drain),
        1 => any::<prop::sample::Index>().prop_map(Step::DropWatch),
        1 => (0..30_u64).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..80)
}

/// Value, creation and modification revision.
type Entry = (String, u64, u64);
type Map = BTreeMap<String, Entry>;

/// Everything that ever was: the maps by revision, and the event that led to each but the first.
struct Model {
    maps: Vec<Map>,
    events: Vec<(String, String)>,
}

impl Model {
    fn newest(&self) -> u64 {
        self.events.len() as u64
    }

    fn map(&self, revision: Revision) -> &Map {
        &self.maps[usize::try_from(revision.0).expect("few revisions")]
    }

    /// Makes one write; the caller compares.
    fn write(&mut self, write: &Write) {
        let revision = self.newest() + 1;
        let mut map = self.maps.last().expect("never empty").clone();
        let event = match write {
            Write::Put(key, value) => {
                let created = map.get(*key).map_or(revision, |entry| entry.1);
                map.insert((*key).to_owned(), (value.to_string(), created, revision));
                ((*key).to_owned(), format!("+{key}={value}"))
            }
            Write::Remove(key) if map.remove(*key).is_some() => {
                ((*key).to_owned(), format!("-{key}"))
            }
            Write::Remove(_) => return,
        };
        self.maps.push(map);
        self.events.push(event);
    }

    /// The revisions and texts of the events of `prefix` after `after` and up to `until`.
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

fn apply(txn: &mut Txn, writes: &[Write]) {
    for write in writes {
        match write {
            Write::Put(key, value) => drop(txn.put(key, value.to_string(), None)),
            Write::Remove(key) => drop(txn.remove(key, None)),
        }
    }
}

fn compare(snapshot: &Snapshot, model: &Model) {
    let map = model.map(snapshot.revision());
    for prefix in PREFIXES {
        let expected: Vec<_> = map.iter().filter(|(key, _)| belongs(key, prefix)).collect();
        let found: Map = snapshot
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

/// Takes everything that the watch has; false when it has been compacted.
fn drain(watch: &mut Watch, prefix: &str, cursor: &mut u64, oldest: u64, model: &Model) -> bool {
    let lost = !model.events(prefix, *cursor, oldest).is_empty();
    let mut found = Vec::new();
    while let Some(taken) = watch.next().now_or_never() {
        let Ok(events) = taken.expect("an open store") else {
            assert!(lost, "nothing of {prefix} after {cursor} was lost");
            return false;
        };
        found.extend(events.iter().map(|event| (event.revision.0, render(event))));
    }
    assert!(
        !lost,
        "it must tell that something of {prefix} after {cursor} is lost"
    );
    assert_eq!(found, model.events(prefix, *cursor, model.newest()));
    assert_eq!(watch.progress().0, model.newest().max(*cursor));
    *cursor = model.newest();
    true
}

async fn run(place: Place, steps: Vec<Step>) {
    let mut store = place.open_with(HISTORY);
    let mut model = Model {
        maps: vec![Map::new()],
        events: Vec::new(),
    };
    let mut kept: Vec<Snapshot> = Vec::new();
    let mut watches: Vec<(Watch, &str, u64)> = Vec::new();
    for step in steps {
        let (oldest, back) = (store.compacted().0, |by: u64| {
            model.newest().saturating_sub(by)
        });
        match step {
            Step::Commit(writes, refuse) => commit(&store, &mut model, &writes, refuse).await,
            Step::KeepSnapshot => kept.push(store.snapshot()),
            Step::SnapshotAt(by) => match store.snapshot_at(Revision(back(by))) {
                Ok(snapshot) => compare(&snapshot, &model),
                Err(compacted) => assert!(compacted.requested.0 < oldest),
            },
            Step::Watch(prefix, by) => match store.watch(prefix, Revision(back(by))) {
                Ok(watch) => watches.push((watch, prefix, back(by))),
                Err(compacted) => assert!(compacted.requested.0 < oldest),
            },
            Step::Drain(index) if !watches.is_empty() => {
                let index = index.index(watches.len());
                let (watch, prefix, cursor) = &mut watches[index];
                if !drain(watch, prefix, cursor, oldest, &model) {
                    watches.swap_remove(index);
                }
            }
            Step::DropWatch(index) if !watches.is_empty() => {
                drop(watches.swap_remove(index.index(watches.len())))
            }
            Step::Compact(by) => {
                store.compact(Revision(back(by)));
                assert_eq!(store.compacted().0, oldest.max(back(by)));
            }
            Step::Reopen if place.is_durable() => {
                watches.clear();
                drop(store);
                store = place.open_with(HISTORY);
                assert_eq!(store.compacted(), store.revision());
            }
            Step::Drain(_) | Step::DropWatch(_) | Step::Reopen => {}
        }
        assert_eq!(store.revision().0, model.newest());
        assert!(
            store.compacted().0 + 20 >= model.newest(),
            "or there was no reason to compact"
        );
    }
    compare(&store.snapshot(), &model);
    kept.iter().for_each(|snapshot| compare(snapshot, &model));
    for (watch, prefix, cursor) in &mut watches {
        drain(watch, prefix, cursor, store.compacted().0, &model);
    }
}

async fn commit(store: &Store, model: &mut Model, writes: &[Write], refuse: bool) {
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

fn check(place: Place, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(run(place, steps));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_in_memory_does_what_the_model_does(steps in steps()) {
        check(Place::Memory, steps);
    }

    #[test]
    fn a_store_that_is_reopened_does_what_the_model_does(steps in steps()) {
        check(Place::inline(), steps);
    }
}

proptest! {
    // Threads and disks are slow; what they add to the above is small.
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_with_a_writer_does_what_the_model_does(steps in steps()) {
        check(Place::threaded(), steps);
    }

    #[test]
    fn a_store_on_disk_does_what_the_model_does(steps in steps()) {
        check(Place::disk(), steps);
    }
}
