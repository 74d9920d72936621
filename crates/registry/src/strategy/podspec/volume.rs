//! Volumes of a pod: each has a name and exactly one source.

use std::collections::BTreeSet;

use kinds::{Tree, status::FieldError};

use crate::strategy::checks::{Faults, nonnegative_quantity, one_of_if_set};
use crate::strategy::meta::invalid_text;
use crate::strategy::path::Path;
use crate::tree::{at, list, text};
use kinds::names;

/// The names of a pod's volumes, to which mounts refer.
pub(super) struct Volumes<'a> {
    names: BTreeSet<&'a str>,
}

/// Sources with the member that they cannot do without, if there is one.
const SOURCES: [(&str, &str); 30] = [
    ("emptyDir", ""),
    ("hostPath", "path"),
    ("gcePersistentDisk", "pdName"),
    ("awsElasticBlockStore", "volumeID"),
    ("gitRepo", "repository"),
    ("secret", "secretName"),
    ("nfs", ""),
    ("iscsi", "targetPortal"),
    ("glusterfs", "endpoints"),
    ("persistentVolumeClaim", "claimName"),
    ("rbd", "image"),
    ("cinder", "volumeID"),
    ("cephfs", ""),
    ("flocker", ""),
    ("downwardAPI", ""),
    ("fc", ""),
    ("azureFile", "secretName"),
    ("flexVolume", "driver"),
    ("configMap", "name"),
    ("vsphereVolume", "volumePath"),
    ("quobyte", "registry"),
    ("azureDisk", "diskName"),
    ("photonPersistentDisk", "pdID"),
    ("projected", ""),
    ("portworxVolume", "volumeID"),
    ("scaleIO", "gateway"),
    ("storageos", ""),
    ("csi", "driver"),
    ("ephemeral", ""),
    ("image", ""),
];

const HOST_PATH_TYPES: [&str; 8] = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

impl<'a> Volumes<'a> {
    /// The names alone, without judging anything.
    pub(super) fn names_of(spec: &'a Tree) -> Self {
        Self { names: list(spec, &["volumes"]).iter().map(|volume| text(volume, &["name"])).collect() }
    }

    /// True when the pod has a volume of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// Faults of a pod's volumes; the names of the sound ones.
pub(super) fn volumes<'a>(spec: &'a Tree, path: &Path<'_>, out: &mut Faults) -> Volumes<'a> {
    let path = path.child("volumes");
    let mut sound = BTreeSet::new();
    for (index, volume) in list(spec, &["volumes"]).iter().enumerate() {
        let path = path.index(index);
        let before = out.len();
        source(volume, &path, out);
        let name = text(volume, &["name"]);
        if name.is_empty() {
            out.push(FieldError::required(path.child("name"), ""));
        } else {
            out.extend(names::dns_label(name).into_iter().map(|fault| invalid_text(path.child("name"), name, fault)));
            if sound.contains(name) {
                out.push(FieldError::duplicate(path.child("name"), &Tree::from(name)));
            }
        }
        if out.len() == before {
            sound.insert(name);
        }
    }
    Volumes { names: sound }
}

fn source(volume: &Tree, path: &Path<'_>, out: &mut Faults) {
    let mut found = 0;
    for (kind, needed) in SOURCES {
        let source = at(volume, &[kind]);
        if !source.is_object() {
            continue;
        }
        let path = path.child(kind);
        if found > 0 {
            out.push(FieldError::forbidden(path, "may not specify more than 1 volume type"));
            continue;
        }
        found += 1;
        if !needed.is_empty() && text(source, &[needed]).is_empty() {
            out.push(FieldError::required(path.child(needed), ""));
        }
        details(kind, source, &path, out);
    }
    if found == 0 {
        out.push(FieldError::required(path, "must specify a volume type"));
    }
}

fn details(kind: &str, source: &Tree, path: &Path<'_>, out: &mut Faults) {
    match kind {
        "emptyDir" => nonnegative_quantity(at(source, &["sizeLimit"]), &path.child("sizeLimit"), out),
        "hostPath" => {
            let host = text(source, &["path"]);
            if host.split('/').any(|part| part == "..") {
                out.push(invalid_text(path.child("path"), host, "must not contain '..'"));
            }
            one_of_if_set(source, "type", &HOST_PATH_TYPES, path, out);
        }
        "nfs" => {
            for field in ["server", "path"] {
                if text(source, &[field]).is_empty() {
                    out.push(FieldError::required(path.child(field), ""));
                }
            }
            let nfs_path = text(source, &["path"]);
            if !nfs_path.is_empty() && !nfs_path.starts_with('/') {
                out.push(invalid_text(path.child("path"), nfs_path, "must be an absolute path"));
            }
        }
        "secret" | "configMap" => {
            file_mode(source, path, out);
            key_paths(source, path, out);
        }
        "downwardAPI" => {
            file_mode(source, path, out);
            downward_files(source, path, out);
        }
        "projected" => {
            file_mode(source, path, out);
            projected(source, path, out);
        }
        "ephemeral" if !at(source, &["volumeClaimTemplate"]).is_object() => {
            out.push(FieldError::required(path.child("volumeClaimTemplate"), ""));
        }
        _ => {}
    }
}

fn file_mode(source: &Tree, path: &Path<'_>, out: &mut Faults) {
    let mode = at(source, &["defaultMode"]);
    if mode.as_i64().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        out.push(FieldError::invalid(path.child("defaultMode"), mode, detail));
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
    }
}

