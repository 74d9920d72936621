//! The start of a pod: order, readiness, conditions.

use serde_json::json;

use super::resume::restart_agent;
use super::*;

#[test]
fn a_pod_without_annotations_starts_and_ends_at_once() {
    Simulation::new(one(json!({})))
        .check(&["0 start c #0", "0 Running [c=running+] Ready True"])
        .until(5.0)
        .delete(30)
        .check(&[
            "5 - deleted",
            "5 Killing: Stopping container c",
            "5 stop c within 30",
            "5 remove",
            "5 Succeeded [c=Completed 0] PodCompleted",
            "5 Delete",
        ]);
}

#[test]
fn start_and_readiness_are_delayed_by_annotations() {
    let annotations =
        json!({"sim.exeunt.dev/startup-seconds": "1.5", "sim.exeunt.dev/ready-after-seconds": "2"});
    Simulation::new(one(annotations)).until(10.0).check(&[
        "0 start c #0",
        "0 Pending [c=ContainerCreating] ContainersNotReady",
        "1.5 Running [c=running] ContainersNotReady",
        "3.5 Running [c=running+] Ready True",
    ]);
}

#[test]
fn the_events_of_a_start_come_once_and_when_the_container_runs() {
    let simulation = Simulation::new(one(json!({"sim.exeunt.dev/startup-seconds": "1"})));
    assert_eq!(simulation.events, ["Normal c Pulled"]);
    let mut simulation = simulation.until(9.0);
    simulation.sync();
    assert_eq!(
        simulation.events,
        ["Normal c Pulled", "Normal c Created", "Normal c Started"]
    );
}

#[test]
fn a_status_names_the_generation_that_it_describes() {
    for (generation, expected) in [(0, None), (1, Some(1)), (7, Some(7))] {
        let mut pod = one(json!({}));
        pod["metadata"]["generation"] = json!(generation);
        let status = Simulation::new(pod).view.status;
        assert_eq!(status.observed_generation, expected);
        for condition in &status.conditions {
            assert_eq!(
                condition.observed_generation, expected,
                "{}",
                condition.kind
            );
        }
    }
}

#[test]
fn an_image_id_is_kept_while_the_runtime_does_not_know_it() {
    let simulation = Simulation::new(one(json!({})));
    let image_id = |change: fn(&mut String)| {
        let mut observed = simulation.runtime.observe("u", simulation.now);
        change(&mut observed.containers[0].image_id);
        let result = next(
            simulation.state.clone(),
            &simulation.desired,
            &observed,
            simulation.now,
        );
        let status = result.status.expect("nothing to request");
        status.container_statuses[0].image_id.clone()
    };
    let known = image_id(|_| {});
    assert!(known.starts_with("simulated://sha256:"), "{known}");
    assert_eq!(image_id(String::clear), known);
    assert_eq!(image_id(|id| *id = "newer".to_owned()), "newer");
}

#[test]
fn conditions_name_the_containers_that_they_wait_for() {
    let sidecar = |name: &str| json!({"name": name, "image": "i", "restartPolicy": "Always"});
    let spec = json!({
        "initContainers": [sidecar("s1"), {"name": "init", "image": "i"}, sidecar("s2")],
        "containers": [{"name": "c", "image": "i"}],
        "ephemeralContainers": [{"name": "e", "image": "i"}],
    });
    let annotations = json!({
        "sim.exeunt.dev/startup-seconds": "1",
        "sim.exeunt.dev/run-seconds.init": "2",
    });
    let mut simulation = Simulation::new(pod(spec, annotations));
    let cases = [
        (0.0, Some("s1 init s2"), Some("s1 s2 c")),
        (1.0, Some("init s2"), Some("s2 c")),
        (3.0, Some("s2"), Some("s2 c")),
        (4.0, None, Some("c")),
        (5.0, None, None),
    ];
    for (seconds, incomplete, unready) in cases {
        simulation = simulation.until(seconds);
        let conditions = &simulation.view.status.conditions;
        let message = |kind: &str| {
            let found = conditions.iter().find(|condition| condition.kind == kind);
            found.expect("a condition").message.clone()
        };
        let waits = |what: &str, names: Option<&str>| {
            names.map(|names| format!("containers with {what} status: [{names}]"))
        };
        assert_eq!(
            message("Initialized"),
            waits("incomplete", incomplete),
            "{seconds}"
        );
        for kind in ["Ready", "ContainersReady"] {
            assert_eq!(message(kind), waits("unready", unready), "{kind} {seconds}");
        }
    }
}

