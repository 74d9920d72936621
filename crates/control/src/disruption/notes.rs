//! When the notes of budgets about evicted pods came, in resource versions, and which of them have
//! served.
//!
//! Pods and budgets come by two watches, of which one may be behind the other. A budget that notes
//! the eviction of `web-0` may be known before the cache shows that `web-0` goes, or even before it
//! shows the `web-0` that was evicted instead of an earlier one of that name. Who then takes the
//! end of the earlier one for the end of the evicted one drops the note, counts the evicted pod as
//! healthy as soon as it shows up, and lets too many pods go. (The checker of the protocol in
//! `testkit` found this; upstream works by name alone.)
//!
//! A note is *settled* when the pods are known up to the version at which the budget came with it.
//! The eviction writes the pod after the budget, so that the event which shows the end of the pod
//! also settles its note. Some notes are not followed by any event about pods: those that a client
//! has written itself, and those that were there when the controller started. They count as settled
//! after a few seconds, by which a watch that works has told everything.
//!
//! A note has *served* when its pod was seen to go at a version after the note. That is remembered,
//! because a pod that stops at once and is replaced under its name can be gone before the budget is
//! counted; its successor would then be taken for the evicted pod, and be missing among the healthy
//! ones until the note expires, as it is upstream.
//!
//! Where versions are no numbers every note counts as settled and none as served, which is what
//! upstream does.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use crate::caches::Change;
use crate::meta::{Key, uid, version};
use crate::pods::is_terminating;

/// How long a note waits for the pods to be known as of its arrival, and the end of a pod for the
/// note about it.
pub(super) const SETTLES_AFTER: Duration = Duration::from_secs(5);

/// What is known about the notes of a budget beside what they say: names of pods.
#[derive(Clone, Debug, Default)]
pub struct Insight {
    /// The known pods may be older than the evictions of these.
    pub unsettled: BTreeSet<String>,
    /// These were seen to go after their evictions; who has such a name now is a successor.
    pub served: BTreeSet<String>,
}

/// Notes by the pods that they are about.
type Arrivals = BTreeMap<String, Arrival>;

struct Arrival {
    /// What the note says, by which it is told from a later one about a pod of the same name.
    noted: Time,
    /// The version of the budget that brought it.
    version: u64,
    at: Instant,
    served: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Notes {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    budgets: HashMap<Key, Arrivals>,
    /// The budgets that have notes about a pod.
    about: HashMap<Key, Vec<Key>>,
    ends: Ends,
}

/// The newest versions at which pods were seen to go, for as long as the notes about them may still
/// come.
#[derive(Default)]
struct Ends {
    versions: HashMap<Key, u64>,
    order: VecDeque<(Instant, Key, u64)>,
}

impl Notes {
    pub(super) fn learn(&self, change: &Change<PodDisruptionBudget>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let key = Key::of(change.latest());
        let mut arrivals = state.budgets.remove(&key).unwrap_or_default();
        let notes = change
            .new
            .as_ref()
            .and_then(|budget| budget.status.as_ref()?.disrupted_pods.as_ref());
        arrivals.retain(|pod, known| {
            let stays = notes.and_then(|notes| notes.get(pod)) == Some(&known.noted);
            if !stays {
                state.forget(&key, pod);
            }
            stays
        });
        for (pod, at) in notes.into_iter().flatten() {
            if !arrivals.contains_key(pod) {
                let arrival = state.arrival(&key, pod, at, version(&change.latest().metadata));
                arrivals.insert(pod.clone(), arrival);
            }
        }
        if !arrivals.is_empty() {
            state.budgets.insert(key, arrivals);
        }
    }

    /// Learns that a pod goes, or is gone.
    pub(super) fn learn_end(&self, change: &Change<Pod>) {
        let Some(end) = end_of(change) else { return };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.end(Key::of(change.latest()), end);
    }

