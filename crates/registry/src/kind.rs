//! The table of kinds: which strategy a resource has, and in the form of which version its objects
//! are stored.
//!
//! This is the one place that lists kinds. Everything above (records, targets, verbs) works on the
//! [`Rules`] that come out of it and knows no kind by name.

use kinds::facts::Resource;

use crate::custom;
use crate::strategy::{
    Rules, Strategy, claim, config, definition, deployment, endpoints, event, generic, job, limits,
    namespace, network, node, pdb, pod, role, service, signing, small, statefulset,
};

/// Returns the rules of a resource, built-in or custom.
pub(crate) fn rules(resource: &'static Resource) -> Rules {
    let strategy = match custom::of(resource) {
        Some(version) => version,
        None => strategy_of(resource.group, resource.plural),
    };
    Rules::new(resource, strategy)
}

/// Returns the rules by which objects in requests for a resource are judged.
///
/// They are those of the stored version, with two exceptions. Versions of a custom kind differ in
/// their schemas only, and each is judged by its own. `events.k8s.io` is stricter than the core
/// group, in whose form its events are stored.
pub(crate) fn request_rules(resource: &'static Resource) -> Rules {
    let by_asked = custom::of(resource).is_some() || resource.group == "events.k8s.io";
    rules(if by_asked { resource } else { stored(resource) })
}

/// Returns the resource in whose form the objects of `resource` are stored; mostly itself.
pub(crate) fn stored(resource: &'static Resource) -> &'static Resource {
    if is_stored(resource) {
        return resource;
    }
    if let Some(stored) = custom::stored(resource) {
        return stored;
    }
    kinds::resource(
        resource.storage_group,
        resource.storage_version,
        resource.plural,
    )
    .unwrap_or(resource)
}

/// Returns true when objects are stored in the form of this very version.
pub(crate) fn is_stored(resource: &Resource) -> bool {
    resource.group == resource.storage_group && resource.version == resource.storage_version
}

fn strategy_of(group: &str, plural: &str) -> &'static dyn Strategy {
    match (group, plural) {
        ("", "configmaps") => &config::ConfigMap,
        ("", "endpoints") => &endpoints::Endpoints,
        ("", "events") => &event::Event::CORE,
        ("events.k8s.io", "events") => &event::Event::NEW,
        ("", "limitranges") => &limits::LimitRange,
        ("", "namespaces") => &namespace::Namespace,
        ("", "nodes") => &node::Node,
        ("", "persistentvolumeclaims") => &claim::PersistentVolumeClaim,
        ("", "persistentvolumes") => &small::PersistentVolume,
        ("", "pods") => &pod::Pod,
        ("", "podtemplates") => &deployment::PodTemplate,
        ("", "replicationcontrollers") => &deployment::ReplicationController,
        ("", "resourcequotas") => &limits::ResourceQuota,
        ("", "secrets") => &config::Secret,
        ("", "serviceaccounts") => &config::ServiceAccount,
        ("", "services") => &service::Service,
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations" | "validatingwebhookconfigurations",
        ) => &small::WebhookConfiguration,
        ("apiextensions.k8s.io", "customresourcedefinitions") => &definition::Definition,
        ("apiregistration.k8s.io", "apiservices") => &small::ApiService,
        ("apps", "controllerrevisions") => &statefulset::ControllerRevision,
        ("apps", "daemonsets") => &statefulset::DaemonSet,
        ("apps", "deployments") => &deployment::Deployment,
        ("apps", "replicasets") => &deployment::ReplicaSet,
        ("apps", "statefulsets") => &statefulset::StatefulSet,
        ("autoscaling", "horizontalpodautoscalers") => &small::HorizontalPodAutoscaler,
        ("batch", "cronjobs") => &job::CronJob,
        ("batch", "jobs") => &job::Job,
        ("certificates.k8s.io", "certificatesigningrequests") => &signing::SigningRequest,
        ("coordination.k8s.io", "leases") => &config::Lease,
        ("discovery.k8s.io", "endpointslices") => &endpoints::EndpointSlice,
        ("networking.k8s.io", "ingressclasses") => &small::IngressClass,
        ("networking.k8s.io", "ingresses") => &network::Ingress,
        ("networking.k8s.io", "networkpolicies") => &network::NetworkPolicy,
        ("node.k8s.io", "runtimeclasses") => &small::RuntimeClass,
        ("policy", "poddisruptionbudgets") => &pdb::PodDisruptionBudget,
        ("rbac.authorization.k8s.io", "clusterroles") => &role::Role {
            is_namespaced: false,
        },
        ("rbac.authorization.k8s.io", "roles") => &role::Role {
            is_namespaced: true,
        },
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => &small::Binding,
        ("scheduling.k8s.io", "priorityclasses") => &config::PriorityClass,
        ("storage.k8s.io", "storageclasses") => &small::StorageClass,
        (group, plural) => generic::of(group, plural),
    }
}
