//! Validation of volume mounts and block devices of containers.
//!
//! A container either mounts a volume or attaches it as a block device, never both. Only claims can
//! be attached as block devices.

use std::collections::BTreeSet;

use kinds::{Tree, status::FieldError};

use super::values::{no_climbing, relative_path};
use super::volume::Volumes;
use crate::strategy::checks::{Faults, one_of};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::tree::{at, flag, list, text};

const PROPAGATIONS: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
const RECURSIONS: [&str; 3] = ["Disabled", "Enabled", "IfPossible"];

/// Validates volume mounts. Upstream reports some faults at the list instead of the item.
pub(super) fn mounts(container: &Tree, volumes: &Volumes<'_>, all: &Path<'_>, out: &mut Faults) {
    let mut points = BTreeSet::new();
    let device_names = texts(container, "volumeDevices", "name");
    let device_paths = texts(container, "volumeDevices", "devicePath");
    for (index, mount) in list(container, &["volumeMounts"]).iter().enumerate() {
        let path = all.index(index);
        let (name, point) = (text(mount, &["name"]), text(mount, &["mountPath"]));
        if name.is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        }
        if !volumes.contains(name) {
            out.push(FieldError::not_found(path.child("name"), &Tree::from(name)));
        }
        if point.is_empty() {
            out.push(FieldError::required(path.child("mountPath"), ""));
        }
        if !points.insert(point) {
            out.push(invalid_text(
                path.child("mountPath"),
                point,
                "must be unique",
            ));
        }
        if device_names.contains(name) {
            out.push(invalid_text(
                path.child("name"),
                name,
                "must not already exist in volumeDevices",
            ));
        }
        if device_paths.contains(point) {
            out.push(invalid_text(
                path.child("mountPath"),
                point,
                "must not already exist as a path in volumeDevices",
            ));
        }
        let (inner, expression) = (text(mount, &["subPath"]), text(mount, &["subPathExpr"]));
        relative_path(inner, &all.child("subPath"), out);
        if !expression.is_empty() && !inner.is_empty() {
            out.push(invalid_text(
                path.child("subPathExpr"),
                expression,
                "subPathExpr and subPath are mutually exclusive",
            ));
        }
        relative_path(expression, &all.child("subPathExpr"), out);
        propagation(mount, container, all, out);
        recursion(mount, all, out);
    }
}

/// Returns a member of all items of a list.
fn texts<'a>(container: &'a Tree, member: &str, of_item: &str) -> BTreeSet<&'a str> {
    list(container, &[member])
        .iter()
        .map(|item| text(item, &[of_item]))
        .collect()
}

fn propagation(mount: &Tree, container: &Tree, all: &Path<'_>, out: &mut Faults) {
    let mode = at(mount, &["mountPropagation"]);
    if mode.is_null() {
        return;
    }
    one_of(mount, "mountPropagation", &PROPAGATIONS, all, out);
    if mode.as_str() == Some("Bidirectional")
        && !flag(container, &["securityContext", "privileged"])
    {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        out.push(FieldError::forbidden(all.child("mountPropagation"), detail));
    }
}

fn recursion(mount: &Tree, all: &Path<'_>, out: &mut Faults) {
    let path = all.child("recursiveReadOnly");
    match at(mount, &["recursiveReadOnly"]).as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !flag(mount, &["readOnly"]) {
                out.push(FieldError::forbidden(
                    path,
                    "may only be specified when readOnly is true",
                ));
            }
            if !matches!(text(mount, &["mountPropagation"]), "" | "None") {
                out.push(FieldError::forbidden(
                    path,
                    "may only be specified when mountPropagation is None or not specified",
                ));
            }
        }
        Some(other) => out.push(FieldError::not_supported(
            path,
            &Tree::from(other),
            &RECURSIONS,
        )),
    }
}

/// Validates volumes that are attached as block devices.
pub(super) fn devices(container: &Tree, volumes: &Volumes<'_>, all: &Path<'_>, out: &mut Faults) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    let mount_names = texts(container, "volumeMounts", "name");
    let mount_paths = texts(container, "volumeMounts", "mountPath");
    for (index, device) in list(container, &["volumeDevices"]).iter().enumerate() {
        let path = all.index(index);
        let (name, device_path) = (text(device, &["name"]), text(device, &["devicePath"]));
        if name.is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        } else if !names.insert(name) {
            out.push(invalid_text(path.child("name"), name, "must be unique"));
        }
        if !volumes.contains(name) {
            out.push(FieldError::not_found(path.child("name"), &Tree::from(name)));
        } else if !volumes.is_claim(name) {
            let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            out.push(invalid_text(path.child("name"), name, detail));
        }
        if device_path.is_empty() {
            out.push(FieldError::required(path.child("devicePath"), ""));
        }
        if paths.contains(device_path) {
            out.push(invalid_text(
                path.child("devicePath"),
                device_path,
                "must be unique",
            ));
        }
        let mut climbing = Faults::default();
        no_climbing(device_path, &path, &mut climbing);
        if climbing.is_empty() {
            paths.insert(device_path);
        } else {
            out.push(invalid_text(
                path.child("devicePath"),
                device_path,
                "can not contain backsteps ('..')",
            ));
        }
        if mount_names.contains(name) {
            out.push(invalid_text(
                path.child("name"),
                name,
                "must not already exist in volumeMounts",
            ));
        }
        if mount_paths.contains(device_path) {
            out.push(invalid_text(
                path.child("devicePath"),
                device_path,
                "must not already exist as a path in volumeMounts",
            ));
        }
    }
}
