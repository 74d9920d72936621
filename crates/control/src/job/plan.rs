//! What counts, and what comes next. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use events::EventType;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{
    Job, JobCondition, JobSpec, JobStatus, PodFailurePolicyRule, UncountedTerminatedPods,
};
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::Event;
use super::index::{self, INDEX};
use crate::meta::{after_seconds, annotation, controlled_by, on_wire, uid};
use crate::podcontrol::{BURST, from_template};
use crate::pods::{is_active, is_finished, is_ready, is_terminating, phase};

/// The finalizer that holds a pod until it is counted.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The pause after the first failure, and the longest.
const FIRST_PAUSE_SECONDS: i64 = 10;
const LONGEST_PAUSE_SECONDS: i64 = 600;
/// So many pods are counted in one go.
const TOGETHER: usize = 500;

/// Failures since the last success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    in_a_row: u32,
    last: Option<Timestamp>,
}

impl Failures {
    pub(super) fn note(&mut self, succeeded: usize, failed: usize, now: Timestamp) {
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

    /// Before this time no pod is made.
    fn pause_until(&self) -> Option<Timestamp> {
        let doublings = self.in_a_row.checked_sub(1)?.min(16);
        Some(after_seconds(
            self.last?,
            (FIRST_PAUSE_SECONDS << doublings).min(LONGEST_PAUSE_SECONDS),
        ))
    }
}

pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata
        .finalizers
        .iter()
        .flatten()
        .any(|finalizer| finalizer == TRACKING)
}

fn has(job: &Job, ty: &str) -> bool {
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == ty && condition.status == "True")
}

/// It has completed or failed.
pub(super) fn is_over(job: &Job) -> bool {
    has(job, "Complete") || has(job, "Failed")
}

/// When a job that is over is to be deleted.
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

fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// A pod that is being deleted is replaced only when it has ended.
fn replaces_ended(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed")
        || (spec.pod_replacement_policy.is_none() && spec.pod_failure_policy.is_some())
}

fn counts_as_failed(spec: &JobSpec, pod: &Pod) -> bool {
    phase(pod) == "Failed"
        || (is_terminating(pod) && phase(pod) != "Succeeded" && !replaces_ended(spec))
}

/// The first half of counting.
#[derive(Debug)]
pub(super) struct Counted {
    /// The status that notes the uids; none when they are noted already.
    pub(super) noted: Option<JobStatus>,
    /// Uids of pods that are no longer held.
    pub(super) release: BTreeSet<String>,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
}

/// What has ended and is not counted; none when everything is.
pub(super) fn count(job: &Job, pods: &[Arc<Pod>]) -> Option<Counted> {
    let spec = job.spec.as_ref()?;
    let old = job.status.clone().unwrap_or_default();
    let mut waiting = old.uncounted_terminated_pods.clone().unwrap_or_default();
    let noted_before: BTreeSet<String> = waiting
        .succeeded
        .iter()
        .flatten()
        .chain(waiting.failed.iter().flatten())
        .cloned()
        .collect();
    let mut counted = Counted {
        noted: None,
        release: noted_before.clone(),
        succeeded: 0,
        failed: 0,
    };
    let mut done = index::parse(old.completed_indexes.as_deref().unwrap_or_default());
    let mut lost = index::parse(old.failed_indexes.as_deref().unwrap_or_default());
    for pod in pods
        .iter()
        .filter(|pod| is_tracked(pod) && !noted_before.contains(uid(&pod.metadata)))
        .take(TOGETHER)
    {
        let id = uid(&pod.metadata).to_owned();
        if phase(pod) == "Succeeded" {
            let index = index::of(pod);
            let fits = !is_indexed(spec)
                || index.is_some_and(|index| {
                    index < spec.completions.unwrap_or_default() && done.insert(index)
                });
            if fits {
                waiting.succeeded.get_or_insert_default().push(id.clone());
                counted.succeeded += 1;
            }
            counted.release.insert(id);
        } else if counts_as_failed(spec, pod) {
            match judge(spec, pod) {
                Verdict::Ignore => {}
                // Whether the job goes on is decided from the condition that this leaves; the pod
                // counts all the same.
                Verdict::Count | Verdict::FailJob(_) | Verdict::FailIndex => {
                    waiting.failed.get_or_insert_default().push(id.clone());
                    counted.failed += 1;
                }
            }
            if let (Some(limit), Some(index)) = (spec.backoff_limit_per_index, index::of(pod)) {
                let failures = annotation(&pod.metadata, FAILURES)
                    .and_then(|text| text.parse::<i32>().ok())
                    .unwrap_or_default();
                if failures >= limit || judge(spec, pod) == Verdict::FailIndex {
                    lost.insert(index);
                }
            }
            counted.release.insert(id);
        }
    }
    if counted.release.is_empty() {
        return None;
    }
    let mut new = JobStatus {
        uncounted_terminated_pods: Some(waiting),
        ..old.clone()
    };
    if is_indexed(spec) {
        new.completed_indexes = Some(index::render(&done));
        if spec.backoff_limit_per_index.is_some() {
            new.failed_indexes = Some(index::render(&lost));
        }
    }
    if let Some(message) = pods
        .iter()
        .filter(|pod| counts_as_failed(spec, pod))
        .find_map(|pod| match judge(spec, pod) {
            Verdict::FailJob(message) => Some(message),
            _ => None,
        })
        && !has(job, "FailureTarget")
    {
        set(
            &mut new,
            "FailureTarget",
            "True",
            "PodFailurePolicy",
            &message,
            None,
        );
    }
    counted.noted = (new != old).then_some(new);
    Some(counted)
}

