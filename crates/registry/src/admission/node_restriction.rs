//! NodeRestriction: what a node may write, beyond what authorization sees in the path.
//!
//! A node writes its own objects (node, lease, CSI node), the status of pods that are bound to it,
//! and mirror pods that refer to nothing; it deletes and evicts its own pods, and gets tokens that
//! are bound to one of them. Labels, taints and owners, by which workloads or their deletion are
//! steered, it cannot change on itself.
//!
//! Users who are no nodes are not concerned. All functions run inside the commit that writes.

use std::collections::BTreeSet;

use kinds::Tree;
use kinds::status::Status;

use crate::key;
use crate::object::meta_text;
use crate::references::{MIRROR, PodReferences};
use crate::request::Refusal;
use crate::strategy::signing;
use crate::target::Target;
use crate::tree::{at, entries, flag, list, take, text};
use crate::view::StoreView;

/// The namespace of the leases of nodes.
const LEASES: &str = "kube-node-lease";
/// Labels that a node must not set, because administrators use them to isolate workloads.
const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// The labels of Kubernetes that a node may set.
const OWN_LABELS: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Prefixes of labels that a node may set, with all their subdomains.
const OWN_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Signers of certificates of nodes.
const NODE_SIGNERS: [&str; 2] = [
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
];

/// Refuses an object that a node may not create.
pub(super) fn create(view: &impl StoreView, target: &Target, object: &Tree) -> Result<(), Refusal> {
    let Some(node) = target.user.node() else {
        return Ok(());
    };
    let name = meta_text(object, "name");
    let why = match target.stored.group_and_plural() {
        ("", "pods") => mirror_pod(view, node, object),
        ("", "nodes") => own_node(node, name).or_else(|| {
            let labels = forbidden_labels(object, &Tree::Null);
            (!labels.is_empty()).then(|| {
                format!(
                    "node {node:?} is not allowed to set the following labels: {}",
                    labels.join(", ")
                )
            })
        }),
        ("", "persistentvolumeclaims") => Some("may only update PVC status".to_owned()),
        ("coordination.k8s.io", "leases") => own_lease(target, node, name),
        ("storage.k8s.io", "csinodes") => own_csi_node(node, name),
        ("resource.k8s.io", "resourceslices") => own_slice(node, object),
        ("certificates.k8s.io", "certificatesigningrequests") => node_request(target, object),
        _ => None,
    };
    refuse(target, name, why)
}

/// Refuses a change that a node may not make. `new` is what the client sent.
pub(crate) fn update(
    target: &Target,
    subresource: &str,
    new: &Tree,
    old: &Tree,
) -> Result<(), Refusal> {
    let Some(node) = target.user.node() else {
        return Ok(());
    };
    let name = target.name.as_str();
    let why = match (target.stored.group_and_plural(), subresource) {
        (("", "pods"), "status") => pod_status(node, new, old),
        (("", "pods"), "") => Some(format!(
            "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
        )),
        (("", "pods"), other) => Some(unexpected_subresource(other)),
        (("", "nodes"), _) => own_node(node, name).or_else(|| node_change(node, new, old)),
        (("", "persistentvolumeclaims"), "status") => claim_status(node, new, old),
        (("", "persistentvolumeclaims"), _) => Some("may only update PVC status".to_owned()),
        (("coordination.k8s.io", "leases"), _) => own_lease(target, node, name),
        (("storage.k8s.io", "csinodes"), _) => own_csi_node(node, name),
        (("resource.k8s.io", "resourceslices"), _) => {
            own_slice(node, old).or_else(|| own_slice(node, new))
        }
        _ => None,
    };
    refuse(target, name, why)
}

