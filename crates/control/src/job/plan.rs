//! Decides what a job does next. Pure.
//!
//! The order is upstream's: which pods have ended, whether the job ends with them, which pods are
//! created or deleted, and what is counted. [`conclude`] says what follows once the counted pods
//! are released.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use events::EventType;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::JobEvent;
use super::backoff::{PodBackoff, pause_of_index};
use super::condition::{JobOutcome, set};
use super::count::{all_settled, count, settle};
use super::failure::{FailureAction, carried_failures, has_failed, replaces_ended};
use super::index;
use super::pod::{make, make_indexed};
use super::state::{JobState, Memory, to_i32};
use super::success;
use crate::meta::{after_seconds, on_wire, uid};
use crate::podcontrol::BURST;
use crate::pods::{is_ready, phase};
use crate::replicaset::victims;

/// What to do now, in the order of the fields.
#[derive(Debug, Default)]
pub(super) struct JobPlan {
    /// Pods that the end of the job stops. They are counted.
    pub(super) stop: Vec<Arc<Pod>>,
    /// Pods that are too many. They are released first, so that they do not count as failed.
    pub(super) discard: Vec<Arc<Pod>>,
    pub(super) create: Vec<Pod>,
    /// The status to write before pods are released; none when the present one is right.
    pub(super) recorded: Option<JobStatus>,
    /// Pods that lose their finalizer.
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) events: Vec<JobEvent>,
    /// When to look again.
    pub(super) recheck: Option<Timestamp>,
    /// False when nothing is discarded or created before the cache shows what was.
    pub(super) may_act: bool,
    /// The failures to remember.
    pub(super) backoff: PodBackoff,
    /// How the job ends when the released pods are counted; none while it goes on.
    ending: Option<JobOutcome>,
    /// The uids of pods that stay uncounted.
    held: BTreeSet<String>,
}

/// Makes the plan.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], memory: &Memory<'_>, now: Timestamp) -> JobPlan {
    let mut plan = JobPlan::default();
    let Some(spec) = &job.spec else { return plan };
    let old = job.status.clone().unwrap_or_default();
    let mut new = old.clone();
    // What an earlier reconciliation released and did not come to count.
    let tracked: BTreeSet<&str> = pods
        .iter()
        .filter(|pod| memory.is_tracked(pod))
        .map(|pod| uid(&pod.metadata))
        .collect();
    settle(&mut new, &tracked);
    let state = JobState::new(job, spec, &new, pods, memory, now);
    plan.backoff = memory.backoff.with(&state.new_succeeded, &state.new_failed);
    if !state.is_suspended() && new.start_time.is_none() {
        new.start_time = Some(on_wire(now));
    }
    let mut outcome = outcome(&state, &new, &mut plan);
    if outcome.is_some() {
        plan.stop = state.active.iter().map(|pod| Arc::clone(pod)).collect();
        // Pods may exist that the cache does not show yet.
        outcome = outcome.filter(|_| memory.is_current);
    } else {
        // The counts are those after the plan, so that the status does not waver while the cache
        // lags behind.
        if job.metadata.deletion_timestamp.is_none() {
            plan.may_act = memory.is_current;
            manage(&state, &mut plan);
        }
        if is_complete(&state, &plan) {
            let message = "Reached expected number of succeeded pods";
            outcome = Some(JobOutcome::success("CompletionsReached", message));
        } else if plan.may_act {
            suspend_or_resume(&state, &mut new, &mut plan);
        }
    }
    let terminating = write_counts(&state, &plan, &mut new);
    let counted = count(&state, outcome.as_ref(), &mut new);
    if let Some(outcome) = &outcome {
        outcome.announce(&mut new, now);
    }
    plan.release = counted.release;
    let released: BTreeSet<&str> = plan.release.iter().map(|pod| uid(&pod.metadata)).collect();
    plan.held = tracked
        .difference(&released)
        .map(ToString::to_string)
        .collect();
    plan.ending = outcome.filter(|_| terminating == 0 && !counted.more);
    plan.recorded = (new != old).then_some(new);
    plan
}

