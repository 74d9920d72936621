//! The `Endpoints` object of a service: addresses of ready and of unready pods.
//!
//! A terminating pod is dropped at once, unless the service publishes unready pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, code, ignore_not_found, namespace_terminates};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::ObjectKey;
use crate::pods::{is_ready, is_terminating, node_name};
use crate::queue::{Requeue, WorkQueue};
use crate::servicepods::{
    EndpointPod, ServicePods, address, families, host_name, is_headless, port_at,
    publishes_unready, reference,
};

const WORKERS: usize = 8;
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// The number of addresses in one object. Larger services are complete only in EndpointSlices.
const CAPACITY: usize = 1000;

struct Controller {
    context: ControllerContext,
    backends: ServicePods,
    endpoints: Arc<Cache<Endpoints>>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let backends = ServicePods::subscribe(informers, &queue);
    informers.endpoints.enqueue_changes(&queue);
    let mut synced = backends.synced();
    synced.push(informers.endpoints.cache.synced());
    let controller = Arc::new(Controller {
        context: context.clone(),
        backends,
        endpoints: Arc::clone(&informers.endpoints.cache),
    });
    context.run("endpoints", queue, WORKERS, synced, controller);
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let api = self.context.namespaced::<Endpoints>(&key.namespace);
        let present = self.endpoints.get(key);
        let Some(service) = self.backends.services.get(key) else {
            // Objects that a user has created stay.
            if present.is_some_and(|present| is_managed_here(&present.metadata)) {
                ignore_not_found(api.delete(&key.name, &DeleteParams::default()).await)?;
            }
            return Ok(Requeue::OnChange);
        };
        let Some(members) = self.backends.endpoint_pods(&service) else {
            return Ok(Requeue::OnChange);
        };
        let wanted = plan(&service, &members, present.as_deref());
        let result = match (present, wanted) {
            (_, None) => return Ok(Requeue::OnChange),
            (Some(_), Some(wanted)) => {
                api.replace(&key.name, &PostParams::default(), &wanted)
                    .await
            }
            (None, Some(wanted)) => api.create(&PostParams::default(), &wanted).await,
        };
        match result {
            Err(error) if !namespace_terminates(&error) && code(&error) != 404 => Err(error.into()),
            _ => Ok(Requeue::OnChange),
        }
    }
}

fn is_managed_here(meta: &ObjectMeta) -> bool {
    meta.labels
        .as_ref()
        .and_then(|labels| labels.get(MANAGED_BY))
        .is_some_and(|manager| manager == MANAGER)
}

/// The object to write; none when the present one is right.
fn plan(
    service: &Service,
    members: &[EndpointPod],
    present: Option<&Endpoints>,
) -> Option<Endpoints> {
    let fresh = ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        ..ObjectMeta::default()
    };
    let mut meta = present.map_or(fresh, |present| present.metadata.clone());
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    meta.labels = Some(labels);
    let over = members.len() > CAPACITY;
    if over {
        meta.annotations
            .get_or_insert_default()
            .insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else if let Some(annotations) = &mut meta.annotations {
        annotations.remove(OVER_CAPACITY);
    }
    let subsets = subsets(service, members);
    let wanted = Endpoints {
        metadata: meta,
        subsets: Some(subsets).filter(|subsets| !subsets.is_empty()),
    };
    let same = present.is_some_and(|present| {
        present.metadata.labels == wanted.metadata.labels
            && present.metadata.annotations == wanted.metadata.annotations
            && present.subsets.as_deref().unwrap_or_default()
                == wanted.subsets.as_deref().unwrap_or_default()
    });
    (!same).then_some(wanted)
}

type PortKey = (String, i32, String, Option<String>);

