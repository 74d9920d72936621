//! Counts evictions by namespace, budget and outcome, and measures how long budgets refuse them.
//!
//! The number of series is bounded by [`MAX_SERIES`]. Further evictions are counted under
//! [`OTHER`]. The first eviction of a series
//! takes the write lock, and so does each one beyond the bound.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::outcome::EvictionOutcome;

/// The maximum number of pairs of namespace and budget with a series of their own. Further pairs
/// share one series.
const MAX_SERIES: usize = 4096;
/// The labels `namespace` and `pdb` of the series that all further pairs share.
pub(super) const OTHER: &str = "other";
/// The maximum time between two refusals for which the budget counts as blocked in between. Clients
/// that retry later than this are no longer considered to be waiting.
const MAX_RETRY_GAP: Duration = Duration::from_secs(60);

/// The counters of one budget.
#[derive(Debug, Default)]
pub(super) struct Series {
    outcomes: [AtomicU64; EvictionOutcome::ALL.len()],
    /// The time of the last refusal in milliseconds since the start, plus one. It is 0 if there was
    /// no refusal since the last granted eviction.
    last_refusal: AtomicU64,
    blocked_ms: AtomicU64,
}

impl Series {
    fn count(&self, outcome: EvictionOutcome, now_ms: u64) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if outcome.is_blocked() {
            let before = self.last_refusal.swap(now_ms + 1, Ordering::Relaxed);
            let gap = (now_ms + 1).saturating_sub(before);
            if before > 0 && u128::from(gap) <= MAX_RETRY_GAP.as_millis() {
                self.blocked_ms.fetch_add(gap, Ordering::Relaxed);
            }
        } else if outcome == EvictionOutcome::Allowed {
            self.last_refusal.store(0, Ordering::Relaxed);
        }
    }

    /// Returns the number of evictions with this outcome.
    pub(super) fn of(&self, outcome: EvictionOutcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    /// Returns the total time during which the budget was blocked, see [`Counts`].
    pub(super) fn blocked(&self) -> Duration {
        Duration::from_millis(self.blocked_ms.load(Ordering::Relaxed))
    }
}

/// The eviction counters of all budgets.
///
/// A budget is blocked from one refusal to the next, unless it grants an eviction in between or the
/// refusals are more than [`MAX_RETRY_GAP`] apart.
#[derive(Debug)]
pub(super) struct Counts {
    start: Instant,
    series: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// The series by namespace, then by budget. Two levels allow lookups without an allocation.
    by_namespace: HashMap<String, HashMap<String, Arc<Series>>>,
    size: usize,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            series: RwLock::default(),
        }
    }
}

impl Counts {
    /// Counts an eviction that was answered at `now`.
    pub(super) fn count(
        &self,
        namespace: &str,
        budget: &str,
        outcome: EvictionOutcome,
        now: Instant,
    ) {
        let now_ms =
            u64::try_from(now.duration_since(self.start).as_millis()).unwrap_or(u64::MAX - 1);
        self.series_of(namespace, budget).count(outcome, now_ms);
    }

    /// Returns the series of this pair, creating it if there is room, or the shared series.
    fn series_of(&self, namespace: &str, budget: &str) -> Arc<Series> {
        let table = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = table
            .by_namespace
            .get(namespace)
            .and_then(|budgets| budgets.get(budget))
        {
            return found.clone();
        }
        drop(table);
        let mut table = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let known = table
            .by_namespace
            .get(namespace)
            .is_some_and(|budgets| budgets.contains_key(budget));
        let (namespace, budget) = if known || table.size < MAX_SERIES {
            (namespace, budget)
        } else {
            (OTHER, OTHER)
        };
        table.size += usize::from(!known);
        table
            .by_namespace
            .entry(namespace.to_owned())
            .or_default()
            .entry(budget.to_owned())
            .or_default()
            .clone()
    }

    /// Returns all series with their namespace and budget, sorted by both.
    pub(super) fn all(&self) -> Vec<(String, String, Arc<Series>)> {
        let table = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let pairs = table
            .by_namespace
            .iter()
            .flat_map(|(namespace, budgets)| budgets.iter().map(move |pair| (namespace, pair)));
        let mut all: Vec<_> = pairs
            .map(|(namespace, (budget, series))| {
                (namespace.clone(), budget.clone(), series.clone())
            })
            .collect();
        drop(table);
        all.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn number_of_series_is_bounded() {
        let counts = Counts::default();
        for number in 0..2 * MAX_SERIES {
            counts.count(
                "shop",
                &format!("b{number}"),
                EvictionOutcome::Allowed,
                Instant::now(),
            );
        }
        counts.count("shop", "b0", EvictionOutcome::Allowed, Instant::now());
        let all = counts.all();
        assert_eq!(all.len(), MAX_SERIES + 1);
        let of = |name: &str| {
            all.iter()
                .find(|(_, budget, _)| budget == name)
                .map(|(_, _, series)| series.of(EvictionOutcome::Allowed))
        };
        assert_eq!((of("b0"), of(OTHER)), (Some(2), Some(MAX_SERIES as u64)));
    }

    #[test]
    fn budget_is_blocked_between_consecutive_refusals() {
        use EvictionOutcome::{Allowed, Budget, DryRun, NotFound};
        for (history, seconds) in [
            (&[(Budget, 0)][..], 0),
            (&[(Budget, 0), (Budget, 5), (Budget, 10)], 10),
            (&[(Budget, 0), (Budget, 60), (Budget, 121)], 60),
            (&[(Budget, 0), (Allowed, 3), (Budget, 5), (Budget, 9)], 4),
            (&[(Budget, 0), (DryRun, 3), (NotFound, 4), (Budget, 5)], 5),
            (&[(Budget, 9), (Budget, 5)], 0),
        ] {
            let series = Series::default();
            history
                .iter()
                .for_each(|&(outcome, second)| series.count(outcome, second * 1000));
            assert_eq!(series.blocked().as_secs(), seconds, "{history:?}");
        }
    }
}
