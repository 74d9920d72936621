//! Defaults and validation of object metadata, for all kinds.
//!
//! Upstream validates metadata twice. The generic layer applies the loosest name rule. Most kinds
//! then apply their own name rule and require qualified finalizers. Updates run both, so an error
//! lists the same fault twice. On creation the kind's own validation runs first, and its faults
//! prevent the generic one.

use std::collections::HashSet;

use kinds::{
    Tree,
    status::{FieldError, FieldErrors},
};

pub(crate) use rules::validation::{invalid_shown, invalid_text, labels};

use super::path::Path;
use crate::tree::{at, carry, entries, flag, int, list, put, text};
use kinds::names;

/// Maximum size of all annotations, keys and values together, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Finalizers that are valid without a prefix.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

const METADATA: Path<'static> = Path::root("metadata");

/// Validates a name and returns the messages of what is wrong. The flag is `true` for
/// `generateName`.
pub(crate) type NameRule<'a> = &'a dyn Fn(&str, bool) -> Vec<String>;

/// Validates the metadata of a new object.
pub(crate) fn create_faults(object: &Tree, namespaced: bool, rule: NameRule<'_>) -> FieldErrors {
    let mut out = FieldErrors::default();
    let meta = at(object, &["metadata"]);
    let generate = text(meta, &["generateName"]);
    if !generate.is_empty() {
        out.extend(
            rule(generate, true)
                .into_iter()
                .map(|fault| invalid_text(METADATA.child("generateName"), generate, fault)),
        );
    }
    let name = text(meta, &["name"]);
    if name.is_empty() {
        out.push(FieldError::required(
            METADATA.child("name"),
            "name or generateName is required",
        ));
    } else {
        out.extend(
            rule(name, false)
                .into_iter()
                .map(|fault| invalid_text(METADATA.child("name"), name, fault)),
        );
    }
    let namespace = text(meta, &["namespace"]);
    match (namespaced, namespace.is_empty()) {
        (true, true) => out.push(FieldError::required(METADATA.child("namespace"), "")),
        (true, false) => {
            out.extend(
                names::dns_label(namespace)
                    .into_iter()
                    .map(|fault| invalid_text(METADATA.child("namespace"), namespace, fault)),
            );
        }
        (false, false) => out.push(FieldError::forbidden(
            METADATA.child("namespace"),
            "not allowed on this type",
        )),
        (false, true) => {}
    }
    if int(meta, &["generation"]).is_some_and(|generation| generation < 0) {
        out.push(FieldError::invalid(
            METADATA.child("generation"),
            at(meta, &["generation"]),
            "must be greater than or equal to 0",
        ));
    }
    labels(at(meta, &["labels"]), &METADATA.child("labels"), &mut out);
    annotations(
        at(meta, &["annotations"]),
        &METADATA.child("annotations"),
        &mut out,
    );
    owners(meta, &mut out);
    finalizers(meta, &mut out);
    out
}

/// Validates updated metadata. `old` is the stored object.
pub(crate) fn update_faults(new: &Tree, old: &Tree) -> FieldErrors {
    let mut out = FieldErrors::default();
    let (meta, was) = (at(new, &["metadata"]), at(old, &["metadata"]));
    if !at(was, &["deletionTimestamp"]).is_null() {
        no_new_finalizers(meta, was, &mut out);
    }
    if text(meta, &["resourceVersion"]).is_empty() {
        out.push(invalid_text(
            METADATA.child("resourceVersion"),
            "",
            "must be specified for an update",
        ));
    }
    if int(meta, &["generation"]) < int(was, &["generation"]) {
        out.push(FieldError::invalid(
            METADATA.child("generation"),
            at(meta, &["generation"]),
            "must not be decremented",
        ));
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let (now, before) = (at(meta, &[field]), at(was, &[field]));
        if now != before && !(crate::tree::is_empty(now) && crate::tree::is_empty(before)) {
            out.push(FieldError::invalid(
                METADATA.child(field),
                at(meta, &[field]),
                "field is immutable",
            ));
        }
    }
    labels(at(meta, &["labels"]), &METADATA.child("labels"), &mut out);
    annotations(
        at(meta, &["annotations"]),
        &METADATA.child("annotations"),
        &mut out,
    );
    owners(meta, &mut out);
    finalizers(meta, &mut out);
    out
}

/// Validates that finalizers are standard or qualified, as most kinds require.
pub(crate) fn kube_finalizers(object: &Tree) -> FieldErrors {
    let finalizers = METADATA.child("finalizers");
    let mut out = FieldErrors::default();
    for (index, finalizer) in list(object, &["metadata", "finalizers"]).iter().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            let fault = "name is neither a standard finalizer name nor is it fully qualified";
            out.push(invalid_text(finalizers.index(index), name, fault));
        }
    }
    out
}

