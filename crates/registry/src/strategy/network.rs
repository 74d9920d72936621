//! Validation of `Ingress` and `NetworkPolicy`, and the defaults of network policies.
//!
//! Creating an ingress with both the class annotation and the class field is an error. Path types
//! differ: `Exact` and `Prefix` paths must be normalized, `ImplementationSpecific` paths need not
//! be.

use std::net::IpAddr;

use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::checks::{Faults, address_range, port_number, port_number_or_name};
use super::meta::invalid_text;
use super::path::{Path, SPEC};
use super::{Strategy, StrategyContext, selector};
use crate::tree::{at, ensure, fill, int, list, list_mut, put, text};

pub(crate) struct Ingress;

/// The annotation that selected an ingress class before `ingressClassName` existed.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
/// Sequences that `Exact` and `Prefix` paths must not contain, and suffixes that they must not
/// have.
const NOT_INSIDE: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const NOT_LAST: [&str; 2] = ["/..", "/."];

impl Strategy for Ingress {
    fn has_generation(&self) -> bool {
        true
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let annotation = at(object, &["metadata", "annotations", CLASS_ANNOTATION]);
        if !annotation.is_null() && !at(object, &["spec", "ingressClassName"]).is_null() {
            let path = format!("annotations.{CLASS_ANNOTATION}");
            out.push(FieldError::invalid(
                path,
                annotation,
                "can not be set when the class field is also set",
            ));
        }
        ingress_spec(at(object, &["spec"]), &mut out);
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        _old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        if context.subresource.is_empty() {
            ingress_spec(at(new, &["spec"]), &mut out);
        }
        out
    }
}

