//! How many pods the controllers of some pods want: as the disruption controller finds it out, from
//! the objects of a snapshot and from the scales that were read with it.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::Uncounted;
use crate::cluster::Snapshot;
use crate::health::{controller_of, name, namespace};

/// The controller at the top of some pods: a Deployment stands for its ReplicaSets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// For example `Deployment`.
    pub kind: &'a str,
    /// Its group and version.
    pub api_version: &'a str,
    /// Its name.
    pub name: &'a str,
    /// How many pods it wants, or why nobody can say.
    pub replicas: Result<i32, Uncounted>,
}

/// The distinct controllers of the pods, and the pods that have none.
pub(super) fn of<'a>(snapshot: &'a Snapshot, pods: &[&'a Pod]) -> (Vec<Owner<'a>>, Vec<&'a Pod>) {
    let (mut owners, mut unmanaged) = (Vec::<Owner<'a>>::new(), Vec::new());
    let mut seen = Vec::<&str>::new();
    for pod in pods {
        let Some(reference) = controller_of(pod) else {
            unmanaged.push(*pod);
            continue;
        };
        if seen.contains(&reference.uid.as_str()) {
            continue;
        }
        seen.push(&reference.uid);
        let owner = owner(snapshot, pod, reference);
        // A Deployment that rolls out has several ReplicaSets and counts once.
        if !owners
            .iter()
            .any(|known| (known.kind, known.name) == (owner.kind, owner.name))
        {
            owners.push(owner);
        }
    }
    (owners, unmanaged)
}

/// True for owners whose replicas are known only to their `scale` subresource.
pub(crate) fn wants_scale(owner: &OwnerReference) -> bool {
    let known = [
        "ReplicaSet",
        "StatefulSet",
        "ReplicationController",
        "DaemonSet",
        "Job",
        "Node",
    ];
    !(known.contains(&owner.kind.as_str())
        && matches!(
            group(&owner.api_version),
            "" | "apps" | "batch" | "extensions"
        ))
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn owner<'a>(snapshot: &'a Snapshot, pod: &'a Pod, reference: &'a OwnerReference) -> Owner<'a> {
    let space = namespace(pod);
    let direct = |replicas| Owner {
        kind: &reference.kind,
        api_version: &reference.api_version,
        name: &reference.name,
        replicas,
    };
    let is = |meta: &ObjectMeta| is_it(meta, space, reference);
    match (reference.kind.as_str(), group(&reference.api_version)) {
        ("ReplicaSet", "apps" | "extensions") => replica_set(snapshot, pod, reference),
        ("StatefulSet", "apps") => {
            let found = snapshot.stateful_sets.iter().find(|set| is(&set.metadata));
            direct(found.map_or_else(
                || Err(missing(snapshot, "statefulsets.apps", pod)),
                |set| {
                    Ok(set
                        .spec
                        .as_ref()
                        .and_then(|spec| spec.replicas)
                        .unwrap_or(1))
                },
            ))
        }
        ("ReplicationController", "") => {
            let found = snapshot
                .replication_controllers
                .iter()
                .find(|set| is(&set.metadata));
            direct(found.map_or_else(
                || Err(missing(snapshot, "replicationcontrollers", pod)),
                |set| {
                    Ok(set
                        .spec
                        .as_ref()
                        .and_then(|spec| spec.replicas)
                        .unwrap_or(1))
                },
            ))
        }
        ("DaemonSet", "apps") => direct(Err(no_scale("daemonsets.apps"))),
        ("Job", "batch") => direct(Err(no_scale("jobs.batch"))),
        ("Node", "") => direct(Err(no_scale("nodes"))),
        _ => direct(scale(snapshot, space, reference)),
    }
}

fn replica_set<'a>(
    snapshot: &'a Snapshot,
    pod: &'a Pod,
    reference: &'a OwnerReference,
) -> Owner<'a> {
    let space = namespace(pod);
    let lost = |replicas| Owner {
        kind: &reference.kind,
        api_version: &reference.api_version,
        name: &reference.name,
        replicas,
    };
    let Some(set) = snapshot
        .replica_sets
        .iter()
        .find(|set| is_it(&set.metadata, space, reference))
    else {
        return lost(Err(missing(snapshot, "replicasets.apps", pod)));
    };
    let above =
        rules::owners::controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment");
    let Some(above) = above else {
        return lost(Ok(set
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1)));
    };
    let found = snapshot
        .deployments
        .iter()
        .find(|deployment| is_it(&deployment.metadata, space, above));
    let replicas = match found {
        Some(deployment) => Ok(deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1)),
        None => Err(missing(snapshot, "deployments.apps", pod)),
    };
    Owner {
        kind: &above.kind,
        api_version: &above.api_version,
        name: &above.name,
        replicas,
    }
}

fn is_it(meta: &ObjectMeta, namespace: &str, reference: &OwnerReference) -> bool {
    meta.name.as_deref() == Some(&reference.name)
        && meta.namespace.as_deref().unwrap_or("default") == namespace
        && meta.uid.as_deref().is_none_or(|uid| uid == reference.uid)
}

fn scale(
    snapshot: &Snapshot,
    namespace: &str,
    reference: &OwnerReference,
) -> Result<i32, Uncounted> {
    let found = snapshot.scales.iter().find(|scale| {
        (scale.api_version.as_str(), scale.kind.as_str())
            == (reference.api_version.as_str(), reference.kind.as_str())
            && (scale.namespace.as_str(), scale.name.as_str())
                == (namespace, reference.name.as_str())
    });
    match found {
        Some(scale) => scale.replicas.clone().map_err(Uncounted::Fails),
        None => Err(Uncounted::Unseen(format!(
            "the scale of {} {} was not read",
            reference.kind, reference.name
        ))),
    }
}

fn missing(snapshot: &Snapshot, resource: &'static str, pod: &Pod) -> Uncounted {
    match snapshot
        .unread
        .iter()
        .find(|unread| unread.resource == resource)
    {
        Some(unread) => Uncounted::Unseen(format!("{resource} were not read: {}", unread.why)),
        None => Uncounted::Fails(format!("found no controllers for pod {:?}", name(pod))),
    }
}

fn no_scale(resource: &str) -> Uncounted {
    Uncounted::Fails(format!(
        "{resource} does not implement the scale subresource"
    ))
}
