//! Validation of `CertificateSigningRequest`.
//!
//! The spec is immutable. Each subresource writes a different part of the status, and decisions and
//! issued certificates are final.

use kinds::Tree;
use kinds::status::FieldError;

use super::{FieldNames, Strategy, StrategyContext};
use crate::tree::{at, carry, fill, list, list_mut, put, text};

pub(crate) struct SigningRequest;

/// Conditions that only the `approval` subresource may write.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

/// Conditions that cannot be removed.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];

impl Strategy for SigningRequest {
    fn default(&self, object: &mut Tree) {
        for condition in list_mut(object, &["status", "conditions"]) {
            fill(condition, &["status"], "True");
        }
    }

    fn prepare_update(&self, context: &StrategyContext<'_>, new: &mut Tree, old: &Tree) {
        carry(old, new, &["spec"]);
        match context.subresource {
            "approval" => {
                carry(old, new, &["status", "certificate"]);
                keep_conditions(new, old, |kind| !DECISIONS.contains(&kind));
            }
            "status" => keep_conditions(new, old, |kind| DECISIONS.contains(&kind)),
            _ => {}
        }
        let now = context.now_text();
        for condition in list_mut(new, &["status", "conditions"]) {
            fill(condition, &["lastUpdateTime"], now.as_str());
            fill(condition, &["lastTransitionTime"], now.as_str());
        }
    }

    fn validate_update(
        &self,
        context: &StrategyContext<'_>,
        new: &Tree,
        old: &Tree,
    ) -> Vec<FieldError> {
        if context.subresource.is_empty() {
            return Vec::new();
        }
        let mut faults = undone(new, old);
        let conditions = list(new, &["status", "conditions"]);
        if DECISIONS.iter().all(|kind| said(new, kind) > 0)
            && !DECISIONS.iter().all(|kind| said(old, kind) > 0)
        {
            let second = conditions
                .iter()
                .rposition(|condition| DECISIONS.contains(&text(condition, &["type"])))
                .unwrap_or_default();
            let kind = at(&conditions[second], &["type"]);
            let detail = "Approved and Denied conditions are mutually exclusive";
            faults.push(FieldError::invalid(
                format!("status.conditions[{second}].type"),
                kind,
                detail,
            ));
        }
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
    list(object, &["status", "conditions"])
        .iter()
        .filter(|condition| text(condition, &["type"]) == kind)
        .count()
}

/// Rejects an update that removes a final condition or changes the certificate.
fn undone(new: &Tree, old: &Tree) -> Vec<FieldError> {
    let mut faults: Vec<FieldError> = FINAL
        .iter()
        .filter(|kind| said(new, kind) < said(old, kind))
        .map(|kind| {
            FieldError::forbidden(
                "status.conditions",
                format!("updates may not remove a condition of type {kind:?}"),
            )
        })
        .collect();
    let (now, was) = (
        at(new, &["status", "certificate"]),
        at(old, &["status", "certificate"]),
    );
    if !was.is_null() && now != was {
        faults.push(FieldError::forbidden(
            "status.certificate",
            "updates may not modify existing certificate content",
        ));
    }
    faults
}

/// Discards changes of conditions that the subresource may not write.
fn keep_conditions(new: &mut Tree, old: &Tree, is_kept: impl Fn(&str) -> bool) {
    let of = |object: &Tree, wanted: bool| -> Vec<Tree> {
        let all = list(object, &["status", "conditions"]).iter();
        all.filter(|condition| is_kept(text(condition, &["type"])) == wanted)
            .cloned()
            .collect()
    };
    let mut conditions = of(old, true);
    conditions.extend(of(new, false));
    if !conditions.is_empty() || !list(new, &["status", "conditions"]).is_empty() {
        put(new, &["status", "conditions"], conditions);
    }
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    #[test]
    fn each_subresource_writes_only_its_own_conditions() {
        let of = |kinds: &[&str]| -> Tree {
            let conditions: Vec<Tree> = kinds.iter().map(|kind| json!({"type": kind})).collect();
            json!({"spec": {"signerName": "s"},
                "status": {"conditions": conditions, "certificate": kinds.len()}})
        };
        let check = |subresource: &str, old: &[&str], new: &[&str], expected: &[&str]| {
            let (old, mut new) = (of(old), of(new));
            new["spec"]["signerName"] = "other".into();
            let context = StrategyContext {
                subresource,
                gates: super::super::Gates::default(),
                now: jiff::Timestamp::UNIX_EPOCH,
            };
            SigningRequest.prepare_update(&context, &mut new, &old);
            let kinds: Vec<&str> = list(&new, &["status", "conditions"])
                .iter()
                .map(|condition| text(condition, &["type"]))
                .collect();
            assert_eq!(
                (kinds.as_slice(), &new["spec"]),
                (expected, &old["spec"]),
                "{subresource}"
            );
        };
        check(
            "approval",
            &["Failed"],
            &["Approved"],
            &["Failed", "Approved"],
        );
        check("approval", &["Approved"], &[], &[]);
        check(
            "status",
            &["Approved"],
            &["Failed"],
            &["Approved", "Failed"],
        );
        check("status", &["Approved"], &["Denied"], &["Approved"]);
    }

    #[test]
    fn decisions_and_certificates_are_final() {
        let of = |kinds: &[&str], certificate: Tree| -> Tree {
            let conditions: Vec<Tree> = kinds.iter().map(|kind| json!({"type": kind})).collect();
            json!({"status": {"conditions": conditions, "certificate": certificate}})
        };
        let check = |old: Tree, new: Tree, fields: &[&str]| {
            let context = StrategyContext {
                subresource: "approval",
                gates: super::super::Gates::default(),
                now: jiff::Timestamp::UNIX_EPOCH,
            };
            let faults = SigningRequest.validate_update(&context, &new, &old);
            assert_eq!(
                faults
                    .iter()
                    .map(|fault| fault.field.as_str())
                    .collect::<Vec<_>>(),
                fields,
                "{old} {new}"
            );
        };
        let (none, one, other) = (Tree::Null, Tree::from("one"), Tree::from("other"));
        check(
            of(&["Approved"], none.clone()),
            of(&["Approved", "Denied"], none.clone()),
            &["status.conditions[1].type"],
        );
        check(
            of(&["Approved", "Denied"], none.clone()),
            of(&["Approved", "Denied"], none.clone()),
            &[],
        );
        check(
            of(&["Denied"], none.clone()),
            of(&["Approved"], none.clone()),
            &["status.conditions"],
        );
        check(
            of(&["Failed"], none.clone()),
            of(&[], none.clone()),
            &["status.conditions"],
        );
        check(of(&["Approved"], none), of(&["Approved"], one.clone()), &[]);
        check(
            of(&["Approved"], one),
            of(&["Approved"], other),
            &["status.certificate"],
        );
    }
}
