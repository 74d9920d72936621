//! Faults of a pod's specification, in the order in which the API reports them.

use kinds::{Tree, status::FieldError};

use super::{container, volume};
use crate::strategy::checks::{Faults, NOT_AN_IP, is_ip, one_of, one_of_if_set};
use crate::strategy::meta::{self, invalid_text};
use crate::strategy::path::Path;
use crate::strategy::selector;
use crate::tree::{at, flag, int, list, text};
use kinds::names;

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Faults of a pod template: labels, annotations and specification.
pub(crate) fn template_faults(template: &Tree, path: &Path<'_>, out: &mut Faults) {
    meta::labels(at(template, &["metadata", "labels"]), &path.child("labels"), out);
    meta::annotations(at(template, &["metadata", "annotations"]), &path.child("annotations"), out);
    spec_faults(at(template, &["spec"]), &path.child("spec"), out);
    if !list(template, &["spec", "ephemeralContainers"]).is_empty() {
        out.push(FieldError::forbidden(
            path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
}

/// Faults of a pod's specification.
pub(crate) fn spec_faults(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let volumes = volume::volumes(spec, path, out);
    container::containers(spec, &volumes, path, out);
    container::init_containers(spec, &volumes, path, out);
    container::check_ephemeral(spec, path, out);
    host_network(spec, path, out);
    if text(spec, &["restartPolicy"]).is_empty() {
        out.push(FieldError::required(path.child("restartPolicy"), ""));
    } else {
        one_of(spec, "restartPolicy", &RESTART_POLICIES, path, out);
    }
    one_of(spec, "dnsPolicy", &DNS_POLICIES, path, out);
    meta::labels(at(spec, &["nodeSelector"]), &path.child("nodeSelector"), out);
    security(spec, &path.child("securityContext"), out);
    let secrets = path.child("imagePullSecrets");
    for (index, secret) in list(spec, &["imagePullSecrets"]).iter().enumerate() {
        if text(secret, &["name"]).is_empty() {
            out.push(FieldError::required(secrets.index(index).child("name"), ""));
        }
    }
    affinity(spec, &path.child("affinity"), out);
    dns_config(spec, path, out);
    for (field, member) in [("readinessGates", "conditionType"), ("schedulingGates", "name")] {
        gates(spec, field, member, &path.child(field), out);
    }
    spread(spec, &path.child("topologySpreadConstraints"), out);
    names_and_figures(spec, path, out);
    toleration_faults(list(spec, &["tolerations"]), &path.child("tolerations"), out);
    host_aliases(spec, &path.child("hostAliases"), out);
    for (field, rule) in [
        ("priorityClassName", names::dns_subdomain as fn(&str) -> Vec<String>),
        ("runtimeClassName", names::dns_subdomain as fn(&str) -> _),
    ] {
        check_name(spec, field, rule, path, out);
    }
    one_of_if_set(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], path, out);
    container::check_resource_list(at(spec, &["overhead"]), &path.child("overhead"), out);
    if at(spec, &["os"]).is_object() {
        one_of(at(spec, &["os"]), "name", &["linux", "windows"], &path.child("os"), out);
    }
}

fn check_name(spec: &Tree, field: &str, rule: fn(&str) -> Vec<String>, path: &Path<'_>, out: &mut Faults) {
    let value = text(spec, &[field]);
    if !value.is_empty() {
        out.extend(rule(value).into_iter().map(|fault| invalid_text(path.child(field), value, fault)));
    }
}

fn names_and_figures(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    check_name(spec, "serviceAccountName", names::dns_subdomain, path, out);
    check_name(spec, "nodeName", names::dns_subdomain, path, out);
    let deadline = at(spec, &["activeDeadlineSeconds"]);
    if deadline.as_i64().is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds)) {
        out.push(FieldError::invalid(path.child("activeDeadlineSeconds"), deadline, "must be between 1 and 2147483647, inclusive"));
    }
    check_name(spec, "hostname", names::dns_label, path, out);
    check_name(spec, "subdomain", names::dns_label, path, out);
}

/// On the host's network a port of a container is a port of the host.
fn host_network(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    if !flag(spec, &["hostNetwork"]) {
        return;
    }
    let containers = path.child("containers");
    for (index, container) in list(spec, &["containers"]).iter().enumerate() {
        let path = containers.index(index);
        let path = path.child("ports");
        for (index, port) in list(container, &["ports"]).iter().enumerate() {
            let (inner, outer) = (int(port, &["containerPort"]), int(port, &["hostPort"]));
            if outer.is_some_and(|outer| outer != 0) && outer != inner {
                let detail = "must match `hostPort` when `hostNetwork` is true";
                out.push(FieldError::invalid(path.index(index).child("containerPort"), at(port, &["containerPort"]), detail));
            }
        }
    }
}

