//! Lists what could not be read, and what is unknown because of that.

use super::SubjectKind;
use crate::cluster::{ClusterSnapshot, NOT_IN_FILE};

/// What each resource shows. Resources that no explanation needs are absent.
const SHOWS: &[(&str, &str)] = &[
    (
        "poddisruptionbudgets.policy",
        "whether a budget refuses evictions",
    ),
    ("pods", "which pods count as healthy"),
    ("nodes", "whether nodes are Ready and cordoned"),
    ("namespaces", "whether the namespace is being deleted"),
    ("replicasets.apps", "how many pods their owners want"),
    ("deployments.apps", "how many pods Deployments want"),
    ("statefulsets.apps", "how many pods StatefulSets want"),
    (
        "replicationcontrollers",
        "how many pods ReplicationControllers want",
    ),
    (
        "horizontalpodautoscalers.autoscaling",
        "whether an autoscaler keeps the replicas low",
    ),
    ("services", "whether requests reach the pod"),
    ("persistentvolumeclaims", "which volumes the pod uses"),
    ("persistentvolumes", "whether volumes are tied to a node"),
    (
        "volumeattachments.storage.k8s.io",
        "whether volumes are still attached",
    ),
    (
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "whether a webhook may refuse evictions",
    ),
    (
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "whether a webhook may change or fail evictions",
    ),
    ("events", "which events were recorded lately"),
];

pub(super) fn lines(snapshot: &ClusterSnapshot, kind: SubjectKind) -> Vec<String> {
    let missing = |(resource, shows): &(&'static str, &str)| {
        let unread = snapshot.unread(resource)?;
        let why = match unread.why.as_str() {
            // Readers know what is in their file; they need to know what is unknown.
            NOT_IN_FILE => String::new(),
            why if why.contains("is forbidden") => " (forbidden)".to_owned(),
            why => format!(" ({why})"),
        };
        Some(format!("{shows}: {resource}{why}"))
    };
    let wanted = |(resource, _): &&(&str, &str)| {
        kind != SubjectKind::Budget
            || !matches!(
                *resource,
                "services"
                    | "persistentvolumeclaims"
                    | "persistentvolumes"
                    | "volumeattachments.storage.k8s.io"
            )
    };
    SHOWS.iter().filter(wanted).filter_map(missing).collect()
}
