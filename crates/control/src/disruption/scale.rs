//! How many pods the controllers of some pods want.
//!
//! Known controllers are read from the caches; every other owner is asked for its `scale`
//! subresource. A Deployment is counted once for all its ReplicaSets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Client;

use crate::caches::{Cache, Caches};
use crate::context::Context;
use crate::discovery::Discovery;
use crate::error::{Error, code};
use crate::meta::{controller_of, group_of, uid};
use crate::pods::{name, namespace};

/// What the controllers of some pods want.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) replicas: i32,
    /// Names of pods that nobody manages.
    pub(super) unmanaged: Vec<String>,
}

/// Where scales are found.
pub(super) struct Scales {
    client: Client,
    discovery: Discovery,
    replication_controllers: Arc<Cache<ReplicationController>>,
    replica_sets: Arc<Cache<ReplicaSet>>,
    deployments: Arc<Cache<Deployment>>,
    stateful_sets: Arc<Cache<StatefulSet>>,
}

/// One controller and its wish.
struct Found {
    uid: String,
    replicas: i32,
}

impl Scales {
    pub(super) fn new(context: &Context, caches: &Caches) -> Self {
        Self {
            client: context.client.clone(),
            discovery: Discovery::new(context.client.clone()),
            replication_controllers: Arc::clone(&caches.replication_controllers.cache),
            replica_sets: Arc::clone(&caches.replica_sets.cache),
            deployments: Arc::clone(&caches.deployments.cache),
            stateful_sets: Arc::clone(&caches.stateful_sets.cache),
        }
    }

    /// The sum over the distinct controllers of the pods.
    pub(super) async fn expected(&self, pods: &[Arc<Pod>]) -> Result<Expected, Error> {
        let mut expected = Expected::default();
        let mut owners: BTreeSet<&str> = BTreeSet::new();
        let mut wishes: BTreeMap<String, i32> = BTreeMap::new();
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
                None => self.asked(namespace(pod), owner).await?,
            };
            let found = found.ok_or_else(|| {
                Error::Plan(format!("found no controllers for pod {:?}", name(pod)))
            })?;
            wishes.insert(found.uid, found.replicas);
        }
        expected.replicas = wishes.into_values().fold(0, i32::saturating_add);
        Ok(expected)
    }

    fn cached(&self, namespace: &str, owner: &OwnerReference) -> Option<Found> {
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

    fn replica_set(&self, namespace: &str, owner: &OwnerReference) -> Option<Found> {
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

    /// The `scale` subresource of an owner of any kind; none when the owner is not there.
    async fn asked(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<Found>, Error> {
        let served = self
            .discovery
            .resource(&owner.api_version, &owner.kind)
            .await?;
        if !served.scalable {
            return Err(Error::Plan(format!(
                "{} does not implement the scale subresource",
                served.group_resource()
            )));
        }
        let path = format!("{}/scale", served.path(namespace, &owner.name));
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| Error::Plan(error.to_string()))?;
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

fn found(owner: &OwnerReference, meta: &ObjectMeta, replicas: Option<i32>) -> Option<Found> {
    (uid(meta) == owner.uid).then(|| Found {
        uid: owner.uid.clone(),
        replicas: replicas.unwrap_or_default(),
    })
}
