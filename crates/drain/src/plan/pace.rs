//! How fast pods start and end, from what the snapshot shows of them.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::Options;
use super::world::Millis;
use crate::cluster::Snapshot;
use crate::health;

/// What the cluster has shown.
pub(super) struct Pace<'a> {
    now: Timestamp,
    /// By the uid of the controller: how long its pods took from their node to ready, in the
    /// middle.
    starts: HashMap<&'a str, Millis>,
    default_start: Millis,
    stop: Millis,
    grace: Option<i64>,
}

impl<'a> Pace<'a> {
    pub(super) fn observe(snapshot: &'a Snapshot, options: &Options) -> Self {
        let mut seen: HashMap<&str, Vec<Millis>> = HashMap::new();
        for pod in &snapshot.pods {
            if let (Some(owner), Some(took)) = (health::controller_of(pod), took(pod)) {
                seen.entry(&owner.uid).or_default().push(took);
            }
        }
        let starts = seen.into_iter().map(|(owner, mut took)| {
            took.sort_unstable();
            (owner, took[took.len() / 2])
        });
        Self {
            now: snapshot.now,
            starts: starts.collect(),
            default_start: millis(options.start_seconds),
            stop: millis(options.stop_seconds),
            grace: options.grace_seconds,
        }
    }

    /// From the choice of a node to ready.
    pub(super) fn start(&self, pod: &Pod) -> Millis {
        let owner = health::controller_of(pod)
            .map(|owner| owner.uid.as_str())
            .unwrap_or_default();
        self.starts
            .get(owner)
            .copied()
            .unwrap_or(self.default_start)
    }

    /// From being told to go to gone: the preStop sleep and what containers need after the signal,
    /// never more than the grace.
    pub(super) fn stop(&self, pod: &Pod) -> Millis {
        let spec = pod.spec.as_ref();
        let own = spec
            .and_then(|spec| spec.termination_grace_period_seconds)
            .unwrap_or(30);
        let grace = self.grace.unwrap_or(own).max(0).saturating_mul(1_000);
        let sleeps = spec
            .into_iter()
            .flat_map(|spec| &spec.containers)
            .filter_map(|container| {
                let hook = container.lifecycle.as_ref()?.pre_stop.as_ref()?;
                Some(hook.sleep.as_ref()?.seconds)
            });
        let hook = sleeps.max().unwrap_or_default().saturating_mul(1_000);
        hook.saturating_add(self.stop).min(grace)
    }

    /// Milliseconds from then until the snapshot.
    pub(super) fn since(&self, then: Timestamp) -> Millis {
        self.now
            .duration_since(then)
            .as_millis()
            .try_into()
            .unwrap_or(Millis::MAX)
    }
}

fn millis(seconds: f64) -> Millis {
    // Through a duration, which is bounded: a float does not turn into an integer without a loss.
    let bounded =
        std::time::Duration::try_from_secs_f64(seconds).unwrap_or(std::time::Duration::MAX);
    bounded.as_millis().try_into().unwrap_or(Millis::MAX)
}

/// How long this pod took from its node to ready. A pod that has restarted or has been unready
/// since says nothing about it.
fn took(pod: &Pod) -> Option<Millis> {
    let at = |kind: &str| {
        let condition =
            health::condition(pod, kind).filter(|condition| condition.status == "True")?;
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
    let placed = at("PodScheduled")
        .or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))?;
    let ready = at("Ready").filter(|_| restarts == 0)?;
    ready
        .duration_since(placed)
        .as_millis()
        .try_into()
        .ok()
        .filter(|took| *took >= 0)
}
