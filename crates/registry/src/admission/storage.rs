//! Finalizers that keep volumes and claims in use from removal (StorageObjectInUseProtection).

use kinds::Tree;

use crate::object;

/// Adds a finalizer if it is missing. The protection controller removes it.
pub(super) fn protect(object: &mut Tree, finalizer: &str) {
    let mut finalizers: Vec<String> = object::finalizers(object)
        .into_iter()
        .map(str::to_owned)
        .collect();
    if !finalizers.iter().any(|name| name == finalizer) {
        finalizers.push(finalizer.to_owned());
        object::set_finalizers(object, finalizers);
    }
}
