//! Decides what a job does next, once its terminated pods have been counted. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use events::EventType;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::JobEvent;
use super::index::{self, INDEX};
use crate::meta::{after_seconds, controlled_by, has_finalizer, on_wire};
use crate::podcontrol::{BURST, from_template};
use crate::pods::{is_active, is_finished, is_ready, is_terminating};

/// The finalizer of pods that have not been counted.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The pause after the first failure, and the longest pause.
const FIRST_PAUSE_SECONDS: i64 = 10;
const LONGEST_PAUSE_SECONDS: i64 = 600;

/// Failures since the last success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PodBackoff {
    in_a_row: u32,
    last: Option<Timestamp>,
}

impl PodBackoff {
    pub(super) fn record(&mut self, succeeded: usize, failed: usize, now: Timestamp) {
        if succeeded > 0 {
            *self = Self::default();
        }
        if failed > 0 {
            self.in_a_row = self
                .in_a_row
                .saturating_add(u32::try_from(failed).unwrap_or(u32::MAX));
            self.last = Some(now);
        }
    }

    /// No pod is created before this time.
    fn pause_until(&self) -> Option<Timestamp> {
        let doublings = self.in_a_row.checked_sub(1)?.min(16);
        Some(after_seconds(
            self.last?,
            (FIRST_PAUSE_SECONDS << doublings).min(LONGEST_PAUSE_SECONDS),
        ))
    }
}

pub(super) fn is_tracked(pod: &Pod) -> bool {
    has_finalizer(&pod.metadata, TRACKING)
}

pub(super) fn has(job: &Job, ty: &str) -> bool {
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == ty && condition.status == "True")
}

/// True when the job has completed or failed.
pub(super) fn is_over(job: &Job) -> bool {
    has(job, "Complete") || has(job, "Failed")
}

/// When a finished job is to be deleted; none when it is kept.
pub(super) fn expires(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let ended = conditions.iter().find(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    })?;
    Some(after_seconds(
        ended.last_transition_time.as_ref()?.0,
        i64::from(seconds),
    ))
}

pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// True when a terminating pod is replaced only after it has ended.
pub(super) fn replaces_ended(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed")
        || (spec.pod_replacement_policy.is_none() && spec.pod_failure_policy.is_some())
}

/// What to do now.
#[derive(Debug)]
pub(super) struct JobPlan {
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// None when the present status is right.
    pub(super) status: Option<JobStatus>,
    pub(super) events: Vec<JobEvent>,
    pub(super) recheck: Option<Timestamp>,
}

struct JobState<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    active: Vec<&'a Arc<Pod>>,
    terminating: i32,
    succeeded: i32,
    failed: i32,
    completed_indexes: BTreeSet<i32>,
    failed_indexes: BTreeSet<i32>,
    now: Timestamp,
}

/// Makes the plan, after all terminated pods have been counted.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], failures: &PodBackoff, now: Timestamp) -> JobPlan {
    let mut plan = JobPlan {
        create: Vec::new(),
        delete: Vec::new(),
        status: None,
        events: Vec::new(),
        recheck: None,
    };
    let Some(spec) = &job.spec else { return plan };
    let old = job.status.clone().unwrap_or_default();
    let view = JobState {
        job,
        spec,
        active: pods.iter().filter(|pod| is_active(pod)).collect(),
        terminating: to_i32(
            pods.iter()
                .filter(|pod| is_terminating(pod) && !is_finished(pod))
                .count(),
        ),
        succeeded: old.succeeded.unwrap_or_default(),
        failed: old.failed.unwrap_or_default(),
        completed_indexes: index::parse(old.completed_indexes.as_deref().unwrap_or_default()),
        failed_indexes: index::parse(old.failed_indexes.as_deref().unwrap_or_default()),
        now,
    };
    let mut new = old.clone();
    let suspended = spec.suspend == Some(true);
    if !suspended && new.start_time.is_none() {
        new.start_time = Some(on_wire(now));
    }
    if let Some((reason, message)) = failure(&view, &new) {
        end(
            &view,
            &mut new,
            ("FailureTarget", "Failed"),
            reason,
            &message,
            &mut plan,
        );
    } else if has_succeeded(&view) {
        end(
            &view,
            &mut new,
            ("SuccessCriteriaMet", "Complete"),
            "CompletionsReached",
            "Reached expected number of succeeded pods",
            &mut plan,
        );
    } else if suspended {
        suspend(&view, &mut new, &mut plan);
    } else {
        resume(&mut new, now, &mut plan);
        manage(&view, failures, &mut plan);
    }
    if let Some(seconds) = spec.active_deadline_seconds
        && let Some(start) = &new.start_time
        && !suspended
    {
        let deadline = after_seconds(start.0, seconds);
        plan.recheck = Some(plan.recheck.map_or(deadline, |known| known.min(deadline)));
    }
    write_counts(&view, &mut new, &plan);
    plan.status = (new != old).then_some(new);
    plan
}