fn file_path(item: &Tree, path: &Path<'_>, out: &mut Faults) {
    let file = text(item, &["path"]);
    if file.is_empty() {
        out.push(FieldError::required(path.child("path"), ""));
    }
    super::container::relative_path(file, &path.child("path"), out);
    if file.starts_with("..") && !file.starts_with("../") && file != ".." {
        out.push(invalid_text(path.child("path"), file, "must not start with '..'"));
    }
}

/// Fields of the pod that a file may show.
const FILE_FIELDS: [&str; 5] = ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

fn downward_files(source: &Tree, path: &Path<'_>, out: &mut Faults) {
    let items = path.child("items");
    for (index, item) in list(source, &["items"]).iter().enumerate() {
        let path = items.index(index);
        file_path(item, &path, out);
        match (at(item, &["fieldRef"]), at(item, &["resourceFieldRef"])) {
            (field, Tree::Null) if field.is_object() => {
                super::container::field_ref(field, &FILE_FIELDS, &path.child("fieldRef"), out);
            }
            (Tree::Null, resource) if resource.is_object() => {
                if text(resource, &["containerName"]).is_empty() {
                    out.push(FieldError::required(path.child("resourceFieldRef").child("containerName"), ""));
                }
            }
            (Tree::Null, Tree::Null) => out.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required")),
            _ => out.push(invalid_text(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")),
        }
    }
}

fn projected(source: &Tree, path: &Path<'_>, out: &mut Faults) {
    let sources = path.child("sources");
    for (index, part) in list(source, &["sources"]).iter().enumerate() {
        let path = sources.index(index);
        let kinds: Vec<&str> =
            part.as_object().into_iter().flatten().filter(|(_, value)| value.is_object()).map(|(name, _)| name.as_str()).collect();
        for kind in &kinds {
            let (inner, path) = (at(part, &[kind]), path.child(kind));
            match *kind {
                "secret" | "configMap" => {
                    if text(inner, &["name"]).is_empty() {
                        out.push(FieldError::required(path.child("name"), ""));
                    }
                    key_paths(inner, &path, out);
                }
                "downwardAPI" => downward_files(inner, &path, out),
                "serviceAccountToken" => {
                    if crate::tree::int(inner, &["expirationSeconds"]).is_some_and(|seconds| seconds < 600) {
                        let shown = at(inner, &["expirationSeconds"]);
                        out.push(FieldError::invalid(
                            path.child("expirationSeconds"),
                            shown,
                            "may not specify a duration less than 10 minutes",
                        ));
                    }
                    file_path(inner, &path, out);
                }
                _ => {}
            }
        }
        if kinds.len() > 1 {
            out.push(FieldError::forbidden(path, "may not specify more than 1 volume type per source"));
        }
        if kinds.is_empty() {
            out.push(FieldError::required(path, "must specify a source"));
        }
    }
}
