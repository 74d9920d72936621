//! What could not be read, and what is therefore not known.

use super::Kind;
use crate::cluster::{NOT_IN_FILE, Snapshot};

/// What each resource would have told; one that tells these subjects nothing is left out.
const TELLS: &[(&str, &str)] = &[
    (
        "poddisruptionbudgets.policy",
        "whether a budget refuses evictions",
    ),
    ("pods", "which pods count as healthy"),
    ("nodes", "whether nodes work and are cordoned"),
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
    ("events", "what has been reported lately"),
];

pub(super) fn lines(snapshot: &Snapshot, kind: Kind) -> Vec<String> {
    let missing = |(resource, tells): &(&'static str, &str)| {
        let unread = snapshot
            .unread
            .iter()
            .find(|unread| unread.resource == *resource)?;
        let why = match unread.why.as_str() {
            // Everybody knows what is in a file; the reader needs what it costs.
            NOT_IN_FILE => String::new(),
            why if why.contains("is forbidden") => " (forbidden)".to_owned(),
            why => format!(" ({why})"),
        };
        Some(format!("{resource}: {tells} is unknown{why}"))
    };
    let wanted = |(resource, _): &&(&str, &str)| {
        kind != Kind::Budget
            || !matches!(
                *resource,
                "services"
                    | "persistentvolumeclaims"
                    | "persistentvolumes"
                    | "volumeattachments.storage.k8s.io"
            )
    };
    TELLS.iter().filter(wanted).filter_map(missing).collect()
}
