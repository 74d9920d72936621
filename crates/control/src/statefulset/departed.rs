//! Pods that were removed a moment ago.
//!
//! A pod of a set has the name of its predecessor. `kubectl delete` asks for the pod by name and
//! then lists that name to watch it. When the predecessor goes and its successor comes between the
//! two requests, kubectl waits for the end of the successor and hangs (kubernetes/kubectl#1803).
//! Pods of a kubelet take seconds to end, those of a simulated node two milliseconds. So a name is
//! free only a moment after the end of its pod.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::meta::ObjectKey;

/// How long a name stays free. It covers the time between the two requests on a busy machine.
const PAUSE: Duration = Duration::from_millis(200);

/// When pods were removed, as far as their names are not free yet.
#[derive(Debug, Default)]
pub(super) struct DepartedPods(Mutex<HashMap<ObjectKey, Instant>>);

impl DepartedPods {
    fn all(&self) -> MutexGuard<'_, HashMap<ObjectKey, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod of a set was removed now.
    pub(super) fn removed(&self, pod: ObjectKey) {
        let mut all = self.all();
        all.retain(|_, since| since.elapsed() < PAUSE);
        all.insert(pod, Instant::now());
    }

    /// How long the name is not free yet; none when it is.
    pub(super) fn wait(&self, pod: &ObjectKey) -> Option<Duration> {
        let left = PAUSE.checked_sub(self.all().get(pod)?.elapsed())?;
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_name_is_free_a_moment_after_the_end_of_its_pod() {
        let departed = DepartedPods::default();
        let (one, other) = (ObjectKey::new("n", "sts-0"), ObjectKey::new("n", "sts-1"));
        departed.removed(one.clone());
        assert_eq!(departed.wait(&one), Some(PAUSE));
        assert_eq!(departed.wait(&other), None);
        tokio::time::advance(PAUSE - Duration::from_millis(1)).await;
        assert_eq!(departed.wait(&one), Some(Duration::from_millis(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(departed.wait(&one), None);
        departed.removed(other);
        assert_eq!(departed.all().len(), 1);
    }
}
