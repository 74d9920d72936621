//! Finds the workload of a pod, and decides whether another replica of it is useful.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kinds::path::segment;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

use crate::pods;

/// The kinds of workloads that can be scaled up for a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// `apps/v1`
    Deployment,
    /// `apps/v1`, without a Deployment above it.
    ReplicaSet,
    /// `v1`
    ReplicationController,
    /// `apps/v1`
    StatefulSet,
}

impl WorkloadKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::Deployment,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::StatefulSet,
    ];

    /// Parses the name of a kind.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.resource().kind == name)
    }

    /// Returns the resource name in the singular, as kubectl prints it.
    #[must_use]
    pub fn resource_name(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::ReplicaSet => "replicaset",
            Self::ReplicationController => "replicationcontroller",
            Self::StatefulSet => "statefulset",
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
            Self::ReplicationController => ApiResource::erase::<ReplicationController>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        }
    }
}

/// Returns true when the pod's controller is of a kind that can be scaled up.
pub(crate) fn can_surge(pod: &Pod) -> bool {
    pods::controller_of(pod).is_some_and(|owner| WorkloadKind::named(&owner.kind).is_some())
}

/// Reads the workload of the pod: its controller, or the Deployment that owns it.
pub(super) async fn find(
    client: &Client,
    pod: &Pod,
) -> Result<Option<(WorkloadKind, DynamicObject)>, kube::Error> {
    let Some(owner) = pods::controller_of(pod) else {
        return Ok(None);
    };
    let Some((kind, object)) = read(client, pods::namespace(pod), owner).await? else {
        return Ok(None);
    };
    match pods::controller(&object.metadata)
        .filter(|above| kind == WorkloadKind::ReplicaSet && above.kind == "Deployment")
    {
        Some(above) => read(client, pods::namespace(pod), above).await,
        None => Ok(Some((kind, object))),
    }
}

async fn read(
    client: &Client,
    namespace: &str,
    owner: &OwnerReference,
) -> Result<Option<(WorkloadKind, DynamicObject)>, kube::Error> {
    let Some(kind) = WorkloadKind::named(&owner.kind)
        .filter(|kind| kind.resource().api_version == owner.api_version)
    else {
        return Ok(None);
    };
    let namespace = segment(namespace);
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &kind.resource());
    let found = api.get_opt(&segment(&owner.name)).await?;
    Ok(found.map(|object| (kind, object)))
}

/// Returns `spec.replicas`, which defaults to 1.
pub(super) fn replicas(object: &DynamicObject) -> i64 {
    object.data["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// Returns why another replica would be reverted or do harm, `None` when it is useful.
pub(super) fn reason_to_decline(kind: WorkloadKind, object: &DynamicObject) -> Option<String> {
    // Owners of Deployments often do not revert changes of their replicas; owners of the other
    // kinds do.
    if let Some(above) =
        pods::controller(&object.metadata).filter(|_| kind != WorkloadKind::Deployment)
    {
        return Some(format!(
            "{} {} controls its replicas and would revert the change",
            above.kind, above.name
        ));
    }
    let own_volumes = object.data["spec"]["volumeClaimTemplates"]
        .as_array()
        .is_some_and(|templates| !templates.is_empty());
    own_volumes.then(|| "another member would start with its own, empty volumes, and Services would send it requests".to_owned())
}

/// Returns the names of the first `count` members of a StatefulSet.
pub(super) fn members(set: &DynamicObject, count: i64) -> Vec<String> {
    let start = match &set.data["spec"]["ordinals"]["start"] {
        Value::Number(start) => start.as_i64().unwrap_or_default(),
        _ => 0,
    };
    (start..start.saturating_add(count))
        .map(|ordinal| format!("{}-{ordinal}", set.name_any()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: WorkloadKind, owner: Option<&str>, spec: Value) -> DynamicObject {
        let mut object = DynamicObject::new("web", &kind.resource()).data(json!({"spec": spec}));
        object.metadata.owner_references = owner.map(|kind| {
            let reference = json!({"apiVersion": "x/v1", "kind": kind, "name": "above", "uid": "u",
                "controller": true});
            vec![serde_json::from_value(reference).expect("a reference")]
        });
        object
    }

    #[test]
    fn a_surge_is_declined_when_it_would_be_reverted_or_start_empty() {
        let check = |kind: WorkloadKind, owner: Option<&str>, spec: Value, word: Option<&str>| {
            let why = reason_to_decline(kind, &object(kind, owner, spec));
            assert_eq!(why.is_some(), word.is_some(), "{why:?}");
            assert!(why.is_none_or(|why| why.contains(word.unwrap_or_default())));
        };
        check(WorkloadKind::ReplicaSet, None, json!({}), None);
        check(
            WorkloadKind::ReplicaSet,
            Some("Rollout"),
            json!({}),
            Some("Rollout above"),
        );
        check(
            WorkloadKind::ReplicationController,
            Some("DeploymentConfig"),
            json!({}),
            Some("would revert the change"),
        );
        check(WorkloadKind::Deployment, Some("App"), json!({}), None);
        check(
            WorkloadKind::StatefulSet,
            None,
            json!({"volumeClaimTemplates": []}),
            None,
        );
        check(
            WorkloadKind::StatefulSet,
            None,
            json!({"volumeClaimTemplates": [{}]}),
            Some("empty volumes"),
        );
    }

    #[test]
    fn members_are_counted_from_the_start_ordinal() {
        assert_eq!(
            members(&object(WorkloadKind::StatefulSet, None, json!({})), 2),
            ["web-0", "web-1"]
        );
        assert_eq!(
            members(
                &object(
                    WorkloadKind::StatefulSet,
                    None,
                    json!({"ordinals": {"start": 5}})
                ),
                1
            ),
            ["web-5"]
        );
    }

    #[test]
    fn kinds_are_parsed_by_name() {
        assert_eq!(
            WorkloadKind::named("StatefulSet"),
            Some(WorkloadKind::StatefulSet)
        );
        assert_eq!(WorkloadKind::named("DaemonSet"), None);
    }
}