#[test]
fn a_readiness_probe_delays_readiness_by_its_initial_delay() {
    let probe = json!({"initialDelaySeconds": 4});
    let spec = json!({"containers": [{"name": "c", "image": "i", "readinessProbe": probe}]});
    Simulation::new(pod(spec, json!({}))).until(10.0).check(&[
        "0 start c #0",
        "0 Running [c=running] ContainersNotReady",
        "4 Running [c=running+] Ready True",
    ]);
}

#[test]
fn sidecars_start_first_and_stop_last_in_reverse_order() {
    let sidecar = |name: &str| json!({"name": name, "image": "i", "restartPolicy": "Always"});
    let spec = json!({
        "initContainers": [sidecar("s1"), {"name": "init", "image": "i"}, sidecar("s2")],
        "containers": [{"name": "c", "image": "i"}],
    });
    let annotations = json!({
        "sim.exeunt.dev/startup-seconds": "1",
        "sim.exeunt.dev/run-seconds.init": "2",
        "sim.exeunt.dev/stop-seconds": "1",
        "sim.exeunt.dev/stop-seconds.c": "3",
    });
    let simulation = Simulation::new(pod(spec, annotations)).until(10.0).check(&[
        "0 start s1 #0",
        "0 Pending [s1=PodInitializing init=PodInitializing s2=PodInitializing c=PodInitializing] ContainersNotReady",
        "1 start init #0",
        "1 Pending [s1=running+ init=running s2=PodInitializing c=PodInitializing] ContainersNotReady",
        "3 start s2 #0",
        "3 Pending [s1=running+ init=Completed 0+ s2=PodInitializing c=PodInitializing] ContainersNotReady",
        "4 start c #0",
        "4 Pending [s1=running+ init=Completed 0+ s2=running+ c=PodInitializing] ContainersNotReady",
        "5 Running [s1=running+ init=Completed 0+ s2=running+ c=running+] Ready True",
    ]);
    simulation.delete(30).until(60.0).check(&[
        "10 - deleted",
        "10 Killing: Stopping container s1",
        "10 Killing: Stopping container s2",
        "10 Killing: Stopping container c",
        "10 stop c within 30",
        "13 stop s2 within 27",
        "13 Running [s1=running+ init=Completed 0+ s2=running+ c=Completed 0] ContainersNotReady",
        "14 stop s1 within 26",
        "14 Running [s1=running+ init=Completed 0+ s2=Completed 0 c=Completed 0] ContainersNotReady",
        "15 remove",
        "15 Succeeded [s1=Completed 0 init=Completed 0+ s2=Completed 0 c=Completed 0] PodCompleted",
        "15 Delete",
    ]);
}

#[test]
fn a_failed_init_container_is_retried_unless_the_policy_is_never() {
    let spec = |policy: &str| {
        json!({
            "restartPolicy": policy,
            "initContainers": [{"name": "init", "image": "i"}],
            "containers": [{"name": "c", "image": "i"}],
        })
    };
    let annotations =
        || json!({"sim.exeunt.dev/exit-code.init": "1", "sim.exeunt.dev/run-seconds.init": "1"});
    Simulation::new(pod(spec("Never"), annotations()))
        .until(60.0)
        .check(&[
            "0 start init #0",
            "0 Pending [init=running c=PodInitializing] ContainersNotReady",
            "1 remove",
            "1 Failed [init=Error 1 c=PodInitializing] PodFailed",
        ]);
    let mut two = spec("Never");
    two["initContainers"] = json!([
        {"name": "init", "image": "i"}, {"name": "later", "image": "i"},
    ]);
    let simulation = Simulation::new(pod(two, annotations())).until(60.0);
    assert_eq!(
        simulation.lines.last().map(String::as_str),
        Some("1 Failed [init=Error 1 later=PodInitializing c=PodInitializing] PodFailed")
    );
    Simulation::new(pod(spec("Always"), annotations()))
        .until(11.0)
        .check(&[
            "0 start init #0",
            "0 Pending [init=running c=PodInitializing] ContainersNotReady",
            "1 start init #1",
            "2 BackOff: Back-off restarting failed container init in pod p_d(u)",
            "2 Pending [init=CrashLoopBackOff c=PodInitializing] ContainersNotReady",
        ]);
}

