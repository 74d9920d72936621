//! Timelines of whole pods on the simulated runtime: requests, events and published statuses with
//! their times.

mod deadline;
mod properties;
mod restart;
mod resume;
mod start;
mod stop;

use serde_json::{Value, json};

use super::*;
use crate::runtime::{Runtime, Simulated};
use crate::wire::status::ContainerStatus;
use crate::wire::view::PodView;

/// A pod on a simulated node of its own. The clock jumps from one moment to the next at which the
/// worker wants to be called.
struct Simulation {
    runtime: Simulated,
    view: PodView,
    desired: DesiredPod,
    state: WorkerState,
    now: Timestamp,
    /// What happened since [`Simulation::lines`] was called last.
    lines: Vec<String>,
    /// All events, as `TYPE CONTAINER REASON`.
    events: Vec<String>,
    /// The published status in the form of a line.
    published: String,
    wake_at: Option<Timestamp>,
    disposition: Disposition,
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs_f64(seconds)
}

fn pod(spec: Value, annotations: Value) -> Value {
    json!({
        "metadata": {
            "name": "p", "namespace": "d", "uid": "u", "generation": 1, "annotations": annotations,
        },
        "spec": spec,
        "status": {"phase": "Pending"},
    })
}

/// A pod with one container `c`.
fn one(annotations: Value) -> Value {
    pod(
        json!({"containers": [{"name": "c", "image": "i"}]}),
        annotations,
    )
}

impl Simulation {
    fn new(pod: Value) -> Self {
        let view: PodView = serde_json::from_value(pod).unwrap();
        let desired = DesiredPod::from_view(&view);
        let runtime = Simulated::new();
        assert_eq!(runtime.update(&view, at(0.0)), Vec::<String>::new());
        let state = WorkerState::resume(
            &desired,
            &view.status,
            Ipv4Addr::new(172, 16, 0, 2),
            Some(Ipv4Addr::new(10, 244, 0, 2)),
            at(0.0),
        );
        let mut simulation = Self {
            runtime,
            view,
            desired,
            state,
            now: at(0.0),
            lines: Vec::new(),
            events: Vec::new(),
            published: String::new(),
            wake_at: None,
            disposition: Disposition::Keep,
        };
        simulation.sync();
        simulation
    }

    fn line(&mut self, text: &str) {
        let seconds = self.now.duration_since(at(0.0)).as_secs_f64();
        self.lines.push(format!("{seconds} {text}"));
    }

    /// Does what an agent does: carries out requests until no more are made, and publishes the
    /// status.
    fn sync(&mut self) {
        for _ in 0..20 {
            let observed = self.runtime.observe("u", self.now);
            let result = next(self.state.clone(), &self.desired, &observed, self.now);
            self.state = result.state;
            let start = ["Pulled", "Created", "Started"];
            for event in &result.events {
                self.events.push(self.describe_event(event));
                if !start.contains(&event.reason) {
                    self.line(&format!("{}: {}", event.reason, event.message));
                }
            }
            for request in &result.requests {
                self.line(&self.describe(request));
                self.runtime.request("u", request.clone(), self.now);
            }
            self.wake_at = result.wake_at;
            if result.requests.is_empty() {
                if result.disposition != self.disposition {
                    self.line(&format!("{:?}", result.disposition));
                }
                self.disposition = result.disposition;
                if let Some(status) = result.status {
                    self.publish(&status);
                }
                return;
            }
        }
        panic!("the pod does not settle: {:#?}", self.lines);
    }

    fn describe(&self, request: &RuntimeRequest) -> String {
        let name = |index: &usize| &self.desired.containers[*index].name;
        match request {
            RuntimeRequest::StartContainer { container, attempt } => {
                format!("start {} #{attempt}", name(container))
            }
            RuntimeRequest::RunPreStopHook { container } => format!("hook {}", name(container)),
            RuntimeRequest::StopContainer { container, timeout } => {
                format!("stop {} within {}", name(container), timeout.as_secs())
            }
            RuntimeRequest::RemovePod => "remove".to_owned(),
        }
    }

    fn describe_event(&self, event: &PodEvent) -> String {
        let container = event
            .container
            .map(|index| &*self.desired.containers[index].name);
        let kind = if event.warning { "Warning" } else { "Normal" };
        format!("{kind} {} {}", container.unwrap_or("-"), event.reason)
    }

    /// Publishes the status, which then is part of the desired state.
    fn publish(&mut self, status: &PodStatus) {
        let statuses = status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .chain(&status.ephemeral_container_statuses);
        let containers: Vec<String> = statuses.map(describe_status).collect();
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.kind == "Ready")
            .unwrap();
        let ready = ready
            .reason
            .clone()
            .unwrap_or_else(|| format!("Ready {}", ready.status));
        let published = format!("{} [{}] {ready}", status.phase, containers.join(" "));
        if published != self.published {
            self.line(&published);
            self.published = published;
        }
        self.view.status = status.clone();
        let phase = self.desired.phase;
        self.desired.phase = PodPhase::parse(&status.phase);
        if phase != self.desired.phase {
            self.sync();
        }
    }

    /// Lets time pass until `seconds`.
    fn until(mut self, seconds: f64) -> Self {
        for _ in 0..1000 {
            let Some(wake) = self.wake_at.filter(|wake| *wake <= at(seconds)) else {
                self.now = at(seconds);
                return self;
            };
            assert!(wake > self.now, "time does not pass: {:#?}", self.lines);
            self.now = wake;
            self.sync();
        }
        panic!("the pod does not come to rest: {:#?}", self.lines);
    }

    /// Deletes the pod with this grace period.
    fn delete(mut self, grace_seconds: i64) -> Self {
        self.line("- deleted");
        self.desired.deletion_grace = Some(grace_seconds);
        self.sync();
        self
    }

    /// Removes the object, as a deletion by force does.
    fn object_gone(mut self) -> Self {
        self.line("- gone");
        self.desired.gone = true;
        self.sync();
        self
    }

    /// Returns what happened since the last call.
    fn lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    #[track_caller]
    fn check(mut self, expected: &[&str]) -> Self {
        assert_eq!(self.lines(), expected);
        self
    }
}

/// Renders the status of a container as `NAME=STATE`, with a `+` when it is ready.
fn describe_status(status: &ContainerStatus) -> String {
    let state = if status.state.running.is_some() {
        "running".to_owned()
    } else if let Some(terminated) = &status.state.terminated {
        format!("{} {}", terminated.reason, terminated.exit_code)
    } else if let Some(waiting) = &status.state.waiting {
        waiting.reason.clone()
    } else {
        "nothing".to_owned()
    };
    let ready = if status.ready { "+" } else { "" };
    format!("{}={state}{ready}", status.name)
}
