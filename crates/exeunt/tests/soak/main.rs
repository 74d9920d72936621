//! The real binary on a real disk under steady random traffic, killed again and again, watched from
//! outside.
//!
//! As a test it is short. `cargo xtask soak --minutes 10` runs it for real: half of the time the
//! server is killed every few seconds, the other half it lives on and its memory is looked at.
//! `docs/safety.md` says what is checked.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "all of this is a test: a panic is how it fails, its report must be seen, and real processes live in real time"
)]

#[expect(
    dead_code,
    reason = "shared with the other tests of the binary, which use more of it"
)]
#[path = "../cli/support.rs"]
mod support;

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

/// How many times the server is killed in the short run.
const SHORT_LIVES: u32 = 3;
/// A life that ends with SIGKILL lasts so long at least, and at most as long again.
const LIFE: Duration = Duration::from_secs(3);
/// Between two looks at the server and what it has told.
const LOOK: Duration = Duration::from_secs(1);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_keeps_its_promises() {
    let seed = number("EXEUNT_SOAK_SEED").unwrap_or(1);
    let minutes = number("EXEUNT_SOAK_MINUTES");
    eprintln!(
        "EXEUNT_SOAK_SEED={seed}, {}",
        minutes.map_or("short".to_owned(), |minutes| format!("{minutes} minutes"))
    );
    let folder = tempfile::tempdir().unwrap();
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
        soak.live(folder.path(), LIFE + extra, true).await;
        lives += 1;
    }
    if minutes.is_some() {
        soak.measure.begin_long_life();
        soak.live(folder.path(), half, false).await;
    }
    soak.live(folder.path(), LIFE, false).await;
    eprintln!(
        "{lives} SIGKILLs, {}, {}",
        soak.promises.figures(),
        soak.observer.figures()
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
    /// One life of the server, from the start over what it promised in earlier lives to its end.
    async fn live(&mut self, folder: &Path, life: Duration, kill: bool) {
        let mut server = Server::start(folder, &["--nodes", "3"]);
        let client = server.client().await;
        traffic::prepare(&client).await;
        self.promises.check(&client).await;
        self.observer.begin(&client).await;
        let traffic = Traffic::start(&client, &self.random, &self.promises);
        let end = Instant::now() + life;
        while Instant::now() < end {
            tokio::time::sleep(LOOK.min(life)).await;
            assert!(server.is_alive(), "the server has ended by itself");
            self.observer.look();
            self.measure.take(server.pid(), folder);
            traffic.check();
        }
        if kill {
            traffic.expect_the_end();
            server.kill();
            traffic.stop().await;
        } else {
            traffic.stop().await;
            settle(&client).await;
            assert_eq!(server.terminate(), Some(0), "the server ends in order");
        }
        self.observer.end().await;
    }
}

/// Waits until every budget tells the truth, which without traffic it must after a while.
async fn settle(client: &Client) {
    let end = Instant::now() + Duration::from_secs(240);
    loop {
        let wrong = traffic::wrong_budgets(client).await;
        if wrong.is_empty() {
            return;
        }
        assert!(
            Instant::now() < end,
            "without traffic, budgets still say: {wrong:?}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
