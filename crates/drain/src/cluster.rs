//! The objects of a cluster, read once: the input of explain, plan and lint.
//!
//! A [`ClusterSnapshot`] comes from a server ([`ClusterSnapshot::read`]) or from the output of
//! `kubectl get -o yaml` ([`ClusterSnapshot::parse`]). Everything else in this module is pure.
//! [`ClusterSnapshot::unread`] lists the kinds that could not be read, so that callers distinguish
//! "no such object" from "unknown".
//!
//! The table at the end of this file is the only list of the kinds; `lookup.rs` follows the
//! references between objects.

mod lookup;
mod manifest;
mod parse;
mod removed;
mod scale;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController,
    Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{Api, ListParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

pub(crate) use lookup::{BoundVolumes, sends_to, serves};
pub(crate) use manifest::is_clusterwide;
pub use manifest::{CustomObject, CustomTemplate, RefusedObject};
pub use parse::ParseError;
pub(crate) use parse::{documents, items};
pub use scale::OwnerScale;

/// Objects in one page of a list. Without a limit, the server builds a list of a hundred thousand
/// pods in memory.
const PAGE_SIZE: u32 = 500;

/// Which namespaces [`ClusterSnapshot::read`] lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceScope {
    /// All namespaces.
    Cluster,
    /// One namespace, for users without cluster-wide rights. Cluster-scoped kinds are still listed.
    Namespace(String),
}

/// Where the objects of a snapshot come from, which decides what their absence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SnapshotOrigin {
    /// A server: what was listed is complete.
    Server,
    /// Manifests: objects that no server has accepted yet, and in which pods are templates.
    Manifests,
    /// Files that contain objects of a server, perhaps not all of them.
    Dump,
}

/// The value of [`Unread::why`] for a kind of which a file contains no object.
pub const NOT_IN_FILE: &str = "not in the file";

/// A kind that could not be listed, or that a file does not contain.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unread {
    /// The resource as kubectl names it, for example `poddisruptionbudgets.policy`.
    pub resource: &'static str,
    /// The server's error message, or [`NOT_IN_FILE`].
    pub why: String,
    /// What is known about the objects of the kind.
    #[serde(skip)]
    pub cause: UnreadCause,
}

/// Why a kind was not read, which decides whether a result without it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadCause {
    /// The server refused the list or failed: there may be any number of objects.
    Failed,
    /// The server does not serve the kind (404), so there are no objects.
    NotServed,
    /// The user's file contains none, which may be intended.
    NotInFile,
}

async fn list<K>(api: Api<K>) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    crate::list::all(&api, ListParams::default().limit(PAGE_SIZE)).await
}

fn namespaced<K>(client: &Client, scope: &NamespaceScope) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match scope {
        NamespaceScope::Cluster => Api::all(client.clone()),
        NamespaceScope::Namespace(namespace) => {
            Api::namespaced(client.clone(), &kinds::path::segment(namespace))
        }
    }
}

fn clusterwide<K: Resource<DynamicType = ()>>(client: &Client, _: &NamespaceScope) -> Api<K> {
    Api::all(client.clone())
}