/// The second half: the uids become numbers, and what still runs is told with them.
pub(super) fn settle(status: Option<&JobStatus>, pods: &[Arc<Pod>]) -> JobStatus {
    let mut status = status.cloned().unwrap_or_default();
    let count =
        |wanted: &dyn Fn(&Pod) -> bool| to_i32(pods.iter().filter(|pod| wanted(pod)).count());
    status.active = Some(count(&is_active)).filter(|active| *active > 0);
    status.ready = Some(count(&|pod| is_active(pod) && is_ready(pod)));
    status.terminating = Some(count(&|pod| is_terminating(pod) && !is_finished(pod)));
    let waiting = status.uncounted_terminated_pods.take().unwrap_or_default();
    let add = |count: Option<i32>, uids: Option<Vec<String>>| {
        let sum = count.unwrap_or_default()
            + i32::try_from(uids.map_or(0, |uids| uids.len())).unwrap_or_default();
        Some(sum).filter(|sum| *sum != 0)
    };
    status.succeeded = add(status.succeeded, waiting.succeeded);
    status.failed = add(status.failed, waiting.failed);
    status.uncounted_terminated_pods = Some(UncountedTerminatedPods::default());
    status
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Count,
    Ignore,
    FailIndex,
    FailJob(String),
}

/// What the failure policy says about a failed pod.
fn judge(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec
        .pod_failure_policy
        .as_ref()
        .map(|policy| policy.rules.as_slice())
        .unwrap_or_default();
    for (number, rule) in rules.iter().enumerate() {
        if phase(pod) == "Failed"
            && let Some(message) = matching(rule, number, pod)
        {
            return match rule.action.as_str() {
                "Ignore" => Verdict::Ignore,
                "FailIndex" => Verdict::FailIndex,
                "FailJob" => Verdict::FailJob(message),
                _ => Verdict::Count,
            };
        }
    }
    Verdict::Count
}

fn matching(rule: &PodFailurePolicyRule, number: usize, pod: &Pod) -> Option<String> {
    let who = format!("{}/{}", crate::pods::namespace(pod), crate::pods::name(pod));
    let end = format!("matching {} rule at index {number}", rule.action);
    if let Some(wanted) = &rule.on_exit_codes {
        let statuses = pod.status.iter().flat_map(|status| {
            status
                .container_statuses
                .iter()
                .flatten()
                .chain(status.init_container_statuses.iter().flatten())
        });
        let mut exits = statuses
            .filter(|status| {
                wanted
                    .container_name
                    .as_ref()
                    .is_none_or(|name| *name == status.name)
            })
            .filter_map(|status| {
                let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
                Some((status.name.as_str(), code))
            });
        let listed = |code: i32| wanted.values.contains(&code);
        let (name, code) =
            exits.find(|(_, code)| *code != 0 && listed(*code) == (wanted.operator == "In"))?;
        return Some(format!(
            "Container {name} for pod {who} failed with exit code {code} {end}"
        ));
    }
    let wanted = rule.on_pod_conditions.iter().flatten();
    let conditions = || {
        pod.status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
    };
    wanted
        .filter(|wanted| {
            conditions().any(|known| {
                known.type_ == wanted.type_
                    && known.status == wanted.status.as_deref().unwrap_or("True")
            })
        })
        .map(|wanted| format!("Pod {who} has condition {} {end}", wanted.type_))
        .next()
}

