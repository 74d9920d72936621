//! The shape of the table of facts: what a type is, field by field, and what a resource is.
//!
//! The table itself is generated (`cargo xtask schema`) into statics; nothing is parsed at
//! start-up. Codecs, strict field validation, patches, apply, pruning and OpenAPI are derived from
//! it, so a kind is added by data.

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
    /// Fields in the order in which the wire shows them.
    pub fields: &'static [Field],
    /// How its fields are found.
    pub lookup: Lookup,
    /// True when the structure is owned as a whole under apply, wherever it is used.
    pub atomic: bool,
}

impl Type {
    /// The field with this JSON name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.field_at(name).map(|(_, field)| field)
    }

    /// The field with this JSON name and its index.
    #[must_use]
    pub fn field_at(&self, name: &str) -> Option<(usize, &'static Field)> {
        let derived = self.derived();
        let hash = derived.hasher.hash_one(name);
        let is_named = |&index: &u32| self.fields[index as usize].name == name;
        let index = *derived.by_name.find(hash, is_named)? as usize;
        Some((index, &self.fields[index]))
    }

    /// Indexes of the fields that are always written, in the order of the wire.
    pub(crate) fn always(&self) -> &[usize] {
        &self.derived().always
    }

    /// How managed fields name the field with this index: `f:` and its name.
    pub(crate) fn element(&self, index: usize) -> &Text {
        &self.derived().elements[index]
    }

    fn derived(&self) -> &Derived {
        self.lookup.0.get_or_init(|| Derived::of(self.fields))
    }
}

/// What is derived from the fields of a type, on the first use of one of them.
///
/// Deriving it lazily keeps the table a plain static and start-up short: most processes use a
/// fraction of the types.
#[derive(Debug, Default)]
pub struct Lookup(OnceLock<Derived>);

impl Lookup {
    /// The lookup of a type none of whose fields has been used.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }
}

#[derive(Debug)]
struct Derived {
    /// Indexes of the fields, found by name.
    by_name: HashTable<u32>,
    /// Seeded at random: authors of custom resource definitions choose the names and must not be
    /// able to choose names that collide.
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
    /// JSON name.
    pub name: &'static str,
    /// Protobuf field number; 0 when it has none.
    pub number: u32,
    /// Numbers of the messages in which protobuf wraps this field (structures that JSON shows
    /// inline), outermost first; empty for most fields.
    pub within: &'static [u32],
    /// What it holds.
    pub shape: Shape,
    /// True when the API calls it required.
    pub required: bool,
    /// True when it is written even when it is empty, zero or null.
    pub always: bool,
    /// True when an explicit zero (`0`, `false`, `""`, `{}`) differs from an absent member.
    pub optional: bool,
    /// How its list merges under apply.
    pub list: ListType,
    /// Keys of a list of type map.
    pub keys: &'static [&'static str],
    /// True when its map or structure is owned as a whole under apply.
    pub atomic: bool,
    /// How a strategic merge patch treats it.
    pub patch: PatchStrategy,
    /// The key by which a strategic merge patch pairs items.
    pub merge_key: &'static str,
    /// The default that the definition names, as JSON; empty when there is none.
    pub default: &'static str,
}

