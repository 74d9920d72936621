//! Clients that hold connections, bodies, memory and the processor of a server, beside one that
//! evicts.
//!
//! The short run checks what does not depend on time: every eviction gets the answer of its budget,
//! memory stays bounded, and everything goes back when the hostile clients leave. A long run
//! (`cargo xtask soak --hostile`) compares the latencies of evictions with those of a quiet server,
//! too.

mod attack;
mod evictions;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::measure::resident;
use crate::number;
use crate::support::{PATIENCE, Server};
use attack::{Attackers, TOKEN};

/// Length of each of the two phases in the short run.
const SHORT_PHASE: Duration = Duration::from_secs(3);
/// The most memory of a server under attack, in KiB.
const MAX_MEMORY_KIB: u64 = 256 * 1024;
/// The most memory that a server keeps when the attack is over, beyond what it had before, in KiB:
/// caches and what the allocator keeps for later.
const MAX_KEPT_KIB: u64 = 96 * 1024;
/// The most open files beyond those before the attack.
const MAX_KEPT_FILES: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_do_not_stop_evictions() {
    let seconds = number("EXEUNT_SOAK_HOSTILE_SECONDS");
    let phase = seconds.map_or(SHORT_PHASE, Duration::from_secs);
    let directory = tempfile::tempdir().unwrap();
    let tokens = token_file(directory.path());
    let mut server = Server::start(
        &directory.path().join("data"),
        &[
            "--nodes",
            "3",
            "--token-auth-file",
            tokens.to_str().unwrap(),
        ],
    );
    let client = server.client().await;
    evictions::prepare(&client).await;
    attack::permit(&client).await;
    let quiet = evictions::run(&client, phase).await;
    let before = Held::of(&server);
    eprintln!("quiet:   {quiet}, {before}");

    let attackers = Attackers::start(&server.kubeconfig, &server.url).await;
    let measuring = tokio::spawn({
        let pid = server.pid();
        async move {
            let mut most = 0;
            loop {
                most = most.max(resident(pid));
                if most > MAX_MEMORY_KIB {
                    return most;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let attacked = evictions::run(&client, phase).await;
    let too_much = measuring.is_finished();
    measuring.abort();
    let during = Held::of(&server);
    eprintln!("hostile: {attacked}, {during}, {}", attackers.counts());
    assert!(server.is_alive(), "the server has exited");
    assert!(!too_much, "under attack the server takes {during}");
    attackers.assert_all_worked();
    attackers.stop().await;

    let deadline = Instant::now() + PATIENCE + Duration::from_secs(120);
    loop {
        let after = Held::of(&server);
        if after.files <= before.files + MAX_KEPT_FILES
            && after.memory_kib <= before.memory_kib + MAX_KEPT_KIB
        {
            eprintln!("after:   {after}");
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the attack is over and the server keeps {after}; before it had {before}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    if seconds.is_some() {
        assert!(
            attacked.p99() <= quiet.p99() * 2,
            "hostile clients slow evictions down: {attacked}; {quiet} without them"
        );
    }
}

/// Writes a token file with the token of a user without any role.
fn token_file(directory: &Path) -> PathBuf {
    let path = directory.join("tokens.csv");
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    writeln!(file, "{TOKEN},mallory,mallory-uid").unwrap();
    path
}

/// What a server holds.
struct Held {
    memory_kib: u64,
    files: usize,
}

impl Held {
    fn of(server: &Server) -> Self {
        let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid()));
        Self {
            memory_kib: resident(server.pid()),
            files: files.map_or(0, Iterator::count),
        }
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memory_kib, files } = self;
        write!(
            out,
            "{} MiB of memory, {files} open files",
            memory_kib / 1024
        )
    }
}
