//! Defaults and validation of `Service`.
//!
//! The strategy never allocates cluster IPs or node ports: the registry does that inside the store
//! transaction. Updates keep allocated values that the client omits. A change of `type` clears the
//! fields that the new type does not support.
//!
//! Read next: [`addresses`] for cluster IPs and IP families.

mod addresses;

use std::collections::BTreeSet;

use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::checks::{Faults, port_number, port_number_or_name, required_one_of, special_address};
use super::meta::{self, invalid_text};
use super::path::{Path, SPEC};
use super::{FieldNames, KindFacts, Strategy, StrategyContext, node};
use crate::facts::ServiceFacts;
use crate::tree::{
    at, by_text, carry, ensure, fill, int, is_empty, list, list_mut, put, take, text,
};

pub(crate) use addresses::is_headless;

pub(crate) struct Service;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// Default timeout of `ClientIP` session affinity, in seconds: three hours.
const AFFINITY_SECONDS: i64 = 10_800;
const AFFINITY_SECONDS_LIMIT: i64 = 86_400;
/// Port of the kubelet. A load balancer must not expose it.
const AGENT_PORT: i64 = 10_250;

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_LOAD_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";
const NOT_A_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

impl Strategy for Service {
    fn facts(&self, object: &Tree) -> Option<KindFacts> {
        Some(Box::new(ServiceFacts::of(object)))
    }

    fn default(&self, object: &mut Tree) {
        ensure(object, &["spec"]);
        let spec = &mut object["spec"];
        fill(spec, &["sessionAffinity"], "None");
        match text(spec, &["sessionAffinity"]) {
            "None" => {
                take(spec, &["sessionAffinityConfig"]);
            }
            "ClientIP" => fill(
                spec,
                &["sessionAffinityConfig", "clientIP", "timeoutSeconds"],
                AFFINITY_SECONDS,
            ),
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
        if is_reachable_from_outside(spec) {
            fill(spec, &["externalTrafficPolicy"], "Cluster");
        }
        let kind = text(spec, &["type"]).to_owned();
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
            fill(spec, &["internalTrafficPolicy"], "Cluster");
        }
        if kind == "LoadBalancer" {
            fill(spec, &["allocateLoadBalancerNodePorts"], true);
            for ingress in list_mut(object, &["status", "loadBalancer", "ingress"]) {
                if !text(ingress, &["ip"]).is_empty() {
                    fill(ingress, &["ipMode"], "VIP");
                }
            }
        }
    }

    fn name_faults(&self, name: &str) -> Vec<String> {
        names::dns_label(name)
    }

    fn prepare_create(&self, _context: &StrategyContext<'_>, object: &mut Tree) {
        let single = text(object, &["spec", "clusterIP"]).to_owned();
        if !single.is_empty() && list(object, &["spec", "clusterIPs"]).is_empty() {
            put(object, &["spec", "clusterIPs"], vec![single]);
        }
    }

    fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        if context.subresource != "status" {
            addresses::agree(new, old);
            keep_drawn(new, old);
            drop_what_the_type_lost(new, old);
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        // Upstream allocates addresses before it validates and returns early when allocation fails.
        let mut out = FieldErrors::default();
        addresses::faults(at(object, &["spec"]), &mut out);
        if out.is_empty() {
            service_faults(object, &mut out);
        }
        out
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut out = FieldErrors::default();
        if context.subresource == "status" {
            load_balancer_status(new, &mut out);
            return out;
        }
        let (spec, was) = (at(new, &["spec"]), at(old, &["spec"]));
        addresses::change(spec, was, &mut out);
        load_balancer_class(spec, was, &mut out);
        let port = |spec: &Tree| int(spec, &["healthCheckNodePort"]).unwrap_or_default();
        if needs_health_check(spec) && needs_health_check(was) && port(spec) != port(was) {
            out.push(FieldError::forbidden(
                SPEC.child("healthCheckNodePort"),
                "field is immutable",
            ));
        }
        service_faults(new, &mut out);
        out
    }

    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(&["spec.clusterIP", "spec.type"])
    }

    fn selectable(&self, object: &Tree, field: &str) -> String {
        super::text_at(object, field)
    }

    fn field_refusal(&self, field: &str) -> Option<String> {
        Some(format!("field label not supported: {field}"))
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn is_external_name(spec: &Tree) -> bool {
    text(spec, &["type"]) == "ExternalName"
}

fn has_node_ports(spec: &Tree) -> bool {
    match text(spec, &["type"]) {
        "NodePort" => true,
        "LoadBalancer" => at(spec, &["allocateLoadBalancerNodePorts"]) != &Tree::Bool(false),
        _ => false,
    }
}

/// Returns `true` if the service needs a health check node port, through which a load balancer
/// finds the nodes that run its pods.
pub(crate) fn needs_health_check(spec: &Tree) -> bool {
    text(spec, &["type"]) == "LoadBalancer" && text(spec, &["externalTrafficPolicy"]) == "Local"
}

fn is_reachable_from_outside(spec: &Tree) -> bool {
    let kind = text(spec, &["type"]);
    matches!(kind, "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && !list(spec, &["externalIPs"]).is_empty()
}

/// Copies allocated node ports from the stored service into an update that omits them.
fn keep_drawn(new: &mut Tree, old: &Tree) {
    let was = at(old, &["spec"]);
    if has_node_ports(was) && has_node_ports(at(new, &["spec"])) {
        let mut used: BTreeSet<i64> = list(new, &["spec", "ports"])
            .iter()
            .filter_map(|port| int(port, &["nodePort"]))
            .collect();
        let by_name = by_text(list(was, &["ports"]), "name");
        for port in list_mut(new, &["spec", "ports"]) {
            let before = by_name.get(text(port, &["name"])).copied();
            let Some(number) = before
                .and_then(|before| int(before, &["nodePort"]))
                .filter(|number| *number != 0)
            else {
                continue;
            };
            if int(port, &["nodePort"]).unwrap_or_default() == 0 && used.insert(number) {
                put(port, &["nodePort"], number);
            }
        }
    }
    let drawn = int(at(new, &["spec"]), &["healthCheckNodePort"]).unwrap_or_default();
    if needs_health_check(was) && needs_health_check(at(new, &["spec"])) && drawn == 0 {
        carry(old, new, &["spec", "healthCheckNodePort"]);
    }
}

/// Clears fields that only the old type supports, unless the client changed them in this request.
fn drop_what_the_type_lost(new: &mut Tree, old: &Tree) {
    let was = at(old, &["spec"]);
    let mut lost: Vec<&str> = Vec::new();
    let now = at(new, &["spec"]);
    let is_balancer = |spec: &Tree| text(spec, &["type"]) == "LoadBalancer";
    if !is_external_name(was) && is_external_name(now) {
        if at(now, &["clusterIPs"]) == at(was, &["clusterIPs"])
            && at(now, &["clusterIP"]) == at(was, &["clusterIP"])
        {
            lost.extend(["clusterIP", "clusterIPs"]);
        }
        lost.extend(["ipFamilies", "ipFamilyPolicy"]);
    }
    if needs_health_check(was) && !needs_health_check(now) {
        lost.push("healthCheckNodePort");
    }
    if is_balancer(was) && !is_balancer(now) {
        lost.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if is_reachable_from_outside(was) && !is_reachable_from_outside(now) {
        lost.push("externalTrafficPolicy");
    }
    let numbers = |spec: &Tree| -> Vec<i64> {
        list(spec, &["ports"])
            .iter()
            .map(|port| int(port, &["nodePort"]).unwrap_or_default())
            .collect()
    };
    let drops_ports = has_node_ports(was) && !has_node_ports(now) && numbers(now) == numbers(was);
    lost.retain(|field| at(now, &[field]) == at(was, &[field]));
    for field in lost {
        take(new, &["spec", field]);
    }
    if drops_ports {
        for port in list_mut(new, &["spec", "ports"]) {
            take(port, &["nodePort"]);
        }
    }
}

fn service_faults(object: &Tree, out: &mut Faults) {
    let spec = at(object, &["spec"]);
    let kind = text(spec, &["type"]);
    let annotations = at(object, &["metadata", "annotations"]);
    topology(annotations, out);
    let ports = list(spec, &["ports"]);
    if ports.is_empty() && !is_headless(spec) && !is_external_name(spec) {
        out.push(FieldError::required(SPEC.child("ports"), ""));
    }
    of_type(spec, kind, out);
    let path = SPEC.child("ports");
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        service_port(port, ports.len() > 1, &mut seen, &path.index(index), out);
    }
    meta::labels(at(spec, &["selector"]), &SPEC.child("selector"), out);
    affinity(spec, out);
    addresses::faults(spec, out);
    let external = SPEC.child("externalIPs");
    for (index, address) in list(spec, &["externalIPs"])
        .iter()
        .filter_map(Tree::as_str)
        .enumerate()
    {
        special_address(address, &external.index(index), out);
    }
    required_one_of(spec, "type", &TYPES, &SPEC, out);
    port_conflicts(ports, kind, &path, out);
    source_ranges(spec, annotations, out);
    balancer(spec, kind, out);
    external_policy(spec, out);
    internal_policy(spec, kind, out);
    let distribution = at(spec, &["trafficDistribution"]);
    let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    if distribution
        .as_str()
        .is_some_and(|word| !known.contains(&word))
    {
        out.push(FieldError::not_supported(
            SPEC.child("trafficDistribution"),
            distribution,
            &known,
        ));
    }
}

fn topology(annotations: &Tree, out: &mut Faults) {
    let (mode, hints) = (
        annotations.get(TOPOLOGY).and_then(Tree::as_str),
        annotations.get(HINTS).and_then(Tree::as_str),
    );
    if let (Some(mode), Some(hints)) = (mode, hints)
        && mode != hints
    {
        let path = Path::root("metadata.annotations");
        out.push(invalid_text(
            path.key(TOPOLOGY),
            mode,
            format!("must match annotations[{HINTS}] when both are specified"),
        ));
    }
}

fn of_type(spec: &Tree, kind: &str, out: &mut Faults) {
    match kind {
        "LoadBalancer" | "NodePort" => {
            let path = SPEC.child("ports");
            for (index, port) in list(spec, &["ports"]).iter().enumerate() {
                if kind == "LoadBalancer" && int(port, &["port"]) == Some(AGENT_PORT) {
                    let detail = format!(
                        "may not expose port {AGENT_PORT} externally since it is used by kubelet"
                    );
                    out.push(FieldError::invalid(
                        path.index(index),
                        &Tree::from(AGENT_PORT),
                        detail,
                    ));
                }
            }
            if is_headless(spec) {
                let detail = format!("may not be set to 'None' for {kind} services");
                out.push(invalid_text(
                    SPEC.child("clusterIPs").index(0),
                    "None",
                    detail,
                ));
            }
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !is_empty(at(spec, &[field])) {
                    out.push(FieldError::forbidden(
                        SPEC.child(field),
                        "may not be set for ExternalName services",
                    ));
                }
            }
            let name = text(spec, &["externalName"]);
            let host = name.strip_suffix('.').unwrap_or(name);
            if host.is_empty() {
                out.push(FieldError::required(SPEC.child("externalName"), ""));
            } else {
                out.extend(
                    names::dns_subdomain(host)
                        .into_iter()
                        .map(|fault| invalid_text(SPEC.child("externalName"), host, fault)),
                );
            }
        }
        _ => {}
    }
}

fn service_port<'a>(
    port: &'a Tree,
    needs_name: bool,
    seen: &mut BTreeSet<&'a str>,
    path: &Path<'_>,
    out: &mut Faults,
) {
    let name = text(port, &["name"]);
    if name.is_empty() {
        if needs_name {
            out.push(FieldError::required(path.child("name"), ""));
        }
    } else {
        out.extend(
            names::dns_label(name)
                .into_iter()
                .map(|fault| invalid_text(path.child("name"), name, fault)),
        );
        if !seen.insert(name) {
            out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
        }
    }
    port_number(
        int(port, &["port"]).unwrap_or_default(),
        &path.child("port"),
        out,
    );
    required_one_of(port, "protocol", &PROTOCOLS, path, out);
    port_number_or_name(at(port, &["targetPort"]), &path.child("targetPort"), out);
    if let Some(app) = at(port, &["appProtocol"]).as_str() {
        out.extend(
            names::qualified_name(app)
                .into_iter()
                .map(|fault| invalid_text(path.child("appProtocol"), app, fault)),
        );
    }
}

