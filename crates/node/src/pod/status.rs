//! What a node reports of a pod: the status as it stands on the wire, read and written.
//!
//! Only the members that a node owns are here; the conditions of others pass through
//! [`PodStatus::owned`] unharmed because they are never written. Rendering is in [`render`].

pub(crate) mod render;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::view::nullable;

/// The types of conditions that a node writes, in the order in which it writes them.
pub(crate) const OWNED_CONDITIONS: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// Status of a pod, as far as a node owns it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Generation of the specification that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub phase: String,
    /// Conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
    /// Address of the node.
    #[serde(rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
    /// Addresses of the node.
    #[serde(
        rename = "hostIPs",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub host_ips: Vec<Address>,
    /// Address of the pod.
    #[serde(rename = "podIP", skip_serializing_if = "String::is_empty")]
    pub pod_ip: String,
    /// Addresses of the pod.
    #[serde(
        rename = "podIPs",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pod_ips: Vec<Address>,
    /// When the node took the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Init containers.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Ordinary containers.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Ephemeral containers.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// One condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Generation of the specification that it is about.
    pub observed_generation: Option<i64>,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When `status` last changed.
    pub last_transition_time: Option<Timestamp>,
    /// One word why; none when the condition is as it should be.
    pub reason: Option<String>,
    /// For people.
    pub message: Option<String>,
}

/// One address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Address {
    /// The address.
    pub ip: String,
}

/// Status of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Name.
    pub name: String,
    /// What it does.
    pub state: State,
    /// How the attempt before ended.
    pub last_state: State,
    /// True when it is ready.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: i32,
    /// Image.
    pub image: String,
    /// Id of the image.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// Id of the container.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// True when it has started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<bool>,
    /// What the node keeps for it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocated_resources: BTreeMap<String, String>,
    /// What it has; none when it asks for nothing, or does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Amounts of CPU, memory and the like by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// The most that it gets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
    /// What it asks for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, String>,
}

/// What a container does; at most one member is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// It waits to be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// It runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// It has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Terminated>,
}

/// Why a container waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// One word.
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Since when a container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    /// When it started.
    pub started_at: Option<Timestamp>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Exit code.
    pub exit_code: i32,
    /// One word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it had started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Id of the container.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
}

impl PodStatus {
    /// The status of the container with this name.
    pub(crate) fn of_container(&self, name: &str) -> Option<&ContainerStatus> {
        let all = self
            .init_container_statuses
            .iter()
            .chain(&self.container_statuses)
            .chain(&self.ephemeral_container_statuses);
        all.into_iter().find(|status| status.name == name)
    }

    /// The owned part: the conditions of others are dropped, ours stand in our order.
    pub(crate) fn owned(mut self) -> Self {
        let place = |condition: &Condition| {
            OWNED_CONDITIONS
                .iter()
                .position(|owned| *owned == condition.kind)
        };
        self.conditions
            .retain(|condition| place(condition).is_some());
        self.conditions.sort_by_key(place);
        self
    }

    /// The strategic merge patch that makes the API show this status. The uid keeps it away from a
    /// successor of the same name; reason and message of a condition are null where they are to
    /// vanish.
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

/// A number that differs when the content does.
pub(crate) fn fingerprint(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}
