//! Computes which slices a service needs. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::meta::controlled_by;
use crate::pods::{is_ready, is_terminating, node_name};
use crate::servicepods::{
    EndpointPod, address, families, host_name, is_headless, port_at, publishes_unready, reference,
};

const SERVICE: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// The largest number of endpoints in a slice.
const FULL: usize = 100;

/// The slices to write.
#[derive(Debug, Default)]
pub(crate) struct EndpointSlicePlan {
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
}

pub(super) fn is_managed_here(slice: &EndpointSlice) -> bool {
    slice
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(MANAGED_BY))
        .is_some_and(|manager| manager == MANAGER)
}

pub(super) fn service_of(slice: &EndpointSlice) -> Option<&str> {
    slice
        .metadata
        .labels
        .as_ref()?
        .get(SERVICE)
        .map(String::as_str)
}

fn endpoint(service: &Service, member: &EndpointPod, address: &str) -> Endpoint {
    let pod = &member.pod;
    let (serving, terminating) = (is_ready(pod), is_terminating(pod));
    let ready = publishes_unready(service) || (serving && !terminating);
    let node = Some(node_name(pod).to_owned()).filter(|name| !name.is_empty());
    let zone = member.zone.clone().flatten();
    let hints = ready.then(|| hints(service, zone.as_ref(), node.as_ref()));
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: host_name(service, pod),
        node_name: node,
        target_ref: Some(reference(pod)),
        zone,
        hints: hints.flatten(),
        ..Endpoint::default()
    }
}

/// For whom a ready endpoint is, under the `trafficDistribution` of its service: proxies that know
/// no hints for nodes follow those for zones.
fn hints(service: &Service, zone: Option<&String>, node: Option<&String>) -> Option<EndpointHints> {
    let spec = service.spec.as_ref();
    let distribution = spec.and_then(|spec| spec.traffic_distribution.as_deref());
    let node = match distribution? {
        "PreferSameNode" => node,
        "PreferClose" | "PreferSameZone" => None,
        _ => return None,
    };
    let for_zones = zone.map(|name| vec![ForZone { name: name.clone() }]);
    let for_nodes = node.map(|name| vec![ForNode { name: name.clone() }]);
    let is_any = for_zones.is_some() || for_nodes.is_some();
    is_any.then_some(EndpointHints {
        for_zones,
        for_nodes,
    })
}

fn ports_at(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten());
    let mut ports: Vec<_> = ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                port: Some(port_at(pod, port)?),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort_by(|a, b| (&a.name, a.port).cmp(&(&b.name, b.port)));
    ports
}

/// Ports in a form that can be compared and ordered.
fn port_key(ports: &[EndpointPort]) -> String {
    let mut keys: Vec<String> = ports
        .iter()
        .map(|port| {
            format!(
                "{:?} {:?} {:?} {:?}",
                port.name, port.protocol, port.port, port.app_protocol
            )
        })
        .collect();
    keys.sort();
    keys.join("\n")
}

/// Compares the wanted endpoints with the present slices.
pub(super) fn plan(
    service: &Service,
    members: &[EndpointPod],
    present: &[Arc<EndpointSlice>],
) -> EndpointSlicePlan {
    let families = families(service);
    let ours = present.iter().filter(|slice| is_managed_here(slice));
    let (served, foreign): (Vec<_>, Vec<_>) = ours
        .cloned()
        .partition(|slice| families.contains(&slice.address_type));
    let mut plan = EndpointSlicePlan {
        delete: foreign,
        ..EndpointSlicePlan::default()
    };
    for family in &families {
        let slices: Vec<_> = served
            .iter()
            .filter(|slice| slice.address_type == *family)
            .cloned()
            .collect();
        plan_family(service, members, family, &slices, &mut plan);
    }
    plan
}

fn plan_family(
    service: &Service,
    members: &[EndpointPod],
    family: &str,
    slices: &[Arc<EndpointSlice>],
    plan: &mut EndpointSlicePlan,
) {
    let mut groups: BTreeMap<String, (Vec<EndpointPort>, BTreeMap<String, Endpoint>)> =
        BTreeMap::new();
    for member in members {
        let Some(address) = address(service, member, family) else {
            continue;
        };
        let ports = ports_at(service, &member.pod);
        let (_, endpoints) = groups
            .entry(port_key(&ports))
            .or_insert_with(|| (ports, BTreeMap::new()));
        endpoints.insert(
            member.pod.metadata.uid.clone().unwrap_or_default(),
            endpoint(service, member, address),
        );
    }
    if groups.is_empty() {
        // One empty slice shows clients that the service has been processed.
        groups.insert(String::new(), (Vec::new(), BTreeMap::new()));
    }
    let mut left: Vec<Arc<EndpointSlice>> = slices.to_vec();
    for (key, (ports, endpoints)) in groups {
        let matching: Vec<_> = extract(&mut left, |slice| {
            port_key(slice.ports.as_deref().unwrap_or_default()) == key
        });
        let nothing = endpoints.is_empty();
        for (old, endpoints) in pack(endpoints, &matching) {
            match old {
                Some(old)
                    if endpoints.is_empty() && !(nothing && plan_keeps_one(&matching, &old)) =>
                {
                    plan.delete.push(old)
                }
                Some(old) => {
                    let new = fill(service, family, Some(&old), ports.clone(), endpoints);
                    if new != *old {
                        plan.update.push(new);
                    }
                }
                None => plan
                    .create
                    .push(fill(service, family, None, ports.clone(), endpoints)),
            }
        }
    }
    plan.delete.extend(left);
}

