//! The decision of a delete, pure: from the object, its kind's grace period and the options to the
//! object's next state. Follows `registry/rest/delete.go` and `registry/generic` upstream.

use jiff::{SignedDuration, Timestamp};
use kinds::Tree;
use kinds::status::{GroupResource, Status};

use crate::kind::Rules;
use crate::object;
use crate::request::{DeleteOptions, Refusal};
use crate::strategy::DefaultPropagation;
use crate::tree;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a delete does to the object.
#[derive(Debug, PartialEq)]
pub(crate) enum DeleteStep {
    /// Nothing: its grace period is running, and the request does not shorten it.
    Wait,
    /// Writes this state; the object stays until its grace period and its finalizers have ended.
    Mark(Tree),
    /// Writes this state, then removes the object.
    MarkAndRemove(Tree),
    /// Removes the object as it is.
    Remove,
}

/// Checks the preconditions and decides. `kind` names the kind, with its group, in a refusal.
pub(crate) fn decide(
    object: &Tree,
    kind: GroupResource<'_>,
    rules: &Rules,
    options: &DeleteOptions,
    now: Timestamp,
) -> Result<DeleteStep, Refusal> {
    check_preconditions(object, kind, options)?;
    Ok(next(object, rules, options, now))
}

/// Refuses with 409 when a precondition does not hold. Unlike in an eviction, an empty resource
/// version is a precondition, too.
fn check_preconditions(
    object: &Tree,
    kind: GroupResource<'_>,
    options: &DeleteOptions,
) -> Result<(), Refusal> {
    let name = object::meta_text(object, "name");
    let (uid, version) = (
        object::meta_text(object, "uid"),
        object::meta_text(object, "resourceVersion"),
    );
    match (&options.uid, &options.resource_version) {
        (Some(asked), _) if asked != uid => Err(uid_conflict(kind, name, asked, uid)),
        (_, Some(asked)) if asked != version => Err(version_conflict(kind, name, asked, version)),
        _ => Ok(()),
    }
}

fn next(object: &Tree, rules: &Rules, options: &DeleteOptions, now: Timestamp) -> DeleteStep {
    // As upstream, a negative grace period counts as one second.
    let requested = options.grace_period_seconds.map(positive);
    let marked = match grace(object, rules, requested, now) {
        Grace::Running => return DeleteStep::Wait,
        Grace::Marked(tree, seconds) => Some((tree, seconds)),
        Grace::None => None,
    };
    let finalizers = finalizers(object, rules, options);
    match marked {
        Some((mut tree, seconds)) => {
            object::set_finalizers(&mut tree, finalizers.clone());
            if seconds > 0 || !finalizers.is_empty() {
                DeleteStep::Mark(tree)
            } else {
                DeleteStep::MarkAndRemove(tree)
            }
        }
        None if finalizers.is_empty() => DeleteStep::Remove,
        None => {
            let mut tree = object.clone();
            object::set_finalizers(&mut tree, finalizers);
            mark_at_once(&mut tree, now);
            DeleteStep::Mark(tree)
        }
    }
}

fn positive(seconds: i64) -> i64 {
    if seconds < 0 { 1 } else { seconds }
}

/// The effect of a delete on the grace period.
enum Grace {
    /// The kind has no grace period, or it has ended.
    None,
    /// The grace period is running, and the request does not shorten it.
    Running,
    /// The grace period starts or becomes shorter: the object with its deletion timestamp, and the
    /// seconds.
    Marked(Tree, i64),
}

