//! Server-side apply: which manager owns which fields, and what an apply makes of an object.
//!
//! A manager applies the fields that it wants to have a value, and owns them from then on. A field
//! that another manager owns with another value is a conflict, unless the request forces it. A
//! field that its last owner no longer applies is removed. Ordinary writes own what they change.
//!
//! The functions are pure: trees in, trees out, `now` is an argument. Ownership follows the list
//! types of the table ([`crate::facts`]); objects without a type are owned member by member.
//!
//! Defaults, validation and storage belong to the registry. So does the choice of the fields that a
//! request may write: fields that the main resource or the status ignores are removed from the
//! applied object before it gets here.
//!
//! One simplification: upstream converts the managed fields of other versions of a kind before
//! comparing them; here their paths are compared as they are.

mod compare;
mod field_set;
mod last_applied;
mod managers;
mod merge;
mod node;
mod scale;
mod schema;
#[cfg(test)]
mod tests;
mod validate;

pub use field_set::{FieldSet, FieldSetEntry};
pub use scale::{SCALE_VERSION, managers_behind_scale, managers_of_scale};
pub use schema::{ApplySchema, CustomField, CustomShape, CustomType};

use std::sync::LazyLock;

use self::compare::{Comparison, compare, fields};
use self::managers::{ManagedFields, ManagerEntry, ManagerOperation, is_reset};
use self::node::FieldNode;
use crate::Tree;
use crate::status::{Details, MAX_CAUSES, Status, StatusCause};

/// Owner of the fields that existed before the first apply to an object without managers.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The manager of a write, as managed fields record it.
#[derive(Clone, Copy, Debug)]
pub struct FieldManager<'a> {
    /// Name of the field manager.
    pub manager: &'a str,
    /// `apiVersion` of the request.
    pub api_version: &'a str,
    /// Subresource of the request; empty for the object itself.
    pub subresource: &'a str,
    /// Time of the request, RFC 3339 with whole seconds.
    pub now: &'a str,
}

/// A field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager, as messages show it (`"a" using v1`).
    pub manager: String,
    /// Path of the field (`.spec.containers[name="c"].image`).
    pub field: String,
}

/// Why an apply is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 409: other managers own fields that the apply would change. Sorted by manager; the first of
    /// so many.
    #[error("{}", conflict_text(.0, *.1))]
    Conflicts(Vec<Conflict>, usize),
    /// 500: the applied object has unknown fields, values of a wrong type or duplicate items.
    #[error("failed to create typed patch object ({object}): {why}")]
    Schema {
        /// `namespace/name; group/version, Kind=kind`.
        object: String,
        /// Path and message of every fault.
        why: String,
    },
    /// 400: the applied object contains managed fields.
    #[error("metadata.managedFields must be nil")]
    ManagedFields,
}

impl ApplyError {
    /// Converts the error to the API's response.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Conflicts(conflicts, _) => {
                let cause = |conflict: &Conflict| StatusCause {
                    reason: "FieldManagerConflict".to_owned(),
                    message: format!("conflict with {}", conflict.manager),
                    field: conflict.field.clone(),
                };
                let details = Details {
                    causes: conflicts.iter().map(cause).collect(),
                    ..Details::default()
                };
                Status::failure(409, "Conflict", self.to_string(), Some(details))
            }
            Self::Schema { .. } => Status::untyped(self.to_string()),
            Self::ManagedFields => Status::bad_request(self.to_string()),
        }
    }
}

/// Applies an object to the live one, which is an empty object for a create. The result has the new
/// `metadata.managedFields`. `ty` is `None` for objects without a definition.
///
/// # Errors
/// [`ApplyError`] for conflicts (unless `force`), and for an invalid applied object.
pub fn apply(
    live: &Tree,
    applied: &Tree,
    schema: ApplySchema<'_>,
    writer: &FieldManager<'_>,
    force: bool,
) -> Result<Tree, ApplyError> {
    let node = FieldNode::root(schema);
    if managers::of(applied)
        .as_array()
        .is_some_and(|entries| !entries.is_empty())
    {
        return Err(ApplyError::ManagedFields);
    }
    validate::validate(applied, node)?;
    let mut managers = ManagedFields::decode(managers::of(live)).unwrap_or_default();
    let live = &without_managers(live);
    if managers.is_empty() {
        let before = FieldManager {
            manager: BEFORE_FIRST_APPLY,
            ..*writer
        };
        note_update(&mut managers, compare(&empty_object(), live, node), &before);
    }
    let applied = without_managers(applied);
    let mut own = ManagerEntry::new(writer, ManagerOperation::Apply);
    own.fields = fields(&applied, node);
    // The previous apply of this manager: what it no longer names is pruned.
    let last = managers.take(&own);
    let mut object = merge::merge(Some(live.clone()), applied.clone(), node);
    if let Some(last) = &last {
        // The manager owns the name, too, although that is not recorded. Without it, pruning would
        // remove the whole metadata.
        let owned = managers.owned().union(&own.fields);
        merge::prune(&mut object, node, &last.fields, &owned);
    }
    let comparison = compare(live, &object, node);
    let changed = comparison.changed();
    if !force && !conflicts(&managers, &changed).0.is_empty() {
        let undisputed = last_applied::undisputed(live, node, writer.manager, writer.api_version);
        let (disputed, count) = conflicts(&managers, &changed.clone().difference(&undisputed));
        if !disputed.is_empty() {
            return Err(ApplyError::Conflicts(disputed, count));
        }
    }
    // A forced apply takes the fields from their owners. Without force nobody else owns them.
    managers.release(&changed);
    managers.release(&comparison.removed);
    own.fields = own.fields.difference(&UNRECORDED);
    let is_changed = match schema {
        ApplySchema::BuiltIn(ty) => !crate::json::equal(live, &object, ty),
        ApplySchema::Custom(_) | ApplySchema::Deduced => live != &object,
    };
    // An apply without effect keeps its time, so that the object does not change.
    own.time = if is_changed {
        Some(writer.now.to_owned())
    } else {
        last.and_then(|last| last.time)
    };
    if !own.fields.is_empty() {
        managers.0.push(own);
    }
    last_applied::remember(&mut object, &applied, writer.manager);
    set_managers(&mut object, managers.encode());
    Ok(object)
}