/// Refuses a deletion that a node may not make.
pub(crate) fn delete(target: &Target, object: &Tree) -> Result<(), Refusal> {
    let Some(node) = target.user.node() else {
        return Ok(());
    };
    let name = target.name.as_str();
    let why = match target.stored.group_and_plural() {
        ("", "pods") => (text(object, &["spec", "nodeName"]) != node).then(|| {
            format!("node {node:?} can only delete pods with spec.nodeName set to itself")
        }),
        ("", "nodes") => own_node(node, name),
        ("", "persistentvolumeclaims") => Some("may only update PVC status".to_owned()),
        ("coordination.k8s.io", "leases") => own_lease(target, node, name),
        ("storage.k8s.io", "csinodes") => own_csi_node(node, name),
        ("resource.k8s.io", "resourceslices") => own_slice(node, object),
        _ => None,
    };
    refuse(target, name, why)
}

/// Refuses the eviction of a pod of another node. `pod` returns the pod, which other users do not
/// need.
pub(crate) fn evict(target: &Target, pod: impl FnOnce() -> Tree) -> Result<(), Refusal> {
    let Some(node) = target.user.node() else {
        return Ok(());
    };
    let why = (text(&pod(), &["spec", "nodeName"]) != node)
        .then(|| format!("node {node} can only evict pods with spec.nodeName set to itself"));
    refuse(target, &target.name, why)
}

/// Refuses a node that assigns pods.
pub(crate) fn bind(target: &Target) -> Result<(), Refusal> {
    let is_node = target.user.node().is_some();
    refuse(
        target,
        &target.name,
        is_node.then(|| unexpected_subresource("binding")),
    )
}

/// Refuses a token that is not bound to a pod of the node that asks for it, or whose audiences the
/// pod does not ask for. `request` is the `TokenRequest`, `target` its service account.
pub(crate) fn token(view: &impl StoreView, target: &Target, request: &Tree) -> Result<(), Refusal> {
    let Some(node) = target.user.node() else {
        return Ok(());
    };
    let bound = |member: &str| text(request, &["spec", "boundObjectRef", member]);
    let is_pod = (bound("apiVersion"), bound("kind")) == ("v1", "Pod") && !bound("name").is_empty();
    let why = if !is_pod {
        Some("node requested token not bound to a pod".to_owned())
    } else if bound("uid").is_empty() {
        Some("node requested token with a pod binding without a uid".to_owned())
    } else {
        let pods = target.for_core("pods")?;
        let pod = pods.at(target.namespace.as_str(), bound("name"));
        let found = view.record(&pod.key()).ok_or_else(|| pod.not_found())?;
        let found = crate::record::parse(&found.value);
        if meta_text(&found, "uid") != bound("uid") {
            Some(format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The \
                 object might have been deleted and then recreated",
                bound("uid")
            ))
        } else if text(&found, &["spec", "nodeName"]) != node {
            Some("node requested token bound to a pod scheduled on a different node".to_owned())
        } else {
            foreign_audience(view, target, request, &found)
        }
    };
    refuse(target, &target.name, why)
}

fn refuse(target: &Target, name: &str, why: Option<String>) -> Result<(), Refusal> {
    match why {
        Some(why) => {
            let kind = target.resource.group_resource();
            Err(Status::forbidden(kind, name, why).into())
        }
        None => Ok(()),
    }
}

fn unexpected_subresource(name: &str) -> String {
    format!("unexpected pod subresource {name:?}, only 'status' and 'eviction' are allowed")
}

fn own_node(node: &str, name: &str) -> Option<String> {
    (name != node).then(|| format!("node {node:?} is not allowed to modify node {name:?}"))
}

fn own_lease(target: &Target, node: &str, name: &str) -> Option<String> {
    if target.namespace != LEASES {
        return Some(format!(
            "can only access leases in the {LEASES:?} system namespace"
        ));
    }
    (name != node)
        .then(|| "can only access node lease with the same name as the requesting node".to_owned())
}

fn own_csi_node(node: &str, name: &str) -> Option<String> {
    (name != node)
        .then(|| "can only access CSINode with the same name as the requesting node".to_owned())
}

fn own_slice(node: &str, slice: &Tree) -> Option<String> {
    (text(slice, &["spec", "nodeName"]) != node).then(|| {
        "can only create ResourceSlice with the same NodeName as the requesting node".to_owned()
    })
}

