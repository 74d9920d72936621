//! The objects that a pod refers to by name, as the node that runs it has to read them.
//!
//! Authorization of nodes and admission of pods that nodes create must agree on this list; the
//! fields are those of upstream's `VisitPodSecretNames` and `VisitPVSecretNames`.

use std::collections::BTreeSet;

use kinds::Tree;

use crate::tree::{at, list, text};

/// Annotation of mirror pods, which a node creates from files to show them.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// Names of objects in the namespace of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodReferences {
    /// Secrets: of pulls, environment and volumes.
    pub secrets: BTreeSet<String>,
    /// Config maps: of environment and volumes.
    pub config_maps: BTreeSet<String>,
    /// Persistent volume claims, those of ephemeral volumes included.
    pub claims: BTreeSet<String>,
    /// Resource claims, as far as they are named or have been generated.
    pub resource_claims: BTreeSet<String>,
    /// The service account; empty for none.
    pub service_account: String,
    /// Whether a volume has a token of the service account.
    pub has_projected_token: bool,
    /// Whether a volume refers to a bundle of trust anchors.
    pub has_trust_bundle: bool,
}

/// Volumes by the path of the name of the secret that each refers to.
const VOLUME_SECRETS: [&[&str]; 9] = [
    &["azureFile", "secretName"],
    &["cephfs", "secretRef", "name"],
    &["cinder", "secretRef", "name"],
    &["csi", "nodePublishSecretRef", "name"],
    &["flexVolume", "secretRef", "name"],
    &["iscsi", "secretRef", "name"],
    &["rbd", "secretRef", "name"],
    &["scaleIO", "secretRef", "name"],
    &["secret", "secretName"],
];

/// Sources of persistent volumes by the path of the reference to a secret, which can have a
/// namespace.
const PERSISTENT_SECRETS: [&[&str]; 10] = [
    &["azureFile", "secretName"],
    &["cephfs", "secretRef"],
    &["cinder", "secretRef"],
    &["csi", "nodeExpandSecretRef"],
    &["csi", "nodePublishSecretRef"],
    &["csi", "nodeStageSecretRef"],
    &["flexVolume", "secretRef"],
    &["iscsi", "secretRef"],
    &["rbd", "secretRef"],
    &["scaleIO", "secretRef"],
];

impl PodReferences {
    /// Returns the references of a pod.
    #[must_use]
    pub fn of(pod: &Tree) -> Self {
        let mut found = Self {
            service_account: text(pod, &["spec", "serviceAccountName"]).to_owned(),
            ..Self::default()
        };
        for secret in list(pod, &["spec", "imagePullSecrets"]) {
            add(&mut found.secrets, text(secret, &["name"]));
        }
        for containers in ["containers", "ephemeralContainers", "initContainers"] {
            for container in list(pod, &["spec", containers]) {
                found.add_environment(container);
            }
        }
        for volume in list(pod, &["spec", "volumes"]) {
            found.add_volume(volume, text(pod, &["metadata", "name"]));
        }
        for path in [
            &["spec", "resourceClaims"][..],
            &["status", "resourceClaimStatuses"],
        ] {
            for claim in list(pod, path) {
                add(
                    &mut found.resource_claims,
                    text(claim, &["resourceClaimName"]),
                );
            }
        }
        found
    }

    fn add_environment(&mut self, container: &Tree) {
        for variable in list(container, &["env"]) {
            let name = |reference| text(variable, &["valueFrom", reference, "name"]);
            add(&mut self.secrets, name("secretKeyRef"));
            add(&mut self.config_maps, name("configMapKeyRef"));
        }
        for source in list(container, &["envFrom"]) {
            add(&mut self.secrets, text(source, &["secretRef", "name"]));
            add(
                &mut self.config_maps,
                text(source, &["configMapRef", "name"]),
            );
        }
    }

    fn add_volume(&mut self, volume: &Tree, pod: &str) {
        for path in VOLUME_SECRETS {
            add(&mut self.secrets, text(volume, path));
        }
        // This source of volumes has a field of its own name and no other.
        add(
            &mut self.secrets,
            text(volume, &["storageos", "secretRef", "name"]),
        );
        add(&mut self.config_maps, text(volume, &["configMap", "name"]));
        add(
            &mut self.claims,
            text(volume, &["persistentVolumeClaim", "claimName"]),
        );
        if at(volume, &["ephemeral"]).is_object() {
            self.claims
                .insert(format!("{pod}-{}", text(volume, &["name"])));
        }
        for source in list(volume, &["projected", "sources"]) {
            add(&mut self.secrets, text(source, &["secret", "name"]));
            add(&mut self.config_maps, text(source, &["configMap", "name"]));
            self.has_projected_token |= at(source, &["serviceAccountToken"]).is_object();
            self.has_trust_bundle |= at(source, &["clusterTrustBundle"]).is_object();
        }
    }
}

