//! What a delete does to an object, pure: the object as it is, its kind's grace and the options go
//! in; the next state comes out. Spec: `registry/rest/delete.go` and `registry/generic` upstream.

use jiff::{SignedDuration, Timestamp};
use kinds::Tree;

use crate::object;
use crate::request::{DeleteOptions, Refusal};
use crate::strategy::{DefaultPropagation, Rules};
use crate::tree;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What is to be done with the object.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing: its grace is running and the request does not shorten it.
    Wait,
    /// Write this state; the object stays for a while.
    Mark(Tree),
    /// Write this state and remove the object at once.
    MarkAndRemove(Tree),
    /// Remove the object as it is.
    Remove,
}

/// Checks the preconditions and decides. `kind` is the name of the kind for the refusals.
pub(crate) fn decide(
    object: &Tree,
    kind: &str,
    rules: &Rules,
    options: &DeleteOptions,
    now: Timestamp,
) -> Result<Step, Refusal> {
    check_preconditions(object, kind, options)?;
    Ok(next(object, rules, options, now))
}

/// 409 when the object is not the one that was meant. Unlike in an eviction, empty texts count.
fn check_preconditions(object: &Tree, kind: &str, options: &DeleteOptions) -> Result<(), Refusal> {
    let name = object::meta_text(object, "name");
    let (uid, version) = (
        object::meta_text(object, "uid"),
        object::meta_text(object, "resourceVersion"),
    );
    match (&options.uid, &options.resource_version) {
        (Some(asked), _) if asked != uid => Err(super::uid_conflict(kind, name, asked, uid)),
        (_, Some(asked)) if asked != version => {
            Err(super::version_conflict(kind, name, asked, version))
        }
        _ => Ok(()),
    }
}

fn next(object: &Tree, rules: &Rules, options: &DeleteOptions, now: Timestamp) -> Step {
    // A negative grace is one second, wherever it stands.
    let requested = options.grace_period_seconds.map(positive);
    let marked = match grace(object, rules, requested, now) {
        Grace::Running => return Step::Wait,
        Grace::Marked(tree, seconds) => Some((tree, seconds)),
        Grace::None => None,
    };
    let finalizers = finalizers(object, rules, options);
    match marked {
        Some((mut tree, seconds)) => {
            object::set_finalizers(&mut tree, finalizers.clone());
            if seconds > 0 || !finalizers.is_empty() {
                Step::Mark(tree)
            } else {
                Step::MarkAndRemove(tree)
            }
        }
        None if finalizers.is_empty() => Step::Remove,
        None => {
            let mut tree = object.clone();
            object::set_finalizers(&mut tree, finalizers);
            mark_at_once(&mut tree, now);
            Step::Mark(tree)
        }
    }
}

fn positive(seconds: i64) -> i64 {
    if seconds < 0 { 1 } else { seconds }
}

/// What became of the grace period.
enum Grace {
    /// The kind has none, or it has run out.
    None,
    /// It is running, and the request does not shorten it.
    Running,
    /// It begins, or becomes shorter: the object with its new marks, and the seconds.
    Marked(Tree, i64),
}

fn grace(object: &Tree, rules: &Rules, requested: Option<i64>, now: Timestamp) -> Grace {
    let Some(deadline) = object::moment(object::meta_text(object, "deletionTimestamp")) else {
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
    // Kinds without grace are marked with 0 and land here as well.
    if running == 0 || rules.grace_seconds(object, requested).is_none() {
        return Grace::None;
    }
    match requested {
        Some(seconds) if seconds < running => {
            let mut tree = object.clone();
            let shorter = later(deadline, seconds - running);
            // A deadline that the shorter grace puts into the past is now; a second stays, so that
            // the node may still end the pod in order.
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

/// Marks an object that only its finalizers hold.
fn mark_at_once(object: &mut Tree, now: Timestamp) {
    if tree::int(object, &["metadata", "deletionGracePeriodSeconds"]).is_none() {
        raise_generation(object);
    }
    let deadline = object::moment(object::meta_text(object, "deletionTimestamp"))
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

/// The finalizers that the options leave on the object: those of the garbage collector come and go,
/// others stay as they are.
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