/// A node asks for certificates in its own name only.
fn node_request(target: &Target, request: &Tree) -> Option<String> {
    if !NODE_SIGNERS.contains(&text(request, &["spec", "signerName"])) {
        return None;
    }
    let user = &target.user.name;
    match signing::common_name(request) {
        Ok(name) if name == *user => None,
        Ok(_) => Some(format!("can only create a node CSR with CN={user}")),
        Err(fault) => Some(format!("unable to parse csr: {fault}")),
    }
}

/// Checks a pod that a node creates: a mirror pod of its own that refers to no other objects.
fn mirror_pod(view: &impl StoreView, node: &str, pod: &Tree) -> Option<String> {
    if at(pod, &["metadata", "annotations", MIRROR]).is_null() {
        return Some(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if text(pod, &["spec", "nodeName"]) != node {
        return Some(format!(
            "node {node:?} can only create pods with spec.nodeName set to itself"
        ));
    }
    if let Some(why) = mirror_owner(view, node, pod) {
        return Some(why);
    }
    let references = PodReferences::of(pod);
    let has_account = !references.service_account.is_empty()
        || !text(pod, &["spec", "serviceAccount"]).is_empty();
    let referred = [
        (has_account, "a service account"),
        (!references.secrets.is_empty(), "secrets"),
        (!references.config_maps.is_empty(), "configmaps"),
        (references.has_trust_bundle, "clustertrustbundles"),
        (!references.claims.is_empty(), "persistentvolumeclaims"),
        (
            !list(pod, &["spec", "resourceClaims"]).is_empty(),
            "resourceclaims",
        ),
    ];
    let (_, what) = referred.into_iter().find(|(is_there, _)| *is_there)?;
    Some(format!(
        "node {node:?} can not create pods that reference {what}"
    ))
}

fn mirror_owner(view: &impl StoreView, node: &str, pod: &Tree) -> Option<String> {
    let owner = match list(pod, &["metadata", "ownerReferences"]) {
        [owner] => owner,
        [] => {
            return Some(format!(
                "node {node:?} can only create pods with an owner reference set to itself"
            ));
        }
        _ => {
            return Some(format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            ));
        }
    };
    let part = |member: &str| text(owner, &[member]);
    if (part("apiVersion"), part("kind"), part("name")) != ("v1", "Node", node) {
        return Some(format!(
            "node {node:?} can only create pods with an owner reference set to itself"
        ));
    }
    if !flag(owner, &["controller"]) {
        return Some(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        ));
    }
    if flag(owner, &["blockOwnerDeletion"]) {
        return Some(format!(
            "node {node:?} must not set blockOwnerDeletion on an owner reference"
        ));
    }
    let Some(found) = view.record(&key::core("nodes", "", node)) else {
        return Some(format!("nodes {node:?} not found"));
    };
    let found = crate::record::parse(&found.value);
    let uid = meta_text(&found, "uid");
    (part("uid") != uid).then(|| {
        format!(
            "node {node} UID mismatch: expected {} got {uid}",
            part("uid")
        )
    })
}

