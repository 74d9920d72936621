//! Containers: their names, images, ports, environment, mounts, probes, hooks and resources.

use std::collections::BTreeSet;

use kinds::{Tree, quantity::Quantity, status::FieldError};

use super::volume::Volumes;
use crate::strategy::checks::{
    Faults, nonnegative, nonnegative_quantity, one_of, one_of_if_set, port_number, port_number_or_name, quantity,
};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::tree::{at, entries, int, list, text};
use kinds::names;

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: [&str; 2] = ["FallbackToLogsOnError", "File"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const SCHEMES: [&str; 2] = ["HTTP", "HTTPS"];
/// Downward API fields that a variable may show.
const ENV_FIELDS: [&str; 8] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
];
/// The resources of a container that need no prefix.
const STANDARD_RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Faults of the regular containers.
pub(super) fn containers(spec: &Tree, volumes: &Volumes<'_>, path: &Path<'_>, out: &mut Faults) {
    let path = path.child("containers");
    let all = list(spec, &["containers"]);
    if all.is_empty() {
        out.push(FieldError::required(path, ""));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, container) in all.iter().enumerate() {
        let path = path.index(index);
        common(container, volumes, &path, out);
        unique_name(container, &mut seen, &path, out);
        lifecycle(container, spec, &path, out);
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            check_probe(container, probe, &path, out);
        }
        one_of_if_set(container, "restartPolicy", &["Always", "OnFailure", "Never"], &path, out);
    }
    host_port_conflicts(all, &path, out);
}

/// Faults of the init containers. Their names also differ from those of the regular ones.
pub(super) fn init_containers(spec: &Tree, volumes: &Volumes<'_>, path: &Path<'_>, out: &mut Faults) {
    let path = path.child("initContainers");
    let mut seen: BTreeSet<&str> = list(spec, &["containers"]).iter().map(|container| text(container, &["name"])).collect();
    for (index, container) in list(spec, &["initContainers"]).iter().enumerate() {
        let path = path.index(index);
        common(container, volumes, &path, out);
        unique_name(container, &mut seen, &path, out);
        if text(container, &["restartPolicy"]) == "Always" {
            lifecycle(container, spec, &path, out);
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                check_probe(container, probe, &path, out);
            }
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if !at(container, &[field]).is_null() {
                    out.push(FieldError::forbidden(path.child(field), "may not be set for init containers without restartPolicy=Always"));
                }
            }
            one_of_if_set(container, "restartPolicy", &["Always", "OnFailure", "Never"], &path, out);
        }
    }
}

/// Faults of the ephemeral containers.
pub(super) fn check_ephemeral(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let volumes = Volumes::names_of(spec);
    let path = path.child("ephemeralContainers");
    let mut taken: BTreeSet<&str> =
        ["containers", "initContainers"].iter().flat_map(|kind| list(spec, &[kind])).map(|container| text(container, &["name"])).collect();
    for (index, container) in list(spec, &["ephemeralContainers"]).iter().enumerate() {
        let path = path.index(index);
        common(container, &volumes, &path, out);
        unique_name(container, &mut taken, &path, out);
        let target = text(container, &["targetContainerName"]);
        let exists = |kind: &str| list(spec, &[kind]).iter().any(|container| text(container, &["name"]) == target);
        if !target.is_empty() && !exists("containers") && !exists("initContainers") {
            out.push(FieldError::not_found(path.child("targetContainerName"), &Tree::from(target)));
        }
        for field in ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "restartPolicy", "resizePolicy"] {
            if !crate::tree::is_empty(at(container, &[field])) {
                out.push(FieldError::forbidden(path.child(field), "cannot be set for an Ephemeral Container"));
            }
        }
        if ["limits", "requests"].iter().any(|kind| !crate::tree::is_empty(at(container, &["resources", kind]))) {
            out.push(FieldError::forbidden(path.child("resources"), "cannot be set for an Ephemeral Container"));
        }
    }
}

