//! Decides which pods of a job are counted and released, and as what. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;

use super::condition::JobOutcome;
use super::failure::{FailureAction, has_failed};
use super::index;
use super::state::JobState;
use crate::meta::uid;
use crate::pods::phase;

/// The largest number of pods that are counted together. It bounds the size of the status.
const COUNTED_TOGETHER: usize = 500;

/// The pods that a reconciliation counts.
#[derive(Debug, Default)]
pub(super) struct CountedPods {
    /// Pods that lose their finalizer once the status is written.
    pub(super) release: Vec<Arc<Pod>>,
    /// True when more pods wait to be counted.
    pub(super) more: bool,
}

/// Puts pods that have ended into the status, as completed indexes or as uncounted uids.
///
/// A pod that waits for its successor is not counted before that exists, because the successor
/// takes over its failures. When the job ends, all its pods are counted, those that it stops as
/// failed unless the job has succeeded.
pub(super) fn count(
    state: &JobState<'_>,
    outcome: Option<&JobOutcome>,
    status: &mut JobStatus,
) -> CountedPods {
    let mut counted = CountedPods::default();
    let before = status.uncounted_terminated_pods.clone();
    let before = before.unwrap_or_default();
    let is_in = |list: &Option<Vec<String>>, id: &str| list.iter().flatten().any(|one| one == id);
    let mut completed = state.completed_before.clone();
    let mut added = 0;
    let mut pods: Vec<&Arc<Pod>> = state
        .pods
        .iter()
        .filter(|pod| state.is_tracked(pod))
        .collect();
    if state.is_indexed {
        pods.sort_by_key(|pod| index::of(pod));
    }
    let all_end = outcome.is_some() || state.job.metadata.deletion_timestamp.is_some();
    let waiting = status.uncounted_terminated_pods.get_or_insert_default();
    for pod in pods {
        let (id, failed) = (uid(&pod.metadata), has_failed(state.spec, pod));
        let succeeded = phase(pod) == "Succeeded";
        let is_replaced = failed && !state.awaits_successor(pod);
        if !(all_end || succeeded || is_replaced) {
            continue;
        }
        counted.release.push(Arc::clone(pod));
        if is_in(&before.failed, id) || is_in(&before.succeeded, id) || !state.has_valid_index(pod)
        {
            continue;
        }
        if succeeded {
            match index::of(pod).filter(|_| state.is_indexed) {
                // Indexes are remembered, so their uids need not be.
                Some(index) => completed.insert(index),
                None => push(&mut waiting.succeeded, id),
            }
            added += 1;
        } else if (failed || outcome.is_some_and(|outcome| outcome.failed))
            && FailureAction::of(state.spec, pod) != FailureAction::Ignore
        {
            push(&mut waiting.failed, id);
            added += 1;
        }
        if added >= COUNTED_TOGETHER {
            counted.more = true;
            break;
        }
    }
    if state.is_indexed {
        status.succeeded = Some(completed.total()).filter(|total| *total != 0);
        status.completed_indexes = Some(completed.to_string()).filter(|text| !text.is_empty());
        status.failed_indexes = state.failed_indexes.as_ref().map(ToString::to_string);
    }
    counted
}

fn push(list: &mut Option<Vec<String>>, id: &str) {
    list.get_or_insert_default().push(id.to_owned());
}

/// Turns the uids of pods that are no longer held by the finalizer into numbers.
pub(super) fn settle(status: &mut JobStatus, held: &BTreeSet<&str>) {
    let waiting = status.uncounted_terminated_pods.take().unwrap_or_default();
    let divide = |uids: Option<Vec<String>>, count: &mut Option<i32>| {
        let (left, gone): (Vec<String>, Vec<String>) = uids
            .unwrap_or_default()
            .into_iter()
            .partition(|id| held.contains(id.as_str()));
        let sum = count
            .unwrap_or_default()
            .saturating_add(i32::try_from(gone.len()).unwrap_or(i32::MAX));
        *count = Some(sum).filter(|sum| *sum != 0);
        Some(left).filter(|left| !left.is_empty())
    };
    let succeeded = divide(waiting.succeeded, &mut status.succeeded);
    let failed = divide(waiting.failed, &mut status.failed);
    status.uncounted_terminated_pods = Some(UncountedTerminatedPods { failed, succeeded });
}

/// True when the status has no uncounted pods.
pub(super) fn all_settled(status: &JobStatus) -> bool {
    status
        .uncounted_terminated_pods
        .as_ref()
        .is_none_or(|waiting| {
            [&waiting.succeeded, &waiting.failed]
                .into_iter()
                .flatten()
                .all(Vec::is_empty)
        })
}
