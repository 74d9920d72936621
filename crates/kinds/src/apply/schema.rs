//! What apply reads of a kind: structures, fields and shapes, from the table of facts or from the
//! schema of a custom kind.
//!
//! Built-in kinds live in statics for as long as the program. Custom kinds come and go with their
//! definitions, so that their types are owned values ([`CustomType`]) which the server shares and
//! drops. The views of this file ([`Structure`], [`Member`], [`Value`]) hide the difference from
//! the algorithms.

use std::collections::HashMap;

use smol_str::format_smolstr;

use crate::facts::{Field, ListType, Shape, Type};
use crate::tree::Text;

/// By which schema the fields of an object are owned.
#[derive(Clone, Copy, Debug)]
pub enum ApplySchema<'a> {
    /// A built-in kind.
    BuiltIn(&'static Type),
    /// A custom kind whose schema names its fields.
    Custom(&'a CustomType),
    /// No schema: objects are owned by their members, all other values as a whole.
    Deduced,
}

/// The structure of a custom kind, or of a part of it, as apply sees it.
#[derive(Debug, Default)]
pub struct CustomType {
    fields: Vec<CustomField>,
    index: HashMap<Text, usize>,
    /// True when the structure is owned as a whole.
    pub atomic: bool,
}

impl CustomType {
    /// A structure with these fields. Of two fields with one name the first counts.
    #[must_use]
    pub fn new(fields: Vec<CustomField>, atomic: bool) -> Self {
        let mut index = HashMap::with_capacity(fields.len());
        for (place, field) in fields.iter().enumerate() {
            index.entry(field.name.clone()).or_insert(place);
        }
        Self {
            fields,
            index,
            atomic,
        }
    }

    /// The names of its fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }
}

/// One field of a [`CustomType`].
#[derive(Debug)]
pub struct CustomField {
    /// JSON name.
    pub name: Text,
    /// What it holds.
    pub shape: CustomShape,
    /// True when it is written even when it is empty.
    pub always: bool,
    /// How its list merges.
    pub list: ListType,
    /// Keys of a list of type map.
    pub keys: Vec<Text>,
    /// True when its map or structure is owned as a whole.
    pub atomic: bool,
    /// The default of the schema as JSON; empty when there is none.
    pub default: String,
}

impl CustomField {
    /// A field with nothing special about it.
    #[must_use]
    pub fn new(name: &str, shape: CustomShape) -> Self {
        Self {
            name: name.into(),
            shape,
            always: false,
            list: ListType::default(),
            keys: Vec::new(),
            atomic: false,
            default: String::new(),
        }
    }
}

/// What a field or an item of a custom kind holds.
#[derive(Debug)]
pub enum CustomShape {
    /// A scalar, any JSON, or a part that the table of facts describes, such as `metadata`.
    BuiltIn(Shape),
    /// A structure.
    Object(CustomType),
    /// A list of these.
    List(Box<CustomShape>),
    /// A map from strings to these.
    Map(Box<CustomShape>),
}

/// A structure of either origin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Structure<'a> {
    BuiltIn(&'static Type),
    Custom(&'a CustomType),
}

impl<'a> Structure<'a> {
    /// The field with this JSON name and its index.
    pub(super) fn field_at(self, name: &str) -> Option<(usize, Member<'a>)> {
        match self {
            Self::BuiltIn(ty) => ty
                .field_at(name)
                .map(|(index, field)| (index, Member::BuiltIn(field))),
            Self::Custom(ty) => ty
                .index
                .get(name)
                .map(|index| (*index, Member::Custom(&ty.fields[*index]))),
        }
    }

    /// How managed fields name the field with this index: `f:` and its name.
    pub(super) fn element(self, index: usize) -> Text {
        match self {
            Self::BuiltIn(ty) => ty.element(index).clone(),
            Self::Custom(ty) => format_smolstr!("f:{}", ty.fields[index].name),
        }
    }

    /// True when it is owned as a whole.
    pub(super) fn is_atomic(self) -> bool {
        match self {
            Self::BuiltIn(ty) => ty.atomic,
            Self::Custom(ty) => ty.atomic,
        }
    }
}

/// A field of either origin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Member<'a> {
    BuiltIn(&'static Field),
    Custom(&'a CustomField),
}

impl<'a> Member<'a> {
    /// What it holds.
    pub(super) fn value(self) -> Value<'a> {
        match self {
            Self::BuiltIn(field) => Value::BuiltIn(field.shape),
            Self::Custom(field) => Value::of(&field.shape),
        }
    }

    /// How its list merges.
    pub(super) fn list(self) -> ListType {
        match self {
            Self::BuiltIn(field) => field.list,
            Self::Custom(field) => field.list,
        }
    }

    /// Keys of a list of type map.
    pub(super) fn keys(self) -> Keys<'a> {
        match self {
            Self::BuiltIn(field) => Keys::BuiltIn(field.keys),
            Self::Custom(field) => Keys::Custom(&field.keys),
        }
    }

    /// True when its map or structure is owned as a whole.
    pub(super) fn is_atomic(self) -> bool {
        match self {
            Self::BuiltIn(field) => field.atomic,
            Self::Custom(field) => field.atomic,
        }
    }

    /// True when it is written even when it is empty.
    pub(super) fn is_always_written(self) -> bool {
        match self {
            Self::BuiltIn(field) => field.always,
            Self::Custom(field) => field.always,
        }
    }

    /// True when an explicit zero differs from an absent member; in custom kinds it always does.
    pub(super) fn is_optional(self) -> bool {
        match self {
            Self::BuiltIn(field) => field.optional,
            Self::Custom(_) => true,
        }
    }

    /// The default as JSON; empty when there is none.
    pub(super) fn default(self) -> &'a str {
        match self {
            Self::BuiltIn(field) => field.default,
            Self::Custom(field) => &field.default,
        }
    }
}

