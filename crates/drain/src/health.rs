//! What a pod says of itself: whether it is ready, whose it is, and, when it is not ready, why not
//! and since when.
//!
//! Pure: a pod (and the node under it) in, words out. It knows nothing of budgets.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
pub use rules::pods::{condition, is_finished, is_ready, is_terminating, name, phase};
use serde::Serialize;

use crate::cluster::Snapshot;

/// What keeps a pod from being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// A container ends again and again.
    Crashing,
    /// An image cannot be had, or a container cannot be made of it.
    Image,
    /// It has not been running yet.
    Starting,
    /// No node takes it.
    Unschedulable,
    /// Its node does not report.
    NodeLost,
    /// It has run to its end.
    Finished,
    /// It runs and says that it is not ready.
    NotReady,
}

/// A pod that is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unready {
    /// Of what sort.
    pub trouble: Trouble,
    /// In words, for example `CrashLoopBackOff, exit 1, 7 restarts`.
    pub why: String,
    /// Since when, if it is known.
    pub since: Option<Timestamp>,
}

/// The pod's namespace; manifests may leave it out.
#[must_use]
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// The node on which the pod is.
#[must_use]
pub fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()?
        .node_name
        .as_deref()
        .filter(|name| !name.is_empty())
}

/// Returns the owner that controls the pod, and so replaces it.
#[must_use]
pub fn controller_of(pod: &Pod) -> Option<&OwnerReference> {
    rules::owners::controller_of(&pod.metadata)
}

/// Whether the node says that it works: false when it reports trouble or does not report at all.
#[must_use]
pub fn node_is_ready(node: &Node) -> bool {
    node_condition(node, "Ready").is_some_and(|(status, _)| status == "True")
}

/// Status and time of a node's condition.
pub(crate) fn node_condition<'a>(
    node: &'a Node,
    kind: &str,
) -> Option<(&'a str, Option<Timestamp>)> {
    let found = node
        .status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == kind)?;
    Some((
        &found.status,
        found.last_transition_time.as_ref().map(|time| time.0),
    ))
}

/// Why the pod is not ready; none when it is.
#[must_use]
pub fn unready(snapshot: &Snapshot, pod: &Pod) -> Option<Unready> {
    if is_ready(pod) {
        return None;
    }
    let ready = condition(pod, "Ready")
        .and_then(|ready| ready.last_transition_time.as_ref())
        .map(|time| time.0);
    let since = ready.or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let (trouble, why) = finished(pod)
        .or_else(|| unschedulable(pod))
        .or_else(|| lost(snapshot, pod))
        .or_else(|| containers(pod))
        .or_else(|| gate(pod))
        .unwrap_or_else(|| not_started(pod));
    Some(Unready {
        trouble,
        why,
        since,
    })
}

fn finished(pod: &Pod) -> Option<(Trouble, String)> {
    let reason = pod
        .status
        .as_ref()
        .and_then(|status| status.reason.as_deref());
    let why = reason.map_or_else(
        || phase(pod).to_owned(),
        |reason| format!("{}: {reason}", phase(pod)),
    );
    is_finished(pod).then_some((Trouble::Finished, why))
}

fn unschedulable(pod: &Pod) -> Option<(Trouble, String)> {
    let scheduled =
        condition(pod, "PodScheduled").filter(|scheduled| scheduled.status == "False")?;
    let reason = scheduled.reason.as_deref().unwrap_or("not scheduled");
    let why = scheduled.message.as_ref().map_or_else(
        || reason.to_owned(),
        |message| format!("{reason}: {message}"),
    );
    Some((Trouble::Unschedulable, why))
}

fn lost(snapshot: &Snapshot, pod: &Pod) -> Option<(Trouble, String)> {
    let name = node_of(pod)?;
    let node = snapshot
        .nodes
        .iter()
        .find(|node| node.metadata.name.as_deref() == Some(name))?;
    let (status, _) = node_condition(node, "Ready").filter(|(status, _)| *status != "True")?;
    Some((
        Trouble::NodeLost,
        format!("node {name} is not Ready ({status})"),
    ))
}

