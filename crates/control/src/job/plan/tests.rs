//! Jobs in the states that they pass through, as tables of cases.

mod policies;

use serde_json::{Value, json};

use super::super::condition::is_over;
use super::super::failure::{FAILURES, IGNORED};
use super::super::index::INDEX;
use super::super::pod::TRACKING;
use super::*;
use crate::meta::annotation;
use crate::pods::tests::pod;

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    after_seconds(start, seconds)
}

fn job(spec: Value, status: Value) -> Job {
    let mut tree = json!({"metadata": {"name": "job", "namespace": "n", "uid": "j"},
        "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}, "status": status});
    if let (Some(known), Some(spec)) = (tree["spec"].as_object_mut(), spec.as_object()) {
        known.extend(spec.clone());
    }
    serde_json::from_value(tree).expect("a job")
}

/// A pod in this phase. Ended pods ended at second 0 with exit code 1.
fn member(name: &str, phase: &str, extra: Value) -> Arc<Pod> {
    let mut meta = json!({"name": name, "namespace": "n", "uid": name, "finalizers": [TRACKING]});
    if let (Some(meta), Some(extra)) = (meta.as_object_mut(), extra.as_object()) {
        meta.extend(extra.clone());
    }
    let state = match phase {
        "Succeeded" => json!({"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:00:00Z"}}),
        "Failed" => json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}}),
        _ => json!({}),
    };
    Arc::new(pod(json!({"metadata": meta, "status": {"phase": phase,
            "containerStatuses": [{"name": "c", "restartCount": 0, "state": state}]}})))
}

