//! The end of a pod: hooks, stop signals, grace periods.

use serde_json::json;

use super::*;

#[test]
fn a_container_stays_ready_until_it_has_stopped() {
    Simulation::new(one(json!({"sim.exeunt.dev/stop-seconds": "3"})))
        .until(1.0)
        .delete(30)
        .until(60.0)
        .check(&[
            "0 start c #0",
            "0 Running [c=running+] Ready True",
            "1 - deleted",
            "1 Killing: Stopping container c",
            "1 stop c within 30",
            "4 remove",
            "4 Succeeded [c=Completed 0] PodCompleted",
            "4 Delete",
        ]);
}

#[test]
fn a_container_that_ignores_the_stop_signal_is_killed_at_the_end_of_its_grace_period() {
    Simulation::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})))
        .until(1.0)
        .delete(10)
        .until(60.0)
        .check(&[
            "0 start c #0",
            "0 Running [c=running+] Ready True",
            "1 - deleted",
            "1 Killing: Stopping container c",
            "1 stop c within 10",
            "11 remove",
            "11 Failed [c=Error 137] PodFailed",
            "11 Delete",
        ]);
}

#[test]
fn at_least_two_seconds_remain_between_stop_signal_and_kill() {
    Simulation::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})))
        .until(1.0)
        .delete(1)
        .until(60.0)
        .check(&[
            "0 start c #0",
            "0 Running [c=running+] Ready True",
            "1 - deleted",
            "1 Killing: Stopping container c",
            "1 stop c within 2",
            "3 remove",
            "3 Failed [c=Error 137] PodFailed",
            "3 Delete",
        ]);
}

#[test]
fn a_grace_period_can_be_shortened_and_not_extended() {
    let stubborn = || {
        Simulation::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})))
            .until(1.0)
            .delete(100)
    };
    let mut shrunk = stubborn().until(4.0);
    shrunk.lines();
    shrunk.delete(10).until(200.0).check(&[
        "4 - deleted",
        "4 stop c within 7",
        "11 remove",
        "11 Failed [c=Error 137] PodFailed",
        "11 Delete",
    ]);
    let mut late = stubborn().until(50.0);
    late.lines();
    late.delete(10).until(200.0).check(&[
        "50 - deleted",
        "50 stop c within 2",
        "52 remove",
        "52 Failed [c=Error 137] PodFailed",
        "52 Delete",
    ]);
    let mut grown = stubborn().until(4.0);
    grown.lines();
    grown.delete(500).until(700.0).check(&[
        "4 - deleted",
        "101 remove",
        "101 Failed [c=Error 137] PodFailed",
        "101 Delete",
    ]);
}

#[test]
fn a_second_deletion_that_changes_no_kill_sends_no_stop_signal() {
    let mut simulation = Simulation::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})))
        .until(1.0)
        .delete(2);
    simulation.lines();
    simulation.delete(1).until(60.0).check(&[
        "1 - deleted",
        "3 remove",
        "3 Failed [c=Error 137] PodFailed",
        "3 Delete",
    ]);
}

#[test]
fn a_stop_signal_is_not_repeated_while_the_grace_period_stays() {
    let spec = json!({
        "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i"}],
    });
    let annotations = json!({
        "sim.exeunt.dev/ignore-sigterm.s": "true",
        "sim.exeunt.dev/stop-seconds.c": "1.9",
    });
    let mut simulation = Simulation::new(pod(spec, annotations))
        .until(1.0)
        .delete(10)
        .until(2.9);
    assert_eq!(
        simulation.lines[simulation.lines.len() - 2],
        "2.9 stop s within 9"
    );
    simulation.lines();
    // A second later by the clock, eight whole seconds are left: the kill is due after them.
    let mut simulation = simulation.until(3.0);
    simulation.sync();
    simulation.check(&[]);
}

#[test]
fn an_init_container_that_is_deleted_before_it_started_never_ran() {
    let spec = json!({
        "initContainers": [{"name": "init", "image": "i"}],
        "containers": [{"name": "c", "image": "i"}],
    });
    Simulation::new(pod(
        spec,
        json!({"sim.exeunt.dev/startup-seconds.init": "9"}),
    ))
    .until(2.0)
    .delete(30)
    .until(60.0)
    .check(&[
        "0 start init #0",
        "0 Pending [init=PodInitializing c=PodInitializing] ContainersNotReady",
        "2 - deleted",
        "2 stop init within 0",
        "2 remove",
        "2 Failed [init=PodInitializing c=PodInitializing] PodFailed",
        "2 Delete",
    ]);
}

#[test]
fn a_pre_stop_hook_precedes_the_stop_signal_and_uses_the_grace_period() {
    let hook = json!({"preStop": {"sleep": {"seconds": 4}}});
    let spec = json!({"containers": [{"name": "c", "image": "i", "lifecycle": hook}]});
    let stubborn = || {
        Simulation::new(pod(
            spec.clone(),
            json!({"sim.exeunt.dev/ignore-sigterm": "true"}),
        ))
        .until(1.0)
    };
    let mut enough = stubborn();
    enough.lines();
    enough.delete(10).until(60.0).check(&[
        "1 - deleted",
        "1 Killing: Stopping container c",
        "1 hook c",
        "5 stop c within 6",
        "11 remove",
        "11 Failed [c=Error 137] PodFailed",
        "11 Delete",
    ]);
    let mut short = stubborn();
    short.lines();
    short.delete(3).until(60.0).check(&[
        "1 - deleted",
        "1 Killing: Stopping container c",
        "1 hook c",
        "4 stop c within 2",
        "6 remove",
        "6 Failed [c=Error 137] PodFailed",
        "6 Delete",
    ]);
}

