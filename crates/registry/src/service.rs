//! Allocation of cluster addresses and node ports. It happens inside the commit that stores the
//! service, among those that no other service holds. `service/addresses.rs` has the objects that
//! stand for addresses.

mod addresses;

use std::collections::HashSet;

use kinds::Tree;
use kinds::facts::Resource;
use kinds::status::{FieldError, Status};
use kinds::tree::json;
use store::{Record, Txn};

use crate::facts::ServiceFacts;
use crate::request::Refusal;
use crate::resource::ResourceRef;
use crate::strategy::service::needs_health_check;
use crate::target::Target;
use crate::{Registry, key, object, record, tree};

pub(crate) use addresses::{is_sound, repair};

/// The range of node ports that Kubernetes allocates by default.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30000..=32767;
/// How many random ports are tried before the range is searched in order.
const RANDOM_ATTEMPTS: usize = 16;

/// Returns true for the resource `services`.
pub(crate) fn is_service(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "services"
}

/// Allocates the address and the ports that the type of a service needs, and writes the objects of
/// its addresses. Values that an update left out have been restored by the service's strategy
/// before.
pub(crate) fn allocate(
    registry: &Registry,
    txn: &mut Txn,
    target: &Target,
    service: &mut Tree,
    old: Option<&Tree>,
) -> Result<(), Refusal> {
    allocate_values(registry, txn, service, old)?;
    addresses::settle(registry, txn, target, old, service);
    Ok(())
}

/// Removes the objects of the addresses of a service that is removed. `last` is its record.
pub(crate) fn release(txn: &mut Txn, resource: &ResourceRef, last: &Record) {
    let facts: Option<&ServiceFacts> = record::facts(resource, last).of_kind();
    let (namespace, name) = key::namespace_and_name(&last.key);
    for address in facts.into_iter().flat_map(|facts| &facts.addresses) {
        addresses::release(txn, namespace, name, address);
    }
}

fn allocate_values(
    registry: &Registry,
    txn: &Txn,
    service: &mut Tree,
    old: Option<&Tree>,
) -> Result<(), Refusal> {
    let kind = tree::text(service, &["spec", "type"]).to_owned();
    if kind == "ExternalName" {
        return Ok(());
    }
    let own = object::meta_text(service, "uid").to_owned();
    let (held_addresses, held_ports) =
        held(txn, &own, old.map(|old| object::meta_text(old, "name")));
    allocate_address(registry, txn, service, old, &held_addresses)?;
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        allocate_ports(registry, service, old, held_ports)?;
    }
    Ok(())
}

/// Returns the addresses and ports that all other services hold.
fn held(txn: &Txn, uid: &str, name: Option<&str>) -> (HashSet<String>, HashSet<i64>) {
    let (mut addresses, mut ports) = (HashSet::new(), HashSet::new());
    let Some(services) = ResourceRef::built_in("", "v1", "services") else {
        return (addresses, ports);
    };
    for found in txn.range("services/") {
        // Facts have no uid. Only services of the same name are parsed to compare it.
        let itself = name.is_some_and(|name| found.key.ends_with(&format!("/{name}")))
            && object::meta_text(&record::parse(&found.value), "uid") == uid;
        let facts: Option<&ServiceFacts> = record::facts(&services, &found).of_kind();
        if let (false, Some(others)) = (itself, facts) {
            addresses.extend(others.addresses.iter().cloned());
            ports.extend(&others.node_ports);
        }
    }
    (addresses, ports)
}