impl JobPlan {
    /// The status to write first. `acted` is false when pods could not be created.
    pub(super) fn recorded(&self, acted: bool) -> Option<JobStatus> {
        let mut status = self.recorded.clone()?;
        if !acted {
            let active = status.active.unwrap_or_default() - to_i32(self.create.len());
            status.active = Some(active).filter(|active| *active > 0);
            let active = status.active.unwrap_or_default();
            status.ready = status.ready.map(|ready| ready.min(active));
        }
        Some(status)
    }
}

/// The status after the pods of the plan were released; none when it stays as it is. `status` is
/// the present one.
pub(super) fn conclude(
    job: &Job,
    plan: &JobPlan,
    status: &JobStatus,
    now: Timestamp,
) -> (Option<JobStatus>, Vec<JobEvent>) {
    let mut new = status.clone();
    let held = plan.held.iter().map(String::as_str).collect();
    settle(&mut new, &held);
    let mut events = Vec::new();
    if let Some(outcome) = plan.ending.as_ref().filter(|_| all_settled(&new)) {
        outcome.declare(&mut new, now);
        events = ending_events(job, outcome, &new);
    }
    ((new != *status).then_some(new), events)
}

fn ending_events(job: &Job, outcome: &JobOutcome, status: &JobStatus) -> Vec<JobEvent> {
    if outcome.failed {
        return vec![(
            EventType::Warning,
            static_reason(&outcome.reason),
            outcome.message.clone(),
        )];
    }
    let mut events = Vec::new();
    let wanted = job.spec.as_ref().and_then(|spec| spec.completions);
    if wanted.is_some_and(|wanted| status.succeeded.unwrap_or_default() > wanted) {
        let message = "Too many succeeded pods running after completion count reached";
        events.push((
            EventType::Warning,
            "TooManySucceededPods",
            message.to_owned(),
        ));
    }
    events.push((EventType::Normal, "Completed", "Job completed".to_owned()));
    events
}

/// The reasons of failed jobs. Another one can only come from a condition that somebody else wrote.
fn static_reason(reason: &str) -> &'static str {
    let known = [
        "PodFailurePolicy",
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "FailedIndexes",
        "MaxFailedIndexesExceeded",
    ];
    let mut known = known.into_iter();
    known.find(|known| *known == reason).unwrap_or("Failed")
}

/// How the job ends with the pods that it has; none while it goes on or may complete by number.
fn outcome(state: &JobState<'_>, status: &JobStatus, plan: &mut JobPlan) -> Option<JobOutcome> {
    if let Some(announced) = JobOutcome::announced(status) {
        return Some(announced);
    }
    failed_by_policy(state)
        .or_else(|| failed_by_limit(state, status, plan))
        .or_else(|| failed_by_index(state))
        .or_else(|| {
            let message = success::met(state.spec, &state.completed)?;
            Some(JobOutcome::success("SuccessPolicy", message))
        })
}

fn failed_by_policy(state: &JobState<'_>) -> Option<JobOutcome> {
    let mut failed = state.pods.iter().filter(|pod| has_failed(state.spec, pod));
    failed.find_map(|pod| match FailureAction::of(state.spec, pod) {
        FailureAction::FailJob(message) => Some(JobOutcome::failure("PodFailurePolicy", message)),
        _ => None,
    })
}

fn failed_by_limit(
    state: &JobState<'_>,
    status: &JobStatus,
    plan: &mut JobPlan,
) -> Option<JobOutcome> {
    let limit = state.spec.backoff_limit.unwrap_or(6);
    if state.failed > limit || restarts_exceed(state, limit) {
        let message = "Job has reached the specified backoff limit";
        return Some(JobOutcome::failure("BackoffLimitExceeded", message));
    }
    let seconds = state.spec.active_deadline_seconds?;
    let start = status.start_time.as_ref()?.0;
    if state.is_suspended() {
        return None;
    }
    let deadline = after_seconds(start, seconds);
    if deadline <= state.now {
        let message = "Job was active longer than specified deadline";
        return Some(JobOutcome::failure("DeadlineExceeded", message));
    }
    plan.recheck = Some(deadline);
    None
}