/// Restores metadata that a client may omit in an update but cannot change.
pub(crate) fn prepare_update(new: &mut Tree, old: &Tree) {
    for field in ["uid", "creationTimestamp", "resourceVersion", "namespace"] {
        if at(new, &["metadata", field]).is_null() || text(new, &["metadata", field]).is_empty() {
            carry(old, new, &["metadata", field]);
        }
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if at(new, &["metadata", field]).is_null() {
            carry(old, new, &["metadata", field]);
        }
    }
    // Only this module changes the generation, so a value from the client is discarded.
    carry(old, new, &["metadata", "generation"]);
}

/// Increments the generation.
pub(crate) fn raise_generation(new: &mut Tree, old: &Tree) {
    let generation = int(old, &["metadata", "generation"]).unwrap_or_default();
    put(
        new,
        &["metadata", "generation"],
        generation.saturating_add(1),
    );
}

/// Validates a map of annotations.
pub(crate) fn annotations(annotations: &Tree, path: &Path<'_>, out: &mut FieldErrors) {
    let mut size = 0;
    for (key, value) in entries(annotations, &[]) {
        out.extend(
            names::qualified_name(&key.to_lowercase())
                .into_iter()
                .map(|fault| invalid_text(path, key, fault)),
        );
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_LIMIT {
        out.push(FieldError::too_long(path, ANNOTATIONS_LIMIT));
    }
}

fn owners(meta: &Tree, out: &mut FieldErrors) {
    let path = METADATA.child("ownerReferences");
    let owners = list(meta, &["ownerReferences"]);
    let mut controller: Option<String> = None;
    let mut all_shown: Option<String> = None;
    for owner in owners {
        let api_version = text(owner, &["apiVersion"]);
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        if version.is_empty() {
            out.push(invalid_text(
                path.child("apiVersion"),
                api_version,
                "version must not be empty",
            ));
        }
        for field in ["kind", "name", "uid"] {
            if text(owner, &[field]).is_empty() {
                out.push(invalid_text(path.child(field), "", "must not be empty"));
            }
        }
        if group.is_empty() && version == "v1" && text(owner, &["kind"]) == "Event" {
            out.push(invalid_shown(
                path,
                &shown_owner(owner),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if flag(owner, &["controller"]) {
            let current = format!("{}/{}", text(owner, &["kind"]), text(owner, &["name"]));
            if let Some(first) = &controller {
                let shown = all_shown.get_or_insert_with(|| {
                    let shown: Vec<String> = owners.iter().map(shown_owner).collect();
                    format!("[{}]", shown.join(","))
                });
                out.push_with(|| {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {current}"
                    );
                    invalid_shown(path, shown, detail)
                });
            } else {
                controller = Some(current);
            }
        }
    }
}

/// Renders an owner reference as errors show it: with members in wire order.
fn shown_owner(owner: &Tree) -> String {
    let required = ["apiVersion", "kind", "name", "uid"]
        .map(|field| format!("\"{field}\":{}", Tree::from(text(owner, &[field]))));
    let optional = ["controller", "blockOwnerDeletion"]
        .into_iter()
        .filter_map(|field| {
            owner
                .get(field)
                .filter(|value| value.is_boolean())
                .map(|value| format!("\"{field}\":{value}"))
        });
    format!(
        "{{{}}}",
        required
            .into_iter()
            .chain(optional)
            .collect::<Vec<_>>()
            .join(",")
    )
}

fn finalizers(meta: &Tree, out: &mut FieldErrors) {
    let path = METADATA.child("finalizers");
    let all = list(meta, &["finalizers"]);
    for finalizer in all {
        let name = finalizer.as_str().unwrap_or_default();
        out.extend(
            names::qualified_name(name)
                .into_iter()
                .map(|fault| invalid_text(path, name, fault)),
        );
    }
    let has = |wanted: &str| {
        all.iter()
            .any(|finalizer| finalizer.as_str() == Some(wanted))
    };
    if has("orphan") && has("foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        out.push(FieldError::invalid(path, at(meta, &["finalizers"]), detail));
    }
}

fn no_new_finalizers(meta: &Tree, was: &Tree, out: &mut FieldErrors) {
    let before: HashSet<&str> = list(was, &["finalizers"])
        .iter()
        .filter_map(Tree::as_str)
        .collect();
    let mut extra: Vec<String> = list(meta, &["finalizers"])
        .iter()
        .filter_map(Tree::as_str)
        .filter(|finalizer| !before.contains(finalizer))
        .map(kinds::status::quoted)
        .collect();
    extra.sort();
    if !extra.is_empty() {
        let extra = extra.join(", ");
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{extra}}}"
        );
        out.push(FieldError::forbidden(METADATA.child("finalizers"), detail));
    }
}

/// Returns a `generateName` prefix for validation as a name. A trailing hyphen is valid there,
/// because a suffix follows it.
pub(crate) fn without_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(front) if !front.is_empty() => format!("{front}a"),
        _ => prefix.to_owned(),
    }
}
