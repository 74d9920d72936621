//! How long pods take to start and to terminate, as far as the snapshot shows it.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::PlanOptions;
use crate::cluster::ClusterSnapshot;
use crate::pods::{self, DEFAULT_GRACE_SECONDS};

/// Milliseconds since the snapshot.
pub(super) type Millis = i64;

/// Estimates the times of pods.
pub(super) struct PodTiming<'a> {
    now: Timestamp,
    /// By the uid of the controller: the median time of its pods from scheduling to ready.
    starts: HashMap<&'a str, Millis>,
    default_start: Millis,
    stop: Millis,
    grace_seconds: Option<i64>,
}

impl<'a> PodTiming<'a> {
    /// Measures the pods of the snapshot.
    pub(super) fn observe(snapshot: &'a ClusterSnapshot, options: &PlanOptions) -> Self {
        let mut observed: HashMap<&str, Vec<Millis>> = HashMap::new();
        for pod in &snapshot.pods {
            if let (Some(owner), Some(start)) = (pods::controller_of(pod), observed_start(pod)) {
                observed.entry(&owner.uid).or_default().push(start);
            }
        }
        let starts = observed.into_iter().map(|(owner, mut starts)| {
            starts.sort_unstable();
            (owner, starts[starts.len() / 2])
        });
        Self {
            now: snapshot.now,
            starts: starts.collect(),
            default_start: millis(options.start_seconds),
            stop: millis(options.stop_seconds),
            grace_seconds: options.grace_seconds,
        }
    }

    /// Returns the time from scheduling to ready.
    pub(super) fn start(&self, pod: &Pod) -> Millis {
        pods::controller_of(pod)
            .and_then(|owner| self.starts.get(owner.uid.as_str()).copied())
            .unwrap_or(self.default_start)
    }

    /// Returns the time from the deletion to the end of the pod: the preStop sleep and the time
    /// after the stop signal, at most the grace period.
    pub(super) fn stop(&self, pod: &Pod) -> Millis {
        let spec = pod.spec.as_ref();
        let own = spec
            .and_then(|spec| spec.termination_grace_period_seconds)
            .unwrap_or(DEFAULT_GRACE_SECONDS);
        let grace = self
            .grace_seconds
            .unwrap_or(own)
            .max(0)
            .saturating_mul(1_000);
        let sleeps = spec
            .into_iter()
            .flat_map(|spec| &spec.containers)
            .filter_map(|container| {
                let hook = container.lifecycle.as_ref()?.pre_stop.as_ref()?;
                Some(hook.sleep.as_ref()?.seconds)
            });
        // The hooks of all containers run at the same time.
        let hook = sleeps.max().unwrap_or_default().saturating_mul(1_000);
        hook.saturating_add(self.stop).min(grace)
    }

    /// Returns the milliseconds from that time to the snapshot.
    pub(super) fn since(&self, then: Timestamp) -> Millis {
        self.now
            .duration_since(then)
            .as_millis()
            .try_into()
            .unwrap_or(Millis::MAX)
    }
}

fn millis(seconds: f64) -> Millis {
    // Through a Duration, which saturates: a cast from float to integer would lose the error.
    let bounded =
        std::time::Duration::try_from_secs_f64(seconds).unwrap_or(std::time::Duration::MAX);
    bounded.as_millis().try_into().unwrap_or(Millis::MAX)
}

/// Converts a time to seconds.
pub(super) fn seconds(millis: Millis) -> f64 {
    std::time::Duration::from_millis(millis.try_into().unwrap_or_default()).as_secs_f64()
}

/// Returns how long the pod took from scheduling to ready. `None` for pods that have restarted:
/// their Ready condition shows the last start only.
fn observed_start(pod: &Pod) -> Option<Millis> {
    let since = |kind: &str| {
        let condition =
            pods::condition(pod, kind).filter(|condition| condition.status == "True")?;
        condition.last_transition_time.as_ref().map(|time| time.0)
    };
    let restarts: i32 = pod
        .status
        .as_ref()?
        .container_statuses
        .iter()
        .flatten()
        .map(|status| status.restart_count)
        .sum();
    let scheduled = since("PodScheduled")
        .or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))?;
    let ready = since("Ready").filter(|_| restarts == 0)?;
    ready
        .duration_since(scheduled)
        .as_millis()
        .try_into()
        .ok()
        .filter(|start| *start >= 0)
}