fn unique_name<'a>(container: &'a Tree, seen: &mut BTreeSet<&'a str>, path: &Path<'_>, out: &mut Faults) {
    let name = text(container, &["name"]);
    if !name.is_empty() && !seen.insert(name) {
        out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
    }
}

fn common(container: &Tree, volumes: &Volumes<'_>, path: &Path<'_>, out: &mut Faults) {
    let name = text(container, &["name"]);
    if name.is_empty() {
        out.push(FieldError::required(path.child("name"), ""));
    } else {
        out.extend(names::dns_label(name).into_iter().map(|fault| invalid_text(path.child("name"), name, fault)));
    }
    let image = text(container, &["image"]);
    if image.is_empty() {
        out.push(FieldError::required(path.child("image"), ""));
    } else if image.trim() != image {
        out.push(invalid_text(path.child("image"), image, "must not have leading or trailing whitespace"));
    }
    one_of(container, "terminationMessagePolicy", &MESSAGE_POLICIES, path, out);
    ports(container, &path.child("ports"), out);
    environment(container, path, out);
    mounts(container, volumes, path, out);
    one_of(container, "imagePullPolicy", &PULL_POLICIES, path, out);
    resources(container, &path.child("resources"), out);
    security(container, &path.child("securityContext"), out);
}

fn ports(container: &Tree, path: &Path<'_>, out: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, port) in list(container, &["ports"]).iter().enumerate() {
        let path = path.index(index);
        let name = text(port, &["name"]);
        if !name.is_empty() {
            let faults = names::port_name(name);
            if faults.is_empty() && !seen.insert(name) {
                out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
            }
            out.extend(faults.into_iter().map(|fault| invalid_text(path.child("name"), name, fault)));
        }
        match int(port, &["containerPort"]).unwrap_or_default() {
            0 => out.push(FieldError::required(path.child("containerPort"), "")),
            number => port_number(number, &path.child("containerPort"), out),
        }
        if let Some(number) = int(port, &["hostPort"]).filter(|number| *number != 0) {
            port_number(number, &path.child("hostPort"), out);
        }
        if text(port, &["protocol"]).is_empty() {
            out.push(FieldError::required(path.child("protocol"), ""));
        } else {
            one_of(port, "protocol", &PROTOCOLS, &path, out);
        }
    }
}

/// Two ports of one pod cannot claim the same port of the host.
fn host_port_conflicts(containers: &[Tree], path: &Path<'_>, out: &mut Faults) {
    let mut claimed = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        let path = path.child("ports");
        for (index, port) in list(container, &["ports"]).iter().enumerate() {
            let Some(number) = int(port, &["hostPort"]).filter(|number| *number != 0) else { continue };
            let claim = format!("{}/{}/{number}", text(port, &["protocol"]), text(port, &["hostIP"]));
            if !claimed.insert(claim.clone()) {
                out.push(FieldError::duplicate(path.index(index).child("hostPort"), &Tree::from(claim)));
            }
        }
    }
}

fn environment(container: &Tree, path: &Path<'_>, out: &mut Faults) {
    let env = path.child("env");
    for (index, variable) in list(container, &["env"]).iter().enumerate() {
        let path = env.index(index);
        let name = text(variable, &["name"]);
        if name.is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        } else {
            out.extend(names::environment_variable(name).into_iter().map(|fault| invalid_text(path.child("name"), name, fault)));
        }
        if at(variable, &["valueFrom"]).is_object() {
            value_from(variable, &path.child("valueFrom"), out);
        }
    }
    let env_from = path.child("envFrom");
    for (index, source) in list(container, &["envFrom"]).iter().enumerate() {
        let path = env_from.index(index);
        let prefix = text(source, &["prefix"]);
        if !prefix.is_empty() {
            out.extend(names::environment_variable(prefix).into_iter().map(|fault| invalid_text(path.child("prefix"), prefix, fault)));
        }
        let sources: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|field| at(source, &[field]).is_object()).collect();
        for field in &sources {
            if text(source, &[field, "name"]).is_empty() {
                out.push(FieldError::required(path.child(field).child("name"), ""));
            }
        }
        match sources.len() {
            0 => out.push(invalid_text(path, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => out.push(invalid_text(path, "", "may not have more than one field specified at a time")),
        }
    }
}

