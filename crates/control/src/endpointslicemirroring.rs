//! EndpointSlices for `Endpoints` that users write: those of services without a selector.
//!
//! Each set of ports and address family has one slice with at most a thousand endpoints.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use events::{EventRecorder, EventType};
use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::context::{ControllerContext, Reconciler};
use crate::endpointslice::EndpointSlicePlan;
use crate::error::ReconcileError;
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, annotation, controlled_by, delete_params};
use crate::queue::{Requeue, WorkQueue};

const WORKERS: usize = 5;
const SERVICE: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Marks objects that only serve the election of a leader.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that slices do not take over.
const NOT_MIRRORED: [&str; 2] = [
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
];
/// The number of addresses of a subset that are mirrored.
const MOST: usize = 1000;

struct Controller {
    context: ControllerContext,
    events: EventRecorder,
    endpoints: Arc<Cache<Endpoints>>,
    services: Arc<Cache<Service>>,
    slices: Arc<Cache<EndpointSlice>>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    informers.endpoints.enqueue_changes(&queue);
    let wake = queue.clone();
    informers.services.subscribe(move |change| {
        let selects = |service: &Arc<Service>| has_selector(service);
        let (old, new) = (change.old.as_ref(), change.new.as_ref());
        if old.map(selects) != new.map(selects) {
            wake.add(ObjectKey::of(change.latest()));
        }
    });
    let wake = queue.clone();
    informers.slices.subscribe(move |change| {
        for slice in change.states().filter(|slice| is_managed_here(slice)) {
            if let Some(name) = label(&slice.metadata, SERVICE) {
                let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
                wake.add(ObjectKey::new(namespace, name));
            }
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        events: context.recorder("endpoint-slice-mirroring-controller"),
        endpoints: Arc::clone(&informers.endpoints.cache),
        services: Arc::clone(&informers.services.cache),
        slices: Arc::clone(&informers.slices.cache),
    });
    let synced = vec![
        informers.endpoints.cache.synced(),
        informers.services.cache.synced(),
        informers.slices.cache.synced(),
    ];
    context.run(
        "endpointslice mirroring",
        queue,
        WORKERS,
        synced,
        controller,
    );
}

fn label<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(name).map(String::as_str)
}

fn is_managed_here(slice: &EndpointSlice) -> bool {
    label(&slice.metadata, MANAGED_BY) == Some(MANAGER)
}

fn has_selector(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.selector.as_ref())
        .is_some_and(|selector| !selector.is_empty())
}

/// True when slices are made for the endpoints of this service.
fn is_mirrored(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let meta = &endpoints.metadata;
    label(meta, SKIP) != Some("true")
        && annotation(meta, LEADER).is_none()
        && service.is_some_and(|service| !has_selector(service))
}

/// The endpoints of one set of ports and one address family.
struct Group {
    ports: Vec<EndpointPort>,
    family: &'static str,
    endpoints: Vec<Endpoint>,
}

/// What the slices of an object must be, and what is left out.
#[derive(Default)]
struct Desired {
    groups: Vec<Group>,
    invalid: usize,
    skipped: usize,
}

fn desired(endpoints: &Endpoints) -> Desired {
    // Subsets with the same ports are one.
    type Ports = Vec<EndpointPort>;
    type Addresses<'a> = Vec<(&'a EndpointAddress, bool)>;
    let mut subsets: BTreeMap<String, (Ports, Addresses<'_>)> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Ports = subset
            .ports
            .iter()
            .flatten()
            .map(|port| EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(port.port),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        let (_, addresses) = subsets
            .entry(port_key(&ports))
            .or_insert_with(|| (ports, Vec::new()));
        let ready = subset.addresses.iter().flatten().map(|one| (one, true));
        let unready = subset.not_ready_addresses.iter().flatten();
        addresses.extend(ready.chain(unready.map(|one| (one, false))));
    }
    let mut out = Desired::default();
    for (ports, addresses) in subsets.into_values() {
        let mut families = BTreeMap::from([("IPv4", Vec::new()), ("IPv6", Vec::new())]);
        let mut taken = 0;
        for (address, ready) in &addresses {
            if taken == MOST {
                break;
            }
            match mirrored(address, *ready) {
                Some((family, endpoint)) => {
                    families.entry(family).or_default().push(endpoint);
                    taken += 1;
                }
                None => out.invalid += 1,
            }
        }
        out.skipped += addresses.len() - taken;
        let groups = families.into_iter();
        out.groups
            .extend(groups.filter(|(_, endpoints)| !endpoints.is_empty()).map(
                |(family, endpoints)| Group {
                    ports: ports.clone(),
                    family,
                    endpoints,
                },
            ));
    }
    out
}

