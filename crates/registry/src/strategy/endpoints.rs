//! Defaults and validation of `Endpoints` and `EndpointSlice`.
//!
//! Both reject loopback and link-local addresses. All addresses of a slice have the slice's address
//! type, which is immutable.

use std::collections::BTreeSet;

use kinds::facts::Type;
use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::checks::{
    Faults, NOT_AN_IP, is_ip, port_number, required_one_of, special_address, too_many,
};
use super::meta::{self, invalid_text};
use super::path::Path;
use super::service::PROTOCOLS;
use super::{Strategy, StrategyContext};
use crate::tree::{at, fill, int, list, list_mut, put, text};

pub(crate) struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, object: &mut Tree) {
        for subset in list_mut(object, &["subsets"]) {
            for port in list_mut(subset, &["ports"]) {
                fill(port, &["protocol"], "TCP");
            }
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        const SUBSETS: Path<'static> = Path::root("subsets");
        let mut out = FieldErrors::default();
        for (index, subset) in list(object, &["subsets"]).iter().enumerate() {
            subset_faults(subset, &SUBSETS.index(index), &mut out);
        }
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        _old: &Tree,
    ) -> FieldErrors {
        self.validate_create(context, new)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn subset_faults(subset: &Tree, path: &Path<'_>, out: &mut Faults) {
    if list(subset, &["addresses"]).is_empty() && list(subset, &["notReadyAddresses"]).is_empty() {
        out.push(FieldError::required(
            path,
            "must specify `addresses` or `notReadyAddresses`",
        ));
    }
    for kind in ["addresses", "notReadyAddresses"] {
        let path = path.child(kind);
        for (index, address) in list(subset, &[kind]).iter().enumerate() {
            subset_address(address, &path.index(index), out);
        }
    }
    let ports = list(subset, &["ports"]);
    let path = path.child("ports");
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            out.push(FieldError::required(path.child("name"), ""));
        } else if !name.is_empty() {
            out.extend(
                names::dns_label(name)
                    .into_iter()
                    .map(|fault| invalid_text(path.child("name"), name, fault)),
            );
        }
        port_number(
            int(port, &["port"]).unwrap_or_default(),
            &path.child("port"),
            out,
        );
        required_one_of(port, "protocol", &PROTOCOLS, &path, out);
        app_protocol(port, &path, out);
    }
}

fn subset_address(address: &Tree, path: &Path<'_>, out: &mut Faults) {
    let ip = text(address, &["ip"]);
    if !is_ip(ip) {
        out.push(invalid_text(path.child("ip"), ip, NOT_AN_IP));
    }
    checked_name(address, "hostname", names::dns_label, path, out);
    checked_name(address, "nodeName", names::dns_subdomain, path, out);
    if is_ip(ip) {
        special_address(ip, &path.child("ip"), out);
    }
}

fn checked_name(
    holder: &Tree,
    field: &str,
    rule: fn(&str) -> Vec<String>,
    path: &Path<'_>,
    out: &mut Faults,
) {
    if let Some(value) = at(holder, &[field]).as_str() {
        out.extend(
            rule(value)
                .into_iter()
                .map(|fault| invalid_text(path.child(field), value, fault)),
        );
    }
}

fn app_protocol(port: &Tree, path: &Path<'_>, out: &mut Faults) {
    checked_name(port, "appProtocol", names::qualified_name, path, out);
}

pub(crate) struct EndpointSlice;

const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const ENDPOINTS_LIMIT: usize = 1000;
const ADDRESSES_LIMIT: usize = 100;
const PORTS_LIMIT: usize = 20_000;
const TOPOLOGY_LIMIT: usize = 16;
const HINTS_LIMIT: usize = 8;