pub(super) fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn write_counts(view: &JobState<'_>, status: &mut JobStatus, plan: &JobPlan) {
    let leaving = to_i32(plan.delete.len());
    let active = to_i32(view.active.len()) - leaving + to_i32(plan.create.len());
    status.active = Some(active).filter(|active| *active > 0);
    let stays = |pod: &&&Arc<Pod>| !plan.delete.iter().any(|gone| Arc::ptr_eq(gone, pod));
    status.ready = Some(to_i32(
        view.active
            .iter()
            .filter(stays)
            .filter(|pod| is_ready(pod))
            .count(),
    ));
    status.terminating = Some(view.terminating);
    status.uncounted_terminated_pods.get_or_insert_default();
    if is_indexed(view.spec) {
        status.completed_indexes.get_or_insert_default();
        if view.spec.backoff_limit_per_index.is_some() {
            status.failed_indexes.get_or_insert_default();
        }
    }
}

/// Why the job can no longer complete; none while it can.
fn failure(view: &JobState<'_>, status: &JobStatus) -> Option<(&'static str, String)> {
    let reported = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "FailureTarget" && condition.status == "True");
    if let Some(reported) = reported {
        let known = [
            "PodFailurePolicy",
            "BackoffLimitExceeded",
            "DeadlineExceeded",
            "FailedIndexes",
            "MaxFailedIndexesExceeded",
        ];
        let reason = known
            .into_iter()
            .find(|known| reported.reason.as_deref() == Some(known))
            .unwrap_or("Failed");
        return Some((reason, reported.message.clone().unwrap_or_default()));
    }
    let restarts: i32 = view.active.iter().map(|pod| restarts(pod)).sum();
    let on_failure = view
        .spec
        .template
        .spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref())
        == Some("OnFailure");
    let limit = view.spec.backoff_limit.unwrap_or(6);
    if view.failed > limit || (on_failure && restarts > 0 && restarts >= limit.max(1)) {
        return Some((
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit".to_owned(),
        ));
    }
    let start = status.start_time.as_ref().map(|time| time.0);
    if let (Some(seconds), Some(start)) = (view.spec.active_deadline_seconds, start)
        && view.spec.suspend != Some(true)
        && after_seconds(start, seconds) <= view.now
    {
        return Some((
            "DeadlineExceeded",
            "Job was active longer than specified deadline".to_owned(),
        ));
    }
    let failed_indexes = to_i32(view.failed_indexes.len());
    if view
        .spec
        .max_failed_indexes
        .is_some_and(|most| failed_indexes > most)
    {
        return Some((
            "MaxFailedIndexesExceeded",
            "Job has exceeded the specified maximal number of failed indexes".to_owned(),
        ));
    }
    let all = view.spec.completions.unwrap_or_default();
    if failed_indexes > 0 && failed_indexes + to_i32(view.completed_indexes.len()) >= all {
        return Some(("FailedIndexes", "Job has failed indexes".to_owned()));
    }
    None
}

fn restarts(pod: &Pod) -> i32 {
    pod.status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .map(|status| status.restart_count)
        .sum()
}

fn has_succeeded(view: &JobState<'_>) -> bool {
    match view.spec.completions {
        Some(wanted) => view.succeeded >= wanted,
        None => view.succeeded > 0 && view.active.is_empty(),
    }
}

/// Announces the end of the job, deletes its pods, and declares the end when they are gone.
fn end(
    view: &JobState<'_>,
    status: &mut JobStatus,
    (announced, ended): (&str, &str),
    reason: &'static str,
    message: &str,
    plan: &mut JobPlan,
) {
    set(status, announced, "True", reason, message, Some(view.now));
    plan.delete
        .extend(view.active.iter().map(|pod| Arc::clone(pod)));
    if !view.active.is_empty() || view.terminating > 0 {
        return;
    }
    set(status, ended, "True", reason, message, Some(view.now));
    if ended == "Complete" {
        status.completion_time = Some(on_wire(view.now));
        plan.events
            .push((EventType::Normal, "Completed", "Job completed".to_owned()));
    } else {
        plan.events
            .push((EventType::Warning, reason, message.to_owned()));
    }
}

fn suspend(view: &JobState<'_>, status: &mut JobStatus, plan: &mut JobPlan) {
    plan.delete
        .extend(view.active.iter().map(|pod| Arc::clone(pod)));
    if set(
        status,
        "Suspended",
        "True",
        "JobSuspended",
        "Job suspended",
        Some(view.now),
    ) {
        plan.events
            .push((EventType::Normal, "Suspended", "Job suspended".to_owned()));
    }
    status.start_time = None;
}

