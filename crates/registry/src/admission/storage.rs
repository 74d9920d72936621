//! Volumes and claims are held back from removal while something uses them.

use kinds::Tree;

use crate::object;

/// Adds the finalizer that the protection controller takes away.
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