/// True when the containers of running pods were restarted too often (`restartPolicy: OnFailure`).
fn restarts_exceed(state: &JobState<'_>, limit: i32) -> bool {
    let spec = state.spec.template.spec.as_ref();
    if spec.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let restarts = state
        .pods
        .iter()
        .filter(|pod| matches!(phase(pod), "Running" | "Pending"))
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| {
            let inits = status.init_container_statuses.iter().flatten();
            inits.chain(status.container_statuses.iter().flatten())
        })
        .fold(0_i32, |sum, status| {
            sum.saturating_add(status.restart_count)
        });
    if limit == 0 {
        restarts > 0
    } else {
        restarts >= limit
    }
}

fn failed_by_index(state: &JobState<'_>) -> Option<JobOutcome> {
    let failed = state.failed_indexes.as_ref()?.total();
    if state
        .spec
        .max_failed_indexes
        .is_some_and(|most| failed > most)
    {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(JobOutcome::failure("MaxFailedIndexesExceeded", message));
    }
    let all = state.spec.completions.unwrap_or_default();
    let ended = failed.saturating_add(state.completed.total());
    (failed > 0 && ended >= all)
        .then(|| JobOutcome::failure("FailedIndexes", "Job has failed indexes"))
}

/// The active pods once the plan is carried out.
fn active_after(state: &JobState<'_>, plan: &JobPlan) -> usize {
    state.active.len() + plan.create.len() - plan.stop.len() - plan.discard.len()
}

fn is_complete(state: &JobState<'_>, plan: &JobPlan) -> bool {
    let enough = match state.spec.completions {
        Some(wanted) => state.succeeded >= wanted,
        None => state.succeeded > 0,
    };
    enough && active_after(state, plan) == 0
}

fn suspend_or_resume(state: &JobState<'_>, status: &mut JobStatus, plan: &mut JobPlan) {
    let now = state.now;
    if state.is_suspended() {
        if set(
            status,
            "Suspended",
            "True",
            "JobSuspended",
            "Job suspended",
            now,
        ) {
            plan.events
                .push((EventType::Normal, "Suspended", "Job suspended".to_owned()));
        }
        status.start_time = None;
    } else if set(
        status,
        "Suspended",
        "False",
        "JobResumed",
        "Job resumed",
        now,
    ) {
        // The deadline counts the time since the job was resumed.
        status.start_time = Some(on_wire(now));
        plan.events
            .push((EventType::Normal, "Resumed", "Job resumed".to_owned()));
    }
}

/// Writes the counts of running pods. Returns how many pods are about to go.
fn write_counts(state: &JobState<'_>, plan: &JobPlan, status: &mut JobStatus) -> i32 {
    let leaving: BTreeSet<&str> = plan
        .stop
        .iter()
        .chain(&plan.discard)
        .map(|pod| uid(&pod.metadata))
        .collect();
    let active = to_i32(active_after(state, plan));
    status.active = Some(active).filter(|active| *active > 0);
    let ready = state
        .active
        .iter()
        .filter(|pod| is_ready(pod) && !leaving.contains(uid(&pod.metadata)))
        .count();
    status.ready = Some(to_i32(ready));
    let terminating = to_i32(state.terminating().count() + leaving.len());
    status.terminating = Some(terminating);
    terminating
}