#[test]
fn a_hook_that_fails_is_reported_and_the_container_still_stops() {
    let hook = json!({"preStop": {"sleep": {"seconds": 4}}});
    let spec = json!({"containers": [{"name": "c", "image": "i", "lifecycle": hook}]});
    let simulation = Simulation::new(pod(spec, json!({}))).until(1.0).delete(10);
    for (failure, events) in [
        (None, &[][..]),
        (
            Some("exit 1".to_owned()),
            &["Warning c FailedPreStopHook"][..],
        ),
    ] {
        let mut observed = simulation.runtime.observe("u", simulation.now);
        observed.containers[0].hook_done = true;
        observed.containers[0].hook_failure = failure;
        let result = next(
            simulation.state.clone(),
            &simulation.desired,
            &observed,
            simulation.now,
        );
        let found = result.events.iter();
        let found: Vec<String> = found
            .map(|event| simulation.describe_event(event))
            .collect();
        assert_eq!(found, events);
        let stop = RuntimeRequest::StopContainer {
            container: 0,
            timeout: std::time::Duration::from_secs(10),
        };
        assert_eq!(result.requests, [stop]);
    }
}

#[test]
fn a_sidecar_waits_for_its_turn_no_longer_than_its_grace_period() {
    let hook = json!({"preStop": {"sleep": {"seconds": 50}}});
    let spec = json!({
        "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i", "lifecycle": hook}],
    });
    let annotations = json!({"sim.exeunt.dev/ignore-sigterm": "true"});
    let mut simulation = Simulation::new(pod(spec, annotations)).until(1.0);
    simulation.lines();
    simulation.delete(10).until(60.0).check(&[
        "1 - deleted",
        "1 Killing: Stopping container s",
        "1 Killing: Stopping container c",
        "1 hook c",
        "11 stop s within 2",
        "11 stop c within 2",
        "13 remove",
        "13 Failed [s=Error 137 c=Error 137] PodFailed",
        "13 Delete",
    ]);
}

#[test]
fn other_hooks_succeed_at_once() {
    let hook = json!({"preStop": {"exec": {"command": ["true"]}}});
    let spec = json!({"containers": [{"name": "c", "image": "i", "lifecycle": hook}]});
    let mut simulation = Simulation::new(pod(spec, json!({}))).until(1.0);
    simulation.lines();
    simulation.delete(10).check(&[
        "1 - deleted",
        "1 Killing: Stopping container c",
        "1 hook c",
        "1 stop c within 10",
        "1 remove",
        "1 Succeeded [c=Completed 0] PodCompleted",
        "1 Delete",
    ]);
}

#[test]
fn a_pod_deleted_before_its_container_started_fails() {
    Simulation::new(one(json!({"sim.exeunt.dev/startup-seconds": "9"})))
        .until(2.0)
        .delete(30)
        .until(60.0)
        .check(&[
            "0 start c #0",
            "0 Pending [c=ContainerCreating] ContainersNotReady",
            "2 - deleted",
            "2 stop c within 0",
            "2 remove",
            "2 Failed [c=ContainerStatusUnknown 137] PodFailed",
            "2 Delete",
        ]);
}

#[test]
fn a_pod_deleted_by_force_gets_its_grace_period_without_events() {
    Simulation::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})))
        .until(2.0)
        .object_gone()
        .until(60.0)
        .check(&[
            "0 start c #0",
            "0 Running [c=running+] Ready True",
            "2 - gone",
            "2 stop c within 30",
            "32 remove",
            "32 Forget",
        ]);
}

#[test]
fn a_pod_whose_phase_was_set_to_failed_is_stopped_and_kept() {
    let mut simulation = Simulation::new(one(json!({}))).until(2.0);
    simulation.lines();
    simulation.desired.phase = PodPhase::Failed;
    simulation.sync();
    simulation.until(9.0).check(&[
        "2 Killing: Stopping container c",
        "2 stop c within 30",
        "2 remove",
        "2 Failed [c=Completed 0] PodFailed",
    ]);
}

#[test]
fn a_second_stop_request_can_only_bring_the_kill_forward() {
    for (second, killed_at) in [(60, 20), (5, 8)] {
        let mut simulation = Simulation::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})));
        for (now, timeout) in [(0.0, 20), (3.0, second)] {
            simulation.now = at(now);
            simulation.runtime.request(
                "u",
                RuntimeRequest::StopContainer {
                    container: 0,
                    timeout: std::time::Duration::from_secs(timeout),
                },
                simulation.now,
            );
        }
        assert_eq!(
            simulation.runtime.observe("u", simulation.now).next_change,
            Some(at(f64::from(killed_at)))
        );
    }
}

#[test]
fn a_shortened_grace_period_also_ends_the_wait_of_a_sidecar_for_its_turn() {
    let hook = json!({"preStop": {"sleep": {"seconds": 50}}});
    let spec = json!({
        "initContainers": [
            {"name": "s", "image": "i", "restartPolicy": "Always", "lifecycle": hook},
        ],
        "containers": [{"name": "c", "image": "i"}],
    });
    let annotations = json!({"sim.exeunt.dev/ignore-sigterm": "true"});
    let mut simulation = Simulation::new(pod(spec, annotations))
        .until(1.0)
        .delete(100)
        .until(61.0);
    simulation.lines();
    simulation.delete(20).until(200.0).check(&[
        "61 - deleted",
        "61 stop s within 2",
        "61 stop c within 2",
        "63 remove",
        "63 Failed [s=Error 137 c=Error 137] PodFailed",
        "63 Delete",
    ]);
}
