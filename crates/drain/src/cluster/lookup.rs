//! Finds objects in a snapshot by the references between them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use rules::selector::Selector;

use super::{ClusterSnapshot, Unread, UnreadCause};
use crate::{pdb, pods};

impl ClusterSnapshot {
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
        self.nodes
            .iter()
            .find(|node| rules::nodes::name(node) == name)
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

    /// Iterates over the names of the Services that select pods with these labels.
    pub fn services_selecting<'a>(
        &'a self,
        namespace: &'a str,
        labels: Option<&'a BTreeMap<String, String>>,
    ) -> impl Iterator<Item = &'a str> {
        self.services
            .iter()
            .filter(move |service| pods::namespace_of(&service.metadata) == namespace)
            .filter(move |service| selects(service, labels))
            .filter_map(|service| service.metadata.name.as_deref())
    }
}

/// Returns true when the Service sends requests to the pod.
pub(crate) fn serves(service: &Service, pod: &Pod) -> bool {
    pods::namespace_of(&service.metadata) == pods::namespace(pod)
        && selects(service, pod.metadata.labels.as_ref())
}

/// A Service without a selector selects nothing: its endpoints are written by hand.
fn selects(service: &Service, labels: Option<&BTreeMap<String, String>>) -> bool {
    let selector = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref())
        .filter(|selector| !selector.is_empty());
    selector.is_some_and(|selector| Selector::exactly(Some(selector)).matches(labels))
}