fn security(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let context = at(spec, &["securityContext"]);
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        let id = at(context, &[field]);
        if id.as_i64().is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
            out.push(FieldError::invalid(path.child(field), id, "must be between 0 and 2147483647, inclusive"));
        }
    }
    one_of_if_set(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], path, out);
    if flag(spec, &["shareProcessNamespace"]) && flag(spec, &["hostPID"]) {
        out.push(FieldError::invalid(
            path.child("shareProcessNamespace"),
            &Tree::Bool(true),
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
}

fn dns_config(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let config = at(spec, &["dnsConfig"]);
    let servers = list(config, &["nameservers"]);
    let path = path.child("dnsConfig");
    if text(spec, &["dnsPolicy"]) == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        out.push(FieldError::required(path.child("nameservers"), detail));
    }
    let at_servers = path.child("nameservers");
    for (index, server) in servers.iter().enumerate() {
        if !server.as_str().is_some_and(is_ip) {
            out.push(FieldError::invalid(at_servers.index(index), server, NOT_AN_IP));
        }
    }
    let options = path.child("options");
    for (index, option) in list(config, &["options"]).iter().enumerate() {
        if text(option, &["name"]).is_empty() {
            out.push(FieldError::required(options.index(index), "must not be empty"));
        }
    }
}

fn gates(spec: &Tree, field: &str, member: &str, path: &Path<'_>, out: &mut Faults) {
    let mut seen = std::collections::BTreeSet::new();
    for (index, gate) in list(spec, &[field]).iter().enumerate() {
        let name = text(gate, &[member]);
        let path = path.index(index);
        out.extend(names::qualified_name(name).into_iter().map(|fault| invalid_text(path.child(member), name, fault)));
        if field == "schedulingGates" && !seen.insert(name) {
            out.push(FieldError::duplicate(path, &Tree::from(name)));
        }
    }
}

fn spread(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    for (index, constraint) in list(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let path = path.index(index);
        let skew = int(constraint, &["maxSkew"]).unwrap_or_default();
        if skew <= 0 {
            out.push(FieldError::invalid(path.child("maxSkew"), &Tree::from(skew), "must be greater than zero"));
        }
        let key = text(constraint, &["topologyKey"]);
        if key.is_empty() {
            out.push(FieldError::required(path.child("topologyKey"), "can not be empty"));
        } else {
            out.extend(names::qualified_name(key).into_iter().map(|fault| invalid_text(path.child("topologyKey"), key, fault)));
        }
        one_of(constraint, "whenUnsatisfiable", &["DoNotSchedule", "ScheduleAnyway"], &path, out);
        let domains = at(constraint, &["minDomains"]);
        if domains.as_i64().is_some_and(|domains| domains <= 0) {
            out.push(FieldError::invalid(path.child("minDomains"), domains, "must be greater than zero"));
        }
        selector::faults(at(constraint, &["labelSelector"]), &path.child("labelSelector"), false, out);
    }
}

fn host_aliases(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    for (index, alias) in list(spec, &["hostAliases"]).iter().enumerate() {
        let path = path.index(index);
        if !is_ip(text(alias, &["ip"])) {
            out.push(FieldError::invalid(path.child("ip"), &Tree::from(text(alias, &["ip"])), NOT_AN_IP));
        }
        let at_names = path.child("hostnames");
        for (index, name) in list(alias, &["hostnames"]).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            out.extend(names::dns_subdomain(name).into_iter().map(|fault| invalid_text(at_names.index(index), name, fault)));
        }
    }
}

/// Faults of tolerations.
pub(crate) fn toleration_faults(tolerations: &[Tree], path: &Path<'_>, out: &mut Faults) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let (key, operator, value) = (text(toleration, &["key"]), text(toleration, &["operator"]), text(toleration, &["value"]));
        let effect = text(toleration, &["effect"]);
        if !key.is_empty() {
            out.extend(names::qualified_name(key).into_iter().map(|fault| invalid_text(path.child("key"), key, fault)));
        }
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            out.push(invalid_text(path.child("operator"), operator, detail));
        }
        if int(toleration, &["tolerationSeconds"]).is_some() && effect != "NoExecute" {
            out.push(invalid_text(path.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"));
        }
        match operator {
            "Equal" | "" => {
                out.extend(names::label_value(value).into_iter().map(|fault| invalid_text(path.child("operator"), value, fault)));
            }
            "Exists" if !value.is_empty() => {
                out.push(invalid_text(path.child("operator"), value, "value must be empty when `operator` is 'Exists'"));
            }
            "Exists" => {}
            other => out.push(FieldError::not_supported(path.child("operator"), &Tree::from(other), &["Equal", "Exists"])),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            out.push(FieldError::not_supported(path.child("effect"), &Tree::from(effect), &EFFECTS));
        }
    }
}