/// Creates missing pods or deletes surplus ones.
fn manage(state: &JobState<'_>, plan: &mut JobPlan) {
    let active = to_i32(state.active.len());
    let wanted = match state.spec.completions {
        _ if state.is_suspended() => 0,
        // One success is enough, and what runs may end.
        None if state.succeeded > 0 => active,
        None => state.spec.parallelism.unwrap_or(1).max(0),
        Some(completions) => completions
            .saturating_sub(state.succeeded)
            .clamp(0, state.spec.parallelism.unwrap_or(1).max(0)),
    };
    plan.discard = surplus(state, usize::try_from(active - wanted).unwrap_or_default());
    if !plan.discard.is_empty() || state.is_suspended() {
        return;
    }
    let held = if replaces_ended(state.spec) {
        to_i32(state.terminating().count())
    } else {
        0
    };
    let missing = usize::try_from(wanted - active - held)
        .unwrap_or_default()
        .min(BURST);
    if missing == 0 {
        return;
    }
    if state.failed_indexes.is_none()
        && let Some(at) = plan.backoff.pause_until().filter(|at| *at > state.now)
    {
        recheck(plan, at);
        return;
    }
    if state.is_indexed {
        create_indexes(state, missing, plan);
    } else {
        plan.create = vec![make(state.job, state.spec); missing];
    }
}

fn recheck(plan: &mut JobPlan, at: Timestamp) {
    plan.recheck = Some(plan.recheck.map_or(at, |known| known.min(at)));
}

/// The pods that are too many: second pods of an index and those without a valid one, and then as
/// many of the others as it takes.
fn surplus(state: &JobState<'_>, at_least: usize) -> Vec<Arc<Pod>> {
    let (mut surplus, mut left) = (Vec::new(), Vec::new());
    if state.is_indexed {
        let mut by_index: BTreeMap<i32, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in &state.active {
            match index::of(pod).filter(|_| state.has_valid_index(pod)) {
                Some(index) => by_index.entry(index).or_default().push(Arc::clone(pod)),
                None => surplus.push(Arc::clone(pod)),
            }
        }
        for pods in by_index.into_values() {
            let extra = victims(&pods, &[], pods.len() - 1, state.now);
            let is_extra = |pod: &Arc<Pod>| extra.iter().any(|one| Arc::ptr_eq(one, pod));
            left.extend(pods.iter().filter(|pod| !is_extra(pod)).map(Arc::clone));
            surplus.extend(extra);
        }
    } else {
        left = state.active.iter().map(|pod| Arc::clone(pod)).collect();
    }
    let more = at_least.saturating_sub(surplus.len());
    surplus.extend(victims(&left, &[], more, state.now));
    if !state.is_suspended() {
        surplus.truncate(BURST);
    }
    surplus
}

/// Creates pods for the first indexes that lack one. With a limit per index, each index waits for
/// its own pause.
fn create_indexes(state: &JobState<'_>, missing: usize, plan: &mut JobPlan) {
    let mut taken = state.completed.clone();
    taken.extend(state.active.iter().filter_map(|pod| index::of(pod)));
    if replaces_ended(state.spec) {
        taken.extend(state.terminating().filter_map(|pod| index::of(pod)));
    }
    // The number of completions bounds what is looked at, so failed indexes are skipped one by one.
    let limit = state.spec.completions.unwrap_or_default();
    let is_lost = |index: i32| {
        let failed = state.failed_indexes.as_ref();
        failed.is_some_and(|failed| failed.contains(index))
    };
    let lost = state.failed_indexes.as_ref().map_or(0, |set| set.total());
    let room = missing + usize::try_from(lost).unwrap_or_default();
    let free = taken.missing(limit, room).into_iter();
    let mut next: Option<Timestamp> = None;
    for index in free.filter(|index| !is_lost(*index)).take(missing) {
        let replaced = state.to_replace.get(&index);
        let pause = replaced.map(|pod| pause_of_index(pod));
        if let Some(at) = pause.filter(|at| *at > state.now) {
            next = Some(next.map_or(at, |known| known.min(at)));
            continue;
        }
        let failures = carried_failures(state.spec, replaced.map(|pod| &***pod));
        plan.create
            .push(make_indexed(state.job, state.spec, index, failures));
    }
    if let Some(at) = next {
        recheck(plan, at);
    }
}

#[cfg(test)]
mod tests;
