//! The events that an agent records about its pods, as a kubelet does.

use std::sync::Arc;

use events::{EventRecorder, EventType, RateLimit};
use k8s_openapi::api::core::v1::ObjectReference;

use super::desired::{ContainerRole, DesiredPod};
use super::phase::PodEvent;

/// The name of the component that emits the events.
pub(crate) const COMPONENT: &str = "kubelet";

/// The burst, in seconds of the sustained rate.
const BURST_SECONDS: u32 = 10;

/// Returns the rate limit over the events of all pods of an agent.
pub(crate) fn rate_limit(per_second: u32) -> RateLimit {
    RateLimit {
        per_second: per_second.into(),
        burst: (f64::from(per_second)) * f64::from(BURST_SECONDS),
    }
}

/// Records an event about a pod on `node`, or about one of its containers.
pub(crate) fn record(recorder: &EventRecorder, pod: &DesiredPod, node: &Arc<str>, event: PodEvent) {
    let event_type = if event.warning {
        EventType::Warning
    } else {
        EventType::Normal
    };
    let involved = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace.to_string()),
        name: Some(pod.name.to_string()),
        uid: Some(pod.uid.to_string()),
        field_path: event.container.and_then(|index| field_path(pod, index)),
        ..ObjectReference::default()
    };
    recorder.on_host(Arc::clone(node)).event_about(
        involved,
        event_type,
        event.reason,
        event.message,
    );
}

/// Returns the field path of a container in the form of kubelets: `spec.containers{web}`.
fn field_path(pod: &DesiredPod, index: usize) -> Option<String> {
    let container = pod.containers.get(index)?;
    let list = match container.role {
        ContainerRole::Main => "containers",
        ContainerRole::Ephemeral => "ephemeralContainers",
        ContainerRole::Init | ContainerRole::Sidecar => "initContainers",
    };
    Some(format!("spec.{list}{{{}}}", container.name))
}
