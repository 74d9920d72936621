//! Who owns which field: `metadata.managedFields` of ordinary writes. The bookkeeping itself is in
//! `kinds::apply`; this file says who writes, and when it is noted.

use kinds::Tree;
use kinds::apply::{Writer, update_managers};
use kinds::tree::Map;

use crate::custom;
use crate::object;
use crate::request::WriteOptions;
use crate::target::Target;
use crate::tree;
use crate::update::Change;

/// The manager of a client that has no name.
const NAMELESS: &str = "unknown";

/// Notes the owner of a new object's fields.
pub(crate) fn created(object: &mut Tree, target: &Target, write: &WriteOptions) {
    let nothing = Tree::Object(Map::new());
    // A new object's status is dropped before it is stored, so that nobody owns any of it.
    let status = target.resource.subresource("status").and_then(|_| tree::take(object, &["status"]));
    note(object, &nothing, target, "", write);
    if let Some(status) = status {
        tree::put(object, &["status"], status);
    }
}

/// Notes the owner of the fields that a change has changed.
pub(crate) fn updated(new: &mut Tree, old: &Tree, change: &Change<'_>) {
    note(new, old, change.target, change.owned_as, change.write);
}

fn note(new: &mut Tree, old: &Tree, target: &Target, subresource: &str, write: &WriteOptions) {
    let manager = if write.field_manager.is_empty() { NAMELESS } else { &write.field_manager };
    let (api_version, now) = (target.resource.api_version(), object::wire_time(target.now));
    let writer = Writer { manager, api_version: &api_version, subresource, now: &now };
    match update_managers(old, new, owned_type(target), &writer) {
        Tree::Null => {
            tree::take(new, &["metadata", "managedFields"]);
        }
        managers => tree::put(new, &["metadata", "managedFields"], managers),
    }
}

/// The type by which fields are owned: that of the kept form, or what the asked version of a custom kind says.
fn owned_type(target: &Target) -> Option<&'static kinds::facts::Type> {
    custom::owned_type(if custom::of(target.resource).is_some() { target.resource } else { target.stored })
}
