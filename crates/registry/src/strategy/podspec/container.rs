//! Validation of regular, init and ephemeral containers.
//!
//! All three share most rules. Ephemeral containers reject ports, probes and resources. Init
//! containers accept probes and lifecycle hooks only if they are sidecars, which always restart.

use std::collections::BTreeSet;

use kinds::{Tree, status::FieldError};

use super::volume::Volumes;
use super::{environment, handler, mounts, resources, security};
use crate::strategy::checks::{Faults, one_of_if_set, port_number, required_one_of};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::tree::{at, int, is_empty, list, text};
use kinds::names;

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: [&str; 2] = ["File", "FallbackToLogsOnError"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// Validates the regular containers.
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
        common(container, spec, volumes, &path, out);
        unique_name(container, &mut seen, &path, out);
        handler::lifecycle(container, spec, &path, out);
        for probe in PROBES {
            handler::probe(container, probe, &path, out);
        }
        restarts(container, &path, out);
    }
    host_port_conflicts(all, &path, out);
}

/// Validates the init containers. Their names must differ from those of the regular containers.
pub(super) fn init_containers(
    spec: &Tree,
    volumes: &Volumes<'_>,
    path: &Path<'_>,
    out: &mut Faults,
) {
    let path = path.child("initContainers");
    let mut seen: BTreeSet<&str> = list(spec, &["containers"])
        .iter()
        .map(|container| text(container, &["name"]))
        .collect();
    for (index, container) in list(spec, &["initContainers"]).iter().enumerate() {
        let all = &path;
        let path = path.index(index);
        common(container, spec, volumes, &path, out);
        restarts(container, &path, out);
        unique_name(container, &mut seen, &path, out);
        // Init containers run one after the other, so host ports conflict only within one
        // container.
        host_port_conflicts(std::slice::from_ref(container), all, out);
        if text(container, &["restartPolicy"]) == "Always" {
            handler::lifecycle(container, spec, &path, out);
            for probe in PROBES {
                handler::probe(container, probe, &path, out);
            }
            continue;
        }
        for field in [
            "lifecycle",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
        ] {
            if !at(container, &[field]).is_null() {
                out.push(FieldError::forbidden(
                    path.child(field),
                    "may not be set for init containers without restartPolicy=Always",
                ));
            }
        }
        let resize = at(container, &["resizePolicy"]);
        if !is_empty(resize) {
            out.push(FieldError::invalid(
                path.child("resizePolicy"),
                resize,
                "must not be set for init containers",
            ));
        }
    }
}

/// Validates the ephemeral containers.
pub(super) fn ephemeral_containers(
    spec: &Tree,
    volumes: &Volumes<'_>,
    path: &Path<'_>,
    out: &mut Faults,
) {
    let path = path.child("ephemeralContainers");
    let lasting: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|kind| list(spec, &[kind]))
        .map(|container| text(container, &["name"]))
        .collect();
    let mut taken = lasting.clone();
    for (index, container) in list(spec, &["ephemeralContainers"]).iter().enumerate() {
        let path = path.index(index);
        common(container, spec, volumes, &path, out);
        bare_image(container, &path, out);
        unique_name(container, &mut taken, &path, out);
        let target = text(container, &["targetContainerName"]);
        if !target.is_empty() && !lasting.contains(target) {
            out.push(FieldError::not_found(
                path.child("targetContainerName"),
                &Tree::from(target),
            ));
        }
        not_for_ephemeral(container, &path, out);
    }
}

fn not_for_ephemeral(container: &Tree, path: &Path<'_>, out: &mut Faults) {
    const REFUSAL: &str = "cannot be set for an Ephemeral Container";
    let mut forbid = |field: &str, is_set: bool| {
        if is_set {
            out.push(FieldError::forbidden(path.child(field), REFUSAL));
        }
    };
    forbid("ports", !is_empty(at(container, &["ports"])));
    forbid(
        "resources",
        ["limits", "requests", "claims"]
            .iter()
            .any(|kind| !is_empty(at(container, &["resources", kind]))),
    );
    for field in [
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ] {
        forbid(field, !is_empty(at(container, &[field])));
    }
    let mounts = path.child("volumeMounts");
    for (index, mount) in list(container, &["volumeMounts"]).iter().enumerate() {
        let path = mounts.index(index);
        for field in ["subPath", "subPathExpr"] {
            if !text(mount, &[field]).is_empty() {
                out.push(FieldError::forbidden(path.child(field), REFUSAL));
            }
        }
    }
}

