//! The table of kinds: which strategy a resource has.
//!
//! This is the one place that lists kinds. Records, targets and views work on the [`Rules`] that
//! come out of it and know no kind by name. The verbs name the few kinds for which a write does
//! more than change one object: definitions, namespaces, pods, services.

mod rules;

use std::sync::Arc;

pub(crate) use rules::Rules;
use rules::StrategyRef;

use crate::custom::CustomVersion;
use crate::resource::ResourceRef;
use crate::strategy::{
    Strategy, autoscaler, binding, claim, config, definition, deployment, endpoints, event,
    generic, job, limits, namespace, network, node, pdb, pod, role, service, servicecidr, signing,
    small, statefulset, volume,
};

/// Returns the rules of a resource, built-in or custom.
pub(crate) fn rules(resource: &ResourceRef) -> Rules {
    let strategy = match resource.custom() {
        Some(version) => StrategyRef::Custom(Arc::<CustomVersion>::clone(version)),
        None => StrategyRef::BuiltIn(strategy_of(&resource.group, &resource.plural)),
    };
    Rules::new(resource.clone(), strategy)
}

/// Returns the rules by which objects in requests for a resource are judged.
///
/// They are those of the stored version, with two exceptions. Versions of a custom kind differ in
/// their schemas only, and each is judged by its own. `events.k8s.io` is stricter than the core
/// group, in whose form its events are stored.
pub(crate) fn request_rules(resource: &ResourceRef) -> Rules {
    let by_requested = resource.is_custom() || resource.group == "events.k8s.io";
    if by_requested {
        rules(resource)
    } else {
        rules(&resource.stored())
    }
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
        ("", "persistentvolumes") => &volume::PersistentVolume,
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
        ("autoscaling", "horizontalpodautoscalers") => &autoscaler::HorizontalPodAutoscaler,
        ("batch", "cronjobs") => &job::CronJob,
        ("batch", "jobs") => &job::Job,
        ("certificates.k8s.io", "certificatesigningrequests") => &signing::SigningRequest,
        ("coordination.k8s.io", "leases") => &config::Lease,
        ("discovery.k8s.io", "endpointslices") => &endpoints::EndpointSlice,
        ("networking.k8s.io", "ingressclasses") => &small::IngressClass,
        ("networking.k8s.io", "ingresses") => &network::Ingress,
        ("networking.k8s.io", "ipaddresses") => &servicecidr::IpAddress,
        ("networking.k8s.io", "networkpolicies") => &network::NetworkPolicy,
        ("networking.k8s.io", "servicecidrs") => &servicecidr::ServiceCidr,
        ("node.k8s.io", "runtimeclasses") => &small::RuntimeClass,
        ("policy", "poddisruptionbudgets") => &pdb::PodDisruptionBudget,
        ("rbac.authorization.k8s.io", "clusterroles") => &role::Role {
            is_namespaced: false,
        },
        ("rbac.authorization.k8s.io", "roles") => &role::Role {
            is_namespaced: true,
        },
        ("rbac.authorization.k8s.io", "rolebindings") => &binding::Binding {
            is_namespaced: true,
        },
        ("rbac.authorization.k8s.io", "clusterrolebindings") => &binding::Binding {
            is_namespaced: false,
        },
        ("scheduling.k8s.io", "priorityclasses") => &config::PriorityClass,
        ("storage.k8s.io", "storageclasses") => &small::StorageClass,
        (group, plural) => generic::of(group, plural),
    }
}
