//! Object metadata: what every kind has in common when it is made or changed.
//!
//! Upstream judges metadata twice: the generic machinery with the loosest rules for names, and
//! most kinds once more with their own name rule and the rule that finalizers are qualified. On
//! updates both run, so that a fault stands twice among the causes; on creation the kind's own
//! judgement comes first and ends it.

use kinds::{
    Tree,
    status::{FieldError, FieldFault},
};

use super::path::Path;
use crate::tree::{at, carry, entries, flag, int, list, put, text};
use kinds::names;

/// Annotations may take this many bytes, keys and values together.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Finalizers that need no prefix.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

const METADATA: Path<'static> = Path::root("metadata");

/// How a kind judges names: the texts of what is wrong; the flag is true for `generateName`.
pub(crate) type NameRule<'a> = &'a dyn Fn(&str, bool) -> Vec<String>;

/// An `Invalid` fault whose value is text.
pub(crate) fn invalid_text(
    path: impl Into<String>,
    value: &str,
    detail: impl std::fmt::Display,
) -> FieldError {
    FieldError::invalid(path, &Tree::from(value), detail)
}

/// An `Invalid` fault whose value is shown as the given text, for values whose members stand in an
/// order of their own.
pub(crate) fn invalid_shown(
    path: impl Into<String>,
    shown: &str,
    detail: impl std::fmt::Display,
) -> FieldError {
    FieldError {
        fault: FieldFault::Invalid,
        field: path.into(),
        body: format!("Invalid value: {shown}: {detail}"),
    }
}

/// Faults of a new object's metadata.
pub(crate) fn create_faults(
    object: &Tree,
    namespaced: bool,
    rule: NameRule<'_>,
) -> Vec<FieldError> {
    let mut out = Vec::new();
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

/// Faults of changed metadata. `old` is what is stored.
pub(crate) fn update_faults(new: &Tree, old: &Tree) -> Vec<FieldError> {
    let mut out = Vec::new();
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

/// Faults of finalizers that are neither standard nor qualified: most kinds refuse them.
pub(crate) fn kube_finalizers(object: &Tree) -> Vec<FieldError> {
    let finalizers = METADATA.child("finalizers");
    let mut out = Vec::new();
    for (index, finalizer) in list(object, &["metadata", "finalizers"]).iter().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            let fault = "name is neither a standard finalizer name nor is it fully qualified";
            out.push(invalid_text(finalizers.index(index), name, fault));
        }
    }
    out
}

/// Carries over what a client may leave out of an update and never decides itself.
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
    // Generation is counted here and nowhere else; whatever the client sent is dropped.
    carry(old, new, &["metadata", "generation"]);
}

/// Raises the generation by one.
pub(crate) fn raise_generation(new: &mut Tree, old: &Tree) {
    let generation = int(old, &["metadata", "generation"]).unwrap_or_default();
    put(
        new,
        &["metadata", "generation"],
        generation.saturating_add(1),
    );
}

/// Faults of a map of labels.
pub(crate) fn labels(labels: &Tree, path: &Path<'_>, out: &mut Vec<FieldError>) {
    for (key, value) in entries(labels, &[]) {
        out.extend(
            names::qualified_name(key)
                .into_iter()
                .map(|fault| invalid_text(path, key, fault)),
        );
        let value = value.as_str().unwrap_or_default();
        out.extend(
            names::label_value(value)
                .into_iter()
                .map(|fault| invalid_text(path, value, fault)),
        );
    }
}

/// Faults of a map of annotations.
pub(crate) fn annotations(annotations: &Tree, path: &Path<'_>, out: &mut Vec<FieldError>) {
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

fn owners(meta: &Tree, out: &mut Vec<FieldError>) {
    let path = METADATA.child("ownerReferences");
    let owners = list(meta, &["ownerReferences"]);
    let mut controller: Option<String> = None;
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
                let shown: Vec<String> = owners.iter().map(shown_owner).collect();
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {current}"
                );
                out.push(invalid_shown(
                    path,
                    &format!("[{}]", shown.join(",")),
                    detail,
                ));
            } else {
                controller = Some(current);
            }
        }
    }
}

/// An owner reference as errors show it: members in their wire order.
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

fn finalizers(meta: &Tree, out: &mut Vec<FieldError>) {
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

fn no_new_finalizers(meta: &Tree, was: &Tree, out: &mut Vec<FieldError>) {
    let before = list(was, &["finalizers"]);
    let mut extra: Vec<String> = list(meta, &["finalizers"])
        .iter()
        .filter(|finalizer| !before.contains(finalizer))
        .filter_map(|finalizer| finalizer.as_str().map(kinds::status::quoted))
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

/// The front of a generated name as it is judged: what follows makes a trailing hyphen sound.
pub(crate) fn without_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(front) if !front.is_empty() => format!("{front}a"),
        _ => prefix.to_owned(),
    }
}
