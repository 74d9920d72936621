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