/// What to do now.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// None when the present status is right.
    pub(super) status: Option<JobStatus>,
    pub(super) events: Vec<Event>,
    pub(super) recheck: Option<Timestamp>,
}

struct View<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    active: Vec<&'a Arc<Pod>>,
    terminating: i32,
    succeeded: i32,
    failed: i32,
    done: BTreeSet<i32>,
    lost: BTreeSet<i32>,
    now: Timestamp,
}

/// Decides, once everything that has ended is counted.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], failures: &Failures, now: Timestamp) -> Plan {
    let mut plan = Plan {
        create: Vec::new(),
        delete: Vec::new(),
        status: None,
        events: Vec::new(),
        recheck: None,
    };
    let Some(spec) = &job.spec else { return plan };
    let old = job.status.clone().unwrap_or_default();
    let view = View {
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
        done: index::parse(old.completed_indexes.as_deref().unwrap_or_default()),
        lost: index::parse(old.failed_indexes.as_deref().unwrap_or_default()),
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
    tell(&view, &mut new, &plan);
    plan.status = (new != old).then_some(new);
    plan
}

fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn tell(view: &View<'_>, status: &mut JobStatus, plan: &Plan) {
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

/// Why the job cannot be completed any more.
fn failure(view: &View<'_>, status: &JobStatus) -> Option<(&'static str, String)> {
    let told = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "FailureTarget" && condition.status == "True");
    if let Some(told) = told {
        let known = [
            "PodFailurePolicy",
            "BackoffLimitExceeded",
            "DeadlineExceeded",
            "FailedIndexes",
            "MaxFailedIndexesExceeded",
        ];
        let reason = known
            .into_iter()
            .find(|known| told.reason.as_deref() == Some(known))
            .unwrap_or("Failed");
        return Some((reason, told.message.clone().unwrap_or_default()));
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
    let lost = to_i32(view.lost.len());
    if view.spec.max_failed_indexes.is_some_and(|most| lost > most) {
        return Some((
            "MaxFailedIndexesExceeded",
            "Job has exceeded the specified maximal number of failed indexes".to_owned(),
        ));
    }
    let all = view.spec.completions.unwrap_or_default();
    if lost > 0 && lost + to_i32(view.done.len()) >= all {
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

fn has_succeeded(view: &View<'_>) -> bool {
    match view.spec.completions {
        Some(wanted) => view.succeeded >= wanted,
        None => view.succeeded > 0 && view.active.is_empty(),
    }
}

/// Says that the job will end, stops its pods, and says that it has ended when they have.
fn end(
    view: &View<'_>,
    status: &mut JobStatus,
    (announced, ended): (&str, &str),
    reason: &'static str,
    message: &str,
    plan: &mut Plan,
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

fn suspend(view: &View<'_>, status: &mut JobStatus, plan: &mut Plan) {
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

fn resume(status: &mut JobStatus, now: Timestamp, plan: &mut Plan) {
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

/// Makes the pods that are missing and deletes those that are too many.
fn manage(view: &View<'_>, failures: &Failures, plan: &mut Plan) {
    let parallelism = view.spec.parallelism.unwrap_or(1).max(0);
    let active = to_i32(view.active.len());
    let wanted = match view.spec.completions {
        None if view.succeeded > 0 => active,
        None => parallelism,
        Some(completions) => (completions - view.succeeded - to_i32(view.lost.len()))
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

fn make_indexed(view: &View<'_>, missing: usize) -> Vec<Pod> {
    let taken: BTreeSet<i32> = view
        .active
        .iter()
        .filter_map(|pod| index::of(pod))
        .collect();
    let free = (0..view.spec.completions.unwrap_or_default()).filter(|index| {
        !taken.contains(index) && !view.done.contains(index) && !view.lost.contains(index)
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
    let notes: &mut BTreeMap<String, String> = pod.metadata.annotations.get_or_insert_default();
    notes.insert(INDEX.to_owned(), index.to_string());
    if spec.backoff_limit_per_index.is_some() {
        notes.insert(FAILURES.to_owned(), "0".to_owned());
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

/// Sets a condition; true when it says something new. Without a time it is told at the next pass.
fn set(
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
