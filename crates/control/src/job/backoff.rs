//! How long a job waits before it replaces a failed pod. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::failure::earlier_failures;
use crate::meta::after_seconds;
use crate::pods::condition;

/// The pause after the first failure, and the longest pause.
const FIRST_PAUSE_SECONDS: i64 = 10;
const LONGEST_PAUSE_SECONDS: i64 = 600;

/// Failures since the last success, ignored ones among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PodBackoff {
    in_a_row: u32,
    last: Option<Timestamp>,
}

impl PodBackoff {
    /// Adds pods that have ended since the last reconciliation.
    pub(super) fn with(mut self, succeeded: &[&Arc<Pod>], failed: &[&Arc<Pod>]) -> Self {
        let last_success = succeeded.iter().map(|pod| finished_at(pod)).max();
        if last_success.is_some() {
            self = Self::default();
        }
        let failures = failed
            .iter()
            .map(|pod| finished_at(pod))
            .filter(|time| last_success.is_none_or(|success| *time > success));
        for time in failures {
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.last = self.last.max(Some(time));
        }
        self
    }

    /// No pod is created before this time.
    pub(super) fn pause_until(&self) -> Option<Timestamp> {
        Some(end_of_pause(self.last?, i64::from(self.in_a_row)))
    }
}

/// When the pod that replaces this failed one may be created, by the failures of its index alone.
pub(super) fn pause_of_index(failed: &Pod) -> Timestamp {
    let failures = i64::from(earlier_failures(failed)) + 1;
    end_of_pause(finished_at(failed), failures)
}

fn end_of_pause(failed_at: Timestamp, failures: i64) -> Timestamp {
    let doublings = (failures - 1).clamp(0, 16);
    let pause = (FIRST_PAUSE_SECONDS << doublings).min(LONGEST_PAUSE_SECONDS);
    after_seconds(failed_at, pause)
}

/// When the pod ended: when its last container did, when it stopped being ready, when its deletion
/// was requested, or else when it was created.
pub(super) fn finished_at(pod: &Pod) -> Timestamp {
    let unready = || {
        let ready = condition(pod, "Ready").filter(|ready| ready.status == "False")?;
        Some(ready.last_transition_time.as_ref()?.0)
    };
    let deleted = || {
        let grace = pod
            .metadata
            .deletion_grace_period_seconds
            .unwrap_or_default();
        let at = pod.metadata.deletion_timestamp.as_ref()?.0;
        at.checked_sub(SignedDuration::from_secs(grace)).ok()
    };
    let created = || Some(pod.metadata.creation_timestamp.as_ref()?.0);
    containers_finished_at(pod)
        .or_else(unready)
        .or_else(deleted)
        .or_else(created)
        .unwrap_or_default()
}

/// When the last main container or sidecar ended; none unless all have.
fn containers_finished_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let is_sidecar = |status: &&ContainerStatus| {
        let inits = pod
            .spec
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten());
        inits
            .filter(|init| init.restart_policy.as_deref() == Some("Always"))
            .any(|init| init.name == status.name)
    };
    let sidecars = status
        .init_container_statuses
        .iter()
        .flatten()
        .filter(is_sidecar);
    let ends: Option<Vec<Timestamp>> = status
        .container_statuses
        .iter()
        .flatten()
        .chain(sidecars)
        .map(|status| {
            let terminated = status.state.as_ref()?.terminated.as_ref()?;
            terminated.finished_at.as_ref().map(|time| time.0)
        })
        .collect();
    ends?.into_iter().max()
}
