//! `metadata.managedFields` of ordinary writes: which field manager owns which field. The
//! computation is in `kinds::apply`; this module names the writer and says when owners are
//! recorded.

use kinds::Tree;
use kinds::apply::{ApplySchema, FieldManager, SCALE_VERSION, update_managers};
use kinds::tree::Map;

use crate::object;
use crate::request::WriteOptions;
use crate::target::Target;
use crate::tree;

/// The field manager of the server's own objects.
pub(crate) const SERVER: &str = "exeunt";
/// The field manager of a client that gives none.
const NAMELESS: &str = "unknown";
const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];

/// The writer of a request: field manager, API version, subresource and time.
pub(crate) struct Author<'a> {
    manager: &'a str,
    api_version: String,
    subresource: &'a str,
    now: String,
}

impl<'a> Author<'a> {
    /// Returns the author of a write to an object, or to the part that the subresource covers.
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

    /// Returns the author of a write to a scale, which has an API version of its own.
    pub(crate) fn of_scale(target: &Target, write: &'a WriteOptions) -> Self {
        Self {
            api_version: SCALE_VERSION.to_owned(),
            ..Self::new(target, "scale", write)
        }
    }

    /// Returns the author in the form that `kinds::apply` takes.
    pub(crate) fn writer(&self) -> FieldManager<'_> {
        FieldManager {
            manager: self.manager,
            api_version: &self.api_version,
            subresource: self.subresource,
            now: &self.now,
        }
    }
}

/// Records the owner of a new object's fields.
pub(crate) fn created(object: &mut Tree, target: &Target, write: &WriteOptions) {
    let nothing = Tree::Object(Map::new());
    // The status of a new object is dropped before it is stored, so that its fields get no owner.
    let status = target
        .resource
        .subresource("status")
        .and_then(|_| tree::take(object, &["status"]));
    record(
        object,
        &nothing,
        schema(target),
        &Author::new(target, "", write),
    );
    if let Some(status) = status {
        tree::put(object, &["status"], status);
    }
}

/// Records the author as the owner of the fields that a change of the target has changed.
pub(crate) fn updated(new: &mut Tree, old: &Tree, target: &Target, author: &Author<'_>) {
    record(new, old, schema(target), author);
}

/// Records the author as the owner of the fields in which two trees of a type differ.
pub(crate) fn record(new: &mut Tree, old: &Tree, schema: ApplySchema<'_>, author: &Author<'_>) {
    let managed = update_managers(old, new, schema, &author.writer());
    put(new, managed);
}

/// Returns the managed fields of an object; null when it has none.
pub(crate) fn of(object: &Tree) -> &Tree {
    tree::at(object, &MANAGED_FIELDS)
}

/// Sets the managed fields of an object; null removes them.
pub(crate) fn put(object: &mut Tree, managed: Tree) {
    match managed {
        Tree::Null => {
            tree::take(object, &MANAGED_FIELDS);
        }
        managed => tree::put(object, &MANAGED_FIELDS, managed),
    }
}

/// Returns the schema by which fields are owned: that of the stored form, or, for a custom kind,
/// that of the requested version.
fn schema(target: &Target) -> ApplySchema<'_> {
    if target.resource.is_custom() {
        target.resource.apply_schema()
    } else {
        target.stored.apply_schema()
    }
}