fn leaving(name: &str) -> Arc<Pod> {
    let extra = json!({"deletionTimestamp": "2026-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 0});
    member(name, "Running", extra)
}

/// A pod of an index, with the failures of its predecessors.
fn indexed(name: &str, phase: &str, index: i32, failures: i32) -> Arc<Pod> {
    let annotations = json!({INDEX: index.to_string(), FAILURES: failures.to_string()});
    member(name, phase, json!({"annotations": annotations}))
}

/// What one reconciliation after the other makes of a job whose cache is current.
struct Run {
    job: Job,
    backoff: PodBackoff,
    now: Timestamp,
    events: Vec<&'static str>,
}

impl Run {
    fn new(spec: Value) -> Self {
        Self {
            job: job(spec, json!({})),
            backoff: PodBackoff::default(),
            now: at(0),
            events: Vec::new(),
        }
    }

    /// Makes a plan, and writes the status as if every request succeeded.
    fn step(&mut self, pods: &[Arc<Pod>]) -> JobPlan {
        let memory = Memory {
            backoff: self.backoff,
            released: &BTreeSet::new(),
            is_current: true,
        };
        let plan = plan(&self.job, pods, &memory, self.now);
        self.backoff = plan.backoff;
        if let Some(status) = &plan.recorded {
            self.job.status = Some(status.clone());
        }
        let (concluded, events) = conclude(&self.job, &plan, &self.status(), self.now);
        if let Some(status) = concluded {
            self.job.status = Some(status);
        }
        let events = plan.events.iter().chain(&events);
        self.events.extend(events.map(|(_, reason, _)| *reason));
        plan
    }

    fn status(&self) -> JobStatus {
        self.job.status.clone().unwrap_or_default()
    }

    /// The true conditions with their reasons, in order.
    fn conditions(&self) -> Vec<String> {
        let conditions = self.status().conditions.unwrap_or_default();
        conditions
            .iter()
            .map(|one| {
                let reason = one.reason.as_deref().unwrap_or_default();
                format!("{}={} {reason}", one.type_, one.status)
            })
            .collect()
    }

    /// succeeded, failed, active, terminating.
    fn counts(&self) -> [i32; 4] {
        let status = self.status();
        [
            status.succeeded,
            status.failed,
            status.active,
            status.terminating,
        ]
        .map(Option::unwrap_or_default)
    }
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().map(|pod| crate::pods::name(pod)).collect()
}

/// The index of each new pod with the failures that it carries.
fn made(plan: &JobPlan) -> Vec<String> {
    let text = |pod: &Pod, key: &str| {
        annotation(&pod.metadata, key)
            .unwrap_or_default()
            .to_owned()
    };
    plan.create
        .iter()
        .map(|pod| {
            format!(
                "{}:{}{}",
                text(pod, INDEX),
                text(pod, FAILURES),
                text(pod, IGNORED)
            )
        })
        .collect()
}

#[test]
fn pods_are_counted_once_whatever_fails_in_between() {
    let mut run = Run::new(json!({"completions": 3, "parallelism": 3}));
    let pods = [
        member("ok", "Succeeded", json!({})),
        member("bad", "Failed", json!({})),
        member("runs", "Running", json!({})),
    ];
    let memory = |released: &'static [&str]| {
        let released: BTreeSet<String> = released.iter().map(ToString::to_string).collect();
        released
    };
    let none = memory(&[]);
    let first = Memory {
        backoff: PodBackoff::default(),
        released: &none,
        is_current: true,
    };
    let plan_ = plan(&run.job, &pods, &first, at(0));
    assert_eq!(names(&plan_.release), ["ok", "bad"]);
    let recorded = plan_.recorded.clone().expect("recorded");
    let waiting = recorded.uncounted_terminated_pods.clone();
    let waiting = waiting.expect("uncounted");
    assert_eq!(waiting.succeeded, Some(vec!["ok".to_owned()]));
    assert_eq!(waiting.failed, Some(vec!["bad".to_owned()]));
    // A crash after the first write: the uids are in the status and are not added again.
    run.job.status = Some(recorded.clone());
    let again = plan(&run.job, &pods, &first, at(0));
    assert_eq!(again.recorded, None);
    assert_eq!(names(&again.release), ["ok", "bad"]);
    // A crash after the finalizers were removed, one of them in a cache that lags behind.
    let seen = [pods[1].clone(), pods[2].clone()];
    let lagging = memory(&["bad"]);
    let late = Memory {
        released: &lagging,
        ..first
    };
    let last = plan(&run.job, &seen, &late, at(0));
    assert!(last.release.is_empty());
    run.job.status = last.recorded;
    assert_eq!(run.counts(), [1, 1, 2, 0]);
    // Nothing is counted twice while the cache still shows the finalizer.
    assert_eq!(plan(&run.job, &seen, &late, at(0)).recorded, None);
}

#[test]
fn missing_pods_are_created_and_surplus_ones_go_uncounted() {
    let running = |count: usize| -> Vec<Arc<Pod>> {
        (0..count)
            .map(|one| member(&format!("p{one}"), "Running", json!({})))
            .collect()
    };
    // (spec, status, active pods, created, discarded)
    let cases = [
        (json!({"completions": 2}), json!({}), 0, 1, 0),
        (
            json!({"completions": 5, "parallelism": 3}),
            json!({"succeeded": 3}),
            0,
            2,
            0,
        ),
        (json!({"parallelism": 2}), json!({}), 0, 2, 0),
        (json!({"parallelism": 2}), json!({"succeeded": 1}), 1, 0, 0),
        (
            json!({"completions": 5, "parallelism": 0}),
            json!({}),
            2,
            0,
            2,
        ),
        (
            json!({"completions": 5, "parallelism": 1}),
            json!({}),
            3,
            0,
            2,
        ),
        (
            json!({"completions": 1, "suspend": true}),
            json!({}),
            0,
            0,
            0,
        ),
        (
            json!({"completions": 1, "suspend": true}),
            json!({}),
            2,
            0,
            2,
        ),
    ];
    for (spec, status, active, created, discarded) in cases {
        let text = format!("{spec} {status} with {active}");
        let mut run = Run::new(spec);
        run.job.status = serde_json::from_value(status).expect("a status");
        let plan = run.step(&running(active));
        assert_eq!(plan.create.len(), created, "{text}");
        assert_eq!(plan.discard.len(), discarded, "{text}");
        let expected = to_i32(active + created - discarded);
        assert_eq!(run.status().active.unwrap_or_default(), expected, "{text}");
        assert_eq!(run.status().failed, None, "{text}");
    }
}

#[test]
fn the_status_does_not_waver_while_the_cache_lags_behind() {
    let mut run = Run::new(json!({"completions": 2, "parallelism": 2}));
    assert_eq!(run.step(&[]).create.len(), 2);
    let memory = Memory {
        backoff: PodBackoff::default(),
        released: &BTreeSet::new(),
        is_current: false,
    };
    let seen = [member("p", "Running", json!({}))];
    let plan = plan(&run.job, &seen, &memory, at(0));
    assert!(!plan.may_act);
    assert_eq!(plan.recorded, None);
}

#[test]
fn a_job_ends_in_two_steps_and_counts_the_pods_that_it_stops() {
    let pair = json!({"completions": 2, "parallelism": 2});
    let with = |extra: Value| {
        let mut spec = pair.clone();
        if let (Some(spec), Some(extra)) = (spec.as_object_mut(), extra.as_object()) {
            spec.extend(extra.clone());
        }
        spec
    };
    // (spec, whether it failed, reason, [succeeded, failed] at the end)
    let cases = [
        (with(json!({"backoffLimit": 0})), "BackoffLimitExceeded", 2),
        (
            with(json!({"backoffLimit": 0, "podReplacementPolicy": "Failed"})),
            "BackoffLimitExceeded",
            2,
        ),
        (
            with(
                json!({"podReplacementPolicy": "Failed", "podFailurePolicy": {"rules": [
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}]}}),
            ),
            "PodFailurePolicy",
            2,
        ),
    ];
    for (spec, reason, failed) in cases {
        let text = spec.to_string();
        let mut run = Run::new(spec);
        let pods = [
            member("bad", "Failed", json!({})),
            member("runs", "Running", json!({})),
        ];
        let plan = run.step(&pods);
        assert_eq!(names(&plan.stop), ["runs"], "{text}");
        assert!(plan.discard.is_empty() && plan.create.is_empty(), "{text}");
        assert_eq!(names(&plan.release), ["bad", "runs"], "{text}");
        let interim = format!("FailureTarget=True {reason}");
        assert_eq!(run.conditions(), [interim.as_str()], "{text}");
        assert_eq!(run.counts(), [0, failed, 0, 1], "{text}");
        assert!(run.events.is_empty(), "{text}");
        run.step(&[]);
        let last = format!("Failed=True {reason}");
        assert_eq!(run.conditions(), [interim, last], "{text}");
        assert_eq!(run.counts(), [0, failed, 0, 0], "{text}");
        assert_eq!(run.events, [reason], "{text}");
        assert!(is_over(&run.job));
    }
}

