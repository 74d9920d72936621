//! The part of a pod's status that a node owns, as it is on the wire.
//!
//! The conditions of other writers are not part of it. A patch from here never names them, so the
//! API keeps them. `phase/render.rs` makes a status from what the worker knows.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// The types of the conditions that a node owns, in the order in which it writes them.
pub(crate) const OWNED_CONDITIONS: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// The reason of a pod that ran longer than its `activeDeadlineSeconds`.
pub(crate) const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// The status of a pod, as far as a node owns it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// The generation of the specification that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub phase: String,
    /// Why the node ended the pod: `DeadlineExceeded`, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A human-readable explanation of `reason`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The conditions of the types in `OWNED_CONDITIONS`.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<PodCondition>,
    /// The address of the node.
    #[serde(rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
    /// Address of the node.
    #[serde(
        rename = "hostIPs",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub host_ips: Vec<PodIp>,
    /// The address of the pod.
    #[serde(rename = "podIP", skip_serializing_if = "String::is_empty")]
    pub pod_ip: String,
    /// Address of the pod.
    #[serde(
        rename = "podIPs",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pod_ips: Vec<PodIp>,
    /// When the node accepted the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// The status of each init container and sidecar.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// The status of each main container.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    /// The status of each ephemeral container.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// One condition of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// The type, one of `OWNED_CONDITIONS` in what a node writes.
    #[serde(rename = "type")]
    pub kind: String,
    /// The generation of the specification that the condition describes.
    pub observed_generation: Option<i64>,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When `status` last changed, in whole seconds.
    pub last_transition_time: Option<Timestamp>,
    /// A machine-readable reason in CamelCase; `None` when the condition is as desired.
    pub reason: Option<String>,
    /// A human-readable explanation.
    pub message: Option<String>,
}

/// One address of a pod or of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The IP address.
    pub ip: String,
}

/// The status of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// The name of the container.
    pub name: String,
    /// The state of the current attempt.
    pub state: ContainerStatusState,
    /// The end of the attempt before.
    pub last_state: ContainerStatusState,
    /// True when the readiness probe passes; for init containers, when they have succeeded.
    pub ready: bool,
    /// The number of restarts.
    pub restart_count: i32,
    /// The image as the specification names it.
    pub image: String,
    /// The id of the image; empty before the runtime has reported it.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// The id of the container; empty before it is created.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// True while the container runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<bool>,
    /// The resources that the node reserves for the container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocated_resources: BTreeMap<String, String>,
    /// The resources of the running container; `None` when it requests none or does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Quantities of CPU, memory and other resources by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// The upper limits.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
    /// The guaranteed amounts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, String>,
}

/// The state of a container. At most one member is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStatusState {
    /// Set while the container waits to be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<ContainerStateWaiting>,
    /// Set while the container runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<ContainerStateRunning>,
    /// Set when the container has exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<ContainerStateTerminated>,
}

/// The state of a container that waits to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStateWaiting {
    /// A machine-readable reason in CamelCase.
    pub reason: String,
    /// A human-readable explanation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The state of a running container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStateRunning {
    /// When the container started.
    pub started_at: Option<Timestamp>,
}

/// The state of a container that has exited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStateTerminated {
    /// The exit code; 128 plus the signal when a signal killed the process.
    pub exit_code: i32,
    /// A machine-readable reason in CamelCase.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A human-readable explanation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the container started.
    pub started_at: Option<Timestamp>,
    /// When the container exited.
    pub finished_at: Option<Timestamp>,
    /// The id of the container.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
}

impl PodStatus {
    /// Returns the status of the container with this name.
    pub(crate) fn of_container(&self, name: &str) -> Option<&ContainerStatus> {
        let all = self
            .init_container_statuses
            .iter()
            .chain(&self.container_statuses)
            .chain(&self.ephemeral_container_statuses);
        all.into_iter().find(|status| status.name == name)
    }

    /// Returns the part that a node owns: only conditions of the types in [`OWNED_CONDITIONS`], in
    /// that order, and only reasons that a node gives.
    pub(crate) fn owned(mut self) -> Self {
        let position = |condition: &PodCondition| {
            OWNED_CONDITIONS
                .iter()
                .position(|owned| *owned == condition.kind)
        };
        self.conditions
            .retain(|condition| position(condition).is_some());
        self.conditions.sort_by_key(position);
        if self.reason != DEADLINE_EXCEEDED {
            (self.reason, self.message) = (String::new(), String::new());
        }
        self
    }

    /// Returns the strategic merge patch that publishes this status. The uid in it makes the patch
    /// fail for a later pod of the same name. Reasons and messages that are to be removed are null.
    pub(crate) fn patch(&self, uid: &str) -> Value {
        let mut status = serde_json::to_value(self).unwrap_or_default();
        let order: Vec<Value> = self
            .conditions
            .iter()
            .map(|condition| json!({"type": condition.kind}))
            .collect();
        status["$setElementOrder/conditions"] = Value::Array(order);
        json!({"metadata": {"uid": uid}, "status": status})
    }
}

/// Returns a hash by which contents are compared. It is not stable across processes.
pub(crate) fn fingerprint(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Deserializes `null` as the default value, which other API servers send for empty lists.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