fn affinity(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let affinity = at(spec, &["affinity"]);
    let node = at(affinity, &["nodeAffinity"]);
    let at_node = path.child("nodeAffinity");
    let required = at(node, &["requiredDuringSchedulingIgnoredDuringExecution"]);
    if required.is_object() {
        node_selector_faults(required, &at_node.child("requiredDuringSchedulingIgnoredDuringExecution"), out);
    }
    let preferred = at_node.child("preferredDuringSchedulingIgnoredDuringExecution");
    for (index, term) in list(node, &["preferredDuringSchedulingIgnoredDuringExecution"]).iter().enumerate() {
        let path = preferred.index(index);
        weight(term, &path, out);
        node_selector_term(at(term, &["preference"]), &path.child("preference"), out);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(kind);
        let rules = at(affinity, &[kind]);
        let required = path.child("requiredDuringSchedulingIgnoredDuringExecution");
        for (index, term) in list(rules, &["requiredDuringSchedulingIgnoredDuringExecution"]).iter().enumerate() {
            pod_affinity_term(term, &required.index(index), out);
        }
        let preferred = path.child("preferredDuringSchedulingIgnoredDuringExecution");
        for (index, term) in list(rules, &["preferredDuringSchedulingIgnoredDuringExecution"]).iter().enumerate() {
            let path = preferred.index(index);
            weight(term, &path, out);
            pod_affinity_term(at(term, &["podAffinityTerm"]), &path.child("podAffinityTerm"), out);
        }
    }
}

fn weight(term: &Tree, path: &Path<'_>, out: &mut Faults) {
    let weight = int(term, &["weight"]).unwrap_or_default();
    if !(1..=100).contains(&weight) {
        out.push(FieldError::invalid(path.child("weight"), &Tree::from(weight), "must be in the range 1-100"));
    }
}

fn pod_affinity_term(term: &Tree, path: &Path<'_>, out: &mut Faults) {
    selector::faults(at(term, &["labelSelector"]), &path.child("labelSelector"), false, out);
    selector::faults(at(term, &["namespaceSelector"]), &path.child("namespaceSelector"), false, out);
    let at_namespaces = path.child("namespaces");
    for (index, namespace) in list(term, &["namespaces"]).iter().enumerate() {
        let namespace = namespace.as_str().unwrap_or_default();
        out.extend(names::dns_label(namespace).into_iter().map(|fault| invalid_text(at_namespaces.index(index), namespace, fault)));
    }
    let key = text(term, &["topologyKey"]);
    if key.is_empty() {
        out.push(FieldError::required(path.child("topologyKey"), "can not be empty"));
    }
    out.extend(names::qualified_name(key).into_iter().map(|fault| invalid_text(path.child("topologyKey"), key, fault)));
}

/// Faults of a node selector.
fn node_selector_faults(selector: &Tree, path: &Path<'_>, out: &mut Faults) {
    let terms = list(selector, &["nodeSelectorTerms"]);
    let path = path.child("nodeSelectorTerms");
    if terms.is_empty() {
        out.push(FieldError::required(path, "must have at least one node selector term"));
    }
    for (index, term) in terms.iter().enumerate() {
        node_selector_term(term, &path.index(index), out);
    }
}

fn node_selector_term(term: &Tree, path: &Path<'_>, out: &mut Faults) {
    let expressions = path.child("matchExpressions");
    for (index, expression) in list(term, &["matchExpressions"]).iter().enumerate() {
        node_requirement(expression, &expressions.index(index), out);
    }
    let fields = path.child("matchFields");
    for (index, expression) in list(term, &["matchFields"]).iter().enumerate() {
        let path = fields.index(index);
        let values = list(expression, &["values"]);
        match text(expression, &["operator"]) {
            "In" | "NotIn" if values.len() == 1 => {}
            "In" | "NotIn" => {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                out.push(FieldError::required(path.child("values"), detail));
            }
            other => out.push(invalid_text(path.child("operator"), other, "not a valid selector operator")),
        }
        if text(expression, &["key"]) != "metadata.name" {
            out.push(invalid_text(path.child("key"), text(expression, &["key"]), "not a valid field selector key"));
        }
    }
}

fn node_requirement(expression: &Tree, path: &Path<'_>, out: &mut Faults) {
    let values = list(expression, &["values"]);
    match text(expression, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            out.push(FieldError::required(path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            out.push(FieldError::forbidden(path.child("values"), detail));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            out.push(FieldError::required(path.child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'"));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => out.push(invalid_text(path.child("operator"), other, "not a valid selector operator")),
    }
    let key = text(expression, &["key"]);
    out.extend(names::qualified_name(key).into_iter().map(|fault| invalid_text(path.child("key"), key, fault)));
}
