//! What the kinds that make pods share: a selector, and a template that it must match.

use kinds::{Tree, status::FieldError};

use super::checks::{Faults, nonnegative};
use super::meta::invalid_shown;
use super::path::{Path, SPEC};
use super::{podspec, selector};
use crate::tree::{at, text};

const STATUS: Path<'static> = Path::root("status");

/// Faults of the selector of a kind; `kind` is the word with which an empty one is refused.
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

/// Faults of a template whose pods run until somebody deletes them, and of the selector that must
/// match it. With a broken selector (refused with `words`) the template is not looked at.
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

/// Faults of a sound selector against the labels of the template. No selector matches nothing.
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

/// Faults of a template whose pods run until somebody deletes them; they get `claims` as volumes.
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

/// The selector is chosen once.
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

/// Faults of figures of a status that cannot be below zero.
pub(crate) fn status_figures(object: &Tree, figures: &[&str], out: &mut Faults) {
    for figure in figures {
        nonnegative(at(object, &["status"]), figure, &STATUS, out);
    }
}

/// Faults of how a status counts replicas: no part is larger than the whole. `ready` is how the
/// number of ready replicas is called when more than that are available.
pub(crate) fn replica_figures(
    object: &Tree,
    figures: &[&str],
    parts: &[&str],
    ready: &str,
    out: &mut Faults,
) {
    status_figures(object, figures, out);
    let status = at(object, &["status"]);
    let figure = |name: &str| at(status, &[name]).as_i64().unwrap_or_default();
    for name in parts {
        if figure(name) > figure("replicas") {
            let detail = "cannot be greater than status.replicas";
            out.push(FieldError::invalid(
                STATUS.child(name),
                &Tree::from(figure(name)),
                detail,
            ));
        }
    }
    if figure("availableReplicas") > figure("readyReplicas") {
        let shown = Tree::from(figure("availableReplicas"));
        out.push(FieldError::invalid(
            STATUS.child("availableReplicas"),
            &shown,
            format!("cannot be greater than {ready}"),
        ));
    }
}

/// The number of collisions only grows.
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
