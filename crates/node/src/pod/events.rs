//! The events that an agent records about its pods, as a kubelet does.

use std::sync::Arc;

use events::{EventRecorder, EventType, RateLimit};
use k8s_openapi::api::core::v1::ObjectReference;

use super::desired::{Desired, Role};
use super::phase::Note;

/// The component that emits them.
pub(crate) const COMPONENT: &str = "kubelet";

/// How many seconds of unused rate may be used at once.
const BURST_SECONDS: u32 = 10;

/// The bound on the events of all pods of an agent together.
pub(crate) fn rate_limit(per_second: u32) -> RateLimit {
    RateLimit {
        per_second: per_second.into(),
        burst: (f64::from(per_second)) * f64::from(BURST_SECONDS),
    }
}

/// Records an event about a pod on `node`, or about one of its containers.
pub(crate) fn record(recorder: &EventRecorder, pod: &Desired, node: &Arc<str>, note: Note) {
    let event_type = if note.warning {
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
        field_path: note.container.and_then(|index| field_path(pod, index)),
        ..ObjectReference::default()
    };
    recorder
        .on_host(Arc::clone(node))
        .event_about(involved, event_type, note.reason, note.message);
}

/// The path by which kubelets name a container, for example `spec.containers{web}`.
fn field_path(pod: &Desired, index: usize) -> Option<String> {
    let container = pod.containers.get(index)?;
    let list = match container.role {
        Role::Main => "containers",
        Role::Ephemeral => "ephemeralContainers",
        Role::Init | Role::Sidecar => "initContainers",
    };
    Some(format!("spec.{list}{{{}}}", container.name))
}
