//! How a value is owned: as a whole, by members, or by items. Read from the kind's schema.

use smol_str::format_smolstr;

use super::schema::{ApplySchema, Keys, Member, Structure, Value};
use crate::Tree;
use crate::facts::ListType;
use crate::tree::{Map, Text};

/// The way in which a value is owned.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldNode<'a> {
    /// Owned as a whole.
    Leaf,
    /// A structure, owned by its fields.
    Object(Structure<'a>),
    /// A map, owned by its entries.
    Map(Value<'a>),
    /// A list whose items are paired by keys.
    Items { keys: Keys<'a>, item: Value<'a> },
    /// A list of unique values.
    Set,
    /// A value without a definition: objects are owned by their members, all else as a whole.
    Deduced,
}

impl<'a> FieldNode<'a> {
    /// The root of an object.
    pub(super) fn root(schema: ApplySchema<'a>) -> Self {
        match schema {
            ApplySchema::BuiltIn(ty) => Self::Object(Structure::BuiltIn(ty)),
            ApplySchema::Custom(ty) => Self::Object(Structure::Custom(ty)),
            ApplySchema::Deduced => Self::Deduced,
        }
    }

    /// A field's value.
    pub(super) fn of_field(field: Member<'a>) -> Self {
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

    /// An item's or entry's value.
    pub(super) fn of_value(value: Value<'a>) -> Self {
        match (value.structure(), value.entry()) {
            (Some(structure), _) if !structure.is_atomic() => Self::Object(structure),
            (None, Some(entry)) => Self::Map(entry),
            _ => Self::Leaf,
        }
    }

    /// The field that a member is, and its index, if the type names it.
    pub(super) fn field(self, name: &str) -> Option<(usize, Member<'a>)> {
        if let Self::Object(structure) = self {
            structure.field_at(name)
        } else {
            None
        }
    }

    /// The value of a member.
    pub(super) fn member(self, name: &str) -> Self {
        self.member_of(self.field(name).map(|(_, field)| field))
    }

    /// The value of a member when the caller has looked up its field.
    pub(super) fn member_of(self, field: Option<Member<'a>>) -> Self {
        match self {
            Self::Object(_) => field.map_or(Self::Deduced, Self::of_field),
            Self::Map(value) => Self::of_value(value),
            Self::Deduced => Self::Deduced,
            _ => Self::Leaf,
        }
    }

    /// The value of an item.
    pub(super) fn item(self) -> Self {
        if let Self::Items { item, .. } = self {
            Self::of_value(item)
        } else {
            Self::Leaf
        }
    }

    /// The element that names a member.
    pub(super) fn name_of(self, field: Option<usize>, name: &str) -> Text {
        match (self, field) {
            (Self::Object(structure), Some(index)) => structure.element(index),
            _ => format_smolstr!("f:{name}"),
        }
    }

    /// True when members have names that the type gives: these count as owned with what is in them.
    pub(super) fn names_member(self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// The members of a value that is owned by members.
    pub(super) fn members(self, tree: Option<&Tree>) -> Option<&Map> {
        matches!(self, Self::Object(_) | Self::Map(_) | Self::Deduced)
            .then(|| tree?.as_object())
            .flatten()
    }

    /// The items of a value that is owned by items.
    pub(super) fn items(self, tree: Option<&Tree>) -> Option<&Vec<Tree>> {
        matches!(self, Self::Items { .. } | Self::Set)
            .then(|| tree?.as_array())
            .flatten()
    }

    /// The element that names an item; `None` when it has none of its keys.
    pub(super) fn element(self, tree: &Tree) -> Option<String> {
        let Self::Items { keys, item } = self else {
            return Some(format!("v:{tree}"));
        };
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

/// The value of a key that an item leaves out.
fn key_default(item: Value<'_>, key: &str) -> Option<Tree> {
    let (_, field) = item.structure()?.field_at(key)?;
    if let Ok(value) = serde_json::from_str(field.default()) {
        return Some(value);
    }
    // Published definitions leave this default out, although ports without a protocol are common.
    (key == "protocol").then(|| "TCP".into())
}

/// True for what an absent value reads as.
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

/// True for null, `[]` and `{}`.
pub(super) fn is_empty(tree: &Tree) -> bool {
    matches!(tree, Tree::Null | Tree::Array(_) | Tree::Object(_)) && is_zero(tree)
}