#[test]
fn a_deadline_stops_a_job_and_is_waited_for() {
    let mut run = Run::new(json!({"activeDeadlineSeconds": 30}));
    let pods = [member("p", "Running", json!({}))];
    assert_eq!(run.step(&pods).recheck, Some(at(30)));
    run.now = at(29);
    assert!(run.step(&pods).stop.is_empty());
    run.now = at(30);
    assert_eq!(run.step(&pods).stop.len(), 1);
    assert_eq!(run.conditions(), ["FailureTarget=True DeadlineExceeded"]);
    assert_eq!(run.counts(), [0, 1, 0, 1]);
}

#[test]
fn a_job_announces_success_before_it_is_complete() {
    let mut run = Run::new(json!({"completions": 1}));
    run.step(&[member("ok", "Succeeded", json!({}))]);
    let reached = "CompletionsReached";
    assert_eq!(
        run.conditions(),
        [
            format!("SuccessCriteriaMet=True {reached}"),
            format!("Complete=True {reached}")
        ]
    );
    assert!(run.status().completion_time.is_some());
    assert_eq!(run.events, ["Completed"]);
    assert_eq!(run.counts(), [1, 0, 0, 0]);
    // A pod that still goes is waited for, and does not count as failed.
    let mut run = Run::new(json!({"parallelism": 2}));
    run.step(&[
        member("ok", "Succeeded", json!({})),
        member("runs", "Running", json!({})),
    ]);
    assert!(run.conditions().is_empty());
    assert_eq!(run.counts(), [1, 0, 1, 0]);
}