fn pod_status(node: &str, new: &Tree, old: &Tree) -> Option<String> {
    if text(old, &["spec", "nodeName"]) != node {
        return Some(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    let labels = |pod| entries(pod, &["metadata", "labels"]);
    if labels(new) != labels(old) {
        return Some(format!(
            "node {node:?} cannot update labels through pod status"
        ));
    }
    let claims = |pod| list(pod, &["status", "resourceClaimStatuses"]);
    (claims(new) != claims(old))
        .then(|| format!("node {node:?} cannot update resource claim statues"))
}

fn node_change(node: &str, new: &Tree, old: &Tree) -> Option<String> {
    let changed = |path: &[&str]| list(new, path) != list(old, path);
    if changed(&["metadata", "ownerReferences"]) {
        return Some(format!(
            "node {node:?} is not allowed to modify ownerReferences"
        ));
    }
    if changed(&["spec", "taints"]) {
        return Some(format!("node {node:?} is not allowed to modify taints"));
    }
    let labels = forbidden_labels(new, old);
    (!labels.is_empty()).then(|| format!("is not allowed to modify labels: {}", labels.join(", ")))
}

/// Returns the labels that differ between two states of a node and are not its own to change.
fn forbidden_labels(new: &Tree, old: &Tree) -> Vec<String> {
    let value = |node, label: &str| text(node, &["metadata", "labels", label]).to_owned();
    let has = |node, label: &str| !at(node, &["metadata", "labels", label]).is_null();
    let labels: BTreeSet<&str> = [new, old]
        .into_iter()
        .flat_map(|node| entries(node, &["metadata", "labels"]))
        .map(|(label, _)| label)
        .collect();
    labels
        .into_iter()
        .filter(|label| {
            has(new, label) != has(old, label) || value(new, label) != value(old, label)
        })
        .filter(|label| is_forbidden(label))
        .map(str::to_owned)
        .collect()
}

fn is_forbidden(label: &str) -> bool {
    let prefix = label.split_once('/').map_or("", |(prefix, _)| prefix);
    let is_in = |domain: &str| {
        prefix
            .strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if is_in(RESTRICTED) {
        return true;
    }
    let is_own = OWN_LABELS.contains(&label) || OWN_PREFIXES.into_iter().any(is_in);
    (is_in("kubernetes.io") || is_in("k8s.io")) && !is_own
}

fn claim_status(node: &str, new: &Tree, old: &Tree) -> Option<String> {
    let rest = |claim: &Tree| {
        let mut rest = claim.clone();
        for part in ["managedFields", "resourceVersion"] {
            take(&mut rest, &["metadata", part]);
        }
        for part in [
            "allocatedResourceStatuses",
            "allocatedResources",
            "capacity",
            "conditions",
        ] {
            take(&mut rest, &["status", part]);
        }
        rest
    };
    (rest(new) != rest(old)).then(|| {
        format!(
            "node {node:?} is not allowed to update fields other than status.capacity and \
             status.conditions"
        )
    })
}

/// Returns the refusal of an audience that neither the pod's volumes nor its drivers ask for.
fn foreign_audience(
    view: &impl StoreView,
    target: &Target,
    request: &Tree,
    pod: &Tree,
) -> Option<String> {
    let asked = list(request, &["spec", "audiences"]);
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut drivers: BTreeSet<String> = BTreeSet::new();
    for volume in list(pod, &["spec", "volumes"]) {
        for source in list(volume, &["projected", "sources"]) {
            let token = at(source, &["serviceAccountToken"]);
            if token.is_object() {
                known.insert(text(token, &["audience"]).to_owned());
            }
        }
        drivers.insert(text(volume, &["csi", "driver"]).to_owned());
    }
    for claim in PodReferences::of(pod).claims {
        drivers.extend(driver_of_claim(view, &target.namespace, &claim));
    }
    drivers.remove("");
    for driver in drivers {
        let Some(found) = view.record(&key::core("csidrivers.storage.k8s.io", "", &driver)) else {
            continue;
        };
        let found = crate::record::parse(&found.value);
        for token in list(&found, &["spec", "tokenRequests"]) {
            known.insert(text(token, &["audience"]).to_owned());
        }
    }
    let foreign = asked
        .iter()
        .filter_map(Tree::as_str)
        .find(|audience| !audience.is_empty() && !known.contains(*audience))?;
    Some(format!("audience {foreign:?} not found in pod spec volume"))
}

/// Returns the driver of the volume that a claim is bound to.
fn driver_of_claim(view: &impl StoreView, namespace: &str, claim: &str) -> Option<String> {
    let claim = view.record(&key::core("persistentvolumeclaims", namespace, claim))?;
    let claim = crate::record::parse(&claim.value);
    let volume = text(&claim, &["spec", "volumeName"]);
    let volume = view.record(&key::core("persistentvolumes", "", volume))?;
    let volume = crate::record::parse(&volume.value);
    Some(text(&volume, &["spec", "csi", "driver"]).to_owned())
}
