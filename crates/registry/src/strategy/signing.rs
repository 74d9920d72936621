//! Defaults and validation of `CertificateSigningRequest`.
//!
//! The spec is immutable, and who asks is set by admission. `approval` writes the conditions,
//! `status` conditions and certificate. Decisions and issued certificates are final. Use of
//! these subresources needs a right on the signer, which the server checks before it calls the
//! registry.

use std::collections::HashMap;

use kinds::Tree;
use kinds::status::FieldErrors;

use super::{FieldNames, Strategy, StrategyContext};
use crate::tree::{at, carry, fill, list, list_mut, text};

mod pem;
#[cfg(test)]
mod tests;
mod validate;

pub(crate) use pem::{common_name, organizations};

pub(crate) struct SigningRequest;

/// Conditions that only the `approval` subresource may add.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

/// Conditions that cannot be removed, and are always true.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];

impl Strategy for SigningRequest {
    fn name_faults(&self, _name: &str) -> Vec<String> {
        Vec::new()
    }

    fn validate_create(&self, _context: &StrategyContext<'_>, object: &Tree) -> FieldErrors {
        validate::faults(object, None)
    }

    fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        carry(old, new, &["spec"]);
        match context.subresource {
            "approval" => carry(old, new, &["status", "certificate"]),
            "status" => DECISIONS
                .iter()
                .for_each(|decision| keep_condition(new, old, decision)),
            _ => return,
        }
        let now = context.now_text();
        let state = |condition: &Tree| {
            ["type", "status"].map(|member| text(condition, &[member]).to_owned())
        };
        let since: HashMap<_, _> = list(old, &["status", "conditions"])
            .iter()
            .map(|condition| (state(condition), text(condition, &["lastTransitionTime"])))
            .filter(|(_, since)| !since.is_empty())
            .collect();
        for condition in list_mut(new, &["status", "conditions"]) {
            fill(condition, &["lastUpdateTime"], now.as_str());
            let since = since.get(&state(condition)).copied();
            fill(condition, &["lastTransitionTime"], since.unwrap_or(&now));
        }
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> FieldErrors {
        let mut faults = validate::faults(new, Some(old));
        faults.extend(validate::transition(context.subresource, new, old));
        faults
    }

    fn fields(&self) -> FieldNames<'_> {
        FieldNames::BuiltIn(&["spec.signerName"])
    }

    fn selectable(&self, object: &Tree, field: &str) -> String {
        super::text_at(object, field)
    }

    fn field_refusal(&self, field: &str) -> Option<String> {
        Some(format!("field label not supported: {field}"))
    }
}

/// Returns the number of conditions of this type.
fn said(object: &Tree, kind: &str) -> usize {
    positions(object, kind).count()
}

/// Returns the positions of the conditions of this type.
fn positions<'a>(object: &'a Tree, kind: &'a str) -> impl Iterator<Item = usize> + 'a {
    let conditions = list(object, &["status", "conditions"]).iter().enumerate();
    conditions
        .filter(move |(_, condition)| text(condition, &["type"]) == kind)
        .map(|(index, _)| index)
}

/// Undoes changes of the conditions of a type. Validation refuses added and removed ones.
fn keep_condition(new: &mut Tree, old: &Tree, kind: &str) {
    if said(new, kind) != said(old, kind) {
        return;
    }
    let places: Vec<usize> = positions(new, kind).collect();
    for (place, stored) in places.into_iter().zip(positions(old, kind)) {
        let stored = at(old, &["status", "conditions"])[stored].clone();
        list_mut(new, &["status", "conditions"])[place] = stored;
    }
}