#[test]
fn restarts_count_against_the_limit_where_containers_are_restarted() {
    let restarted = |restarts: i32, inits: i32| {
        let pod = pod(
            json!({"metadata": {"name": "p", "uid": "p", "finalizers": [TRACKING]},
            "status": {"phase": "Running",
                "initContainerStatuses": [{"name": "i", "restartCount": inits}],
                "containerStatuses": [{"name": "c", "restartCount": restarts}]}}),
        );
        Arc::new(pod)
    };
    // (policy, limit, restarts of containers and init containers, fails)
    let cases = [
        ("OnFailure", 0, (0, 0), false),
        ("OnFailure", 0, (1, 0), true),
        ("OnFailure", 3, (2, 0), false),
        ("OnFailure", 3, (3, 0), true),
        ("OnFailure", 3, (1, 2), true),
        ("Never", 0, (1, 0), false),
    ];
    for (policy, limit, (restarts, inits), fails) in cases {
        let mut run = Run::new(json!({"completions": 1, "backoffLimit": limit,
            "template": {"spec": {"containers": [], "restartPolicy": policy}}}));
        let plan = run.step(&[restarted(restarts, inits)]);
        let text = format!("{policy} {limit} {restarts} {inits}");
        assert_eq!(!plan.stop.is_empty(), fails, "{text}");
        // The pod that the end of the job stops has failed.
        assert_eq!(run.counts()[1], i32::from(fails), "{text}");
    }
}

#[test]
fn failures_delay_new_pods_twice_as_long_each_time() {
    let mut run = Run::new(json!({"completions": 9, "backoffLimit": 9}));
    let pause = |run: &mut Run, pods: &[Arc<Pod>]| {
        let plan = run.step(pods);
        assert!(plan.create.is_empty());
        plan.recheck
    };
    let bad = |name: &str| member(name, "Failed", json!({}));
    assert_eq!(pause(&mut run, &[bad("a")]), Some(at(10)));
    run.now = at(9);
    assert_eq!(pause(&mut run, &[]), Some(at(10)));
    assert_eq!(pause(&mut run, &[bad("b"), bad("c")]), Some(at(40)));
    for doubled in [80, 160, 320, 600, 600] {
        let name = format!("d{doubled}{}", run.counts()[1]);
        assert_eq!(pause(&mut run, &[bad(&name)]), Some(at(doubled)));
    }
    run.now = at(600);
    assert_eq!(run.step(&[]).create.len(), 1);
    // A success forgets the failures before it.
    let plan = run.step(&[member("ok", "Succeeded", json!({}))]);
    assert_eq!(plan.create.len(), 1);
    assert_eq!(run.backoff, PodBackoff::default());
}

#[test]
fn a_terminating_pod_has_failed_unless_the_job_waits_for_its_end() {
    let policy = json!({"rules": [{"action": "Count",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]});
    // (spec, counted at once)
    let cases = [
        (json!({}), true),
        (json!({"podReplacementPolicy": "TerminatingOrFailed"}), true),
        (json!({"podReplacementPolicy": "Failed"}), false),
        (json!({"podFailurePolicy": policy}), false),
    ];
    for (mut spec, at_once) in cases {
        let text = spec.to_string();
        spec["completions"] = json!(1);
        let mut run = Run::new(spec);
        let plan = run.step(&[leaving("p")]);
        assert_eq!(run.counts(), [0, i32::from(at_once), 0, 1], "{text}");
        assert!(plan.create.is_empty(), "{text}");
        assert_eq!(plan.recheck.is_some(), at_once, "{text}");
        run.now = at(60);
        let later = run.step(&[leaving("p")]);
        assert_eq!(later.create.len(), usize::from(at_once), "{text}");
    }
}

#[test]
fn a_suspended_job_has_no_pods_and_starts_again() {
    let mut run = Run::new(json!({"completions": 1, "suspend": true}));
    run.job.status = Some(JobStatus {
        start_time: Some(on_wire(at(-5))),
        ..JobStatus::default()
    });
    let plan = run.step(&[member("p", "Running", json!({}))]);
    assert_eq!(names(&plan.discard), ["p"]);
    assert_eq!(run.counts(), [0, 0, 0, 1]);
    assert_eq!(run.status().start_time, None);
    run.job.spec.as_mut().expect("a spec").suspend = Some(false);
    run.now = at(7);
    assert_eq!(run.step(&[]).create.len(), 1);
    assert_eq!(run.conditions(), ["Suspended=False JobResumed"]);
    assert_eq!(run.status().start_time, Some(on_wire(at(7))));
    assert_eq!(run.events, ["Suspended", "Resumed"]);
}
