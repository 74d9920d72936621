//! How long a failed daemon pod is kept before it is deleted and created again.
//!
//! A node may refuse a pod as often as it is created. The first failure is repaired at once; the
//! pause doubles with each further one, and is forgotten after a long time without failures.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::DaemonSet;

use crate::meta::ObjectKey;

const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(15);

/// The last failure on a node, and the pause that follows it.
#[derive(Clone, Copy, Debug)]
struct Failure {
    at: Timestamp,
    pause: SignedDuration,
    /// The generation of the set. A changed set starts again.
    generation: Option<i64>,
}

/// The failures of all daemon sets by node.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<ObjectKey, HashMap<String, Failure>>>);

impl Failures {
    fn all(&self) -> MutexGuard<'_, HashMap<ObjectKey, HashMap<String, Failure>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the failed pod of this node may be deleted; none when it may be now.
    pub(super) fn held_until(
        &self,
        set: &DaemonSet,
        node: &str,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let all = self.all();
        let failure = all.get(&ObjectKey::of(set))?.get(node)?;
        let until = failure.at.saturating_add(failure.pause).ok()?;
        (failure.generation == set.metadata.generation && until > now).then_some(until)
    }

    /// A failed pod of this node is deleted now.
    pub(super) fn failed(&self, set: &DaemonSet, node: &str, now: Timestamp) {
        let generation = set.metadata.generation;
        let mut all = self.all();
        let nodes = all.entry(ObjectKey::of(set)).or_default();
        nodes.retain(|_, failure| now.duration_since(failure.at) < LONGEST_PAUSE * 2);
        let pause = nodes
            .get(node)
            .filter(|failure| failure.generation == generation)
            .map_or(FIRST_PAUSE, |failure| {
                (failure.pause * 2).min(LONGEST_PAUSE)
            });
        nodes.insert(
            node.to_owned(),
            Failure {
                at: now,
                pause,
                generation,
            },
        );
    }

    /// Forgets a set that no longer exists.
    pub(super) fn forget(&self, set: &ObjectKey) {
        self.all().remove(set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_with_a_change_of_the_set() {
        let at = |seconds: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let failures = Failures::default();
        let mut set = DaemonSet::default();
        assert_eq!(failures.held_until(&set, "a", at(0)), None);
        failures.failed(&set, "a", at(0));
        assert_eq!(failures.held_until(&set, "a", at(0)), Some(at(1)));
        assert_eq!(failures.held_until(&set, "a", at(1)), None);
        assert_eq!(failures.held_until(&set, "b", at(0)), None);
        failures.failed(&set, "a", at(1));
        failures.failed(&set, "a", at(3));
        assert_eq!(failures.held_until(&set, "a", at(3)), Some(at(7)));
        set.metadata.generation = Some(2);
        assert_eq!(failures.held_until(&set, "a", at(3)), None);
        failures.failed(&set, "a", at(9));
        assert_eq!(failures.held_until(&set, "a", at(9)), Some(at(10)));
    }
}