fn mirrored(address: &EndpointAddress, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip: IpAddr = address.ip.parse().ok()?;
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        ..Endpoint::default()
    };
    Some((family, endpoint))
}

fn port_key(ports: &[EndpointPort]) -> String {
    let mut keys: Vec<String> = ports.iter().map(|port| format!("{port:?}")).collect();
    keys.sort();
    keys.join("\n")
}

fn plan(
    endpoints: &Endpoints,
    groups: Vec<Group>,
    present: &[Arc<EndpointSlice>],
) -> EndpointSlicePlan {
    let mut plan = EndpointSlicePlan::default();
    let mut left: Vec<Arc<EndpointSlice>> = present.to_vec();
    let mut fresh = Vec::new();
    for group in groups {
        let key = port_key(&group.ports);
        let place = left.iter().position(|slice| {
            slice.address_type == group.family
                && port_key(slice.ports.as_deref().unwrap_or_default()) == key
        });
        match place {
            Some(place) => update(endpoints, group, &left.remove(place), &mut plan),
            None => fresh.push(group),
        }
    }
    // A slice that is left over becomes a new one of its family.
    for group in fresh {
        let place = left
            .iter()
            .position(|slice| slice.address_type == group.family);
        match place {
            Some(place) => update(endpoints, group, &left.remove(place), &mut plan),
            None => plan.create.push(slice(endpoints, group, None)),
        }
    }
    plan.delete = left;
    plan
}

fn update(
    endpoints: &Endpoints,
    group: Group,
    old: &Arc<EndpointSlice>,
    plan: &mut EndpointSlicePlan,
) {
    let new = slice(endpoints, group, Some(old));
    if new != **old {
        plan.update.push(new);
    }
}

fn slice(endpoints: &Endpoints, group: Group, old: Option<&EndpointSlice>) -> EndpointSlice {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !NOT_MIRRORED.contains(&name.as_str()));
    let fresh = ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: endpoints.metadata.namespace.clone(),
        ..ObjectMeta::default()
    };
    let metadata = ObjectMeta {
        labels: Some(labels),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        owner_references: Some(vec![controlled_by(endpoints)]),
        ..old.map_or(fresh, |old| old.metadata.clone())
    };
    EndpointSlice {
        metadata,
        address_type: group.family.to_owned(),
        endpoints: Some(group.endpoints),
        ports: Some(group.ports).filter(|ports| !ports.is_empty()),
    }
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let mut present = self.slices.at(&key.to_string());
        present.retain(|slice| is_managed_here(slice));
        let endpoints = self.endpoints.get(key);
        let service = self.services.get(key);
        let plan = match endpoints.filter(|one| is_mirrored(one, service.as_deref())) {
            None => EndpointSlicePlan {
                delete: present,
                ..EndpointSlicePlan::default()
            },
            Some(endpoints) => {
                let desired = desired(&endpoints);
                self.report(&endpoints, &desired);
                plan(&endpoints, desired.groups, &present)
            }
        };
        plan.carry_out(&self.context, &key.namespace, delete_params)
            .await?;
        Ok(Requeue::OnChange)
    }
}

impl Controller {
    fn report(&self, endpoints: &Endpoints, desired: &Desired) {
        let warn = |reason, message: String| {
            self.events
                .event(endpoints, EventType::Warning, reason, message);
        };
        if desired.invalid > 0 {
            warn(
                "InvalidIPAddress",
                format!(
                    "Skipped {} invalid IP addresses when mirroring to EndpointSlices",
                    desired.invalid
                ),
            );
        }
        if desired.skipped > desired.invalid {
            warn(
                "TooManyAddressesToMirror",
                format!(
                    "A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints \
                     subset. {} addresses were skipped",
                    desired.skipped
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn endpoints(subsets: Value) -> Endpoints {
        serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "n", "uid": "e1", "labels": {"a": "b"},
                "annotations": {"note": "x", NOT_MIRRORED[1]: "{}"}},
            "subsets": subsets,
        }))
        .expect("endpoints")
    }

