//! The pods behind services, as the controllers of Endpoints and of EndpointSlices see them.
//!
//! [`ServicePods`] has the subscriptions and caches that both need; the functions below it are pure
//! and say what a pod contributes to a service.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::informer::{Cache, ObjectChange};
use crate::informers::Informers;
use crate::meta::ObjectKey;
use crate::pods::{is_finished, is_ready, is_terminating, node_name};
use crate::queue::WorkQueue;
use crate::selector::Selector;
use crate::synced::Synced;

/// The label of nodes that holds their zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Services, the pods that they select, and the nodes of these pods.
pub(crate) struct ServicePods {
    pub(crate) services: Arc<Cache<Service>>,
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
}

impl ServicePods {
    /// Adds a service to the queue when it changes, and when a pod changes that may be its
    /// endpoint.
    pub(crate) fn subscribe(informers: &mut Informers, queue: &WorkQueue<ObjectKey>) -> Self {
        informers.services.enqueue_changes(queue);
        wake_by_pods(informers, queue);
        Self {
            services: Arc::clone(&informers.services.cache),
            pods: Arc::clone(&informers.pods.cache),
            nodes: Arc::clone(&informers.nodes.cache),
        }
    }

    /// The caches that have to be filled before a service is reconciled.
    pub(crate) fn synced(&self) -> Vec<Synced> {
        vec![
            self.services.synced(),
            self.pods.synced(),
            self.nodes.synced(),
        ]
    }

    /// The pods that a service selects; none when its endpoints are not managed here.
    pub(crate) fn endpoint_pods(&self, service: &Service) -> Option<Vec<EndpointPod>> {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let pods = self.pods.selected(namespace, &selector_of(service)?);
        let with_zone = |pod: Arc<Pod>| EndpointPod {
            zone: zone_of(&self.nodes, &pod),
            pod,
        };
        Some(pods.into_iter().map(with_zone).collect())
    }
}

/// A pod that the service selects. Without a `zone` its node is unknown; with an inner `None` its
/// node has no zone label.
pub(crate) struct EndpointPod {
    pub(crate) pod: Arc<Pod>,
    pub(crate) zone: Option<Option<String>>,
}

/// True when the service publishes pods that are not ready.
pub(crate) fn publishes_unready(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .is_some_and(|spec| spec.publish_not_ready_addresses == Some(true))
}

pub(crate) fn is_headless(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref())
        .is_some_and(|ip| ip == "None")
}

/// The IP families of a service.
pub(crate) fn families(service: &Service) -> Vec<String> {
    let families = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ip_families.clone())
        .filter(|families| !families.is_empty());
    families.unwrap_or_else(|| vec!["IPv4".to_owned()])
}

/// The address of a pod in an IP family; none when the pod is no endpoint.
pub(crate) fn address<'a>(
    service: &Service,
    member: &'a EndpointPod,
    family: &str,
) -> Option<&'a str> {
    let pod = &member.pod;
    if is_finished(pod) || (member.zone.is_none() && !publishes_unready(service)) {
        return None;
    }
    let status = pod.status.as_ref()?;
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut ips = listed
        .chain(status.pod_ip.as_deref())
        .filter(|ip| !ip.is_empty());
    ips.find(|ip| ip.contains(':') == (family == "IPv6"))
}

/// The number of a service's port at one pod. A named port that the pod lacks has none.
pub(crate) fn port_at(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let protocol = |text: Option<&str>| text.unwrap_or("TCP").to_owned();
            let spec = pod.spec.as_ref()?;
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|container| container.restart_policy.as_deref() == Some("Always"));
            let ports = spec
                .containers
                .iter()
                .chain(sidecars)
                .flat_map(|container| container.ports.iter().flatten());
            ports
                .filter(|known| {
                    known.name.as_ref() == Some(name)
                        && protocol(known.protocol.as_deref()) == protocol(port.protocol.as_deref())
                })
                .map(|known| known.container_port)
                .next()
        }
    }
}

/// The host name of a pod under the service's domain.
pub(crate) fn host_name(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let beside = spec.subdomain.as_ref() == service.metadata.name.as_ref();
    spec.hostname
        .clone()
        .filter(|name| beside && !name.is_empty())
}

/// A reference to the pod, as endpoints hold it.
pub(crate) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// Wakes the services whose endpoints a change of a pod can affect.
fn wake_by_pods(informers: &mut Informers, queue: &WorkQueue<ObjectKey>) {
    let (queue, services) = (
        queue.clone(),
        informers.services.index_selectors(selector_of),
    );
    informers.pods.subscribe(move |change| {
        if !matters(change) {
            return;
        }
        let moved = matches!((&change.old, &change.new),
            (Some(old), Some(new)) if old.metadata.labels != new.metadata.labels);
        for pod in change.states().skip(usize::from(
            change.old.is_some() && change.new.is_some() && !moved,
        )) {
            for service in services.selecting(&**pod) {
                queue.add(service);
            }
        }
    });
}

/// The selector of a service; none for services whose endpoints are not managed here.
fn selector_of(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    (spec.type_.as_deref() != Some("ExternalName")).then(|| Selector::exactly(Some(labels)))
}

/// A change of the phase alone is ignored, as upstream does.
fn matters(change: &ObjectChange<Pod>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        return true;
    };
    is_terminating(new)
        || is_terminating(old)
        || is_ready(old) != is_ready(new)
        || old.metadata.labels != new.metadata.labels
        || place_of(old) != place_of(new)
}

/// The fields that determine the address and the host name of an endpoint.
fn place_of(pod: &Pod) -> impl PartialEq + '_ {
    let spec = pod
        .spec
        .as_ref()
        .map(|spec| (&spec.hostname, &spec.subdomain, &spec.node_name));
    (
        spec,
        pod.status
            .as_ref()
            .and_then(|status| status.pod_ips.as_ref()),
    )
}

/// The zone of a pod's node; `None` when the node is unknown.
fn zone_of(nodes: &Cache<Node>, pod: &Pod) -> Option<Option<String>> {
    let node = nodes.find("", node_name(pod))?;
    Some(
        node.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(ZONE).cloned()),
    )
}
