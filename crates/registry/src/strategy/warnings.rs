//! Warnings about valid objects, in upstream's words: deprecated fields, values that another value
//! hides, names that surprise. `pods` has those about pods and pod templates.
//!
//! Kinds with a strategy of their own may add others ([`super::Strategy::warnings`]).

mod pods;

use std::net::IpAddr;

use kinds::facts::Resource;
use kinds::{Tree, names};

use super::checks::quantity;
use crate::tree::{at, entries, int, list, text};

/// Returns the warnings about a new object, or about the update of one.
pub(crate) fn of(resource: &Resource, new: &Tree, old: Option<&Tree>) -> Vec<String> {
    let mut out = Vec::new();
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") if old.is_none() => {
            pod_name(new, "the Pod's hostname", &mut out);
            pods::template(new, "", false, &mut out);
        }
        ("", "services") => service(new, &mut out),
        ("", "persistentvolumes") => volume(new, &mut out),
        ("", "persistentvolumeclaims") => claim(new, "", &mut out),
        ("networking.k8s.io", "ingresses") => ingress(new, &mut out),
        ("networking.k8s.io", "networkpolicies") => network_policy(new, &mut out),
        (group, plural) => {
            let Some((template, prefix)) = template_of(group, plural) else {
                return out;
            };
            if old.is_none() && NAMED_PODS.contains(&plural) {
                pod_name(new, "Pod names and hostnames", &mut out);
            }
            // Upstream compares generations, which a new template raises.
            let generation = |object: &Tree| int(object, &["metadata", "generation"]);
            if old.is_none_or(|old| generation(old) != generation(new)) {
                pods::template(at(new, template), prefix, true, &mut out);
            }
        }
    }
    out
}

/// Kinds whose names become names of pods.
const NAMED_PODS: [&str; 5] = [
    "deployments",
    "replicasets",
    "replicationcontrollers",
    "jobs",
    "cronjobs",
];

/// Returns where a kind has its pod template, and the path in front of its fields.
fn template_of(group: &str, plural: &str) -> Option<(&'static [&'static str], &'static str)> {
    match (group, plural) {
        ("", "replicationcontrollers")
        | ("apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets")
        | ("batch", "jobs") => Some((&["spec", "template"], "spec.template.")),
        ("batch", "cronjobs") => Some((
            &["spec", "jobTemplate", "spec", "template"],
            "spec.jobTemplate.spec.template.",
        )),
        ("", "podtemplates") => Some((&["template"], "template.")),
        _ => None,
    }
}

fn pod_name(object: &Tree, used_in: &str, out: &mut Vec<String>) {
    let faults = names::dns_label(text(object, &["metadata", "name"]));
    if !faults.is_empty() {
        out.push(format!(
            "metadata.name: this is used in {used_in}, which can result in surprising behavior; a \
             DNS label is recommended: [{}]",
            faults.join(" ")
        ));
    }
}

