//! CronJobs that are looked at at random moments: which jobs are started, and when.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A schedule, and whether it is due at a minute of the day.
type DueSchedule = (&'static str, fn(i64) -> bool);

const SCHEDULES: [DueSchedule; 4] = [
    ("* * * * *", |_| true),
    ("*/5 * * * *", |minute| minute % 5 == 0),
    ("7 * * * *", |minute| minute % 60 == 7),
    ("30 2 * * *", |minute| minute == 150),
];

const DAY_MINUTES: i64 = 24 * 60;

/// 2026-01-01T00:00:00Z, when the CronJobs are created.
const CREATED: i64 = 1_767_225_600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(CREATED + second).expect("a time")
}

#[derive(Clone, Copy, Debug)]
struct ScheduleShape {
    schedule: usize,
    deadline: Option<i64>,
    policy: &'static str,
}

/// The due seconds in `(since, now]`, one after the other.
fn due_seconds(shape: ScheduleShape, since: i64, now: i64) -> Vec<i64> {
    (since.div_euclid(60) + 1..=now.div_euclid(60))
        .filter(|minute| SCHEDULES[shape.schedule].1(minute.rem_euclid(DAY_MINUTES)))
        .map(|minute| minute * 60)
        .collect()
}

fn cron_job(shape: ScheduleShape, status: CronJobStatus) -> CronJob {
    let tree = json!({
        "metadata": {"name": "c", "namespace": "n", "uid": "c-1",
            "creationTimestamp": at(0).to_string()},
        "spec": {
            "schedule": SCHEDULES[shape.schedule].0, "concurrencyPolicy": shape.policy,
                "startingDeadlineSeconds": shape.deadline,
            "jobTemplate": {"metadata": {},
                "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}},
        },
    });
    let mut cron_job: CronJob = serde_json::from_value(tree).expect("a cron job");
    cron_job.status = Some(status);
    cron_job
}

fn shape() -> impl Strategy<Value = ScheduleShape> {
    let deadline = prop_oneof![Just(None), (0..4000_i64).prop_map(Some)];
    let policy = prop_oneof![Just("Allow"), Just("Forbid"), Just("Replace")];
    (0..SCHEDULES.len(), deadline, policy).prop_map(|(schedule, deadline, policy)| ScheduleShape {
        schedule,
        deadline,
        policy,
    })
}

fn check_starts(shape: ScheduleShape, looks: Vec<(i64, bool)>) {
    let mut status = CronJobStatus::default();
    let mut jobs: Vec<Arc<Job>> = Vec::new();
    let mut started = BTreeSet::new();
    let (mut now, mut last) = (0, None);
    for (pause, end_all) in looks {
        now += pause;
        if end_all {
            for job in &mut jobs {
                let status = json!({"conditions": [{"type": "Complete", "status": "True"}]});
                Arc::make_mut(job).status = Some(serde_json::from_value(status).expect("a status"));
            }
        }
        let active = jobs.iter().filter(|job| end(job).is_none()).count();
        let plan = plan(&cron_job(shape, status.clone()), &jobs, at(now));
        let window = last
            .unwrap_or(0)
            .max(shape.deadline.map_or(0, |deadline| now - deadline));
        let due = due_seconds(shape, window, now);
        assert!(
            plan.recheck.is_some_and(|recheck| recheck > at(now)),
            "no next look"
        );
        let missed_too_many = plan
            .events
            .iter()
            .any(|(_, reason, _)| *reason == "TooManyMissedTimes");
        assert_eq!(
            missed_too_many,
            due.len() > MISSED_LIMIT,
            "{} times were missed",
            due.len()
        );
        match &plan.create {
            None => {
                let held_back = shape.policy == "Forbid" && active > 0;
                assert!(
                    due.is_empty() || held_back,
                    "{:?} is due and starts no job",
                    due.last()
                );
            }
            Some((_, time)) => {
                let time = time.as_second() - CREATED;
                assert_eq!(Some(&time), due.last(), "not the last due time");
                assert!(started.insert(time), "two jobs for one time");
                assert!(
                    shape.deadline.is_none_or(|deadline| now - time <= deadline),
                    "after the deadline"
                );
                assert!(
                    shape.policy != "Forbid" || active == 0,
                    "beside a running job"
                );
                assert!(
                    shape.policy != "Replace" || plan.delete.len() >= active,
                    "a running job is left"
                );
            }
        }
        // The controller and the server.
        jobs.retain(|job| {
            !plan
                .delete
                .iter()
                .any(|gone| gone.metadata.uid == job.metadata.uid)
        });
        status = plan.status.unwrap_or(status);
        if let Some((job, time)) = plan.create {
            let mut job = *job;
            job.metadata.uid = job.metadata.name.clone();
            note_start(&mut status, &job, time);
            last = Some(time.as_second() - CREATED);
            jobs.push(Arc::new(job));
        }
    }
}

proptest! {
    #[test]
    fn jobs_start_at_due_times_once_and_never_after_the_deadline(
        shape in shape(),
        // Seconds until the next look, and whether the running jobs end before it.
        looks in proptest::collection::vec((1..9000_i64, any::<bool>()), 1..20),
    ) {
        check_starts(shape, looks);
    }
}
