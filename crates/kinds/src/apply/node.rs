//! How a value is owned: as a whole, by its members or by its items. Derived from the table of
//! facts.

use smol_str::format_smolstr;

use super::schema::{ApplySchema, FieldView, KeysView, ShapeView, StructureView};
use crate::Tree;
use crate::facts::ListType;
use crate::tree::{Map, Text};

/// How a value is owned.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldNode<'a> {
    /// Owned as a whole.
    Leaf,
    /// A structure; each field has owners of its own.
    Object(StructureView<'a>),
    /// A map; each entry has owners of its own.
    Map(ShapeView<'a>),
    /// A list whose items are paired by keys.
    Items {
        keys: KeysView<'a>,
        item: ShapeView<'a>,
    },
    /// A list of unique scalars.
    Set,
    /// A value without a definition: objects are owned by their members, anything else as a whole.
    Deduced,
}

impl<'a> FieldNode<'a> {
    /// Returns the node of an object; without a type, members are deduced.
    pub(super) fn root(schema: ApplySchema<'a>) -> Self {
        match schema {
            ApplySchema::BuiltIn(ty) => Self::Object(StructureView::BuiltIn(ty)),
            ApplySchema::Custom(ty) => Self::Object(StructureView::Custom(ty)),
            ApplySchema::Deduced => Self::Deduced,
        }
    }

    /// Returns the node of a field's value.
    pub(super) fn of_field(field: FieldView<'a>) -> Self {
        let value = field.value();
        match value.item() {
            _ if field.is_atomic() => Self::Leaf,
            Some(item) => match field.list() {
                ListType::Atomic => Self::Leaf,
                ListType::Set => Self::Set,
                ListType::Map => Self::Items {
                    keys: field.keys(),
                    item,
                },
            },
            None => Self::of_value(value),
        }
    }

    /// Returns the node of an item or entry.
    pub(super) fn of_value(value: ShapeView<'a>) -> Self {
        if matches!(value, ShapeView::Deduced) {
            return Self::Deduced;
        }
        match (value.structure(), value.entry()) {
            (Some(structure), _) if !structure.is_atomic() => Self::Object(structure),
            (None, Some(entry)) => Self::Map(entry),
            _ => Self::Leaf,
        }
    }

    /// Returns the field of a member and its index, if the type has it.
    pub(super) fn field(self, name: &str) -> Option<(usize, FieldView<'a>)> {
        if let Self::Object(structure) = self {
            structure.field_at(name)
        } else {
            None
        }
    }

    /// Returns the node of a member's value.
    pub(super) fn member(self, name: &str) -> Self {
        self.member_of(self.field(name).map(|(_, field)| field))
    }

    /// Returns the node of a member's value, for a member whose field is known.
    pub(super) fn member_of(self, field: Option<FieldView<'a>>) -> Self {
        match self {
            Self::Object(structure) => match (field, structure.rest()) {
                (Some(field), _) => Self::of_field(field),
                (None, Some(rest)) => Self::of_value(rest),
                (None, None) => Self::Deduced,
            },
            Self::Map(value) => Self::of_value(value),
            Self::Deduced => Self::Deduced,
            _ => Self::Leaf,
        }
    }

    /// Returns the node of an item.
    pub(super) fn item(self) -> Self {
        if let Self::Items { item, .. } = self {
            Self::of_value(item)
        } else {
            Self::Leaf
        }
    }

    /// Returns the element of a member.
    pub(super) fn name_of(self, field: Option<usize>, name: &str) -> Text {
        match (self, field) {
            (Self::Object(structure), Some(index)) => structure.element(index),
            _ => format_smolstr!("f:{name}"),
        }
    }

    /// Returns whether members are fields of a type, which are owned together with the fields below
    /// them.
    pub(super) fn names_member(self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// Returns the members of a value that is owned by members.
    pub(super) fn members(self, tree: Option<&Tree>) -> Option<&Map> {
        matches!(self, Self::Object(_) | Self::Map(_) | Self::Deduced)
            .then(|| tree?.as_object())
            .flatten()
    }

    /// Returns the items of a value that is owned by items.
    pub(super) fn items(self, tree: Option<&Tree>) -> Option<&Vec<Tree>> {
        matches!(self, Self::Items { .. } | Self::Set)
            .then(|| tree?.as_array())
            .flatten()
    }

    /// Returns the element of an item; `None` if it has none of its keys.
    pub(super) fn element(self, tree: &Tree) -> Option<String> {
        let Self::Items { keys, item } = self else {
            return Some(format!("v:{tree}"));
        };
        if !tree.is_object() {
            return None;
        }
        let mut found = Map::new();
        for key in keys.iter() {
            if let Some(value) = tree
                .get(key)
                .filter(|value| !value.is_null())
                .cloned()
                .or_else(|| key_default(item, key))
            {
                found.insert(key.to_owned(), value);
            }
        }
        (!found.is_empty()).then(|| format!("k:{}", Tree::Object(found)))
    }
}

/// Returns the value of a key that an item omits.
fn key_default(item: ShapeView<'_>, key: &str) -> Option<Tree> {
    let (_, field) = item.structure()?.field_at(key)?;
    if let Ok(value) = serde_json::from_str(field.default()) {
        return Some(value);
    }
    // Defaults of upstream's own schema that the published one lacks.
    match (item.type_name(), key) {
        (_, "protocol") => Some("TCP".into()),
        ("io.k8s.api.core.v1.LocalObjectReference", "name") => Some("".into()),
        _ => field.implied_default(),
    }
}

/// Returns whether an absent value decodes to this one.
pub(super) fn is_zero(tree: &Tree) -> bool {
    match tree {
        Tree::Null => true,
        Tree::Bool(value) => !value,
        Tree::Number(number) => number.as_f64() == Some(0.0),
        Tree::String(text) => text.is_empty(),
        Tree::Array(items) => items.is_empty(),
        Tree::Object(members) => members.is_empty(),
    }
}

/// Returns whether the value is null, `[]` or `{}`.
pub(super) fn is_empty(tree: &Tree) -> bool {
    matches!(tree, Tree::Null | Tree::Array(_) | Tree::Object(_)) && is_zero(tree)
}