fn value_from(variable: &Tree, path: &Path<'_>, out: &mut Faults) {
    let source = at(variable, &["valueFrom"]);
    let mut sources = 0;
    if at(source, &["fieldRef"]).is_object() {
        sources += 1;
        field_ref(at(source, &["fieldRef"]), &ENV_FIELDS, &path.child("fieldRef"), out);
    }
    if at(source, &["resourceFieldRef"]).is_object() {
        sources += 1;
        let path = path.child("resourceFieldRef");
        if text(source, &["resourceFieldRef", "resource"]).is_empty() {
            out.push(FieldError::required(path.child("resource"), ""));
        }
    }
    for field in ["configMapKeyRef", "secretKeyRef"] {
        let reference = at(source, &[field]);
        if !reference.is_object() {
            continue;
        }
        sources += 1;
        let path = path.child(field);
        if text(reference, &["name"]).is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        }
        let key = text(reference, &["key"]);
        if key.is_empty() {
            out.push(FieldError::required(path.child("key"), ""));
        } else {
            out.extend(names::config_key(key).into_iter().map(|fault| invalid_text(path.child("key"), key, fault)));
        }
    }
    if at(source, &["fileKeyRef"]).is_object() {
        sources += 1;
    }
    if sources == 0 {
        out.push(invalid_text(
            path,
            "",
            "must specify one of: `configMapKeyRef`, `fieldRef`, `fileKeyRef`, `resourceFieldRef` or `secretKeyRef`",
        ));
    } else if !text(variable, &["value"]).is_empty() {
        out.push(invalid_text(path, "", "may not be specified when `value` is not empty"));
    } else if sources > 1 {
        out.push(invalid_text(path, "", "may not have more than one field specified at a time"));
    }
}

/// Faults of a reference to a field of the pod itself.
pub(super) fn field_ref(reference: &Tree, fields: &[&str], path: &Path<'_>, out: &mut Faults) {
    let field = text(reference, &["fieldPath"]);
    if text(reference, &["apiVersion"]).is_empty() {
        out.push(FieldError::required(path.child("apiVersion"), ""));
    } else if field.is_empty() {
        out.push(FieldError::required(path.child("fieldPath"), ""));
    } else if let Some((map, key)) = field.strip_suffix(']').and_then(|front| front.split_once("['").or_else(|| front.split_once('['))) {
        let key = key.trim_end_matches('\'');
        if map == "metadata.labels" {
            out.extend(names::qualified_name(key).into_iter().map(|fault| invalid_text(path, key, fault)));
        } else if map == "metadata.annotations" {
            out.extend(names::qualified_name(&key.to_lowercase()).into_iter().map(|fault| invalid_text(path, key, fault)));
        } else {
            out.push(invalid_text(path, field, "does not support subscript"));
        }
    } else if !fields.contains(&field) && !["status.podIPs"].contains(&field) {
        let mut supported: Vec<&str> = fields.iter().copied().chain(["status.podIPs"]).collect();
        supported.sort_unstable();
        out.push(FieldError::not_supported(path.child("fieldPath"), &Tree::from(field), &supported));
    }
}

fn mounts(container: &Tree, volumes: &Volumes<'_>, path: &Path<'_>, out: &mut Faults) {
    let mounts = path.child("volumeMounts");
    let mut points = BTreeSet::new();
    for (index, mount) in list(container, &["volumeMounts"]).iter().enumerate() {
        let path = mounts.index(index);
        let name = text(mount, &["name"]);
        if name.is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        } else if !volumes.contains(name) {
            out.push(FieldError::not_found(path.child("name"), &Tree::from(name)));
        }
        let point = text(mount, &["mountPath"]);
        if point.is_empty() {
            out.push(FieldError::required(path.child("mountPath"), ""));
        } else if !points.insert(point) {
            out.push(invalid_text(path.child("mountPath"), point, "must be unique"));
        }
        for field in ["subPath", "subPathExpr"] {
            relative_path(text(mount, &[field]), &path.child(field), out);
        }
        if !text(mount, &["subPath"]).is_empty() && !text(mount, &["subPathExpr"]).is_empty() {
            let value = text(mount, &["subPathExpr"]);
            out.push(invalid_text(path.child("subPathExpr"), value, "subPathExpr and subPath are mutually exclusive"));
        }
    }
    let devices = path.child("volumeDevices");
    for (index, device) in list(container, &["volumeDevices"]).iter().enumerate() {
        let path = devices.index(index);
        let name = text(device, &["name"]);
        if name.is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        } else if !volumes.contains(name) {
            out.push(FieldError::not_found(path.child("name"), &Tree::from(name)));
        }
        if text(device, &["devicePath"]).is_empty() {
            out.push(FieldError::required(path.child("devicePath"), ""));
        }
    }
}

