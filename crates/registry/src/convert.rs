//! Kinds that are served in more than one version and kept in one.

use std::borrow::Cow;

use bytes::Bytes;
use kinds::Tree;
use kinds::facts::Resource;

use crate::Registry;
use crate::target::Target;

/// The row in whose form the objects of `resource` are kept.
pub(crate) fn stored(resource: &'static Resource) -> &'static Resource {
    resource
}

impl Registry {
    /// Stored bytes in the version that was asked for.
    pub(crate) fn present(&self, target: &Target, stored: &Bytes) -> Bytes {
        let _ = target;
        stored.clone()
    }
}

/// A decoded body in the form that is kept.
pub(crate) fn to_stored(target: &Target, object: &mut Tree) {
    let _ = (target, object);
}

/// A stored object in the form that was asked for.
pub(crate) fn to_asked<'a>(target: &Target, object: &'a Tree) -> Cow<'a, Tree> {
    let _ = target;
    Cow::Borrowed(object)
}
