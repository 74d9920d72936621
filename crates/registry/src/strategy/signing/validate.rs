//! What a certificate signing request must be: its request, usages, signer, and conditions.
//!
//! Faults that a stored object has already do not block its updates, as upstream.

use std::collections::HashSet;

use kinds::{Tree, names, status::FieldError};

use super::{DECISIONS, FINAL, pem, said};
use crate::strategy::checks::Faults;
use crate::strategy::meta::invalid_text;
use crate::strategy::path::{Path, SPEC};
use crate::tree::{at, int, list, text};

/// The usages of keys, sorted.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The shortest lifetime that a request may ask for.
const MIN_EXPIRATION_SECONDS: i64 = 600;
/// The longest domain, and the longest name of an object (RFC 1123).
const MAX_DOMAIN_BYTES: usize = 253;
/// The longest name of a signer: a domain, a namespace (63 bytes), the name of an object, and what
/// separates them.
const MAX_SIGNER_BYTES: usize = MAX_DOMAIN_BYTES + 1 + MAX_DOMAIN_BYTES + 63 + 1;
/// The signer of requests that name none, which `v1` does not have.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";

const CONDITIONS: Path<'static> = Path::root("status.conditions");

/// Returns the faults of a request; `old` is the stored one, if any.
pub(super) fn faults(new: &Tree, old: Option<&Tree>) -> Faults {
    let mut out = Faults::default();
    let request = SPEC.child("request");
    if let Err(fault) = pem::check_request(new) {
        out.push(invalid_text(
            request,
            text(new, &["spec", "request"]),
            fault,
        ));
    }
    usages(new, old, &mut out);
    let signer = text(new, &["spec", "signerName"]);
    let is_stored = |old| text(old, &["spec", "signerName"]) == LEGACY_SIGNER;
    if signer == LEGACY_SIGNER && !old.is_some_and(is_stored) {
        let detail = "the legacy signerName is not allowed via this API version";
        out.push(invalid_text(SPEC.child("signerName"), signer, detail));
    } else {
        signer_name(signer, &SPEC.child("signerName"), &mut out);
    }
    let lifetime = at(new, &["spec", "expirationSeconds"]);
    if int(new, &["spec", "expirationSeconds"])
        .is_some_and(|seconds| seconds < MIN_EXPIRATION_SECONDS)
    {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        let path = SPEC.child("expirationSeconds");
        out.push(FieldError::invalid(path, lifetime, detail));
    }
    conditions(new, old, &mut out);
    let certificate = |object| text(object, &["status", "certificate"]);
    let tolerated = old.is_some_and(|old| {
        certificate(old) == certificate(new) || pem::check_certificate(old).is_err()
    });
    if let Err(fault) = pem::check_certificate(new)
        && !tolerated
    {
        out.push(invalid_text(
            "status.certificate",
            "<certificate data>",
            fault,
        ));
    }
    out
}

fn usages(new: &Tree, old: Option<&Tree>, out: &mut Faults) {
    let path = SPEC.child("usages");
    let usages = |object| list(object, &["spec", "usages"]);
    if usages(new).is_empty() {
        out.push(FieldError::required(path, ""));
    }
    let is_unknown = |usage: &Tree| !usage.as_str().is_some_and(|usage| USAGES.contains(&usage));
    if !old.is_some_and(|old| usages(old).iter().any(is_unknown)) {
        for (index, usage) in usages(new).iter().enumerate() {
            if is_unknown(usage) {
                out.push(FieldError::not_supported(path.index(index), usage, &USAGES));
            }
        }
    }
    if old.is_none_or(|old| repeated(usages(old).iter()).is_empty()) {
        for index in repeated(usages(new).iter()) {
            let usage = &usages(new)[index];
            out.push(FieldError::duplicate(path.index(index), usage));
        }
    }
}

/// Returns the positions of strings that occur before.
fn repeated<'a>(values: impl Iterator<Item = &'a Tree>) -> Vec<usize> {
    let mut seen = HashSet::new();
    values
        .enumerate()
        .filter(|(_, value)| !seen.insert(value.as_str().unwrap_or_default()))
        .map(|(index, _)| index)
        .collect()
}