impl Strategy for EndpointSlice {
    fn default(&self, object: &mut Tree) {
        for port in list_mut(object, &["ports"]) {
            if at(port, &["name"]).is_null() {
                put(port, &["name"], "");
            }
            fill(port, &["protocol"], "TCP");
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn raises_generation(&self, ty: &'static Type, new: &Tree, old: &Tree) -> bool {
        let parts: [&[&str]; 4] = [
            &["addressType"],
            &["endpoints"],
            &["ports"],
            &["metadata", "labels"],
        ];
        parts
            .iter()
            .any(|part| !super::same_part(ty, part, new, old))
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let kind = text(object, &["addressType"]);
        if kind.is_empty() {
            out.push(FieldError::required("addressType", ""));
        } else if !TYPES.contains(&kind) {
            out.push(FieldError::not_supported(
                "addressType",
                &Tree::from(kind),
                &TYPES,
            ));
        }
        slice_endpoints(object, kind, &mut out);
        slice_ports(object, &mut out);
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = self.validate_create(context, new);
        if text(new, &["addressType"]) != text(old, &["addressType"]) {
            out.push(FieldError::invalid(
                "addressType",
                at(new, &["addressType"]),
                "field is immutable",
            ));
        }
        out
    }

    fn warnings(
        &self,
        _context: &StrategyContext<'_>,
        new: &Tree,
        _old: Option<&Tree>,
    ) -> Vec<String> {
        let is_fqdn = text(new, &["addressType"]) == "FQDN";
        is_fqdn
            .then(|| "addressType: FQDN endpoints are deprecated".to_owned())
            .into_iter()
            .collect()
    }
}

fn slice_endpoints(object: &Tree, kind: &str, out: &mut Faults) {
    const ENDPOINTS: Path<'static> = Path::root("endpoints");
    let endpoints = list(object, &["endpoints"]);
    if endpoints.len() > ENDPOINTS_LIMIT {
        out.push(too_many(&ENDPOINTS, endpoints.len(), ENDPOINTS_LIMIT));
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = ENDPOINTS.index(index);
        let addresses = list(endpoint, &["addresses"]);
        let at_addresses = path.child("addresses");
        if addresses.is_empty() {
            out.push(FieldError::required(
                at_addresses,
                "must contain at least 1 address",
            ));
        } else if addresses.len() > ADDRESSES_LIMIT {
            out.push(too_many(&at_addresses, addresses.len(), ADDRESSES_LIMIT));
        }
        for (index, address) in addresses.iter().filter_map(Tree::as_str).enumerate() {
            slice_address(address, kind, &at_addresses.index(index), out);
        }
        checked_name(endpoint, "nodeName", names::dns_subdomain, &path, out);
        topology(
            at(endpoint, &["deprecatedTopology"]),
            &path.child("deprecatedTopology"),
            out,
        );
        checked_name(endpoint, "hostname", names::dns_label, &path, out);
        hints(at(endpoint, &["hints"]), &path.child("hints"), out);
    }
}

fn slice_address(address: &str, kind: &str, path: &Path<'_>, out: &mut Faults) {
    match kind {
        "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => {
            out.push(invalid_text(path, address, "must be a valid IPv4 address"));
        }
        "IPv6" if address.parse::<std::net::Ipv6Addr>().is_err() => {
            out.push(invalid_text(path, address, "must be a valid IPv6 address"));
        }
        "IPv4" | "IPv6" => special_address(address, path, out),
        "FQDN" => {
            let bare = address.strip_suffix('.').unwrap_or(address);
            let faults = names::dns_subdomain(bare);
            let is_short = faults.is_empty() && bare.split('.').count() < 2;
            out.extend(
                faults
                    .into_iter()
                    .map(|fault| invalid_text(path, bare, fault)),
            );
            if is_short {
                out.push(invalid_text(
                    path,
                    bare,
                    "should be a domain with at least two segments separated by dots",
                ));
            }
        }
        _ => {}
    }
}

fn topology(topology: &Tree, path: &Path<'_>, out: &mut Faults) {
    let count = topology.as_object().map_or(0, kinds::tree::Map::len);
    if count > TOPOLOGY_LIMIT {
        out.push(too_many(path, count, TOPOLOGY_LIMIT));
    }
    meta::labels(topology, path, out);
}

fn hints(hints: &Tree, path: &Path<'_>, out: &mut Faults) {
    type Rule = fn(&str) -> Vec<String>;
    let rules: [(&str, Rule); 2] = [
        ("forZones", names::label_value),
        ("forNodes", names::dns_subdomain),
    ];
    for (field, rule) in rules {
        let path = path.child(field);
        let wanted = list(hints, &[field]);
        if wanted.len() > HINTS_LIMIT {
            out.push(too_many(&path, wanted.len(), HINTS_LIMIT));
            continue;
        }
        let mut seen = BTreeSet::new();
        for (index, hint) in wanted.iter().enumerate() {
            let name = text(hint, &["name"]);
            let path = path.index(index);
            if !seen.insert(name) {
                out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
            }
            out.extend(
                rule(name)
                    .into_iter()
                    .map(|fault| invalid_text(path.child("name"), name, fault)),
            );
        }
    }
}

fn slice_ports(object: &Tree, out: &mut Faults) {
    const PORTS: Path<'static> = Path::root("ports");
    let ports = list(object, &["ports"]);
    if ports.len() > PORTS_LIMIT {
        out.push(too_many(&PORTS, ports.len(), PORTS_LIMIT));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = PORTS.index(index);
        let name = text(port, &["name"]);
        if !name.is_empty() {
            out.extend(
                names::dns_label(name)
                    .into_iter()
                    .map(|fault| invalid_text(path.child("name"), name, fault)),
            );
        }
        if !seen.insert(name) {
            out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
        }
        required_one_of(port, "protocol", &PROTOCOLS, &path, out);
        app_protocol(port, &path, out);
    }
}