fn containers(pod: &Pod) -> Option<(Trouble, String)> {
    let status = pod.status.as_ref()?;
    let all = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten());
    let told: Vec<(Trouble, String)> = all.filter_map(container).collect();
    // A crash explains more than the wait of the others for it.
    told.iter()
        .find(|(trouble, _)| matches!(trouble, Trouble::Crashing | Trouble::Image))
        .or(told.first())
        .cloned()
}

fn container(container: &ContainerStatus) -> Option<(Trouble, String)> {
    let state = container.state.as_ref();
    let last = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        return match reason {
            "CrashLoopBackOff" => Some((
                Trouble::Crashing,
                crashed(container, reason, last.map(|end| end.exit_code)),
            )),
            "ContainerCreating" | "PodInitializing" => Some((
                Trouble::Starting,
                format!("container {} starts ({reason})", container.name),
            )),
            _ => Some((
                Trouble::Image,
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
            Trouble::Crashing,
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
        Trouble::NotReady,
        format!("container {} runs and is not ready{often}", container.name),
    ))
}

fn crashed(container: &ContainerStatus, reason: &str, exit_code: Option<i32>) -> String {
    let exit = exit_code
        .map(|code| format!(", exit {code}"))
        .unwrap_or_default();
    let plural = if container.restart_count == 1 {
        ""
    } else {
        "s"
    };
    format!(
        "{reason}{exit}, {} restart{plural} (container {})",
        container.restart_count, container.name
    )
}

fn gate(pod: &Pod) -> Option<(Trouble, String)> {
    let gates = pod.spec.as_ref()?.readiness_gates.as_ref()?;
    let open =
        |kind: &str| condition(pod, kind).is_some_and(|condition| condition.status == "True");
    let shut = gates.iter().find(|gate| !open(&gate.condition_type))?;
    Some((
        Trouble::NotReady,
        format!("readiness gate {} is not True", shut.condition_type),
    ))
}

fn not_started(pod: &Pod) -> (Trouble, String) {
    let ready = condition(pod, "Ready");
    let told = ready
        .and_then(|ready| ready.message.clone().or_else(|| ready.reason.clone()))
        .filter(|text| !text.is_empty());
    match phase(pod) {
        "Running" => (
            Trouble::NotReady,
            told.unwrap_or_else(|| "its condition Ready is not True".to_owned()),
        ),
        "Unknown" => (Trouble::NodeLost, "its phase is Unknown".to_owned()),
        _ => (
            Trouble::Starting,
            told.unwrap_or_else(|| "it has not started".to_owned()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(status: serde_json::Value, trouble: Trouble, why: &str) {
        let mut snapshot = Snapshot::empty(Timestamp::UNIX_EPOCH);
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
        assert_eq!((found.trouble, found.why.as_str()), (trouble, why));
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
            Trouble::Crashing,
            "CrashLoopBackOff, exit 1, 7 restarts (container c)",
        );
        check(
            json!({"phase": "Running", "containerStatuses": [side]}),
            Trouble::NotReady,
            "container s runs and is not ready",
        );
        check(
            json!({"phase": "Pending", "containerStatuses": [pull]}),
            Trouble::Image,
            "ImagePullBackOff (container c, image i)",
        );
        check(
            json!({"phase": "Failed", "reason": "Evicted"}),
            Trouble::Finished,
            "Failed: Evicted",
        );
        check(
            json!({"phase": "Running", "containerStatuses": [side]}),
            Trouble::NodeLost,
            "node lost is not Ready (Unknown)",
        );
        check(
            json!({"phase": "Running"}),
            Trouble::NotReady,
            "readiness gate lb is not True",
        );
        let scheduled = json!([{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes"}]);
        check(
            json!({"phase": "Pending", "conditions": scheduled}),
            Trouble::Unschedulable,
            "Unschedulable: 0/3 nodes",
        );
    }
}
