//! Durability of a process that is killed with SIGKILL while it writes.
//!
//! The test starts its own executable as the writer. The writer prints each acknowledged commit on
//! standard output; all of them must exist afterwards.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use store::{Revision, Store, StoreOptions};

use crate::ops::{commit, next, put};

const CHILD_DIR: &str = "EXEUNT_STORE_KILL_TEST_DIR";
const COMMITTERS: usize = 16;
const LOG_LENGTH: u64 = 5;
const ACKNOWLEDGED_BEFORE_KILL: usize = 600;

fn number_at(store: &Store, key: &str) -> u64 {
    store.get(key).map_or(0, |record| {
        std::str::from_utf8(&record.value)
            .expect("text")
            .trim()
            .parse()
            .expect("a number")
    })
}

/// The writer. Without the environment variable this test does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let store = Store::open_disk(Path::new(&dir), StoreOptions::default())
        .expect("a store that was killed opens again");
    let committers = (0..COMMITTERS).map(|committer| write_until_killed(store.clone(), committer));
    futures::future::join_all(committers.map(tokio::task::spawn)).await;
}

async fn write_until_killed(store: Store, committer: usize) {
    let mut number = number_at(&store, &format!("left/{committer}"));
    loop {
        number += 1;
        let revision = commit(&store, |txn| {
            txn.put(
                &format!("left/{committer}"),
                format!("{number:>1000}"),
                None,
            );
            txn.put(&format!("log/{committer}/{number}"), "", None);
            if let Some(old) = number.checked_sub(LOG_LENGTH) {
                txn.remove(&format!("log/{committer}/{old}"), None);
            }
            txn.put(&format!("right/{committer}"), number.to_string(), None)
                .modified
        })
        .await;
        #[expect(
            clippy::disallowed_methods,
            reason = "the parent process reads it, not a terminal"
        )]
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {committer} {number} {revision}").expect("the parent reads");
    }
}

/// Runs the writer until it has acknowledged enough commits, and kills it. Returns the last
/// acknowledged number of each committer, and the newest acknowledged revision.
fn run_and_kill(dir: &Path) -> (HashMap<usize, u64>, Revision) {
    let program = std::env::current_exe().expect("a program");
    let arguments = ["--exact", "kill::writer", "--nocapture"];
    let mut child = Command::new(program)
        .args(arguments)
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut numbers = HashMap::new();
    let mut newest = Revision(0);
    let lines = BufReader::new(child.stdout.take().expect("a pipe"))
        .lines()
        .map(|line| line.expect("text"));
    let mut count = 0;
    for line in lines {
        let Some(words) = line
            .find("acknowledged ")
            .map(|start| line[start..].split(' ').collect::<Vec<_>>())
        else {
            continue;
        };
        // The kill may have truncated the last line.
        let [_, committer, number, revision] = words[..] else {
            continue;
        };
        let (Ok(committer), Ok(number), Ok(revision)) =
            (committer.parse(), number.parse(), revision.parse())
        else {
            continue;
        };
        count += 1;
        if count == ACKNOWLEDGED_BEFORE_KILL {
            child.kill().expect("it still runs");
        }
        if count > ACKNOWLEDGED_BEFORE_KILL
            && numbers
                .get(&committer)
                .is_some_and(|last| *last + 1 != number)
        {
            continue;
        }
        numbers.insert(committer, number);
        newest = newest.max(Revision(revision));
    }
    assert!(!child.wait().expect("it ends").success());
    assert!(
        count >= ACKNOWLEDGED_BEFORE_KILL,
        "the writer ended before it was killed"
    );
    (numbers, newest)
}

#[tokio::test]
async fn acknowledged_commits_survive_sigkill() {
    let dir = tempfile::tempdir().expect("a directory");
    for _ in 0..3 {
        let (numbers, newest) = run_and_kill(dir.path());
        let store = Store::open_disk(dir.path(), StoreOptions::default()).expect("it opens again");
        assert!(
            store.revision() >= newest,
            "{} went back before {newest}",
            store.revision()
        );
        for committer in 0..COMMITTERS {
            let acknowledged = numbers.get(&committer).copied().unwrap_or(0);
            let (left, right) = (
                number_at(&store, &format!("left/{committer}")),
                number_at(&store, &format!("right/{committer}")),
            );
            assert_eq!(left, right, "part of a commit");
            assert!(
                (acknowledged..=acknowledged + 1).contains(&left),
                "acknowledged {acknowledged}, found {left}"
            );
            let log: Vec<_> = store
                .snapshot()
                .range(&format!("log/{committer}/"), None)
                .map(|record| record.key.to_string())
                .collect();
            assert_eq!(log.len() as u64, left.min(LOG_LENGTH), "{log:?}");
            for number in left.saturating_sub(LOG_LENGTH - 1).max(1)..=left {
                assert!(log.contains(&format!("log/{committer}/{number}")));
            }
        }
        // The history does not survive: an older watch fails, the newest revision can be watched.
        let last = store.revision();
        assert!(store.watch("left/", Revision(last.0 - 1)).is_err());
        let mut watch = store.watch("marks/", last).expect("the newest revision");
        assert_eq!(put(&store, "marks/a", "1").await, last.next());
        assert_eq!(next(&mut watch, 1).await, ["+marks/a=1"]);
    }
}