/// Returns the value of `metadata.managedFields` after an ordinary write; null for none.
///
/// `old` is the stored object, or an empty one for a create. Managed fields that `new` contains are
/// treated as upstream does: an empty list or one empty entry resets all managers, absent ones keep
/// those of `old`.
#[must_use]
pub fn update_managers(
    old: &Tree,
    new: &Tree,
    schema: ApplySchema<'_>,
    writer: &FieldManager<'_>,
) -> Tree {
    let requested = managers::of(new);
    let comparison = compare(old, new, FieldNode::root(schema));
    // Without a change of the object the managers stay as they are, and need not be decoded.
    if comparison.is_empty()
        && requested
            .as_array()
            .is_some_and(|entries| !entries.is_empty())
    {
        return requested.clone();
    }
    let live = || ManagedFields::decode(managers::of(old)).unwrap_or_default();
    let mut managers = match ManagedFields::decode(requested) {
        // A write of a subresource cannot change who owns the rest.
        _ if !writer.subresource.is_empty() => live(),
        _ if is_reset(requested) => ManagedFields::default(),
        Some(managers) if !managers.is_empty() => managers,
        _ => live(),
    };
    let is_create = old.pointer("/metadata/uid").is_none();
    // Upstream does not start to track an object that has no managers on an ordinary write.
    if managers.is_empty() && !is_create {
        return Tree::Null;
    }
    note_update(&mut managers, comparison, writer);
    managers.cap_updaters();
    managers.encode()
}

/// Makes the writer the owner of the fields that it changed, and the only one.
fn note_update(managers: &mut ManagedFields, comparison: Comparison, writer: &FieldManager<'_>) {
    if comparison.is_empty() {
        return;
    }
    let changed = comparison.added.union(&comparison.modified);
    managers.release(&changed);
    managers.release(&comparison.removed);
    let mut own = ManagerEntry::new(writer, ManagerOperation::Update);
    own.fields = changed.difference(&UNRECORDED);
    if !own.fields.is_empty() {
        own.time = Some(writer.now.to_owned());
        managers.add(own);
    }
}

/// Fields that the server sets or that identify the object. Nobody owns them.
static UNRECORDED: LazyLock<FieldSet> = LazyLock::new(|| {
    let mut set = FieldSet::default();
    for name in ["f:apiVersion", "f:kind", "f:metadata"] {
        set.insert(&[name]);
    }
    let names = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    for name in names {
        set.insert(&["f:metadata", &format!("f:{name}")]);
    }
    set
});

/// Returns the first conflicts, sorted by manager, and the number of all of them.
fn conflicts(managers: &ManagedFields, changed: &FieldSet) -> (Vec<Conflict>, usize) {
    let mut disputed: Vec<(String, FieldSet)> = managers
        .0
        .iter()
        .map(|manager| (manager, manager.fields.intersection(changed)))
        .filter(|(_, fields)| !fields.is_empty())
        .map(|(manager, fields)| (manager.render(), fields))
        .collect();
    disputed.sort_by(|(one, _), (other, _)| one.cmp(other));
    let count = disputed.iter().map(|(_, fields)| fields.count()).sum();
    let mut conflicts = Vec::new();
    for (manager, fields) in disputed {
        let paths = fields.paths(MAX_CAUSES - conflicts.len());
        conflicts.extend(paths.into_iter().map(|field| Conflict {
            manager: manager.clone(),
            field,
        }));
    }
    (conflicts, count)
}

fn conflict_text(conflicts: &[Conflict], count: usize) -> String {
    if let [only] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            only.manager, only.field
        );
    }
    let mut lines: Vec<String> = Vec::new();
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.manager) {
            lines.push(format!("conflicts with {}:", conflict.manager));
            last = Some(&conflict.manager);
        }
        lines.push(format!("- {}", conflict.field));
    }
    if conflicts.len() < count {
        lines.push(format!("and {} more", count - conflicts.len()));
    }
    format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
}

fn empty_object() -> Tree {
    Tree::Object(crate::tree::Map::new())
}

fn without_managers(object: &Tree) -> Tree {
    let mut object = object.clone();
    set_managers(&mut object, Tree::Null);
    object
}

fn set_managers(object: &mut Tree, managed: Tree) {
    let Some(metadata) = object.get_mut("metadata").and_then(Tree::as_object_mut) else {
        return;
    };
    if managed.is_null() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields", managed);
    }
}
