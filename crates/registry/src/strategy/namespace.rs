//! Defaults and validation of `Namespace`.
//!
//! Every namespace has a label with its own name. The finalizer `kubernetes` in the spec keeps it
//! until its content is deleted, and only the `finalize` subresource can change that list.

use kinds::{Tree, names, status::FieldErrors};

use super::meta::invalid_text;
use super::path::Path;
use super::{FieldNames, KindFacts, Strategy, StrategyContext};
use crate::facts::NamespaceFacts;
use crate::tree::{at, carry, list, put, text};

pub(crate) struct Namespace;

/// The label that contains the name of the namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Strategy for Namespace {
    fn facts(&self, object: &Tree) -> Option<KindFacts> {
        Some(Box::new(NamespaceFacts::of(object)))
    }

    fn default(&self, object: &mut Tree) {
        let name = text(object, &["metadata", "name"]).to_owned();
        if !name.is_empty() {
            put(object, &["metadata", "labels", NAME_LABEL], name);
        }
    }

    fn name_faults(&self, name: &str) -> Vec<String> {
        names::dns_label(name)
    }

    fn prepare_create(&self, _context: &StrategyContext<'_>, object: &mut Tree) {
        put(object, &["status", "phase"], "Active");
        let mut finalizers = list(object, &["spec", "finalizers"]).to_vec();
        if !finalizers
            .iter()
            .any(|finalizer| finalizer.as_str() == Some("kubernetes"))
        {
            finalizers.push(Tree::from("kubernetes"));
        }
        put(object, &["spec", "finalizers"], finalizers);
        self.default(object);
    }

    fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        match context.subresource {
            "finalize" => carry(old, new, &["status"]),
            "status" => {}
            // Only the `finalize` subresource may change the spec's finalizers.
            _ => carry(old, new, &["spec", "finalizers"]),
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        finalizers(object, false)
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        _old: &Tree,
    ) -> FieldErrors {
        match context.subresource {
            "finalize" => finalizers(new, true),
            "status" => {
                let phase = text(new, &["status", "phase"]);
                let is_deleted = !at(new, &["metadata", "deletionTimestamp"]).is_null();
                let expected = if is_deleted { "Terminating" } else { "Active" };
                if phase == expected {
                    return FieldErrors::default();
                }
                let detail = if is_deleted {
                    "may only be 'Terminating' if `deletionTimestamp` is not empty"
                } else {
                    "may only be 'Active' if `deletionTimestamp` is empty"
                };
                FieldErrors::from(invalid_text("status.Phase", phase, detail))
            }
            _ => FieldErrors::default(),
        }
    }

    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(&["status.phase"])
    }

    fn selectable(&self, object: &Tree, field: &str) -> String {
        super::text_at(object, field)
    }

    fn field_alias(&self, field: &str) -> Option<&'static str> {
        (field == "name").then_some("metadata.name")
    }

    fn field_refusal(&self, field: &str) -> Option<String> {
        Some(format!("field label not supported: {field}"))
    }
}

/// Validates the finalizers of the spec. The path in a fault includes the index only if
/// `with_index` is set, as upstream does for the `finalize` subresource.
fn finalizers(object: &Tree, with_index: bool) -> FieldErrors {
    let all = Path::root("spec.finalizers");
    let mut out = FieldErrors::default();
    for (index, finalizer) in list(object, &["spec", "finalizers"]).iter().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        let path = if with_index { all.index(index) } else { all };
        let faults = names::qualified_name(name);
        if faults.is_empty() && name != "kubernetes" && !name.contains('/') {
            out.push(invalid_text(
                path,
                name,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
        out.extend(
            faults
                .into_iter()
                .map(|fault| invalid_text(path, name, fault)),
        );
    }
    out
}
