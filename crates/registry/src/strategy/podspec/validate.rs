//! Validation of a pod's spec, in the order in which upstream reports faults.
//!
//! The order matters because clients see it in error messages. Templates are validated here too and
//! accept some values that pods reject.

use kinds::{Tree, status::FieldError};

use super::{Holder, affinity, container, resources, security, volume};
use crate::strategy::checks::{Faults, NOT_AN_IP, is_ip, one_of};
use crate::strategy::meta::{self, invalid_text};
use crate::strategy::path::Path;
use crate::tree::{at, flag, int, list, text};
use kinds::names;

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// Maximum number of name servers that the C library's resolver supports.
const NAMESERVERS_LIMIT: usize = 3;
const SEARCHES_LIMIT: usize = 32;
const SEARCH_LENGTH_LIMIT: usize = 2048;

/// Validates a pod template: labels, annotations and spec. The pods of the template mount `claims`
/// as additional volumes.
pub(crate) fn template_faults(template: &Tree, claims: &[Tree], path: &Path<'_>, out: &mut Faults) {
    meta::labels(
        at(template, &["metadata", "labels"]),
        &path.child("labels"),
        out,
    );
    meta::annotations(
        at(template, &["metadata", "annotations"]),
        &path.child("annotations"),
        out,
    );
    spec_faults(
        at(template, &["spec"]),
        Holder::Template(claims),
        &path.child("spec"),
        out,
    );
    if !list(template, &["spec", "ephemeralContainers"]).is_empty() {
        out.push(FieldError::forbidden(
            path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
}

/// Validates a pod's spec.
pub(crate) fn spec_faults(spec: &Tree, holder: Holder<'_>, path: &Path<'_>, out: &mut Faults) {
    let volumes = volume::volumes(spec, holder, path, out);
    claims(spec, &path.child("resourceClaims"), out);
    container::containers(spec, &volumes, path, out);
    container::init_containers(spec, &volumes, path, out);
    container::ephemeral_containers(spec, &volumes, path, out);
    host_network(spec, holder, path, out);
    restart_policy(spec, path, out);
    one_of(spec, "dnsPolicy", &DNS_POLICIES, path, out);
    meta::labels(
        at(spec, &["nodeSelector"]),
        &path.child("nodeSelector"),
        out,
    );
    security::pod(spec, &path.child("securityContext"), out);
    affinity::affinity(at(spec, &["affinity"]), &path.child("affinity"), out);
    dns_config(spec, &path.child("dnsConfig"), out);
    gates(spec, path, out);
    affinity::spread(spec, &path.child("topologySpreadConstraints"), out);
    host_users(spec, path, out);
    names_and_numbers(spec, path, out);
    affinity::toleration_faults(
        list(spec, &["tolerations"]),
        &path.child("tolerations"),
        out,
    );
    host_aliases(spec, &path.child("hostAliases"), out);
    check_name(spec, "priorityClassName", names::dns_subdomain, path, out);
    check_name(spec, "runtimeClassName", names::dns_subdomain, path, out);
    if !at(spec, &["preemptionPolicy"]).is_null() {
        one_of(
            spec,
            "preemptionPolicy",
            &["PreemptLowerPriority", "Never"],
            path,
            out,
        );
    }
    resources::check_list(at(spec, &["overhead"]), &path.child("overhead"), out);
    operating_system(spec, &path.child("os"), out);
    if holder.is_pod() {
        only_in_pods(spec, path, out);
    }
}

fn restart_policy(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    if text(spec, &["restartPolicy"]).is_empty() {
        out.push(FieldError::required(path.child("restartPolicy"), ""));
    } else {
        one_of(spec, "restartPolicy", &RESTART_POLICIES, path, out);
    }
}

/// Validates rules that apply to pods only. Upstream exempts templates for backward compatibility.
fn only_in_pods(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    if text(spec, &["serviceAccountName"]).is_empty() {
        let volumes = path.child("volumes");
        for (index, volume) in list(spec, &["volumes"]).iter().enumerate() {
            let sources = volumes.index(index);
            let sources = sources.child("projected");
            let sources = sources.child("sources");
            for (index, source) in list(volume, &["projected", "sources"]).iter().enumerate() {
                if at(source, &["serviceAccountToken"]).is_object() {
                    let path = sources
                        .index(index)
                        .child("serviceAccountToken")
                        .to_string();
                    out.push(FieldError::forbidden(
                        path,
                        "must not be specified when serviceAccountName is not set",
                    ));
                }
            }
        }
    }
    for kind in ["containers", "initContainers"] {
        let path = path.child(kind);
        for (index, container) in list(spec, &[kind]).iter().enumerate() {
            container::bare_image(container, &path.index(index), out);
        }
    }
}

fn check_name(
    spec: &Tree,
    field: &str,
    rule: fn(&str) -> Vec<String>,
    path: &Path<'_>,
    out: &mut Faults,
) {
    let value = text(spec, &[field]);
    if !value.is_empty() {
        out.extend(
            rule(value)
                .into_iter()
                .map(|fault| invalid_text(path.child(field), value, fault)),
        );
    }
}

fn names_and_numbers(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    check_name(spec, "serviceAccountName", names::dns_subdomain, path, out);
    check_name(spec, "nodeName", names::dns_subdomain, path, out);
    let deadline = at(spec, &["activeDeadlineSeconds"]);
    if deadline
        .as_i64()
        .is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds))
    {
        out.push(FieldError::invalid(
            path.child("activeDeadlineSeconds"),
            deadline,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    check_name(spec, "hostname", names::dns_label, path, out);
    check_name(spec, "subdomain", names::dns_label, path, out);
}

/// Validates resource claims: each has a name and exactly one source.
fn claims(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let mut seen = std::collections::BTreeSet::new();
    for (index, claim) in list(spec, &["resourceClaims"]).iter().enumerate() {
        let path = path.index(index);
        let name = text(claim, &["name"]);
        if name.is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        } else if !seen.insert(name) {
            out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
        } else {
            out.extend(
                names::dns_label(name)
                    .into_iter()
                    .map(|fault| invalid_text(path.child("name"), name, fault)),
            );
        }
        let (given, template) = (
            at(claim, &["resourceClaimName"]),
            at(claim, &["resourceClaimTemplateName"]),
        );
        let shown = format!(
            "{{\"Name\":{},\"ResourceClaimName\":{given},\"ResourceClaimTemplateName\":{template}}}",
            Tree::from(name)
        );
        match (given.is_null(), template.is_null()) {
            (false, false) => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                out.push(meta::invalid_shown(path, &shown, detail));
            }
            (true, true) => {
                let detail =
                    "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                out.push(meta::invalid_shown(path, &shown, detail));
            }
            _ => {}
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(value) = at(claim, &[field]).as_str() {
                out.extend(
                    names::dns_subdomain(value)
                        .into_iter()
                        .map(|fault| invalid_text(path.child(field), value, fault)),
                );
            }
        }
    }
}

/// Validates the ports of a pod on the host network, where a host port must equal its container
/// port.
fn host_network(spec: &Tree, holder: Holder<'_>, path: &Path<'_>, out: &mut Faults) {
    if !flag(spec, &["hostNetwork"]) {
        return;
    }
    let containers = path.child("containers");
    for (index, container) in list(spec, &["containers"]).iter().enumerate() {
        let path = containers.index(index);
        let path = path.child("ports");
        for (index, port) in list(container, &["ports"]).iter().enumerate() {
            let (inner, outer) = (
                int(port, &["containerPort"]).unwrap_or_default(),
                int(port, &["hostPort"]).unwrap_or_default(),
            );
            if (holder.is_pod() || outer != 0) && outer != inner {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                out.push(FieldError::invalid(
                    path.index(index).child("hostPort"),
                    &Tree::from(outer),
                    detail,
                ));
            }
        }
    }
}

/// Validates that a pod with its own user namespace does not share other namespaces with the host.
fn host_users(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    if at(spec, &["hostUsers"]) != &Tree::Bool(false) {
        return;
    }
    for (field, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if flag(spec, &[field]) {
            out.push(FieldError::forbidden(
                path.child(shown),
                "when `pod.Spec.HostUsers` is false",
            ));
        }
    }
}

fn dns_config(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let config = at(spec, &["dnsConfig"]);
    let (servers, searches) = (list(config, &["nameservers"]), list(config, &["searches"]));
    if text(spec, &["dnsPolicy"]) == "None" {
        if config.is_null() {
            out.push(FieldError::required(
                path,
                "must provide `dnsConfig` when `dnsPolicy` is None",
            ));
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            out.push(FieldError::required(path.child("nameservers"), detail));
            return;
        }
    }
    let at_servers = path.child("nameservers");
    if servers.len() > NAMESERVERS_LIMIT {
        let detail = format!("must not have more than {NAMESERVERS_LIMIT} nameservers");
        out.push(FieldError::invalid(
            at_servers,
            at(config, &["nameservers"]),
            detail,
        ));
    }
    for (index, server) in servers.iter().enumerate() {
        if !server.as_str().is_some_and(is_ip) {
            out.push(FieldError::invalid(
                at_servers.index(index),
                server,
                NOT_AN_IP,
            ));
        }
    }
    let at_searches = path.child("searches");
    if searches.len() > SEARCHES_LIMIT {
        let detail = format!("must not have more than {SEARCHES_LIMIT} search paths");
        out.push(FieldError::invalid(
            at_searches,
            at(config, &["searches"]),
            detail,
        ));
    }
    let length: usize = searches
        .iter()
        .filter_map(Tree::as_str)
        .map(|search| search.len() + 1)
        .sum();
    if length.saturating_sub(1) > SEARCH_LENGTH_LIMIT {
        let detail = format!(
            "must not have more than {SEARCH_LENGTH_LIMIT} characters (including spaces) in the search list"
        );
        out.push(FieldError::invalid(
            at_searches,
            at(config, &["searches"]),
            detail,
        ));
    }
    for (index, search) in searches.iter().filter_map(Tree::as_str).enumerate() {
        // A single dot is the DNS root, and a trailing dot marks a name as fully qualified.
        let bare = search.strip_suffix('.').unwrap_or(search);
        if search != "." {
            let faults = names::dns_subdomain_with_underscores(bare);
            out.extend(
                faults
                    .into_iter()
                    .map(|fault| invalid_text(at_searches.index(index), bare, fault)),
            );
        }
    }
    let options = path.child("options");
    for (index, option) in list(config, &["options"]).iter().enumerate() {
        if text(option, &["name"]).is_empty() {
            out.push(FieldError::required(
                options.index(index),
                "must not be empty",
            ));
        }
    }
}

fn gates(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let readiness = path.child("readinessGates");
    for (index, gate) in list(spec, &["readinessGates"]).iter().enumerate() {
        let kind = text(gate, &["conditionType"]);
        let path = readiness.index(index);
        out.extend(
            names::qualified_name(kind)
                .into_iter()
                .map(|fault| invalid_text(path.child("conditionType"), kind, fault)),
        );
    }
    let scheduling = path.child("schedulingGates");
    let mut seen = std::collections::BTreeSet::new();
    for (index, gate) in list(spec, &["schedulingGates"]).iter().enumerate() {
        let name = text(gate, &["name"]);
        let path = scheduling.index(index);
        out.extend(
            names::qualified_name(name)
                .into_iter()
                .map(|fault| invalid_text(path, name, fault)),
        );
        if !seen.insert(name) {
            out.push(FieldError::duplicate(path, &Tree::from(name)));
        }
    }
}

fn host_aliases(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    for (index, alias) in list(spec, &["hostAliases"]).iter().enumerate() {
        let path = path.index(index);
        if !is_ip(text(alias, &["ip"])) {
            out.push(FieldError::invalid(
                path.child("ip"),
                &Tree::from(text(alias, &["ip"])),
                NOT_AN_IP,
            ));
        }
        let at_names = path.child("hostnames");
        for (index, name) in list(alias, &["hostnames"]).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            out.extend(
                names::dns_subdomain(name)
                    .into_iter()
                    .map(|fault| invalid_text(at_names.index(index), name, fault)),
            );
        }
    }
}

fn operating_system(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    if !at(spec, &["os"]).is_object() {
        return;
    }
    match text(spec, &["os", "name"]) {
        "" => out.push(FieldError::required(path.child("name"), "cannot be empty")),
        "linux" | "windows" => {}
        other => out.push(FieldError::not_supported(
            path,
            &Tree::from(other),
            &["linux", "windows"],
        )),
    }
}
