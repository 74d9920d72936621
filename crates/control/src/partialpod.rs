//! Decodes the part of a pod that controllers read.
//!
//! Pods are by far the most frequent objects, and most of a pod (environment, probes, hooks,
//! security) matters only to its node. The decoder skips what is not named here instead of building
//! and dropping it. The result is an ordinary [`Pod`] in which the rest is empty.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, ContainerState, ContainerStateTerminated, ContainerStatus,
    EphemeralVolumeSource, PersistentVolumeClaimVolumeSource, Pod, PodCondition, PodIP,
    PodSchedulingGate, PodSpec, PodStatus, ResourceRequirements, Toleration,
    TopologySpreadConstraint, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Deserializer};

/// A pod as it is decoded.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct PartialPod {
    metadata: ObjectMeta,
    spec: Option<PartialPodSpec>,
    status: Option<PartialPodStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialPodSpec {
    node_name: Option<String>,
    node_selector: Option<BTreeMap<String, String>>,
    affinity: Option<Affinity>,
    topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    tolerations: Option<Vec<Toleration>>,
    scheduler_name: Option<String>,
    scheduling_gates: Option<Vec<PodSchedulingGate>>,
    priority: Option<i32>,
    preemption_policy: Option<String>,
    #[serde(deserialize_with = "nullable")]
    containers: Vec<PartialContainer>,
    init_containers: Option<Vec<PartialContainer>>,
    resources: Option<PartialResources>,
    overhead: Option<BTreeMap<String, Quantity>>,
    hostname: Option<String>,
    subdomain: Option<String>,
    volumes: Option<Vec<PartialVolume>>,
    termination_grace_period_seconds: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialContainer {
    name: String,
    ports: Option<Vec<ContainerPort>>,
    resources: Option<PartialResources>,
    restart_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PartialResources {
    requests: Option<BTreeMap<String, Quantity>>,
}

/// A volume that is backed by a claim. Of an ephemeral one only the fact is kept.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialVolume {
    name: String,
    persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialPodStatus {
    phase: Option<String>,
    reason: Option<String>,
    conditions: Option<Vec<PartialCondition>>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIP>>,
    start_time: Option<Time>,
    container_statuses: Option<Vec<PartialContainerStatus>>,
    init_container_statuses: Option<Vec<PartialContainerStatus>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
    last_transition_time: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialContainerStatus {
    name: String,
    restart_count: i32,
    state: Option<PartialContainerState>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PartialContainerState {
    terminated: Option<PartialTermination>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialTermination {
    exit_code: i32,
    finished_at: Option<Time>,
}

/// Decodes `null` as the default value, as the API does everywhere.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    source: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

fn all<T, U: From<T>>(list: Vec<T>) -> Vec<U> {
    list.into_iter().map(U::from).collect()
}

impl From<PartialPod> for Pod {
    fn from(wire: PartialPod) -> Self {
        Self {
            metadata: wire.metadata,
            spec: wire.spec.map(PodSpec::from),
            status: wire.status.map(PodStatus::from),
        }
    }
}

impl From<PartialPodSpec> for PodSpec {
    fn from(spec: PartialPodSpec) -> Self {
        Self {
            node_name: spec.node_name,
            node_selector: spec.node_selector,
            affinity: spec.affinity,
            topology_spread_constraints: spec.topology_spread_constraints,
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
            // No controller reads volumes of other types.
            volumes: spec.volumes.map(|list| {
                all(list
                    .into_iter()
                    .filter(|one| one.persistent_volume_claim.is_some() || one.ephemeral.is_some())
                    .collect())
            }),
            termination_grace_period_seconds: spec.termination_grace_period_seconds,
            ..Self::default()
        }
    }
}

impl From<PartialContainer> for Container {
    fn from(container: PartialContainer) -> Self {
        Self {
            name: container.name,
            ports: container.ports,
            resources: container.resources.map(ResourceRequirements::from),
            restart_policy: container.restart_policy,
            ..Self::default()
        }
    }
}

impl From<PartialResources> for ResourceRequirements {
    fn from(resources: PartialResources) -> Self {
        Self {
            requests: resources.requests,
            ..Self::default()
        }
    }
}

impl From<PartialVolume> for Volume {
    fn from(volume: PartialVolume) -> Self {
        Self {
            name: volume.name,
            persistent_volume_claim: volume.persistent_volume_claim,
            ephemeral: volume.ephemeral.map(|_| EphemeralVolumeSource::default()),
            ..Self::default()
        }
    }
}

impl From<PartialPodStatus> for PodStatus {
    fn from(status: PartialPodStatus) -> Self {
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

impl From<PartialCondition> for PodCondition {
    fn from(condition: PartialCondition) -> Self {
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

impl From<PartialContainerStatus> for ContainerStatus {
    fn from(status: PartialContainerStatus) -> Self {
        let ended = |ended: PartialTermination| ContainerStateTerminated {
            exit_code: ended.exit_code,
            finished_at: ended.finished_at,
            ..ContainerStateTerminated::default()
        };
        let state = |state: PartialContainerState| ContainerState {
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
    fn the_part_of_a_pod_that_controllers_read_is_decoded() {
        let text = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},
            "spec":{"containers":[{"name":"c","env":[{"name":"A","value":"b"}],"resources":{
                "limits":{"cpu":"2"},"requests":{"cpu":"1"}}}],
                    "initContainers":null,"volumes":[{"name":"token","projected":{"sources":[]}},
                        {"name":"data","persistentVolumeClaim":{"claimName":"data-0"}}]},
            "status":{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}],"conditions":[{
                "type":"Ready","status":"True","lastProbeTime":null}],
                "containerStatuses":[{"name":"c","restartCount":2,"state":{"terminated":{
                    "exitCode":3}},"image":"i","ready":false}]}}"#;
        let pod = Pod::from(serde_json::from_str::<PartialPod>(text).expect("a pod"));
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
        let empty: PartialPod =
            serde_json::from_str(r#"{"metadata":{},"spec":{"containers":null}}"#).expect("a pod");
        assert_eq!(Pod::from(empty).spec, Some(PodSpec::default()));
    }
}
