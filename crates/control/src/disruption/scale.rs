//! How many pods the controllers of given pods want.
//!
//! The built-in controllers are read from the caches. Any other owner is requested for its `scale`
//! subresource. A Deployment counts once for all its ReplicaSets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Client;

use crate::context::ControllerContext;
use crate::discovery::Discovery;
use crate::error::{ReconcileError, code};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{controller_of, group_of, uid};
use crate::pods::{name, namespace};

/// What the controllers of given pods want in total.
#[derive(Debug, Default)]
pub(super) struct ExpectedPods {
    pub(super) replicas: i32,
    /// Names of pods without a controlling owner.
    pub(super) unmanaged: Vec<String>,
}

/// Finds the scale of the controllers of pods.
pub(super) struct ScaleFinder {
    client: Client,
    discovery: Discovery,
    replication_controllers: Arc<Cache<ReplicationController>>,
    replica_sets: Arc<Cache<ReplicaSet>>,
    deployments: Arc<Cache<Deployment>>,
    stateful_sets: Arc<Cache<StatefulSet>>,
}

/// A controller and the number of replicas that it wants.
struct ControllerScale {
    uid: String,
    replicas: i32,
}

impl ScaleFinder {
    pub(super) fn new(context: &ControllerContext, informers: &Informers) -> Self {
        Self {
            client: context.client.clone(),
            discovery: Discovery::new(context.client.clone()),
            replication_controllers: Arc::clone(&informers.replication_controllers.cache),
            replica_sets: Arc::clone(&informers.replica_sets.cache),
            deployments: Arc::clone(&informers.deployments.cache),
            stateful_sets: Arc::clone(&informers.stateful_sets.cache),
        }
    }

    /// Returns the sum over the distinct controllers of these pods.
    pub(super) async fn expected(&self, pods: &[Arc<Pod>]) -> Result<ExpectedPods, ReconcileError> {
        let mut expected = ExpectedPods::default();
        let mut owners: BTreeSet<&str> = BTreeSet::new();
        let mut replicas: BTreeMap<String, i32> = BTreeMap::new();
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                expected.unmanaged.push(name(pod).to_owned());
                continue;
            };
            if !owners.insert(&owner.uid) {
                continue;
            }
            let found = match self.cached(namespace(pod), owner) {
                Some(found) => Some(found),
                None => self.requested(namespace(pod), owner).await?,
            };
            let found = found.ok_or_else(|| {
                ReconcileError::Plan(format!("found no controllers for pod {:?}", name(pod)))
            })?;
            replicas.insert(found.uid, found.replicas);
        }
        expected.replicas = replicas.into_values().fold(0, i32::saturating_add);
        Ok(expected)
    }

    fn cached(&self, namespace: &str, owner: &OwnerReference) -> Option<ControllerScale> {
        match (owner.kind.as_str(), group_of(&owner.api_version)) {
            ("ReplicationController", "") => {
                let object = self.replication_controllers.find(namespace, &owner.name)?;
                found(
                    owner,
                    &object.metadata,
                    object.spec.as_ref().and_then(|spec| spec.replicas),
                )
            }
            ("ReplicaSet", "apps" | "extensions") => self.replica_set(namespace, owner),
            ("StatefulSet", "apps") => {
                let object = self.stateful_sets.find(namespace, &owner.name)?;
                found(
                    owner,
                    &object.metadata,
                    object.spec.as_ref().and_then(|spec| spec.replicas),
                )
            }
            _ => None,
        }
    }

    fn replica_set(&self, namespace: &str, owner: &OwnerReference) -> Option<ControllerScale> {
        let set = self
            .replica_sets
            .find(namespace, &owner.name)
            .filter(|set| uid(&set.metadata) == owner.uid)?;
        let Some(above) = controller_of(&set.metadata).filter(|above| above.kind == "Deployment")
        else {
            return found(
                owner,
                &set.metadata,
                set.spec.as_ref().and_then(|spec| spec.replicas),
            );
        };
        if !matches!(group_of(&above.api_version), "apps" | "extensions") {
            return None;
        }
        let deployment = self.deployments.find(namespace, &above.name)?;
        found(
            above,
            &deployment.metadata,
            deployment.spec.as_ref().and_then(|spec| spec.replicas),
        )
    }

    /// Requests the `scale` subresource of an owner of any kind; none when the owner does not
    /// exist.
    async fn requested(
        &self,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Result<Option<ControllerScale>, ReconcileError> {
        let fulfilled = self
            .discovery
            .resource(&owner.api_version, &owner.kind)
            .await?;
        if !fulfilled.scalable {
            return Err(ReconcileError::Plan(format!(
                "{} does not implement the scale subresource",
                fulfilled.group_resource()
            )));
        }
        let path = format!("{}/scale", fulfilled.path(namespace, &owner.name));
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| ReconcileError::Plan(error.to_string()))?;
        match self.client.request::<Scale>(request).await {
            Ok(scale) => Ok(found(
                owner,
                &scale.metadata,
                scale.spec.and_then(|spec| spec.replicas),
            )),
            Err(error) if code(&error) == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn found(
    owner: &OwnerReference,
    meta: &ObjectMeta,
    replicas: Option<i32>,
) -> Option<ControllerScale> {
    (uid(meta) == owner.uid).then(|| ControllerScale {
        uid: owner.uid.clone(),
        replicas: replicas.unwrap_or_default(),
    })
}
