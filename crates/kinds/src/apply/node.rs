//! How a value is owned: as a whole, by members, or by items. Read from the table of facts.

use smol_str::format_smolstr;

use crate::Tree;
use crate::facts::{Field, ListType, Shape, Type};
use crate::tree::{Map, Text};

/// The way in which a value is owned.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldNode {
    /// Owned as a whole.
    Leaf,
    /// A structure, owned by its fields.
    Object(&'static Type),
    /// A map, owned by its entries.
    Map(&'static Shape),
    /// A list whose items are paired by keys.
    Items {
        keys: &'static [&'static str],
        item: &'static Shape,
    },
    /// A list of unique values.
    Set,
    /// A value without a definition: objects are owned by their members, all else as a whole.
    Deduced,
}

impl FieldNode {
    /// The root of an object; without a type, members are deduced.
    pub(super) fn root(ty: Option<&'static Type>) -> Self {
        ty.map_or(Self::Deduced, Self::Object)
    }

    /// A field's value.
    pub(super) fn of_field(field: &'static Field) -> Self {
        match field.shape {
            _ if field.atomic => Self::Leaf,
            Shape::List(item) => match field.list {
                ListType::Atomic => Self::Leaf,
                ListType::Set => Self::Set,
                ListType::Map => Self::Items {
                    keys: field.keys,
                    item,
                },
            },
            _ => Self::of_shape(&field.shape),
        }
    }

    /// An item's or entry's value.
    pub(super) fn of_shape(shape: &'static Shape) -> Self {
        match shape {
            Shape::Object(ty) if !ty.atomic => Self::Object(ty),
            Shape::Map(value) => Self::Map(value),
            _ => Self::Leaf,
        }
    }

    /// The field that a member is, and its index, if the type names it.
    pub(super) fn field(self, name: &str) -> Option<(usize, &'static Field)> {
        if let Self::Object(ty) = self {
            ty.field_at(name)
        } else {
            None
        }
    }

    /// The value of a member.
    pub(super) fn member(self, name: &str) -> Self {
        self.member_of(self.field(name).map(|(_, field)| field))
    }

    /// The same when it is known which field it is.
    pub(super) fn member_of(self, field: Option<&'static Field>) -> Self {
        match self {
            Self::Object(_) => field.map_or(Self::Deduced, Self::of_field),
            Self::Map(value) => Self::of_shape(value),
            Self::Deduced => Self::Deduced,
            _ => Self::Leaf,
        }
    }

    /// The value of an item.
    pub(super) fn item(self) -> Self {
        if let Self::Items { item, .. } = self {
            Self::of_shape(item)
        } else {
            Self::Leaf
        }
    }

    /// The element that names a member.
    pub(super) fn name_of(self, field: Option<usize>, name: &str) -> Text {
        match (self, field) {
            (Self::Object(ty), Some(index)) => ty.element(index).clone(),
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
        for key in keys {
            if let Some(value) = tree
                .get(*key)
                .filter(|value| !value.is_null())
                .cloned()
                .or_else(|| key_default(item, key))
            {
                found.insert((*key).to_owned(), value);
            }
        }
        (!found.is_empty()).then(|| format!("k:{}", Tree::Object(found)))
    }
}

/// The value of a key that an item leaves out.
fn key_default(item: &Shape, key: &str) -> Option<Tree> {
    let Shape::Object(ty) = item else { return None };
    let field = ty.field(key)?;
    if let Ok(value) = serde_json::from_str(field.default) {
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
