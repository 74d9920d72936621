//! Decides which jobs of a CronJob are created and deleted, and when to reconcile again. Pure.

use std::sync::Arc;

use events::EventType;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kinds::schedule::{self, Schedule};

use crate::meta::{after_seconds, controlled_by, on_wire, uid};

/// The annotation that holds the scheduled time of a job.
const TIME: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed times than this are reported as a problem.
const MISSED_LIMIT: usize = 100;
/// Reconciling a little later than due avoids reconciling a little too early.
const MARGIN: SignedDuration = SignedDuration::from_millis(100);

type CronJobEvent = (EventType, &'static str, String);

/// What to do about a CronJob now.
#[derive(Default)]
pub(super) struct CronJobPlan {
    /// The job to create, and its scheduled time.
    pub(super) create: Option<(Box<Job>, Timestamp)>,
    pub(super) delete: Vec<Arc<Job>>,
    /// The new status, when it differs. [`note_start`] adds a created job to it.
    pub(super) status: Option<CronJobStatus>,
    pub(super) events: Vec<CronJobEvent>,
    /// When time alone will change something.
    pub(super) recheck: Option<Timestamp>,
}

/// The condition with which a job finished; none while it runs.
fn end(job: &Job) -> Option<&str> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let ended = |ty: &str| matches!(ty, "Complete" | "Failed");
    conditions
        .iter()
        .find(|condition| condition.status == "True" && ended(&condition.type_))
        .map(|condition| condition.type_.as_str())
}

fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// Makes the plan.
pub(super) fn plan(cron_job: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> CronJobPlan {
    let mut plan = CronJobPlan::default();
    let spec = &cron_job.spec;
    let before = cron_job.status.clone().unwrap_or_default();
    let mut status = before.clone();
    update_status(&mut status, jobs, &mut plan.events);
    trim_history(spec, jobs, &mut plan.delete);
    if cron_job.metadata.deletion_timestamp.is_none() && spec.suspend != Some(true) {
        match schedule_of(spec) {
            Ok((schedule, zone)) => start(
                cron_job,
                spec,
                &mut status,
                jobs,
                (&schedule, &zone),
                now,
                &mut plan,
            ),
            Err(event) => plan.events.push(event),
        }
    }
    if status != before {
        plan.status = Some(status);
    }
    plan
}

fn schedule_of(spec: &CronJobSpec) -> Result<(Schedule, TimeZone), CronJobEvent> {
    let zone = match spec.time_zone.as_deref() {
        None => TimeZone::UTC,
        Some(name) => schedule::time_zone(name).ok_or_else(|| {
            (
                EventType::Warning,
                "UnknownTimeZone",
                format!("invalid timeZone: {name:?}: unknown time zone {name}"),
            )
        })?,
    };
    let text = &spec.schedule;
    let broken = |fault| {
        (
            EventType::Warning,
            "UnparseableSchedule",
            format!("unparseable schedule: {text:?} : {fault}"),
        )
    };
    Ok((Schedule::parse(text).map_err(broken)?, zone))
}

/// Updates the list of active jobs and the time of the last success.
fn update_status(status: &mut CronJobStatus, jobs: &[Arc<Job>], events: &mut Vec<CronJobEvent>) {
    let mut active = status.active.take().unwrap_or_default();
    active.retain(|reference| {
        let Some(job) = jobs.iter().find(|job| job.metadata.uid == reference.uid) else {
            let gone = reference.name.as_deref().unwrap_or_default();
            events.push((
                EventType::Normal,
                "MissingJob",
                format!("Active job went missing: {gone}"),
            ));
            return false;
        };
        if let Some(end) = end(job) {
            events.push((
                EventType::Normal,
                "SawCompletedJob",
                format!(
                    "Saw completed job: {}, condition: {end}",
                    name(&job.metadata)
                ),
            ));
        }
        end(job).is_none()
    });
    status.active = (!active.is_empty()).then_some(active);
    let completions = jobs.iter().filter(|job| end(job) == Some("Complete"));
    let latest = completions
        .filter_map(|job| job.status.as_ref()?.completion_time.clone())
        .max_by_key(|time| time.0);
    if let Some(latest) = latest
        && status
            .last_successful_time
            .as_ref()
            .is_none_or(|known| known.0 < latest.0)
    {
        status.last_successful_time = Some(latest);
    }
}

/// Deletes finished jobs beyond the history limits, oldest first.
fn trim_history(spec: &CronJobSpec, jobs: &[Arc<Job>], delete: &mut Vec<Arc<Job>>) {
    for (how, limit) in [
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ] {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else {
            continue;
        };
        let mut ended: Vec<&Arc<Job>> = jobs
            .iter()
            .filter(|job| end(job) == Some(how) && job.metadata.deletion_timestamp.is_none())
            .collect();
        let started = |job: &Job| {
            job.status
                .as_ref()
                .and_then(|status| status.start_time.as_ref())
                .map(|time| time.0)
        };
        ended.sort_by(|one, other| {
            (started(one), name(&one.metadata)).cmp(&(started(other), name(&other.metadata)))
        });
        let surplus = ended.len().saturating_sub(limit);
        delete.extend(ended.into_iter().take(surplus).cloned());
    }
}

fn start(
    cron_job: &CronJob,
    spec: &CronJobSpec,
    status: &mut CronJobStatus,
    jobs: &[Arc<Job>],
    (schedule, zone): (&Schedule, &TimeZone),
    now: Timestamp,
    plan: &mut CronJobPlan,
) {
    plan.recheck = schedule
        .next(&now, zone)
        .and_then(|next| next.checked_add(MARGIN).ok());
    let last = status.last_schedule_time.as_ref().map(|time| time.0);
    let made = cron_job
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(now, |time| time.0);
    let mut since = last.unwrap_or(made);
    let deadline = spec.starting_deadline_seconds;
    if let Some(seconds) = deadline {
        since = since.max(after_seconds(now, -seconds));
    }
    let (Some(due), missed) = due(schedule, zone, since, now) else {
        return;
    };
    if missed > MISSED_LIMIT {
        let advice = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds \
            or check clock skew";
        plan.events
            .push((EventType::Warning, "TooManyMissedTimes", advice.to_owned()));
    }
    if deadline.is_some_and(|seconds| after_seconds(due, seconds) < now) {
        let when = due.strftime("%a, %d %b %Y %H:%M:%S +0000");
        plan.events.push((
            EventType::Warning,
            "MissSchedule",
            format!("Missed scheduled time to start a job: {when}"),
        ));
        return;
    }
    let job = make(cron_job, spec, due, zone);
    let active = status.active.clone().unwrap_or_default();
    if last == Some(due)
        || active
            .iter()
            .any(|reference| reference.name == job.metadata.name)
    {
        return;
    }
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let words = "Not starting job because prior execution is running and concurrency \
                policy is Forbid";
            plan.events
                .push((EventType::Normal, "JobAlreadyActive", words.to_owned()));
            return;
        }
        Some("Replace") => {
            let is_active = |job: &&Arc<Job>| {
                active
                    .iter()
                    .any(|reference| reference.uid == job.metadata.uid)
            };
            plan.delete.extend(jobs.iter().filter(is_active).cloned());
            status.active = None;
        }
        _ => {}
    }
    plan.create = Some((Box::new(job), due));
}

/// Returns the last time that is due and the number of times since `since`.
fn due(
    schedule: &Schedule,
    zone: &TimeZone,
    since: Timestamp,
    now: Timestamp,
) -> (Option<Timestamp>, usize) {
    let mut latest = None;
    let mut count = 0;
    let mut here = since;
    while let Some(next) = schedule.next(&here, zone).filter(|next| *next <= now) {
        count += 1;
        (here, latest) = (next, Some(next));
        // After a long absence, the last days show enough.
        if count == MISSED_LIMIT + 1 {
            here = here.max(after_seconds(now, -8 * 24 * 3600));
        }
    }
    (latest, count)
}

