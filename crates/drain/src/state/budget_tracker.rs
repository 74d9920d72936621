//! Decides which refused pods to retry when a budget changes.
//!
//! A budget that allows n disruptions triggers n retries and no more: further evictions would only
//! be refused again. Pods of the node that the budget has granted least come first, so that nodes
//! drained in parallel take turns.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::{DrainState, PodEntry};
use crate::evict::PodRef;
use crate::progress::PodProgress;
use crate::{pdb, pods};

/// The observed budgets.
#[derive(Debug, Default)]
pub(super) struct BudgetTracker {
    /// The watch of budgets fails, so refused evictions are retried after a fixed time.
    pub(super) unwatched: bool,
    known: BTreeMap<String, TrackedBudget>,
    /// The number of observed changes: a clock that orders requests and changes.
    changes: u64,
}

#[derive(Debug)]
struct TrackedBudget {
    object: PodDisruptionBudget,
    /// `disruptionsAllowed`, minus the evictions granted since it was observed.
    allowed: i32,
    /// The change at which it last allowed a disruption.
    freed_at: u64,
    /// The change at which it was last observed.
    observed_at: u64,
    /// The number of granted evictions by node.
    granted: BTreeMap<String, u32>,
}

impl BudgetTracker {
    /// Returns the number of changes so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns the keys of the budgets that select a pod.
    pub(super) fn selecting(&self, pod: &Pod) -> Vec<String> {
        self.known
            .iter()
            .filter(|(_, known)| pdb::selects(&known.object, pod))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Returns true when one of these budgets allows a disruption since after that change.
    pub(super) fn freed_since(&self, budgets: &[String], change: u64) -> bool {
        budgets
            .iter()
            .filter_map(|key| self.known.get(key))
            .any(|known| known.freed_at > change && known.allowed > 0)
    }

    /// Records a granted eviction. It was charged to its budgets, even when their new status has
    /// not been observed yet.
    pub(super) fn granted(&mut self, entry: &PodEntry) {
        for key in &entry.budgets {
            let Some(known) = self.known.get_mut(key) else {
                continue;
            };
            if known.observed_at <= entry.requested_at_change {
                known.allowed -= 1;
            }
            *known.granted.entry(entry.node.clone()).or_default() += 1;
        }
    }

    fn granted_to(&self, key: &str, node: &str) -> u32 {
        self.known
            .get(key)
            .and_then(|known| known.granted.get(node))
            .copied()
            .unwrap_or_default()
    }
}

impl DrainState {
    /// Records whether the watch of budgets fails.
    pub fn set_budgets_unwatched(&mut self, unwatched: bool) {
        self.budgets.unwatched = unwatched;
    }

    /// Records the newest version of a budget, and retries the evictions that it may allow now.
    pub fn budget_observed(&mut self, object: PodDisruptionBudget) {
        self.budgets.changes += 1;
        let (key, now) = (pdb::key(&object), self.budgets.changes);
        let allowed = object
            .status
            .as_ref()
            .map_or(0, |status| status.disruptions_allowed.unwrap_or_default());
        let is_satisfied = pdb::eviction_state(&object).is_satisfied();
        let before = self.budgets.known.remove(&key);
        let edited = before
            .as_ref()
            .is_some_and(|before| before.object.metadata.generation != object.metadata.generation);
        let recovered = is_satisfied
            && before
                .as_ref()
                .is_none_or(|before| !pdb::eviction_state(&before.object).is_satisfied());
        let freed_at = if allowed > 0 || edited {
            now
        } else {
            before.as_ref().map_or(0, |before| before.freed_at)
        };
        let granted = before.map(|before| before.granted).unwrap_or_default();
        self.budgets.known.insert(
            key.clone(),
            TrackedBudget {
                object,
                allowed,
                freed_at,
                observed_at: now,
                granted,
            },
        );
        if edited {
            return self.retry(&key, |_| true, usize::MAX);
        }
        if recovered {
            self.retry(&key, |entry| !pods::is_ready(&entry.pod), usize::MAX);
        }
        let in_flight = self
            .pods
            .values()
            .filter(|entry| {
                entry.progress == PodProgress::Requesting && entry.budgets.contains(&key)
            })
            .count();
        self.retry(
            &key,
            |_| true,
            usize::try_from(allowed)
                .unwrap_or_default()
                .saturating_sub(in_flight),
        );
    }

    /// Records that a budget was deleted, and retries the evictions that it refused.
    pub fn budget_deleted(&mut self, object: &PodDisruptionBudget) {
        self.budgets.changes += 1;
        let key = pdb::key(object);
        self.retry(&key, |_| true, usize::MAX);
        self.budgets.known.remove(&key);
    }

    /// Retries at most `count` of the pods that this budget has refused and that `wanted` selects.
    fn retry(&mut self, key: &str, wanted: impl Fn(&PodEntry) -> bool, count: usize) {
        let waits = |entry: &PodEntry| match &entry.progress {
            PodProgress::Refused { budgets, .. } => {
                budgets.iter().any(|budget| budget == key) && wanted(entry)
            }
            _ => false,
        };
        let mut waiting: Vec<(u32, Option<jiff::Timestamp>, PodRef)> = Vec::new();
        for entry in self.pods.values().filter(|entry| waits(entry)) {
            waiting.push((
                self.budgets.granted_to(key, &entry.node),
                entry.refused_since,
                entry.target.clone(),
            ));
        }
        // Each retried pod counts as granted to its node, so that one call alternates between
        // nodes.
        let mut turns: BTreeMap<String, u32> = BTreeMap::new();
        waiting.sort();
        for (granted, _, target) in &mut waiting {
            let turn = turns
                .entry(self.pods[target.uid.as_str()].node.clone())
                .or_default();
            *granted += *turn;
            *turn += 1;
        }
        waiting.sort();
        for (_, _, target) in waiting.into_iter().take(count) {
            if let Some(entry) = self.pods.get_mut(&target.uid) {
                entry.retry_now = true;
            }
        }
    }
}
