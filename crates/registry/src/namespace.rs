//! The end of a namespace: a DELETE only marks it, the namespace controller empties it and takes
//! the finalizer out of its spec through `finalize`, and with the last finalizer it is gone.

use kinds::Tree;
use kinds::facts::Resource;
use kinds::status::Status;
use store::Txn;

use crate::delete::{self, Deleted};
use crate::request::{DeleteOptions, Refusal};
use crate::target::Target;
use crate::{object, record, tree};

/// True for the resource `namespaces`.
pub(crate) fn is_namespace(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "namespaces"
}

/// True when nothing holds a terminating namespace any more.
pub(crate) fn is_released(namespace: &Tree) -> bool {
    object::terminating(namespace)
        && object::finalizers(namespace).is_empty()
        && tree::list(namespace, &["spec", "finalizers"]).is_empty()
}

/// Deletes a namespace inside a commit: marks it, and removes it when nothing holds it.
pub(crate) fn delete_in(
    txn: &mut Txn,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Deleted, Refusal> {
    let key = target.key();
    let found = txn.get(&key).ok_or_else(|| target.not_found())?;
    let before = record::tree(&found.value);
    check_preconditions(target, &before, options)?;
    let mut next = before.clone();
    if !object::terminating(&next) {
        object::meta(&mut next).insert("deletionTimestamp", object::wire_time(target.now).into());
        let finalizers = delete::decide::finalizers(&before, &target.rules, options);
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
        delete::remove(txn, &marked)
    } else {
        marked.value.clone()
    };
    Ok(Deleted::new(json, gone, &before))
}

fn check_preconditions(
    target: &Target,
    namespace: &Tree,
    options: &DeleteOptions,
) -> Result<(), Refusal> {
    let (uid, version) = (
        object::meta_text(namespace, "uid"),
        object::meta_text(namespace, "resourceVersion"),
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
