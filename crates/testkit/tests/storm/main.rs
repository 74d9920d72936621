//! Evictions in bad weather: the whole real system in virtual time, with everything at once that
//! may happen to it, and an observer that looks at every durable write.
//!
//! Each run follows a seed; a failure tells it, and `EXEUNT_STORM_SEED=7` repeats that run alone.
//! `EXEUNT_STORM_RUNS=500` makes more of them. `docs/safety.md` says what is checked.

#![expect(clippy::print_stderr, reason = "how much was checked is the report")]

mod storm;

use crate::storm::{Figures, Place, Storm};

/// How many different runs a test makes.
const RUNS: u64 = 6;

/// Runs one test's share of the seeds, which end with this digit of its own.
async fn run(place: Place, share: u64) {
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
    let mut total = Figures::default();
    for seed in seeds {
        let figures = Storm::run(seed, place)
            .await
            .unwrap_or_else(|why| panic!("EXEUNT_STORM_SEED={seed} finds: {why:#}"));
        total.add(&figures);
    }
    eprintln!("{place:?}: {total:?}");
    assert!(
        total.granted > 0 && total.refused > 0 && total.charges > 0 && total.statuses > 0,
        "nothing was checked: {total:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn budgets_hold_on_a_store_in_memory() {
    run(Place::Memory, 0).await;
}

#[tokio::test(start_paused = true)]
async fn budgets_hold_on_a_store_in_memory_with_other_seeds() {
    run(Place::Memory, 1).await;
}

#[tokio::test(start_paused = true)]
async fn budgets_hold_on_the_embedded_engine() {
    run(Place::Folder, 2).await;
}
