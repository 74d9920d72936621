//! Finds objects in a snapshot by the references between them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Namespace, Node, PersistentVolume, Pod, ReplicationController, Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rules::selector::Selector;

use super::{ClusterSnapshot, CustomObject, Unread, UnreadCause};
use crate::{pdb, pods};

/// The volumes that claims are bound to.
pub(crate) struct BoundVolumes<'a> {
    /// By namespace and name of the claim.
    volumes: HashMap<(&'a str, &'a str), &'a PersistentVolume>,
}

impl<'a> BoundVolumes<'a> {
    pub(crate) fn new(snapshot: &'a ClusterSnapshot) -> Self {
        let by_name: HashMap<&str, &PersistentVolume> = snapshot
            .volumes
            .iter()
            .filter_map(|volume| Some((volume.metadata.name.as_deref()?, volume)))
            .collect();
        let bound = snapshot.claims.iter().filter_map(|claim| {
            let volume = claim.spec.as_ref()?.volume_name.as_deref()?;
            let place = (
                pods::namespace_of(&claim.metadata),
                claim.metadata.name.as_deref()?,
            );
            Some((place, *by_name.get(volume)?))
        });
        Self {
            volumes: bound.collect(),
        }
    }

    /// Returns the volumes that the pod's claims are bound to, each with the name of its claim.
    pub(crate) fn of<'s>(
        &'s self,
        pod: &'a Pod,
    ) -> impl Iterator<Item = (&'a str, &'a PersistentVolume)> + use<'s, 'a> {
        pods::volumes(pod)
            .filter_map(|volume| volume.persistent_volume_claim.as_ref())
            .map(|source| source.claim_name.as_str())
            .filter_map(|name| Some((name, *self.volumes.get(&(pods::namespace(pod), name))?)))
    }
}

/// The finalizer of the pods of Jobs.
const JOB_FINALIZER: &str = "batch.kubernetes.io/job-tracking";

impl ClusterSnapshot {
    /// Returns the finalizers that keep the pod after its containers have ended. The finalizer with
    /// which a Job counts its pods does not keep it while the Job exists: the Job's controller
    /// removes it then.
    pub(crate) fn finalizers_holding<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a str> {
        let all = pod.metadata.finalizers.iter().flatten().map(String::as_str);
        all.filter(move |name| *name != JOB_FINALIZER || !self.may_have_job_of(pod))
    }

    /// Returns true for a pod whose Job has yet to count it.
    pub(crate) fn awaits_its_job(&self, pod: &Pod) -> bool {
        let mut names = pod.metadata.finalizers.iter().flatten();
        names.any(|name| name == JOB_FINALIZER) && self.may_have_job_of(pod)
    }

    /// Returns those of the kinds `needed` whose objects are unknown, because the server refused to
    /// list them or failed. A result that needs them is incomplete.
    #[must_use]
    pub fn failed_lists(&self, needed: &[&str]) -> Vec<&Unread> {
        let failed = self.unread.iter().filter(|unread| {
            unread.cause == UnreadCause::Failed && needed.contains(&unread.resource)
        });
        failed.collect()
    }

    /// Returns the entry of [`ClusterSnapshot::unread`] for a resource, `None` when it was read.
    #[must_use]
    pub fn unread(&self, resource: &str) -> Option<&Unread> {
        self.unread
            .iter()
            .find(|unread| unread.resource == resource)
    }

