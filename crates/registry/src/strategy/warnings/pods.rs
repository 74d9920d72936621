//! Warnings about pods and pod templates.

use std::collections::{HashMap, HashSet};

use kinds::Tree;

use super::{OLD_PLUGINS, addresses, annotations, claim, fractional};
use crate::tree::{at, entries, int, list, text};

/// Labels of nodes that have a successor.
const OLD_LABELS: [(&str, &str); 5] = [
    (
        "beta.kubernetes.io/arch",
        "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
    ),
    (
        "beta.kubernetes.io/os",
        "deprecated since v1.14; use \"kubernetes.io/os\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];
/// Annotations that have no effect any more.
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
/// Upper bound on the warnings up to which ports are compared. Clients see far fewer.
const MAX_WARNINGS: usize = 100;
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const NO_SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const NULL_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// Adds the warnings about a pod, or about a template whose fields have `prefix` before them.
pub(super) fn template(holder: &Tree, prefix: &str, is_template: bool, out: &mut Vec<String>) {
    let spec = at(holder, &["spec"]);
    let warning = Warning { prefix };
    node_labels(spec, &warning, out);
    for (index, constraint) in list(spec, &["topologySpreadConstraints"])
        .iter()
        .enumerate()
    {
        let path = warning.at(&format!("topologySpreadConstraints[{index}]"));
        let key = text(constraint, &["topologyKey"]);
        if let Some(why) = old_label(key) {
            out.push(format!("{path}.topologyKey: {key} is {why}"));
        }
        if at(constraint, &["labelSelector"]).is_null() {
            out.push(format!("{path}.labelSelector: {NULL_SELECTOR}"));
        }
    }
    let given: HashMap<&str, &Tree> = annotations(holder).into_iter().collect();
    for (name, why) in OLD_ANNOTATIONS {
        if given.contains_key(name) {
            out.push(warning.annotation(name, why));
        }
    }
    volumes(spec, &warning, out);
    aliases(spec, &warning, out);
    for resource in ["memory", "ephemeral-storage"] {
        let path = warning.at(&format!("overhead[{resource}]"));
        fractional(at(spec, &["overhead", resource]), &path, out);
    }
    if at(spec, &["securityContext", "seccompProfile"]).is_null() && given.contains_key(SECCOMP_POD)
    {
        out.push(warning.annotation(SECCOMP_POD, NO_SECCOMP));
    }
    let has_profile = !at(spec, &["securityContext", "appArmorProfile"]).is_null();
    for (container, path) in containers(spec, &warning) {
        let name = text(container, &["name"]);
        let key = format!("{SECCOMP_CONTAINER}{name}");
        if at(container, &["securityContext", "seccompProfile"]).is_null()
            && given.contains_key(key.as_str())
        {
            out.push(warning.annotation(&key, NO_SECCOMP));
        }
        let key = format!("{APP_ARMOR}{name}");
        if is_template
            && !has_profile
            && at(container, &["securityContext", "appArmorProfile"]).is_null()
            && given.contains_key(key.as_str())
        {
            let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            out.push(warning.annotation(&key, why));
        }
        for resource in ["memory", "ephemeral-storage"] {
            for kind in ["limits", "requests"] {
                let value = at(container, &["resources", kind, resource]);
                fractional(value, &format!("{path}.resources.{kind}[{resource}]"), out);
            }
        }
        environment(container, &path, out);
    }
    ports(spec, &warning, out);
    if int(spec, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        out.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            warning.at("terminationGracePeriodSeconds")
        ));
    }
    affinity(spec, &warning, out);
    for (index, alias) in list(spec, &["hostAliases"]).iter().enumerate() {
        let path = warning.at(&format!("hostAliases[{index}].ip"));
        super::address(text(alias, &["ip"]), &path, out);
    }
    let servers = warning.at("dnsConfig.nameservers");
    addresses(at(spec, &["dnsConfig"]), "nameservers", &servers, out);
}

/// Where the fields of a pod are.
struct Warning<'a> {
    prefix: &'a str,
}

impl Warning<'_> {
    /// Returns the path of a field of the specification.
    fn at(&self, field: &str) -> String {
        format!("{}spec.{field}", self.prefix)
    }

    fn annotation(&self, name: &str, why: &str) -> String {
        format!("{}metadata.annotations[{name}]: {why}", self.prefix)
    }
}

fn old_label(name: &str) -> Option<&'static str> {
    let known = OLD_LABELS.iter().find(|(label, _)| *label == name);
    known.map(|(_, why)| *why)
}

