//! Who is worth another try when a budget changes.
//!
//! A budget that allows n disruptions wakes n of the pods that it has refused, and no more: the
//! others would only be refused again. Pods of the node that has got least from the budget come
//! first, so that nodes that are drained side by side take turns.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::{Board, Entry};
use crate::budget;
use crate::evict::Target;
use crate::health;
use crate::stage::Stage;

/// What is known of all budgets.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    /// They cannot be watched: refused pods are asked for again after a time.
    pub(super) blind: bool,
    known: BTreeMap<String, Known>,
    /// Counts changes, so that an answer can be told to be older or newer than one.
    changes: u64,
}

#[derive(Debug)]
struct Known {
    object: PodDisruptionBudget,
    /// What it allows, less what was granted since it was seen.
    allowed: i32,
    /// The count of changes when it was last seen to free something.
    freed_at: u64,
    /// The count of changes when it was last seen.
    seen_at: u64,
    granted: BTreeMap<String, u32>,
}

impl Budgets {
    /// The count of changes so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// The budgets that select a pod.
    pub(super) fn selecting(&self, pod: &Pod) -> Vec<String> {
        self.known
            .iter()
            .filter(|(_, known)| budget::selects(&known.object, pod))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Whether one of these has freed something after that count of changes.
    pub(super) fn freed_since(&self, budgets: &[String], change: u64) -> bool {
        budgets
            .iter()
            .filter_map(|key| self.known.get(key))
            .any(|known| known.freed_at > change && known.allowed > 0)
    }

    /// An eviction was granted: its budgets have paid, even if that was not seen yet.
    pub(super) fn granted(&mut self, entry: &Entry) {
        for key in &entry.budgets {
            let Some(known) = self.known.get_mut(key) else {
                continue;
            };
            if known.seen_at <= entry.asked_at_change {
                known.allowed -= 1;
            }
            *known.granted.entry(entry.node.clone()).or_default() += 1;
        }
    }

    fn got_by(&self, key: &str, node: &str) -> u32 {
        self.known
            .get(key)
            .and_then(|known| known.granted.get(node))
            .copied()
            .unwrap_or_default()
    }
}

/// A budget by the name that causes and messages use.
fn key_of(object: &PodDisruptionBudget) -> String {
    format!("{}/{}", budget::namespace(object), budget::name(object))
}

/// Whether unready pods may go without a charge: the rule `IfHealthyBudget`.
fn is_healthy(object: &PodDisruptionBudget) -> bool {
    object.status.as_ref().is_some_and(|status| {
        let desired = status.desired_healthy.unwrap_or_default();
        desired > 0 && status.current_healthy.unwrap_or_default() >= desired
    })
}

impl Board {
    /// The watch of budgets works, or it does not.
    pub fn budgets_blind(&mut self, blind: bool) {
        self.budgets.blind = blind;
    }

    /// A budget was seen.
    pub fn budget_seen(&mut self, object: PodDisruptionBudget) {
        self.budgets.changes += 1;
        let (key, now) = (key_of(&object), self.budgets.changes);
        let allowed = object
            .status
            .as_ref()
            .map_or(0, |status| status.disruptions_allowed.unwrap_or_default());
        let healthy = is_healthy(&object);
        let before = self.budgets.known.remove(&key);
        let edited = before
            .as_ref()
            .is_some_and(|before| before.object.metadata.generation != object.metadata.generation);
        let recovered = healthy
            && before
                .as_ref()
                .is_none_or(|before| !is_healthy(&before.object));
        let freed_at = if allowed > 0 || edited {
            now
        } else {
            before.as_ref().map_or(0, |before| before.freed_at)
        };
        let granted = before.map(|before| before.granted).unwrap_or_default();
        self.budgets.known.insert(
            key.clone(),
            Known {
                object,
                allowed,
                freed_at,
                seen_at: now,
                granted,
            },
        );
        if edited {
            return self.wake(&key, |_| true, usize::MAX);
        }
        if recovered {
            self.wake(&key, |entry| !health::is_ready(&entry.pod), usize::MAX);
        }
        let asking = self
            .pods
            .values()
            .filter(|entry| entry.stage == Stage::Asking && entry.budgets.contains(&key))
            .count();
        self.wake(
            &key,
            |_| true,
            usize::try_from(allowed)
                .unwrap_or_default()
                .saturating_sub(asking),
        );
    }

    /// A budget is gone, and refuses nobody any more.
    pub fn budget_gone(&mut self, object: &PodDisruptionBudget) {
        self.budgets.changes += 1;
        let key = key_of(object);
        self.wake(&key, |_| true, usize::MAX);
        self.budgets.known.remove(&key);
    }

    /// Gives a chance to so many of the pods that this budget has refused.
    fn wake(&mut self, key: &str, wanted: impl Fn(&Entry) -> bool, count: usize) {
        let waits = |entry: &Entry| match &entry.stage {
            Stage::Refused { budgets, .. } => {
                budgets.iter().any(|budget| budget == key) && wanted(entry)
            }
            _ => false,
        };
        let mut waiting: Vec<(u32, Option<jiff::Timestamp>, Target)> = Vec::new();
        for entry in self.pods.values().filter(|entry| waits(entry)) {
            waiting.push((
                self.budgets.got_by(key, &entry.node),
                entry.refused_since,
                entry.target.clone(),
            ));
        }
        // Of one node no more than its turn: each one woken counts as got.
        let mut turns: BTreeMap<String, u32> = BTreeMap::new();
        waiting.sort();
        for (got, _, target) in &mut waiting {
            let turn = turns
                .entry(self.pods[target.uid.as_str()].node.clone())
                .or_default();
            *got += *turn;
            *turn += 1;
        }
        waiting.sort();
        for (_, _, target) in waiting.into_iter().take(count) {
            if let Some(entry) = self.pods.get_mut(&target.uid) {
                entry.chance = true;
            }
        }
    }
}
