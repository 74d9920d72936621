//! The files of the disk engine: exclusive access, and detection of damage.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use store::{CommitError, EngineError, OpenError, Revision, Store, StoreOptions};

use crate::ops::{commit, put, remove};

fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open_disk(dir, StoreOptions::default())
}

/// Returns the path of the file that is not the lock.
fn store_file(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("a file").path());
    files
        .filter(|path| path.file_name().is_some_and(|name| name != "lock"))
        .max()
        .expect("a store")
}

async fn filled(dir: &Path) {
    let store = open(dir).expect("a new store");
    for chunk in 0..4 {
        commit(&store, |txn| {
            (0..50).for_each(|number| {
                drop(txn.put(&format!("pods/{chunk}/{number}"), vec![b'x'; 700], None))
            });
        })
        .await;
    }
    remove(&store, "pods/0/0").await;
    store.close().await.expect("no failure");
}

#[tokio::test]
async fn a_directory_in_use_cannot_be_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).expect("a new store");
    put(&store, "pods/a", "1").await;
    let error = open(dir.path()).expect_err("in use");
    assert!(matches!(error.reason, EngineError::InUse), "{error:?}");
    put(&store, "pods/a", "2").await;
    drop(store);
    assert_eq!(
        open(dir.path()).expect("not in use").revision(),
        Revision(2)
    );
}

#[tokio::test]
async fn close_unlocks_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).expect("a new store");
    put(&store, "pods/a", "1").await;
    store.close().await.expect("no failure");
    let again = open(dir.path()).expect("unlocked although the old handle exists");
    assert_eq!(
        (store.revision(), again.revision()),
        (Revision(1), Revision(1))
    );
}

#[tokio::test]
async fn a_damaged_file_is_reported_and_left_alone() {
    let original = tempfile::tempdir().unwrap();
    filled(original.path()).await;
    let bytes = fs::read(store_file(original.path())).unwrap();
    let first_value = bytes
        .windows(700)
        .position(|window| window.iter().all(|byte| *byte == b'x'))
        .unwrap();
    let mut flipped = bytes.clone();
    flipped[first_value + 300] ^= 1;
    let mut no_header = bytes.clone();
    no_header[..4096].fill(0);
    let mut no_middle = bytes.clone();
    no_middle[8192..bytes.len() / 2].fill(0xA5);
    let damages = [
        ("empty", Vec::new()),
        ("truncated", bytes[..bytes.len() / 2].to_vec()),
        ("truncated in the header", bytes[..100].to_vec()),
        (
            "another type of file",
            b"apiVersion: v1\nkind: Config\n".repeat(500),
        ),
        ("one flipped bit in a value", flipped),
        ("no header", no_header),
        ("overwritten in the middle", no_middle),
    ];
    for (name, damaged) in damages {
        let dir = tempfile::tempdir().unwrap();
        let file = dir
            .path()
            .join(store_file(original.path()).file_name().unwrap());
        fs::write(&file, &damaged).unwrap();
        let error = open(dir.path())
            .err()
            .unwrap_or_else(|| panic!("{name}: it opened"));
        assert!(
            matches!(error.reason, EngineError::Corrupt(_)),
            "{name}: {error:?}"
        );
        assert_eq!(fs::read(&file).unwrap(), damaged, "{name}: it changed");
        assert!(!dir.path().join("lock").exists(), "{name}: a lock was left");
        assert!(
            open(dir.path()).is_err(),
            "{name}: it opened the second time"
        );
    }
}

/// Flips single bits all over the file. Each flip is either detected or has no effect.
#[tokio::test]
async fn a_flipped_bit_never_changes_what_is_read() {
    let original = tempfile::tempdir().unwrap();
    filled(original.path()).await;
    let file = store_file(original.path());
    let bytes = fs::read(&file).unwrap();
    let expected = contents(&open(original.path()).expect("undamaged"));
    assert_eq!(expected.len(), 199);
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join(file.file_name().unwrap());
    let mut found = 0;
    for place in (0..bytes.len()).step_by(bytes.len() / 150) {
        fs::write(&copy, &bytes).unwrap();
        let mut damaged = fs::File::options().write(true).open(&copy).unwrap();
        damaged.seek(SeekFrom::Start(place as u64)).unwrap();
        damaged.write_all(&[bytes[place] ^ 0x10]).unwrap();
        drop(damaged);
        match open(dir.path()) {
            Ok(store) => assert_eq!(contents(&store), expected, "a bit flipped at {place}"),
            Err(error) => {
                assert!(!matches!(error.reason, EngineError::InUse), "{error:?}");
                found += 1;
            }
        }
    }
    assert!(found > 0);
}

fn contents(store: &Store) -> Vec<(String, Bytes, Revision)> {
    let records = store.snapshot();
    records
        .range("pods/", None)
        .map(|record| {
            (
                record.key.to_string(),
                record.value.clone(),
                record.modified,
            )
        })
        .collect()
}

