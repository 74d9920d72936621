//! How a pod is decoded: only what controllers read.
//!
//! A pod is by far the most frequent object, and most of it (environments, probes, hooks, security)
//! is the node's business. What is not named here is skipped by the decoder instead of being built
//! and thrown away. What comes out is a [`Pod`] as everybody knows it, in which the rest is empty.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, ContainerState, ContainerStateTerminated, ContainerStatus,
    NodeAffinity, PersistentVolumeClaimVolumeSource, Pod, PodCondition, PodIP, PodSchedulingGate,
    PodSpec, PodStatus, ResourceRequirements, Toleration, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Deserializer};

/// A pod on its way in.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wire {
    metadata: ObjectMeta,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    node_selector: Option<BTreeMap<String, String>>,
    affinity: Option<Liking>,
    tolerations: Option<Vec<Toleration>>,
    scheduler_name: Option<String>,
    scheduling_gates: Option<Vec<PodSchedulingGate>>,
    priority: Option<i32>,
    preemption_policy: Option<String>,
    #[serde(deserialize_with = "nullable")]
    containers: Vec<Running>,
    init_containers: Option<Vec<Running>>,
    resources: Option<Requests>,
    overhead: Option<BTreeMap<String, Quantity>>,
    hostname: Option<String>,
    subdomain: Option<String>,
    volumes: Option<Vec<Storage>>,
    termination_grace_period_seconds: Option<i64>,
}

/// Affinity to nodes; affinity to pods is not looked at.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Liking {
    node_affinity: Option<NodeAffinity>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Running {
    name: String,
    ports: Option<Vec<ContainerPort>>,
    resources: Option<Requests>,
    restart_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Requests {
    requests: Option<BTreeMap<String, Quantity>>,
}

/// A volume, as far as it is a claim for storage.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Storage {
    name: String,
    persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    reason: Option<String>,
    conditions: Option<Vec<Condition>>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIP>>,
    start_time: Option<Time>,
    container_statuses: Option<Vec<Past>>,
    init_container_statuses: Option<Vec<Past>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
    last_transition_time: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Past {
    name: String,
    restart_count: i32,
    state: Option<State>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    terminated: Option<Terminated>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i32,
}

/// `null` stands for nothing, as everywhere in the API.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    source: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

fn all<T, U: From<T>>(list: Vec<T>) -> Vec<U> {
    list.into_iter().map(U::from).collect()
}

impl From<Wire> for Pod {
    fn from(wire: Wire) -> Self {
        Self {
            metadata: wire.metadata,
            spec: wire.spec.map(PodSpec::from),
            status: wire.status.map(PodStatus::from),
        }
    }
}

impl From<Spec> for PodSpec {
    fn from(spec: Spec) -> Self {
        Self {
            node_name: spec.node_name,
            node_selector: spec.node_selector,
            affinity: spec.affinity.map(|liking| Affinity {
                node_affinity: liking.node_affinity,
                ..Affinity::default()
            }),
            tolerations: spec.tolerations,
            scheduler_name: spec.scheduler_name,
            scheduling_gates: spec.scheduling_gates,
            priority: spec.priority,
            preemption_policy: spec.preemption_policy,
            containers: all(spec.containers),
            init_containers: spec.init_containers.map(all),
            resources: spec.resources.map(ResourceRequirements::from),
            overhead: spec.overhead,
            hostname: spec.hostname,
            subdomain: spec.subdomain,
            // A volume that claims nothing is as good as none.
            volumes: spec.volumes.map(|list| {
                all(list
                    .into_iter()
                    .filter(|one| one.persistent_volume_claim.is_some())
                    .collect())
            }),
            termination_grace_period_seconds: spec.termination_grace_period_seconds,
            ..Self::default()
        }
    }
}

impl From<Running> for Container {
    fn from(container: Running) -> Self {
        Self {
            name: container.name,
            ports: container.ports,
            resources: container.resources.map(ResourceRequirements::from),
            restart_policy: container.restart_policy,
            ..Self::default()
        }
    }
}

impl From<Requests> for ResourceRequirements {
    fn from(resources: Requests) -> Self {
        Self {
            requests: resources.requests,
            ..Self::default()
        }
    }
}

impl From<Storage> for Volume {
    fn from(volume: Storage) -> Self {
        Self {
            name: volume.name,
            persistent_volume_claim: volume.persistent_volume_claim,
            ..Self::default()
        }
    }
}

impl From<Status> for PodStatus {
    fn from(status: Status) -> Self {
        Self {
            phase: status.phase,
            reason: status.reason,
            conditions: status.conditions.map(all),
            pod_ip: status.pod_ip,
            pod_ips: status.pod_ips,
            start_time: status.start_time,
            container_statuses: status.container_statuses.map(all),
            init_container_statuses: status.init_container_statuses.map(all),
            ..Self::default()
        }
    }
}

impl From<Condition> for PodCondition {
    fn from(condition: Condition) -> Self {
        Self {
            type_: condition.type_,
            status: condition.status,
            reason: condition.reason,
            message: condition.message,
            last_transition_time: condition.last_transition_time,
            ..Self::default()
        }
    }
}

impl From<Past> for ContainerStatus {
    fn from(status: Past) -> Self {
        let ended = |ended: Terminated| ContainerStateTerminated {
            exit_code: ended.exit_code,
            ..ContainerStateTerminated::default()
        };
        let state = |state: State| ContainerState {
            terminated: state.terminated.map(ended),
            ..ContainerState::default()
        };
        Self {
            name: status.name,
            restart_count: status.restart_count,
            state: status.state.map(state),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_read_as_far_as_controllers_need_it() {
        let text = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},
            "spec":{"containers":[{"name":"c","env":[{"name":"A","value":"b"}],"resources":{"limits":{"cpu":"2"},"requests":{"cpu":"1"}}}],
                    "initContainers":null,"volumes":[{"name":"token","projected":{"sources":[]}},
                        {"name":"data","persistentVolumeClaim":{"claimName":"data-0"}}]},
            "status":{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}],"conditions":[{"type":"Ready","status":"True","lastProbeTime":null}],
                "containerStatuses":[{"name":"c","restartCount":2,"state":{"terminated":{"exitCode":3}},"image":"i","ready":false}]}}"#;
        let pod = Pod::from(serde_json::from_str::<Wire>(text).expect("a pod"));
        let whole: Pod = serde_json::from_str(text).expect("a pod");
        let (spec, status) = (pod.spec.expect("a spec"), pod.status.expect("a status"));
        assert_eq!(spec.containers[0].env, None);
        let requests = spec.containers[0]
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref())
            .expect("requests");
        assert_eq!(requests["cpu"].0, "1");
        assert_eq!(spec.volumes.expect("volumes").len(), 1);
        assert_eq!((status.pod_ip, status.pod_ips, status.conditions), {
            let status = whole.status.clone().expect("a status");
            (status.pod_ip, status.pod_ips, status.conditions)
        });
        let ended = &status.container_statuses.expect("statuses")[0];
        assert_eq!(
            (
                ended.restart_count,
                ended
                    .state
                    .as_ref()
                    .and_then(|state| Some(state.terminated.as_ref()?.exit_code))
            ),
            (2, Some(3))
        );
        let empty: Wire =
            serde_json::from_str(r#"{"metadata":{},"spec":{"containers":null}}"#).expect("a pod");
        assert_eq!(Pod::from(empty).spec, Some(PodSpec::default()));
    }
}
