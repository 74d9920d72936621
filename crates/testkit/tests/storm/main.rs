//! Random operations and crashes on a whole cluster in virtual time, with an observer of every
//! durable write.
//!
//! Each run follows a seed. A failure prints it, and `EXEUNT_STORM_SEED=7` repeats that run alone.
//! `EXEUNT_STORM_RUNS=500` makes more runs. `docs/safety.md` lists what is checked.

#![expect(clippy::print_stderr, reason = "how much was checked is the report")]

mod storm;

use crate::storm::{StoreKind, Storm, StormCounts};

/// Number of runs of a test.
const RUNS: u64 = 6;

/// Runs the seeds of one test, which end with its digit.
async fn run(place: StoreKind, share: u64) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seeds: Vec<u64> = match number("EXEUNT_STORM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("EXEUNT_STORM_RUNS").unwrap_or(RUNS))
            .map(|run| run * 10 + share)
            .collect(),
    };
    let mut total = StormCounts::default();
    for seed in seeds {
        let counts = Storm::run(seed, place)
            .await
            .unwrap_or_else(|why| panic!("EXEUNT_STORM_SEED={seed} finds: {why:#}"));
        total.add(&counts);
    }
    eprintln!("{place:?}: {total:?}");
    assert!(
        total.granted > 0 && total.refused > 0 && total.charges > 0 && total.statuses > 0,
        "nothing was checked: {total:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn budgets_hold_on_a_store_in_memory() {
    run(StoreKind::Memory, 0).await;
}

#[tokio::test(start_paused = true)]
async fn budgets_hold_on_a_store_in_memory_with_other_seeds() {
    run(StoreKind::Memory, 1).await;
}

#[tokio::test(start_paused = true)]
async fn budgets_hold_on_the_embedded_engine() {
    run(StoreKind::Disk, 2).await;
}