fn ingress_spec(spec: &Tree, out: &mut Faults) {
    let (rules, backend) = (list(spec, &["rules"]), at(spec, &["defaultBackend"]));
    if rules.is_empty() && backend.is_null() {
        out.push(FieldError::invalid(
            SPEC,
            &Tree::Null,
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if !backend.is_null() {
        ingress_backend(backend, &SPEC.child("defaultBackend"), out);
    }
    let path = SPEC.child("rules");
    for (index, rule) in rules.iter().enumerate() {
        ingress_rule(rule, &path.index(index), out);
    }
    let path = SPEC.child("tls");
    for (index, tls) in list(spec, &["tls"]).iter().enumerate() {
        let path = path.index(index);
        let at_hosts = path.child("hosts");
        for (index, host) in list(tls, &["hosts"])
            .iter()
            .filter_map(Tree::as_str)
            .enumerate()
        {
            host_faults(host, &at_hosts.index(index), out);
        }
        let secret = text(tls, &["secretName"]);
        if !secret.is_empty() {
            out.extend(
                names::dns_subdomain(secret)
                    .into_iter()
                    .map(|fault| invalid_text(path.child("secretName"), secret, fault)),
            );
        }
    }
    if let Some(class) = at(spec, &["ingressClassName"]).as_str() {
        let path = SPEC.child("ingressClassName");
        out.extend(
            names::dns_subdomain(class)
                .into_iter()
                .map(|fault| invalid_text(path, class, fault)),
        );
    }
}

fn host_faults(host: &str, path: &Path<'_>, out: &mut Faults) {
    let rule = if host.contains('*') {
        names::wildcard_dns_subdomain
    } else {
        names::dns_subdomain
    };
    out.extend(
        rule(host)
            .into_iter()
            .map(|fault| invalid_text(path, host, fault)),
    );
}

fn ingress_rule(rule: &Tree, path: &Path<'_>, out: &mut Faults) {
    let host = text(rule, &["host"]);
    if !host.is_empty() {
        let at_host = path.child("host");
        if host.parse::<IpAddr>().is_ok() {
            out.push(invalid_text(
                at_host,
                host,
                "must be a DNS name, not an IP address",
            ));
        }
        host_faults(host, &at_host, out);
    }
    let http = at(rule, &["http"]);
    if http.is_null() {
        return;
    }
    let at_http = path.child("http");
    let at_paths = at_http.child("paths");
    let paths = list(http, &["paths"]);
    if paths.is_empty() {
        out.push(FieldError::required(at_paths, ""));
    }
    for (index, path) in paths.iter().enumerate() {
        ingress_path(path, &at_paths.index(index), out);
    }
}

fn ingress_path(path: &Tree, place: &Path<'_>, out: &mut Faults) {
    let kind = at(path, &["pathType"]).as_str();
    let value = text(path, &["path"]);
    let at_path = place.child("path");
    let is_relative = !value.starts_with('/');
    match kind {
        None => {
            out.push(FieldError::required(
                place.child("pathType"),
                "pathType must be specified",
            ));
            return;
        }
        Some("Exact" | "Prefix") => {
            if is_relative {
                out.push(invalid_text(at_path, value, "must be an absolute path"));
            }
            for part in NOT_INSIDE.into_iter().filter(|part| value.contains(part)) {
                out.push(invalid_text(
                    at_path,
                    value,
                    format!("must not contain '{part}'"),
                ));
            }
            for end in NOT_LAST.into_iter().filter(|end| value.ends_with(end)) {
                out.push(invalid_text(
                    at_path,
                    value,
                    format!("cannot end with '{end}'"),
                ));
            }
        }
        Some("ImplementationSpecific") => {
            if !value.is_empty() && is_relative {
                out.push(invalid_text(at_path, value, "must be an absolute path"));
            }
        }
        Some(other) => out.push(FieldError::not_supported(
            place.child("pathType"),
            &Tree::from(other),
            &PATH_TYPES,
        )),
    }
    ingress_backend(at(path, &["backend"]), &place.child("backend"), out);
}

fn ingress_backend(backend: &Tree, path: &Path<'_>, out: &mut Faults) {
    let (service, resource) = (at(backend, &["service"]), at(backend, &["resource"]));
    match (service.is_null(), resource.is_null()) {
        (true, true) => out.push(invalid_text(
            path,
            "",
            "resource or service backend is required",
        )),
        (false, false) => out.push(invalid_text(
            path,
            "",
            "cannot set both resource and service backends",
        )),
        (true, false) => {
            let path = path.child("resource");
            for member in ["kind", "name"] {
                if text(resource, &[member]).is_empty() {
                    out.push(FieldError::required(path.child(member), ""));
                }
            }
        }
        (false, true) => service_backend(service, path, out),
    }
}

fn service_backend(service: &Tree, path: &Path<'_>, out: &mut Faults) {
    let at_service = path.child("service");
    let name = text(service, &["name"]);
    if name.is_empty() {
        out.push(FieldError::required(at_service.child("name"), ""));
    } else {
        out.extend(
            names::dns_label(name)
                .into_iter()
                .map(|fault| invalid_text(at_service.child("name"), name, fault)),
        );
    }
    let (name, number) = (
        text(service, &["port", "name"]),
        int(service, &["port", "number"]).unwrap_or_default(),
    );
    let at_port = at_service.child("port");
    match (name.is_empty(), number) {
        (true, 0) => out.push(FieldError::required(
            path,
            "port name or number is required",
        )),
        (true, number) => port_number(number, &at_port.child("number"), out),
        (false, 0) => out.extend(
            names::port_name(name)
                .into_iter()
                .map(|fault| invalid_text(at_port.child("name"), name, fault)),
        ),
        (false, _) => out.push(invalid_text(
            path,
            "",
            "cannot set both port name & port number",
        )),
    }
}

pub(crate) struct NetworkPolicy;

const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];
const POLICY_TYPES: [&str; 2] = ["Egress", "Ingress"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

impl Strategy for NetworkPolicy {
    fn default(&self, object: &mut Tree) {
        ensure(object, &["spec", "podSelector"]);
        if list(object, &["spec", "policyTypes"]).is_empty() {
            let egress = !list(object, &["spec", "egress"]).is_empty();
            let types = if egress {
                vec!["Ingress", "Egress"]
            } else {
                vec!["Ingress"]
            };
            put(object, &["spec", "policyTypes"], types);
        }
        for (direction, _) in DIRECTIONS {
            for rule in list_mut(object, &["spec", direction]) {
                for port in list_mut(rule, &["ports"]) {
                    fill(port, &["protocol"], "TCP");
                }
            }
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        let spec = at(object, &["spec"]);
        selector::faults(
            at(spec, &["podSelector"]),
            &SPEC.child("podSelector"),
            false,
            &mut out,
        );
        for (direction, peers) in DIRECTIONS {
            let path = SPEC.child(direction);
            for (index, rule) in list(spec, &[direction]).iter().enumerate() {
                policy_rule(rule, peers, &path.index(index), &mut out);
            }
        }
        let (path, types) = (SPEC.child("policyTypes"), list(spec, &["policyTypes"]));
        if types.len() > POLICY_TYPES.len() {
            out.push(FieldError::invalid(
                path,
                at(spec, &["policyTypes"]),
                "may not specify more than two policyTypes",
            ));
            return out;
        }
        for (index, kind) in types.iter().enumerate() {
            if !POLICY_TYPES.contains(&kind.as_str().unwrap_or_default()) {
                out.push(FieldError::not_supported(
                    path.index(index),
                    kind,
                    &POLICY_TYPES,
                ));
            }
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
}

fn policy_rule(rule: &Tree, peers: &str, path: &Path<'_>, out: &mut Faults) {
    let at_ports = path.child("ports");
    for (index, port) in list(rule, &["ports"]).iter().enumerate() {
        policy_port(port, &at_ports.index(index), out);
    }
    let at_peers = path.child(peers);
    for (index, peer) in list(rule, &[peers]).iter().enumerate() {
        policy_peer(peer, &at_peers.index(index), out);
    }
}

fn policy_port(port: &Tree, path: &Path<'_>, out: &mut Faults) {
    let protocol = text(port, &["protocol"]);
    if !protocol.is_empty() && !PROTOCOLS.contains(&protocol) {
        out.push(FieldError::not_supported(
            path.child("protocol"),
            &Tree::from(protocol),
            &PROTOCOLS,
        ));
    }
    let (begin, end) = (at(port, &["port"]), at(port, &["endPort"]));
    let at_end = path.child("endPort");
    if let (Some(first), Some(last)) = (begin.as_i64(), end.as_i64()) {
        port_number(first, &path.child("port"), out);
        if last < first {
            out.push(FieldError::invalid(
                at_end,
                end,
                "must be greater than or equal to `port`",
            ));
        }
        port_number(last, &at_end, out);
        return;
    }
    if !end.is_null() {
        let when = if begin.is_null() {
            "is not specified"
        } else {
            "is non-numeric"
        };
        out.push(FieldError::invalid(
            at_end,
            end,
            format!("may not be specified when `port` {when}"),
        ));
    }
    if !begin.is_null() {
        port_number_or_name(begin, &path.child("port"), out);
    }
}

fn policy_peer(peer: &Tree, path: &Path<'_>, out: &mut Faults) {
    let selectors = ["podSelector", "namespaceSelector"].map(|name| (name, at(peer, &[name])));
    for (name, selector) in selectors.iter().filter(|(_, selector)| !selector.is_null()) {
        selector::faults(selector, &path.child(name), false, out);
    }
    let block = at(peer, &["ipBlock"]);
    if !block.is_null() {
        address_block(block, &path.child("ipBlock"), out);
    }
    let selects = selectors.iter().any(|(_, selector)| !selector.is_null());
    match (selects, block.is_null()) {
        (false, true) => out.push(FieldError::required(path, "must specify a peer")),
        (true, false) => out.push(FieldError::forbidden(
            path,
            "may not specify both ipBlock and another peer",
        )),
        _ => {}
    }
}

fn address_block(block: &Tree, path: &Path<'_>, out: &mut Faults) {
    let whole = text(block, &["cidr"]);
    if whole.is_empty() {
        out.push(FieldError::required(path.child("cidr"), ""));
        return;
    }
    if let Some(fault) = address_range(whole) {
        out.push(invalid_text(path.child("cidr"), whole, fault));
        return;
    }
    let path = path.child("except");
    for (index, part) in list(block, &["except"])
        .iter()
        .filter_map(Tree::as_str)
        .enumerate()
    {
        if let Some(fault) = address_range(part) {
            out.push(invalid_text(path.index(index), part, fault));
        } else if !is_within(part, whole) {
            out.push(invalid_text(
                path.index(index),
                part,
                "must be a strict subset of `cidr`",
            ));
        }
    }
}

/// Returns `true` if the CIDR `part` is a strict subset of the CIDR `whole`.
fn is_within(part: &str, whole: &str) -> bool {
    let (Some((part, part_length)), Some((whole, length))) = (range(part), range(whole)) else {
        return false;
    };
    let shift = 128 - length;
    part_length > length && (shift == 128 || part >> shift == whole >> shift)
}

/// Parses a CIDR into its address bits and prefix length. IPv4 is mapped into the IPv6 space, so
/// that both families compare as 128-bit numbers.
fn range(text: &str) -> Option<(u128, u32)> {
    let (address, length) = text.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    Some(match address.parse().ok()? {
        IpAddr::V4(ip) => (ip.to_ipv6_mapped().to_bits(), 96 + length),
        IpAddr::V6(ip) => (ip.to_bits(), length),
    })
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;
    use crate::strategy::Gates;

    fn faults(strategy: &dyn Strategy, spec: &Tree) -> Vec<String> {
        let context = StrategyContext {
            subresource: "",
            gates: Gates::default(),
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        strategy
            .validate_create(&context, &json!({"spec": spec}))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn ingress_rules_and_backends_are_validated() {
        let check =
            |spec: Tree, expected: &[&str]| assert_eq!(faults(&Ingress, &spec), expected, "{spec}");
        let service = || json!({"service": {"name": "web", "port": {"number": 80}}});
        let rule = |path: Tree| json!({"rules": [{"host": "a.b", "http": {"paths": [path]}}]});
        check(
            json!({}),
            &["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
        );
        check(json!({"defaultBackend": service()}), &[]);
        check(
            json!({"defaultBackend": {}}),
            &["spec.defaultBackend: Invalid value: \"\": resource or service backend is required"],
        );
        check(
            rule(json!({"path": "/", "pathType": "Prefix", "backend": service()})),
            &[],
        );
        let place = "spec.rules[0].http.paths[0]";
        check(
            rule(json!({"path": "/", "backend": service()})),
            &[&format!(
                "{place}.pathType: Required value: pathType must be specified"
            )],
        );
        check(
            rule(json!({"path": "a//b/.", "pathType": "Exact",
                    "backend": {"service": {"name": "web"}}})),
            &[
                &format!("{place}.path: Invalid value: \"a//b/.\": must be an absolute path"),
                &format!("{place}.path: Invalid value: \"a//b/.\": must not contain '//'"),
                &format!("{place}.path: Invalid value: \"a//b/.\": cannot end with '/.'"),
                &format!("{place}.backend: Required value: port name or number is required"),
            ],
        );
        let host = json!({"rules": [{"host": "10.0.0.1"}]});
        check(
            host,
            &[
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            ],
        );
    }

    #[test]
    fn network_policy_peers_and_ports_are_validated() {
        let check = |rule: Tree, expected: &[&str]| {
            let spec = json!({"podSelector": {}, "ingress": [rule], "policyTypes": ["Ingress"]});
            assert_eq!(faults(&NetworkPolicy, &spec), expected, "{spec}");
        };
        check(
            json!({"from": [{"podSelector": {}}], "ports": [{"port": "http", "protocol": "TCP"}]}),
            &[],
        );
        check(
            json!({"from": [{}]}),
            &["spec.ingress[0].from[0]: Required value: must specify a peer"],
        );
        let both = json!({"from": [{"podSelector": {},
            "ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]});
        check(
            both,
            &["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"],
        );
        let outside =
            json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]});
        let fault = "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`";
        check(outside, &[fault]);
        let ports = json!({"ports": [{"port": 90, "endPort": 80}, {"port": "a", "endPort": 80},
            {"endPort": 80}]});
        check(
            ports,
            &[
                "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`",
                "spec.ingress[0].ports[1].endPort: Invalid value: 80: may not be specified when `port` is non-numeric",
                "spec.ingress[0].ports[2].endPort: Invalid value: 80: may not be specified when `port` is not specified",
            ],
        );
    }
}
