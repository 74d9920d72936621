//! The binary on disk under random traffic, killed repeatedly and checked through its API.
//!
//! The test is short. `cargo xtask soak --minutes 10` runs longer: for half of the time the server
//! is killed every few seconds, for the other half it runs on and its memory is measured.
//! `docs/safety.md` lists what is checked. `hostile.rs` is about clients that mean harm.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, prints its report, and runs processes in real time"
)]

#[expect(
    dead_code,
    reason = "shared with the other tests of the binary, which use more of it"
)]
#[path = "../cli/support.rs"]
mod support;

mod hostile;
mod measure;
mod observe;
mod promises;
mod traffic;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clock::Entropy;
use kube::Client;

use crate::measure::Measure;
use crate::observe::Observer;
use crate::promises::Promises;
use crate::support::Server;
use crate::traffic::Traffic;

/// Number of SIGKILLs in the short run.
const SHORT_LIVES: u32 = 3;
/// The shortest time until a SIGKILL; the longest is twice that.
const LIFE: Duration = Duration::from_secs(3);
/// Pause between two checks of the server.
const LOOK: Duration = Duration::from_secs(1);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_repeated_kills() {
    let seed = number("EXEUNT_SOAK_SEED").unwrap_or(1);
    let minutes = number("EXEUNT_SOAK_MINUTES");
    eprintln!(
        "EXEUNT_SOAK_SEED={seed}, {}",
        minutes.map_or("short".to_owned(), |minutes| format!("{minutes} minutes"))
    );
    let directory = tempfile::tempdir().unwrap();
    let mut soak = Soak {
        random: Entropy::seeded(seed),
        promises: Arc::new(Promises::default()),
        observer: Observer::default(),
        measure: Measure::default(),
    };
    let half = Duration::from_secs(30 * minutes.unwrap_or(0));
    let start = Instant::now();
    let mut lives = 0;
    while if minutes.is_some() {
        start.elapsed() < half
    } else {
        lives < SHORT_LIVES
    } {
        let extra = Duration::from_millis(soak.random.below(3_000));
        soak.live(directory.path(), LIFE + extra, true).await;
        lives += 1;
    }
    if minutes.is_some() {
        soak.measure.begin_long_life();
        soak.live(directory.path(), half, false).await;
    }
    soak.live(directory.path(), LIFE, false).await;
    eprintln!(
        "{lives} SIGKILLs, {}, {}",
        soak.promises.counts(),
        soak.observer.counts()
    );
    eprintln!("{}", soak.measure.report());
    soak.measure
        .judge(minutes.is_some_and(|minutes| minutes >= 4));
}

struct Soak {
    random: Entropy,
    promises: Arc<Promises>,
    observer: Observer,
    measure: Measure,
}

impl Soak {
    /// Runs the server once: starts it, checks what it acknowledged before, and ends it.
    async fn live(&mut self, directory: &Path, life: Duration, kill: bool) {
        let mut server = Server::start(directory, &["--nodes", "3"]);
        let client = server.client().await;
        traffic::prepare(&client).await;
        self.promises.check(&client).await;
        self.observer.begin(&client).await;
        let traffic = Traffic::start(&client, &self.random, &self.promises);
        let end = Instant::now() + life;
        while Instant::now() < end {
            tokio::time::sleep(LOOK.min(life)).await;
            assert!(server.is_alive(), "the server has exited");
            self.observer.look();
            self.measure.take(server.pid(), directory);
            traffic.check();
        }
        if kill {
            traffic.expect_the_end();
            server.kill();
            traffic.stop().await;
        } else {
            traffic.stop().await;
            settle(&client).await;
            assert_eq!(
                server.terminate(),
                Some(0),
                "the server shuts down in order"
            );
        }
        self.observer.end().await;
    }
}

/// Waits until the status of every budget agrees with its pods, now that there is no traffic.
async fn settle(client: &Client) {
    let end = Instant::now() + Duration::from_secs(240);
    loop {
        let wrong = traffic::wrong_budgets(client).await;
        if wrong.is_empty() {
            return;
        }
        assert!(
            Instant::now() < end,
            "without traffic, these statuses remain wrong: {wrong:?}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
