//! Authorization of nodes: what the agent of a node may do, by the objects that are related to it.
//!
//! A node reads the secrets, config maps and claims that pods bound to it refer to, the volumes
//! behind the claims, and its pods. Which objects it may write depends on their content, so a part
//! of that is up to admission (`NodeRestriction` in the registry): this module lets pass what that
//! one judges. Relations are looked up when they are asked for, and nothing is kept.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use kinds::Tree;
use registry::references::{MIRROR, PodReferences, secrets_of_volume};
use registry::request::{ListOptions, Refusal, Reply, Request, Verb};

use super::defaults;
use super::rbac::PolicyRule;
use super::{AccessRequest, AccessTarget};
use crate::backend::Backend;

/// The namespace of the leases of nodes.
const LEASES: &str = "kube-node-lease";

/// What a node may do with objects that do not belong to nodes.
static COMMON: LazyLock<Vec<PolicyRule>> = LazyLock::new(|| defaults::rules(defaults::NODE_COMMON));

/// A decision by the path of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeAccess<'a> {
    /// Allowed for all nodes, perhaps subject to admission.
    Allowed,
    /// Not allowed by this module.
    Unknown,
    /// Allowed if the object is related to the node.
    Related(Relation, &'a str, &'a str),
}

/// Kinds of objects that are related to nodes; a namespace and a name belong to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Pod,
    Secret,
    ConfigMap,
    Claim,
    ResourceClaim,
    ServiceAccount,
    Volume,
    VolumeAttachment,
    ResourceSlice,
}

/// Returns whether a node may do something. `selected_node` is the node to which the field selector
/// of the request restricts a collection; empty for none.
pub(crate) async fn allows(
    backend: &dyn Backend,
    node: &str,
    access: &AccessRequest<'_>,
    selected_node: &str,
) -> Result<bool, Refusal> {
    match decide(node, access, selected_node) {
        NodeAccess::Allowed => Ok(true),
        NodeAccess::Unknown => Ok(false),
        NodeAccess::Related(_, _, "") => Ok(false),
        NodeAccess::Related(relation, namespace, name) => {
            let relations = Relations { backend, node };
            relations.has(relation, namespace, name).await
        }
    }
}

fn decide<'a>(node: &str, access: &AccessRequest<'a>, selected_node: &str) -> NodeAccess<'a> {
    let AccessTarget::Resource {
        group,
        resource,
        subresource,
        namespace,
        name,
    } = access.target
    else {
        return NodeAccess::Unknown;
    };
    let verb = access.verb;
    let reads = matches!(verb, "get" | "list" | "watch");
    let related = |relation| NodeAccess::Related(relation, namespace, name);
    let allowed_if = |condition| {
        if condition {
            NodeAccess::Allowed
        } else {
            NodeAccess::Unknown
        }
    };
    let is_own_write =
        matches!(verb, "get" | "update" | "patch" | "delete") && name == node || verb == "create";
    match (group, resource, subresource) {
        ("", "secrets", "") if reads && !namespace.is_empty() => related(Relation::Secret),
        ("", "configmaps", "") if reads && !namespace.is_empty() => related(Relation::ConfigMap),
        ("", "persistentvolumeclaims", "") if verb == "get" => related(Relation::Claim),
        ("", "persistentvolumeclaims", "status") if matches!(verb, "update" | "patch") => {
            related(Relation::Claim)
        }
        ("", "persistentvolumes", "") if verb == "get" => related(Relation::Volume),
        ("resource.k8s.io", "resourceclaims", "") if verb == "get" => {
            related(Relation::ResourceClaim)
        }
        ("storage.k8s.io", "volumeattachments", "") if verb == "get" => {
            related(Relation::VolumeAttachment)
        }
        ("", "serviceaccounts", "token") if verb == "create" => related(Relation::ServiceAccount),
        ("", "serviceaccounts", "") if verb == "get" => related(Relation::ServiceAccount),
        ("coordination.k8s.io", "leases", "") => allowed_if(namespace == LEASES && is_own_write),
        ("storage.k8s.io", "csinodes", "") => allowed_if(is_own_write),
        ("resource.k8s.io", "resourceslices", "") => match verb {
            "create" => NodeAccess::Allowed,
            "list" | "watch" | "deletecollection" => allowed_if(selected_node == node),
            _ => related(Relation::ResourceSlice),
        },
        ("", "nodes", "") => match verb {
            "create" | "update" | "patch" => NodeAccess::Allowed,
            _ => allowed_if(reads && name == node),
        },
        ("", "nodes", "status") => allowed_if(matches!(verb, "update" | "patch")),
        ("", "pods", "") => match verb {
            "create" | "delete" => NodeAccess::Allowed,
            "list" | "watch" if selected_node == node => NodeAccess::Allowed,
            _ if reads => related(Relation::Pod),
            _ => NodeAccess::Unknown,
        },
        ("", "pods", "status") => allowed_if(matches!(verb, "update" | "patch")),
        ("", "pods", "eviction") => allowed_if(verb == "create"),
        _ => allowed_if(COMMON.iter().any(|rule| rule.allows(access))),
    }
}

/// Looks up relations of one node.
struct Relations<'a> {
    backend: &'a dyn Backend,
    node: &'a str,
}

