//! How far a drain has come, what holds it up, and how long it will take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::{Board, Entry};
use crate::leaving::{self, Cause};
use crate::stage::{End, Stage};

/// Pods of a node, or of all, by where they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Gone, or not waited for.
    pub gone: usize,
    /// Accepted and not gone.
    pub leaving: usize,
    /// Refused now.
    pub refused: usize,
    /// Not asked for yet, or being asked for.
    pub queued: usize,
    /// Ended and still there.
    pub stuck: usize,
}

/// How much a budget has held up a drain.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// The budget (`namespace/name`).
    pub budget: String,
    /// How many pods it has refused.
    pub pods: usize,
    /// How often.
    pub refusals: u32,
    /// How long the drain waited for it, from the first refusal to the last acceptance.
    pub seconds: f64,
}

impl Board {
    /// Counts the pods of a node; of all nodes without a name.
    #[must_use]
    pub fn tally(&self, node: Option<&str>) -> Tally {
        let mut tally = Tally::default();
        for entry in self
            .pods
            .values()
            .filter(|entry| node.is_none_or(|node| entry.node == node))
        {
            let place = match &entry.stage {
                Stage::Done {
                    end: End::Gone | End::Skipped | End::Would,
                } => &mut tally.gone,
                Stage::Done { .. } => &mut tally.stuck,
                Stage::Leaving => &mut tally.leaving,
                Stage::Refused { .. } | Stage::Faulty { .. } => &mut tally.refused,
                Stage::Queued | Stage::Surging | Stage::Asking => &mut tally.queued,
            };
            *place += 1;
        }
        tally
    }

    /// What a leaving pod waits for.
    #[must_use]
    pub fn cause(&self, entry: &Entry, now: Timestamp) -> Cause {
        let node = self
            .nodes
            .iter()
            .find(|node| node.name == entry.node)
            .and_then(|node| node.object.as_ref());
        leaving::cause(&entry.pod, node.map(Option::as_ref), now)
    }

    /// How long what has begun will still take, from what was seen so far; none when nothing tells.
    ///
    /// Leaving pods need the rest of their grace at the most. A budget that has let pods go lets
    /// the rest of its pods go at the same pace.
    #[must_use]
    pub fn forecast(&self, now: Timestamp) -> Option<Duration> {
        let mut longest = 0.0_f64;
        let mut budgets: BTreeMap<&str, (usize, Vec<Timestamp>)> = BTreeMap::new();
        for entry in self.pods.values() {
            match &entry.stage {
                Stage::Leaving => {
                    let due = entry
                        .pod
                        .metadata
                        .deletion_timestamp
                        .as_ref()
                        .map_or(now, |time| time.0);
                    longest = longest.max(due.duration_since(now).as_secs_f64());
                }
                Stage::Refused { .. } | Stage::Faulty { .. } if entry.budgets.is_empty() => {
                    return None;
                }
                _ => {}
            }
            for budget in &entry.budgets {
                let (waiting, granted) = budgets.entry(budget.as_str()).or_default();
                *waiting += usize::from(matches!(entry.stage, Stage::Refused { .. }));
                granted.extend(entry.accepted_at);
            }
        }
        for (waiting, granted) in budgets.values_mut().filter(|(waiting, _)| *waiting > 0) {
            granted.sort();
            let (first, last) = (granted.first()?, granted.last()?);
            let pace = last.duration_since(*first).as_secs_f64()
                / granted.len().checked_sub(1).filter(|gaps| *gaps > 0)? as f64;
            longest = longest.max(pace * *waiting as f64);
        }
        Some(Duration::from_secs_f64(longest.clamp(0.0, 1e9)))
    }

    /// The pods that took longest, slowest first.
    #[must_use]
    pub fn slowest(&self, count: usize, now: Timestamp) -> Vec<(&Entry, f64)> {
        let took = |entry: &Entry| {
            entry
                .ended_at
                .unwrap_or(now)
                .duration_since(entry.since)
                .as_secs_f64()
        };
        let mut all: Vec<(&Entry, f64)> = self
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

    /// The budgets that refused something, those that held up longest first.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> Vec<Hold> {
        let names: BTreeSet<&String> = self
            .pods
            .values()
            .flat_map(|entry| &entry.budgets)
            .collect();
        let hold = |name: &String| {
            let held: Vec<&Entry> = self
                .pods
                .values()
                .filter(|entry| entry.budgets.contains(name))
                .collect();
            let from = held
                .iter()
                .filter_map(|entry| entry.refused_since)
                .min()
                .unwrap_or(now);
            let until = held
                .iter()
                .map(|entry| entry.accepted_at.or(entry.ended_at).unwrap_or(now))
                .max()
                .unwrap_or(now);
            Hold {
                budget: name.clone(),
                pods: held.len(),
                refusals: held.iter().map(|entry| entry.refusals).sum(),
                seconds: until.duration_since(from).as_secs_f64(),
            }
        };
        let mut holds: Vec<Hold> = names.into_iter().map(hold).collect();
        holds.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
        holds
    }
}
