//! Deletion of one object inside a commit, whatever its kind.

use std::sync::Arc;

use bytes::Bytes;
use kinds::Tree;
use kinds::json::EncodedTree;
use store::{Record, Txn};

use super::decide::{self, DeleteStep};
use crate::record::Prepared;
use crate::request::{DeleteOptions, Refusal};
use crate::target::Target;
use crate::{admission, definition, object, record, service};

/// The result of a delete.
pub(crate) struct Deleted {
    /// The object's present state, or its last one when it is gone.
    pub(crate) json: Bytes,
    /// True when the object has been removed.
    pub(crate) gone: bool,
    pub(super) uid: String,
}

impl Deleted {
    /// Returns the result for the object `before`.
    pub(crate) fn new(json: Bytes, gone: bool, before: &Tree) -> Self {
        Self {
            json,
            gone,
            uid: object::meta_text(before, "uid").to_owned(),
        }
    }
}

/// Deletes an object inside a commit.
pub(crate) fn delete_in(
    txn: &mut Txn,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Deleted, Refusal> {
    let key = target.key();
    let found = txn.get(&key).ok_or_else(|| target.not_found())?;
    let before = record::tree_of(&target.trees, &target.stored, &found);
    admission::node_restriction::delete(target, &before)?;
    let deletion = prepare(
        target,
        &before,
        Some(record::written(&before, &found)),
        options,
    )?;
    Ok(carry_out(txn, target, &found, &deletion))
}

/// A deletion that is decided and prepared; [`carry_out`] writes it.
pub(crate) struct Deletion {
    next: Next,
    uid: String,
}

/// The writes of a deletion.
enum Next {
    Unchanged,
    Terminating(Prepared),
    TerminatingThenRemoved(Prepared),
    Removed,
}

/// Decides about an object, and prepares the writes. `earlier` is the object with its bytes, where
/// they are known.
pub(crate) fn prepare(
    target: &Target,
    object: &Tree,
    earlier: Option<EncodedTree<'_>>,
    options: &DeleteOptions,
) -> Result<Deletion, Refusal> {
    let next = match decide::decide(
        object,
        target.stored.group_kind(),
        &target.rules,
        options,
        target.now,
    )? {
        DeleteStep::Wait => Next::Unchanged,
        DeleteStep::Mark(next) if next == *object => Next::Unchanged,
        DeleteStep::Mark(next) => Next::Terminating(record::prepare(&target.stored, next, earlier)),
        DeleteStep::MarkAndRemove(next) => {
            Next::TerminatingThenRemoved(record::prepare(&target.stored, next, earlier))
        }
        DeleteStep::Remove => Next::Removed,
    };
    Ok(Deletion {
        next,
        uid: object::meta_text(object, "uid").to_owned(),
    })
}

/// Writes a deletion of the object whose present record is `found`. Must be called in the commit
/// that read the record.
pub(crate) fn carry_out(
    txn: &mut Txn,
    target: &Target,
    found: &Arc<Record>,
    deletion: &Deletion,
) -> Deleted {
    let key = &*found.key;
    let (json, gone) = match &deletion.next {
        Next::Unchanged => (found.value.clone(), false),
        Next::Terminating(prepared) => (
            record::put_prepared(txn, &target.trees, key, prepared)
                .value
                .clone(),
            false,
        ),
        Next::TerminatingThenRemoved(next) => {
            let marked = record::put_transient(txn, key, next);
            (remove(txn, &marked), true)
        }
        Next::Removed => (remove(txn, found), true),
    };
    if gone {
        definition::release(txn, target, &target.resource);
        if service::is_service(&target.stored) {
            service::release(txn, &target.stored, found);
        }
    }
    Deleted {
        json,
        gone,
        uid: deletion.uid.clone(),
    }
}

/// Removes a record, and returns the object's last state.
pub(crate) fn remove(txn: &mut Txn, last: &Arc<Record>) -> Bytes {
    record::remove(txn, &last.key, &last.value)
        .map_or_else(|| last.value.clone(), |removed| removed.value.clone())
}
