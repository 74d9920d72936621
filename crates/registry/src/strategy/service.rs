//! `Service`. Addresses and node ports are drawn by the machinery, inside the commit.

use std::collections::BTreeSet;

use kinds::facts::Type;
use kinds::{Tree, names, status::FieldError};

use super::checks::{Faults, NOT_AN_IP, is_ip, one_of_if_set, port_number, port_number_or_name, required_one_of};
use super::meta::{self, invalid_text};
use super::path::Path;
use super::workload::SPEC;
use super::{Context, Strategy};
use crate::tree::{at, ensure, entries, fill, int, list, list_mut, put, take, text};

pub(crate) struct Service;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// How long an address keeps its pod when nothing else is said: three hours.
const AFFINITY_SECONDS: i64 = 10_800;
const AFFINITY_SECONDS_LIMIT: i64 = 86_400;

impl Strategy for Service {
    fn default(&self, object: &mut Tree) {
        ensure(object, &["spec"]);
        let spec = &mut object["spec"];
        fill(spec, &["sessionAffinity"], "None");
        match text(spec, &["sessionAffinity"]) {
            "None" => {
                take(spec, &["sessionAffinityConfig"]);
            }
            "ClientIP" => fill(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"], AFFINITY_SECONDS),
            _ => {}
        }
        fill(spec, &["type"], "ClusterIP");
        for port in list_mut(spec, &["ports"]) {
            fill(port, &["protocol"], "TCP");
            let target = at(port, &["targetPort"]);
            if target.is_null() || target.as_i64() == Some(0) || target.as_str() == Some("") {
                let number = at(port, &["port"]).clone();
                put(port, &["targetPort"], number);
            }
        }
        let kind = text(spec, &["type"]).to_owned();
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            fill(spec, &["externalTrafficPolicy"], "Cluster");
        }
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
            fill(spec, &["internalTrafficPolicy"], "Cluster");
        }
        if kind == "LoadBalancer" {
            fill(spec, &["allocateLoadBalancerNodePorts"], true);
        }
        let single = text(spec, &["clusterIP"]).to_owned();
        if !single.is_empty() && list(spec, &["clusterIPs"]).is_empty() {
            put(spec, &["clusterIPs"], vec![single]);
        }
    }

    fn name_faults(&self, name: &str) -> Vec<String> {
        names::dns_label(name)
    }

    fn validate_create(&self, _context: &Context<'_>, object: &Tree) -> Vec<FieldError> {
        let mut out = Vec::new();
        service_spec(at(object, &["spec"]), &mut out);
        out
    }

    fn validate_update(&self, context: &Context<'_>, new: &Tree, old: &Tree) -> Vec<FieldError> {
        let mut out = Vec::new();
        if context.subresource == "status" {
            return out;
        }
        let (spec, was) = (at(new, &["spec"]), at(old, &["spec"]));
        let external = [spec, was].iter().any(|spec| text(spec, &["type"]) == "ExternalName");
        let (now, before) = (text(spec, &["clusterIP"]), text(was, &["clusterIP"]));
        if !external && !before.is_empty() && !now.is_empty() && now != before {
            out.push(invalid_text(SPEC.child("clusterIPs").index(0), now, "may not change once set"));
        }
        service_spec(spec, &mut out);
        out
    }

    fn fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn selectable(&self, object: &Tree, field: &str) -> String {
        super::text_at(object, field)
    }

    fn field_refusal(&self, field: &str) -> String {
        format!("field label not supported: {field}")
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn service_spec(spec: &Tree, out: &mut Faults) {
    let kind = text(spec, &["type"]);
    let is_headless = text(spec, &["clusterIP"]) == "None";
    let ports = list(spec, &["ports"]);
    if ports.is_empty() && !is_headless && kind != "ExternalName" {
        out.push(FieldError::required(SPEC.child("ports"), ""));
    }
    of_type(spec, kind, is_headless, out);
    let path = SPEC.child("ports");
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        service_port(port, ports.len() > 1, &mut seen, &path.index(index), out);
    }
    meta::labels(at(spec, &["selector"]), &SPEC.child("selector"), out);
    affinity(spec, out);
    addresses(spec, out);
    required_one_of(spec, "type", &TYPES, &SPEC, out);
    duplicate_ports(ports, &path, out);
    if kind == "ClusterIP" {
        for (index, port) in ports.iter().enumerate() {
            if int(port, &["nodePort"]).is_some_and(|number| number != 0) {
                let detail = "may not be used when `type` is 'ClusterIP'";
                out.push(FieldError::forbidden(path.index(index).child("nodePort"), detail));
            }
        }
    }
    one_of_if_set(spec, "externalTrafficPolicy", &["Cluster", "Local"], &SPEC, out);
    one_of_if_set(spec, "internalTrafficPolicy", &["Cluster", "Local"], &SPEC, out);
    if !matches!(kind, "NodePort" | "LoadBalancer") && !text(spec, &["externalTrafficPolicy"]).is_empty() {
        let detail = "may only be set for externally-accessible services";
        out.push(invalid_text(SPEC.child("externalTrafficPolicy"), text(spec, &["externalTrafficPolicy"]), detail));
    }
}