fn node_labels(spec: &Tree, warning: &Warning<'_>, out: &mut Vec<String>) {
    for (name, _) in entries(spec, &["nodeSelector"]) {
        if let Some(why) = old_label(name) {
            out.push(format!(
                "{}: {why}",
                warning.at(&format!("nodeSelector[{name}]"))
            ));
        }
    }
    let rules = at(spec, &["affinity", "nodeAffinity"]);
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    for (index, term) in list(rules, &[required, "nodeSelectorTerms"])
        .iter()
        .enumerate()
    {
        let path = warning.at(&format!(
            "affinity.nodeAffinity.{required}.nodeSelectorTerms[{index}]"
        ));
        node_term(term, &path, out);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (index, term) in list(rules, &[preferred]).iter().enumerate() {
        let path = warning.at(&format!(
            "affinity.nodeAffinity.{preferred}[{index}].preference"
        ));
        node_term(at(term, &["preference"]), &path, out);
    }
}

fn node_term(term: &Tree, path: &str, out: &mut Vec<String>) {
    for (index, expression) in list(term, &["matchExpressions"]).iter().enumerate() {
        let key = text(expression, &["key"]);
        if let Some(why) = old_label(key) {
            out.push(format!(
                "{path}.matchExpressions[{index}].key: {key} is {why}"
            ));
        }
    }
}

fn volumes(spec: &Tree, warning: &Warning<'_>, out: &mut Vec<String>) {
    for (index, volume) in list(spec, &["volumes"]).iter().enumerate() {
        let path = warning.at(&format!("volumes[{index}]"));
        if at(volume, &["gitRepo"]).is_object() {
            out.push(format!(
                "{path}.gitRepo: deprecated in v1.11, and disabled by default in v1.33+"
            ));
        }
        for (plugin, why) in OLD_PLUGINS {
            if at(volume, &[plugin]).is_object() {
                // Upstream's name of the field, not the one of the API.
                let shown = if plugin == "storageos" {
                    "storageOS"
                } else {
                    plugin
                };
                out.push(format!("{path}.{shown}: {why}"));
            }
        }
        let template = at(volume, &["ephemeral", "volumeClaimTemplate"]);
        if template.is_object() {
            let prefix = format!("{path}.ephemeral.volumeClaimTemplate.");
            claim(template, &prefix, out);
        }
    }
}

fn aliases(spec: &Tree, warning: &Warning<'_>, out: &mut Vec<String>) {
    let mut duplicates = |member: &str, field: &str| {
        let mut seen = HashSet::new();
        for (index, item) in list(spec, &[member]).iter().enumerate() {
            let value = text(item, &[field]);
            if !seen.insert(value) {
                let path = warning.at(&format!("{member}[{index}].{field}"));
                out.push(format!("{path}: duplicate {field} {value:?}"));
            }
        }
    };
    duplicates("hostAliases", "ip");
    duplicates("imagePullSecrets", "name");
    for (index, item) in list(spec, &["imagePullSecrets"]).iter().enumerate() {
        if text(item, &["name"]).is_empty() {
            let path = warning.at(&format!("imagePullSecrets[{index}].name"));
            out.push(format!("{path}: invalid empty name \"\""));
        }
    }
}

/// Returns all containers with their paths, in upstream's order.
fn containers<'a>(spec: &'a Tree, warning: &Warning<'_>) -> Vec<(&'a Tree, String)> {
    let mut found = Vec::new();
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in list(spec, &[kind]).iter().enumerate() {
            found.push((container, warning.at(&format!("{kind}[{index}]"))));
        }
    }
    found
}

fn environment(container: &Tree, path: &str, out: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (index, variable) in list(container, &["env"]).iter().enumerate() {
        let (name, value) = (text(variable, &["name"]), text(variable, &["value"]));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        // A value may extend the one before.
        let extends = at(variable, &["valueFrom"]).is_null()
            && value != reference
            && value.contains(&reference);
        if !extends {
            out.push(format!(
                "{path}.env[{index}]: hides previous definition of {name:?}, which may be dropped \
                 when using apply"
            ));
        }
    }
}

/// A port with its path.
struct DeclaredPort<'a> {
    path: String,
    host_ip: &'a str,
    host_port: i64,
}

fn ports(spec: &Tree, warning: &Warning<'_>, out: &mut Vec<String>) {
    let mut known: HashMap<(i64, &str), Vec<DeclaredPort<'_>>> = HashMap::new();
    for (container, path) in containers(spec, warning) {
        for (index, port) in list(container, &["ports"]).iter().enumerate() {
            let declared = DeclaredPort {
                path: format!("{path}.ports[{index}]"),
                host_ip: text(port, &["hostIP"]),
                host_port: int(port, &["hostPort"]).unwrap_or_default(),
            };
            let number = int(port, &["containerPort"]).unwrap_or_default();
            let protocol = text(port, &["protocol"]);
            if !declared.host_ip.is_empty() && declared.host_port == 0 {
                out.push(format!(
                    "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{number} \
                     Protocol:{protocol} HostIP:{}}}",
                    declared.path,
                    text(port, &["name"]),
                    declared.host_ip
                ));
            }
            let others = known.entry((number, protocol)).or_default();
            // A body can declare the same port many thousand times.
            if out.len() >= MAX_WARNINGS {
                return;
            }
            for other in others.iter() {
                let is_same_ip = declared.host_ip == other.host_ip;
                let is_same_port = declared.host_port == other.host_port;
                let what = if is_same_ip && is_same_port {
                    "duplicate"
                } else if declared.host_port == 0 || other.host_port == 0 {
                    "overlapping"
                } else if is_same_port && (declared.host_ip.is_empty() != other.host_ip.is_empty())
                {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                out.push(format!(
                    "{}: {what} port definition with {}",
                    declared.path, other.path
                ));
            }
            others.push(declared);
        }
    }
}

fn affinity(spec: &Tree, warning: &Warning<'_>, out: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let rules = at(spec, &["affinity", kind]);
        for (when, inner, path_of_term) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", None, ""),
            (
                "preferredDuringSchedulingIgnoredDuringExecution",
                Some("podAffinityTerm"),
                ".podAffinityTerm",
            ),
        ] {
            for (index, term) in list(rules, &[when]).iter().enumerate() {
                let term = inner.map_or(term, |inner| at(term, &[inner]));
                if at(term, &["labelSelector"]).is_null() {
                    let path = warning.at(&format!(
                        "affinity.{kind}.{when}[{index}]{path_of_term}.labelSelector"
                    ));
                    out.push(format!("{path}: {NULL_SELECTOR}"));
                }
            }
        }
    }
}