fn signer_name(name: &str, path: &Path<'_>, out: &mut Faults) {
    if name.is_empty() {
        out.push(FieldError::required(path, ""));
        return;
    }
    let (domain, rest) = match name.split('/').collect::<Vec<_>>()[..] {
        [domain, rest] => (domain, rest),
        _ => {
            let detail =
                "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            out.push(invalid_text(path, name, detail));
            return;
        }
    };
    if domain.len() > MAX_DOMAIN_BYTES {
        out.push(FieldError::too_long(path, MAX_DOMAIN_BYTES));
    }
    labels(domain, names::dns_label, path, out);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        out.push(invalid_text(path, domain, detail));
    }
    labels(rest, names::dns_subdomain, path, out);
    if name.len() > MAX_SIGNER_BYTES {
        out.push(FieldError::too_long(path, MAX_SIGNER_BYTES));
    }
}

/// Reports the first part of a dotted name that has faults.
fn labels(name: &str, rule: fn(&str) -> Vec<String>, path: &Path<'_>, out: &mut Faults) {
    let faulty = name.split('.').find(|label| !rule(label).is_empty());
    if let Some(label) = faulty {
        let faults = rule(label).into_iter();
        out.extend(
            faults.map(|fault| {
                invalid_text(path, name, format!("validating label {label:?}: {fault}"))
            }),
        );
    }
}

fn conditions(new: &Tree, old: Option<&Tree>, out: &mut Faults) {
    let was_decided_twice =
        old.is_some_and(|old| DECISIONS.iter().all(|decision| said(old, decision) > 0));
    let had_untyped = old.is_some_and(|old| kinds_of(old).any(str::is_empty));
    let had_repeated = old.is_some_and(|old| {
        let mut seen = HashSet::new();
        !kinds_of(old).all(|kind| seen.insert(kind))
    });
    let mut seen = HashSet::new();
    for (index, condition) in list(new, &["status", "conditions"]).iter().enumerate() {
        let path = CONDITIONS.index(index);
        let (kind, status) = (text(condition, &["type"]), text(condition, &["status"]));
        if kind.is_empty() && !had_untyped {
            out.push(FieldError::required(path.child("type"), ""));
        }
        let allowed: &[&str] = if FINAL.contains(&kind) {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        if status.is_empty() {
            out.push(FieldError::required(path.child("status"), ""));
        } else if !allowed.contains(&status) {
            let status = at(condition, &["status"]);
            out.push(FieldError::not_supported(
                path.child("status"),
                status,
                allowed,
            ));
        }
        let is_opposed = DECISIONS.contains(&kind)
            && DECISIONS
                .iter()
                .any(|other| *other != kind && seen.contains(other));
        if is_opposed && !was_decided_twice {
            let detail = "Approved and Denied conditions are mutually exclusive";
            out.push(invalid_text(path.child("type"), kind, detail));
        }
        if !seen.insert(kind) && !had_repeated {
            let kind = at(condition, &["type"]);
            out.push(FieldError::duplicate(path.child("type"), kind));
        }
    }
}

fn kinds_of(object: &Tree) -> impl Iterator<Item = &str> {
    let conditions = list(object, &["status", "conditions"]).iter();
    conditions.map(|condition| text(condition, &["type"]))
}

/// Returns what an update through a subresource may not do: remove final conditions, decide
/// anywhere but in `approval`, issue anywhere but in `status`, or issue twice.
pub(super) fn transition(subresource: &str, new: &Tree, old: &Tree) -> Faults {
    let mut out: Faults = FINAL
        .iter()
        .filter(|kind| said(new, kind) < said(old, kind))
        .map(|kind| {
            FieldError::forbidden(
                "status.conditions",
                format!("updates may not remove a condition of type {kind:?}"),
            )
        })
        .collect();
    if subresource != "approval" {
        out.extend(
            DECISIONS
                .iter()
                .filter(|kind| said(new, kind) > said(old, kind))
                .map(|kind| {
                    FieldError::forbidden(
                        "status.conditions",
                        format!("updates may not add a condition of type {kind:?}"),
                    )
                }),
        );
    }
    let (now, was) = (
        text(new, &["status", "certificate"]),
        text(old, &["status", "certificate"]),
    );
    if now != was {
        let detail = if subresource != "status" {
            "updates may not set certificate content"
        } else if was.is_empty() {
            return out;
        } else {
            "updates may not modify existing certificate content"
        };
        out.push(FieldError::forbidden("status.certificate", detail));
    }
    out
}
