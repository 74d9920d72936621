//! Deletion of a namespace: DELETE only marks it. The namespace controller empties it and takes the
//! finalizer out of its specification through `finalize`; with the last finalizer it is removed.

use kinds::Tree;
use kinds::status::Status;
use store::Txn;

use super::decide;
use super::object::{Deleted, remove};
use crate::namespace::is_released;
use crate::request::{DeleteOptions, Refusal};
use crate::target::Target;
use crate::{object, record, tree};

/// Deletes a namespace inside a commit: sets its deletion timestamp, and removes it when it has no
/// finalizers.
pub(crate) fn delete_in(
    txn: &mut Txn,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Deleted, Refusal> {
    let key = target.key();
    let found = txn.get(&key).ok_or_else(|| target.not_found())?;
    let before = record::parse(&found.value);
    check_preconditions(target, &before, options)?;
    let mut next = before.clone();
    if !object::terminating(&next) {
        object::meta(&mut next).insert("deletionTimestamp", object::wire_time(target.now).into());
        let finalizers = decide::finalizers(&before, &target.rules, options);
        object::set_finalizers(&mut next, finalizers);
    }
    tree::put(&mut next, &["status", "phase"], "Terminating");
    let gone = is_released(&next);
    let marked = if next == before {
        found
    } else {
        record::put(txn, &target.trees, &target.stored, &key, next)
    };
    let json = if gone {
        remove(txn, &marked)
    } else {
        marked.value.clone()
    };
    Ok(Deleted::new(json, gone, &before))
}

/// Refuses with 409 when a precondition does not hold, in the words that upstream has for the kinds
/// that it deletes in steps: namespaces and definitions.
pub(crate) fn check_preconditions(
    target: &Target,
    found: &Tree,
    options: &DeleteOptions,
) -> Result<(), Refusal> {
    let (uid, version) = (
        object::meta_text(found, "uid"),
        object::meta_text(found, "resourceVersion"),
    );
    let conflict = |why: String| -> Refusal {
        Status::conflict(target.resource.group_resource(), &target.name, why).into()
    };
    match (&options.uid, &options.resource_version) {
        (Some(asked), _) if asked != uid => Err(conflict(format!(
            "Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}"
        ))),
        (_, Some(asked)) if asked != version => Err(conflict(format!(
            "Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {version}"
        ))),
        _ => Ok(()),
    }
}
