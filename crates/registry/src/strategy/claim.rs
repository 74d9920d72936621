//! Defaults and validation of `PersistentVolumeClaim` and of the claim templates in stateful sets
//! and ephemeral volumes.
//!
//! Only the resources, the volume attributes class and an empty volume name of a spec may change.

use kinds::tree::json;
use kinds::{
    Tree, names,
    status::{FieldError, FieldErrors},
};

use super::checks::{Faults, one_of_if_set, quantity};
use super::meta::invalid_text;
use super::path::{Path, SPEC};
use super::{Strategy, StrategyContext, same, selector};
use crate::tree::{at, carry, ensure, fill, list, put, text};

const ACCESS_MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

pub(crate) struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn default(&self, object: &mut Tree) {
        defaults(object);
    }

    fn prepare_create(&self, _context: &StrategyContext<'_>, object: &mut Tree) {
        put(object, &["status"], json!({"phase": "Pending"}));
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut out = FieldErrors::default();
        spec_faults(at(object, &["spec"]), &SPEC, &mut out);
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
            return out;
        }
        let mut undone = new.clone();
        for part in [
            &["spec", "resources"][..],
            &["spec", "volumeAttributesClassName"],
        ] {
            carry(old, &mut undone, part);
        }
        // The default class may come after the claim.
        if at(old, &["spec", "storageClassName"]).is_null() {
            carry(old, &mut undone, &["spec", "storageClassName"]);
        }
        // Binding a claim sets its volume name, which never changes afterwards.
        if text(old, &["spec", "volumeName"]).is_empty() {
            carry(old, &mut undone, &["spec", "volumeName"]);
        }
        if !same(
            "io.k8s.api.core.v1.PersistentVolumeClaim",
            &["spec"],
            &undone,
            old,
        ) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            out.push(FieldError::forbidden(SPEC, detail));
        }
        out
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// Validates the spec of a claim or of a claim template.
pub(crate) fn spec_faults(spec: &Tree, path: &Path<'_>, out: &mut Faults) {
    selector::faults(at(spec, &["selector"]), &path.child("selector"), false, out);
    access_modes(spec, "at least 1 access mode is required", path, out);
    let storage = at(spec, &["resources", "requests", "storage"]);
    let at_storage = path.child("resources");
    let at_storage = at_storage.key("storage");
    if storage.is_null() {
        out.push(FieldError::required(at_storage, ""));
    } else if quantity(storage).is_some_and(|amount| amount.is_zero() || amount.is_negative()) {
        out.push(FieldError::invalid(
            at_storage,
            storage,
            "must be greater than zero",
        ));
    }
    let class = text(spec, &["storageClassName"]);
    if !class.is_empty() {
        out.extend(
            names::dns_subdomain(class)
                .into_iter()
                .map(|fault| invalid_text(path.child("storageClassName"), class, fault)),
        );
    }
    one_of_if_set(spec, "volumeMode", &["Block", "Filesystem"], path, out);
}

/// Validates the access modes of a claim or volume. `missing` is the message if the list is empty.
pub(crate) fn access_modes(spec: &Tree, missing: &str, path: &Path<'_>, out: &mut Faults) {
    let path = path.child("accessModes");
    let modes = list(spec, &["accessModes"]);
    if modes.is_empty() {
        out.push(FieldError::required(path, missing));
    }
    for mode in modes {
        if !mode
            .as_str()
            .is_some_and(|mode| ACCESS_MODES.contains(&mode))
        {
            out.push(FieldError::not_supported(path, mode, &ACCESS_MODES));
        }
    }
    let is_single = |mode: &Tree| mode.as_str() == Some("ReadWriteOncePod");
    let is_other = |mode: &Tree| {
        !is_single(mode)
            && mode
                .as_str()
                .is_some_and(|mode| ACCESS_MODES.contains(&mode))
    };
    if modes.iter().any(is_single) && modes.iter().any(is_other) {
        out.push(FieldError::forbidden(
            path,
            "may not use ReadWriteOncePod with other access modes",
        ));
    }
}

/// Applies the defaults of a claim's spec.
pub(crate) fn spec_defaults(claim: &mut Tree) {
    fill(claim, &["spec", "volumeMode"], "Filesystem");
    let source = at(claim, &["spec", "dataSource"]);
    if source.is_object() && at(claim, &["spec", "dataSourceRef"]).is_null() {
        let source = source.clone();
        put(claim, &["spec", "dataSourceRef"], source);
    }
}

/// Applies the defaults of a claim or of a claim template.
pub(crate) fn defaults(claim: &mut Tree) {
    fill(claim, &["status", "phase"], "Pending");
    spec_defaults(claim);
    requests_in_claim(claim);
}

fn requests_in_claim(claim: &mut Tree) {
    let limits = at(claim, &["spec", "resources", "limits"])
        .as_object()
        .cloned()
        .unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    let requests = ensure(claim, &["spec", "resources", "requests"]);
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}