impl Relations<'_> {
    async fn has(&self, relation: Relation, namespace: &str, name: &str) -> Result<bool, Refusal> {
        let on_node = |object: Option<Tree>, field: &str| {
            object.is_some_and(|object| text(&object, field) == self.node)
        };
        let referred = async |of: fn(&PodReferences) -> &BTreeSet<String>| {
            let pods = self.pods(namespace).await?;
            Ok::<bool, Refusal>(pods.iter().any(|(_, pod)| of(pod).contains(name)))
        };
        match relation {
            Relation::Pod => {
                let pod = self.object("", "pods", namespace, name).await?;
                Ok(on_node(pod, "/spec/nodeName"))
            }
            Relation::ConfigMap => referred(|pod| &pod.config_maps).await,
            Relation::Claim => referred(|pod| &pod.claims).await,
            Relation::ResourceClaim => referred(|pod| &pod.resource_claims).await,
            Relation::ServiceAccount => {
                let pods = self.pods(namespace).await?;
                Ok(pods.iter().any(|(_, pod)| pod.service_account == name))
            }
            Relation::Secret => {
                Ok(referred(|pod| &pod.secrets).await? || self.mounts(namespace, name).await?)
            }
            Relation::Volume => {
                let volume = self.object("", "persistentvolumes", "", name).await?;
                self.has_volume(volume.as_ref()).await
            }
            Relation::VolumeAttachment => {
                let group = "storage.k8s.io";
                let object = self.object(group, "volumeattachments", "", name).await?;
                Ok(on_node(object, "/spec/nodeName"))
            }
            Relation::ResourceSlice => {
                let group = "resource.k8s.io";
                let object = self.object(group, "resourceslices", "", name).await?;
                Ok(on_node(object, "/spec/nodeName"))
            }
        }
    }

    /// Returns whether a pod of the node uses the claim that a volume is bound to.
    async fn has_volume(&self, volume: Option<&Tree>) -> Result<bool, Refusal> {
        let Some(volume) = volume else {
            return Ok(false);
        };
        let namespace = text(volume, "/spec/claimRef/namespace");
        let claim = text(volume, "/spec/claimRef/name");
        if namespace.is_empty() || claim.is_empty() {
            return Ok(false);
        }
        let pods = self.pods(namespace).await?;
        Ok(pods.iter().any(|(_, pod)| pod.claims.contains(claim)))
    }

    /// Returns whether a volume of a pod of the node needs a secret.
    async fn mounts(&self, namespace: &str, name: &str) -> Result<bool, Refusal> {
        let secret = (namespace.to_owned(), name.to_owned());
        let mut seen = BTreeSet::new();
        for (place, pod) in self.pods("").await? {
            for claim in pod.claims {
                if !seen.insert((place.clone(), claim.clone())) {
                    continue;
                }
                let claim = self
                    .object("", "persistentvolumeclaims", &place, &claim)
                    .await?;
                let volume = claim
                    .as_ref()
                    .map_or("", |claim| text(claim, "/spec/volumeName"));
                let volume = self.object("", "persistentvolumes", "", volume).await?;
                // The claim names the volume, and the volume must name a claim of the node.
                if volume
                    .as_ref()
                    .is_some_and(|volume| secrets_of_volume(volume).contains(&secret))
                    && self.has_volume(volume.as_ref()).await?
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Returns the namespace and the references of each pod of the node in a namespace (empty for
    /// all). A node makes its mirror pods itself, so their references count for nothing.
    async fn pods(&self, namespace: &str) -> Result<Vec<(String, PodReferences)>, Refusal> {
        let options = ListOptions {
            field_selector: format!("spec.nodeName={}", self.node),
            ..ListOptions::default()
        };
        let Some(request) = request("", "pods", namespace, "", Verb::List(options)) else {
            return Ok(Vec::new());
        };
        let Reply::List { items, .. } = self.backend.call(request).await? else {
            return Ok(Vec::new());
        };
        let pods = items
            .iter()
            .filter_map(|item| serde_json::from_slice::<Tree>(item).ok());
        let is_mirror = |pod: &Tree| {
            let annotations = pod.pointer("/metadata/annotations");
            annotations.is_some_and(|annotations| annotations.get(MIRROR).is_some())
        };
        Ok(pods
            .filter(|pod| !is_mirror(pod))
            .map(|pod| {
                let namespace = text(&pod, "/metadata/namespace").to_owned();
                (namespace, PodReferences::of(&pod))
            })
            .collect())
    }

    async fn object(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Tree>, Refusal> {
        let get = Verb::Get {
            resource_version: String::new(),
        };
        let request = request(group, plural, namespace, name, get);
        let Some(request) = request.filter(|request| !request.name.is_empty()) else {
            return Ok(None);
        };
        match self.backend.call(request).await {
            Ok(Reply::Object { json, .. }) => Ok(serde_json::from_slice(&json).ok()),
            Ok(_) => Ok(None),
            Err(refusal) if refusal.status.code == 404 => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }
}

/// Returns a request by the server itself.
fn request(group: &str, plural: &str, namespace: &str, name: &str, verb: Verb) -> Option<Request> {
    Some(Request {
        user: Arc::new(crate::auth::administrator("system:apiserver")),
        resource: kinds::resource(group, "v1", plural)?.into(),
        subresource: None,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        verb,
    })
}

fn text<'a>(tree: &'a Tree, pointer: &str) -> &'a str {
    tree.pointer(pointer)
        .and_then(Tree::as_str)
        .unwrap_or_default()
}
