//! Whole lives as timelines: what is ordered, told and shown, and when.

use serde_json::{Value, json};

use super::*;
use crate::pod::view::PodView;
use crate::runtime::{Runtime, Simulated};

/// A pod on its own simulated node, with a clock that jumps from one moment of interest to the
/// next.
struct Play {
    runtime: Simulated,
    view: PodView,
    desired: Desired,
    life: Life,
    now: Timestamp,
    lines: Vec<String>,
    shown: String,
    wake_at: Option<Timestamp>,
    end: End,
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs_f64(seconds)
}

fn pod(spec: Value, annotations: Value) -> Value {
    json!({
        "metadata": {"name": "p", "namespace": "d", "uid": "u", "generation": 1, "annotations": annotations},
        "spec": spec,
        "status": {"phase": "Pending"},
    })
}

fn one(annotations: Value) -> Value {
    pod(
        json!({"containers": [{"name": "c", "image": "i"}]}),
        annotations,
    )
}

impl Play {
    fn new(pod: Value) -> Self {
        let view: PodView = serde_json::from_value(pod).unwrap();
        let desired = Desired::from_view(&view);
        let runtime = Simulated::new();
        assert_eq!(runtime.admit(&view, at(0.0)), Vec::<String>::new());
        let life = Life::begin(
            &desired,
            &view.status,
            Ipv4Addr::new(172, 16, 0, 2),
            Some(Ipv4Addr::new(10, 244, 0, 2)),
            at(0.0),
        );
        let mut stage = Self {
            runtime,
            view,
            desired,
            life,
            now: at(0.0),
            lines: Vec::new(),
            shown: String::new(),
            wake_at: None,
            end: End::No,
        };
        stage.look();
        stage
    }

    fn line(&mut self, text: &str) {
        let seconds = self.now.duration_since(at(0.0)).as_secs_f64();
        self.lines.push(format!("{seconds} {text}"));
    }

    fn look(&mut self) {
        for _ in 0..20 {
            let observed = self.runtime.observe("u", self.now);
            let step = next(self.life.clone(), &self.desired, &observed, self.now);
            self.life = step.life;
            for note in step
                .notes
                .iter()
                .filter(|note| !["Pulled", "Created", "Started"].contains(&note.reason))
            {
                self.line(&format!("{}: {}", note.reason, note.message));
            }
            for order in &step.orders {
                self.line(&match order {
                    Order::Start { container, attempt } => format!(
                        "start {} #{attempt}",
                        self.desired.containers[*container].name
                    ),
                    Order::PreStop { container } => {
                        format!("hook {}", self.desired.containers[*container].name)
                    }
                    Order::Stop { container, timeout } => {
                        format!(
                            "stop {} within {}",
                            self.desired.containers[*container].name,
                            timeout.as_secs()
                        )
                    }
                    Order::Remove => "remove".to_owned(),
                });
                self.runtime.order("u", order.clone(), self.now);
            }
            self.wake_at = step.wake_at;
            if step.orders.is_empty() {
                if step.end != self.end {
                    self.line(&format!("{:?}", step.end));
                }
                self.end = step.end;
                if let Some(status) = step.status {
                    self.show(&status);
                }
                return;
            }
        }
        panic!("the pod goes round in circles: {:#?}", self.lines);
    }

    /// The API takes the status and shows it.
    fn show(&mut self, status: &PodStatus) {
        let words = |status: &ContainerStatus| {
            let state = match &status.state {
                super::super::status::State {
                    running: Some(_), ..
                } => "running".to_owned(),
                super::super::status::State {
                    terminated: Some(ended),
                    ..
                } => format!("{} {}", ended.reason, ended.exit_code),
                super::super::status::State {
                    waiting: Some(waiting),
                    ..
                } => waiting.reason.clone(),
                super::super::status::State { .. } => "nothing".to_owned(),
            };
            format!(
                "{}={state}{}",
                status.name,
                if status.ready { "+" } else { "" }
            )
        };
        let statuses = status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .chain(&status.ephemeral_container_statuses);
        let containers: Vec<String> = statuses.map(words).collect();
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.kind == "Ready")
            .unwrap();
        let ready = ready
            .reason
            .clone()
            .unwrap_or_else(|| format!("Ready {}", ready.status));
        let shown = format!("{} [{}] {ready}", status.phase, containers.join(" "));
        if shown != self.shown {
            self.line(&shown);
            self.shown = shown;
        }
        self.view.status = status.clone();
        let phase = self.desired.phase;
        self.desired.phase = Phase::parse(&status.phase);
        if phase != self.desired.phase {
            self.look();
        }
    }

    /// Lets time pass until `seconds`.
    fn until(mut self, seconds: f64) -> Self {
        for _ in 0..1000 {
            let Some(wake) = self.wake_at.filter(|wake| *wake <= at(seconds)) else {
                self.now = at(seconds);
                return self;
            };
            assert!(
                wake > self.now,
                "the pod would be looked at for ever: {:#?}",
                self.lines
            );
            self.now = wake;
            self.look();
        }
        panic!("the pod never comes to rest: {:#?}", self.lines);
    }

    /// Somebody deletes the pod with this grace.
    fn delete(mut self, grace: i64) -> Self {
        self.line("- deleted");
        self.desired.deletion_grace = Some(grace);
        self.look();
        self
    }

    /// Somebody deletes the pod by force.
    fn lose(mut self) -> Self {
        self.line("- gone");
        self.desired.gone = true;
        self.look();
        self
    }

    /// What happened since the last time that this was asked.
    fn lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    #[track_caller]
    fn check(mut self, expected: &[&str]) -> Self {
        assert_eq!(self.lines(), expected);
        self
    }
}

