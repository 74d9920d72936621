//! What is known about the `disruptedPods` entries of budgets beyond their content: when they
//! arrived and whether their pods were deleted.
//!
//! Pods and budgets arrive through two watches, one of which may lag. A budget with an entry for
//! `web-0` may arrive before the cache shows that `web-0` is being deleted, or even before it shows
//! the `web-0` that was evicted instead of a predecessor of that name. Taking the end of the
//! predecessor for the end of the evicted pod would drop the entry, count the evicted pod as
//! healthy as soon as it appears, and allow too many evictions. (The model of the protocol in
//! `testkit` found this. Upstream goes by name alone.)
//!
//! An entry is *settled* when the pods are known up to the version of the budget that brought the
//! entry. The eviction writes the pod after the budget, so the event that shows the pod's end also
//! settles the entry. No event about pods follows an entry that a client has written itself, or
//! that existed when the controller started. Such entries count as settled after a few seconds, in
//! which a working watch has delivered everything.
//!
//! An entry is *fulfilled* when its pod was seen terminating or gone at a version after the entry.
//! This is remembered, because a pod that stops at once and is replaced under its name can be gone
//! before the budget is counted. Its successor would be taken for the evicted pod and not be
//! counted as healthy until the entry expires, as happens upstream.
//!
//! When resource versions are not numbers, every entry counts as settled and none as fulfilled,
//! which is upstream's behaviour.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use clock::Clock;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use crate::informer::ObjectChange;
use crate::meta::{ObjectKey, uid, version};
use crate::pods::is_terminating;

/// How long an entry waits for the pods to be known up to its arrival, and how long the end of a
/// pod is remembered for entries that have not arrived.
pub(super) const SETTLES_AFTER: Duration = Duration::from_secs(5);

/// What is known about the `disruptedPods` entries of one budget, as names of pods.
#[derive(Clone, Debug, Default)]
pub struct DisruptedPodsView {
    /// The cached state of these pods may be older than their eviction.
    pub unsettled: BTreeSet<String>,
    /// These pods were seen terminating or gone after their eviction. A pod of that name is a
    /// successor.
    pub fulfilled: BTreeSet<String>,
    /// By how much the clock was set since the entry arrived, where it was. The entries of these
    /// pods neither expire early nor stay longer because of that.
    pub clock_set: BTreeMap<String, SignedDuration>,
}

/// Arrivals by the name of the pod.
type Arrivals = BTreeMap<String, Arrival>;

struct Arrival {
    /// The value of the entry, which distinguishes it from a later entry for a pod of the same
    /// name.
    value: Time,
    /// The resource version of the budget that brought the entry.
    version: u64,
    at: Instant,
    /// The correction of the clock at the arrival.
    correction: SignedDuration,
    fulfilled: bool,
}

/// Follows the `disruptedPods` entries of all budgets, and the deletions of their pods.
pub(super) struct DisruptedPods {
    clock: Clock,
    state: RwLock<EntryIndex>,
}

#[derive(Default)]
struct EntryIndex {
    budgets: HashMap<ObjectKey, Arrivals>,
    /// The budgets that have an entry for a pod.
    budgets_by_pod: HashMap<ObjectKey, Vec<ObjectKey>>,
    deletions: Deletions,
}

/// The newest versions at which pods were seen to end, for as long as entries for them may still
/// arrive.
#[derive(Default)]
struct Deletions {
    versions: HashMap<ObjectKey, u64>,
    order: VecDeque<(Instant, ObjectKey, u64)>,
}

impl DisruptedPods {
    pub(super) fn observe_budget(&self, change: &ObjectChange<PodDisruptionBudget>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let key = ObjectKey::of(change.latest());
        let mut arrivals = state.budgets.remove(&key).unwrap_or_default();
        let entries = change
            .new
            .as_ref()
            .and_then(|budget| budget.status.as_ref()?.disrupted_pods.as_ref());
        arrivals.retain(|pod, known| {
            let stays = entries.and_then(|entries| entries.get(pod)) == Some(&known.value);
            if !stays {
                state.forget(&key, pod);
            }
            stays
        });
        for (pod, at) in entries.into_iter().flatten() {
            if !arrivals.contains_key(pod) {
                let newest = version(&change.latest().metadata);
                let mut arrival = state.arrival(&key, pod, at, newest);
                arrival.correction = self.clock.correction();
                arrivals.insert(pod.clone(), arrival);
            }
        }
        if !arrivals.is_empty() {
            state.budgets.insert(key, arrivals);
        }
    }

    /// Records that a pod is terminating or gone.
    pub(super) fn observe_pod(&self, change: &ObjectChange<Pod>) {
        let Some(end) = end_of(change) else { return };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.end(ObjectKey::of(change.latest()), end);
    }