fn allocate_address(
    registry: &Registry,
    txn: &Txn,
    service: &mut Tree,
    old: Option<&Tree>,
    held: &HashSet<String>,
) -> Result<(), Refusal> {
    let asked = tree::text(service, &["spec", "clusterIP"]).to_owned();
    let address = match asked.as_str() {
        "None" => asked,
        "" => addresses::draw(registry, txn, |address| held.contains(address))
            .ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?,
        wanted => {
            let kept = old.is_some_and(|old| {
                ServiceFacts::of(old)
                    .addresses
                    .iter()
                    .any(|address| address == wanted)
            });
            let checked = match held.contains(wanted) {
                _ if kept => Ok(()),
                true => Err("provided IP is already allocated".to_owned()),
                false => addresses::check(registry, txn, wanted),
            };
            if let Err(why) = checked {
                let text = format!("failed to allocate IP {wanted}: {why}");
                return Err(refuse(
                    service,
                    FieldError::invalid("spec.clusterIPs", &json!([wanted]), text),
                ));
            }
            asked
        }
    };
    let spec = tree::ensure(service, &["spec"]);
    spec.insert("clusterIP", address.clone().into());
    if spec
        .get("clusterIPs")
        .and_then(Tree::as_array)
        .is_none_or(Vec::is_empty)
    {
        spec.insert("clusterIPs", json!([address]));
    }
    // As upstream, a headless service without a selector gets both address families.
    let is_free = address == "None" && spec.get("selector").is_none_or(tree::is_empty);
    if is_free && spec.get("ipFamilyPolicy").is_none_or(tree::is_empty) {
        spec.insert("ipFamilyPolicy", "RequireDualStack".into());
    }
    let is_single = spec
        .get("ipFamilyPolicy")
        .and_then(Tree::as_str)
        .is_none_or(|policy| policy == "SingleStack");
    let families = if is_free && !is_single {
        json!(["IPv4", "IPv6"])
    } else {
        json!(["IPv4"])
    };
    for (member, value) in [
        ("ipFamilies", families),
        ("ipFamilyPolicy", json!("SingleStack")),
    ] {
        if spec.get(member).is_none_or(tree::is_empty) {
            spec.insert(member.to_owned(), value);
        }
    }
    Ok(())
}

fn allocate_ports(
    registry: &Registry,
    service: &mut Tree,
    old: Option<&Tree>,
    mut held: HashSet<i64>,
) -> Result<(), Refusal> {
    if tree::at(service, &["spec", "allocateLoadBalancerNodePorts"]).as_bool() == Some(false)
        && tree::text(service, &["spec", "type"]) == "LoadBalancer"
    {
        return allocate_health_port(registry, service, &held);
    }
    let kept = old
        .map(|old| ServiceFacts::of(old).node_ports)
        .unwrap_or_default();
    let count = tree::list(service, &["spec", "ports"]).len();
    for place in 0..count {
        let asked = tree::int(
            &tree::list(service, &["spec", "ports"])[place],
            &["nodePort"],
        )
        .unwrap_or(0);
        let port = if asked == 0 {
            draw_port(registry, &held)?
        } else {
            asked
        };
        if held.contains(&port) && !kept.contains(&port) {
            let field = format!("spec.ports[{place}].nodePort");
            return Err(refuse(
                service,
                FieldError::invalid(field, &json!(port), "provided port is already allocated"),
            ));
        }
        if !NODE_PORTS.contains(&port) {
            let field = format!("spec.ports[{place}].nodePort");
            let text = format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            );
            return Err(refuse(
                service,
                FieldError::invalid(field, &json!(port), text),
            ));
        }
        held.insert(port);
        if let Some(here) = tree::list_mut(service, &["spec", "ports"]).get_mut(place) {
            tree::put(here, &["nodePort"], port);
        }
    }
    allocate_health_port(registry, service, &held)
}

/// Allocates the port at which nodes report to a load balancer whether they run a pod of the
/// service.
fn allocate_health_port(
    registry: &Registry,
    service: &mut Tree,
    held: &HashSet<i64>,
) -> Result<(), Refusal> {
    let spec = tree::at(service, &["spec"]);
    if needs_health_check(spec)
        && tree::int(spec, &["healthCheckNodePort"]).unwrap_or_default() == 0
    {
        let port = draw_port(registry, held)?;
        tree::put(service, &["spec", "healthCheckNodePort"], port);
    }
    Ok(())
}

fn draw_port(registry: &Registry, held: &HashSet<i64>) -> Result<i64, Refusal> {
    let width = u64::try_from(NODE_PORTS.end() - NODE_PORTS.start() + 1).unwrap_or(0);
    let drawn = (0..RANDOM_ATTEMPTS)
        .map(|_| NODE_PORTS.start() + i64::try_from(registry.entropy().below(width)).unwrap_or(0));
    let free = drawn.chain(NODE_PORTS).find(|port| !held.contains(port));
    free.ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full").into())
}

fn refuse(service: &Tree, fault: FieldError) -> Refusal {
    let kind = kinds::status::GroupResource {
        group: "",
        resource: "Service",
    };
    Status::invalid(kind, object::meta_text(service, "name"), &[fault]).into()
}
