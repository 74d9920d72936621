//! Lets a single-replica workload stay reachable: a second replica is started first, the old one is
//! evicted when the new one is ready, and the workload is scaled back.
//!
//! The Deployment carries a label and an annotation meanwhile, so that an interrupted run is put
//! right by the next drain of the same node: nothing is kept anywhere else.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::{evict, health};

/// Names the node for whose drain a Deployment was scaled up.
pub const LABEL: &str = "exeunt.dev/surged-for";
/// The number of replicas to go back to.
pub const ANNOTATION: &str = "exeunt.dev/surged-from";

/// How long the new replica may take to be ready; a pod that needs longer needs a person.
const PATIENCE: Duration = Duration::from_secs(600);

/// A Deployment that was scaled up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surge {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Surge {
    /// As `deployment NAMESPACE/NAME`.
    #[must_use]
    pub fn told(&self) -> String {
        format!("deployment {}/{}", self.namespace, self.name)
    }
}

/// Starts a second replica of the pod's Deployment and waits until one that is not `pod` is ready.
/// None when the pod is not the only replica of a Deployment: then there is nothing to do.
///
/// # Errors
/// What keeps the replica from being ready, in words.
pub(crate) async fn raise(client: &Client, pod: &Pod, node: &str) -> Result<Option<Surge>, String> {
    let namespace = health::namespace(pod).to_owned();
    let Some(deployment) =
        deployment_of(client, pod).await.map_err(|error| format!("cannot read its Deployment: {}", evict::words(&error)))?
    else {
        return Ok(None);
    };
    let surge = Surge { namespace: namespace.clone(), name: deployment.name_any() };
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let raised = deployment.annotations().contains_key(ANNOTATION);
    if replicas != 1 && !raised {
        return Ok(None);
    }
    if !raised {
        let patch = json!({
            "metadata": {
                "resourceVersion": deployment.resource_version(),
                "labels": {LABEL: node}, "annotations": {ANNOTATION: replicas.to_string()},
            },
            "spec": {"replicas": replicas + 1},
        });
        let api = Api::<Deployment>::namespaced(client.clone(), &namespace);
        let scaled = api.patch(&surge.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        scaled.map_err(|error| format!("cannot scale up {}: {}", surge.told(), evict::words(&error)))?;
    }
    match tokio::time::timeout(PATIENCE, another_is_ready(client, pod)).await {
        Ok(()) => Ok(Some(surge)),
        Err(_) => {
            lower(client, &surge).await?;
            Err(format!("the second replica of {} was not ready after {} s; it was scaled back", surge.told(), PATIENCE.as_secs()))
        }
    }
}

/// Waits until another pod of the same owner is ready.
async fn another_is_ready(client: &Client, pod: &Pod) {
    let api = Api::<Pod>::namespaced(client.clone(), health::namespace(pod));
    let owner = health::controller_of(pod).map(|owner| owner.uid.clone());
    let mut events = watcher::watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = events.next().await {
        if let Ok(Event::Apply(other) | Event::InitApply(other)) = event {
            let same_owner = health::controller_of(&other).map(|owner| owner.uid.clone()) == owner;
            if same_owner && other.uid() != pod.uid() && health::is_ready(&other) && !health::is_terminating(&other) {
                return;
            }
        }
    }
}

async fn deployment_of(client: &Client, pod: &Pod) -> Result<Option<Deployment>, kube::Error> {
    let namespace = health::namespace(pod);
    let Some(owner) = health::controller_of(pod).filter(|owner| owner.kind == "ReplicaSet") else { return Ok(None) };
    let Some(set) = Api::<ReplicaSet>::namespaced(client.clone(), namespace).get_opt(&owner.name).await? else { return Ok(None) };
    let owners = set.owner_references();
    let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true) && owner.kind == "Deployment") else { return Ok(None) };
    Api::<Deployment>::namespaced(client.clone(), namespace).get_opt(&owner.name).await
}

/// Scales a Deployment back, unless somebody else has changed its size since; false when that was
/// done before.
///
/// # Errors
/// What the server answers, in words.
pub(crate) async fn lower(client: &Client, surge: &Surge) -> Result<bool, String> {
    let api = Api::<Deployment>::namespaced(client.clone(), &surge.namespace);
    let failed = |error: kube::Error| format!("cannot scale back {}: {}", surge.told(), evict::words(&error));
    // A write of somebody else in between is met once or twice, not for ever.
    for _ in 0..5 {
        let Some(deployment) = api.get_opt(&surge.name).await.map_err(failed)? else { return Ok(false) };
        let Some(before) = deployment.annotations().get(ANNOTATION).and_then(|text| text.parse::<i32>().ok()) else { return Ok(false) };
        let mut patch = json!({"metadata": {
            "resourceVersion": deployment.resource_version(), "labels": {LABEL: null}, "annotations": {ANNOTATION: null},
        }});
        if deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(before + 1) {
            patch["spec"] = json!({"replicas": before});
        }
        match api.patch(&surge.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(format!("cannot scale back {}: somebody else keeps changing it", surge.told()))
}

/// The Deployments that are scaled up for the drain of this node, by this run or an interrupted one.
///
/// # Errors
/// What the server answers.
pub(crate) async fn raised_for(client: &Client, node: &str) -> Result<Vec<Surge>, kube::Error> {
    let api = Api::<Deployment>::all(client.clone());
    let found = api.list(&ListParams::default().labels(&format!("{LABEL}={node}"))).await?;
    Ok(found.items.iter().map(|found| Surge { namespace: found.namespace().unwrap_or_default(), name: found.name_any() }).collect())
}
