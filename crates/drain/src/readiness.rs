//! Why a pod is not ready, and since when.
//!
//! A pod that is slow is not broken: [`UnreadyReason::NotReady`] needs evidence, namely that the
//! pod was ready before, or that it has had more time than `patience.rs` gives it.
//!
//! Pure: reads the pod's status, its Deployment and the Ready condition of its node. It knows
//! nothing of budgets.

mod patience;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::Serialize;

use crate::cluster::ClusterSnapshot;
use crate::format::{between, plural};
use crate::pods::{condition, is_finished, is_ready, node_condition, node_of, phase};

/// The category of a pod's failure to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnreadyReason {
    /// A container exits again and again (`CrashLoopBackOff`), or has exited with an error.
    Crashing,
    /// The kubelet cannot pull an image or create a container (`ImagePullBackOff`,
    /// `CreateContainerError`).
    Image,
    /// The containers have not started yet. No action is needed.
    Starting,
    /// It runs, and its probes or its Deployment give it more time to become ready. No action is
    /// needed.
    NotYetReady,
    /// The scheduler finds no node for it.
    Unschedulable,
    /// Its node has stopped reporting.
    NodeLost,
    /// All containers have terminated for good.
    Finished,
    /// It runs, and a readiness probe or a readiness gate fails, or it takes too long to start.
    NotReady,
}

/// Why a pod is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unready {
    /// The category.
    pub reason: UnreadyReason,
    /// The details for people, for example `CrashLoopBackOff, exit 1, 7 restarts`.
    pub why: String,
    /// When the pod became unready, `None` when it does not report that.
    pub since: Option<Timestamp>,
    /// When the pod is expected to be ready, for those that are not expected to fail.
    pub expected: Option<Timestamp>,
}

impl UnreadyReason {
    /// Returns true when the pod may become ready without any change.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Starting | Self::NotYetReady | Self::NotReady)
    }

    /// Returns true when nothing shows that the pod fails.
    #[must_use]
    pub fn is_early(self) -> bool {
        matches!(self, Self::Starting | Self::NotYetReady)
    }
}

/// Explains why the pod is not ready. `None` when it is ready.
#[must_use]
pub fn unready(snapshot: &ClusterSnapshot, pod: &Pod) -> Option<Unready> {
    if is_ready(pod) {
        return None;
    }
    let ready = condition(pod, "Ready")
        .and_then(|ready| ready.last_transition_time.as_ref())
        .map(|time| time.0);
    let since = ready.or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let (mut reason, mut why) = finished(pod)
        .or_else(|| unschedulable(pod))
        .or_else(|| lost(snapshot, pod))
        .or_else(|| containers(pod))
        .or_else(|| gate(pod))
        .unwrap_or_else(|| not_started(pod));
    let mut expected = None;
    if reason.may_pass() {
        match patience::of(snapshot, pod) {
            Some(patience) => {
                if reason == UnreadyReason::NotReady {
                    reason = UnreadyReason::NotYetReady;
                    let left = between(snapshot.now, patience.until);
                    why = format!("{why} yet, and {} {left} more", patience.granted_by);
                }
                expected = Some(patience.expected);
            }
            None => reason = UnreadyReason::NotReady,
        }
    }
    Some(Unready {
        reason,
        why,
        since,
        expected,
    })
}

fn finished(pod: &Pod) -> Option<(UnreadyReason, String)> {
    let reason = pod
        .status
        .as_ref()
        .and_then(|status| status.reason.as_deref());
    let why = reason.map_or_else(
        || phase(pod).to_owned(),
        |reason| format!("{}: {reason}", phase(pod)),
    );
    is_finished(pod).then_some((UnreadyReason::Finished, why))
}

fn unschedulable(pod: &Pod) -> Option<(UnreadyReason, String)> {
    let scheduled =
        condition(pod, "PodScheduled").filter(|scheduled| scheduled.status == "False")?;
    let reason = scheduled.reason.as_deref().unwrap_or("not scheduled");
    let why = scheduled.message.as_ref().map_or_else(
        || reason.to_owned(),
        |message| format!("{reason}: {message}"),
    );
    Some((UnreadyReason::Unschedulable, why))
}

fn lost(snapshot: &ClusterSnapshot, pod: &Pod) -> Option<(UnreadyReason, String)> {
    let name = node_of(pod)?;
    let node = snapshot.node(name)?;
    let (status, _) = node_condition(node, "Ready").filter(|(status, _)| *status != "True")?;
    Some((
        UnreadyReason::NodeLost,
        format!("node {name} is not Ready ({status})"),
    ))
}

fn containers(pod: &Pod) -> Option<(UnreadyReason, String)> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let init = init.filter_map(|status| {
        let runs = status
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some());
        if runs && !is_sidecar(pod, &status.name) {
            let why = format!("init container {} is running", status.name);
            return Some((UnreadyReason::Starting, why));
        }
        container(status)
    });
    let main = status.container_statuses.iter().flatten();
    let found: Vec<(UnreadyReason, String)> = init.chain(main.filter_map(container)).collect();
    // The other containers are often unready only because they wait for the one that crashes.
    found
        .iter()
        .find(|(reason, _)| matches!(reason, UnreadyReason::Crashing | UnreadyReason::Image))
        .or(found.first())
        .cloned()
}

