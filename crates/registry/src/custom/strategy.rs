//! The strategy of custom kinds: defaulting, validation and generations by their definitions.

use kinds::Tree;
use kinds::facts::Type;
use kinds::status::FieldErrors;
use kinds::tree::Text;

use super::CustomVersion;
use crate::schema::{default, validate};
use crate::strategy::{FieldNames, ScalePaths, Strategy, StrategyContext};
use crate::tree::{at, carry};

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
        validate(object, None, &self.schema)
    }

    fn validate_update(
        &self,
        _context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        validate(new, Some(old), &self.schema)
    }

    fn warnings(
        &self,
        _context: &StrategyContext<'_>,
        _new: &Tree,
        _old: Option<&Tree>,
    ) -> Vec<String> {
        Vec::new()
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