/// The keys of a list of type map.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys<'a> {
    BuiltIn(&'static [&'static str]),
    Custom(&'a [Text]),
}

impl<'a> Keys<'a> {
    /// The names, in the order of the schema.
    pub(super) fn iter(self) -> impl Iterator<Item = &'a str> {
        let (built_in, custom): (&[&str], &[Text]) = match self {
            Self::BuiltIn(keys) => (keys, &[]),
            Self::Custom(keys) => (&[], keys),
        };
        built_in
            .iter()
            .copied()
            .chain(custom.iter().map(Text::as_str))
    }
}

/// What a field or an item holds, of either origin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    BuiltIn(Shape),
    Object(&'a CustomType),
    List(&'a CustomShape),
    Map(&'a CustomShape),
}

impl<'a> Value<'a> {
    pub(super) fn of(shape: &'a CustomShape) -> Self {
        match shape {
            CustomShape::BuiltIn(shape) => Self::BuiltIn(*shape),
            CustomShape::Object(ty) => Self::Object(ty),
            CustomShape::List(item) => Self::List(item),
            CustomShape::Map(value) => Self::Map(value),
        }
    }

    /// Its structure, if it has one.
    pub(super) fn structure(self) -> Option<Structure<'a>> {
        match self {
            Self::BuiltIn(Shape::Object(ty)) => Some(Structure::BuiltIn(ty)),
            Self::Object(ty) => Some(Structure::Custom(ty)),
            _ => None,
        }
    }

    /// What each item holds, if it is a list.
    pub(super) fn item(self) -> Option<Self> {
        match self {
            Self::BuiltIn(Shape::List(item)) => Some(Self::BuiltIn(*item)),
            Self::List(item) => Some(Self::of(item)),
            _ => None,
        }
    }

    /// What each entry holds, if it is a map.
    pub(super) fn entry(self) -> Option<Self> {
        match self {
            Self::BuiltIn(Shape::Map(value)) => Some(Self::BuiltIn(*value)),
            Self::Map(value) => Some(Self::of(value)),
            _ => None,
        }
    }
}
