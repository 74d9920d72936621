//! Counts how far a drain has come, what delays it, and how long it will take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::{DrainState, PodEntry};
use crate::progress::{PodOutcome, PodProgress};
use crate::termination::{self, WaitCause};

/// The pods of one node, or of all nodes, by their progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodCounts {
    /// Deleted, or no longer waited for.
    pub gone: usize,
    /// Accepted and not deleted yet.
    pub leaving: usize,
    /// Refused or failed, and retried.
    pub refused: usize,
    /// Not accepted yet: queued, surging, or in flight.
    pub queued: usize,
    /// Given up: the pod still exists.
    pub stuck: usize,
}

/// How much a budget has delayed a drain.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetDelay {
    /// The budget (`NAMESPACE/NAME`).
    pub budget: String,
    /// The number of pods that it has refused.
    pub pods: usize,
    /// The number of refusals.
    pub refusals: u32,
    /// Seconds from the first refusal to the last acceptance.
    pub seconds: f64,
}

impl DrainState {
    /// Counts the pods of a node, or of all nodes.
    #[must_use]
    pub fn counts(&self, node: Option<&str>) -> PodCounts {
        let mut counts = PodCounts::default();
        for entry in self
            .pods
            .values()
            .filter(|entry| node.is_none_or(|node| entry.node == node))
        {
            let count = match &entry.progress {
                PodProgress::Done {
                    outcome: PodOutcome::Gone | PodOutcome::Skipped | PodOutcome::WouldEvict,
                } => &mut counts.gone,
                PodProgress::Done { .. } => &mut counts.stuck,
                PodProgress::Terminating => &mut counts.leaving,
                PodProgress::Refused { .. } | PodProgress::Retrying { .. } => &mut counts.refused,
                PodProgress::Queued | PodProgress::Surging | PodProgress::Requesting => {
                    &mut counts.queued
                }
            };
            *count += 1;
        }
        counts
    }

    /// Returns what a terminating pod waits for.
    #[must_use]
    pub fn wait_cause(&self, entry: &PodEntry, now: Timestamp) -> WaitCause {
        let node = self
            .nodes
            .iter()
            .find(|node| node.name == entry.node)
            .and_then(|node| node.object.as_ref());
        termination::wait_cause(&entry.pod, node.map(Option::as_ref), now)
    }

    /// Estimates the remaining time of the pods that were requested. `None` when nothing observed
    /// so far allows an estimate.
    ///
    /// Terminating pods take at most the rest of their grace period. A budget that has granted
    /// evictions is expected to grant the others at the same rate.
    #[must_use]
    pub fn forecast(&self, now: Timestamp) -> Option<Duration> {
        let mut longest = 0.0_f64;
        let mut budgets: BTreeMap<&str, (usize, Vec<Timestamp>)> = BTreeMap::new();
        for entry in self.pods.values() {
            match &entry.progress {
                PodProgress::Terminating => {
                    let due = entry
                        .pod
                        .metadata
                        .deletion_timestamp
                        .as_ref()
                        .map_or(now, |time| time.0);
                    longest = longest.max(due.duration_since(now).as_secs_f64());
                }
                PodProgress::Refused { .. } | PodProgress::Retrying { .. }
                    if entry.budgets.is_empty() =>
                {
                    return None;
                }
                _ => {}
            }
            for budget in &entry.budgets {
                let (waiting, granted) = budgets.entry(budget.as_str()).or_default();
                *waiting += usize::from(matches!(entry.progress, PodProgress::Refused { .. }));
                granted.extend(entry.accepted_at);
            }
        }
        for (waiting, granted) in budgets.values_mut().filter(|(waiting, _)| *waiting > 0) {
            granted.sort();
            let (first, last) = (granted.first()?, granted.last()?);
            let interval = last.duration_since(*first).as_secs_f64()
                / granted.len().checked_sub(1).filter(|gaps| *gaps > 0)? as f64;
            longest = longest.max(interval * *waiting as f64);
        }
        Some(Duration::from_secs_f64(longest.clamp(0.0, 1e9)))
    }

    /// Returns the pods that took longest, with their seconds, slowest first.
    #[must_use]
    pub fn slowest(&self, count: usize, now: Timestamp) -> Vec<(&PodEntry, f64)> {
        let took = |entry: &PodEntry| {
            entry
                .ended_at
                .unwrap_or(now)
                .duration_since(entry.since)
                .as_secs_f64()
        };
        let mut all: Vec<(&PodEntry, f64)> = self
            .pods
            .values()
            .map(|entry| (entry, took(entry)))
            .collect();
        all.sort_by(|(one, a), (other, b)| {
            b.total_cmp(a).then_with(|| one.target.cmp(&other.target))
        });
        all.truncate(count);
        all
    }

    /// Returns the budgets that refused evictions, the longest delay first.
    #[must_use]
    pub fn delays(&self, now: Timestamp) -> Vec<BudgetDelay> {
        let names: BTreeSet<&String> = self
            .pods
            .values()
            .flat_map(|entry| &entry.budgets)
            .collect();
        let delay = |name: &String| {
            let refused: Vec<&PodEntry> = self
                .pods
                .values()
                .filter(|entry| entry.budgets.contains(name))
                .collect();
            let from = refused
                .iter()
                .filter_map(|entry| entry.refused_since)
                .min()
                .unwrap_or(now);
            let until = refused
                .iter()
                .map(|entry| entry.accepted_at.or(entry.ended_at).unwrap_or(now))
                .max()
                .unwrap_or(now);
            BudgetDelay {
                budget: name.clone(),
                pods: refused.len(),
                refusals: refused.iter().map(|entry| entry.refusals).sum(),
                seconds: until.duration_since(from).as_secs_f64(),
            }
        };
        let mut delays: Vec<BudgetDelay> = names.into_iter().map(delay).collect();
        delays.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
        delays
    }
}