    fn planned(endpoints: &Endpoints, present: &[Arc<EndpointSlice>]) -> EndpointSlicePlan {
        plan(endpoints, desired(endpoints).groups, present)
    }

    #[test]
    fn slices_say_what_the_endpoints_say() {
        let subset = json!({
            "addresses": [{"ip": "10.0.0.1", "hostname": "one", "nodeName": "a"}],
            "notReadyAddresses": [{"ip": "10.0.0.2"}, {"ip": "2001:db8::1"}],
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        });
        let plan = planned(&endpoints(json!([subset])), &[]);
        let made = serde_json::to_value(&plan.create).expect("JSON");
        let (labels, metadata) = (&made[0]["metadata"]["labels"], &made[0]["metadata"]);
        assert_eq!(
            labels,
            &json!({"a": "b", SERVICE: "db", MANAGED_BY: MANAGER})
        );
        assert_eq!(metadata["annotations"], json!({"note": "x"}));
        assert_eq!(metadata["ownerReferences"][0]["kind"], "Endpoints");
        assert_eq!(metadata["generateName"], "db-");
        assert_eq!(
            made[0]["endpoints"],
            json!([
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "hostname": "one",
                    "nodeName": "a"},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            ])
        );
        assert_eq!(made[1]["addressType"], "IPv6");
        let port = json!([{"name": "sql", "port": 5432, "protocol": "TCP"}]);
        assert_eq!(made[0]["ports"], port);
    }

    #[test]
    fn slices_are_kept_changed_and_used_again() {
        let subset = |ip: &str, port: i32| {
            let ports = json!([{"port": port, "protocol": "TCP"}]);
            json!([{"addresses": [{"ip": ip}], "ports": ports}])
        };
        let first = planned(&endpoints(subset("10.0.0.1", 80)), &[])
            .create
            .remove(0);
        let present = [Arc::new(first)];
        let counts =
            |plan: &EndpointSlicePlan| (plan.create.len(), plan.update.len(), plan.delete.len());
        let cases = [
            (subset("10.0.0.1", 80), (0, 0, 0)),
            (subset("10.0.0.2", 80), (0, 1, 0)),
            (subset("10.0.0.1", 81), (0, 1, 0)),
            (subset("2001:db8::1", 80), (1, 0, 1)),
            (json!([]), (0, 0, 1)),
        ];
        for (subsets, expected) in cases {
            let plan = planned(&endpoints(subsets.clone()), &present);
            assert_eq!(counts(&plan), expected, "{subsets}");
        }
    }

    #[test]
    fn a_thousand_addresses_of_a_subset_are_mirrored() {
        let ip = |number: usize| json!({"ip": format!("10.1.{}.{}", number / 250, number % 250)});
        let addresses: Vec<Value> = (0..1003).map(ip).chain([json!({"ip": "none"})]).collect();
        let desired = desired(&endpoints(json!([{"addresses": addresses}])));
        assert_eq!(desired.groups[0].endpoints.len(), MOST);
        assert_eq!((desired.invalid, desired.skipped), (0, 4));
    }

    #[test]
    fn some_endpoints_are_not_mirrored() {
        let service = |selector: Value| -> Service {
            serde_json::from_value(json!({"spec": {"selector": selector}})).expect("a service")
        };
        let (free, selecting) = (service(json!(null)), service(json!({"app": "db"})));
        let with = |part: &str, name: &str, value: &str| {
            let mut endpoints = endpoints(json!([]));
            let meta = &mut endpoints.metadata;
            let map = if part == "labels" {
                &mut meta.labels
            } else {
                &mut meta.annotations
            };
            map.get_or_insert_default()
                .insert(name.to_owned(), value.to_owned());
            endpoints
        };
        let plain = endpoints(json!([]));
        let cases = [
            (plain.clone(), Some(&free), true),
            (plain.clone(), Some(&selecting), false),
            (plain, None, false),
            (with("labels", SKIP, "true"), Some(&free), false),
            (with("labels", SKIP, "false"), Some(&free), true),
            (with("annotations", LEADER, "{}"), Some(&free), false),
        ];
        for (endpoints, service, expected) in cases {
            assert_eq!(is_mirrored(&endpoints, service), expected, "{endpoints:?}");
        }
    }
}
