//! What pods and nodes report about themselves: names, owners, conditions.
//!
//! Pure accessors over single objects. This module knows no snapshot and no budget;
//! [`readiness`](crate::readiness) explains why a pod is not ready.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use rules::eviction::{Phase, PodState};
pub use rules::owners::controller_of as controller;
pub use rules::pods::{condition, is_finished, is_ready, is_terminating, name, phase};

/// The annotation that the kubelet sets on the mirror pod of a static pod.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// The grace period in seconds that the API server sets when `terminationGracePeriodSeconds` is
/// absent.
pub const DEFAULT_GRACE_SECONDS: i64 = 30;

/// Returns the pod's namespace, `default` when it is absent, as in manifests.
#[must_use]
pub fn namespace(pod: &Pod) -> &str {
    namespace_of(&pod.metadata)
}

/// Returns the namespace of a namespaced object, `default` when it is absent, as in manifests.
#[must_use]
pub fn namespace_of(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or("default")
}

/// Returns `NAMESPACE/NAME`.
#[must_use]
pub fn key(pod: &Pod) -> String {
    format!("{}/{}", namespace(pod), name(pod))
}

/// Returns the name of the node that the pod is bound to, `None` before it is scheduled.
#[must_use]
pub fn node_of(pod: &Pod) -> Option<&str> {
    Some(rules::pods::node_name(pod)).filter(|name| !name.is_empty())
}

/// Returns the controlling owner of the pod, `None` when nothing replaces the pod.
#[must_use]
pub fn controller_of(pod: &Pod) -> Option<&OwnerReference> {
    controller(&pod.metadata)
}

/// Returns what the rule of an eviction reads of the pod.
#[must_use]
pub fn eviction_state(pod: &Pod) -> PodState {
    PodState {
        phase: Phase::parse(phase(pod)),
        ready: is_ready(pod),
        terminating: is_terminating(pod),
    }
}

/// Returns true when both are the object with this namespace and name.
#[must_use]
pub fn is_same(one: &Pod, other: &Pod) -> bool {
    (namespace(one), name(one)) == (namespace(other), name(other))
}

/// Returns true for the mirror pod of a static pod. Deleting it through the API has no effect on
/// the containers.
#[must_use]
pub fn is_mirror(pod: &Pod) -> bool {
    pod.metadata
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(MIRROR_ANNOTATION))
}

/// Returns true for pods that come back to the same node at once, so that a drain leaves them:
/// DaemonSet pods and mirror pods.
#[must_use]
pub fn stays_on_node(pod: &Pod) -> bool {
    is_mirror(pod) || controller_of(pod).is_some_and(|owner| owner.kind == "DaemonSet")
}

/// Iterates over the volumes of the pod's spec.
pub fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
}

/// Returns true when a container has a preStop hook.
#[must_use]
pub fn has_pre_stop(spec: &PodSpec) -> bool {
    containers_with_pre_stop(spec).next().is_some()
}

/// Iterates over the names of the containers that have a preStop hook.
pub fn containers_with_pre_stop(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let hooked = spec.containers.iter().filter(|container| {
        container
            .lifecycle
            .as_ref()
            .is_some_and(|lifecycle| lifecycle.pre_stop.is_some())
    });
    hooked.map(|container| container.name.as_str())
}

/// Returns the repository name of an image: the last path segment, without tag and digest.
#[must_use]
pub fn image_name(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next().unwrap_or_default()
}

/// Returns true when the node reports `Ready: True`. False also when the node has never reported.
#[must_use]
pub fn node_is_ready(node: &Node) -> bool {
    node_condition(node, "Ready").is_some_and(|(status, _)| status == "True")
}

/// Returns the status and the transition time of a condition of the node.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_have_no_registry_tag_or_digest() {
        for (image, name) in [
            ("nginx", "nginx"),
            (
                "registry.k8s.io/sig-storage/csi-attacher:v4.8.0",
                "csi-attacher",
            ),
            ("localhost:5000/a/b@sha256:00", "b"),
            ("", ""),
        ] {
            assert_eq!(image_name(image), name);
        }
    }
}
