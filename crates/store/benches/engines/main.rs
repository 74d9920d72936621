//! Compares embedded engines under the store: grouped commits, a single committer, opening and
//! loading, memory and disk space. `docs/decisions/001-embedded-engine.md` records the decision.
//!
//! `cargo bench -p exeunt-store --bench engines` prints one table. Each engine and phase runs in a
//! process of its own (this program starts itself), so that memory is measured separately. Absolute
//! numbers depend on the disk; read the last columns, which are relative to one plain append and
//! sync of the same bytes and to the other engine.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints, may fail, and measures real time"
)]

// The name that the other crates give it.
extern crate exeunt_store as store;

mod fjall_engine;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use store::{Engine, EngineError, Store, StoreOptions};

const ENGINES: [&str; 2] = ["fjall", "redb"];
const COMMITTERS: usize = 32;
const LOADED_RECORDS: usize = 150_000;
/// About the size of a running pod in JSON.
const POD_BYTES: usize = 2000;
const CHARACTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-./:{}[]\", ";
const RUN: Duration = Duration::from_secs(4);

type Measurements = BTreeMap<String, f64>;

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, engine, phase, dir] = &arguments[..] {
        for (name, value) in run_phase(engine, phase, Path::new(dir)) {
            println!("{name}\t{value}");
        }
        return;
    }
    let results = ENGINES.map(run_engine);
    let plain = plain_append();
    println!(
        "{COMMITTERS} committers, {POD_BYTES} bytes per write, {LOADED_RECORDS} records to load"
    );
    println!("one plain append of a write and its sync: {plain:.3} ms\n");
    println!(
        "{:<34}{:>12}{:>12}{:>14}{:>16}",
        "", ENGINES[0], ENGINES[1], "first/second", "first/plain"
    );
    for (name, first) in &results[0] {
        let second = results[1][name];
        let to_plain = if name.contains("latency") {
            format!("{:.2}", first / plain)
        } else {
            String::new()
        };
        println!(
            "{name:<34}{first:>12.2}{second:>12.2}{:>14.2}{to_plain:>16}",
            first / second
        );
    }
}

fn run_engine(engine: &str) -> Measurements {
    let dir = tempfile::tempdir_in(
        std::env::var_os("EXEUNT_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into),
    )
    .unwrap();
    let mut values = Measurements::new();
    for phase in ["empty", "group", "lone", "fill", "load", "killed", "reload"] {
        let path = dir
            .path()
            .join(if matches!(phase, "load" | "killed" | "reload") {
                "fill"
            } else {
                phase
            });
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program)
            .args([engine, phase])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            phase == "killed" || output.status.success(),
            "{engine} {phase}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let (name, value) = line.split_once('\t').unwrap();
            values.insert(name.to_owned(), value.parse().unwrap());
        }
    }
    values
}

fn open(engine: &str, dir: &Path) -> Store {
    let engine: Result<Box<dyn Engine>, EngineError> = match engine {
        "fjall" => fjall_engine::Fjall::open(dir).map(|engine| Box::new(engine) as _),
        _ => return Store::open_disk(dir, StoreOptions::default()).unwrap(),
    };
    Store::open_threaded(engine.unwrap(), StoreOptions::default()).unwrap()
}