fn plan_keeps_one(matching: &[Arc<EndpointSlice>], slice: &Arc<EndpointSlice>) -> bool {
    matching
        .first()
        .is_some_and(|first| Arc::ptr_eq(first, slice))
}

fn extract(
    slices: &mut Vec<Arc<EndpointSlice>>,
    wanted: impl Fn(&EndpointSlice) -> bool,
) -> Vec<Arc<EndpointSlice>> {
    let (taken, left) = std::mem::take(slices)
        .into_iter()
        .partition(|slice| wanted(slice));
    *slices = left;
    taken
}

type Packed = (Option<Arc<EndpointSlice>>, Vec<Endpoint>);

/// Leaves each endpoint in its slice, then fills slices with room, then new ones.
fn pack(mut endpoints: BTreeMap<String, Endpoint>, slices: &[Arc<EndpointSlice>]) -> Vec<Packed> {
    let mut packed: Vec<Packed> = Vec::new();
    for slice in slices {
        let uids: BTreeSet<String> = slice
            .endpoints
            .iter()
            .flatten()
            .filter_map(|endpoint| endpoint.target_ref.as_ref()?.uid.clone())
            .collect();
        let in_order = slice
            .endpoints
            .iter()
            .flatten()
            .filter_map(|endpoint| endpoint.target_ref.as_ref()?.uid.as_ref());
        let kept = in_order
            .filter(|uid| uids.contains(*uid))
            .filter_map(|uid| endpoints.remove(uid))
            .collect();
        packed.push((Some(Arc::clone(slice)), kept));
    }
    let mut rest = endpoints.into_values();
    for (_, kept) in &mut packed {
        while kept.len() < FULL
            && let Some(endpoint) = rest.next()
        {
            kept.push(endpoint);
        }
    }
    let rest: Vec<Endpoint> = rest.collect();
    packed.extend(rest.chunks(FULL).map(|chunk| (None, chunk.to_vec())));
    if packed.is_empty() {
        packed.push((None, Vec::new()));
    }
    packed
}