#[test]
fn a_pod_is_ready_only_after_its_readiness_gates() {
    let mut view = pod(
        json!({
            "containers": [{"name": "c", "image": "i"}],
            "readinessGates": [{"conditionType": "lb"}],
        }),
        json!({}),
    );
    let simulation = Simulation::new(view.clone()).check(&[
        "0 start c #0",
        "0 Running [c=running+] ReadinessGatesNotReady",
    ]);
    let message = |simulation: &Simulation| {
        simulation.view.status.conditions[2]
            .message
            .clone()
            .unwrap_or_default()
    };
    assert_eq!(
        message(&simulation),
        "corresponding condition of pod readiness gate \"lb\" does not exist."
    );
    let mut simulation = simulation.until(3.0);
    view["status"]["conditions"] = json!([{"type": "lb", "status": "True"}]);
    simulation.desired.readiness_gates =
        DesiredPod::from_view(&serde_json::from_value(view).unwrap()).readiness_gates;
    simulation.sync();
    simulation.check(&["3 Running [c=running+] Ready True"]);
}

#[test]
fn the_time_of_a_condition_is_that_of_its_last_change() {
    let simulation = Simulation::new(one(json!({"sim.exeunt.dev/ready-after-seconds": "3"})))
        .until(60.0)
        .delete(5)
        .until(70.0);
    let times: Vec<_> = simulation
        .view
        .status
        .conditions
        .iter()
        .map(|c| {
            (
                &*c.kind,
                &*c.status,
                c.last_transition_time.unwrap().as_second(),
            )
        })
        .collect();
    assert_eq!(
        times,
        [
            ("PodReadyToStartContainers", "False", 60),
            ("Initialized", "True", 0),
            ("Ready", "False", 60),
            ("ContainersReady", "False", 60),
            ("PodScheduled", "True", 0),
        ]
    );
}

#[test]
fn the_conditions_of_a_completed_pod_give_that_as_their_reason() {
    let reasons = |simulation: &Simulation| {
        let conditions = simulation.view.status.conditions.iter();
        conditions
            .map(|condition| condition.reason.clone().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let running = Simulation::new(one(json!({})));
    assert_eq!(reasons(&running), [""; 5]);
    let completed = running.until(1.0).delete(5);
    assert_eq!(
        reasons(&completed),
        ["", "PodCompleted", "PodCompleted", "PodCompleted", ""]
    );
}

#[test]
fn a_failing_readiness_probe_is_reported_once_and_can_recover() {
    let mut simulation =
        Simulation::new(one(json!({"sim.exeunt.dev/never-ready": "true"}))).until(5.0);
    assert_eq!(
        simulation.lines(),
        [
            "0 start c #0",
            "0 Unhealthy: Readiness probe failed: simulated as never ready",
            "0 Running [c=running] ContainersNotReady",
        ]
    );
    simulation.view.metadata.annotations = None;
    simulation.runtime.update(&simulation.view, simulation.now);
    simulation.sync();
    simulation.check(&["5 Running [c=running+] Ready True"]);
}

#[test]
fn changed_annotations_do_not_change_the_past() {
    let mut simulation = Simulation::new(one(json!({}))).until(100.0);
    simulation.lines();
    simulation.view.metadata.annotations = Some(
        [(
            "sim.exeunt.dev/crash-after-seconds".to_owned(),
            "3".to_owned(),
        )]
        .into(),
    );
    simulation.runtime.update(&simulation.view, simulation.now);
    simulation.sync();
    let crashed = simulation.view.status.container_statuses[0]
        .last_state
        .terminated
        .clone()
        .unwrap();
    assert_eq!(
        (crashed.started_at, crashed.finished_at),
        (Some(at(0.0)), Some(at(100.0)))
    );
}

#[test]
fn an_ephemeral_container_starts_when_it_is_added_and_ends_with_the_pod() {
    let mut simulation = Simulation::new(one(json!({}))).until(5.0);
    simulation.lines();
    let mut added = simulation.view.spec.containers[0].clone();
    added.name = "debugger".to_owned();
    simulation.view.spec.ephemeral_containers.push(added);
    simulation.runtime.update(&simulation.view, simulation.now);
    simulation.desired = DesiredPod::from_view(&simulation.view);
    simulation.sync();
    let simulation = simulation.check(&[
        "5 start debugger #0",
        "5 Running [c=running+ debugger=running] Ready True",
    ]);
    let mut simulation = restart_agent(simulation);
    simulation.lines();
    simulation.until(9.0).delete(30).check(&[
        "9 - deleted",
        "9 Killing: Stopping container c",
        "9 Killing: Stopping container debugger",
        "9 stop c within 30",
        "9 stop debugger within 30",
        "9 remove",
        "9 Succeeded [c=Completed 0 debugger=Completed 0] PodCompleted",
        "9 Delete",
    ]);
}