    /// What is known about the notes of this budget, when pods are known up to `progress`.
    pub(super) fn insight(&self, budget: &PodDisruptionBudget, progress: u64) -> Insight {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let arrivals = state.budgets.get(&Key::of(budget));
        let (newest, now) = (version(&budget.metadata), Instant::now());
        let mut insight = Insight::default();
        for (pod, at) in noted(budget) {
            let waits = match arrivals
                .and_then(|known| known.get(pod))
                .filter(|known| known.noted == *at)
            {
                Some(arrival) if arrival.served => {
                    insight.served.insert(pod.clone());
                    false
                }
                Some(arrival) => arrival.version > progress && arrival.at + SETTLES_AFTER > now,
                // What nobody has been told of yet is as new as the budget.
                None => newest > progress,
            };
            if waits {
                insight.unsettled.insert(pod.clone());
            }
        }
        insight
    }
}

impl State {
    fn arrival(&mut self, budget: &Key, pod: &str, noted: &Time, version: u64) -> Arrival {
        let pod = Key::new(&budget.namespace, pod);
        // The pods may be ahead of the budgets.
        let served = version > 0
            && self
                .ends
                .versions
                .get(&pod)
                .is_some_and(|end| *end > version);
        let budgets = self.about.entry(pod).or_default();
        if !budgets.contains(budget) {
            budgets.push(budget.clone());
        }
        Arrival {
            noted: noted.clone(),
            version,
            at: Instant::now(),
            served,
        }
    }

    fn forget(&mut self, budget: &Key, pod: &str) {
        let pod = Key::new(&budget.namespace, pod);
        let Some(budgets) = self.about.get_mut(&pod) else {
            return;
        };
        budgets.retain(|other| other != budget);
        if budgets.is_empty() {
            self.about.remove(&pod);
        }
    }

