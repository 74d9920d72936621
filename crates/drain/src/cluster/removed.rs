//! The API versions that Kubernetes no longer serves, and since which version.

/// A version of kinds that is not served any more.
struct RemovedApi {
    api_version: &'static str,
    kinds: &'static [&'static str],
    /// The minor version of Kubernetes 1 that dropped it.
    since: u32,
    /// The version that serves these kinds; empty when none does.
    successor: &'static str,
}

const fn removed(
    api_version: &'static str,
    kinds: &'static [&'static str],
    since: u32,
    successor: &'static str,
) -> RemovedApi {
    RemovedApi {
        api_version,
        kinds,
        since,
        successor,
    }
}

/// Upstream: the guide to deprecated APIs.
const REMOVED: &[RemovedApi] = &[
    removed(
        "extensions/v1beta1",
        &["Deployment", "DaemonSet", "ReplicaSet"],
        16,
        "apps/v1",
    ),
    removed(
        "extensions/v1beta1",
        &["NetworkPolicy"],
        16,
        "networking.k8s.io/v1",
    ),
    removed(
        "extensions/v1beta1",
        &["Ingress"],
        22,
        "networking.k8s.io/v1",
    ),
    removed("extensions/v1beta1", &["PodSecurityPolicy"], 16, ""),
    removed(
        "apps/v1beta1",
        &["Deployment", "StatefulSet"],
        16,
        "apps/v1",
    ),
    removed(
        "apps/v1beta2",
        &["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"],
        16,
        "apps/v1",
    ),
    removed("batch/v2alpha1", &["CronJob"], 21, "batch/v1"),
    removed("batch/v1beta1", &["CronJob"], 25, "batch/v1"),
    removed(
        "autoscaling/v2beta1",
        &["HorizontalPodAutoscaler"],
        25,
        "autoscaling/v2",
    ),
    removed(
        "autoscaling/v2beta2",
        &["HorizontalPodAutoscaler"],
        26,
        "autoscaling/v2",
    ),
    removed("policy/v1beta1", &["PodDisruptionBudget"], 25, "policy/v1"),
    removed("policy/v1beta1", &["PodSecurityPolicy"], 25, ""),
    removed(
        "admissionregistration.k8s.io/v1beta1",
        &[
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
        ],
        22,
        "admissionregistration.k8s.io/v1",
    ),
    removed(
        "apiextensions.k8s.io/v1beta1",
        &["CustomResourceDefinition"],
        22,
        "apiextensions.k8s.io/v1",
    ),
    removed(
        "apiregistration.k8s.io/v1beta1",
        &["APIService"],
        22,
        "apiregistration.k8s.io/v1",
    ),
    removed(
        "certificates.k8s.io/v1beta1",
        &["CertificateSigningRequest"],
        22,
        "certificates.k8s.io/v1",
    ),
    removed(
        "coordination.k8s.io/v1beta1",
        &["Lease"],
        22,
        "coordination.k8s.io/v1",
    ),
    removed(
        "networking.k8s.io/v1beta1",
        &["Ingress", "IngressClass"],
        22,
        "networking.k8s.io/v1",
    ),
    removed(
        "rbac.authorization.k8s.io/v1beta1",
        &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"],
        22,
        "rbac.authorization.k8s.io/v1",
    ),
    removed(
        "scheduling.k8s.io/v1beta1",
        &["PriorityClass"],
        22,
        "scheduling.k8s.io/v1",
    ),
    removed(
        "storage.k8s.io/v1beta1",
        &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"],
        22,
        "storage.k8s.io/v1",
    ),
    removed(
        "storage.k8s.io/v1beta1",
        &["CSIStorageCapacity"],
        27,
        "storage.k8s.io/v1",
    ),
    removed(
        "discovery.k8s.io/v1beta1",
        &["EndpointSlice"],
        25,
        "discovery.k8s.io/v1",
    ),
    removed("events.k8s.io/v1beta1", &["Event"], 25, "events.k8s.io/v1"),
    removed(
        "node.k8s.io/v1beta1",
        &["RuntimeClass"],
        25,
        "node.k8s.io/v1",
    ),
    removed(
        "flowcontrol.apiserver.k8s.io/v1beta1",
        &["FlowSchema", "PriorityLevelConfiguration"],
        26,
        "flowcontrol.apiserver.k8s.io/v1",
    ),
    removed(
        "flowcontrol.apiserver.k8s.io/v1beta2",
        &["FlowSchema", "PriorityLevelConfiguration"],
        29,
        "flowcontrol.apiserver.k8s.io/v1",
    ),
    removed(
        "flowcontrol.apiserver.k8s.io/v1beta3",
        &["FlowSchema", "PriorityLevelConfiguration"],
        32,
        "flowcontrol.apiserver.k8s.io/v1",
    ),
];

fn find(api_version: &str, kind: &str) -> Option<&'static RemovedApi> {
    let is_row = |row: &&RemovedApi| row.api_version == api_version && row.kinds.contains(&kind);
    REMOVED.iter().find(is_row)
}

/// Returns the version that serves the kind now, for a version that is served no more.
pub(super) fn successor(api_version: &str, kind: &str) -> Option<&'static str> {
    find(api_version, kind)
        .map(|row| row.successor)
        .filter(|successor| !successor.is_empty())
}

/// Returns the message of a client about a version that is not served, with the Kubernetes version
/// that dropped it. `None` for versions that are served, and for kinds that are not built in.
pub(super) fn refusal(api_version: &str, kind: &str) -> Option<String> {
    let unknown = format!("no matches for kind {kind:?} in version {api_version:?}");
    if let Some(row) = find(api_version, kind) {
        let instead = match row.successor {
            "" => String::new(),
            successor => format!("; {successor} is served"),
        };
        return Some(format!(
            "{unknown}: it is not served since Kubernetes 1.{}{instead}",
            row.since
        ));
    }
    // Versions of other kinds may be behind feature gates.
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let is_budget = (group, kind) == ("policy", "PodDisruptionBudget");
    (is_budget && version != "v1").then_some(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_successor_is_served_and_no_removed_version_is() {
        for row in REMOVED {
            for kind in row.kinds {
                let served = |api_version: &str| {
                    let (group, version) = api_version.split_once('/').expect("a group");
                    kinds::resource_by_kind(group, version, kind).is_some()
                };
                assert!(!served(row.api_version), "{} {kind}", row.api_version);
                assert!(
                    row.successor.is_empty() || served(row.successor),
                    "{} {kind}",
                    row.successor
                );
            }
        }
    }

    #[test]
    fn a_version_that_is_not_served_says_since_when() {
        assert_eq!(
            refusal("policy/v1beta1", "PodDisruptionBudget").as_deref(),
            Some(
                "no matches for kind \"PodDisruptionBudget\" in version \"policy/v1beta1\": it is not served since Kubernetes 1.25; policy/v1 is served"
            )
        );
        assert_eq!(
            refusal("policy/v2", "PodDisruptionBudget").as_deref(),
            Some("no matches for kind \"PodDisruptionBudget\" in version \"policy/v2\"")
        );
        assert_eq!(refusal("policy/v1", "PodDisruptionBudget"), None);
        assert_eq!(refusal("argoproj.io/v1alpha1", "Rollout"), None);
    }
}
