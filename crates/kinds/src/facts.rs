//! The table of facts: which fields a type has, and which resources the API serves.
//!
//! `cargo xtask schema` generates the table as Rust statics, so nothing is parsed at start-up.
//! Codecs, strict field validation, patches, apply, pruning and OpenAPI are derived from it. A new
//! kind is a new row of data and needs no code.
//!
//! This module holds the types of the rows, and the lookup of a field by its name.
//! `lookup.rs` finds the rows.

use std::borrow::Cow;
use std::hash::BuildHasher as _;
use std::sync::OnceLock;

use hashbrown::{DefaultHashBuilder, HashTable};
use smol_str::format_smolstr;

use crate::tree::Text;

/// A structure with named fields.
#[derive(Debug)]
pub struct Type {
    /// Full name, for example `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// Fields in the order in which JSON shows them.
    pub fields: &'static [Field],
    /// Finds fields by name.
    pub lookup: Lookup,
    /// True if apply treats the structure as one field, wherever it is used.
    pub atomic: bool,
}

impl Type {
    /// Returns the field with this JSON name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.field_at(name).map(|(_, field)| field)
    }

    /// Returns the field with this JSON name and its index in `fields`.
    #[must_use]
    pub fn field_at(&self, name: &str) -> Option<(usize, &'static Field)> {
        let derived = self.derived();
        let hash = derived.hasher.hash_one(name);
        let is_named = |&index: &u32| self.fields[index as usize].name == name;
        let index = *derived.by_name.find(hash, is_named)? as usize;
        Some((index, &self.fields[index]))
    }

    /// Indexes of the fields that are always written, in JSON order.
    pub(crate) fn always(&self) -> &[usize] {
        &self.derived().always
    }

    /// The name of a field in `managedFields`: `f:` and its JSON name.
    pub(crate) fn element(&self, index: usize) -> &Text {
        &self.derived().elements[index]
    }

    fn derived(&self) -> &Derived {
        self.lookup.0.get_or_init(|| Derived::of(self.fields))
    }
}

/// What is derived from the fields of a type, on the first use of one of them.
///
/// Lazy derivation keeps the table a plain static and start-up short: a process uses a fraction of
/// the types.
#[derive(Debug, Default)]
pub struct Lookup(OnceLock<Derived>);

impl Lookup {
    /// Creates the lookup of a type none of whose fields has been used.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }
}

#[derive(Debug)]
struct Derived {
    /// Indexes of the fields, found by name.
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
    always: Box<[usize]>,
    elements: Box<[Text]>,
}

impl Derived {
    fn of(fields: &[Field]) -> Self {
        let hasher = DefaultHashBuilder::default();
        let hash = |&index: &u32| hasher.hash_one(fields[index as usize].name);
        let mut by_name = HashTable::with_capacity(fields.len());
        for (index, _) in (0_u32..).zip(fields) {
            by_name.insert_unique(hash(&index), index, hash);
        }
        Self {
            always: (0..fields.len())
                .filter(|&index| fields[index].always)
                .collect(),
            elements: fields
                .iter()
                .map(|field| format_smolstr!("f:{}", field.name))
                .collect(),
            by_name,
            hasher,
        }
    }
}

/// One field of a [`Type`].
#[derive(Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: &'static str,
    /// Protobuf field number; 0 if the field does not exist in protobuf.
    pub number: u32,
    /// Field numbers of the messages that protobuf puts around this field, outermost first. Empty
    /// for most fields: only structures that JSON shows inline have such messages.
    pub within: &'static [u32],
    /// Type of the value.
    pub shape: Shape,
    /// True if the API reference lists the field as required.
    pub required: bool,
    /// True if encoders write the field even if it is empty, zero or null.
    pub always: bool,
    /// True if an explicit zero (`0`, `false`, `""`, `{}`) differs from an absent field: Go has a
    /// pointer here.
    pub optional: bool,
    /// How apply merges the list.
    pub list: ListType,
    /// Keys of the items of a list of type map.
    pub keys: &'static [&'static str],
    /// True if apply treats the map or structure as one field.
    pub atomic: bool,
    /// How a strategic merge patch treats the field.
    pub patch: PatchStrategy,
    /// Key by which a strategic merge patch pairs items; empty if it does not.
    pub merge_key: &'static str,
    /// Default in the API definition, as JSON; empty for no default.
    pub default: &'static str,
}

impl Field {
    /// A field with the most frequent value of everything. Rows name what differs.
    pub const BLANK: Self = Self {
        name: "",
        number: 0,
        within: &[],
        shape: Shape::String,
        required: false,
        always: false,
        optional: false,
        list: ListType::Atomic,
        keys: &[],
        atomic: false,
        patch: PatchStrategy::NONE,
        merge_key: "",
        default: "",
    };
}