/// Returns namespace and name of the secrets that a node needs for a persistent volume. A
/// reference without a namespace means that of the claim.
#[must_use]
pub fn secrets_of_volume(volume: &Tree) -> BTreeSet<(String, String)> {
    let spec = at(volume, &["spec"]);
    let claim = text(spec, &["claimRef", "namespace"]);
    let mut found = BTreeSet::new();
    for path in PERSISTENT_SECRETS {
        let reference = at(spec, path);
        let (namespace, name) = match reference.as_str() {
            Some(name) => (text(spec, &[path[0], "secretNamespace"]), name),
            None => (text(reference, &["namespace"]), text(reference, &["name"])),
        };
        let namespace = if namespace.is_empty() {
            claim
        } else {
            namespace
        };
        if !name.is_empty() {
            found.insert((namespace.to_owned(), name.to_owned()));
        }
    }
    let storageos = at(spec, &["storageos", "secretRef"]);
    if !text(storageos, &["name"]).is_empty() {
        let part = |member| text(storageos, &[member]).to_owned();
        found.insert((part("namespace"), part("name")));
    }
    found
}

fn add(names: &mut BTreeSet<String>, name: &str) {
    if !name.is_empty() {
        names.insert(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn every_reference_of_a_pod_is_found() {
        let container = |index: u32| {
            json!({"env": [
                {"valueFrom": {"secretKeyRef": {"name": format!("env-s{index}")}}},
                {"valueFrom": {"configMapKeyRef": {"name": format!("env-c{index}")}}}],
            "envFrom": [{"secretRef": {"name": format!("from-s{index}")}},
                {"configMapRef": {"name": format!("from-c{index}")}}]})
        };
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "bot",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [container(0)],
            "initContainers": [container(1)],
            "ephemeralContainers": [container(2)],
            "resourceClaims": [{"name": "r", "resourceClaimName": "claim"}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "volume"}},
                {"name": "b", "configMap": {"name": "volume"}},
                {"name": "c", "projected": {"sources": [{"secret": {"name": "projected"}},
                    {"configMap": {"name": "projected"}}, {"serviceAccountToken": {}}]}},
                {"name": "d", "csi": {"nodePublishSecretRef": {"name": "csi"}}},
                {"name": "e", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "f", "ephemeral": {}}]},
            "status": {"resourceClaimStatuses": [{"name": "q", "resourceClaimName": "made"}]}});
        let found = PodReferences::of(&pod);
        assert_eq!(
            names(&found.secrets),
            [
                "csi",
                "env-s0",
                "env-s1",
                "env-s2",
                "from-s0",
                "from-s1",
                "from-s2",
                "projected",
                "pull",
                "volume"
            ]
        );
        assert_eq!(
            names(&found.config_maps),
            [
                "env-c0",
                "env-c1",
                "env-c2",
                "from-c0",
                "from-c1",
                "from-c2",
                "projected",
                "volume"
            ]
        );
        assert_eq!(names(&found.claims), ["data", "p-f"]);
        assert_eq!(names(&found.resource_claims), ["claim", "made"]);
        assert_eq!(found.service_account, "bot");
        assert!(found.has_projected_token && !found.has_trust_bundle);
    }

    #[test]
    fn a_secret_of_a_volume_is_in_its_own_namespace_or_that_of_the_claim() {
        let volume = json!({"spec": {"claimRef": {"namespace": "shop", "name": "data"},
            "csi": {"nodeStageSecretRef": {"namespace": "kube-system", "name": "stage"},
                "nodePublishSecretRef": {"name": "publish"},
                "controllerExpandSecretRef": {"namespace": "shop", "name": "not-for-nodes"}}}});
        let found: Vec<_> = secrets_of_volume(&volume).into_iter().collect();
        let pair = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        assert_eq!(
            found,
            [pair("kube-system", "stage"), pair("shop", "publish")]
        );
    }
}