/// Refuses paths that are absolute or climb.
pub(super) fn relative_path(value: &str, path: &Path<'_>, out: &mut Faults) {
    if value.starts_with('/') {
        out.push(invalid_text(path, value, "must be a relative path"));
    }
    if value.split('/').any(|part| part == "..") {
        out.push(invalid_text(path, value, "must not contain '..'"));
    }
}

fn lifecycle(container: &Tree, spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let path = path.child("lifecycle");
    for hook in ["postStart", "preStop"] {
        let wanted = at(container, &["lifecycle", hook]);
        if wanted.is_object() {
            let grace = int(spec, &["terminationGracePeriodSeconds"]);
            action(wanted, &["exec", "httpGet", "tcpSocket", "sleep"], grace, &path.child(hook), out);
        }
    }
}

/// A probe or a hook does exactly one thing.
fn action(handler: &Tree, kinds: &[&str], grace: Option<i64>, path: &Path<'_>, out: &mut Faults) {
    let mut found = 0;
    for kind in kinds.iter().copied().filter(|kind| at(handler, &[kind]).is_object()) {
        if found > 0 {
            out.push(FieldError::forbidden(path.child(kind), "may not specify more than 1 handler type"));
            continue;
        }
        found += 1;
        let (action, path) = (at(handler, &[kind]), path.child(kind));
        match kind {
            "exec" if list(action, &["command"]).is_empty() => out.push(FieldError::required(path.child("command"), "")),
            "httpGet" => http_get(action, &path, out),
            "tcpSocket" => port_number_or_name(at(action, &["port"]), &path.child("port"), out),
            "grpc" => port_number(int(action, &["port"]).unwrap_or_default(), &path.child("port"), out),
            "sleep" => sleep(int(action, &["seconds"]).unwrap_or_default(), grace, &path, out),
            _ => {}
        }
    }
    if found == 0 {
        out.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn sleep(seconds: i64, grace: Option<i64>, path: &Path<'_>, out: &mut Faults) {
    let grace = grace.unwrap_or(30);
    if seconds < 0 || seconds > grace {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        out.push(FieldError::invalid(path, &Tree::from(seconds), detail));
    }
}

fn http_get(get: &Tree, path: &Path<'_>, out: &mut Faults) {
    if text(get, &["path"]).is_empty() {
        out.push(FieldError::required(path.child("path"), ""));
    }
    port_number_or_name(at(get, &["port"]), &path.child("port"), out);
    one_of(get, "scheme", &SCHEMES, path, out);
    let headers = path.child("httpHeaders");
    for (index, header) in list(get, &["httpHeaders"]).iter().enumerate() {
        let name = text(header, &["name"]);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            out.push(invalid_text(headers.index(index).child("name"), name, detail));
        }
    }
}

fn check_probe(container: &Tree, which: &str, path: &Path<'_>, out: &mut Faults) {
    let probe = at(container, &[which]);
    if !probe.is_object() {
        return;
    }
    let path = path.child(which);
    action(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, &path, out);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        nonnegative(probe, field, &path, out);
    }
    let grace = at(probe, &["terminationGracePeriodSeconds"]);
    if grace.as_i64().is_some_and(|seconds| seconds <= 0) {
        out.push(FieldError::invalid(path.child("terminationGracePeriodSeconds"), grace, "must be greater than 0"));
    }
    if which == "readinessProbe" {
        if !grace.is_null() {
            let detail = "must not be set for readinessProbes";
            out.push(FieldError::invalid(path.child("terminationGracePeriodSeconds"), grace, detail));
        }
    } else if int(probe, &["successThreshold"]) != Some(1) {
        out.push(FieldError::invalid(path.child("successThreshold"), at(probe, &["successThreshold"]), "must be 1"));
    }
}

