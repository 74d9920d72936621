//! What a job and its pods look like now. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::backoff::{PodBackoff, finished_at};
use super::failure::{FailureAction, earlier_failures, fails_index, has_failed};
use super::index::{self, IndexSet};
use super::pod;
use crate::meta::uid;
use crate::pods::{is_active, is_finished, is_terminating, phase};

/// What the controller remembers of a job between two reconciliations.
pub(super) struct Memory<'a> {
    pub(super) backoff: PodBackoff,
    /// The uids of pods whose finalizer was removed. The cache may still show it.
    pub(super) released: &'a BTreeSet<String>,
    /// True when the cache shows all pods that were created and deleted.
    pub(super) is_current: bool,
}

impl Memory<'_> {
    /// True when the pod has not been counted.
    pub(super) fn is_tracked(&self, pod: &Pod) -> bool {
        pod::is_tracked(pod) && !self.released.contains(uid(&pod.metadata))
    }
}

/// A job with its pods and the counts that follow from both.
pub(super) struct JobState<'a> {
    pub(super) job: &'a Job,
    pub(super) spec: &'a JobSpec,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) memory: &'a Memory<'a>,
    pub(super) now: Timestamp,
    pub(super) is_indexed: bool,
    pub(super) active: Vec<&'a Arc<Pod>>,
    /// Pods that have succeeded and failed since the last count.
    pub(super) new_succeeded: Vec<&'a Arc<Pod>>,
    pub(super) new_failed: Vec<&'a Arc<Pod>>,
    /// All pods that have succeeded, and all that have failed and are not ignored.
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    /// The completed indexes of the status, and those of now.
    pub(super) completed_before: IndexSet,
    pub(super) completed: IndexSet,
    /// None without a limit per index.
    pub(super) failed_indexes: Option<IndexSet>,
    /// The last failed pod of each index that is to get another one.
    pub(super) to_replace: BTreeMap<i32, &'a Arc<Pod>>,
}

pub(super) fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl<'a> JobState<'a> {
    pub(super) fn new(
        job: &'a Job,
        spec: &'a JobSpec,
        status: &JobStatus,
        pods: &'a [Arc<Pod>],
        memory: &'a Memory<'a>,
        now: Timestamp,
    ) -> Self {
        let is_indexed = spec.completion_mode.as_deref() == Some("Indexed");
        let limit = spec.completions.unwrap_or_default();
        let indexes = |text: Option<&String>| {
            IndexSet::parse(text.map(String::as_str).unwrap_or_default(), limit)
        };
        let before = indexes(status.completed_indexes.as_ref());
        let per_index = is_indexed && spec.backoff_limit_per_index.is_some();
        let mut state = Self {
            job,
            spec,
            pods,
            memory,
            now,
            is_indexed,
            active: pods.iter().filter(|pod| is_active(pod)).collect(),
            new_succeeded: Vec::new(),
            new_failed: Vec::new(),
            succeeded: 0,
            failed: 0,
            completed: before.clone(),
            completed_before: before,
            failed_indexes: per_index.then(|| indexes(status.failed_indexes.as_ref())),
            to_replace: BTreeMap::new(),
        };
        state.count_ended(status);
        state.judge_indexes();
        state
    }

    pub(super) fn is_tracked(&self, pod: &Pod) -> bool {
        self.memory.is_tracked(pod)
    }

    /// True when the pod counts: jobs with indexes ignore pods without one, and those of an index
    /// beyond their completions.
    pub(super) fn has_valid_index(&self, pod: &Pod) -> bool {
        let limit = self.spec.completions.unwrap_or_default();
        !self.is_indexed || index::of(pod).is_some_and(|index| index < limit)
    }

    /// True when the pod is kept until its successor exists.
    pub(super) fn awaits_successor(&self, pod: &Pod) -> bool {
        index::of(pod)
            .and_then(|index| self.to_replace.get(&index))
            .is_some_and(|kept| uid(&kept.metadata) == uid(&pod.metadata))
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    /// The pods that are about to go and have not ended.
    pub(super) fn terminating(&self) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.pods
            .iter()
            .filter(|pod| is_terminating(pod) && !is_finished(pod))
    }

    fn count_ended(&mut self, status: &JobStatus) {
        let waiting = status.uncounted_terminated_pods.as_ref();
        let succeeded = waiting.and_then(|waiting| waiting.succeeded.as_deref());
        let failed = waiting.and_then(|waiting| waiting.failed.as_deref());
        let (succeeded, failed) = (succeeded.unwrap_or_default(), failed.unwrap_or_default());
        let is_in = |list: &[String], pod: &Pod| list.iter().any(|id| *id == uid(&pod.metadata));
        for pod in self.pods {
            if !self.is_tracked(pod) || !self.has_valid_index(pod) {
                continue;
            }
            if phase(pod) == "Succeeded" && !is_in(succeeded, pod) {
                self.new_succeeded.push(pod);
            } else if has_failed(self.spec, pod) && !is_in(failed, pod) {
                self.new_failed.push(pod);
            }
        }
        let counted = self
            .new_failed
            .iter()
            .filter(|pod| FailureAction::of(self.spec, pod) != FailureAction::Ignore)
            .count();
        let sum = |known: Option<i32>, waiting: usize, new: usize| {
            known
                .unwrap_or_default()
                .saturating_add(to_i32(waiting + new))
        };
        self.succeeded = sum(status.succeeded, succeeded.len(), self.new_succeeded.len());
        self.failed = sum(status.failed, failed.len(), counted);
    }

    /// Finds out which indexes have completed, which have failed, and which get another pod.
    fn judge_indexes(&mut self) {
        if !self.is_indexed {
            return;
        }
        let ended = |pod: &&Arc<Pod>| self.is_tracked(pod) && self.has_valid_index(pod);
        let succeeded = self
            .pods
            .iter()
            .filter(|pod| phase(pod) == "Succeeded")
            .filter(ended)
            .filter_map(|pod| index::of(pod));
        let succeeded: Vec<i32> = succeeded.collect();
        let failed: Vec<&Arc<Pod>> = self
            .pods
            .iter()
            .filter(|pod| has_failed(self.spec, pod))
            .filter(ended)
            .collect();
        self.completed.extend(succeeded);
        self.succeeded = self.completed.total();
        let Some(failed_indexes) = &mut self.failed_indexes else {
            return;
        };
        let lost = failed.iter().filter(|pod| fails_index(self.spec, pod));
        failed_indexes.extend(lost.filter_map(|pod| index::of(pod)));
        let active: BTreeSet<i32> = self
            .active
            .iter()
            .filter_map(|pod| index::of(pod))
            .collect();
        for pod in failed {
            let Some(index) = index::of(pod).filter(|index| {
                !active.contains(index)
                    && !self.completed.contains(*index)
                    && !failed_indexes.contains(*index)
            }) else {
                continue;
            };
            let is_later = |known: &&Arc<Pod>| {
                earlier_failures(known) <= earlier_failures(pod)
                    && finished_at(known) <= finished_at(pod)
            };
            if self.to_replace.get(&index).is_none_or(is_later) {
                self.to_replace.insert(index, pod);
            }
        }
    }
}