/// Type of a field's value or of an item.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A string.
    String,
    /// `true` or `false`.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating-point number.
    Float64,
    /// Bytes; a base64 string in JSON.
    Bytes,
    /// A time, RFC 3339 with whole seconds.
    Time,
    /// A time, RFC 3339 with microseconds.
    MicroTime,
    /// A duration in Go's notation (`1h30m`).
    Duration,
    /// A quantity, canonical in JSON (`500m`).
    Quantity,
    /// An integer or a string.
    IntOrString,
    /// Any JSON value (`RawExtension`, `JSON`, `FieldsV1`).
    Any,
    /// A structure.
    Object(&'static Type),
    /// A structure or a boolean (`additionalProperties` of a JSON schema).
    ObjectOrBool(&'static Type),
    /// A structure or a list of structures (`items` of a JSON schema).
    ObjectOrList(&'static Type),
    /// A structure or a list of strings (`dependencies` of a JSON schema).
    ObjectOrStrings(&'static Type),
    /// A list.
    List(&'static Shape),
    /// A map with string keys.
    Map(&'static Shape),
}

/// How server-side apply merges a list (`x-kubernetes-list-type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// The list is one field with one owner.
    #[default]
    Atomic,
    /// Items are unique scalars, each with owners of its own.
    Set,
    /// Items are paired by their keys, each with owners of its own.
    Map,
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Merges lists item by item.
    pub merge: bool,
    /// Replaces the structure as a whole.
    pub replace: bool,
    /// Drops members that the patch does not list (`$retainKeys`).
    pub retain_keys: bool,
}

impl PatchStrategy {
    /// Merges structures and maps, replaces lists.
    pub const NONE: Self = Self {
        merge: false,
        replace: false,
        retain_keys: false,
    };
}

/// One served resource. Routing, discovery, OpenAPI and the coverage test are derived from these
/// rows.
///
/// The rows of built-in kinds are statics. Rows of custom kinds are made from their definitions and
/// belong to a server.
#[derive(Clone, Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: Text,
    /// Version, for example `v1`.
    pub version: Text,
    /// Kind, for example `Pod`.
    pub kind: Text,
    /// Plural, for example `pods`.
    pub plural: Text,
    /// Singular, for example `pod`.
    pub singular: Text,
    /// Short names, for example `po`.
    pub short_names: Cow<'static, [Text]>,
    /// Categories, for example `all`.
    pub categories: Cow<'static, [Text]>,
    /// True if the objects live in namespaces.
    pub namespaced: bool,
    /// Verbs in the order in which discovery lists them.
    pub verbs: &'static [&'static str],
    /// Subresources.
    pub subresources: Cow<'static, [Subresource]>,
    /// Type of the objects.
    pub ty: &'static Type,
    /// False for kinds that exist only in requests and responses (`TokenReview`).
    pub stored: bool,
    /// Group of the version in which upstream stores the objects. Differs from `group` for `Event`,
    /// which is served in two groups and stored in one.
    pub storage_group: Text,
    /// Version in which upstream stores the objects; discovery's storage version hash depends on
    /// it. It is not always a served version: custom resource definitions are stored as `v1beta1`.
    pub storage_version: Text,
}

/// One subresource of a [`Resource`].
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Name, for example `eviction`.
    pub name: &'static str,
    /// Group of the kind that the subresource accepts and returns.
    pub group: Text,
    /// Version of that kind.
    pub version: Text,
    /// That kind, for example `Eviction`.
    pub kind: Text,
    /// Verbs in the order in which discovery lists them.
    pub verbs: &'static [&'static str],
    /// Type of that kind.
    pub ty: &'static Type,
}

impl Resource {
    /// Returns the `apiVersion` of the objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Returns group and plural, which identify the resource in all of its versions.
    #[must_use]
    pub fn group_and_plural(&self) -> (&str, &str) {
        (&self.group, &self.plural)
    }

    /// Returns the group and plural, as most errors name the resource.
    #[must_use]
    pub fn group_resource(&self) -> crate::status::GroupResource<'_> {
        crate::status::GroupResource {
            group: &self.group,
            resource: &self.plural,
        }
    }

    /// Returns the group and kind, as validation errors name the resource.
    #[must_use]
    pub fn group_kind(&self) -> crate::status::GroupResource<'_> {
        crate::status::GroupResource {
            group: &self.group,
            resource: &self.kind,
        }
    }

    /// Returns the subresource with this name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}

/// An API group and its served versions.
#[derive(Debug)]
pub struct ApiGroup {
    /// Name; empty for the core group.
    pub name: &'static str,
    /// Versions, the preferred one first.
    pub versions: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_field_is_found_by_its_name_and_no_other_name_is() {
        for ty in crate::generated::TYPES {
            for (index, field) in ty.fields.iter().enumerate() {
                assert_eq!(
                    ty.field_at(field.name).map(|(index, _)| index),
                    Some(index),
                    "{} {}",
                    ty.name,
                    field.name
                );
                assert_eq!(ty.element(index), &format!("f:{}", field.name));
                assert_eq!(
                    ty.always().contains(&index),
                    field.always,
                    "{} {}",
                    ty.name,
                    field.name
                );
            }
            for unknown in ["", "x", "metadatA", "aNameThatNoTypeHasAndThatIsLong"] {
                assert!(ty.field(unknown).is_none(), "{} {unknown}", ty.name);
            }
        }
    }
}