fn resources(container: &Tree, path: &Path<'_>, out: &mut Faults) {
    let limits = at(container, &["resources", "limits"]);
    check_resource_list(limits, &path.child("limits"), out);
    let at_requests = path.child("requests");
    for (name, request) in entries(container, &["resources", "requests"]) {
        check_resource(name, request, &at_requests, out);
        let Some((limit, wanted)) = limits.get(name).and_then(quantity).zip(quantity(request)) else { continue };
        let shown = limits.get(name).and_then(Tree::as_str).unwrap_or_default();
        if name.starts_with("hugepages-") || is_extended(name) {
            if wanted != limit {
                out.push(FieldError::invalid(at_requests, request, format!("must be equal to {name} limit of {shown}")));
            }
        } else if wanted > limit {
            out.push(FieldError::invalid(at_requests, request, format!("must be less than or equal to {name} limit of {shown}")));
        }
    }
}

/// Faults of a map from resource names of containers to quantities.
pub(super) fn check_resource_list(resources: &Tree, path: &Path<'_>, out: &mut Faults) {
    for (name, amount) in entries(resources, &[]) {
        check_resource(name, amount, path, out);
    }
}

fn check_resource(name: &str, amount: &Tree, path: &Path<'_>, out: &mut Faults) {
    let path = path.key(name);
    let before = out.len();
    out.extend(names::qualified_name(name).into_iter().map(|fault| invalid_text(path, name, fault)));
    let qualified = out.len() == before;
    if !name.contains('/') && !STANDARD_RESOURCES.contains(&name) && !name.starts_with("hugepages-") {
        if qualified && !is_quota_resource(name) {
            out.push(invalid_text(path, name, "must be a standard resource type or fully qualified"));
        }
        out.push(invalid_text(path, name, "must be a standard resource for containers"));
    } else if is_extended(name) && name.starts_with("requests.") {
        out.push(invalid_text(path, name, "doesn't follow extended resource name standard"));
    }
    nonnegative_quantity(amount, &path, out);
    if is_extended(name) && quantity(amount).is_some_and(|amount: Quantity| !amount.is_whole()) {
        out.push(FieldError::invalid(path, amount, "must be an integer"));
    }
}

/// Names that are standard, though not for containers: what quotas count.
fn is_quota_resource(name: &str) -> bool {
    const COUNTED: [&str; 10] = [
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "storage",
        "services.nodeports",
        "services.loadbalancers",
    ];
    let part = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits."));
    let bounded = part.is_some_and(|part| STANDARD_RESOURCES.contains(&part));
    COUNTED.contains(&name) || bounded || name == "requests.storage" || name.starts_with("requests.hugepages-")
}

/// True for resources with a domain of their own, such as devices.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

fn security(container: &Tree, path: &Path<'_>, out: &mut Faults) {
    let context = at(container, &["securityContext"]);
    for field in ["runAsUser", "runAsGroup"] {
        if int(context, &[field]).is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
            out.push(FieldError::invalid(path.child(field), at(context, &[field]), "must be between 0 and 2147483647, inclusive"));
        }
    }
    if at(context, &["allowPrivilegeEscalation"]) == &Tree::Bool(false) {
        if crate::tree::flag(context, &["privileged"]) {
            out.push(FieldError::invalid(path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"));
        }
        let adds = list(context, &["capabilities", "add"]);
        if adds.iter().any(|name| matches!(name.as_str(), Some("CAP_SYS_ADMIN"))) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            out.push(FieldError::invalid(path, context, detail));
        }
    }
}