fn service(service: &Tree, out: &mut Vec<String>) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    if !at(service, &["metadata", "annotations", HINTS]).is_null() {
        out.push(format!(
            "annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let spec = at(service, &["spec"]);
    let part = |member: &str| text(spec, &[member]);
    let is_headless = part("type") == "ClusterIP" && part("clusterIP") == "None";
    if !matches!(part("clusterIP"), "" | "None") {
        addresses(spec, "clusterIPs", "spec.clusterIPs", out);
    }
    let external = list(spec, &["externalIPs"]);
    if is_headless {
        for (is_set, field) in [
            (!part("loadBalancerIP").is_empty(), "loadBalancerIP"),
            (!external.is_empty(), "externalIPs"),
            (part("sessionAffinity") != "None", "SessionAffinity"),
        ] {
            if is_set {
                out.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    addresses(spec, "externalIPs", "spec.externalIPs", out);
    let is_alias = part("type") == "ExternalName";
    if !external.is_empty() && !is_headless && !is_alias {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
                .to_owned(),
        );
    }
    address(part("loadBalancerIP"), "spec.loadBalancerIP", out);
    for (index, range) in list(spec, &["loadBalancerSourceRanges"]).iter().enumerate() {
        let path = format!("spec.loadBalancerSourceRanges[{index}]");
        address_range(range.as_str().unwrap_or_default(), &path, out);
    }
    if is_alias && !external.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !is_alias && !part("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if part("trafficDistribution") == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .to_owned(),
        );
    }
}

/// Volume plugins that are gone, with upstream's texts; of pods, then of persistent volumes.
const OLD_PLUGINS: [(&str, &str); 8] = [
    (
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
];
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn volume(volume: &Tree, out: &mut Vec<String>) {
    if !at(volume, &["metadata", "annotations", OLD_CLASS]).is_null() {
        out.push(old_annotation(
            OLD_CLASS,
            "deprecated since v1.8; use \"storageClassName\" attribute instead",
        ));
    }
    const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
    if !at(volume, &["metadata", "annotations", MOUNT_OPTIONS]).is_null() {
        out.push(old_annotation(
            MOUNT_OPTIONS,
            "deprecated since v1.31; use the \"mountOptions\" field instead",
        ));
    }
    let spec = at(volume, &["spec"]);
    if text(spec, &["persistentVolumeReclaimPolicy"]) == "Recycle" {
        out.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, \
             the recommended approach is to use dynamic provisioning."
                .to_owned(),
        );
    }
    for (plugin, why) in &OLD_PLUGINS[..6] {
        if at(spec, &[plugin]).is_object() {
            out.push(format!("spec.{plugin}: {why}"));
        }
    }
}

fn claim(claim: &Tree, prefix: &str, out: &mut Vec<String>) {
    if !at(claim, &["metadata", "annotations", OLD_CLASS]).is_null() {
        out.push(old_annotation(
            OLD_CLASS,
            "deprecated since v1.8; use \"storageClassName\" attribute instead",
        ));
    }
    for kind in ["requests", "limits"] {
        let value = at(claim, &["spec", "resources", kind, "storage"]);
        let path = format!("{prefix}spec.resources.{kind}[storage]");
        fractional(value, &path, out);
    }
}

fn old_annotation(name: &str, why: &str) -> String {
    format!("metadata.annotations[{name}]: {why}")
}

fn ingress(ingress: &Tree, out: &mut Vec<String>) {
    const CLASS: &str = "kubernetes.io/ingress.class";
    if !at(ingress, &["metadata", "annotations", CLASS]).is_null() {
        out.push(format!(
            "annotation {CLASS:?} is deprecated, please use 'spec.ingressClassName' instead"
        ));
    }
}

fn network_policy(policy: &Tree, out: &mut Vec<String>) {
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in list(policy, &["spec", direction]).iter().enumerate() {
            for (peer_index, peer) in list(rule, &[peers]).iter().enumerate() {
                let path = format!("spec.{direction}[{index}].{peers}[{peer_index}].ipBlock");
                address_range(
                    text(peer, &["ipBlock", "cidr"]),
                    &format!("{path}.cidr"),
                    out,
                );
                for (place, range) in list(peer, &["ipBlock", "except"]).iter().enumerate() {
                    let range = range.as_str().unwrap_or_default();
                    address_range(range, &format!("{path}.except[{place}]"), out);
                }
            }
        }
    }
}

fn addresses(tree: &Tree, member: &str, path: &str, out: &mut Vec<String>) {
    for (index, value) in list(tree, &[member]).iter().enumerate() {
        let path = format!("{path}[{index}]");
        address(value.as_str().unwrap_or_default(), &path, out);
    }
}

/// Warns about an IPv6 address that is not in its canonical form.
fn address(value: &str, path: &str, out: &mut Vec<String>) {
    if let Ok(IpAddr::V6(address)) = value.parse::<IpAddr>() {
        let canonical = address.to_string();
        if canonical != value {
            out.push(format!(
                "{path}: IPv6 address {value:?} should be in RFC 5952 canonical format ({canonical:?})"
            ));
        }
    }
}

fn address_range(value: &str, path: &str, out: &mut Vec<String>) {
    let Some((address, length)) = value.split_once('/') else {
        return;
    };
    if let Ok(IpAddr::V6(address)) = address.parse::<IpAddr>() {
        let canonical = format!("{address}/{length}");
        if canonical != value {
            out.push(format!(
                "{path}: IPv6 CIDR value {value:?} should be in RFC 5952 canonical format ({canonical:?})"
            ));
        }
    }
}

/// Warns about an amount of bytes that is not a whole number.
fn fractional(value: &Tree, path: &str, out: &mut Vec<String>) {
    if quantity(value).is_some_and(|amount| !amount.is_whole()) {
        let shown = value.as_str().unwrap_or_default();
        out.push(format!(
            "{path}: fractional byte value {shown:?} is invalid, must be an integer"
        ));
    }
}

/// Returns the names and values of annotations.
fn annotations(holder: &Tree) -> Vec<(&str, &Tree)> {
    entries(holder, &["metadata", "annotations"])
}
