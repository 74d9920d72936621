//! The strategy of custom kinds: defaulting, validation and generations by their definitions.

use kinds::Tree;
use kinds::facts::Type;
use kinds::names;
use kinds::status::{FieldError, FieldErrors, FieldFault};
use kinds::tree::Text;

use super::{CustomVersion, replicas};
use crate::object::finalizers;
use crate::schema::{default, validate, validate_status};
use crate::strategy::{FieldNames, ScalePaths, Strategy, StrategyContext};
use crate::tree::{at, carry};

/// Finalizers without a prefix that need no warning.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

impl CustomVersion {
    /// Adds what upstream says when faults of the schema keep it from evaluating the rules.
    fn with_unchecked_rules(&self, mut faults: FieldErrors) -> FieldErrors {
        let blocks = |fault: &FieldError| {
            matches!(
                fault.fault,
                FieldFault::NotSupported
                    | FieldFault::Required
                    | FieldFault::TooLong
                    | FieldFault::TooMany
                    | FieldFault::TypeInvalid
            )
        };
        if self.has_rules && faults.iter().any(blocks) {
            let why = "some validation rules were not checked because the object was invalid; \
                       correct the existing errors to complete validation";
            faults.push(FieldError::invalid("<nil>", &Tree::from("null"), why));
        }
        faults
    }
}

/// Returns the warning about a finalizer that another writer could use as well.
fn finalizer_warnings(finalizer: &str) -> Vec<String> {
    let shown = kinds::status::quoted(finalizer);
    let mut warnings: Vec<String> = names::qualified_name(finalizer)
        .into_iter()
        .map(|fault| format!("metadata.finalizers: {shown}: {fault}"))
        .collect();
    if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
        let path = if finalizer.contains('.') {
            " including a path (/)"
        } else {
            ""
        };
        warnings.push(format!(
            "metadata.finalizers: {shown}: prefer a domain-qualified finalizer name{path} to avoid \
             accidental conflicts with other finalizer writers"
        ));
    }
    warnings
}

/// Returns true for members that count for the generation.
fn is_content(name: &str, has_status: bool) -> bool {
    name != "metadata" && !(has_status && name == "status")
}

/// Restores the stored metadata in a write to the status subresource. `resourceVersion` and
/// `managedFields` keep the values of the request.
fn keep_metadata(new: &mut Tree, old: &Tree) {
    let sent = std::mem::take(&mut new["metadata"]);
    new["metadata"] = at(old, &["metadata"]).clone();
    for name in ["resourceVersion", "managedFields"] {
        carry(&sent, &mut new["metadata"], &[name]);
    }
}

impl Strategy for CustomVersion {
    fn default(&self, object: &mut Tree) {
        default(object, &self.schema);
    }

    fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        if context.subresource == "status" {
            keep_metadata(new, old);
        }
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        let mut faults = validate(object, None, &self.schema);
        replicas::spec_faults(object, self.scale.as_ref(), &mut faults);
        replicas::status_faults(object, self.scale.as_ref(), &mut faults);
        self.with_unchecked_rules(faults)
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let is_status = context.subresource == "status";
        let mut faults = if is_status {
            validate_status(new, old, &self.schema)
        } else {
            validate(new, Some(old), &self.schema)
        };
        if !is_status {
            replicas::spec_faults(new, self.scale.as_ref(), &mut faults);
        }
        replicas::status_faults(new, self.scale.as_ref(), &mut faults);
        self.with_unchecked_rules(faults)
    }

    fn warnings(
        &self,
        _context: &StrategyContext<'_>,
        new: &Tree,
        old: Option<&Tree>,
    ) -> Vec<String> {
        let known = old.map(finalizers).unwrap_or_default();
        let mut added = finalizers(new);
        added.retain(|finalizer| !known.contains(finalizer));
        added.sort_unstable();
        added.dedup();
        added.into_iter().flat_map(finalizer_warnings).collect()
    }

    fn needs_qualified_finalizers(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn raises_generation(&self, _ty: &'static Type, new: &Tree, old: &Tree) -> bool {
        let has_status = self
            .resource
            .subresources
            .iter()
            .any(|sub| sub.name == "status");
        let content = |object: &Tree| -> Vec<(Text, Tree)> {
            let members = object
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(name, _)| is_content(name, has_status));
            let mut members: Vec<_> = members
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            members.retain(|(name, _)| name != "apiVersion");
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            members
        };
        content(new) != content(old)
    }

    fn fields(&self) -> FieldNames<'_> {
        FieldNames::Custom(&self.fields)
    }

    fn selectable(&self, object: &Tree, field: &str) -> String {
        match field
            .split('.')
            .try_fold(object, |here, name| here.get(name))
        {
            Some(Tree::String(text)) => text.to_string(),
            Some(Tree::Null) | None => String::new(),
            Some(other) => other.to_string(),
        }
    }

    fn field_refusal(&self, field: &str) -> Option<String> {
        Some(format!("field label not supported: {field}"))
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        self.scale.clone()
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
