//! The part of a pod that a node reads from the API.
//!
//! A watch of a hundred thousand pods decodes every one of them. Fields that the node does not read
//! (managed fields, volumes, environments) are missing here, so the decoder skips them. A runtime
//! that needs more of the pod adds the fields here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer};

use crate::wire::status::{PodStatus, Resources, nullable};

/// A pod, as far as the agent decodes it.
#[derive(Clone, Debug, Deserialize)]
pub struct PodView {
    /// The metadata, without managed fields and labels.
    #[serde(deserialize_with = "slim_metadata")]
    pub metadata: ObjectMeta,
    /// The specification.
    #[serde(default)]
    pub spec: PodSpecView,
    /// The published status, as far as a node owns it.
    #[serde(default)]
    pub status: PodStatus,
}

/// The specification of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpecView {
    /// The node that the pod is bound to; empty while it is not scheduled.
    pub node_name: String,
    /// `Always`, `OnFailure` or `Never`.
    pub restart_policy: String,
    /// The default grace period of a deletion.
    pub termination_grace_period_seconds: Option<i64>,
    /// The longest time that the pod may run on the node.
    pub active_deadline_seconds: Option<i64>,
    /// True when the pod shares the node's address.
    pub host_network: bool,
    /// The conditions of other writers that must be true before the pod is ready.
    #[serde(deserialize_with = "nullable")]
    pub readiness_gates: Vec<ReadinessGate>,
    /// The containers that start before the main containers: init containers and sidecars.
    #[serde(deserialize_with = "nullable")]
    pub init_containers: Vec<ContainerView>,
    /// The main containers.
    #[serde(deserialize_with = "nullable")]
    pub containers: Vec<ContainerView>,
    /// The containers that were added for debugging.
    #[serde(deserialize_with = "nullable")]
    pub ephemeral_containers: Vec<ContainerView>,
}

/// One readiness gate.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadinessGate {
    /// The type of the condition.
    pub condition_type: String,
}

/// The specification of one container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerView {
    /// The name, unique within the pod.
    pub name: String,
    /// The image as the specification names it.
    pub image: String,
    /// The container's own restart policy; `Always` on an init container makes it a sidecar.
    pub restart_policy: Option<String>,
    /// Rules on exit codes that take precedence over the policy.
    #[serde(deserialize_with = "nullable")]
    pub restart_policy_rules: Vec<RestartRule>,
    /// The readiness probe.
    pub readiness_probe: Option<Probe>,
    /// The lifecycle hooks.
    pub lifecycle: Option<Lifecycle>,
    /// The resource requests and limits.
    pub resources: Option<Resources>,
}

/// A rule on the exit codes of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestartRule {
    /// The action; `Restart` is the only one that Kubernetes defines.
    pub action: String,
    /// The exit codes that the rule applies to.
    pub exit_codes: Option<ExitCodes>,
}

/// A set of exit codes or its complement.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ExitCodes {
    /// `In` or `NotIn`.
    pub operator: String,
    /// The exit codes that the operator refers to.
    #[serde(deserialize_with = "nullable")]
    pub values: Vec<i32>,
}

/// A probe.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// The time between the start and the first probe.
    pub initial_delay_seconds: Option<i64>,
}

/// The lifecycle hooks of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    /// The hook that runs before the stop signal.
    pub pre_stop: Option<HookView>,
}

/// One lifecycle hook. Kinds of hooks that are not listed here succeed at once.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HookView {
    /// Set for a hook that only waits.
    pub sleep: Option<SleepView>,
}

/// A hook that waits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SleepView {
    /// The duration of the wait.
    pub seconds: i64,
}

/// The members of the metadata that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
}

fn slim_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let slim = SlimMetadata::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: slim.name,
        namespace: slim.namespace,
        uid: slim.uid,
        resource_version: slim.resource_version,
        generation: slim.generation,
        annotations: slim.annotations,
        owner_references: slim.owner_references,
        creation_timestamp: slim.creation_timestamp,
        deletion_timestamp: slim.deletion_timestamp,
        deletion_grace_period_seconds: slim.deletion_grace_period_seconds,
        ..ObjectMeta::default()
    })
}

impl PodView {
    /// Returns the uid; empty when the server sent none.
    pub(crate) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Iterates over all containers: init containers, main containers, ephemeral containers. The
    /// index of a container in this order identifies it everywhere in this crate.
    pub(crate) fn all_containers(&self) -> impl Iterator<Item = &ContainerView> {
        self.spec
            .init_containers
            .iter()
            .chain(&self.spec.containers)
            .chain(&self.spec.ephemeral_containers)
    }
}

impl kube::Resource for PodView {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        <Pod as kube::Resource>::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        <Pod as kube::Resource>::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        <Pod as kube::Resource>::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        <Pod as kube::Resource>::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
