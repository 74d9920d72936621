//! Evictions counted by namespace, budget and outcome, and how long budgets have been refusing.
//!
//! A bounded number of series: what comes later is counted under [`OTHER`]. Only the first eviction
//! of a series takes the write lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::outcome::Outcome;

/// Namespaces and budgets beyond this many pairs share one series.
const MAX_SERIES: usize = 4096;
/// Namespace and budget of what has no series of its own.
pub(super) const OTHER: &str = "other";
/// Who does not try again within this time is not held up any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// The figures of one budget.
#[derive(Debug, Default)]
pub(super) struct Series {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    /// When it refused last, in milliseconds since the start and one more; 0: it has granted since.
    refused: AtomicU64,
    blocked_ms: AtomicU64,
}

impl Series {
    fn count(&self, outcome: Outcome, now_ms: u64) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if outcome.is_blocked() {
            let before = self.refused.swap(now_ms + 1, Ordering::Relaxed);
            let gap = (now_ms + 1).saturating_sub(before);
            if before > 0 && u128::from(gap) <= PATIENCE.as_millis() {
                self.blocked_ms.fetch_add(gap, Ordering::Relaxed);
            }
        } else if outcome == Outcome::Allowed {
            self.refused.store(0, Ordering::Relaxed);
        }
    }

    /// How many evictions had this outcome.
    pub(super) fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    /// See [`Counts`].
    pub(super) fn blocked(&self) -> Duration {
        Duration::from_millis(self.blocked_ms.load(Ordering::Relaxed))
    }
}

/// See the module. A budget is blocked from a refusal to the next one, unless it grants in between
/// or nobody asks for longer than [`PATIENCE`].
#[derive(Debug)]
pub(super) struct Counts {
    start: Instant,
    series: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// By namespace, then by budget, so that looking up takes no new text.
    by_place: HashMap<String, HashMap<String, Arc<Series>>>,
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
    pub(super) fn count(&self, namespace: &str, budget: &str, outcome: Outcome, now: Instant) {
        let now_ms =
            u64::try_from(now.duration_since(self.start).as_millis()).unwrap_or(u64::MAX - 1);
        self.series_of(namespace, budget).count(outcome, now_ms);
    }

    fn series_of(&self, namespace: &str, budget: &str) -> Arc<Series> {
        let table = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = table
            .by_place
            .get(namespace)
            .and_then(|budgets| budgets.get(budget))
        {
            return found.clone();
        }
        drop(table);
        let mut table = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let known = table
            .by_place
            .get(namespace)
            .is_some_and(|budgets| budgets.contains_key(budget));
        let (namespace, budget) = if known || table.size < MAX_SERIES {
            (namespace, budget)
        } else {
            (OTHER, OTHER)
        };
        table.size += usize::from(!known);
        table
            .by_place
            .entry(namespace.to_owned())
            .or_default()
            .entry(budget.to_owned())
            .or_default()
            .clone()
    }

    /// All series with their namespace and budget, sorted.
    pub(super) fn all(&self) -> Vec<(String, String, Arc<Series>)> {
        let table = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let pairs = table
            .by_place
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
    async fn the_number_of_series_is_bounded() {
        let counts = Counts::default();
        for number in 0..2 * MAX_SERIES {
            counts.count(
                "shop",
                &format!("b{number}"),
                Outcome::Allowed,
                Instant::now(),
            );
        }
        counts.count("shop", "b0", Outcome::Allowed, Instant::now());
        let all = counts.all();
        assert_eq!(all.len(), MAX_SERIES + 1);
        let of = |name: &str| {
            all.iter()
                .find(|(_, budget, _)| budget == name)
                .map(|(_, _, series)| series.of(Outcome::Allowed))
        };
        assert_eq!((of("b0"), of(OTHER)), (Some(2), Some(MAX_SERIES as u64)));
    }

    #[test]
    fn a_budget_is_blocked_between_refusals_that_follow_each_other() {
        use Outcome::{Allowed, Budget, DryRun, NotFound};
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