fn of_type(spec: &Tree, kind: &str, is_headless: bool, out: &mut Faults) {
    match kind {
        "LoadBalancer" | "NodePort" if is_headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            out.push(invalid_text(SPEC.child("clusterIPs").index(0), "None", detail));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !crate::tree::is_empty(at(spec, &[field])) {
                    out.push(FieldError::forbidden(SPEC.child(field), "may not be set for ExternalName services"));
                }
            }
            let name = text(spec, &["externalName"]);
            let host = name.strip_suffix('.').unwrap_or(name);
            if host.is_empty() {
                out.push(FieldError::required(SPEC.child("externalName"), ""));
            } else {
                out.extend(names::dns_subdomain(host).into_iter().map(|fault| invalid_text(SPEC.child("externalName"), host, fault)));
            }
        }
        _ => {}
    }
}

fn service_port<'a>(port: &'a Tree, needs_name: bool, seen: &mut BTreeSet<&'a str>, path: &Path<'_>, out: &mut Faults) {
    let name = text(port, &["name"]);
    if name.is_empty() {
        if needs_name {
            out.push(FieldError::required(path.child("name"), ""));
        }
    } else {
        out.extend(names::dns_label(name).into_iter().map(|fault| invalid_text(path.child("name"), name, fault)));
        if !seen.insert(name) {
            out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
        }
    }
    port_number(int(port, &["port"]).unwrap_or_default(), &path.child("port"), out);
    required_one_of(port, "protocol", &PROTOCOLS, path, out);
    port_number_or_name(at(port, &["targetPort"]), &path.child("targetPort"), out);
    let app = text(port, &["appProtocol"]);
    if !app.is_empty() {
        out.extend(names::qualified_name(app).into_iter().map(|fault| invalid_text(path.child("appProtocol"), app, fault)));
    }
}

fn duplicate_ports(ports: &[Tree], path: &Path<'_>, out: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (protocol, number) = (text(port, &["protocol"]), int(port, &["port"]).unwrap_or_default());
        if !seen.insert((protocol, number)) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}",
                Tree::from(protocol)
            );
            let path = path.index(index);
            out.push(FieldError { body: format!("Duplicate value: {shown}"), ..FieldError::duplicate(path, &Tree::Null) });
        }
    }
}

fn affinity(spec: &Tree, out: &mut Faults) {
    required_one_of(spec, "sessionAffinity", &["ClientIP", "None"], &SPEC, out);
    let path = SPEC.child("sessionAffinityConfig");
    let config = at(spec, &["sessionAffinityConfig"]);
    match text(spec, &["sessionAffinity"]) {
        "ClientIP" => {
            let path = path.child("clientIP");
            let path = path.child("timeoutSeconds");
            match int(config, &["clientIP", "timeoutSeconds"]) {
                None => out.push(FieldError::required(path, "")),
                Some(seconds) if !(1..=AFFINITY_SECONDS_LIMIT).contains(&seconds) => {
                    let detail = format!("must be greater than 0 and less than {AFFINITY_SECONDS_LIMIT}");
                    out.push(FieldError::invalid(path, &Tree::from(seconds), detail));
                }
                Some(_) => {}
            }
        }
        "None" if !config.is_null() => {
            out.push(FieldError::forbidden(path, "must not be set when session affinity is 'None'"));
        }
        _ => {}
    }
}

