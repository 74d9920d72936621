//! Validation of a pod's volumes: each has a unique name and exactly one source.
//!
//! Some paths in faults are misspelled on purpose, because upstream misspells them and clients see
//! them.

use std::collections::BTreeMap;

use kinds::{Tree, names, status::FieldError};

use super::Holder;
use super::environment::{field_ref, resource_ref};
use super::values::{file_mode, no_climbing, relative_path};
use crate::strategy::checks::{Faults, one_of_if_set, quantity};
use crate::strategy::claim;
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::tree::{at, int, list, text};

/// Names of the valid volumes of a pod, each with whether it is a claim. Volume mounts refer to
/// them.
pub(super) struct Volumes<'a> {
    names: BTreeMap<&'a str, bool>,
}

/// Volume sources with their required fields, in the order in which upstream validates them.
const SOURCES: [(&str, &[&str]); 29] = [
    ("hostPath", &["path"]),
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("secret", &["secretName"]),
    ("nfs", &["server", "path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("glusterfs", &["endpoints", "path"]),
    ("flocker", &[]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &["monitors"]),
    ("quobyte", &["registry", "volume"]),
    ("downwardAPI", &[]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("configMap", &["name"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("storageos", &["volumeName"]),
    ("projected", &[]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("csi", &["driver"]),
    ("ephemeral", &[]),
    ("image", &[]),
];

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];
const CSI_NAME_LIMIT: usize = 63;
const SECOND_SOURCE: &str = "may not specify more than 1 volume type";

impl Volumes<'_> {
    /// Returns `true` if the pod has a valid volume of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Returns `true` if the volume is a persistent volume claim or an ephemeral volume.
    pub(super) fn is_claim(&self, name: &str) -> bool {
        self.names.get(name).copied().unwrap_or_default()
    }
}

/// Validates the volumes of a pod and returns the valid ones.
pub(super) fn volumes<'a>(
    spec: &'a Tree,
    holder: Holder<'a>,
    path: &Path<'_>,
    out: &mut Faults,
) -> Volumes<'a> {
    let path = path.child("volumes");
    let mut sound = BTreeMap::new();
    for (index, volume) in list(spec, &["volumes"]).iter().enumerate() {
        let path = path.index(index);
        let before = out.len();
        source(volume, holder, &path, out);
        let name = text(volume, &["name"]);
        if name.is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        } else {
            out.extend(
                names::dns_label(name)
                    .into_iter()
                    .map(|fault| invalid_text(path.child("name"), name, fault)),
            );
        }
        if sound.contains_key(name) {
            out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
        }
        if out.len() == before {
            let is_claim = ["persistentVolumeClaim", "ephemeral"]
                .iter()
                .any(|kind| at(volume, &[kind]).is_object());
            sound.insert(name, is_claim);
        }
    }
    if let Holder::Template(claims) = holder {
        sound.extend(
            claims
                .iter()
                .map(|claim| (text(claim, &["metadata", "name"]), true)),
        );
    }
    Volumes { names: sound }
}

fn source(volume: &Tree, holder: Holder<'_>, path: &Path<'_>, out: &mut Faults) {
    let mut found = 0;
    let empty = at(volume, &["emptyDir"]);
    if empty.is_object() {
        found += 1;
        if quantity(at(empty, &["sizeLimit"])).is_some_and(|size| size.is_negative()) {
            let path = path.child("emptyDir");
            out.push(FieldError::forbidden(
                path.child("sizeLimit"),
                "SizeLimit field must be a valid resource quantity",
            ));
        }
    }
    for (kind, needed) in SOURCES {
        let source = at(volume, &[kind]);
        if !source.is_object() {
            continue;
        }
        // Upstream spells these names inconsistently in its paths.
        let shown = match kind {
            "cephfs" if found > 0 => "cephFS",
            "downwardAPI" if found > 0 => "downwarAPI",
            "gcePersistentDisk" if found == 0 => "persistentDisk",
            kind => kind,
        };
        let path = path.child(shown);
        if found > 0 {
            out.push(FieldError::forbidden(path, SECOND_SOURCE));
            continue;
        }
        found += 1;
        let before = out.len();
        for member in needed {
            if crate::tree::is_empty(at(source, &[member])) {
                out.push(FieldError::required(path.child(member), ""));
            }
        }
        if kind != "hostPath" || out.len() == before {
            details(kind, source, &path, out);
        }
    }
    if found == 0 {
        out.push(FieldError::required(path, "must specify a volume type"));
    }
    if at(volume, &["ephemeral"]).is_object()
        && let Holder::Pod(pod) = holder
        && !pod.is_empty()
        && !text(volume, &["name"]).is_empty()
    {
        let name = text(volume, &["name"]);
        let claim = format!("{pod}-{name}");
        let faults = names::dns_subdomain(&claim);
        out.extend(faults.into_iter().map(|fault| {
            invalid_text(
                path.child("name"),
                name,
                format!("PVC name {claim:?}: {fault}"),
            )
        }));
    }
}

fn details(kind: &str, source: &Tree, path: &Path<'_>, out: &mut Faults) {
    match kind {
        "hostPath" => {
            no_climbing(text(source, &["path"]), &path.child("path"), out);
            one_of_if_set(source, "type", &HOST_PATH_TYPES, path, out);
        }
        "gitRepo" => relative_path(text(source, &["directory"]), &path.child("directory"), out),
        "nfs" => {
            let nfs_path = text(source, &["path"]);
            if !nfs_path.starts_with('/') {
                out.push(invalid_text(
                    path.child("path"),
                    nfs_path,
                    "must be an absolute path",
                ));
            }
        }
        "secret" | "configMap" => {
            file_mode(source, "defaultMode", path, out);
            key_paths(source, path, out);
        }
        "downwardAPI" => {
            file_mode(source, "defaultMode", path, out);
            for file in list(source, &["items"]) {
                downward_file(file, path, out);
            }
        }
        "projected" => {
            file_mode(source, "defaultMode", path, out);
            projected(source, path, out);
        }
        "iscsi" => iscsi(source, path, out),
        "csi" => csi(source, path, out),
        "ephemeral" => {
            let template = at(source, &["volumeClaimTemplate"]);
            let path = path.child("volumeClaimTemplate");
            if template.is_object() {
                claim::spec_faults(at(template, &["spec"]), &path.child("spec"), out);
            } else {
                out.push(FieldError::required(path, ""));
            }
        }
        _ => {}
    }
}

fn iscsi(source: &Tree, path: &Path<'_>, out: &mut Faults) {
    let name = text(source, &["iqn"]);
    if !name.is_empty() {
        iscsi_name(name, &path.child("iqn"), out);
    }
    let lun = int(source, &["lun"]).unwrap_or_default();
    if !(0..=255).contains(&lun) {
        out.push(FieldError::invalid(
            path.child("lun"),
            &Tree::from(lun),
            "must be between 0 and 255, inclusive",
        ));
    }
    let authenticates = ["chapAuthDiscovery", "chapAuthSession"]
        .iter()
        .any(|field| crate::tree::flag(source, &[field]));
    if authenticates && at(source, &["secretRef"]).is_null() {
        out.push(FieldError::required(path.child("secretRef"), ""));
    }
    if let Some(initiator) = at(source, &["initiatorName"]).as_str() {
        iscsi_name(initiator, &path.child("initiatorname"), out);
    }
}

/// Validates the name of an iSCSI node (RFC 3720): `iqn.2001-04.com.example:storage`, or one of the
/// formats `eui` and `naa`.
fn iscsi_name(name: &str, path: &Path<'_>, out: &mut Faults) {
    let hex = |prefix: &str, length: usize| {
        let digits = name.get(prefix.len() + 1..).unwrap_or_default();
        digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let is_valid = match name.get(..3) {
        Some("iqn") => is_qualified_iscsi_name(name),
        Some("eui") => hex("eui", 16),
        Some("naa") => hex("naa", 32),
        _ => {
            let why = "must be valid format starting with iqn, eui, or naa";
            out.push(invalid_text(path, name, why));
            return;
        }
    };
    if !is_valid {
        out.push(invalid_text(path, name, "must be valid format"));
    }
}

/// Returns true for `iqn.YYYY-MM.AUTHORITY:NAME`.
fn is_qualified_iscsi_name(name: &str) -> bool {
    let parts = name.strip_prefix("iqn.").and_then(|rest| {
        let (date, rest) = (rest.get(..7)?, rest.get(7..)?.strip_prefix('.')?);
        Some((date, rest.split_once(':')?))
    });
    let Some((date, (authority, own))) = parts else {
        return false;
    };
    let is_date = date.bytes().enumerate().all(|(at, byte)| match at {
        4 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let is_authority = !authority.is_empty()
        && authority
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let is_name = !own.is_empty()
        && !own.contains([',', ';', '*', '&', '$', '|'])
        && !own.contains(char::is_whitespace);
    is_date && is_authority && is_name
}

fn csi(source: &Tree, path: &Path<'_>, out: &mut Faults) {
    let driver = text(source, &["driver"]);
    if driver.len() > CSI_NAME_LIMIT {
        out.push(FieldError::too_long(path.child("driver"), CSI_NAME_LIMIT));
    }
    let faults = names::dns_subdomain(&driver.to_lowercase());
    out.extend(
        faults
            .into_iter()
            .map(|fault| invalid_text(path.child("driver"), driver, fault)),
    );
    let secret = at(source, &["nodePublishSecretRef"]);
    if secret.is_object() && text(secret, &["name"]).is_empty() {
        out.push(FieldError::required(
            path.child("nodePublishSecretRef").child("name"),
            "",
        ));
    }
}

fn key_paths(source: &Tree, path: &Path<'_>, out: &mut Faults) {
    let items = path.child("items");
    for (index, item) in list(source, &["items"]).iter().enumerate() {
        let path = items.index(index);
        if text(item, &["key"]).is_empty() {
            out.push(FieldError::required(path.child("key"), ""));
        }
        file_path(item, &path, out);
        file_mode(item, "mode", &path, out);
    }
}

fn file_path(item: &Tree, path: &Path<'_>, out: &mut Faults) {
    let file = text(item, &["path"]);
    if file.is_empty() {
        out.push(FieldError::required(path.child("path"), ""));
    }
    let path = path.child("path");
    relative_path(file, &path, out);
    if file.starts_with("..") && !file.starts_with("../") {
        out.push(invalid_text(path, file, "must not start with '..'"));
    }
}

/// Pod fields that a downward API file may contain.
const FILE_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// Validates a downward API file. Upstream reports faults at the volume source, not at the item.
fn downward_file(file: &Tree, path: &Path<'_>, out: &mut Faults) {
    file_path(file, path, out);
    let (field, resource) = (at(file, &["fieldRef"]), at(file, &["resourceFieldRef"]));
    if field.is_object() {
        field_ref(field, &FILE_FIELDS, &path.child("fieldRef"), out);
        if resource.is_object() {
            out.push(invalid_text(
                path,
                "resource",
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            ));
        }
    } else if resource.is_object() {
        resource_ref(resource, true, &path.child("resourceFieldRef"), out);
    } else {
        out.push(FieldError::required(
            path,
            "one of fieldRef and resourceFieldRef is required",
        ));
    }
    file_mode(file, "mode", path, out);
}

fn projected(source: &Tree, path: &Path<'_>, out: &mut Faults) {
    let sources = path.child("sources");
    let mut taken = std::collections::BTreeSet::new();
    for (index, part) in list(source, &["sources"]).iter().enumerate() {
        let at_part = sources.index(index);
        let mut found = 0;
        for kind in [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ] {
            let inner = at(part, &[kind]);
            if !inner.is_object() {
                continue;
            }
            found += 1;
            projected_part(kind, inner, path, &at_part.child(kind), out);
            for file in list(inner, &["items"])
                .iter()
                .map(|item| text(item, &["path"]))
                .filter(|file| !file.is_empty())
            {
                if !taken.insert(file) {
                    let shown = if kind == "downwardAPI" {
                        file
                    } else {
                        text(inner, &["name"])
                    };
                    out.push(invalid_text(path, shown, "conflicting duplicate paths"));
                }
            }
        }
        if found > 1 {
            out.push(FieldError::forbidden(at_part, SECOND_SOURCE));
        }
    }
}

fn projected_part(kind: &str, inner: &Tree, all: &Path<'_>, path: &Path<'_>, out: &mut Faults) {
    match kind {
        "secret" | "configMap" => {
            if text(inner, &["name"]).is_empty() {
                out.push(FieldError::required(path.child("name"), ""));
            }
            key_paths(inner, path, out);
        }
        "downwardAPI" => {
            for file in list(inner, &["items"]) {
                downward_file(file, path, out);
            }
        }
        "serviceAccountToken" => {
            let (seconds, shown) = (
                int(inner, &["expirationSeconds"]).unwrap_or_default(),
                at(inner, &["expirationSeconds"]),
            );
            let path = path.child("expirationSeconds");
            if seconds < 600 {
                out.push(FieldError::invalid(
                    path,
                    shown,
                    "may not specify a duration less than 10 minutes",
                ));
            }
            if seconds > 1 << 32 {
                out.push(FieldError::invalid(
                    path,
                    shown,
                    "may not specify a duration larger than 2^32 seconds",
                ));
            }
            file_path(inner, all, out);
        }
        _ => {}
    }
}
