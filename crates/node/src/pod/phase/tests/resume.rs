//! Agents that are restarted while their pods run.

use serde_json::json;

use super::*;

/// Replaces the agent and its runtime, which continue from the published status.
pub(super) fn restart_agent(simulation: Simulation) -> Simulation {
    let (now, mut view) = (simulation.now, simulation.view);
    view.status = serde_json::from_value(serde_json::to_value(view.status).unwrap()).unwrap();
    let runtime = Simulated::new();
    let desired = DesiredPod {
        phase: PodPhase::parse(&view.status.phase),
        ..DesiredPod::from_view(&view)
    };
    let desired = DesiredPod {
        deletion_grace: simulation.desired.deletion_grace,
        ..desired
    };
    runtime.update(&view, now);
    runtime.restore(&view, now);
    let state = WorkerState::resume(
        &desired,
        &view.status,
        simulation.state.host_ip,
        simulation.state.ip,
        now,
    );
    let mut simulation = Simulation {
        runtime,
        view,
        desired,
        state,
        lines: Vec::new(),
        events: Vec::new(),
        wake_at: None,
        disposition: Disposition::Keep,
        ..simulation
    };
    simulation.sync();
    simulation
}

#[test]
fn a_restarted_agent_continues_with_running_containers() {
    let annotations =
        json!({"sim.exeunt.dev/startup-seconds": "1", "sim.exeunt.dev/ready-after-seconds": "4"});
    let mut first = Simulation::new(one(annotations)).until(3.0);
    first.lines();
    let before = first.view.status.clone();
    let second = restart_agent(first);
    assert_eq!(second.view.status, before);
    second
        .until(20.0)
        .check(&["5 Running [c=running+] Ready True"]);
}

#[test]
fn a_restarted_agent_grants_the_full_grace_period_again() {
    let simulation = Simulation::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})))
        .until(1.0)
        .delete(10)
        .until(6.0);
    restart_agent(simulation).until(60.0).check(&[
        "6 Killing: Stopping container c",
        "6 stop c within 10",
        "16 remove",
        "16 Failed [c=Error 137] PodFailed",
        "16 Delete",
    ]);
}

#[test]
fn a_restarted_agent_leaves_finished_pods_alone() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
    let mut simulation =
        Simulation::new(pod(spec, json!({"sim.exeunt.dev/run-seconds": "5"}))).until(9.0);
    simulation.lines();
    let before = simulation.view.status.clone();
    let simulation = restart_agent(simulation);
    assert_eq!(simulation.view.status, before);
    simulation.check(&["9 remove"]);
}

#[test]
fn a_restarted_agent_continues_the_counts_of_a_crash_loop() {
    let annotations = json!({"sim.exeunt.dev/crash-after-seconds": "5"});
    let first = Simulation::new(one(annotations)).until(47.0);
    let before = first.view.status.clone();
    let container = &before.container_statuses[0];
    assert!(container.state.running.is_some() && container.last_state.terminated.is_some());
    assert_eq!(container.restart_count, 3);
    assert_eq!(restart_agent(first).view.status, before);
}

#[test]
fn a_restarted_agent_does_not_repeat_the_events_of_a_start() {
    let first = Simulation::new(one(json!({"sim.exeunt.dev/never-ready": "true"}))).until(5.0);
    assert_eq!(
        first.events,
        [
            "Normal c Pulled",
            "Normal c Created",
            "Normal c Started",
            "Warning c Unhealthy",
        ]
    );
    assert_eq!(restart_agent(first).until(9.0).events, [""; 0]);
}

/// A pod with an init container that takes ten seconds.
fn initializing() -> Value {
    let spec = json!({
        "initContainers": [{"name": "init", "image": "i"}],
        "containers": [{"name": "c", "image": "i"}],
    });
    pod(spec, json!({"sim.exeunt.dev/run-seconds.init": "10"}))
}

#[test]
fn a_restarted_agent_waits_for_init_containers_that_run() {
    let mut first = Simulation::new(initializing()).until(3.0);
    first.lines();
    restart_agent(first).until(60.0).check(&[
        "10 start c #0",
        "10 Running [init=Completed 0+ c=running+] Ready True",
    ]);
}

#[test]
fn init_containers_do_not_run_again_beside_a_main_container_that_has_started() {
    let mut first = Simulation::new(initializing()).until(20.0);
    // Another writer has removed what says that the pod was initialized.
    let status = &mut first.view.status;
    status
        .conditions
        .retain(|condition| condition.kind != "Initialized");
    status.init_container_statuses.clear();
    first.published.clear();
    restart_agent(first)
        .until(60.0)
        .check(&["20 Running [init=PodInitializing c=running+] Ready True"]);
}

#[test]
fn a_pod_that_initializes_is_pending_although_its_main_container_ran_before() {
    let mut first = Simulation::new(initializing()).until(3.0);
    let container = &mut first.view.status.container_statuses[0];
    container.last_state.terminated = Some(Default::default());
    assert_eq!(restart_agent(first).view.status.phase, "Pending");
}

#[test]
fn a_crashing_sidecar_of_a_pod_that_ends_without_an_agent_gets_an_exit() {
    let spec = json!({
        "initContainers": [
            {"name": "s", "image": "i", "restartPolicy": "Always"},
            {"name": "init", "image": "i"},
        ],
        "containers": [{"name": "c", "image": "i"}],
    });
    let deleted = |spec: &Value, annotations: Value| {
        let mut simulation = Simulation::new(pod(spec.clone(), annotations)).until(12.0);
        simulation.desired.deletion_grace = Some(30);
        let status = restart_agent(simulation).until(60.0).view.status;
        let statuses = status.init_container_statuses.iter();
        statuses
            .chain(&status.container_statuses)
            .map(describe_status)
            .collect::<Vec<_>>()
    };
    // The second pod is not initialized when it is deleted.
    for (init_seconds, main) in [("3", "c=Completed 0"), ("100", "c=PodInitializing")] {
        let annotations = json!({
            "sim.exeunt.dev/crash-after-seconds.s": "5",
            "sim.exeunt.dev/run-seconds.init": init_seconds,
        });
        assert_eq!(
            deleted(&spec, annotations),
            ["s=ContainerStatusUnknown 137", "init=Completed 0+", main]
        );
    }
    let mut alone = spec.clone();
    alone["initContainers"].as_array_mut().unwrap().truncate(1);
    assert_eq!(
        deleted(&alone, json!({"sim.exeunt.dev/crash-after-seconds.s": "5"})),
        ["s=ContainerStatusUnknown 137", "c=Completed 0"]
    );
}
