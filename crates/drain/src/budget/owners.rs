//! How many pods the controllers of some pods want, from the objects of a snapshot and the scales
//! that were read with it. Follows the disruption controller's finders and their messages.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::CountError;
use crate::cluster::{ClusterSnapshot, CustomObject, SnapshotOrigin};
use crate::pods::{controller, controller_of, name, namespace, namespace_of};

/// The topmost controller of some pods: the Deployment, not its ReplicaSets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Kind, for example `Deployment`.
    pub kind: &'a str,
    /// Group and version.
    pub api_version: &'a str,
    /// Name.
    pub name: &'a str,
    /// `spec.replicas`, or why it is unknown.
    pub replicas: Result<i32, CountError>,
    /// The maximum of its autoscaler, zero when it has none.
    pub most: i32,
}

impl<'a> Owner<'a> {
    fn new(reference: &'a OwnerReference, replicas: Result<i32, CountError>) -> Self {
        Self {
            kind: &reference.kind,
            api_version: &reference.api_version,
            name: &reference.name,
            replicas,
            most: 0,
        }
    }
}

/// Returns the distinct controllers of the pods, with the maxima of their autoscalers, and the pods
/// without a controller.
pub(super) fn of<'a>(
    snapshot: &'a ClusterSnapshot,
    scalers: &HashMap<(&'a str, &'a str, &'a str), i32>,
    pods: &[&'a Pod],
) -> (Vec<Owner<'a>>, Vec<&'a Pod>) {
    let (mut owners, mut unmanaged) = (Vec::<Owner<'a>>::new(), Vec::new());
    let (mut seen, mut named) = (HashSet::<&str>::new(), HashSet::new());
    for pod in pods {
        let Some(reference) = controller_of(pod) else {
            unmanaged.push(*pod);
            continue;
        };
        if !seen.insert(&reference.uid) {
            continue;
        }
        let mut owner = owner(snapshot, pod, reference);
        let target = (namespace(pod), owner.kind, owner.name);
        owner.most = scalers.get(&target).copied().unwrap_or_default();
        // A Deployment has two ReplicaSets during a rollout and still counts once.
        if named.insert((owner.kind, owner.name)) {
            owners.push(owner);
        }
    }
    (owners, unmanaged)
}

fn owner<'a>(
    snapshot: &'a ClusterSnapshot,
    pod: &'a Pod,
    reference: &'a OwnerReference,
) -> Owner<'a> {
    let space = namespace(pod);
    let group = reference
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    let replicas = match (reference.kind.as_str(), group) {
        ("ReplicaSet", "apps" | "extensions") => return replica_set(snapshot, pod, reference),
        ("StatefulSet", "apps") => {
            let found = snapshot
                .stateful_set(space, &reference.name)
                .filter(|set| is_referenced(&set.metadata, space, reference))
                .map(|set| set.spec.as_ref().and_then(|spec| spec.replicas));
            replicas_or_missing(snapshot, "statefulsets.apps", pod, reference, found)
        }
        ("ReplicationController", "") => {
            let found = snapshot
                .replication_controller(space, &reference.name)
                .filter(|set| is_referenced(&set.metadata, space, reference))
                .map(|set| set.spec.as_ref().and_then(|spec| spec.replicas));
            replicas_or_missing(snapshot, "replicationcontrollers", pod, reference, found)
        }
        ("DaemonSet", "apps") => Err(no_scale("daemonsets.apps")),
        ("Job", "batch") => Err(no_scale("jobs.batch")),
        ("Node", "") => Err(no_scale("nodes")),
        _ => scale(snapshot, space, reference),
    };
    Owner::new(reference, replicas)
}

fn replica_set<'a>(
    snapshot: &'a ClusterSnapshot,
    pod: &'a Pod,
    reference: &'a OwnerReference,
) -> Owner<'a> {
    let space = namespace(pod);
    let found = snapshot
        .replica_set(space, &reference.name)
        .filter(|set| is_referenced(&set.metadata, space, reference));
    let deployment = found
        .and_then(|set| controller(&set.metadata))
        .filter(|owner| owner.kind == "Deployment");
    let Some(deployment) = deployment else {
        let found = found.map(|set| set.spec.as_ref().and_then(|spec| spec.replicas));
        let replicas = replicas_or_missing(snapshot, "replicasets.apps", pod, reference, found);
        return Owner::new(reference, replicas);
    };
    let found = snapshot
        .deployment(space, &deployment.name)
        .filter(|object| is_referenced(&object.metadata, space, deployment))
        .map(|object| object.spec.as_ref().and_then(|spec| spec.replicas));
    let replicas = replicas_or_missing(snapshot, "deployments.apps", pod, deployment, found);
    Owner::new(deployment, replicas)
}

fn is_referenced(meta: &ObjectMeta, namespace: &str, reference: &OwnerReference) -> bool {
    meta.name.as_deref() == Some(&reference.name)
        && namespace_of(meta) == namespace
        && meta.uid.as_deref().is_none_or(|uid| uid == reference.uid)
}

fn scale(
    snapshot: &ClusterSnapshot,
    namespace: &str,
    reference: &OwnerReference,
) -> Result<i32, CountError> {
    let found = snapshot.scales.iter().find(|scale| {
        (scale.api_version.as_str(), scale.kind.as_str())
            == (reference.api_version.as_str(), reference.kind.as_str())
            && (scale.namespace.as_str(), scale.name.as_str())
                == (namespace, reference.name.as_str())
    });
    if let Some(scale) = found {
        return scale.replicas.clone().map_err(CountError::Fails);
    }
    let custom = snapshot.custom.iter().find(|object| {
        object.kind == reference.kind && is_referenced(&object.metadata, namespace, reference)
    });
    custom.and_then(CustomObject::replicas).ok_or_else(|| {
        CountError::Unseen(format!(
            "the scale of {} {} was not read",
            reference.kind, reference.name
        ))
    })
}

/// `found` is the `spec.replicas` of the workload, which defaults to 1; `None` when the snapshot
/// does not contain the workload.
fn replicas_or_missing(
    snapshot: &ClusterSnapshot,
    resource: &'static str,
    pod: &Pod,
    reference: &OwnerReference,
    found: Option<Option<i32>>,
) -> Result<i32, CountError> {
    if let Some(replicas) = found {
        return Ok(replicas.unwrap_or(1));
    }
    Err(match snapshot.unread(resource) {
        Some(unread) => CountError::Unseen(format!("{resource} were not read: {}", unread.why)),
        // A file need not contain every object of its kinds.
        None if snapshot.origin != SnapshotOrigin::Server => CountError::Unseen(format!(
            "{} {} is not in the file",
            reference.kind, reference.name
        )),
        None => CountError::Fails(format!("found no controllers for pod {:?}", name(pod))),
    })
}

fn no_scale(resource: &str) -> CountError {
    CountError::Fails(format!(
        "{resource} does not implement the scale subresource"
    ))
}
