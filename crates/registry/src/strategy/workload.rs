//! Validation that most kinds with a pod template share: selector, template and the replica
//! counts of the status.
//!
//! Jobs do not use these rules: the API server generates their selectors, and their pods do not
//! always restart.

use kinds::{Tree, status::FieldError};

use super::checks::{Faults, nonnegative};
use super::meta::invalid_shown;
use super::path::{Path, SPEC};
use super::{podspec, selector};
use crate::tree::{at, text};

const STATUS: Path<'static> = Path::root("status");

/// Validates a required selector. `kind` is the name of the kind in the message for an empty one.
pub(crate) fn required_selector(spec: &Tree, kind: &str, out: &mut Faults) {
    let path = SPEC.child("selector");
    let wanted = at(spec, &["selector"]);
    if wanted.is_null() {
        out.push(FieldError::required(path, ""));
        return;
    }
    selector::faults(wanted, &path, false, out);
    if selector::is_empty(wanted) {
        out.push(invalid_shown(
            path,
            &selector::shown(wanted),
            format!("empty selector is invalid for {kind}"),
        ));
    }
}

/// Validates a template and its selector, for workloads whose pods always restart. An invalid
/// selector is reported with `words`, and the template is not validated then.
pub(crate) fn selected_template(spec: &Tree, kind: &str, words: &str, out: &mut Faults) {
    let wanted = at(spec, &["selector"]);
    if !selector::is_sound(wanted) {
        out.push(invalid_shown(
            SPEC.child("selector"),
            &selector::shown(wanted),
            words,
        ));
        return;
    }
    selector_matches_template(spec, out);
    lasting_template(spec, kind, &[], out);
}

/// Validates that a valid selector matches the labels of the template. An absent one matches
/// nothing.
pub(crate) fn selector_matches_template(spec: &Tree, out: &mut Faults) {
    let wanted = at(spec, &["selector"]);
    let labels = at(spec, &["template", "metadata", "labels"]);
    let demands_something = wanted.is_null() || !selector::is_empty(wanted);
    if demands_something
        && selector::is_sound(wanted)
        && (wanted.is_null() || !selector::matches(wanted, labels))
    {
        out.push(FieldError::invalid(
            "spec.template.metadata.labels",
            labels,
            "`selector` does not match template `labels`",
        ));
    }
}

/// Validates a template whose pods always restart. Its pods mount `claims` as additional volumes.
pub(crate) fn lasting_template(spec: &Tree, kind: &str, claims: &[Tree], out: &mut Faults) {
    let path = SPEC.child("template");
    podspec::template_faults(at(spec, &["template"]), claims, &path, out);
    let path = path.child("spec");
    let policy = text(spec, &["template", "spec", "restartPolicy"]);
    if policy != "Always" {
        out.push(FieldError::not_supported(
            path.child("restartPolicy"),
            &Tree::from(policy),
            &["Always"],
        ));
    }
    if !at(spec, &["template", "spec", "activeDeadlineSeconds"]).is_null() {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        out.push(FieldError::forbidden(
            path.child("activeDeadlineSeconds"),
            detail,
        ));
    }
}

/// Rejects a change of the selector.
pub(crate) fn immutable_selector(new: &Tree, old: &Tree, out: &mut Faults) {
    let (now, before) = (
        at(new, &["spec", "selector"]),
        at(old, &["spec", "selector"]),
    );
    if !selector::same(now, before) {
        out.push(invalid_shown(
            SPEC.child("selector"),
            &selector::shown(now),
            "field is immutable",
        ));
    }
}

/// Rejects negative counts in a status.
pub(crate) fn status_counts(object: &Tree, counts: &[&str], out: &mut Faults) {
    for count in counts {
        nonnegative(at(object, &["status"]), count, &STATUS, out);
    }
}

/// Validates the replica counts of a status: no subset exceeds the total. `ready` is the name that
/// the fault uses for ready replicas when fewer are ready than available.
pub(crate) fn replica_counts(
    object: &Tree,
    counts: &[&str],
    parts: &[&str],
    ready: &str,
    out: &mut Faults,
) {
    status_counts(object, counts, out);
    let status = at(object, &["status"]);
    let count = |name: &str| at(status, &[name]).as_i64().unwrap_or_default();
    for name in parts {
        if count(name) > count("replicas") {
            let detail = "cannot be greater than status.replicas";
            out.push(FieldError::invalid(
                STATUS.child(name),
                &Tree::from(count(name)),
                detail,
            ));
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        let shown = Tree::from(count("availableReplicas"));
        out.push(FieldError::invalid(
            STATUS.child("availableReplicas"),
            &shown,
            format!("cannot be greater than {ready}"),
        ));
    }
}

/// Rejects a decrease of the collision count.
pub(crate) fn collision_count(new: &Tree, old: &Tree, out: &mut Faults) {
    let count = |object: &Tree| at(object, &["status", "collisionCount"]).as_i64();
    if count(old).is_some_and(|before| count(new).is_none_or(|now| now < before)) {
        let shown = Tree::from(count(new).unwrap_or_default());
        out.push(FieldError::invalid(
            STATUS.child("collisionCount"),
            &shown,
            "cannot be decremented",
        ));
    }
}