#[test]
fn a_pod_without_wishes_is_ready_at_once_and_gone_at_once() {
    Play::new(one(json!({})))
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
fn starting_and_becoming_ready_take_the_time_that_is_asked_for() {
    let annotations =
        json!({"sim.exeunt.dev/startup-seconds": "1.5", "sim.exeunt.dev/ready-after-seconds": "2"});
    Play::new(one(annotations)).until(10.0).check(&[
        "0 start c #0",
        "0 Pending [c=ContainerCreating] ContainersNotReady",
        "1.5 Running [c=running] ContainersNotReady",
        "3.5 Running [c=running+] Ready True",
    ]);
}

#[test]
fn a_readiness_probe_delays_readiness_by_its_initial_delay() {
    let spec = json!({"containers": [{"name": "c", "image": "i", "readinessProbe": {"initialDelaySeconds": 4}}]});
    Play::new(pod(spec, json!({}))).until(10.0).check(&[
        "0 start c #0",
        "0 Running [c=running] ContainersNotReady",
        "4 Running [c=running+] Ready True",
    ]);
}

#[test]
fn a_container_stays_ready_until_it_has_stopped() {
    Play::new(one(json!({"sim.exeunt.dev/stop-seconds": "3"})))
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
fn a_container_that_ignores_the_signal_is_killed_at_the_end_of_the_grace() {
    Play::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})))
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
fn two_seconds_always_remain_between_signal_and_kill() {
    Play::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})))
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
fn a_grace_that_shrinks_takes_effect_and_one_that_grows_does_not() {
    let stubborn = || {
        Play::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})))
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
fn a_hook_comes_before_the_signal_and_costs_grace() {
    let spec = json!({"containers": [{"name": "c", "image": "i", "lifecycle": {"preStop": {"sleep": {"seconds": 4}}}}]});
    let stubborn = || {
        Play::new(pod(
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
fn other_hooks_succeed_at_once() {
    let spec = json!({"containers": [{"name": "c", "image": "i", "lifecycle": {"preStop": {"exec": {"command": ["true"]}}}}]});
    let mut stage = Play::new(pod(spec, json!({}))).until(1.0);
    stage.lines();
    stage.delete(10).check(&[
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
    let stage = Play::new(pod(spec, annotations)).until(10.0).check(&[
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
    stage.delete(30).until(60.0).check(&[
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
fn crashes_are_followed_by_growing_pauses() {
    let mut stage =
        Play::new(one(json!({"sim.exeunt.dev/crash-after-seconds": "5"}))).until(1000.0);
    let starts: Vec<String> = stage
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
    let status = &stage.view.status.container_statuses[0];
    assert_eq!(stage.view.status.phase, "Running");
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
fn a_container_that_ran_long_starts_over_with_the_pauses() {
    let mut stage =
        Play::new(one(json!({"sim.exeunt.dev/crash-after-seconds": "601"}))).until(2000.0);
    let starts: Vec<String> = stage
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
fn a_pod_in_crash_loop_ends_at_once_and_does_not_start_again() {
    let mut stage = Play::new(one(json!({"sim.exeunt.dev/crash-after-seconds": "5"}))).until(12.0);
    stage.lines();
    stage.delete(30).until(300.0).check(&[
        "12 - deleted",
        "12 remove",
        "12 Failed [c=Error 1] PodFailed",
        "12 Delete",
    ]);
}

#[test]
fn the_restart_policy_decides_how_a_pod_ends() {
    let cases = [
        ("Never", "0", "5 Succeeded [c=Completed 0] PodCompleted"),
        ("Never", "3", "5 Failed [c=Error 3] PodFailed"),
        ("OnFailure", "0", "5 Succeeded [c=Completed 0] PodCompleted"),
        ("OnFailure", "3", "5 start c #1"),
        ("Always", "0", "5 start c #1"),
    ];
    for (policy, code, expected) in cases {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]});
        let stage = Play::new(pod(
            spec,
            json!({"sim.exeunt.dev/run-seconds": "5", "sim.exeunt.dev/exit-code": code}),
        ));
        let stage = stage.until(5.0);
        assert_eq!(stage.lines.last().unwrap(), expected, "{policy} {code}");
        assert_eq!(stage.end, End::No, "nobody deletes {policy} {code}");
    }
}

#[test]
fn rules_on_exit_codes_go_before_the_policy() {
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    for (code, restarts) in [("42", 1), ("43", 0)] {
        let container = json!({"name": "c", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rules});
        let spec = json!({"restartPolicy": "Always", "containers": [container]});
        let stage = Play::new(pod(
            spec,
            json!({"sim.exeunt.dev/run-seconds": "5", "sim.exeunt.dev/exit-code": code}),
        ))
        .until(6.0);
        assert_eq!(stage.life.runs[0].restarts, restarts, "exit code {code}");
    }
}

#[test]
fn sidecars_are_stopped_when_the_work_is_done() {
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i"}],
    });
    Play::new(pod(
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
fn an_init_container_that_fails_stops_the_pod_or_is_tried_again() {
    let spec = |policy: &str| {
        json!({
            "restartPolicy": policy,
            "initContainers": [{"name": "init", "image": "i"}],
            "containers": [{"name": "c", "image": "i"}],
        })
    };
    let annotations =
        || json!({"sim.exeunt.dev/exit-code.init": "1", "sim.exeunt.dev/run-seconds.init": "1"});
    Play::new(pod(spec("Never"), annotations()))
        .until(60.0)
        .check(&[
            "0 start init #0",
            "0 Pending [init=running c=PodInitializing] ContainersNotReady",
            "1 remove",
            "1 Failed [init=Error 1 c=PodInitializing] PodFailed",
        ]);
    Play::new(pod(spec("Always"), annotations()))
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
fn a_pod_deleted_before_its_container_started_fails() {
    Play::new(one(json!({"sim.exeunt.dev/startup-seconds": "9"})))
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
fn a_pod_deleted_by_force_has_its_full_grace_on_the_node_and_nothing_is_told() {
    Play::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})))
        .until(2.0)
        .lose()
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
fn a_pod_that_the_api_calls_failed_is_stopped_and_kept() {
    let mut stage = Play::new(one(json!({}))).until(2.0);
    stage.lines();
    stage.desired.phase = Phase::Failed;
    stage.look();
    stage.until(9.0).check(&[
        "2 Killing: Stopping container c",
        "2 stop c within 30",
        "2 remove",
        "2 Failed [c=Completed 0] PodFailed",
    ]);
}

#[test]
fn readiness_gates_are_waited_for() {
    let mut view = pod(
        json!({"containers": [{"name": "c", "image": "i"}], "readinessGates": [{"conditionType": "lb"}]}),
        json!({}),
    );
    let stage = Play::new(view.clone()).check(&[
        "0 start c #0",
        "0 Running [c=running+] ReadinessGatesNotReady",
    ]);
    let message = |stage: &Play| {
        stage.view.status.conditions[2]
            .message
            .clone()
            .unwrap_or_default()
    };
    assert_eq!(
        message(&stage),
        "corresponding condition of pod readiness gate \"lb\" does not exist."
    );
    let mut stage = stage.until(3.0);
    view["status"]["conditions"] = json!([{"type": "lb", "status": "True"}]);
    stage.desired.gates = Desired::from_view(&serde_json::from_value(view).unwrap()).gates;
    stage.look();
    stage.check(&["3 Running [c=running+] Ready True"]);
}

#[test]
fn the_time_of_a_condition_is_that_of_its_last_change() {
    let stage = Play::new(one(json!({"sim.exeunt.dev/ready-after-seconds": "3"})))
        .until(60.0)
        .delete(5)
        .until(70.0);
    let times: Vec<_> = stage
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
fn never_ready_is_told_once_and_can_be_switched() {
    let mut stage = Play::new(one(json!({"sim.exeunt.dev/never-ready": "true"}))).until(5.0);
    assert_eq!(
        stage.lines(),
        [
            "0 start c #0",
            "0 Unhealthy: Readiness probe failed: simulated as never ready",
            "0 Running [c=running] ContainersNotReady",
        ]
    );
    stage.view.metadata.annotations = None;
    stage.runtime.admit(&stage.view, stage.now);
    stage.look();
    stage.check(&["5 Running [c=running+] Ready True"]);
}

/// A second agent sees the pod that a first one has left.
fn again(stage: Play) -> Play {
    let (now, mut view) = (stage.now, stage.view);
    view.status = serde_json::from_value(serde_json::to_value(view.status).unwrap()).unwrap();
    let runtime = Simulated::new();
    let desired = Desired {
        phase: Phase::parse(&view.status.phase),
        ..Desired::from_view(&view)
    };
    let desired = Desired {
        deletion_grace: stage.desired.deletion_grace,
        ..desired
    };
    runtime.admit(&view, now);
    runtime.adopt(&view, now);
    let life = Life::begin(
        &desired,
        &view.status,
        stage.life.host_ip,
        stage.life.ip,
        now,
    );
    let mut stage = Play {
        runtime,
        view,
        desired,
        life,
        lines: Vec::new(),
        wake_at: None,
        end: End::No,
        ..stage
    };
    stage.look();
    stage
}

#[test]
fn an_agent_that_starts_again_goes_on_with_what_runs() {
    let annotations =
        json!({"sim.exeunt.dev/startup-seconds": "1", "sim.exeunt.dev/ready-after-seconds": "4"});
    let mut first = Play::new(one(annotations)).until(3.0);
    first.lines();
    let before = first.view.status.clone();
    let second = again(first);
    assert_eq!(second.view.status, before);
    second
        .until(20.0)
        .check(&["5 Running [c=running+] Ready True"]);
}

#[test]
fn an_agent_that_starts_again_gives_the_full_grace_once_more() {
    let stage = Play::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})))
        .until(1.0)
        .delete(10)
        .until(6.0);
    again(stage).until(60.0).check(&[
        "6 Killing: Stopping container c",
        "6 stop c within 10",
        "16 remove",
        "16 Failed [c=Error 137] PodFailed",
        "16 Delete",
    ]);
}

#[test]
fn an_agent_that_starts_again_leaves_finished_pods_alone() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
    let mut stage = Play::new(pod(spec, json!({"sim.exeunt.dev/run-seconds": "5"}))).until(9.0);
    stage.lines();
    let before = stage.view.status.clone();
    let stage = again(stage);
    assert_eq!(stage.view.status, before);
    stage.check(&["9 remove"]);
}

#[test]
fn wishes_that_change_cannot_change_the_past() {
    let mut stage = Play::new(one(json!({}))).until(100.0);
    stage.lines();
    stage.view.metadata.annotations = Some(
        [(
            "sim.exeunt.dev/crash-after-seconds".to_owned(),
            "3".to_owned(),
        )]
        .into(),
    );
    stage.runtime.admit(&stage.view, stage.now);
    stage.look();
    let crashed = stage.view.status.container_statuses[0]
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
fn a_second_stop_only_comes_earlier() {
    for (second, killed_at) in [(60, 20), (5, 8)] {
        let mut stage = Play::new(one(json!({"sim.exeunt.dev/ignore-sigterm": "true"})));
        for (now, timeout) in [(0.0, 20), (3.0, second)] {
            stage.now = at(now);
            stage.runtime.order(
                "u",
                Order::Stop {
                    container: 0,
                    timeout: std::time::Duration::from_secs(timeout),
                },
                stage.now,
            );
        }
        assert_eq!(
            stage.runtime.observe("u", stage.now).next_change,
            Some(at(f64::from(killed_at)))
        );
    }
}

#[test]
fn an_ephemeral_container_starts_when_it_is_added_and_ends_with_the_pod() {
    let mut stage = Play::new(one(json!({}))).until(5.0);
    stage.lines();
    let mut added = stage.view.spec.containers[0].clone();
    added.name = "debugger".to_owned();
    stage.view.spec.ephemeral_containers.push(added);
    stage.runtime.admit(&stage.view, stage.now);
    stage.desired = Desired::from_view(&stage.view);
    stage.look();
    let stage = stage.check(&[
        "5 start debugger #0",
        "5 Running [c=running+ debugger=running] Ready True",
    ]);
    let mut stage = again(stage);
    stage.lines();
    stage.until(9.0).delete(30).check(&[
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