fn addresses(spec: &Tree, out: &mut Faults) {
    let path = SPEC.child("clusterIPs");
    let all = list(spec, &["clusterIPs"]);
    let single = text(spec, &["clusterIP"]);
    if let Some(first) = all.first().and_then(Tree::as_str)
        && first != single
    {
        out.push(FieldError::invalid(path, at(spec, &["clusterIPs"]), "first value must match `clusterIP`"));
    }
    if all.len() > 2 {
        out.push(FieldError::invalid(path, at(spec, &["clusterIPs"]), "may only hold up to 2 values"));
    }
    for (index, address) in all.iter().filter_map(Tree::as_str).enumerate() {
        if address == "None" && all.len() > 1 {
            out.push(FieldError::invalid(path, at(spec, &["clusterIPs"]), "'None' must be the first and only value"));
        } else if address != "None" && !is_ip(address) {
            out.push(invalid_text(path.index(index), address, NOT_AN_IP));
        }
    }
    let families = SPEC.child("ipFamilies");
    for (index, family) in list(spec, &["ipFamilies"]).iter().enumerate() {
        if !matches!(family.as_str(), Some("IPv4" | "IPv6")) {
            out.push(FieldError::not_supported(families.index(index), family, &["IPv4", "IPv6"]));
        }
    }
    one_of_if_set(spec, "ipFamilyPolicy", &["PreferDualStack", "RequireDualStack", "SingleStack"], &SPEC, out);
    let external = SPEC.child("externalIPs");
    for (index, address) in list(spec, &["externalIPs"]).iter().filter_map(Tree::as_str).enumerate() {
        if !is_ip(address) {
            out.push(invalid_text(external.index(index), address, NOT_AN_IP));
        }
    }
}

pub(crate) struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, object: &mut Tree) {
        for subset in list_mut(object, &["subsets"]) {
            for port in list_mut(subset, &["ports"]) {
                fill(port, &["protocol"], "TCP");
            }
        }
    }

    fn validate_create(&self, _context: &Context<'_>, object: &Tree) -> Vec<FieldError> {
        const SUBSETS: Path<'static> = Path::root("subsets");
        let mut out = Vec::new();
        for (index, subset) in list(object, &["subsets"]).iter().enumerate() {
            let path = SUBSETS.index(index);
            subset_faults(subset, &path, &mut out);
        }
        out
    }

    fn validate_update(&self, context: &Context<'_>, new: &Tree, _old: &Tree) -> Vec<FieldError> {
        self.validate_create(context, new)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn subset_faults(subset: &Tree, path: &Path<'_>, out: &mut Faults) {
    if list(subset, &["addresses"]).is_empty() && list(subset, &["notReadyAddresses"]).is_empty() {
        out.push(FieldError::required(path, "must specify `addresses` or `notReadyAddresses`"));
    }
    for kind in ["addresses", "notReadyAddresses"] {
        let path = path.child(kind);
        for (index, address) in list(subset, &[kind]).iter().enumerate() {
            if !is_ip(text(address, &["ip"])) {
                out.push(invalid_text(path.index(index).child("ip"), text(address, &["ip"]), NOT_AN_IP));
            }
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
            out.extend(names::dns_label(name).into_iter().map(|fault| invalid_text(path.child("name"), name, fault)));
        }
        port_number(int(port, &["port"]).unwrap_or_default(), &path.child("port"), out);
        required_one_of(port, "protocol", &PROTOCOLS, &path, out);
    }
}

pub(crate) struct EndpointSlice;

const ENDPOINTS_LIMIT: usize = 1000;
const ADDRESSES_LIMIT: usize = 100;

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
        let parts: [&[&str]; 4] = [&["addressType"], &["endpoints"], &["ports"], &["metadata", "labels"]];
        parts.iter().any(|part| !super::same_part(ty, part, new, old))
    }

    fn validate_create(&self, _context: &Context<'_>, object: &Tree) -> Vec<FieldError> {
        let mut out = Vec::new();
        let kind = text(object, &["addressType"]);
        if kind.is_empty() {
            out.push(FieldError::required("addressType", ""));
        } else if !matches!(kind, "FQDN" | "IPv4" | "IPv6") {
            out.push(FieldError::not_supported("addressType", &Tree::from(kind), &["FQDN", "IPv4", "IPv6"]));
        }
        slice_endpoints(object, kind, &mut out);
        slice_ports(object, &mut out);
        out
    }

    fn validate_update(&self, context: &Context<'_>, new: &Tree, old: &Tree) -> Vec<FieldError> {
        let mut out = self.validate_create(context, new);
        if text(new, &["addressType"]) != text(old, &["addressType"]) {
            out.push(FieldError::invalid("addressType", at(new, &["addressType"]), "field is immutable"));
        }
        out
    }
}