    fn end(&mut self, pod: Key, end: u64) {
        for budget in self.about.get(&pod).into_iter().flatten() {
            let arrival = self
                .budgets
                .get_mut(budget)
                .and_then(|arrivals| arrivals.get_mut(&pod.name));
            if let Some(arrival) =
                arrival.filter(|arrival| arrival.version > 0 && arrival.version < end)
            {
                arrival.served = true;
            }
        }
        self.ends.note(pod, end);
    }
}

impl Ends {
    fn note(&mut self, pod: Key, end: u64) {
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

/// The version at which this change shows that a pod goes or is gone; none when it stays.
fn end_of(change: &Change<Pod>) -> Option<u64> {
    let end = match (&change.old, &change.new) {
        (_, Some(new)) if is_terminating(new) => new,
        // The last state of what is gone; its version is that of the removal, where a watch has
        // told it.
        (Some(old), None) => old,
        (Some(old), Some(new)) if uid(&old.metadata) != uid(&new.metadata) => old,
        _ => return None,
    };
    Some(version(&end.metadata))
}

fn noted(budget: &PodDisruptionBudget) -> impl Iterator<Item = (&String, &Time)> {
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

    const ONE: &str = "2026-01-01T00:00:01Z";
    const TWO: &str = "2026-01-01T00:00:02Z";

    fn budget(version: u64, notes: serde_json::Value) -> Arc<PodDisruptionBudget> {
        let tree = json!({"metadata": {"name": "b", "resourceVersion": version.to_string()}, "status": {
            "disruptedPods": notes, "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}});
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

    fn unsettled(notes: &Notes, budget: &PodDisruptionBudget, progress: u64) -> Vec<String> {
        notes
            .insight(budget, progress)
            .unsettled
            .into_iter()
            .collect()
    }

    fn served(notes: &Notes, budget: &PodDisruptionBudget) -> bool {
        notes.insight(budget, u64::MAX).served.contains("a")
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_is_settled_when_the_pods_are_known_up_to_its_arrival() {
        let notes = Notes::default();
        let first = budget(10, json!({"a": ONE}));
        notes.learn(&Change {
            old: None,
            new: Some(Arc::clone(&first)),
        });
        assert_eq!(unsettled(&notes, &first, 9), ["a"]);
        assert_eq!(unsettled(&notes, &first, 10), [""; 0]);

        // The note of `a` keeps its arrival, and that of a new `a` has one of its own.
        let second = budget(20, json!({"a": ONE, "b": TWO}));
        assert_eq!(unsettled(&notes, &second, 15), ["b"], "not told yet");
        notes.learn(&Change {
            old: Some(first),
            new: Some(Arc::clone(&second)),
        });
        assert_eq!(unsettled(&notes, &second, 15), ["b"]);
        let third = budget(30, json!({"a": TWO, "b": TWO}));
        notes.learn(&Change {
            old: Some(second),
            new: Some(Arc::clone(&third)),
        });
        assert_eq!(unsettled(&notes, &third, 25), ["a"]);

        tokio::time::advance(SETTLES_AFTER).await;
        assert_eq!(
            unsettled(&notes, &third, 25),
            [""; 0],
            "the pods are known by now"
        );

        notes.learn(&Change {
            old: Some(third),
            new: None,
        });
        let state = notes.state.read().expect("a lock");
        assert!(state.budgets.is_empty() && state.about.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_has_served_when_its_pod_was_seen_to_go_after_it() {
        let ends = |end: Change<Pod>| {
            let (notes, noted) = (Notes::default(), budget(10, json!({"a": ONE})));
            notes.learn(&Change {
                old: None,
                new: Some(Arc::clone(&noted)),
            });
            notes.learn_end(&end);
            let first = served(&notes, &noted);
            // The other way round: the pods are ahead of the budgets.
            let ahead = Notes::default();
            ahead.learn_end(&end);
            ahead.learn(&Change {
                old: None,
                new: Some(Arc::clone(&noted)),
            });
            assert_eq!(first, served(&ahead, &noted));
            first
        };
        assert!(
            ends(Change {
                old: pod("1", 5, false),
                new: pod("1", 12, true)
            }),
            "it goes"
        );
        assert!(
            ends(Change {
                old: pod("1", 12, true),
                new: None
            }),
            "it is gone"
        );
        assert!(
            ends(Change {
                old: pod("1", 12, false),
                new: pod("2", 14, false)
            }),
            "it was replaced"
        );
        assert!(
            !ends(Change {
                old: pod("1", 5, false),
                new: pod("1", 12, false)
            }),
            "it stays"
        );
        assert!(
            !ends(Change {
                old: pod("1", 5, false),
                new: pod("1", 8, true)
            }),
            "an earlier one of its name goes"
        );
        assert!(
            !ends(Change {
                old: pod("1", 8, true),
                new: pod("2", 14, false)
            }),
            "an earlier one was replaced"
        );
        assert!(
            !ends(Change {
                old: None,
                new: pod("1", 12, false)
            }),
            "it comes"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_one_pod_says_nothing_about_the_next_note_and_is_forgotten() {
        let notes = Notes::default();
        let first = budget(10, json!({"a": ONE}));
        notes.learn(&Change {
            old: None,
            new: Some(Arc::clone(&first)),
        });
        notes.learn_end(&Change {
            old: pod("1", 5, false),
            new: pod("1", 12, true),
        });
        let second = budget(20, json!({"a": TWO}));
        notes.learn(&Change {
            old: Some(first),
            new: Some(Arc::clone(&second)),
        });
        assert!(!served(&notes, &second));
        notes.learn_end(&Change {
            old: pod("2", 15, false),
            new: pod("2", 22, true),
        });
        assert!(served(&notes, &second));

        tokio::time::advance(SETTLES_AFTER * 2).await;
        notes.learn_end(&Change {
            old: pod("3", 25, false),
            new: pod("3", 30, true),
        });
        let state = notes.state.read().expect("a lock");
        assert_eq!((state.ends.versions.len(), state.ends.order.len()), (1, 1));
    }
}