impl Field {
    /// A field without a name and with nothing special about it; definitions say what differs.
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

/// What a field or an item holds.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Text.
    String,
    /// `true` or `false`.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A floating-point number.
    Float64,
    /// Bytes, base64 in JSON.
    Bytes,
    /// RFC 3339 with whole seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// A duration in Go's text form.
    Duration,
    /// A quantity, canonical on the wire (`500m`).
    Quantity,
    /// A number or text.
    IntOrString,
    /// Any JSON (RawExtension, JSON, FieldsV1).
    Any,
    /// A structure.
    Object(&'static Type),
    /// A structure or, in its place, `true` or `false` (`additionalProperties` of a schema).
    ObjectOrBool(&'static Type),
    /// A structure or a list of them (`items` of a schema).
    ObjectOrList(&'static Type),
    /// A structure or a list of text (`dependencies` of a schema).
    ObjectOrStrings(&'static Type),
    /// A list of these.
    List(&'static Shape),
    /// A map from text to these.
    Map(&'static Shape),
}

/// How a list merges under server-side apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Owned as a whole.
    #[default]
    Atomic,
    /// Items are unique values.
    Set,
    /// Items are paired by keys.
    Map,
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists are merged item by item.
    pub merge: bool,
    /// The structure is replaced as a whole.
    pub replace: bool,
    /// Members that the patch does not list are dropped (`$retainKeys`).
    pub retain_keys: bool,
}

impl PatchStrategy {
    /// Nothing special: structures and maps are merged, lists are replaced.
    pub const NONE: Self = Self {
        merge: false,
        replace: false,
        retain_keys: false,
    };
}

/// The structure of every custom object, as codecs see it: its metadata in the order of the wire,
/// before all that a user can nest. The other members have no type and follow as they are.
pub static CUSTOM_OBJECT: Type = Type {
    name: "",
    fields: &[
        Field {
            name: "apiVersion",
            ..Field::BLANK
        },
        Field {
            name: "kind",
            ..Field::BLANK
        },
        Field {
            name: "metadata",
            shape: Shape::Object(&crate::generated::OBJECT_META),
            always: true,
            ..Field::BLANK
        },
    ],
    lookup: Lookup::new(),
    atomic: false,
};

/// One served resource: a row of the resource table. Routing, discovery, OpenAPI and the coverage
/// test are all made from it.
///
/// The rows of built-in kinds are statics; those of custom kinds are made from their definitions
/// and belong to a server.
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
    /// Singular as discovery shows it, for example `pod`.
    pub singular: Text,
    /// Short names, for example `po`.
    pub short_names: Cow<'static, [Text]>,
    /// Categories, for example `all`.
    pub categories: Cow<'static, [Text]>,
    /// True when its objects live in namespaces.
    pub namespaced: bool,
    /// Verbs as discovery lists them.
    pub verbs: &'static [&'static str],
    /// Its subresources.
    pub subresources: Cow<'static, [Subresource]>,
    /// Its structure.
    pub ty: &'static Type,
    /// False for kinds that are answered and not kept (`TokenReview`).
    pub stored: bool,
    /// Group of the version in which upstream stores it. Events of both groups are one thing.
    pub storage_group: Text,
    /// The version in which upstream stores it, of which the storage version hash is made. It need
    /// not be served (definitions of custom resources are stored as `v1beta1`).
    pub storage_version: Text,
}

/// One subresource of a [`Resource`].
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Name, for example `eviction`.
    pub name: &'static str,
    /// Group of the kind that it takes and shows.
    pub group: Text,
    /// Version of that kind.
    pub version: Text,
    /// That kind, for example `Eviction`.
    pub kind: Text,
    /// Verbs as discovery lists them.
    pub verbs: &'static [&'static str],
    /// Structure of that kind.
    pub ty: &'static Type,
}

impl Resource {
    /// `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Group and plural, which name the kind whatever its version.
    #[must_use]
    pub fn group_and_plural(&self) -> (&str, &str) {
        (&self.group, &self.plural)
    }

    /// The resource as errors name it.
    #[must_use]
    pub fn group_resource(&self) -> crate::status::GroupResource<'_> {
        crate::status::GroupResource {
            group: &self.group,
            resource: &self.plural,
        }
    }

    /// The kind as validation errors name it.
    #[must_use]
    pub fn group_kind(&self) -> crate::status::GroupResource<'_> {
        crate::status::GroupResource {
            group: &self.group,
            resource: &self.kind,
        }
    }

    /// The subresource with this name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}

/// An API group with its served versions, the preferred one first.
#[derive(Debug)]
pub struct ApiGroup {
    /// Name; empty for the core group.
    pub name: &'static str,
    /// Versions by preference.
    pub versions: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_field_is_found_by_its_name_and_nothing_else_is() {
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