    /// Returns the node with this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        find(&self.nodes, |node| &node.metadata, "", name)
    }

    /// Returns the names of the cordoned nodes when no other node is ready, so that none takes
    /// pods. `None` when a node does, or without nodes.
    #[must_use]
    pub fn all_cordoned(&self) -> Option<Vec<&str>> {
        // A file need not contain the status of nodes.
        let fails = |node: &&Node| {
            pods::node_condition(node, "Ready").is_some_and(|(status, _)| status != "True")
        };
        let (cordoned, open): (Vec<&Node>, Vec<&Node>) = self
            .nodes
            .iter()
            .filter(|node| !fails(node))
            .partition(|node| rules::nodes::is_cordoned(node));
        (open.is_empty() && !cordoned.is_empty())
            .then(|| cordoned.into_iter().map(rules::nodes::name).collect())
    }

    /// Returns the ReplicaSet with this name.
    #[must_use]
    pub fn replica_set(&self, namespace: &str, name: &str) -> Option<&ReplicaSet> {
        find(&self.replica_sets, |set| &set.metadata, namespace, name)
    }

    /// Returns the Deployment with this name.
    #[must_use]
    pub fn deployment(&self, namespace: &str, name: &str) -> Option<&Deployment> {
        find(&self.deployments, |one| &one.metadata, namespace, name)
    }

    /// Returns the StatefulSet with this name.
    #[must_use]
    pub fn stateful_set(&self, namespace: &str, name: &str) -> Option<&StatefulSet> {
        find(&self.stateful_sets, |set| &set.metadata, namespace, name)
    }

    /// Returns the ReplicationController with this name.
    #[must_use]
    pub fn replication_controller(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<&ReplicationController> {
        let all = &self.replication_controllers;
        find(all, |one| &one.metadata, namespace, name)
    }

    /// Returns the DaemonSet with this name.
    #[must_use]
    pub fn daemon_set(&self, namespace: &str, name: &str) -> Option<&DaemonSet> {
        find(&self.daemon_sets, |set| &set.metadata, namespace, name)
    }

    /// Returns the Job with this name.
    #[must_use]
    pub fn job(&self, namespace: &str, name: &str) -> Option<&Job> {
        find(&self.jobs, |job| &job.metadata, namespace, name)
    }

    /// Returns the namespace with this name.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces
            .iter()
            .find(|namespace| namespace.metadata.name.as_deref() == Some(name))
    }

    /// Returns true when the namespace is being deleted. The server refuses evictions in it.
    #[must_use]
    pub fn is_namespace_terminating(&self, name: &str) -> bool {
        self.namespace(name)
            .is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// Iterates over the pods that are bound to the node.
    pub fn pods_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Pod> {
        self.pods
            .iter()
            .filter(move |pod| pods::node_of(pod) == Some(node))
    }

    /// Iterates over the pods of the namespace.
    pub fn pods_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Pod> {
        self.pods
            .iter()
            .filter(move |pod| pods::namespace(pod) == namespace)
    }

    /// Returns the pods that a drain of the node evicts: all but those that come back at once
    /// ([`pods::stays_on_node`]) and those that have finished.
    #[must_use]
    pub fn pods_leaving(&self, node: &str) -> Vec<&Pod> {
        self.pods
            .iter()
            .filter(|pod| pods::node_of(pod) == Some(node))
            .filter(|pod| !pods::stays_on_node(pod) && !pods::is_finished(pod))
            .collect()
    }

    /// Returns all budgets that select the pod. The server refuses to evict a pod that has more
    /// than one.
    #[must_use]
    pub fn budgets_selecting(&self, pod: &Pod) -> Vec<&PodDisruptionBudget> {
        self.budgets
            .iter()
            .filter(|budget| pdb::selects(budget, pod))
            .collect()
    }

    /// Returns the PersistentVolumes that the pod's claims are bound to, each with the name of its
    /// claim.
    #[must_use]
    pub fn volumes_of<'a>(&'a self, pod: &'a Pod) -> Vec<(&'a str, &'a PersistentVolume)> {
        let claims = pods::volumes(pod)
            .filter_map(|volume| volume.persistent_volume_claim.as_ref())
            .map(|source| source.claim_name.as_str());
        let bound = claims.filter_map(|name| {
            let claim = self.claims.iter().find(|claim| {
                claim.metadata.name.as_deref() == Some(name)
                    && claim.metadata.namespace.as_deref() == Some(pods::namespace(pod))
            })?;
            let volume = claim.spec.as_ref()?.volume_name.as_deref()?;
            let found = self
                .volumes
                .iter()
                .find(|found| found.metadata.name.as_deref() == Some(volume))?;
            Some((name, found))
        });
        bound.collect()
    }

    /// Returns true when the pod belongs to a Job that exists, or that may exist because the
    /// snapshot does not show it.
    #[must_use]
    pub fn may_have_job_of(&self, pod: &Pod) -> bool {
        let Some(owner) = pods::controller_of(pod).filter(|owner| owner.kind == "Job") else {
            return false;
        };
        let job = self.job(pods::namespace(pod), &owner.name);
        let is_owner = |job: &Job| {
            job.metadata
                .uid
                .as_ref()
                .is_none_or(|uid| *uid == owner.uid)
        };
        self.unread("jobs.batch").is_some() || job.is_some_and(is_owner)
    }

    /// Iterates over the custom objects of the namespace whose controllers may make pods that a
    /// file does not show.
    pub fn makers_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a CustomObject> {
        self.custom.iter().filter(move |object| {
            pods::namespace_of(&object.metadata) == namespace && object.may_make_pods()
        })
    }

    /// Iterates over the names of the Services that select pods with these labels.
    pub fn services_selecting<'a>(
        &'a self,
        namespace: &'a str,
        labels: Option<&'a BTreeMap<String, String>>,
    ) -> impl Iterator<Item = &'a str> {
        self.services
            .iter()
            .filter(move |service| pods::namespace_of(&service.metadata) == namespace)
            .filter(move |service| sends_to(service, labels))
            .filter_map(|service| service.metadata.name.as_deref())
    }
}

/// Finds an object by its name. A server lists objects in the order of their keys, so that a binary
/// search finds them; in a file they may have any order.
fn find<'a, K>(
    objects: &'a [K],
    meta: impl Fn(&K) -> &ObjectMeta,
    namespace: &str,
    name: &str,
) -> Option<&'a K> {
    let own = |object: &K| compare(meta(object), namespace, name);
    match objects.binary_search_by(own) {
        Ok(index) => objects.get(index),
        Err(_) => objects.iter().find(|object| own(object).is_eq()),
    }
}

/// Compares `NAMESPACE/NAME` of an object with those of another one as the keys of the store are
/// compared. The namespace of a cluster-scoped object is empty here.
fn compare(meta: &ObjectMeta, namespace: &str, name: &str) -> Ordering {
    let space = match namespace {
        "" => "",
        _ => pods::namespace_of(meta),
    };
    let own = meta.name.as_deref().unwrap_or_default();
    let left = space.bytes().chain([b'/']).chain(own.bytes());
    let right = namespace.bytes().chain([b'/']).chain(name.bytes());
    left.cmp(right)
}

/// Returns true when the Service sends requests to the pod.
pub(crate) fn serves(service: &Service, pod: &Pod) -> bool {
    pods::namespace_of(&service.metadata) == pods::namespace(pod)
        && sends_to(service, pod.metadata.labels.as_ref())
}

/// Returns true when the Service sends requests to pods with these labels. One without a selector
/// selects nothing: its endpoints are written by hand.
pub(crate) fn sends_to(service: &Service, labels: Option<&BTreeMap<String, String>>) -> bool {
    let selector = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref())
        .filter(|selector| !selector.is_empty());
    selector.is_some_and(|selector| Selector::exactly(Some(selector)).matches(labels))
}
