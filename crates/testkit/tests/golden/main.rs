//! Replays recorded conversations with a real Kubernetes, in process and in virtual time.
//!
//! The number of responses that differ is fixed for every area; `docs/compatibility.md` lists them
//! with the reasons. A change that removes a difference lowers the number. Run one scenario with
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

use testkit::TestCluster;
use testkit::golden::{Transcript, replay};

/// Replays an area against a new cluster; fails unless exactly this many responses differ.
async fn check(area: &str, differ: usize) {
    let transcript = Transcript::load(area).expect("the recordings are in the repository");
    let cluster = TestCluster::builder()
        .start()
        .await
        .expect("a cluster starts");
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
        "no scenario of {area} matches {only:?}"
    );
    assert!(
        !only.is_empty() || report.compared - report.right == differ,
        "{differ} answers of {area} are known to differ"
    );
}
