//! The informers of this crate: one for each kind that a controller reads.

use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    ReplicationController, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::storage::v1::StorageClass;

use crate::context::ControllerContext;
use crate::informer::Informer;
use crate::partialpod::PartialPod;

/// All informers. Controllers subscribe and take their caches, and then the informers are started.
pub(crate) struct Informers {
    pub(crate) pods: Informer<Pod, PartialPod>,
    pub(crate) budgets: Informer<PodDisruptionBudget>,
    pub(crate) replication_controllers: Informer<ReplicationController>,
    pub(crate) replica_sets: Informer<ReplicaSet>,
    pub(crate) deployments: Informer<Deployment>,
    pub(crate) stateful_sets: Informer<StatefulSet>,
    pub(crate) daemon_sets: Informer<DaemonSet>,
    pub(crate) controller_revisions: Informer<ControllerRevision>,
    pub(crate) jobs: Informer<Job>,
    pub(crate) cron_jobs: Informer<CronJob>,
    pub(crate) nodes: Informer<Node>,
    pub(crate) leases: Informer<Lease>,
    pub(crate) namespaces: Informer<Namespace>,
    pub(crate) accounts: Informer<ServiceAccount>,
    pub(crate) root_ca_maps: Informer<ConfigMap>,
    pub(crate) services: Informer<Service>,
    pub(crate) slices: Informer<EndpointSlice>,
    pub(crate) endpoints: Informer<Endpoints>,
    pub(crate) claims: Informer<PersistentVolumeClaim>,
    pub(crate) volumes: Informer<PersistentVolume>,
    pub(crate) storage_classes: Informer<StorageClass>,
    pub(crate) token_secrets: Informer<Secret>,
    pub(crate) cluster_roles: Informer<ClusterRole>,
    pub(crate) service_cidrs: Informer<ServiceCIDR>,
    pub(crate) ip_addresses: Informer<IPAddress>,
}

/// The namespace in which nodes keep their leases.
pub(crate) const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The config map that holds the cluster's certificate authority in every namespace.
pub(crate) const ROOT_CA_MAP: &str = "kube-root-ca.crt";

impl Informers {
    pub(crate) fn new() -> Self {
        Self {
            // An eviction alone writes a pod three times. Budgets, in contrast, are followed state
            // by state, because every `disruptedPods` entry counts
            // (`disruption/disrupted_pods.rs`).
            pods: Informer::new()
                .indexed_by(node_of)
                .indexed_by_label()
                .skip_superseded(),
            budgets: Informer::new(),
            replication_controllers: Informer::new(),
            replica_sets: Informer::new(),
            deployments: Informer::new(),
            stateful_sets: Informer::new(),
            daemon_sets: Informer::new(),
            controller_revisions: Informer::new(),
            jobs: Informer::new(),
            cron_jobs: Informer::new(),
            nodes: Informer::new().stripped(|node| {
                if let Some(status) = &mut node.status {
                    status.images = None;
                }
            }),
            leases: Informer::within(Some(LEASE_NAMESPACE)),
            namespaces: Informer::new(),
            accounts: Informer::new(),
            root_ca_maps: Informer::new().with_field_selector("metadata.name=kube-root-ca.crt"),
            services: Informer::new(),
            slices: Informer::new().indexed_by(service_of_slice),
            endpoints: Informer::new(),
            claims: Informer::new(),
            volumes: Informer::new().indexed_by(claim_of_volume),
            storage_classes: Informer::new(),
            token_secrets: Informer::new()
                .with_field_selector("type=kubernetes.io/service-account-token"),
            cluster_roles: Informer::new(),
            service_cidrs: Informer::new(),
            ip_addresses: Informer::new(),
        }
    }

    /// Starts all reflectors.
    pub(crate) fn start(self, context: &ControllerContext) {
        let (client, entropy) = (&context.client, &context.entropy);
        context.spawn(self.pods.run(client, entropy));
        context.spawn(self.budgets.run(client, entropy));
        context.spawn(self.replication_controllers.run(client, entropy));
        context.spawn(self.replica_sets.run(client, entropy));
        context.spawn(self.deployments.run(client, entropy));
        context.spawn(self.stateful_sets.run(client, entropy));
        context.spawn(self.daemon_sets.run(client, entropy));
        context.spawn(self.controller_revisions.run(client, entropy));
        context.spawn(self.jobs.run(client, entropy));
        context.spawn(self.cron_jobs.run(client, entropy));
        context.spawn(self.nodes.run(client, entropy));
        context.spawn(self.leases.run(client, entropy));
        context.spawn(self.namespaces.run(client, entropy));
        context.spawn(self.accounts.run(client, entropy));
        context.spawn(self.root_ca_maps.run(client, entropy));
        context.spawn(self.services.run(client, entropy));
        context.spawn(self.slices.run(client, entropy));
        context.spawn(self.endpoints.run(client, entropy));
        context.spawn(self.claims.run(client, entropy));
        context.spawn(self.volumes.run(client, entropy));
        context.spawn(self.storage_classes.run(client, entropy));
        context.spawn(self.token_secrets.run(client, entropy));
        context.spawn(self.cluster_roles.run(client, entropy));
        context.spawn(self.service_cidrs.run(client, entropy));
        context.spawn(self.ip_addresses.run(client, entropy));
    }
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec
        .as_ref()?
        .node_name
        .clone()
        .filter(|name| !name.is_empty())
}

/// The claim that a volume refers to, as `namespace/name`.
fn claim_of_volume(volume: &PersistentVolume) -> Option<String> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    let name = reference.name.as_deref().unwrap_or_default();
    Some(format!("{namespace}/{name}"))
}

/// The service that a slice belongs to, as `namespace/name`.
fn service_of_slice(slice: &EndpointSlice) -> Option<String> {
    let name = slice
        .metadata
        .labels
        .as_ref()?
        .get("kubernetes.io/service-name")?;
    Some(format!(
        "{}/{name}",
        slice.metadata.namespace.as_deref().unwrap_or_default()
    ))
}
