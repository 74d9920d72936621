//! Defaults and validation of `CustomResourceDefinition`: names, scope, versions and conversion.
//!
//! Unlike upstream, this server rejects conversion webhooks. The status of a new definition is
//! discarded, and `storedVersions` starts with the storage version.
//!
//! Read next: `structural` for the rules of schemas.

mod structural;
mod versions;

use std::collections::BTreeSet;

use kinds::Tree;
use kinds::status::{FieldError, FieldErrors};
use kinds::{facts::Type, names};

use super::checks::{Faults, one_of};
use super::meta::invalid_text;
use super::path::Path;
use super::{KindFacts, Strategy, StrategyContext};
use crate::facts::DefinitionFlags;
use crate::tree::{at, carry, entries, fill, flag, list, list_mut, put, take, text};

pub(crate) struct Definition;

impl Strategy for Definition {
    fn facts(&self, object: &Tree) -> Option<KindFacts> {
        Some(Box::new(DefinitionFlags::of(object)))
    }

    fn default(&self, definition: &mut Tree) {
        let kind = text(definition, &["spec", "names", "kind"]).to_owned();
        if !kind.is_empty() {
            fill(
                definition,
                &["spec", "names", "singular"],
                kind.to_lowercase(),
            );
            fill(
                definition,
                &["spec", "names", "listKind"],
                format!("{kind}List"),
            );
        }
        fill(definition, &["spec", "conversion", "strategy"], "None");
        for version in list_mut(definition, &["spec", "versions"]) {
            for column in list_mut(version, &["additionalPrinterColumns"]) {
                if column.get("priority").and_then(Tree::as_i64) == Some(0) {
                    take(column, &["priority"]);
                }
            }
        }
    }

    fn prepare_create(&self, _context: &StrategyContext<'_>, definition: &mut Tree) {
        // Controllers set the conditions later, so status from the client is discarded.
        take(definition, &["status"]);
        let stored = stored_versions(definition, &[]);
        put(definition, &["status", "storedVersions"], stored);
    }

    fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        if context.subresource == "status" {
            return;
        }
        carry(old, new, &["status"]);
        let stored = stored_versions(new, list(old, &["status", "storedVersions"]));
        put(new, &["status", "storedVersions"], stored);
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, definition: &Tree) -> FieldErrors {
        let mut faults = FieldErrors::default();
        validate(definition, &mut faults);
        faults
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut faults = FieldErrors::default();
        if context.subresource == "status" {
            stored_versions_are_there(new, &mut faults);
            return faults;
        }
        validate(new, &mut faults);
        stored_versions_are_there(new, &mut faults);
        let mut fixed = vec![
            ["spec", "group"].as_slice(),
            &["spec", "names", "plural"],
            &["spec", "scope"],
        ];
        if at(old, &["status", "conditions"]).is_array() {
            fixed.push(&["spec", "names", "kind"]);
        }
        let established = crate::object::condition(old, "Established")
            .is_some_and(|found| text(found, &["status"]) == "True");
        for path in fixed {
            let always = path != ["spec", "scope"] && path != ["spec", "names", "kind"];
            if (always || established) && at(new, path) != at(old, path) {
                faults.push(FieldError::invalid(
                    path.join("."),
                    at(new, path),
                    "field is immutable",
                ));
            }
        }
        faults
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn raises_generation(&self, ty: &'static Type, new: &Tree, old: &Tree) -> bool {
        !super::same_part(ty, &["spec"], new, old)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Returns the versions in which stored objects may be encoded: `known` plus the storage version.
fn stored_versions(definition: &Tree, known: &[Tree]) -> Vec<Tree> {
    let mut found = known.to_vec();
    let storage = list(definition, &["spec", "versions"])
        .iter()
        .find(|version| flag(version, &["storage"]));
    let storage = storage.map(|version| at(version, &["name"]).clone());
    found.extend(storage.filter(|name| !known.contains(name)));
    found
}

fn stored_versions_are_there(definition: &Tree, faults: &mut Faults) {
    let versions: BTreeSet<&str> = list(definition, &["spec", "versions"])
        .iter()
        .map(|version| text(version, &["name"]))
        .collect();
    for (index, stored) in list(definition, &["status", "storedVersions"])
        .iter()
        .enumerate()
    {
        if !versions.contains(stored.as_str().unwrap_or_default()) {
            let name = stored.as_str().unwrap_or_default();
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage \
                 migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            faults.push(FieldError::invalid(
                format!("status.storedVersions[{index}]"),
                stored,
                why,
            ));
        }
    }
}

fn validate(definition: &Tree, faults: &mut Faults) {
    let spec = at(definition, &["spec"]);
    let root = Path::root("spec");
    let (group, plural) = (text(spec, &["group"]), text(spec, &["names", "plural"]));
    let name = text(definition, &["metadata", "name"]);
    if name != format!("{plural}.{group}") {
        faults.push(invalid_text(
            Path::root("metadata.name"),
            name,
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    let path = root.child("group");
    if group.is_empty() {
        faults.push(FieldError::required(path, ""));
    } else {
        faults.extend(
            names::dns_subdomain(group)
                .into_iter()
                .map(|fault| invalid_text(path, group, fault)),
        );
        if !group.contains('.') {
            faults.push(invalid_text(
                path,
                group,
                "should be a domain with at least one dot",
            ));
        }
    }
    let protected = group.ends_with(".k8s.io")
        || group.ends_with(".kubernetes.io")
        || group == "k8s.io"
        || group == "kubernetes.io";
    const APPROVED: &str = "api-approved.kubernetes.io";
    if protected && text(definition, &["metadata", "annotations", APPROVED]).is_empty() {
        let why = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
        faults.push(FieldError::required(
            format!("metadata.annotations[{APPROVED}]"),
            why,
        ));
    }
    if text(spec, &["scope"]).is_empty() {
        faults.push(FieldError::required(root.child("scope"), ""));
    } else {
        one_of(spec, "scope", &["Cluster", "Namespaced"], &root, faults);
    }
    if flag(spec, &["preserveUnknownFields"]) {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        faults.push(FieldError::invalid(
            root.child("preserveUnknownFields"),
            &Tree::from(true),
            why,
        ));
    }
    versions::validate(spec, &root, faults);
    validate_names(at(spec, &["names"]), &root.child("names"), faults);
    versions::validate_common(spec, &root, faults);
    let strategy = text(spec, &["conversion", "strategy"]);
    let path = root.child("conversion");
    if strategy == "None" && !at(spec, &["conversion", "webhook"]).is_null() {
        faults.push(FieldError::forbidden(
            path.child("webhook"),
            "should not be set when strategy is not set to Webhook",
        ));
    } else if strategy == "Webhook" {
        // Without conversion, objects would be served in the wrong version.
        faults.push(FieldError::forbidden(
            path.child("strategy"),
            "conversion webhooks are not served here",
        ));
    } else if strategy != "None" {
        one_of(
            at(spec, &["conversion"]),
            "strategy",
            &["None", "Webhook"],
            &path,
            faults,
        );
    }
}

fn validate_names(found: &Tree, path: &Path<'_>, faults: &mut Faults) {
    for (member, is_kind) in [
        ("plural", false),
        ("singular", false),
        ("kind", true),
        ("listKind", true),
    ] {
        let name = text(found, &[member]);
        let path = path.child(member);
        if name.is_empty() {
            faults.push(FieldError::required(path, ""));
        } else if is_kind {
            let why =
                |fault: String| format!("may have mixed case, but should otherwise match: {fault}");
            faults.extend(
                names::dns_1035_label(&name.to_lowercase())
                    .into_iter()
                    .map(|fault| invalid_text(path, name, why(fault))),
            );
        } else {
            faults.extend(
                names::dns_1035_label(name)
                    .into_iter()
                    .map(|fault| invalid_text(path, name, fault)),
            );
        }
    }
    for member in ["shortNames", "categories"] {
        let path = path.child(member);
        for (index, name) in list(found, &[member])
            .iter()
            .filter_map(Tree::as_str)
            .enumerate()
        {
            let path = path.index(index);
            faults.extend(
                names::dns_1035_label(name)
                    .into_iter()
                    .map(|fault| invalid_text(path, name, fault)),
            );
        }
    }
    let (kind, list_kind) = (text(found, &["kind"]), text(found, &["listKind"]));
    if !kind.is_empty() && kind == list_kind {
        faults.push(invalid_text(
            path.child("listKind"),
            list_kind,
            "kind and listKind may not be the same",
        ));
    }
}

/// Returns the members of a map as sorted pairs of name and value.
fn sorted<'a>(tree: &'a Tree, member: &str) -> Vec<(&'a str, &'a Tree)> {
    entries(tree, &[member])
}