fn grace(object: &Tree, rules: &Rules, requested: Option<i64>, now: Timestamp) -> Grace {
    let Some(deadline) = object::parse_time(object::meta_text(object, "deletionTimestamp")) else {
        let Some(seconds) = rules.grace_seconds(object, requested).map(positive) else {
            return Grace::None;
        };
        let mut tree = object.clone();
        raise_generation(&mut tree);
        mark(&mut tree, later(now, seconds), seconds);
        return Grace::Marked(tree, seconds);
    };
    let running =
        tree::int(object, &["metadata", "deletionGracePeriodSeconds"]).map_or(0, positive);
    // Objects of kinds without a grace period have 0 seconds, and end here as well.
    if running == 0 || rules.grace_seconds(object, requested).is_none() {
        return Grace::None;
    }
    match requested {
        Some(seconds) if seconds < running => {
            let mut tree = object.clone();
            let shorter = later(deadline, seconds - running);
            // If the shorter period has already passed, one second remains, in which the node can
            // still stop the pod in order.
            let (deadline, seconds) = if shorter < now {
                (now, seconds.min(1))
            } else {
                (shorter, seconds)
            };
            mark(&mut tree, deadline, seconds);
            Grace::Marked(tree, seconds)
        }
        _ => Grace::Running,
    }
}

fn later(moment: Timestamp, seconds: i64) -> Timestamp {
    moment
        .saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}

fn mark(object: &mut Tree, deadline: Timestamp, seconds: i64) {
    let meta = object::meta(object);
    meta.insert("deletionTimestamp", object::wire_time(deadline).into());
    meta.insert("deletionGracePeriodSeconds", seconds.into());
}

/// Sets the deletion timestamp of an object that only its finalizers keep.
fn mark_at_once(object: &mut Tree, now: Timestamp) {
    if tree::int(object, &["metadata", "deletionGracePeriodSeconds"]).is_none() {
        raise_generation(object);
    }
    let deadline = object::parse_time(object::meta_text(object, "deletionTimestamp"))
        .filter(|deadline| *deadline <= now);
    mark(object, deadline.unwrap_or(now), 0);
}

fn raise_generation(object: &mut Tree) {
    if let Some(generation) =
        tree::int(object, &["metadata", "generation"]).filter(|generation| *generation > 0)
    {
        object::meta(object).insert("generation", (generation + 1).into());
    }
}

/// Returns the finalizers that the options leave on the object: they add or remove those of the
/// garbage collector, and keep all others.
pub(crate) fn finalizers(object: &Tree, rules: &Rules, options: &DeleteOptions) -> Vec<String> {
    let present = object::finalizers(object);
    let wanted = propagation(&present, rules, options);
    let mut kept: Vec<String> = present
        .iter()
        .filter(|name| **name != ORPHAN && **name != FOREGROUND)
        .map(|name| (*name).to_owned())
        .collect();
    let Some(wanted) = wanted else { return kept };
    if present.contains(&wanted) && !(present.contains(&ORPHAN) && present.contains(&FOREGROUND)) {
        return present.iter().map(|name| (*name).to_owned()).collect();
    }
    kept.push(wanted.to_owned());
    kept
}

fn propagation(present: &[&str], rules: &Rules, options: &DeleteOptions) -> Option<&'static str> {
    match (
        options.orphan_dependents,
        options.propagation_policy.as_deref(),
    ) {
        (Some(true), _) | (None, Some("Orphan")) => Some(ORPHAN),
        (None, Some("Foreground")) => Some(FOREGROUND),
        (Some(false), _) | (None, Some(_)) => None,
        (None, None) if present.contains(&ORPHAN) => Some(ORPHAN),
        (None, None) if present.contains(&FOREGROUND) => Some(FOREGROUND),
        (None, None) if rules.default_propagation() == DefaultPropagation::Orphan => Some(ORPHAN),
        (None, None) => None,
    }
}

/// Returns the 409 for a uid that is not the object's.
pub(crate) fn uid_conflict(
    kind: GroupResource<'_>,
    name: &str,
    asked: &str,
    found: &str,
) -> Refusal {
    let why = format!(
        "the UID in the precondition ({asked}) does not match the UID in record ({found}). The object might have been deleted and then recreated"
    );
    Status::conflict(kind, name, why).into()
}

/// Returns the 409 for a resource version that is not the object's.
pub(crate) fn version_conflict(
    kind: GroupResource<'_>,
    name: &str,
    asked: &str,
    found: &str,
) -> Refusal {
    let why = format!(
        "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({found}). The object might have been modified"
    );
    Status::conflict(kind, name, why).into()
}