/// Flips single bits in the files that a killed process leaves. redb can take damage to the newest
/// transaction for one that was not finished; the acknowledged revision in the lock file detects
/// it.
#[tokio::test]
async fn a_flipped_bit_after_a_kill_never_loses_what_was_acknowledged() {
    let original = tempfile::tempdir().unwrap();
    let store = open(original.path()).expect("a new store");
    for number in 0..30 {
        put(&store, &format!("pods/{number}"), &"x".repeat(500)).await;
    }
    let expected = contents(&store);
    let file = store_file(original.path());
    // The files of an open store are what a kill would leave.
    let (bytes, lock) = (
        fs::read(&file).unwrap(),
        fs::read(original.path().join("lock")).unwrap(),
    );
    let dir = tempfile::tempdir().unwrap();
    let header = (0..320).step_by(8);
    let mut found = 0;
    for place in header.chain((320..bytes.len()).step_by(bytes.len() / 300)) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        fs::write(dir.path().join(file.file_name().unwrap()), &damaged).unwrap();
        fs::write(dir.path().join("lock"), &lock).unwrap();
        match open(dir.path()) {
            Ok(store) => assert_eq!(contents(&store), expected, "a bit flipped at {place}"),
            Err(error) => {
                assert!(matches!(error.reason, EngineError::Corrupt(_)), "{error:?}");
                let after = fs::read(dir.path().join(file.file_name().unwrap())).unwrap();
                assert!(
                    after == damaged,
                    "a bit flipped at {place}: the file changed"
                );
                found += 1;
            }
        }
    }
    assert!(found > 20, "{found}");
}

/// redb repairs the file of a killed process when it opens it. The repair reaches the disk with the
/// first commit.
#[tokio::test]
async fn a_store_that_is_only_read_stays_as_it_was() {
    let original = tempfile::tempdir().unwrap();
    let store = open(original.path()).expect("a new store");
    put(&store, "pods/a", "1").await;
    // The files of an open store are what a kill would leave.
    let dir = tempfile::tempdir().unwrap();
    let names = ["store.redb", "lock"];
    for name in names {
        fs::copy(original.path().join(name), dir.path().join(name)).unwrap();
    }
    let contents = || names.map(|name| fs::read(dir.path().join(name)).unwrap());
    let before = contents();
    for _ in 0..2 {
        let copy = open(dir.path()).expect("it can be repaired");
        assert_eq!(copy.revision(), Revision(1));
        copy.close().await.expect("no failure");
        assert!(contents() == before);
    }
    let copy = open(dir.path()).expect("it can be repaired");
    put(&copy, "pods/b", "2").await;
    drop(copy);
    assert!(contents() != before);
    assert_eq!(open(dir.path()).expect("undamaged").revision(), Revision(2));
}

#[tokio::test]
async fn files_that_are_gone_are_noticed() {
    type Removal = fn(&Path);
    let removals: [(&str, Removal); 5] = [
        ("the directory", |dir| fs::remove_dir_all(dir).unwrap()),
        ("its path", |dir| {
            fs::rename(dir, dir.with_extension("away")).unwrap();
        }),
        ("the store", |dir| {
            fs::remove_file(dir.join("store.redb")).unwrap()
        }),
        ("the lock", |dir| fs::remove_file(dir.join("lock")).unwrap()),
        ("the very store", |dir| {
            let file = dir.join("store.redb");
            fs::rename(&file, dir.join("other")).unwrap();
            fs::copy(dir.join("other"), &file).unwrap();
        }),
    ];
    for (name, remove) in removals {
        for asked_first in [false, true] {
            let parent = tempfile::tempdir().unwrap();
            let dir = parent.path().join("store");
            let store = open(&dir).expect("a new store");
            put(&store, "pods/a", "1").await;
            store.check().expect("everything is in its place");
            remove(&dir);
            if asked_first {
                let error = store.check().expect_err(name);
                assert!(matches!(&*error, EngineError::Replaced { .. }), "{error:?}");
            }
            let late = store.commit(|txn| Ok::<_, ()>(txn.put("pods/b", "2", None)));
            let error = late.await.expect_err(name);
            assert!(
                matches!(&error, CommitError::Failed(_)),
                "{name}: {error:?}"
            );
            assert!(
                store.check().is_err() && store.failure().is_some(),
                "{name}"
            );
            assert!(store.get("pods/a").is_some(), "{name}: reads continue");
            assert!(store.get("pods/b").is_none(), "{name}");
        }
    }
}

#[tokio::test]
async fn an_older_copy_is_accepted_only_without_the_lock_file() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let file = store_file(dir.path());
    let older = fs::read(&file).unwrap();
    let store = open(dir.path()).expect("undamaged");
    put(&store, "pods/new", "1").await;
    drop(store);
    fs::write(&file, older).unwrap();
    let error = open(dir.path()).expect_err("a commit is missing");
    assert!(
        matches!(
            &error.reason,
            EngineError::Corrupt(what) if what.contains("remove the file `lock`")
        ),
        "{error:?}"
    );
    fs::remove_file(dir.path().join("lock")).unwrap();
    assert_eq!(
        open(dir.path()).expect("restored on purpose").revision(),
        Revision(201)
    );
}

#[tokio::test]
async fn an_interrupted_creation_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("store.redb.new"), b"half a file").unwrap();
    let store = open(dir.path()).expect("an unfinished file is no store");
    assert_eq!(put(&store, "pods/a", "1").await, Revision(1));
}

#[test]
fn a_path_that_is_not_a_directory_is_an_io_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = open(file.path()).expect_err("not a directory");
    assert!(matches!(error.reason, EngineError::Io(_)), "{error:?}");
    assert!(error.to_string().contains(&*file.path().to_string_lossy()));
}