fn make(cron_job: &CronJob, spec: &CronJobSpec, time: Timestamp, zone: &TimeZone) -> Job {
    let template = spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = template.annotations.unwrap_or_default();
    let local = time.to_zoned(zone.clone());
    let offset = if local.offset().is_zero() {
        "Z".to_owned()
    } else {
        local.strftime("%:z").to_string()
    };
    annotations.insert(
        TIME.to_owned(),
        format!("{}{offset}", local.strftime("%Y-%m-%dT%H:%M:%S")),
    );
    let metadata = ObjectMeta {
        name: Some(format!(
            "{}-{}",
            name(&cron_job.metadata),
            time.as_second() / 60
        )),
        namespace: cron_job.metadata.namespace.clone(),
        labels: template.labels,
        annotations: Some(annotations),
        owner_references: Some(vec![controlled_by(cron_job)]),
        ..ObjectMeta::default()
    };
    Job {
        metadata,
        spec: spec.job_template.spec.clone(),
        status: None,
    }
}

/// Adds a job that was created for `time` to the status.
pub(super) fn note_start(status: &mut CronJobStatus, job: &Job, time: Timestamp) {
    let reference = ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        ..ObjectReference::default()
    };
    let active = status.active.get_or_insert_default();
    if end(job).is_none()
        && !active
            .iter()
            .any(|known| known.uid.as_deref() == Some(uid(&job.metadata)))
    {
        active.push(reference);
    }
    status.last_schedule_time = Some(on_wire(time));
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(time: &str) -> Timestamp {
        format!("2026-01-01T{time}Z").parse().expect("a time")
    }

    fn cron_job(spec: Value, status: Value) -> CronJob {
        let mut tree = json!({
            "metadata": {"name": "c", "namespace": "n", "uid": "c-1",
                "creationTimestamp": "2026-01-01T00:00:30Z"},
            "spec": {
                "schedule": "*/5 * * * *", "concurrencyPolicy": "Allow",
                    "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
                "jobTemplate": {"metadata": {"labels": {"a": "b"}},
                    "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}},
            },
            "status": status,
        });
        if let (Some(known), Some(spec)) = (tree["spec"].as_object_mut(), spec.as_object()) {
            known.extend(spec.clone());
        }
        serde_json::from_value(tree).expect("a cron job")
    }

    fn job(name: &str, end: Option<&str>, started: &str) -> Arc<Job> {
        let conditions: Vec<Value> = end
            .iter()
            .map(|end| json!({"type": end, "status": "True"}))
            .collect();
        let time = at(started).to_string();
        let status = json!({"conditions": conditions, "startTime": time,
            "completionTime": end.map(|_| time.clone())});
        let tree =
            json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "status": status});
        Arc::new(serde_json::from_value(tree).expect("a job"))
    }

    fn active(names: &[&str]) -> Value {
        json!({"active": names.iter().map(|name| json!({"name": name,
            "uid": name})).collect::<Vec<_>>()})
    }

    fn reasons(plan: &CronJobPlan) -> Vec<&str> {
        plan.events.iter().map(|(_, reason, _)| *reason).collect()
    }

    #[test]
    fn a_job_starts_at_its_time_and_only_once() {
        let early = plan(&cron_job(json!({}), json!({})), &[], at("00:04:59"));
        assert!(early.create.is_none());
        assert_eq!(early.recheck, Some(at("00:05:00.1")));
        let due = plan(&cron_job(json!({}), json!({})), &[], at("00:05:00.1"));
        let (job, time) = due.create.expect("it is time");
        assert_eq!(time, at("00:05:00"));
        assert_eq!(job.metadata.name.as_deref(), Some("c-29453765"));
        assert_eq!(
            job.metadata.annotations.as_ref().expect("annotated")[TIME],
            "2026-01-01T00:05:00Z"
        );
        let mut status = CronJobStatus::default();
        note_start(
            &mut status,
            &Job {
                metadata: ObjectMeta {
                    name: Some("c-29453765".into()),
                    ..job.metadata
                },
                ..Job::default()
            },
            time,
        );
        let started = CronJob {
            status: Some(status),
            ..cron_job(json!({}), json!({}))
        };
        assert!(plan(&started, &[], at("00:05:01")).create.is_none());
    }

    #[test]
    fn concurrency_is_allowed_forbidden_or_replaced() {
        let running = [job("c-1", None, "00:00:00")];
        let check = |policy: &str| {
            plan(
                &cron_job(json!({"concurrencyPolicy": policy}), active(&["c-1"])),
                &running,
                at("00:05:01"),
            )
        };
        assert!(check("Allow").create.is_some() && check("Allow").delete.is_empty());
        let forbidden = check("Forbid");
        assert!(forbidden.create.is_none());
        assert_eq!(reasons(&forbidden), ["JobAlreadyActive"]);
        let replaced = check("Replace");
        assert!(replaced.create.is_some());
        assert_eq!(replaced.delete.len(), 1);
        assert_eq!(replaced.status.expect("changed").active, None);
    }

    #[test]
    fn missed_times_start_one_job_unless_the_deadline_has_passed() {
        let late = plan(&cron_job(json!({}), json!({})), &[], at("00:23:00"));
        assert_eq!(late.create.expect("the last one").1, at("00:20:00"));
        let strict = plan(
            &cron_job(json!({"startingDeadlineSeconds": 60}), json!({})),
            &[],
            at("00:23:00"),
        );
        assert!(strict.create.is_none());
        let long = plan(
            &cron_job(json!({"schedule": "* * * * *"}), json!({})),
            &[],
            at("05:00:00"),
        );
        assert!(long.create.is_some());
        assert_eq!(reasons(&long), ["TooManyMissedTimes"]);
        let suspended = plan(
            &cron_job(json!({"suspend": true}), json!({})),
            &[],
            at("00:23:00"),
        );
        assert!(suspended.create.is_none() && suspended.recheck.is_none());
    }

    #[test]
    fn finished_jobs_are_recorded_and_the_oldest_deleted() {
        let jobs = [
            job("a", Some("Complete"), "00:01:00"),
            job("b", Some("Complete"), "00:02:00"),
            job("c", Some("Failed"), "00:03:00"),
            job("d", Some("Failed"), "00:04:00"),
        ];
        let limits = json!({"successfulJobsHistoryLimit": 1, "suspend": true});
        let plan = plan(
            &cron_job(limits, active(&["b", "gone"])),
            &jobs,
            at("00:04:30"),
        );
        assert_eq!(
            plan.delete
                .iter()
                .map(|job| name(&job.metadata))
                .collect::<Vec<_>>(),
            ["a", "c"]
        );
        assert_eq!(reasons(&plan), ["SawCompletedJob", "MissingJob"]);
        let status = plan.status.expect("changed");
        assert_eq!(
            (
                status.active,
                status.last_successful_time.map(|time| time.0)
            ),
            (None, Some(at("00:02:00")))
        );
    }

    #[test]
    fn a_time_zone_moves_the_start_and_an_unknown_one_prevents_it() {
        let tokyo = plan(
            &cron_job(
                json!({"schedule": "10 9 * * *", "timeZone": "Asia/Tokyo"}),
                json!({}),
            ),
            &[],
            at("00:10:01"),
        );
        let (job, time) = tokyo.create.expect("nine in Tokyo");
        assert_eq!(time, at("00:10:00"));
        assert_eq!(
            job.metadata.annotations.as_ref().expect("annotated")[TIME],
            "2026-01-01T09:10:00+09:00"
        );
        let unknown = plan(
            &cron_job(json!({"timeZone": "Mars/Base"}), json!({})),
            &[],
            at("00:10:01"),
        );
        assert_eq!(reasons(&unknown), ["UnknownTimeZone"]);
        assert!(unknown.create.is_none());
    }
}