    /// Returns what is known about the entries of this budget when pods are known up to `progress`.
    pub(super) fn view(&self, budget: &PodDisruptionBudget, progress: u64) -> DisruptedPodsView {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let arrivals = state.budgets.get(&ObjectKey::of(budget));
        let (newest, now) = (version(&budget.metadata), Instant::now());
        let mut view = DisruptedPodsView::default();
        let correction = self.clock.correction();
        for (pod, at) in entries_of(budget) {
            let known = arrivals
                .and_then(|known| known.get(pod))
                .filter(|known| known.value == *at);
            let set = known.map(|known| correction.saturating_sub(known.correction));
            if let Some(set) = set.filter(|set| !set.is_zero()) {
                view.clock_set.insert(pod.clone(), set);
            }
            let waits = match known {
                Some(arrival) if arrival.fulfilled => {
                    view.fulfilled.insert(pod.clone());
                    false
                }
                Some(arrival) => arrival.version > progress && arrival.at + SETTLES_AFTER > now,
                // An entry that has not been recorded yet is as new as the budget.
                None => newest > progress,
            };
            if waits {
                view.unsettled.insert(pod.clone());
            }
        }
        view
    }
}

impl DisruptedPods {
    /// Knows no entries yet.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: RwLock::default(),
        }
    }
}

impl EntryIndex {
    fn arrival(&mut self, budget: &ObjectKey, pod: &str, value: &Time, version: u64) -> Arrival {
        let pod = ObjectKey::new(&budget.namespace, pod);
        // The watch of pods may be ahead of the watch of budgets.
        let fulfilled = version > 0
            && self
                .deletions
                .versions
                .get(&pod)
                .is_some_and(|end| *end > version);
        let budgets = self.budgets_by_pod.entry(pod).or_default();
        if !budgets.contains(budget) {
            budgets.push(budget.clone());
        }
        Arrival {
            value: value.clone(),
            version,
            at: Instant::now(),
            correction: SignedDuration::ZERO,
            fulfilled,
        }
    }

    fn forget(&mut self, budget: &ObjectKey, pod: &str) {
        let pod = ObjectKey::new(&budget.namespace, pod);
        let Some(budgets) = self.budgets_by_pod.get_mut(&pod) else {
            return;
        };
        budgets.retain(|other| other != budget);
        if budgets.is_empty() {
            self.budgets_by_pod.remove(&pod);
        }
    }

    fn end(&mut self, pod: ObjectKey, end: u64) {
        for budget in self.budgets_by_pod.get(&pod).into_iter().flatten() {
            let arrival = self
                .budgets
                .get_mut(budget)
                .and_then(|arrivals| arrivals.get_mut(&pod.name));
            if let Some(arrival) =
                arrival.filter(|arrival| arrival.version > 0 && arrival.version < end)
            {
                arrival.fulfilled = true;
            }
        }
        self.deletions.record(pod, end);
    }
}

impl Deletions {
    fn record(&mut self, pod: ObjectKey, end: u64) {
        let now = Instant::now();
        while let Some((at, ..)) = self.order.front()
            && *at + SETTLES_AFTER < now
            && let Some((_, old, version)) = self.order.pop_front()
        {
            if self.versions.get(&old) == Some(&version) {
                self.versions.remove(&old);
            }
        }
        self.versions.insert(pod.clone(), end);
        self.order.push_back((now, pod, end));
    }
}

/// The version at which this change shows a pod terminating or gone; none when the pod stays.
fn end_of(change: &ObjectChange<Pod>) -> Option<u64> {
    let end = match (&change.old, &change.new) {
        (_, Some(new)) if is_terminating(new) => new,
        // The last state of a deleted object. Watches set its version to that of the deletion.
        (Some(old), None) => old,
        (Some(old), Some(new)) if uid(&old.metadata) != uid(&new.metadata) => old,
        _ => return None,
    };
    Some(version(&end.metadata))
}

