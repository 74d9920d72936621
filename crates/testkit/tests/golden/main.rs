//! The recorded conversations with a real Kubernetes, replayed in process and in virtual time.
//!
//! For every area it is known how many answers differ, and `docs/compatibility.md` says which and
//! why; whoever mends one lowers the number. Run one scenario with
//! `EXEUNT_GOLDEN=part-of-its-name`, for example `EXEUNT_GOLDEN=dry cargo nextest run -p
//! exeunt-testkit --no-capture eviction`.

#![expect(
    clippy::print_stdout,
    reason = "whoever runs one area reads its differences"
)]

mod budgets;
mod deletion;
mod discovery;
mod disruption;
mod eviction;
mod objects;
mod workloads;

use testkit::Cluster;
use testkit::golden::{Transcript, replay};

/// Replays an area against a fresh cluster; fails unless exactly so many answers differ.
async fn check(area: &str, differ: usize) {
    let transcript = Transcript::load(area).expect("the recordings are in the repository");
    let cluster = Cluster::builder().start().await.expect("a cluster starts");
    let only = std::env::var("EXEUNT_GOLDEN").unwrap_or_default();
    let report = replay(
        &cluster.transport(),
        &transcript,
        &only,
        cluster.clock(),
        cluster.entropy(),
    )
    .await;
    for line in &report.differences {
        println!("{line}");
    }
    println!(
        "{area}: {} of {} answers agree ({:.1} %)",
        report.right,
        report.compared,
        report.percent()
    );
    cluster.stop().await.expect("a cluster stops");
    assert!(
        report.compared > 0,
        "no scenario of {area} is called {only:?}"
    );
    assert!(
        !only.is_empty() || report.compared - report.right == differ,
        "{differ} answers of {area} are known to differ"
    );
}
