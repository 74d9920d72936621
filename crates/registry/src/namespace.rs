//! Which objects are namespaces, and when a terminating one is gone.

use kinds::Tree;
use kinds::facts::Resource;

use crate::{object, tree};

/// Returns true for the resource `namespaces`.
pub(crate) fn is_namespace(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "namespaces"
}

/// Returns true when a terminating namespace has no finalizers left, neither in its metadata nor in
/// its specification.
pub(crate) fn is_released(namespace: &Tree) -> bool {
    object::terminating(namespace)
        && object::finalizers(namespace).is_empty()
        && tree::list(namespace, &["spec", "finalizers"]).is_empty()
}