fn run_phase(engine: &str, phase: &str, dir: &Path) -> Measurements {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let before = memory_mib();
        let start = Instant::now();
        let store = open(engine, dir);
        let opened = milliseconds(start);
        let values: Vec<(&str, f64)> = match phase {
            "empty" => vec![
                ("1 open empty, ms", opened),
                ("1 open empty, MiB resident", memory_mib() - before),
            ],
            "group" => {
                let (commits, mut latencies) = commit_for(&store, COMMITTERS).await;
                vec![
                    ("2 grouped commits per second", commits),
                    ("2 grouped latency p50, ms", percentile(&mut latencies, 50)),
                    ("2 grouped latency p99, ms", percentile(&mut latencies, 99)),
                    (
                        "2 MiB resident beyond the data",
                        memory_mib() - before - data_mib(&store),
                    ),
                ]
            }
            "lone" => {
                let (commits, mut latencies) = commit_for(&store, 1).await;
                vec![
                    ("3 lone commits per second", commits),
                    ("3 lone latency p50, ms", percentile(&mut latencies, 50)),
                    ("3 lone latency p99, ms", percentile(&mut latencies, 99)),
                ]
            }
            "fill" => {
                fill(&store).await;
                store.close().await.unwrap();
                vec![
                    ("4 fill 150,000, s", start.elapsed().as_secs_f64()),
                    ("4 disk bytes per byte", disk_bytes(dir) / value_bytes()),
                ]
            }
            "load" | "reload" => {
                assert_eq!(store.snapshot().count("pods/"), LOADED_RECORDS);
                let name = if phase == "load" {
                    "5 load after close, ms"
                } else {
                    "6 load after a kill, ms"
                };
                vec![
                    (name, opened),
                    (
                        "5 load, MiB resident per MiB",
                        (memory_mib() - before) / (value_bytes() / 1_048_576.0),
                    ),
                ]
            }
            _ => {
                let (store, writer) = (store.clone(), store);
                tokio::task::spawn(async move { commit_for(&writer, COMMITTERS).await });
                store
                    .reached(store::Revision(store.revision().0 + 5000))
                    .await
                    .unwrap();
                let _ = Command::new("kill")
                    .args(["-9", &std::process::id().to_string()])
                    .status();
                unreachable!("it was killed")
            }
        };
        values
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    })
}

/// Commits per second and the latencies in milliseconds of updates to 2,000 pods.
async fn commit_for(store: &Store, committers: usize) -> (f64, Vec<f64>) {
    let start = Instant::now();
    let tasks: Vec<_> = (0..committers)
        .map(|committer| {
            let store = store.clone();
            tokio::task::spawn(async move {
                let mut latencies = Vec::new();
                let mut number = committer;
                while start.elapsed() < RUN {
                    let begin = Instant::now();
                    // A step that is coprime to the number of pods visits all of them in no useful
                    // order.
                    number = (number + 7919) % 2000;
                    let (key, value) = (key(number), pod(latencies.len()));
                    store
                        .commit(|txn| {
                            Ok::<_, Infallible>(txn.put(&key, value.clone(), None).modified)
                        })
                        .await
                        .unwrap();
                    latencies.push(milliseconds(begin));
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    (all.len() as f64 / start.elapsed().as_secs_f64(), all)
}

async fn fill(store: &Store) {
    for chunk in 0..LOADED_RECORDS / 500 {
        let write = |txn: &mut store::Txn| {
            (0..500)
                .for_each(|number| drop(txn.put(&key(chunk * 500 + number), pod(number), None)));
            Ok::<_, Infallible>(())
        };
        store.commit(write).await.unwrap();
    }
}

fn key(number: usize) -> String {
    format!(
        "pods/namespace-{}/application-7d4b9c6f5-{number:06}",
        number % 50
    )
}

/// Returns bytes that compress about as badly as JSON.
fn pod(seed: usize) -> Vec<u8> {
    (0..POD_BYTES)
        .map(|index| CHARACTERS[(index * 31 + seed * 17 + index * index * seed) % CHARACTERS.len()])
        .collect()
}

fn value_bytes() -> f64 {
    (LOADED_RECORDS * POD_BYTES) as f64
}

fn percentile(latencies: &mut [f64], percent: usize) -> f64 {
    latencies.sort_by(f64::total_cmp);
    latencies[(latencies.len() - 1) * percent / 100]
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn memory_mib() -> f64 {
    let pages: f64 = fs::read_to_string("/proc/self/statm")
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    pages * 4096.0 / 1_048_576.0
}

/// Returns the size of what the store itself holds in memory: newest records and history.
fn data_mib(store: &Store) -> f64 {
    let records = store.snapshot().count("pods/") as u64 + store.revision().0 - store.compacted().0;
    records as f64 * POD_BYTES as f64 / 1_048_576.0
}

fn disk_bytes(dir: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata().unwrap() {
            dir if dir.is_dir() => disk_bytes(&entry.path()),
            file => file.blocks() as f64 * 512.0,
        })
        .sum()
}

/// Measures the median time of appending the bytes of one write to a file and syncing them, in
/// milliseconds.
fn plain_append() -> f64 {
    let mut file: File = tempfile::tempfile().unwrap();
    let mut latencies: Vec<_> = (0..500)
        .map(|number| {
            let begin = Instant::now();
            file.write_all(&pod(number)).unwrap();
            file.sync_data().unwrap();
            milliseconds(begin)
        })
        .collect();
    percentile(&mut latencies, 50)
}
