//! What apply needs to know of a kind: structures, fields and shapes, from the table of facts or
//! from the schema of a custom kind.
//!
//! Types of built-in kinds are statics. Custom kinds come and go with their definitions, so their
//! types are owned values ([`CustomType`]) that the server shares and drops. The views in this file
//! ([`StructureView`], [`FieldView`], [`ShapeView`]) hide the difference from the algorithms.

use std::collections::HashMap;

use smol_str::format_smolstr;

use crate::Tree;
use crate::facts::{Field, ListType, Shape, Type};
use crate::tree::Text;

/// The schema that determines how the fields of an object are owned.
#[derive(Clone, Copy, Debug)]
pub enum ApplySchema<'a> {
    /// A built-in kind.
    BuiltIn(&'static Type),
    /// A custom kind with a schema.
    Custom(&'a CustomType),
    /// No schema: objects are owned by their members, anything else as a whole.
    Deduced,
}

/// The structure of a custom kind, or of a part of it.
#[derive(Debug, Default)]
pub struct CustomType {
    fields: Vec<CustomField>,
    index: HashMap<Text, usize>,
    /// Type of the members that `fields` does not name; `None` if there may be no others.
    rest: Option<Box<CustomShape>>,
    /// True if the value may also be a scalar or a list, which is owned as a whole.
    untyped: bool,
    /// True if apply treats the structure as one field.
    pub atomic: bool,
}

impl CustomType {
    /// Creates a structure with these fields. Of two fields with the same name the first counts.
    #[must_use]
    pub fn new(fields: Vec<CustomField>, atomic: bool) -> Self {
        let mut index = HashMap::with_capacity(fields.len());
        for (place, field) in fields.iter().enumerate() {
            index.entry(field.name.clone()).or_insert(place);
        }
        Self {
            fields,
            index,
            rest: None,
            untyped: false,
            atomic,
        }
    }

    /// Allows members that the structure does not name, with values of this type.
    #[must_use]
    pub fn with_rest(self, rest: CustomShape) -> Self {
        Self {
            rest: Some(Box::new(rest)),
            ..self
        }
    }

    /// Allows a scalar or a list in place of the structure.
    #[must_use]
    pub fn untyped(self) -> Self {
        Self {
            untyped: true,
            ..self
        }
    }

    /// Returns the names of the fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }
}

/// One field of a [`CustomType`].
#[derive(Debug)]
pub struct CustomField {
    /// Name in JSON.
    pub name: Text,
    /// Type of the value.
    pub shape: CustomShape,
    /// True if encoders write the field even if it is empty.
    pub always: bool,
    /// How apply merges the list.
    pub list: ListType,
    /// Keys of the items of a list of type map.
    pub keys: Vec<Text>,
    /// True if apply treats the map or structure as one field.
    pub atomic: bool,
    /// Default in the schema, as JSON; empty for no default.
    pub default: String,
}

impl CustomField {
    /// Creates a field with the most frequent value of everything.
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

/// Type of a custom kind's field or item.
#[derive(Debug)]
pub enum CustomShape {
    /// A scalar, any JSON, or a type of the table of facts, such as `metadata`.
    BuiltIn(Shape),
    /// A structure.
    Object(CustomType),
    /// A list.
    List(Box<CustomShape>),
    /// A map with string keys.
    Map(Box<CustomShape>),
    /// A value without a definition: objects are owned by their members, anything else as a whole.
    Deduced,
}

/// A structure of a built-in or custom kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum StructureView<'a> {
    BuiltIn(&'static Type),
    Custom(&'a CustomType),
}

impl<'a> StructureView<'a> {
    /// Returns the field with this JSON name and its index.
    pub(super) fn field_at(self, name: &str) -> Option<(usize, FieldView<'a>)> {
        match self {
            Self::BuiltIn(ty) => ty
                .field_at(name)
                .map(|(index, field)| (index, FieldView::BuiltIn(field))),
            Self::Custom(ty) => ty
                .index
                .get(name)
                .map(|index| (*index, FieldView::Custom(&ty.fields[*index]))),
        }
    }

    /// Returns the name of a field in `managedFields`: `f:` and its JSON name.
    pub(super) fn element(self, index: usize) -> Text {
        match self {
            Self::BuiltIn(ty) => ty.element(index).clone(),
            Self::Custom(ty) => format_smolstr!("f:{}", ty.fields[index].name),
        }
    }

    /// Returns whether apply treats the structure as one field.
    pub(super) fn is_atomic(self) -> bool {
        match self {
            Self::BuiltIn(ty) => ty.atomic,
            Self::Custom(ty) => ty.atomic,
        }
    }

    /// Returns the type of members that are no fields; `None` if there may be none.
    pub(super) fn rest(self) -> Option<ShapeView<'a>> {
        match self {
            Self::BuiltIn(_) => None,
            Self::Custom(ty) => ty.rest.as_deref().map(ShapeView::of),
        }
    }

    /// Returns whether the value may also be a scalar or a list.
    pub(super) fn is_untyped(self) -> bool {
        matches!(self, Self::Custom(ty) if ty.untyped)
    }
}

/// A field of a built-in or custom kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldView<'a> {
    BuiltIn(&'static Field),
    Custom(&'a CustomField),
}

impl<'a> FieldView<'a> {
    /// Returns the type of the value.
    pub(super) fn value(self) -> ShapeView<'a> {
        match self {
            Self::BuiltIn(field) => ShapeView::BuiltIn(field.shape),
            Self::Custom(field) => ShapeView::of(&field.shape),
        }
    }

    /// Returns how apply merges the list.
    pub(super) fn list(self) -> ListType {
        match self {
            Self::BuiltIn(field) => field.list,
            Self::Custom(field) => field.list,
        }
    }

    /// Returns the keys of the items of a list of type map.
    pub(super) fn keys(self) -> KeysView<'a> {
        match self {
            Self::BuiltIn(field) => KeysView::BuiltIn(field.keys),
            Self::Custom(field) => KeysView::Custom(&field.keys),
        }
    }

    /// Returns whether apply treats the map or structure as one field.
    pub(super) fn is_atomic(self) -> bool {
        match self {
            Self::BuiltIn(field) => field.atomic,
            Self::Custom(field) => field.atomic,
        }
    }

    /// Returns whether encoders write the field even if it is empty.
    pub(super) fn is_always_written(self) -> bool {
        match self {
            Self::BuiltIn(field) => field.always,
            Self::Custom(field) => field.always,
        }
    }

    /// Returns whether an explicit zero differs from an absent field; in custom kinds it always
    /// does.
    pub(super) fn is_optional(self) -> bool {
        match self {
            Self::BuiltIn(field) => field.optional,
            Self::Custom(_) => true,
        }
    }

    /// Returns the default that upstream's schema gives to every scalar that is neither a pointer
    /// nor left out when it is empty.
    pub(super) fn implied_default(self) -> Option<Tree> {
        let Self::BuiltIn(field) = self else {
            return None;
        };
        if !field.always || field.optional {
            return None;
        }
        match field.shape {
            Shape::String => Some("".into()),
            Shape::Bool => Some(false.into()),
            Shape::Int32 | Shape::Int64 | Shape::Float64 => Some(0.into()),
            _ => None,
        }
    }

    /// Returns the default as JSON; empty for no default.
    pub(super) fn default(self) -> &'a str {
        match self {
            Self::BuiltIn(field) => field.default,
            Self::Custom(field) => &field.default,
        }
    }
}

