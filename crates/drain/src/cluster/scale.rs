//! Replicas of workloads of other kinds, from their `scale` subresource. Budgets in percent count
//! by them.

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kinds::path::{is_api_version, segment};
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::GroupVersionKind;
use kube::discovery;

use super::ClusterSnapshot;
use crate::pods;

/// The maximum number of requests in flight.
const MAX_IN_FLIGHT: usize = 8;

/// The answer of one owner's `scale` subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerScale {
    /// Group and version, as the owner references of the pods name them.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.replicas`, or the error message of the request.
    pub replicas: Result<i32, String>,
}

/// Returns true for owners whose replicas only their `scale` subresource reports.
fn has_own_scale(owner: &OwnerReference) -> bool {
    let known = [
        "ReplicaSet",
        "StatefulSet",
        "ReplicationController",
        "DaemonSet",
        "Job",
        "Node",
    ];
    let group = owner
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    !(known.contains(&owner.kind.as_str()) && matches!(group, "" | "apps" | "batch" | "extensions"))
}

/// Reads the scales of the owners of other kinds whose pods a budget selects.
pub(super) async fn read(client: &Client, snapshot: &ClusterSnapshot) -> Vec<OwnerScale> {
    let mut wanted: Vec<OwnerScale> = Vec::new();
    for pod in &snapshot.pods {
        let Some(owner) = pods::controller_of(pod).filter(|owner| has_own_scale(owner)) else {
            continue;
        };
        let known = |scale: &OwnerScale| {
            (
                scale.kind.as_str(),
                scale.name.as_str(),
                scale.namespace.as_str(),
            ) == (&owner.kind, &owner.name, pods::namespace(pod))
        };
        if wanted.iter().any(known) || snapshot.budgets_selecting(pod).is_empty() {
            continue;
        }
        wanted.push(OwnerScale {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            namespace: pods::namespace(pod).to_owned(),
            name: owner.name.clone(),
            replicas: Ok(0),
        });
    }
    let requests = wanted.into_iter().map(|scale| async move {
        OwnerScale {
            replicas: get(client, &scale).await,
            ..scale
        }
    });
    futures::stream::iter(requests)
        .buffered(MAX_IN_FLIGHT)
        .collect()
        .await
}

async fn get(client: &Client, scale: &OwnerScale) -> Result<i32, String> {
    let (group, version) = scale
        .api_version
        .split_once('/')
        .unwrap_or(("", &scale.api_version));
    let kind = GroupVersionKind::gvk(group, version, &scale.kind);
    let unknown = || {
        format!(
            "no matches for kind {:?} in version {:?}",
            scale.kind, scale.api_version
        )
    };
    if !is_api_version(&scale.api_version) {
        return Err(unknown());
    }
    let (resource, capabilities) = discovery::pinned_kind(client, &kind)
        .await
        .map_err(|_| unknown())?;
    if !capabilities
        .subresources
        .iter()
        .any(|(sub, _)| sub.plural == "scale")
    {
        let named = if group.is_empty() {
            resource.plural.clone()
        } else {
            format!("{}.{group}", resource.plural)
        };
        return Err(format!("{named} does not implement the scale subresource"));
    }
    let namespace = segment(&scale.namespace);
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource);
    let answer = api
        .get_scale(&segment(&scale.name))
        .await
        .map_err(|error| error.to_string())?;
    Ok(answer
        .spec
        .and_then(|spec| spec.replicas)
        .unwrap_or_default())
}