/// Validates the restart policy and restart rules of a single container.
fn restarts(container: &Tree, path: &Path<'_>, out: &mut Faults) {
    one_of_if_set(container, "restartPolicy", &RESTART_POLICIES, path, out);
    let rules = list(container, &["restartPolicyRules"]);
    if !rules.is_empty() && at(container, &["restartPolicy"]).is_null() {
        out.push(FieldError::required(
            path.child("restartPolicy"),
            "must specify restartPolicy when restart rules are used",
        ));
    }
}

fn unique_name<'a>(
    container: &'a Tree,
    seen: &mut BTreeSet<&'a str>,
    path: &Path<'_>,
    out: &mut Faults,
) {
    let name = text(container, &["name"]);
    if !name.is_empty() && !seen.insert(name) {
        out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
    }
}

/// Validates that a pod's image has no surrounding whitespace. Templates are exempt.
pub(super) fn bare_image(container: &Tree, path: &Path<'_>, out: &mut Faults) {
    let image = text(container, &["image"]);
    if image.trim() != image {
        out.push(invalid_text(
            path.child("image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
}

fn common(container: &Tree, spec: &Tree, volumes: &Volumes<'_>, path: &Path<'_>, out: &mut Faults) {
    let name = text(container, &["name"]);
    if name.is_empty() {
        out.push(FieldError::required(path.child("name"), ""));
    } else {
        out.extend(
            names::dns_label(name)
                .into_iter()
                .map(|fault| invalid_text(path.child("name"), name, fault)),
        );
    }
    if text(container, &["image"]).is_empty() {
        out.push(FieldError::required(path.child("image"), ""));
    }
    required_one_of(
        container,
        "terminationMessagePolicy",
        &MESSAGE_POLICIES,
        path,
        out,
    );
    ports(container, &path.child("ports"), out);
    environment::variables(container, &path.child("env"), out);
    environment::sources(container, &path.child("envFrom"), out);
    mounts::mounts(container, volumes, &path.child("volumeMounts"), out);
    mounts::devices(container, volumes, &path.child("volumeDevices"), out);
    required_one_of(container, "imagePullPolicy", &PULL_POLICIES, path, out);
    resources::container(container, spec, &path.child("resources"), out);
    resize_policy(container, spec, &path.child("resizePolicy"), out);
    security::container(container, spec, &path.child("securityContext"), out);
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
            out.extend(
                faults
                    .into_iter()
                    .map(|fault| invalid_text(path.child("name"), name, fault)),
            );
        }
        match int(port, &["containerPort"]).unwrap_or_default() {
            0 => out.push(FieldError::required(path.child("containerPort"), "")),
            number => port_number(number, &path.child("containerPort"), out),
        }
        if let Some(number) = int(port, &["hostPort"]).filter(|number| *number != 0) {
            port_number(number, &path.child("hostPort"), out);
        }
        required_one_of(port, "protocol", &PROTOCOLS, &path, out);
    }
}

/// Validates that no two ports claim the same port of the host.
fn host_port_conflicts(containers: &[Tree], path: &Path<'_>, out: &mut Faults) {
    let mut claimed = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        let path = path.child("ports");
        for (index, port) in list(container, &["ports"]).iter().enumerate() {
            let Some(number) = int(port, &["hostPort"]).filter(|number| *number != 0) else {
                continue;
            };
            let claim = format!(
                "{}/{}/{number}",
                text(port, &["protocol"]),
                text(port, &["hostIP"])
            );
            if !claimed.insert(claim.clone()) {
                out.push(FieldError::duplicate(
                    path.index(index).child("hostPort"),
                    &Tree::from(claim),
                ));
            }
        }
    }
}

fn resize_policy(container: &Tree, spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, policy) in list(container, &["resizePolicy"]).iter().enumerate() {
        let (resource, restart) = (
            text(policy, &["resourceName"]),
            text(policy, &["restartPolicy"]),
        );
        if !seen.insert(resource) {
            out.push(FieldError::duplicate(
                path.index(index),
                &Tree::from(resource),
            ));
        }
        for (value, supported) in [
            (resource, ["cpu", "memory"]),
            (restart, ["NotRequired", "RestartContainer"]),
        ] {
            if value.is_empty() {
                out.push(FieldError::required(path, ""));
            } else if !supported.contains(&value) {
                out.push(FieldError::not_supported(
                    path,
                    &Tree::from(value),
                    &supported,
                ));
            }
        }
        if text(spec, &["restartPolicy"]) == "Never" && restart != "NotRequired" {
            out.push(invalid_text(
                path,
                restart,
                "must be 'NotRequired' when `restartPolicy` is 'Never'",
            ));
        }
    }
}