fn slice_endpoints(object: &Tree, kind: &str, out: &mut Faults) {
    const ENDPOINTS: Path<'static> = Path::root("endpoints");
    let endpoints = list(object, &["endpoints"]);
    if endpoints.len() > ENDPOINTS_LIMIT {
        out.push(super::checks::too_many(&ENDPOINTS, endpoints.len(), ENDPOINTS_LIMIT));
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = ENDPOINTS.index(index);
        let addresses = list(endpoint, &["addresses"]);
        let at_addresses = path.child("addresses");
        if addresses.is_empty() {
            out.push(FieldError::required(at_addresses, "must contain at least 1 address"));
        } else if addresses.len() > ADDRESSES_LIMIT {
            out.push(super::checks::too_many(&at_addresses, addresses.len(), ADDRESSES_LIMIT));
        }
        for (index, address) in addresses.iter().filter_map(Tree::as_str).enumerate() {
            match kind {
                "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => {
                    out.push(invalid_text(at_addresses.index(index), address, "must be a valid IPv4 address"));
                }
                "IPv6" if address.parse::<std::net::Ipv6Addr>().is_err() => {
                    out.push(invalid_text(at_addresses.index(index), address, "must be a valid IPv6 address"));
                }
                "FQDN" => {
                    out.extend(
                        names::dns_subdomain(address).into_iter().map(|fault| invalid_text(at_addresses.index(index), address, fault)),
                    );
                }
                _ => {}
            }
        }
        for (field, rule) in
            [("nodeName", names::dns_subdomain as fn(&str) -> Vec<String>), ("hostname", names::dns_label as fn(&str) -> Vec<String>)]
        {
            let value = text(endpoint, &[field]);
            if !value.is_empty() {
                out.extend(rule(value).into_iter().map(|fault| invalid_text(path.child(field), value, fault)));
            }
        }
        if entries(endpoint, &["deprecatedTopology"]).iter().any(|(key, _)| *key == "kubernetes.io/hostname") {
            out.push(FieldError::forbidden(path.child("deprecatedTopology").key("kubernetes.io/hostname"), "set nodeName instead"));
        }
    }
}

fn slice_ports(object: &Tree, out: &mut Faults) {
    const PORTS: Path<'static> = Path::root("ports");
    let mut seen = BTreeSet::new();
    for (index, port) in list(object, &["ports"]).iter().enumerate() {
        let path = PORTS.index(index);
        let name = text(port, &["name"]);
        if !name.is_empty() {
            out.extend(names::port_name(name).into_iter().map(|fault| invalid_text(path.child("name"), name, fault)));
        }
        if !seen.insert(name) {
            out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
        }
        required_one_of(port, "protocol", &PROTOCOLS, &path, out);
        if let Some(number) = int(port, &["port"]) {
            port_number(number, &path.child("port"), out);
        }
    }
}