/// Generates [`ClusterSnapshot`] from the table of kinds: field, scope, type, resource.
macro_rules! snapshot {
    ($($(#[$doc:meta])* $field:ident: $reach:ident $kind:ty = $resource:literal,)*) => {
        /// The objects of a cluster, each kind in the order in which the server listed it.
        #[derive(Clone, Debug)]
        pub struct ClusterSnapshot {
            /// When the objects were read; for a file, the time that the caller passed.
            pub now: Timestamp,
            /// The kinds that are missing.
            pub unread: Vec<Unread>,
            /// Where the objects come from.
            pub origin: SnapshotOrigin,
            /// The scales of workloads of other kinds. Always empty for a file.
            pub scales: Vec<OwnerScale>,
            /// Objects of custom kinds. Always empty for a server.
            pub custom: Vec<CustomObject>,
            /// Objects that a server would refuse. Always empty for a server.
            pub refused: Vec<RefusedObject>,
            $($(#[$doc])* pub $field: Vec<$kind>,)*
        }

        impl ClusterSnapshot {
            /// Returns a snapshot without objects.
            #[must_use]
            pub fn empty(now: Timestamp) -> Self {
                Self {
                    now,
                    unread: Vec::new(),
                    origin: SnapshotOrigin::Server,
                    scales: Vec::new(),
                    custom: Vec::new(),
                    refused: Vec::new(),
                    $($field: Vec::new(),)*
                }
            }

            /// Lists every kind concurrently. Kinds that the server refuses or does not know go to
            /// [`ClusterSnapshot::unread`].
            ///
            /// # Errors
            /// The first error that concerns more than one kind: an unreachable server, a refused
            /// login (401), a response that cannot be decoded.
            pub async fn read(client: &Client, scope: &NamespaceScope,
                now: Timestamp) -> Result<Self, kube::Error> {
                let mut snapshot = Self::empty(now);
                $(let $field = Box::pin(list::<$kind>($reach(client, scope)));)*
                let ($($field,)*) = futures::join!($($field,)*);
                $(match $field {
                    Ok(found) => snapshot.$field = found,
                    Err(error) => snapshot.unread.push(unread($resource, error)?),
                })*
                snapshot.scales = scale::read(client, &snapshot).await;
                Ok(snapshot)
            }

            /// Adds the objects of another snapshot, for example of a second file.
            pub fn absorb(&mut self, other: Self) {
                $(self.$field.extend(other.$field);)*
                self.origin = self.origin.max(other.origin);
                self.custom.extend(other.custom);
                self.refused.extend(other.refused);
                self.unread.retain(|unread| other.unread.iter().any(
                    |also| also.resource == unread.resource));
            }

            /// Adds one object. Returns false when the table does not contain its kind.
            fn take(&mut self, object: serde_json::Value) -> Result<bool, serde_json::Error> {
                let kind = object["kind"].as_str().unwrap_or_default();
                let version = object["apiVersion"].as_str().unwrap_or_default();
                $(if kind == <$kind as k8s_openapi::Resource>::KIND
                    && version == <$kind as k8s_openapi::Resource>::API_VERSION {
                    // From a string, as answers are: types are compiled for one kind of input.
                    self.$field.push(serde_json::from_str(&object.to_string())?);
                    return Ok(true);
                })*
                Ok(false)
            }

            /// Marks every kind without objects as unread: a file does not show whether the cluster
            /// has none or whether they were left out.
            fn mark_absent(&mut self) {
                $(if self.$field.is_empty() {
                    self.unread.push(Unread { resource: $resource, why: NOT_IN_FILE.to_owned(),
                        cause: UnreadCause::NotInFile });
                })*
            }
        }

        /// The resources of a snapshot, as arguments of `kubectl get`.
        pub const RESOURCES: &[&str] = &[$($resource,)*];
    };
}

/// An API error about one kind leaves that kind out; any other error fails the whole read.
fn unread(resource: &'static str, error: kube::Error) -> Result<Unread, kube::Error> {
    match error {
        kube::Error::Api(status) if status.code != 401 => Ok(Unread {
            resource,
            why: status.message.clone(),
            cause: match status.code {
                404 => UnreadCause::NotServed,
                _ => UnreadCause::Failed,
            },
        }),
        other => Err(other),
    }
}

snapshot! {
    /// Nodes.
    nodes: clusterwide Node = "nodes",
    /// Namespaces.
    namespaces: clusterwide Namespace = "namespaces",
    /// Pods.
    pods: namespaced Pod = "pods",
    /// PodDisruptionBudgets.
    budgets: namespaced PodDisruptionBudget = "poddisruptionbudgets.policy",
    /// ReplicaSets.
    replica_sets: namespaced ReplicaSet = "replicasets.apps",
    /// Deployments.
    deployments: namespaced Deployment = "deployments.apps",
    /// StatefulSets.
    stateful_sets: namespaced StatefulSet = "statefulsets.apps",
    /// DaemonSets.
    daemon_sets: namespaced DaemonSet = "daemonsets.apps",
    /// ReplicationControllers.
    replication_controllers: namespaced ReplicationController = "replicationcontrollers",
    /// Jobs.
    jobs: namespaced Job = "jobs.batch",
    /// CronJobs.
    cron_jobs: namespaced CronJob = "cronjobs.batch",
    /// HorizontalPodAutoscalers.
    autoscalers: namespaced HorizontalPodAutoscaler = "horizontalpodautoscalers.autoscaling",
    /// Services.
    services: namespaced Service = "services",
    /// PersistentVolumeClaims.
    claims: namespaced PersistentVolumeClaim = "persistentvolumeclaims",
    /// PersistentVolumes.
    volumes: clusterwide PersistentVolume = "persistentvolumes",
    /// VolumeAttachments.
    attachments: clusterwide VolumeAttachment = "volumeattachments.storage.k8s.io",
    /// ValidatingWebhookConfigurations.
    validating_webhooks: clusterwide ValidatingWebhookConfiguration =
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
    /// MutatingWebhookConfigurations.
    mutating_webhooks: clusterwide MutatingWebhookConfiguration =
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    /// Events.
    events: namespaced Event = "events",
}