/// Groups addresses by port. Ports with the same addresses share a subset.
fn subsets(service: &Service, members: &[EndpointPod]) -> Vec<EndpointSubset> {
    let family = families(service).into_iter().next().unwrap_or_default();
    let mut addresses: BTreeMap<(String, String), (EndpointAddress, bool)> = BTreeMap::new();
    let mut by_port: BTreeMap<Option<PortKey>, BTreeSet<(String, String)>> = BTreeMap::new();
    for member in members
        .iter()
        .filter(|member| !is_terminating(&member.pod) || publishes_unready(service))
    {
        let Some(ip) = address(service, member, &family) else {
            continue;
        };
        let pod = &member.pod;
        if addresses.len() >= CAPACITY {
            break;
        }
        let key = (ip.to_owned(), pod.metadata.uid.clone().unwrap_or_default());
        let endpoint = EndpointAddress {
            ip: ip.to_owned(),
            hostname: host_name(service, pod),
            node_name: Some(node_name(pod).to_owned()).filter(|name| !name.is_empty()),
            target_ref: Some(reference(pod)),
        };
        addresses.insert(
            key.clone(),
            (endpoint, publishes_unready(service) || is_ready(pod)),
        );
        let ports: Vec<_> = service
            .spec
            .iter()
            .flat_map(|spec| spec.ports.iter().flatten())
            .collect();
        if ports.is_empty() && is_headless(service) {
            by_port.entry(None).or_default().insert(key.clone());
        }
        for port in ports {
            let Some(number) = port_at(pod, port) else {
                continue;
            };
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            let port = (
                port.name.clone().unwrap_or_default(),
                number,
                protocol,
                port.app_protocol.clone(),
            );
            by_port.entry(Some(port)).or_default().insert(key.clone());
        }
    }
    let mut shared: BTreeMap<BTreeSet<(String, String)>, Vec<PortKey>> = BTreeMap::new();
    for (port, keys) in by_port {
        shared.entry(keys).or_default().extend(port);
    }
    shared
        .into_iter()
        .map(|(keys, ports)| subset(&keys, ports, &addresses))
        .collect()
}

fn subset(
    keys: &BTreeSet<(String, String)>,
    ports: Vec<PortKey>,
    addresses: &BTreeMap<(String, String), (EndpointAddress, bool)>,
) -> EndpointSubset {
    let (mut ready, mut unready) = (Vec::new(), Vec::new());
    for (address, is_ready) in keys.iter().filter_map(|key| addresses.get(key)) {
        if *is_ready {
            ready.push(address.clone())
        } else {
            unready.push(address.clone())
        }
    }
    let ports = ports
        .into_iter()
        .map(|(name, port, protocol, app_protocol)| EndpointPort {
            name: Some(name).filter(|name| !name.is_empty()),
            port,
            protocol: Some(protocol),
            app_protocol,
        });
    EndpointSubset {
        addresses: Some(ready).filter(|list| !list.is_empty()),
        not_ready_addresses: Some(unready).filter(|list| !list.is_empty()),
        ports: Some(ports.collect::<Vec<_>>()).filter(|list| !list.is_empty()),
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::tests::pod;

    pub(super) fn web(name: &str, ip: &str, ready: bool, leaving: bool) -> Arc<Pod> {
        let stamp = leaving.then_some("2026-01-01T00:00:00Z");
        Arc::new(pod(
            json!({"metadata": {"name": name, "namespace": "n", "uid": name,
                "deletionTimestamp": stamp}, "spec": {"nodeName": "a", "containers": []},
            "status": {"phase": "Running", "podIP": ip,
                "conditions": [{"type": "Ready",
                "status": if ready { "True" } else { "False" }}]}}),
        ))
    }

    fn subsets_of(service: &Service, pods: &[Arc<Pod>]) -> Value {
        let members: Vec<_> = pods
            .iter()
            .map(|pod| EndpointPod {
                pod: Arc::clone(pod),
                zone: Some(None),
            })
            .collect();
        serde_json::to_value(plan(service, &members, None).expect("written").subsets).expect("json")
    }

    pub(super) fn service() -> Service {
        serde_json::from_value(json!({"metadata": {"name": "svc", "namespace": "n"},
            "spec": {"selector": {"app": "web"}, "ports": [
            {"name": "web", "port": 80, "targetPort": 8080},
                {"name": "dns", "port": 53, "protocol": "UDP"}]}}))
        .expect("a service")
    }

    #[test]
    fn ready_and_unready_addresses_share_a_subset_and_terminating_ones_are_dropped() {
        let subsets = subsets_of(
            &service(),
            &[
                web("a", "10.0.0.1", true, false),
                web("b", "10.0.0.2", false, false),
                web("c", "10.0.0.3", true, true),
            ],
        );
        assert_eq!(subsets.as_array().expect("a list").len(), 1);
        assert_eq!(subsets[0]["addresses"][0]["ip"], "10.0.0.1");
        assert_eq!(subsets[0]["notReadyAddresses"][0]["ip"], "10.0.0.2");
        assert_eq!(
            subsets[0]["ports"],
            json!([{"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "web", "port": 8080, "protocol": "TCP"}])
        );
    }

    #[test]
    fn a_correct_object_is_not_written_again() {
        let pods = [web("a", "10.0.0.1", true, false)];
        let members: Vec<_> = pods
            .iter()
            .map(|pod| EndpointPod {
                pod: Arc::clone(pod),
                zone: Some(None),
            })
            .collect();
        let first = plan(&service(), &members, None).expect("written");
        assert_eq!(plan(&service(), &members, Some(&first)), None);
        assert_eq!(subsets_of(&service(), &[]), Value::Null);
    }
}