fn resume(status: &mut JobStatus, now: Timestamp, plan: &mut JobPlan) {
    let suspended = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Suspended" && condition.status == "True");
    if suspended
        && set(
            status,
            "Suspended",
            "False",
            "JobResumed",
            "Job resumed",
            Some(now),
        )
    {
        status.start_time = Some(on_wire(now));
        plan.events
            .push((EventType::Normal, "Resumed", "Job resumed".to_owned()));
    }
}

/// Creates missing pods and deletes surplus ones.
fn manage(view: &JobState<'_>, failures: &PodBackoff, plan: &mut JobPlan) {
    let parallelism = view.spec.parallelism.unwrap_or(1).max(0);
    let active = to_i32(view.active.len());
    let wanted = match view.spec.completions {
        None if view.succeeded > 0 => active,
        None => parallelism,
        Some(completions) => (completions - view.succeeded - to_i32(view.failed_indexes.len()))
            .min(parallelism)
            .max(0),
    };
    if active > wanted {
        let mut surplus = view.active.clone();
        surplus.sort_by_key(|pod| {
            (
                is_ready(pod),
                pod.metadata
                    .creation_timestamp
                    .as_ref()
                    .map(|time| std::cmp::Reverse(time.0)),
            )
        });
        plan.delete.extend(
            surplus
                .into_iter()
                .take(usize::try_from(active - wanted).unwrap_or_default())
                .map(Arc::clone),
        );
        return;
    }
    let held = if replaces_ended(view.spec) {
        view.terminating
    } else {
        0
    };
    let missing = usize::try_from(wanted - active - held)
        .unwrap_or_default()
        .min(BURST);
    if missing == 0 {
        return;
    }
    if let Some(at) = failures.pause_until().filter(|at| *at > view.now) {
        plan.recheck = Some(at);
        return;
    }
    plan.create = if is_indexed(view.spec) {
        make_indexed(view, missing)
    } else {
        vec![make(view.job, view.spec, None); missing]
    };
}

fn make_indexed(view: &JobState<'_>, missing: usize) -> Vec<Pod> {
    let taken: BTreeSet<i32> = view
        .active
        .iter()
        .filter_map(|pod| index::of(pod))
        .collect();
    let free = (0..view.spec.completions.unwrap_or_default()).filter(|index| {
        !taken.contains(index)
            && !view.completed_indexes.contains(index)
            && !view.failed_indexes.contains(index)
    });
    free.take(missing)
        .map(|index| make(view.job, view.spec, Some(index)))
        .collect()
}

fn make(job: &Job, spec: &JobSpec, index: Option<i32>) -> Pod {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let mut pod = from_template(
        &spec.template,
        job.metadata.namespace.as_deref().unwrap_or_default(),
        name,
        controlled_by(job),
    );
    pod.metadata
        .finalizers
        .get_or_insert_default()
        .push(TRACKING.to_owned());
    let Some(index) = index else { return pod };
    pod.metadata.generate_name = Some(format!("{name}-{index}-"));
    pod.metadata
        .labels
        .get_or_insert_default()
        .insert(INDEX.to_owned(), index.to_string());
    let annotations: &mut BTreeMap<String, String> =
        pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.to_owned(), index.to_string());
    if spec.backoff_limit_per_index.is_some() {
        annotations.insert(FAILURES.to_owned(), "0".to_owned());
    }
    let inside = pod.spec.get_or_insert_default();
    inside.hostname = Some(format!("{name}-{index}"));
    for container in inside
        .containers
        .iter_mut()
        .chain(inside.init_containers.iter_mut().flatten())
    {
        let known = container
            .env
            .iter()
            .flatten()
            .any(|variable| variable.name == "JOB_COMPLETION_INDEX");
        if !known {
            container.env.get_or_insert_default().push(index_variable());
        }
    }
    pod
}

fn index_variable() -> EnvVar {
    let field = ObjectFieldSelector {
        api_version: None,
        field_path: format!("metadata.labels['{INDEX}']"),
    };
    EnvVar {
        name: "JOB_COMPLETION_INDEX".to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(field),
            ..EnvVarSource::default()
        }),
    }
}

/// Sets a condition. Returns true when its status changes. Without `now` it has no times.
pub(super) fn set(
    status: &mut JobStatus,
    ty: &str,
    value: &str,
    reason: &str,
    message: &str,
    now: Option<Timestamp>,
) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions
        .iter()
        .position(|condition| condition.type_ == ty);
    if known.is_some_and(|at| conditions[at].status == value) {
        return false;
    }
    let condition = JobCondition {
        type_: ty.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: now.map(on_wire),
        last_transition_time: now.map(on_wire),
    };
    match known {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    true
}

#[cfg(test)]
mod tests;
