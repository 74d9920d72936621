//! Who owns which field: `metadata.managedFields` of ordinary writes. The bookkeeping itself is in
//! `kinds::apply`; this file says who writes, and when it is noted.

use kinds::Tree;
use kinds::apply::{ApplySchema, FieldManager, SCALE_VERSION, update_managers};
use kinds::tree::Map;

use crate::object;
use crate::request::WriteOptions;
use crate::target::Target;
use crate::tree;

/// The manager of a client that has no name.
const NAMELESS: &str = "unknown";
const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];

/// Who writes, through which version and part of an object, and when.
pub(crate) struct Author<'a> {
    manager: &'a str,
    api_version: String,
    subresource: &'a str,
    now: String,
}

impl<'a> Author<'a> {
    /// The author of a write to an object, or to the part of it that the subresource is.
    pub(crate) fn new(target: &Target, subresource: &'a str, write: &'a WriteOptions) -> Self {
        let manager = if write.field_manager.is_empty() {
            NAMELESS
        } else {
            &write.field_manager
        };
        Self {
            manager,
            api_version: target.resource.api_version(),
            subresource,
            now: object::wire_time(target.now),
        }
    }

    /// The author of a write to a scale, which has a version of its own.
    pub(crate) fn of_scale(target: &Target, write: &'a WriteOptions) -> Self {
        Self {
            api_version: SCALE_VERSION.to_owned(),
            ..Self::new(target, "scale", write)
        }
    }

    /// The same as the bookkeeping wants it.
    pub(crate) fn writer(&self) -> FieldManager<'_> {
        FieldManager {
            manager: self.manager,
            api_version: &self.api_version,
            subresource: self.subresource,
            now: &self.now,
        }
    }
}

/// Notes the owner of a new object's fields.
pub(crate) fn created(object: &mut Tree, target: &Target, write: &WriteOptions) {
    let nothing = Tree::Object(Map::new());
    // A new object's status is dropped before it is stored, so that nobody owns any of it.
    let status = target
        .resource
        .subresource("status")
        .and_then(|_| tree::take(object, &["status"]));
    note(
        object,
        &nothing,
        schema(target),
        &Author::new(target, "", write),
    );
    if let Some(status) = status {
        tree::put(object, &["status"], status);
    }
}

/// Notes the author as the owner of the fields that a change of the target has changed.
pub(crate) fn updated(new: &mut Tree, old: &Tree, target: &Target, author: &Author<'_>) {
    note(new, old, schema(target), author);
}

/// Notes the owner of the fields in which two trees of a type differ.
pub(crate) fn note(new: &mut Tree, old: &Tree, schema: ApplySchema<'_>, author: &Author<'_>) {
    let managed = update_managers(old, new, schema, &author.writer());
    put(new, managed);
}

/// What an object says of its managers; null when it says nothing.
pub(crate) fn of(object: &Tree) -> &Tree {
    tree::at(object, &MANAGED_FIELDS)
}

/// Makes an object say this of its managers; null: nothing.
pub(crate) fn put(object: &mut Tree, managed: Tree) {
    match managed {
        Tree::Null => {
            tree::take(object, &MANAGED_FIELDS);
        }
        managed => tree::put(object, &MANAGED_FIELDS, managed),
    }
}

/// The schema by which fields are owned: that of the stored form, or that of the version of a
/// custom kind that was asked for.
fn schema(target: &Target) -> ApplySchema<'_> {
    if target.resource.is_custom() {
        target.resource.apply_schema()
    } else {
        target.stored.apply_schema()
    }
}
