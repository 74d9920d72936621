//! Jobs in the states that they pass through.

use serde_json::{Value, json};

use super::*;
use crate::job::count::{count, settle};
use crate::pods::tests::pod;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn job(spec: Value, status: Value) -> Job {
    let mut tree = json!({"metadata": {"name": "job", "namespace": "n", "uid": "j"},
        "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}, "status": status});
    if let (Some(known), Some(spec)) = (tree["spec"].as_object_mut(), spec.as_object()) {
        known.extend(spec.clone());
    }
    serde_json::from_value(tree).expect("a job")
}

fn member(name: &str, phase: &str, extra: Value) -> Arc<Pod> {
    let mut meta = json!({"name": name, "namespace": "n", "uid": name, "finalizers": [TRACKING]});
    if let (Some(meta), Some(extra)) = (meta.as_object_mut(), extra.as_object()) {
        meta.extend(extra.clone());
    }
    Arc::new(pod(json!({"metadata": meta, "status": {"phase": phase,
            "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]}})))
}

fn conditions(status: &JobStatus) -> Vec<(String, String)> {
    let list = status.conditions.iter().flatten();
    list.map(|condition| {
        (
            condition.type_.clone(),
            condition.reason.clone().unwrap_or_default(),
        )
    })
    .collect()
}

#[test]
fn pods_are_counted_in_two_steps() {
    let job = job(json!({"completions": 2}), json!({}));
    let pods = [
        member("ok", "Succeeded", json!({})),
        member("bad", "Failed", json!({})),
        member("runs", "Running", json!({})),
    ];
    let counted = count(&job, &pods).expect("something ended");
    assert_eq!(
        counted
            .release
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        ["bad", "ok"]
    );
    let recorded = counted.recorded.expect("recorded");
    let settled = settle(Some(&recorded), &pods);
    assert_eq!(
        (settled.succeeded, settled.failed, settled.active),
        (Some(1), Some(1), Some(1))
    );
    // A crash between the two writes: the uids are in the status and are counted once.
    let after_crash = Job {
        status: Some(recorded),
        ..job
    };
    let again = count(&after_crash, &pods).expect("still to settle");
    assert!(again.recorded.is_none());
    assert_eq!(again.release.len(), 2);
}

#[test]
fn a_terminating_pod_has_failed_unless_the_job_waits_for_its_end() {
    let leaving = [member(
        "p",
        "Running",
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    )];
    assert_eq!(
        count(&job(json!({}), json!({})), &leaving)
            .expect("counted")
            .failed,
        1
    );
    assert!(
        count(
            &job(json!({"podReplacementPolicy": "Failed"}), json!({})),
            &leaving
        )
        .is_none()
    );
    let plan = plan(
        &job(json!({"podReplacementPolicy": "Failed"}), json!({})),
        &leaving,
        &PodBackoff::default(),
        now(),
    );
    assert!(plan.create.is_empty(), "no replacement before the end");
}

#[test]
fn missing_pods_are_created() {
    let cases = [
        (json!({"completions": 2}), json!({}), 1),
        (
            json!({"completions": 5, "parallelism": 3}),
            json!({"succeeded": 3}),
            2,
        ),
        (json!({"parallelism": 2}), json!({}), 2),
        (json!({"completions": 1, "suspend": true}), json!({}), 0),
    ];
    for (spec, status, expected) in cases {
        let text = spec.to_string();
        let plan = plan(&job(spec, status), &[], &PodBackoff::default(), now());
        assert_eq!(plan.create.len(), expected, "{text}");
        let status = plan.status.expect("written");
        assert_eq!(
            status.active.unwrap_or_default(),
            to_i32(expected),
            "{text}"
        );
        assert_eq!((status.ready, status.terminating), (Some(0), Some(0)));
    }
}

#[test]
fn a_job_announces_success_before_it_is_complete() {
    let plan = plan(
        &job(json!({"completions": 1}), json!({"succeeded": 1})),
        &[],
        &PodBackoff::default(),
        now(),
    );
    let status = plan.status.expect("written");
    let reached = "CompletionsReached".to_owned();
    assert_eq!(
        conditions(&status),
        [
            ("SuccessCriteriaMet".to_owned(), reached.clone()),
            ("Complete".to_owned(), reached)
        ]
    );
    assert!(status.completion_time.is_some());
    assert_eq!(plan.events.len(), 1);
}

#[test]
fn a_failing_job_deletes_its_pods_before_it_has_failed() {
    let failing = job(
        json!({"backoffLimit": 0, "parallelism": 2, "completions": 2}),
        json!({"failed": 1}),
    );
    let first = plan(
        &failing,
        &[member("p", "Running", json!({}))],
        &PodBackoff::default(),
        now(),
    );
    let status = first.status.expect("written");
    assert_eq!(
        conditions(&status),
        [(
            "FailureTarget".to_owned(),
            "BackoffLimitExceeded".to_owned()
        )]
    );
    assert_eq!(first.delete.len(), 1);
    let then = plan(
        &Job {
            status: Some(status),
            ..failing
        },
        &[],
        &PodBackoff::default(),
        now(),
    );
    assert_eq!(conditions(&then.status.expect("written")).len(), 2);
}

#[test]
fn failures_delay_new_pods() {
    let mut failures = PodBackoff::default();
    failures.record(0, 1, now());
    let waiting = plan(
        &job(json!({"completions": 1}), json!({"failed": 1})),
        &[],
        &failures,
        now(),
    );
    assert!(waiting.create.is_empty());
    assert_eq!(waiting.recheck, Some(after_seconds(now(), 10)));
    assert_eq!(
        plan(
            &job(json!({"completions": 1}), json!({"failed": 1})),
            &[],
            &failures,
            after_seconds(now(), 10)
        )
        .create
        .len(),
        1
    );
    failures.record(0, 2, now());
    assert_eq!(failures.pause_until(), Some(after_seconds(now(), 40)));
    failures.record(1, 0, now());
    assert_eq!(failures.pause_until(), None);
}

#[test]
fn the_failure_policy_ignores_a_failure_or_fails_the_job() {
    let policy = |action: &str| {
        json!({"rules": [{"action": action,
        "onExitCodes": {"operator": "In", "values": [1]}}]})
    };
    let failed = [member("p", "Failed", json!({}))];
    let ignored = count(
        &job(json!({"podFailurePolicy": policy("Ignore")}), json!({})),
        &failed,
    )
    .expect("released");
    assert_eq!((ignored.failed, ignored.release.len()), (0, 1));
    let ended = count(
        &job(json!({"podFailurePolicy": policy("FailJob")}), json!({})),
        &failed,
    )
    .expect("counted");
    assert_eq!(
        conditions(&ended.recorded.expect("recorded")),
        [("FailureTarget".to_owned(), "PodFailurePolicy".to_owned())]
    );
}

#[test]
fn an_indexed_job_creates_each_index_once_and_reports_failed_indexes() {
    let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed",
        "backoffLimitPerIndex": 0});
    let first = plan(
        &job(spec.clone(), json!({})),
        &[],
        &PodBackoff::default(),
        now(),
    );
    let names: Vec<_> = first
        .create
        .iter()
        .map(|pod| pod.metadata.generate_name.clone().expect("a name"))
        .collect();
    assert_eq!(names, ["job-0-", "job-1-", "job-2-"]);
    let ended = |name: &str, phase: &str, index: &str| {
        member(
            name,
            phase,
            json!({"annotations": {INDEX: index, FAILURES: "0"}}),
        )
    };
    let pods = [
        ended("a", "Succeeded", "0"),
        ended("b", "Succeeded", "1"),
        ended("c", "Failed", "2"),
    ];
    let recorded = count(&job(spec.clone(), json!({})), &pods)
        .expect("counted")
        .recorded
        .expect("recorded");
    assert_eq!(
        (
            recorded.completed_indexes.as_deref(),
            recorded.failed_indexes.as_deref()
        ),
        (Some("0,1"), Some("2"))
    );
    let settled = Job {
        status: Some(settle(Some(&recorded), &pods)),
        ..job(spec, json!({}))
    };
    let last = plan(&settled, &[], &PodBackoff::default(), now())
        .status
        .expect("written");
    assert_eq!(
        conditions(&last)[0],
        ("FailureTarget".to_owned(), "FailedIndexes".to_owned())
    );
}

#[test]
fn a_suspended_job_has_no_pods_and_starts_again() {
    let suspended = job(
        json!({"suspend": true}),
        json!({"startTime": "2026-01-01T00:00:00Z"}),
    );
    let plan_suspended = plan(
        &suspended,
        &[member("p", "Running", json!({}))],
        &PodBackoff::default(),
        now(),
    );
    let status = plan_suspended.status.expect("written");
    assert_eq!(
        (
            plan_suspended.delete.len(),
            &status.start_time,
            status.active
        ),
        (1, &None, None)
    );
    let resumed = Job {
        status: Some(status),
        ..job(json!({}), json!({}))
    };
    let resumed = plan(&resumed, &[], &PodBackoff::default(), now());
    assert_eq!(
        conditions(resumed.status.as_ref().expect("written"))[0].1,
        "JobResumed"
    );
    assert_eq!(resumed.create.len(), 1);
}
