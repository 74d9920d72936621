//! When the notes of budgets about evicted pods came, in resource versions.
//!
//! Pods and budgets come by two watches, of which one may be behind the other. A budget that notes the eviction of
//! `web-0` may be known before the cache shows that `web-0` goes, or even before it shows the `web-0` that was evicted
//! instead of an earlier one of that name. Who then takes the end of the earlier one for the end of the evicted one drops
//! the note, counts the evicted pod as healthy as soon as it shows up, and lets too many pods go. (The checker of the
//! protocol in `testkit` found this; upstream works by name alone.)
//!
//! A note is *settled* when the pods are known up to the version at which the budget came with it. The eviction writes
//! the pod after the budget, so that the event which shows the end of the pod also settles its note. Some notes are not
//! followed by any event about pods: those that a client has written itself, and those that were there when the
//! controller started. They count as settled after a few seconds, by which a watch that works has told everything.
//! Where versions are no numbers every note counts as settled, which is what upstream does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use crate::caches::Change;
use crate::meta::{Key, version};

/// How long a note waits for the pods to be known as of its arrival.
pub(super) const SETTLES_AFTER: Duration = Duration::from_secs(5);

/// Notes by the pods that they are about.
type Arrivals = BTreeMap<String, Arrival>;

#[derive(Clone)]
struct Arrival {
    /// What the note says, by which it is told from a later one about a pod of the same name.
    noted: Time,
    /// The version of the budget that brought it.
    version: u64,
    at: Instant,
}

/// See the module.
#[derive(Default)]
pub(super) struct Notes {
    budgets: RwLock<HashMap<Key, Arrivals>>,
}

impl Notes {
    pub(super) fn learn(&self, change: &Change<PodDisruptionBudget>) {
        let key = Key::of(change.latest());
        let mut budgets = self.budgets.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = budgets.remove(&key).unwrap_or_default();
        let Some(budget) = &change.new else { return };
        let arrivals: Arrivals = noted(budget)
            .map(|(pod, at)| {
                let known = before.remove(pod).filter(|known| known.noted == *at);
                let new = || Arrival { noted: at.clone(), version: version(&budget.metadata), at: Instant::now() };
                (pod.clone(), known.unwrap_or_else(new))
            })
            .collect();
        if !arrivals.is_empty() {
            budgets.insert(key, arrivals);
        }
    }

    /// The pods whose notes are newer than pods that are known up to `progress`.
    pub(super) fn unsettled(&self, budget: &PodDisruptionBudget, progress: u64) -> BTreeSet<String> {
        let budgets = self.budgets.read().unwrap_or_else(PoisonError::into_inner);
        let arrivals = budgets.get(&Key::of(budget));
        let (newest, now) = (version(&budget.metadata), Instant::now());
        let waits = |pod: &str, noted: &Time| match arrivals.and_then(|known| known.get(pod)).filter(|known| known.noted == *noted) {
            Some(arrival) => arrival.version > progress && arrival.at + SETTLES_AFTER > now,
            // What nobody has been told of yet is as new as the budget.
            None => newest > progress,
        };
        noted(budget).filter(|(pod, at)| waits(pod, at)).map(|(pod, _)| pod.clone()).collect()
    }
}

fn noted(budget: &PodDisruptionBudget) -> impl Iterator<Item = (&String, &Time)> {
    budget.status.iter().flat_map(|status| status.disrupted_pods.iter().flatten())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn budget(version: u64, notes: serde_json::Value) -> Arc<PodDisruptionBudget> {
        let tree = json!({"metadata": {"name": "b", "resourceVersion": version.to_string()}, "status": {
            "disruptedPods": notes, "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}});
        Arc::new(serde_json::from_value(tree).expect("a budget"))
    }

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_is_settled_when_the_pods_are_known_up_to_its_arrival() {
        let notes = Notes::default();
        let (one, two) = ("2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z");
        let first = budget(10, json!({"a": one}));
        notes.learn(&Change { old: None, new: Some(Arc::clone(&first)) });
        assert_eq!(names(&notes.unsettled(&first, 9)), ["a"]);
        assert_eq!(names(&notes.unsettled(&first, 10)), [""; 0]);

        // The note of `a` keeps its arrival, and that of a new `a` has one of its own.
        let second = budget(20, json!({"a": one, "b": two}));
        assert_eq!(names(&notes.unsettled(&second, 15)), ["b"], "not told yet");
        notes.learn(&Change { old: Some(first), new: Some(Arc::clone(&second)) });
        assert_eq!(names(&notes.unsettled(&second, 15)), ["b"]);
        let third = budget(30, json!({"a": two, "b": two}));
        notes.learn(&Change { old: Some(second), new: Some(Arc::clone(&third)) });
        assert_eq!(names(&notes.unsettled(&third, 25)), ["a"]);

        tokio::time::advance(SETTLES_AFTER).await;
        assert_eq!(names(&notes.unsettled(&third, 25)), [""; 0], "the pods are known by now");

        notes.learn(&Change { old: Some(third), new: None });
        assert!(notes.budgets.read().expect("a lock").is_empty());
    }
}
