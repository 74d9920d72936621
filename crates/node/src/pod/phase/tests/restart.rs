//! Restarts, and the end of pods that have done their work.

use serde_json::json;

use super::*;

#[test]
fn crashes_are_followed_by_growing_backoff() {
    let mut simulation =
        Simulation::new(one(json!({"sim.exeunt.dev/crash-after-seconds": "5"}))).until(1000.0);
    let starts: Vec<String> = simulation
        .lines()
        .into_iter()
        .filter(|line| line.contains("start c"))
        .collect();
    // Ends at 5, 10, 25, 50, 95, 180, 345, 650, 955: pauses of 0, 10, 20, 40, 80, 160, 300, 300.
    assert_eq!(
        starts,
        [
            "0 start c #0",
            "5 start c #1",
            "20 start c #2",
            "45 start c #3",
            "90 start c #4",
            "175 start c #5",
            "340 start c #6",
            "645 start c #7",
            "950 start c #8",
        ]
    );
    let status = &simulation.view.status.container_statuses[0];
    assert_eq!(simulation.view.status.phase, "Running");
    assert_eq!((status.restart_count, status.ready), (8, false));
    let waiting = status.state.waiting.as_ref().unwrap();
    assert_eq!(waiting.reason, "CrashLoopBackOff");
    assert_eq!(
        waiting.message,
        "back-off 5m0s restarting failed container=c pod=p_d(u)"
    );
    assert_eq!(status.last_state.terminated.as_ref().unwrap().exit_code, 1);
}

#[test]
fn backoff_starts_over_after_a_long_run() {
    let mut simulation =
        Simulation::new(one(json!({"sim.exeunt.dev/crash-after-seconds": "601"}))).until(2000.0);
    let starts: Vec<String> = simulation
        .lines()
        .into_iter()
        .filter(|line| line.contains("start c"))
        .collect();
    assert_eq!(
        starts,
        [
            "0 start c #0",
            "601 start c #1",
            "1202 start c #2",
            "1803 start c #3"
        ]
    );
}

#[test]
fn backoff_continues_after_a_run_of_exactly_ten_minutes() {
    let mut simulation =
        Simulation::new(one(json!({"sim.exeunt.dev/crash-after-seconds": "600"}))).until(1900.0);
    let lines = simulation.lines();
    let starts: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("start c"))
        .collect();
    assert_eq!(
        starts,
        [
            "0 start c #0",
            "600 start c #1",
            "1210 start c #2",
            "1830 start c #3"
        ]
    );
}

#[test]
fn a_pause_before_a_restart_is_kept_whatever_else_happens() {
    let annotations = json!({"sim.exeunt.dev/crash-after-seconds": "5"});
    let mut simulation = Simulation::new(one(annotations)).until(12.0);
    simulation.lines();
    simulation.sync();
    simulation
        .until(20.0)
        .check(&["20 start c #2", "20 Running [c=running+] Ready True"]);
}

#[test]
fn a_container_that_disappears_counts_as_a_restart() {
    let mut simulation =
        Simulation::new(one(json!({"sim.exeunt.dev/startup-seconds": "9"}))).until(2.0);
    simulation.lines();
    let stop = RuntimeRequest::StopContainer {
        container: 0,
        timeout: std::time::Duration::ZERO,
    };
    // It is not even created when somebody takes it from the runtime.
    simulation.runtime.request("u", stop, simulation.now);
    simulation.sync();
    simulation.check(&[
        "2 start c #1",
        "2 Running [c=ContainerCreating] ContainersNotReady",
    ]);
}

#[test]
fn a_pod_in_crash_loop_ends_at_once_without_a_restart() {
    let mut simulation =
        Simulation::new(one(json!({"sim.exeunt.dev/crash-after-seconds": "5"}))).until(12.0);
    simulation.lines();
    simulation.delete(30).until(300.0).check(&[
        "12 - deleted",
        "12 remove",
        "12 Failed [c=Error 1] PodFailed",
        "12 Delete",
    ]);
}

#[test]
fn the_restart_policy_decides_whether_a_pod_ends() {
    let cases = [
        ("Never", "0", "5 Succeeded [c=Completed 0] PodCompleted"),
        ("Never", "3", "5 Failed [c=Error 3] PodFailed"),
        ("OnFailure", "0", "5 Succeeded [c=Completed 0] PodCompleted"),
        ("OnFailure", "3", "5 start c #1"),
        ("Always", "0", "5 start c #1"),
    ];
    for (policy, code, expected) in cases {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]});
        let simulation = Simulation::new(pod(
            spec,
            json!({"sim.exeunt.dev/run-seconds": "5", "sim.exeunt.dev/exit-code": code}),
        ));
        let simulation = simulation.until(5.0);
        assert_eq!(
            simulation.lines.last().unwrap(),
            expected,
            "{policy} {code}"
        );
        assert_eq!(
            simulation.disposition,
            Disposition::Keep,
            "{policy} {code} is not deleted"
        );
    }
}

#[test]
fn rules_on_exit_codes_take_precedence_over_the_policy() {
    let rules =
        json!([{"action": "RestartPolicy", "exitCodes": {"operator": "In", "values": [42]}}]);
    for (code, restarts) in [("42", 1), ("43", 0)] {
        let container = json!({
            "name": "c", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rules,
        });
        let spec = json!({"restartPolicy": "Always", "containers": [container]});
        let simulation = Simulation::new(pod(
            spec,
            json!({"sim.exeunt.dev/run-seconds": "5", "sim.exeunt.dev/exit-code": code}),
        ))
        .until(6.0);
        assert_eq!(
            simulation.state.containers[0].restart_count, restarts,
            "exit code {code}"
        );
    }
}

#[test]
fn sidecars_are_stopped_when_the_main_containers_are_done() {
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i"}],
    });
    Simulation::new(pod(
        spec,
        json!({"sim.exeunt.dev/run-seconds.c": "5", "sim.exeunt.dev/stop-seconds.s": "1"}),
    ))
    .until(60.0)
    .check(&[
        "0 start s #0",
        "0 start c #0",
        "0 Running [s=running+ c=running+] Ready True",
        "5 Killing: Stopping container s",
        "5 stop s within 30",
        "5 Running [s=running+ c=Completed 0] ContainersNotReady",
        "6 remove",
        "6 Succeeded [s=Completed 0 c=Completed 0] PodCompleted",
    ]);
}

#[test]
fn a_sidecar_that_crashes_when_the_main_containers_are_done_is_not_restarted() {
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i"}],
    });
    let annotations = json!({
        "sim.exeunt.dev/run-seconds.c": "5",
        "sim.exeunt.dev/crash-after-seconds.s": "5",
    });
    let simulation = Simulation::new(pod(spec, annotations)).until(60.0).check(&[
        "0 start s #0",
        "0 start c #0",
        "0 Running [s=running+ c=running+] Ready True",
        "5 remove",
        "5 Succeeded [s=Error 1 c=Completed 0] PodCompleted",
    ]);
    let sidecar = &simulation.view.status.init_container_statuses[0];
    assert_eq!(sidecar.restart_count, 0);
    let of_start = |name: &str| {
        ["Pulled", "Created", "Started"].map(|reason| format!("Normal {name} {reason}"))
    };
    let mut events = simulation.events.clone();
    events.sort();
    let mut expected = [of_start("c"), of_start("s")].concat();
    expected.sort();
    assert_eq!(events, expected);
}