fn port_conflicts(ports: &[Tree], kind: &str, path: &Path<'_>, out: &mut Faults) {
    let node_port = |port: &Tree| int(port, &["nodePort"]).unwrap_or_default();
    if kind == "ClusterIP" {
        for (index, _) in ports
            .iter()
            .enumerate()
            .filter(|(_, port)| node_port(port) != 0)
        {
            let detail = "may not be used when `type` is 'ClusterIP'";
            out.push(FieldError::forbidden(
                path.index(index).child("nodePort"),
                detail,
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports
        .iter()
        .enumerate()
        .filter(|(_, port)| node_port(port) != 0)
    {
        if !seen.insert((text(port, &["protocol"]), node_port(port))) {
            out.push(FieldError::duplicate(
                path.index(index).child("nodePort"),
                &Tree::from(node_port(port)),
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (protocol, number) = (
            text(port, &["protocol"]),
            int(port, &["port"]).unwrap_or_default(),
        );
        if !seen.insert((protocol, number)) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}",
                Tree::from(protocol)
            );
            let path = path.index(index);
            out.push(FieldError {
                body: format!("Duplicate value: {shown}"),
                ..FieldError::duplicate(path, &Tree::Null)
            });
        }
    }
}

fn affinity(spec: &Tree, out: &mut Faults) {
    const MISSING: &str = "when session affinity type is ClientIP";
    required_one_of(spec, "sessionAffinity", &["ClientIP", "None"], &SPEC, out);
    let path = SPEC.child("sessionAffinityConfig");
    let config = at(spec, &["sessionAffinityConfig"]);
    match text(spec, &["sessionAffinity"]) {
        "ClientIP" if config.is_null() => out.push(FieldError::required(path, MISSING)),
        "ClientIP" => {
            let path = path.child("clientIP");
            let path = path.child("timeoutSeconds");
            match int(config, &["clientIP", "timeoutSeconds"]) {
                None => out.push(FieldError::required(path, MISSING)),
                Some(seconds) if !(1..=AFFINITY_SECONDS_LIMIT).contains(&seconds) => {
                    let detail =
                        format!("must be greater than 0 and less than {AFFINITY_SECONDS_LIMIT}");
                    out.push(FieldError::invalid(path, &Tree::from(seconds), detail));
                }
                Some(_) => {}
            }
        }
        "None" if !config.is_null() => {
            out.push(FieldError::forbidden(
                path,
                "must not be set when session affinity is None",
            ));
        }
        _ => {}
    }
}

/// Validates the source ranges of a load balancer. The field takes precedence over the older
/// annotation.
fn source_ranges(spec: &Tree, annotations: &Tree, out: &mut Faults) {
    let is_balancer = text(spec, &["type"]) == "LoadBalancer";
    let ranges = list(spec, &["loadBalancerSourceRanges"]);
    let at_annotations = Path::root("metadata.annotations");
    if !ranges.is_empty() {
        let path = SPEC.child("LoadBalancerSourceRanges");
        if !is_balancer {
            out.push(FieldError::forbidden(path, ONLY_LOAD_BALANCERS));
        }
        for (index, range) in ranges
            .iter()
            .filter_map(Tree::as_str)
            .map(str::trim)
            .enumerate()
        {
            if !node::is_range(range) {
                out.push(invalid_text(path.index(index), range, NOT_A_RANGE));
            }
        }
    } else if let Some(ranges) = annotations.get(SOURCE_RANGES).and_then(Tree::as_str) {
        let path = at_annotations.key(SOURCE_RANGES);
        if !is_balancer {
            out.push(FieldError::forbidden(path, ONLY_LOAD_BALANCERS));
        }
        for range in ranges
            .split(',')
            .map(str::trim)
            .filter(|_| !ranges.trim().is_empty())
        {
            if !node::is_range(range) {
                out.push(invalid_text(path, range, NOT_A_RANGE));
            }
        }
    }
}

fn balancer(spec: &Tree, kind: &str, out: &mut Faults) {
    let (allocates, class) = (
        at(spec, &["allocateLoadBalancerNodePorts"]),
        at(spec, &["loadBalancerClass"]),
    );
    if kind != "LoadBalancer" {
        for (field, value) in [
            ("allocateLoadBalancerNodePorts", allocates),
            ("loadBalancerClass", class),
        ] {
            if !value.is_null() {
                out.push(FieldError::forbidden(
                    SPEC.child(field),
                    ONLY_LOAD_BALANCERS,
                ));
            }
        }
    } else if let Some(class) = class.as_str() {
        out.extend(
            names::qualified_name(class)
                .into_iter()
                .map(|fault| invalid_text(SPEC.child("loadBalancerClass"), class, fault)),
        );
    }
}

fn load_balancer_class(spec: &Tree, was: &Tree, out: &mut Faults) {
    let stays = [spec, was]
        .iter()
        .all(|spec| text(spec, &["type"]) == "LoadBalancer");
    let class = at(spec, &["loadBalancerClass"]);
    if stays && class != at(was, &["loadBalancerClass"]) {
        out.push(FieldError::invalid(
            SPEC.child("loadBalancerClass"),
            class,
            "may not change once set",
        ));
    }
}

fn external_policy(spec: &Tree, out: &mut Faults) {
    let policy = text(spec, &["externalTrafficPolicy"]);
    if is_reachable_from_outside(spec) {
        required_one_of(
            spec,
            "externalTrafficPolicy",
            &["Cluster", "Local"],
            &SPEC,
            out,
        );
    } else if !policy.is_empty() {
        let detail = "may only be set for externally-accessible services";
        out.push(invalid_text(
            SPEC.child("externalTrafficPolicy"),
            policy,
            detail,
        ));
    }
    let port = int(spec, &["healthCheckNodePort"]).unwrap_or_default();
    if port != 0 {
        let path = SPEC.child("healthCheckNodePort");
        if needs_health_check(spec) {
            port_number(port, &path, out);
        } else {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            out.push(FieldError::invalid(path, &Tree::from(port), detail));
        }
    }
}

fn internal_policy(spec: &Tree, kind: &str, out: &mut Faults) {
    let policy = at(spec, &["internalTrafficPolicy"]);
    if policy.is_null() {
        if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
            out.push(FieldError::required(
                SPEC.child("internalTrafficPolicy"),
                "",
            ));
        }
    } else if !matches!(policy.as_str(), Some("Cluster" | "Local")) {
        out.push(FieldError::not_supported(
            SPEC.child("internalTrafficPolicy"),
            policy,
            &["Cluster", "Local"],
        ));
    }
}

fn load_balancer_status(object: &Tree, out: &mut Faults) {
    let root = Path::root("status.loadBalancer.ingress");
    let all = list(object, &["status", "loadBalancer", "ingress"]);
    if text(object, &["spec", "type"]) != "LoadBalancer" && !all.is_empty() {
        out.push(FieldError::forbidden(
            root,
            "may only be used when `spec.type` is 'LoadBalancer'",
        ));
        return;
    }
    for (index, ingress) in all.iter().enumerate() {
        let path = root.index(index);
        let (address, mode, host) = (
            text(ingress, &["ip"]),
            at(ingress, &["ipMode"]),
            text(ingress, &["hostname"]),
        );
        if !address.is_empty() && !super::checks::is_ip(address) {
            out.push(invalid_text(
                path.child("ip"),
                address,
                super::checks::NOT_AN_IP,
            ));
        }
        match (mode.as_str(), address.is_empty()) {
            (None, false) => out.push(FieldError::required(
                path.child("ipMode"),
                "must be specified when `ip` is set",
            )),
            (Some(_), true) => out.push(FieldError::forbidden(
                path.child("ipMode"),
                "may not be specified when `ip` is not set",
            )),
            (Some("VIP" | "Proxy") | None, _) => {}
            (Some(_), false) => out.push(FieldError::not_supported(
                path.child("ipMode"),
                mode,
                &["Proxy", "VIP"],
            )),
        }
        if !host.is_empty() {
            out.extend(
                names::dns_subdomain(host)
                    .into_iter()
                    .map(|fault| invalid_text(path.child("hostname"), host, fault)),
            );
            if super::checks::is_ip(host) {
                out.push(invalid_text(
                    path.child("hostname"),
                    host,
                    "must be a DNS name, not an IP address",
                ));
            }
        }
    }
}
