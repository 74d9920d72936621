//! Deletion of a custom resource definition: it is marked, its objects are deleted, and it is
//! removed when the last of them is gone.

use std::sync::Arc;

use store::{Record, Txn};

use super::object::Deleted;
use crate::custom::CompiledDefinition;
use crate::definition::{CLEANUP, release, set_condition};
use crate::request::{DeleteOptions, Refusal};
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::view::StoreView;
use crate::{key, object, record};

/// Deletes a definition and its objects inside a commit. The definition stays until the last object
/// is gone, which finalizers may delay.
pub(crate) fn delete_in(
    txn: &mut Txn,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Deleted, Refusal> {
    let key = target.key();
    let found = txn.get(&key).ok_or_else(|| target.not_found())?;
    let before = record::parse(&found.value);
    super::namespace::check_preconditions(target, &before, options)?;
    let mut next = before.clone();
    if !object::terminating(&next) {
        object::meta(&mut next).insert("deletionTimestamp", object::wire_time(target.now).into());
        let mut finalizers: Vec<String> = object::finalizers(&next)
            .into_iter()
            .map(str::to_owned)
            .collect();
        if !finalizers.iter().any(|name| name == CLEANUP) {
            finalizers.push(CLEANUP.to_owned());
        }
        object::set_finalizers(&mut next, finalizers);
        let message =
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        set_condition(
            &mut next,
            "Terminating",
            true,
            "InstanceDeletionPending",
            message,
            target.now,
        );
    }
    let compiled = CompiledDefinition::of(&before);
    let marked = if next == before {
        found
    } else {
        record::put(txn, &target.trees, &target.stored, &key, next)
    };
    if let Some(compiled) = compiled {
        let stored = compiled.stored();
        let resource = ResourceRef::custom_row(stored, stored);
        let place = target.for_resource(resource.clone());
        let objects: Vec<Arc<Record>> = txn.records(&place.prefix()).collect();
        for object in objects {
            let (namespace, name) = key::namespace_and_name(&object.key);
            super::object::delete_in(
                txn,
                &place.clone().at(namespace, name),
                &DeleteOptions::default(),
            )?;
        }
        // Without objects no deletion of one would release the definition.
        release(txn, target, &resource);
    }
    // Upstream removes the definition later, so the answer is always the marked one.
    Ok(Deleted::new(marked.value.clone(), false, &before))
}
