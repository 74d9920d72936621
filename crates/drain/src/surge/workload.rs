//! The workload for which a pod stands, and whether another replica of it would be any good.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::{Client, ResourceExt as _};
use rules::owners::controller_of;
use serde_json::Value;

use crate::health;

/// The kinds of workloads that can be scaled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `apps/v1`
    Deployment,
    /// `apps/v1`, without a Deployment above it.
    ReplicaSet,
    /// `v1`
    ReplicationController,
    /// `apps/v1`
    StatefulSet,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Deployment,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::StatefulSet,
    ];

    /// The kind by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.resource().kind == name)
    }

    /// As kubectl calls it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::ReplicaSet => "replicaset",
            Self::ReplicationController => "replicationcontroller",
            Self::StatefulSet => "statefulset",
        }
    }

    /// How it is reached.
    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
            Self::ReplicationController => ApiResource::erase::<ReplicationController>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        }
    }
}

/// Whether the pod's controller is of a kind of which another replica could be started.
pub(crate) fn may_be_raised(pod: &Pod) -> bool {
    health::controller_of(pod).is_some_and(|owner| Kind::named(&owner.kind).is_some())
}

/// The workload for which the pod stands: its controller, or the Deployment above it.
pub(super) async fn find(
    client: &Client,
    pod: &Pod,
) -> Result<Option<(Kind, DynamicObject)>, kube::Error> {
    let Some(owner) = health::controller_of(pod) else {
        return Ok(None);
    };
    let Some((kind, object)) = read(client, health::namespace(pod), owner).await? else {
        return Ok(None);
    };
    match controller_of(&object.metadata)
        .filter(|above| kind == Kind::ReplicaSet && above.kind == "Deployment")
    {
        Some(above) => read(client, health::namespace(pod), above).await,
        None => Ok(Some((kind, object))),
    }
}

async fn read(
    client: &Client,
    namespace: &str,
    owner: &OwnerReference,
) -> Result<Option<(Kind, DynamicObject)>, kube::Error> {
    let Some(kind) =
        Kind::named(&owner.kind).filter(|kind| kind.resource().api_version == owner.api_version)
    else {
        return Ok(None);
    };
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind.resource());
    Ok(api.get_opt(&owner.name).await?.map(|object| (kind, object)))
}

/// How many replicas it wants.
pub(super) fn replicas(object: &DynamicObject) -> i64 {
    object.data["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// Why another replica would be no good; none when it would.
pub(super) fn unwise(kind: Kind, object: &DynamicObject) -> Option<String> {
    // Deployments that belong to something are often left alone by it once they are made.
    if let Some(above) = controller_of(&object.metadata).filter(|_| kind != Kind::Deployment) {
        return Some(format!(
            "{} {} sets its size and would undo it",
            above.kind, above.name
        ));
    }
    let own_volumes = object.data["spec"]["volumeClaimTemplates"]
        .as_array()
        .is_some_and(|templates| !templates.is_empty());
    own_volumes.then(|| "another member would begin with empty volumes of its own, and a Service would send it requests".to_owned())
}

/// The names of the first members of a StatefulSet.
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

    fn object(kind: Kind, owner: Option<&str>, spec: Value) -> DynamicObject {
        let mut object = DynamicObject::new("web", &kind.resource()).data(json!({"spec": spec}));
        object.metadata.owner_references = owner.map(|kind| {
            let reference = json!({"apiVersion": "x/v1", "kind": kind, "name": "above", "uid": "u", "controller": true});
            vec![serde_json::from_value(reference).expect("a reference")]
        });
        object
    }

    #[test]
    fn a_second_replica_is_not_wanted_where_it_would_be_undone_or_begin_empty() {
        let check = |kind: Kind, owner: Option<&str>, spec: Value, word: Option<&str>| {
            let why = unwise(kind, &object(kind, owner, spec));
            assert_eq!(why.is_some(), word.is_some(), "{why:?}");
            assert!(why.is_none_or(|why| why.contains(word.unwrap_or_default())));
        };
        check(Kind::ReplicaSet, None, json!({}), None);
        check(
            Kind::ReplicaSet,
            Some("Rollout"),
            json!({}),
            Some("Rollout above"),
        );
        check(
            Kind::ReplicationController,
            Some("DeploymentConfig"),
            json!({}),
            Some("would undo it"),
        );
        check(Kind::Deployment, Some("App"), json!({}), None);
        check(
            Kind::StatefulSet,
            None,
            json!({"volumeClaimTemplates": []}),
            None,
        );
        check(
            Kind::StatefulSet,
            None,
            json!({"volumeClaimTemplates": [{}]}),
            Some("empty volumes"),
        );
    }

    #[test]
    fn members_are_counted_from_where_their_set_begins() {
        assert_eq!(
            members(&object(Kind::StatefulSet, None, json!({})), 2),
            ["web-0", "web-1"]
        );
        assert_eq!(
            members(
                &object(Kind::StatefulSet, None, json!({"ordinals": {"start": 5}})),
                1
            ),
            ["web-5"]
        );
    }

    #[test]
    fn kinds_are_known_by_their_names() {
        assert_eq!(Kind::named("StatefulSet"), Some(Kind::StatefulSet));
        assert_eq!(Kind::named("DaemonSet"), None);
    }
}