/// The keys of a list of type map.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeysView<'a> {
    BuiltIn(&'static [&'static str]),
    Custom(&'a [Text]),
}

impl<'a> KeysView<'a> {
    /// Returns the names in the order of the schema.
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

/// Type of a field or item of a built-in or custom kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum ShapeView<'a> {
    BuiltIn(Shape),
    Object(&'a CustomType),
    List(&'a CustomShape),
    Map(&'a CustomShape),
    Deduced,
}

impl<'a> ShapeView<'a> {
    pub(super) fn of(shape: &'a CustomShape) -> Self {
        match shape {
            CustomShape::BuiltIn(shape) => Self::BuiltIn(*shape),
            CustomShape::Object(ty) => Self::Object(ty),
            CustomShape::List(item) => Self::List(item),
            CustomShape::Map(value) => Self::Map(value),
            CustomShape::Deduced => Self::Deduced,
        }
    }

    /// Returns the structure, if the type is one.
    pub(super) fn structure(self) -> Option<StructureView<'a>> {
        match self {
            Self::BuiltIn(Shape::Object(ty)) => Some(StructureView::BuiltIn(ty)),
            Self::Object(ty) => Some(StructureView::Custom(ty)),
            _ => None,
        }
    }

    /// Returns the name of a type of the table of facts; empty for any other.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::BuiltIn(Shape::Object(ty)) => ty.name,
            _ => "",
        }
    }

    /// Returns the type of the items, if the type is a list.
    pub(super) fn item(self) -> Option<Self> {
        match self {
            Self::BuiltIn(Shape::List(item)) => Some(Self::BuiltIn(*item)),
            Self::List(item) => Some(Self::of(item)),
            _ => None,
        }
    }

    /// Returns the type of the entries, if the type is a map.
    pub(super) fn entry(self) -> Option<Self> {
        match self {
            Self::BuiltIn(Shape::Map(value)) => Some(Self::BuiltIn(*value)),
            Self::Map(value) => Some(Self::of(value)),
            _ => None,
        }
    }
}