fn fill(
    service: &Service,
    family: &str,
    old: Option<&Arc<EndpointSlice>>,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.retain(|key, _| {
        !key.starts_with("endpointslice.kubernetes.io/") && key != SERVICE && key != HEADLESS
    });
    labels.insert(SERVICE.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let fresh = ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: service.metadata.namespace.clone(),
        owner_references: Some(vec![controlled_by(service)]),
        ..ObjectMeta::default()
    };
    let meta = ObjectMeta {
        labels: Some(labels),
        ..old.map_or(fresh, |old| old.metadata.clone())
    };
    EndpointSlice {
        address_type: family.to_owned(),
        endpoints: Some(endpoints).filter(|endpoints| !endpoints.is_empty()),
        metadata: meta,
        ports: Some(ports).filter(|ports| !ports.is_empty()),
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::tests::pod;

    fn service(extra: serde_json::Value) -> Service {
        let mut tree = json!({"metadata": {"name": "svc", "namespace": "n", "uid": "s",
            "labels": {"l": "v"}},
            "spec": {"selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
        if let (Some(spec), Some(extra)) = (tree["spec"].as_object_mut(), extra.as_object()) {
            spec.extend(extra.clone());
        }
        serde_json::from_value(tree).expect("a service")
    }

    fn web(name: &str, ip: &str, ready: bool, extra: serde_json::Value) -> Arc<Pod> {
        let mut tree = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"nodeName": "a", "containers": []},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready",
                "status": if ready { "True" } else { "False" }}]}});
        for (part, value) in extra.as_object().cloned().unwrap_or_default() {
            if let (Some(known), Some(value)) = (tree[&part].as_object_mut(), value.as_object()) {
                known.extend(value.clone());
            }
        }
        Arc::new(pod(tree))
    }

    fn members(pods: &[Arc<Pod>]) -> Vec<EndpointPod> {
        pods.iter()
            .map(|pod| EndpointPod {
                pod: Arc::clone(pod),
                zone: Some(Some("z".to_owned())),
            })
            .collect()
    }

    fn conditions(service: &Service, pod: Arc<Pod>) -> Option<(bool, bool, bool)> {
        let pods = [pod];
        let plan = plan(service, &members(&pods), &[]);
        let endpoint = plan.create[0].endpoints.as_ref()?.first()?;
        let conditions = endpoint.conditions.as_ref()?;
        Some((
            conditions.ready?,
            conditions.serving?,
            conditions.terminating?,
        ))
    }

    #[test]
    fn conditions_follow_readiness_and_deletion() {
        let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let plain = service(json!({}));
        let eager = service(json!({"publishNotReadyAddresses": true}));
        let cases = [
            (
                &plain,
                web("p", "10.0.0.1", true, json!({})),
                Some((true, true, false)),
            ),
            (
                &plain,
                web("p", "10.0.0.1", false, json!({})),
                Some((false, false, false)),
            ),
            (
                &plain,
                web("p", "10.0.0.1", true, leaving.clone()),
                Some((false, true, true)),
            ),
            (
                &plain,
                web("p", "10.0.0.1", false, leaving.clone()),
                Some((false, false, true)),
            ),
            (
                &eager,
                web("p", "10.0.0.1", false, leaving),
                Some((true, false, true)),
            ),
            (
                &plain,
                web(
                    "p",
                    "10.0.0.1",
                    true,
                    json!({"status": {"phase": "Succeeded"}}),
                ),
                None,
            ),
            (&plain, web("p", "", true, json!({})), None),
            (&plain, web("p", "fd00::1", true, json!({})), None),
        ];
        for (service, pod, expected) in cases {
            assert_eq!(conditions(service, Arc::clone(&pod)), expected, "{pod:?}");
        }
    }

    #[test]
    fn ready_endpoints_have_the_hints_of_the_traffic_distribution() {
        let zone = json!({"forZones": [{"name": "z"}]});
        let both = json!({"forNodes": [{"name": "a"}], "forZones": [{"name": "z"}]});
        let node = json!({"forNodes": [{"name": "a"}]});
        let none = serde_json::Value::Null;
        let cases = [
            (json!(null), true, Some("z"), &none),
            (json!("PreferClose"), true, Some("z"), &zone),
            (json!("PreferSameZone"), true, Some("z"), &zone),
            (json!("PreferSameNode"), true, Some("z"), &both),
            (json!("PreferSameNode"), true, None, &node),
            (json!("PreferClose"), true, None, &none),
            (json!("PreferClose"), false, Some("z"), &none),
        ];
        for (distribution, ready, zone, expected) in cases {
            let service = service(json!({"trafficDistribution": distribution}));
            let members = [EndpointPod {
                pod: web("p", "10.0.0.1", ready, json!({})),
                zone: Some(zone.map(str::to_owned)),
            }];
            let plan = plan(&service, &members, &[]);
            let slice = serde_json::to_value(&plan.create[0]).expect("JSON");
            let found = slice["endpoints"][0].get("hints").unwrap_or(&none);
            assert_eq!(found, expected, "{distribution} {ready} {zone:?}");
        }
    }

    #[test]
    fn a_service_without_endpoints_keeps_one_empty_slice() {
        let service = service(json!({}));
        let first = plan(&service, &[], &[]);
        let slice = serde_json::to_value(&first.create[0]).expect("json");
        assert_eq!(slice["metadata"]["generateName"], "svc-");
        assert_eq!(
            slice["metadata"]["labels"],
            json!({"l": "v", "kubernetes.io/service-name": "svc",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"})
        );
        assert_eq!((slice.get("endpoints"), slice.get("ports")), (None, None));
        let again = plan(&service, &[], &[Arc::new(first.create[0].clone())]);
        assert!(
            again.create.is_empty() && again.update.is_empty() && again.delete.is_empty(),
            "{again:?}"
        );
    }

    #[test]
    fn endpoints_stay_in_their_slice_and_the_empty_slice_is_deleted() {
        let service = service(json!({}));
        let pods: Vec<_> = (0..150)
            .map(|i| web(&format!("p{i:03}"), &format!("10.0.0.{i}"), true, json!({})))
            .collect();
        let sign = Arc::new(plan(&service, &[], &[]).create[0].clone());
        let full = plan(&service, &members(&pods), &[sign]);
        assert_eq!(full.delete.len(), 1);
        let sizes = |slices: &[EndpointSlice]| {
            slices
                .iter()
                .map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len))
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(&full.create), [100, 50]);
        let slices: Vec<_> = full.create.into_iter().map(Arc::new).collect();
        let fewer = plan(&service, &members(&pods[1..]), &slices);
        assert_eq!(
            sizes(&fewer.update),
            [99],
            "only the slice of the pod that left is written"
        );
        assert!(fewer.create.is_empty() && fewer.delete.is_empty());
    }

    #[test]
    fn named_ports_are_looked_up_at_each_pod() {
        let service =
            service(json!({"ports": [{"name": "web", "port": 80, "targetPort": "http"}]}));
        let with = |name: &str, port: i32| {
            web(
                name,
                "10.0.0.1",
                true,
                json!({"spec": {"containers": [{"name": "c",
                    "ports": [{"name": "http", "containerPort": port}]}]}}),
            )
        };
        let pods = [with("a", 8080), with("b", 9090)];
        let plan = plan(&service, &members(&pods), &[]);
        let ports: Vec<_> = plan
            .create
            .iter()
            .map(|slice| slice.ports.as_ref().expect("ports")[0].port)
            .collect();
        assert_eq!(ports, [Some(8080), Some(9090)]);
    }
}