/// Returns true for an init container that runs beside the others.
fn is_sidecar(pod: &Pod, name: &str) -> bool {
    let init = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    init.filter(|container| container.name == name)
        .any(|container| container.restart_policy.as_deref() == Some("Always"))
}

fn container(container: &ContainerStatus) -> Option<(UnreadyReason, String)> {
    let state = container.state.as_ref();
    let last = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        return match reason {
            "CrashLoopBackOff" => Some((
                UnreadyReason::Crashing,
                crashed(container, reason, last.map(|end| end.exit_code)),
            )),
            "ContainerCreating" | "PodInitializing" => Some((
                UnreadyReason::Starting,
                format!("container {} is starting ({reason})", container.name),
            )),
            _ => Some((
                UnreadyReason::Image,
                format!(
                    "{reason} (container {}, image {})",
                    container.name, container.image
                ),
            )),
        };
    }
    if let Some(end) = state
        .and_then(|state| state.terminated.as_ref())
        .filter(|end| end.exit_code != 0)
    {
        return Some((
            UnreadyReason::Crashing,
            crashed(
                container,
                end.reason.as_deref().unwrap_or("Error"),
                Some(end.exit_code),
            ),
        ));
    }
    let runs = state.is_some_and(|state| state.running.is_some());
    if !runs || container.ready {
        return None;
    }
    let often = if container.restart_count > 2 {
        format!(", {} restarts", container.restart_count)
    } else {
        String::new()
    };
    Some((
        UnreadyReason::NotReady,
        format!(
            "container {} is running but not ready{often}",
            container.name
        ),
    ))
}

fn crashed(container: &ContainerStatus, reason: &str, exit_code: Option<i32>) -> String {
    let exit = exit_code
        .map(|code| format!(", exit {code}"))
        .unwrap_or_default();
    format!(
        "{reason}{exit}, {} (container {})",
        plural(container.restart_count, "restart"),
        container.name
    )
}

fn gate(pod: &Pod) -> Option<(UnreadyReason, String)> {
    let gates = pod.spec.as_ref()?.readiness_gates.as_ref()?;
    let open =
        |kind: &str| condition(pod, kind).is_some_and(|condition| condition.status == "True");
    let shut = gates.iter().find(|gate| !open(&gate.condition_type))?;
    Some((
        UnreadyReason::NotReady,
        format!("readiness gate {} is not True", shut.condition_type),
    ))
}

fn not_started(pod: &Pod) -> (UnreadyReason, String) {
    let ready = condition(pod, "Ready");
    let message = ready
        .and_then(|ready| ready.message.clone().or_else(|| ready.reason.clone()))
        .filter(|text| !text.is_empty());
    match phase(pod) {
        "Running" => (
            UnreadyReason::NotReady,
            message.unwrap_or_else(|| "its condition Ready is not True".to_owned()),
        ),
        "Unknown" => (UnreadyReason::NodeLost, "its phase is Unknown".to_owned()),
        _ => (
            UnreadyReason::Starting,
            message.unwrap_or_else(|| "it has not started".to_owned()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(status: serde_json::Value, reason: UnreadyReason, why: &str) {
        let mut snapshot = ClusterSnapshot::empty(Timestamp::UNIX_EPOCH);
        snapshot.nodes.push(
            serde_json::from_value(json!({"metadata": {"name": "lost"},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}))
            .expect("a node"),
        );
        let node = if why.contains("node lost") {
            "lost"
        } else {
            "n"
        };
        let pod = json!({"metadata": {"name": "p"}, "status": status,
            "spec": {"nodeName": node, "containers": [],
                "readinessGates": [{"conditionType": "lb"}]}});
        let found =
            unready(&snapshot, &serde_json::from_value(pod).expect("a pod")).expect("not ready");
        assert_eq!((found.reason, found.why.as_str()), (reason, why));
    }

    #[test]
    fn the_reason_is_the_one_that_explains_most() {
        let crash = json!({"name": "c", "image": "i", "imageID": "", "ready": false,
            "restartCount": 7,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "startedAt": null, "finishedAt": null}}});
        let side = json!({"name": "s", "image": "i", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"running": {"startedAt": null}}});
        let pull = json!({"name": "c", "image": "i", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}});
        let both = json!({"phase": "Running", "containerStatuses": [side, crash]});
        check(
            both,
            UnreadyReason::Crashing,
            "CrashLoopBackOff, exit 1, 7 restarts (container c)",
        );
        check(
            json!({"phase": "Running", "containerStatuses": [side]}),
            UnreadyReason::NotReady,
            "container s is running but not ready",
        );
        check(
            json!({"phase": "Pending", "containerStatuses": [pull]}),
            UnreadyReason::Image,
            "ImagePullBackOff (container c, image i)",
        );
        check(
            json!({"phase": "Failed", "reason": "Evicted"}),
            UnreadyReason::Finished,
            "Failed: Evicted",
        );
        check(
            json!({"phase": "Running", "containerStatuses": [side]}),
            UnreadyReason::NodeLost,
            "node lost is not Ready (Unknown)",
        );
        check(
            json!({"phase": "Running"}),
            UnreadyReason::NotReady,
            "readiness gate lb is not True",
        );
        let scheduled = json!([{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes"}]);
        check(
            json!({"phase": "Pending", "conditions": scheduled}),
            UnreadyReason::Unschedulable,
            "Unschedulable: 0/3 nodes",
        );
    }
}
