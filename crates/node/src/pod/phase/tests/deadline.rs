//! `activeDeadlineSeconds`, and how long the containers of a Job's pod run.

use serde_json::json;

use super::*;

/// A pod of one container that may run for this many seconds.
fn limited(seconds: i64, annotations: Value) -> Simulation {
    let spec = json!({"activeDeadlineSeconds": seconds, "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 10,
        "containers": [{"name": "c", "image": "i"}]});
    Simulation::new(pod(spec, annotations))
}

const MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

#[test]
fn a_pod_that_runs_too_long_fails_when_its_containers_have_stopped() {
    let run = limited(5, json!({"sim.exeunt.dev/stop-seconds": "2"})).until(6.0);
    // Until then its phase and its reason stay.
    assert_eq!(run.view.status.phase, "Running");
    assert_eq!(run.view.status.reason, "");
    assert!(run.events.contains(&"Normal - DeadlineExceeded".to_owned()));
    let run = run.until(60.0);
    assert_eq!(run.view.status.phase, "Failed");
    assert_eq!(run.view.status.reason, "DeadlineExceeded");
    assert_eq!(run.view.status.message, MESSAGE);
    run.check(&[
        "0 start c #0",
        "0 Running [c=running+] Ready True",
        &format!("5 DeadlineExceeded: {MESSAGE}"),
        "5 Killing: Stopping container c",
        "5 stop c within 10",
        "7 remove",
        "7 Failed [c=Completed 0] PodFailed",
    ]);
}

#[test]
fn the_deadline_counts_from_the_start_of_the_pod_and_not_of_its_containers() {
    let restarts = json!({"sim.exeunt.dev/crash-after-seconds": "1"});
    let starting = json!({"sim.exeunt.dev/startup-seconds": "60"});
    for annotations in [restarts, starting] {
        let text = annotations.to_string();
        let run = limited(5, annotations).until(5.0);
        assert_eq!(run.view.status.reason, "DeadlineExceeded", "{text}");
        let later = run.until(600.0);
        assert_eq!(later.view.status.phase, "Failed", "{text}");
        let ends = later
            .events
            .iter()
            .filter(|event| event.ends_with("DeadlineExceeded"));
        assert_eq!(ends.count(), 1, "{text}");
    }
}

#[test]
fn a_pod_that_ends_in_time_has_no_reason() {
    let spec = json!({"activeDeadlineSeconds": 5, "restartPolicy": "Never",
        "containers": [{"name": "c", "image": "i"}]});
    let run = Simulation::new(pod(spec, json!({"sim.exeunt.dev/run-seconds": "4"}))).until(60.0);
    assert_eq!(run.view.status.phase, "Succeeded");
    assert_eq!(run.view.status.reason, "");
}

#[test]
fn the_reason_survives_a_restart_of_the_agent() {
    let run = limited(5, json!({})).until(60.0);
    let state = WorkerState::resume(
        &run.desired,
        &run.view.status,
        Ipv4Addr::new(172, 16, 0, 2),
        None,
        run.now,
    );
    let result = next(state, &run.desired, &PodObservation::default(), run.now);
    assert!(result.state.past_deadline);
    assert!(result.events.is_empty());
}

#[test]
fn sidecars_of_a_job_run_until_the_main_containers_have_ended() {
    let run_seconds = |seconds: &str| json!({"sim.exeunt.dev/run-seconds": seconds});
    // (annotations, whether a Job owns the pod, when it ends, how the sidecar ended)
    let cases = [
        (json!({}), true, "1", "Completed 0"),
        (run_seconds("3"), true, "3", "Completed 0"),
        (run_seconds("3"), false, "3", "Completed 0"),
        (
            json!({"sim.exeunt.dev/run-seconds": "3", "sim.exeunt.dev/startup-seconds.c": "2"}),
            true,
            "5",
            "Completed 0",
        ),
        (
            json!({"sim.exeunt.dev/run-seconds": "3", "sim.exeunt.dev/exit-code.s": "7"}),
            true,
            "3",
            "Error 7",
        ),
    ];
    for (annotations, by_job, end, sidecar) in cases {
        let text = annotations.to_string();
        let spec = json!({"restartPolicy": "Never",
            "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}],
            "containers": [{"name": "c", "image": "i"}]});
        let mut tree = pod(spec, annotations);
        if by_job {
            tree["metadata"]["ownerReferences"] = json!([{"apiVersion": "batch/v1",
                "kind": "Job", "name": "j", "uid": "j", "controller": true}]);
        }
        let mut run = Simulation::new(tree).until(600.0);
        let last = format!("{end} Succeeded [s={sidecar} c=Completed 0] PodCompleted");
        assert_eq!(run.lines().last(), Some(&last), "{text}");
        let backed_off = run.events.iter().any(|event| event.ends_with("BackOff"));
        assert!(!backed_off, "{text}");
        assert_eq!(run.view.status.init_container_statuses[0].restart_count, 0);
    }
}
