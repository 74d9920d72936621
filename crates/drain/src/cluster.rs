//! The cluster as it was read once: what explain, plan and lint reason about.
//!
//! A [`Snapshot`] comes from a server ([`Snapshot::read`]) or from what `kubectl get -o yaml` has
//! printed ([`Snapshot::parse`]); what is asked of it afterwards is pure. What could not be read
//! stands in [`Snapshot::unread`], so that nobody takes "not seen" for "not there".
//!
//! The table at the end of this file is the one place that lists the kinds.

mod parse;
mod scale;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
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

pub use parse::ParseError;
pub(crate) use parse::documents;
pub use scale::OwnerScale;

/// Objects in one answer of a list; the rest follows in pages, so that no server is asked for a
/// hundred thousand pods at once.
const PAGE: u32 = 500;

/// Which namespaces to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Cluster,
    /// One, for users who may see no more. Kinds without a namespace are still asked for.
    Namespace(String),
}

/// Why a file has none of a kind, in [`Unread::why`].
pub const NOT_IN_FILE: &str = "the file holds none";

/// A kind that could not be read, or that a file does not hold.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unread {
    /// The resource as kubectl names it, for example `poddisruptionbudgets.policy`.
    pub resource: &'static str,
    /// Why: the server's words, or that the file has none.
    pub why: String,
}

/// All objects of one kind in all namespaces of the scope, page by page.
async fn list<K>(api: Api<K>) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let answer = api.list(&page).await?;
        found.extend(answer.items);
        match answer.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

fn namespaced<K>(client: &Client, scope: &Scope) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match scope {
        Scope::Cluster => Api::all(client.clone()),
        Scope::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

fn clusterwide<K: Resource<DynamicType = ()>>(client: &Client, _: &Scope) -> Api<K> {
    Api::all(client.clone())
}

/// Makes the snapshot from the table of kinds: the field, how it is reached, its type, its
/// resource.
macro_rules! snapshot {
    ($($(#[$doc:meta])* $field:ident: $reach:ident $kind:ty = $resource:literal,)*) => {
        /// What was read, in the order in which the server gave it.
        #[derive(Clone, Debug)]
        pub struct Snapshot {
            /// The moment for which it stands: when it was read, or what the caller says of a file.
            pub now: Timestamp,
            /// What is not in here.
            pub unread: Vec<Unread>,
            /// What owners of other kinds want, as their `scale` says; a file holds none.
            pub scales: Vec<OwnerScale>,
            $($(#[$doc])* pub $field: Vec<$kind>,)*
        }

        impl Snapshot {
            /// Nothing yet, at this moment.
            #[must_use]
            pub fn empty(now: Timestamp) -> Self {
                Self { now, unread: Vec::new(), scales: Vec::new(), $($field: Vec::new(),)* }
            }

            /// Reads every kind at the same time; what is refused or unknown to the server goes to
            /// [`Snapshot::unread`].
            ///
            /// # Errors
            /// The first failure that is no answer of an API server about one kind: an unreachable
            /// server, a refused login (401), an answer that cannot be read.
            pub async fn read(client: &Client, scope: &Scope, now: Timestamp) -> Result<Self, kube::Error> {
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

            /// Adds what another one holds, for example of another file.
            pub fn absorb(&mut self, other: Self) {
                $(self.$field.extend(other.$field);)*
                self.unread.retain(|unread| other.unread.iter().any(|also| also.resource == unread.resource));
            }

            /// Takes in one object as JSON; false when its kind is none of those kept here.
            fn take(&mut self, object: serde_json::Value) -> Result<bool, serde_json::Error> {
                let kind = object["kind"].as_str().unwrap_or_default();
                let version = object["apiVersion"].as_str().unwrap_or_default();
                $(if kind == <$kind as k8s_openapi::Resource>::KIND && version == <$kind as k8s_openapi::Resource>::API_VERSION {
                    // From a string, as answers are: types are compiled for one kind of input.
                    self.$field.push(serde_json::from_str(&object.to_string())?);
                    return Ok(true);
                })*
                Ok(false)
            }

            /// Every kind of which nothing is here counts as unread: a file does not say which it
            /// is.
            fn mark_absent(&mut self) {
                $(if self.$field.is_empty() {
                    self.unread.push(Unread { resource: $resource, why: NOT_IN_FILE.to_owned() });
                })*
            }
        }

        /// The resources of a whole snapshot, as arguments of `kubectl get`.
        pub const RESOURCES: &[&str] = &[$($resource,)*];
    };
}

/// An answer about one kind is worth going on without it; anything else ends the reading.
fn unread(resource: &'static str, error: kube::Error) -> Result<Unread, kube::Error> {
    match error {
        kube::Error::Api(status) if status.code != 401 => Ok(Unread {
            resource,
            why: status.message.clone(),
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
    /// Budgets.
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
    /// HorizontalPodAutoscalers.
    autoscalers: namespaced HorizontalPodAutoscaler = "horizontalpodautoscalers.autoscaling",
    /// Services.
    services: namespaced Service = "services",
    /// Claims of volumes.
    claims: namespaced PersistentVolumeClaim = "persistentvolumeclaims",
    /// Volumes.
    volumes: clusterwide PersistentVolume = "persistentvolumes",
    /// Attachments of volumes to nodes.
    attachments: clusterwide VolumeAttachment = "volumeattachments.storage.k8s.io",
    /// Webhooks that may refuse.
    validating_webhooks: clusterwide ValidatingWebhookConfiguration = "validatingwebhookconfigurations.admissionregistration.k8s.io",
    /// Webhooks that may change.
    mutating_webhooks: clusterwide MutatingWebhookConfiguration = "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    /// Events.
    events: namespaced Event = "events",
}