fn entries_of(budget: &PodDisruptionBudget) -> impl Iterator<Item = (&String, &Time)> {
    budget
        .status
        .iter()
        .flat_map(|status| status.disrupted_pods.iter().flatten())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn tracker() -> DisruptedPods {
        DisruptedPods::new(Clock::starting_at(jiff::Timestamp::UNIX_EPOCH))
    }

    const ONE: &str = "2026-01-01T00:00:01Z";
    const TWO: &str = "2026-01-01T00:00:02Z";

    fn budget(version: u64, entries: serde_json::Value) -> Arc<PodDisruptionBudget> {
        let tree = json!({"metadata": {"name": "b", "resourceVersion": version.to_string()},
            "status": {
            "disruptedPods": entries, "currentHealthy": 0, "desiredHealthy": 0,
                "disruptionsAllowed": 0, "expectedPods": 0}});
        Arc::new(serde_json::from_value(tree).expect("a budget"))
    }

    fn pod(uid: &str, version: u64, leaving: bool) -> Option<Arc<Pod>> {
        let mut tree =
            json!({"metadata": {"name": "a", "uid": uid, "resourceVersion": version.to_string()}});
        if leaving {
            tree["metadata"]["deletionTimestamp"] = ONE.into();
        }
        Some(Arc::new(serde_json::from_value(tree).expect("a pod")))
    }

    fn unsettled(
        tracked: &DisruptedPods,
        budget: &PodDisruptionBudget,
        progress: u64,
    ) -> Vec<String> {
        tracked
            .view(budget, progress)
            .unsettled
            .into_iter()
            .collect()
    }

    fn fulfilled(tracked: &DisruptedPods, budget: &PodDisruptionBudget) -> bool {
        tracked.view(budget, u64::MAX).fulfilled.contains("a")
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_is_settled_when_the_pods_are_known_up_to_its_arrival() {
        let tracked = tracker();
        let first = budget(10, json!({"a": ONE}));
        tracked.observe_budget(&ObjectChange {
            old: None,
            new: Some(Arc::clone(&first)),
        });
        assert_eq!(unsettled(&tracked, &first, 9), ["a"]);
        assert_eq!(unsettled(&tracked, &first, 10), [""; 0]);

        // The entry for `a` keeps its arrival. The new entry for `b` has its own.
        let second = budget(20, json!({"a": ONE, "b": TWO}));
        assert_eq!(unsettled(&tracked, &second, 15), ["b"], "not recorded yet");
        tracked.observe_budget(&ObjectChange {
            old: Some(first),
            new: Some(Arc::clone(&second)),
        });
        assert_eq!(unsettled(&tracked, &second, 15), ["b"]);
        let third = budget(30, json!({"a": TWO, "b": TWO}));
        tracked.observe_budget(&ObjectChange {
            old: Some(second),
            new: Some(Arc::clone(&third)),
        });
        assert_eq!(unsettled(&tracked, &third, 25), ["a"]);

        tokio::time::advance(SETTLES_AFTER).await;
        assert_eq!(
            unsettled(&tracked, &third, 25),
            [""; 0],
            "the pods are known by now"
        );

        tracked.observe_budget(&ObjectChange {
            old: Some(third),
            new: None,
        });
        let state = tracked.state.read().expect("a lock");
        assert!(state.budgets.is_empty() && state.budgets_by_pod.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_is_fulfilled_when_its_pod_was_seen_to_end_after_it() {
        let is_fulfilled_by = |end: ObjectChange<Pod>| {
            let (tracked, first) = (tracker(), budget(10, json!({"a": ONE})));
            tracked.observe_budget(&ObjectChange {
                old: None,
                new: Some(Arc::clone(&first)),
            });
            tracked.observe_pod(&end);
            let seen = fulfilled(&tracked, &first);
            // In the other order: the watch of pods is ahead.
            let ahead = tracker();
            ahead.observe_pod(&end);
            ahead.observe_budget(&ObjectChange {
                old: None,
                new: Some(Arc::clone(&first)),
            });
            assert_eq!(seen, fulfilled(&ahead, &first));
            seen
        };
        assert!(
            is_fulfilled_by(ObjectChange {
                old: pod("1", 5, false),
                new: pod("1", 12, true)
            }),
            "it terminates"
        );
        assert!(
            is_fulfilled_by(ObjectChange {
                old: pod("1", 12, true),
                new: None
            }),
            "it is gone"
        );
        assert!(
            is_fulfilled_by(ObjectChange {
                old: pod("1", 12, false),
                new: pod("2", 14, false)
            }),
            "it was replaced"
        );
        assert!(
            !is_fulfilled_by(ObjectChange {
                old: pod("1", 5, false),
                new: pod("1", 12, false)
            }),
            "it stays"
        );
        assert!(
            !is_fulfilled_by(ObjectChange {
                old: pod("1", 5, false),
                new: pod("1", 8, true)
            }),
            "a predecessor of its name terminates"
        );
        assert!(
            !is_fulfilled_by(ObjectChange {
                old: pod("1", 8, true),
                new: pod("2", 14, false)
            }),
            "a predecessor was replaced"
        );
        assert!(
            !is_fulfilled_by(ObjectChange {
                old: None,
                new: pod("1", 12, false)
            }),
            "it is created"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_one_pod_does_not_fulfil_the_next_entry_and_is_forgotten() {
        let tracked = tracker();
        let first = budget(10, json!({"a": ONE}));
        tracked.observe_budget(&ObjectChange {
            old: None,
            new: Some(Arc::clone(&first)),
        });
        tracked.observe_pod(&ObjectChange {
            old: pod("1", 5, false),
            new: pod("1", 12, true),
        });
        let second = budget(20, json!({"a": TWO}));
        tracked.observe_budget(&ObjectChange {
            old: Some(first),
            new: Some(Arc::clone(&second)),
        });
        assert!(!fulfilled(&tracked, &second));
        tracked.observe_pod(&ObjectChange {
            old: pod("2", 15, false),
            new: pod("2", 22, true),
        });
        assert!(fulfilled(&tracked, &second));

        tokio::time::advance(SETTLES_AFTER * 2).await;
        tracked.observe_pod(&ObjectChange {
            old: pod("3", 25, false),
            new: pod("3", 30, true),
        });
        let state = tracked.state.read().expect("a lock");
        assert_eq!(
            (state.deletions.versions.len(), state.deletions.order.len()),
            (1, 1)
        );
    }
}
