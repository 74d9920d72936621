//! Descriptions of types and fields, for `kubectl explain`: the documentation of the `k8s-openapi`
//! crate, whose schemas have the names of our types.
//!
//! They are collected for each document and not cached, because only `explain` reads them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

/// Descriptions by the full name of a type.
pub(super) struct Descriptions {
    schemas: Map<String, Value>,
}

impl Descriptions {
    /// Collects all descriptions.
    pub(super) fn gather() -> Self {
        let mut generator = SchemaGenerator::default();
        for add in KINDS
            .iter()
            .chain(&[add::<CustomResourceDefinition> as Add, add::<APIService>])
        {
            add(&mut generator);
        }
        Self {
            schemas: generator.take_definitions(false).into_iter().collect(),
        }
    }

    /// Returns the description of a type.
    pub(super) fn of_type(&self, name: &str) -> Option<&str> {
        self.schemas.get(name)?.get("description")?.as_str()
    }

    /// Returns the description of a field.
    pub(super) fn of_field(&self, name: &str, field: &str) -> Option<&str> {
        self.schemas
            .get(name)?
            .get("properties")?
            .get(field)?
            .get("description")?
            .as_str()
    }
}

type Add = fn(&mut SchemaGenerator);

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    drop(generator.subschema_for::<T>());
}

macro_rules! kinds {
    ($($group:ident :: $version:ident { $($kind:ident),+ $(,)? })+) => {
        /// The kinds that use all other types.
        const KINDS: &[Add] = &[$($(add::<k8s_openapi::api::$group::$version::$kind>),+),+];
    };
}

kinds! {
    core::v1 {
        Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node,
            PersistentVolume,
        PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret,
            Service, ServiceAccount,
    }
    admissionregistration::v1 {
        MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
            ValidatingAdmissionPolicy,
        ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
    }
    apps::v1 { ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet }
    authentication::v1 { SelfSubjectReview, TokenRequest, TokenReview }
    authorization::v1 { LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview,
        SubjectAccessReview }
    autoscaling::v1 { HorizontalPodAutoscaler, Scale }
    autoscaling::v2 { HorizontalPodAutoscaler }
    batch::v1 { CronJob, Job }
    certificates::v1 { CertificateSigningRequest }
    coordination::v1 { Lease }
    discovery::v1 { EndpointSlice }
    events::v1 { Event }
    flowcontrol::v1 { FlowSchema, PriorityLevelConfiguration }
    networking::v1 { IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR }
    node::v1 { RuntimeClass }
    policy::v1 { Eviction, PodDisruptionBudget }
    rbac::v1 { ClusterRole, ClusterRoleBinding, Role, RoleBinding }
    resource::v1 { DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice }
    scheduling::v1 { PriorityClass }
    storage::v1 { CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
        VolumeAttributesClass }
}
