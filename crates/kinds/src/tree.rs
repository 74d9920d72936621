//! An object, or a part of one, as a tree: a JSON value that is cheap to copy and to compare.
//!
//! A write copies the stored object, changes a little of it, and compares both several times. So
//! copies share lists and maps until one of them is changed ([`List`], [`Map`]), and shared ones
//! compare equal by address. Short strings and the names of the table need no allocation.
//!
//! The methods are those of `serde_json::Value`, and the two convert into each other. A tree knows
//! nothing of types; [`crate::facts`] does.

mod convert;
mod list;
mod map;
mod serial;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops;

pub use serde_json::Number;
/// A string: short ones are stored inline, long ones are shared.
pub use smol_str::SmolStr as Text;

pub use crate::__tree_json as json;
pub use list::List;
pub use map::{Entry, Iter, Map};

/// A JSON value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tree {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number; integers keep all 64 bits.
    Number(Number),
    /// A string.
    String(Text),
    /// A list.
    Array(List),
    /// An object: members by name.
    Object(Map),
}

/// Builds a tree with the syntax of `serde_json::json!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __tree_json {
    ($($token:tt)+) => { $crate::Tree::from($crate::__serde_json::json!($($token)+)) };
}

static NULL: Tree = Tree::Null;

/// An index into a tree: the name of a member or the position of an item.
pub trait TreeIndex {
    /// Returns the value at the index.
    fn index_into<'a>(&self, tree: &'a Tree) -> Option<&'a Tree>;
    /// Returns the value at the index, for changing it.
    fn index_into_mut<'a>(&self, tree: &'a mut Tree) -> Option<&'a mut Tree>;
    /// Returns the value at the index, for changing it; inserts null for an absent member.
    ///
    /// # Panics
    /// If the tree cannot have such an index: a name in a scalar or list, a position beyond the
    /// end.
    fn index_or_insert<'a>(&self, tree: &'a mut Tree) -> &'a mut Tree;
}

impl TreeIndex for str {
    fn index_into<'a>(&self, tree: &'a Tree) -> Option<&'a Tree> {
        tree.as_object()?.get(self)
    }

    fn index_into_mut<'a>(&self, tree: &'a mut Tree) -> Option<&'a mut Tree> {
        tree.as_object_mut()?.get_mut(self)
    }

    fn index_or_insert<'a>(&self, tree: &'a mut Tree) -> &'a mut Tree {
        if tree.is_null() {
            *tree = Tree::Object(Map::new());
        }
        let Tree::Object(members) = tree else {
            panic!("no member {self:?} in a value that is not an object")
        };
        members.entry(self).or_insert(Tree::Null)
    }
}

impl TreeIndex for String {
    fn index_into<'a>(&self, tree: &'a Tree) -> Option<&'a Tree> {
        self.as_str().index_into(tree)
    }

    fn index_into_mut<'a>(&self, tree: &'a mut Tree) -> Option<&'a mut Tree> {
        self.as_str().index_into_mut(tree)
    }

    fn index_or_insert<'a>(&self, tree: &'a mut Tree) -> &'a mut Tree {
        self.as_str().index_or_insert(tree)
    }
}

impl TreeIndex for Text {
    fn index_into<'a>(&self, tree: &'a Tree) -> Option<&'a Tree> {
        self.as_str().index_into(tree)
    }

    fn index_into_mut<'a>(&self, tree: &'a mut Tree) -> Option<&'a mut Tree> {
        self.as_str().index_into_mut(tree)
    }

    fn index_or_insert<'a>(&self, tree: &'a mut Tree) -> &'a mut Tree {
        self.as_str().index_or_insert(tree)
    }
}

impl TreeIndex for usize {
    fn index_into<'a>(&self, tree: &'a Tree) -> Option<&'a Tree> {
        tree.as_array()?.get(*self)
    }

    fn index_into_mut<'a>(&self, tree: &'a mut Tree) -> Option<&'a mut Tree> {
        tree.as_array_mut()?.get_mut(*self)
    }

    fn index_or_insert<'a>(&self, tree: &'a mut Tree) -> &'a mut Tree {
        self.index_into_mut(tree)
            .unwrap_or_else(|| panic!("no item {self} in the list"))
    }
}

impl<S: TreeIndex + ?Sized> TreeIndex for &S {
    fn index_into<'a>(&self, tree: &'a Tree) -> Option<&'a Tree> {
        (**self).index_into(tree)
    }

    fn index_into_mut<'a>(&self, tree: &'a mut Tree) -> Option<&'a mut Tree> {
        (**self).index_into_mut(tree)
    }

    fn index_or_insert<'a>(&self, tree: &'a mut Tree) -> &'a mut Tree {
        (**self).index_or_insert(tree)
    }
}

impl Tree {
    /// Returns the member with this name or the item at this position.
    pub fn get(&self, step: impl TreeIndex) -> Option<&Self> {
        step.index_into(self)
    }

    /// Returns the member with this name or the item at this position, for changing it.
    pub fn get_mut(&mut self, step: impl TreeIndex) -> Option<&mut Self> {
        step.index_into_mut(self)
    }

    /// Returns the value at a JSON pointer (RFC 6901).
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        let mut steps = pointer.strip_prefix('/')?.split('/');
        steps.try_fold(self, |here, step| {
            let name;
            // Most pointers have no escapes and need no allocation.
            let step = if step.contains('~') {
                name = step.replace("~1", "/").replace("~0", "~");
                &name
            } else {
                step
            };
            match here {
                Self::Object(members) => members.get(step),
                Self::Array(items) => items.get(step.parse::<usize>().ok()?),
                _ => None,
            }
        })
    }

    /// Returns the value at a JSON pointer (RFC 6901), for changing it.
    pub fn pointer_mut(&mut self, pointer: &str) -> Option<&mut Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        let mut steps = pointer
            .strip_prefix('/')?
            .split('/')
            .map(|step| step.replace("~1", "/").replace("~0", "~"));
        steps.try_fold(self, |here, step| match here {
            Self::Object(members) => members.get_mut(&step),
            Self::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Returns whether both are equal without comparing what is in them: a list or map that copies
    /// still share, or the same scalar. False does not mean that they differ.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(one), Self::Array(other)) => one.is_shared_with(other),
            (Self::Object(one), Self::Object(other)) => one.is_shared_with(other),
            _ => self == other,
        }
    }

    /// Takes the value and leaves null.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Returns the string, if the value is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// Returns the boolean, if the value is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// Returns the number, if it is an integer and fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Number(number) = self {
            number.as_i64()
        } else {
            None
        }
    }

    /// Returns the number, if it is a non-negative integer and fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Number(number) = self {
            number.as_u64()
        } else {
            None
        }
    }

    /// Returns the number, if the value is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Number(number) = self {
            number.as_f64()
        } else {
            None
        }
    }

    /// Returns the items, if the value is a list.
    #[must_use]
    pub fn as_array(&self) -> Option<&Vec<Self>> {
        if let Self::Array(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// Returns the items for changing them, if the value is a list.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Self>> {
        if let Self::Array(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// Returns the members, if the value is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&Map> {
        if let Self::Object(members) = self {
            Some(members)
        } else {
            None
        }
    }

    /// Returns the members for changing them, if the value is an object.
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        if let Self::Object(members) = self {
            Some(members)
        } else {
            None
        }
    }

    /// Returns the JSON type, as error messages name it.
    pub(crate) fn json_type(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// Returns whether the value is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Returns whether the value is a boolean.
    #[must_use]
    pub fn is_boolean(&self) -> bool {
        matches!(self, Self::Bool(_))
    }

    /// Returns whether the value is a number.
    #[must_use]
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }

    /// Returns whether the value is a number with a fraction, or one too large for an integer.
    #[must_use]
    pub fn is_f64(&self) -> bool {
        matches!(self, Self::Number(number) if number.is_f64())
    }

    /// Returns whether the value is an integer that fits into `i64`.
    #[must_use]
    pub fn is_i64(&self) -> bool {
        matches!(self, Self::Number(number) if number.is_i64())
    }

    /// Returns whether the value is a non-negative integer that fits into `u64`.
    #[must_use]
    pub fn is_u64(&self) -> bool {
        matches!(self, Self::Number(number) if number.is_u64())
    }

    /// Returns whether the value is a string.
    #[must_use]
    pub fn is_string(&self) -> bool {
        matches!(self, Self::String(_))
    }

    /// Returns whether the value is a list.
    #[must_use]
    pub fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    /// Returns whether the value is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }
}

impl<S: TreeIndex> ops::Index<S> for Tree {
    type Output = Self;

    /// Returns null for an absent member or item.
    fn index(&self, step: S) -> &Self {
        step.index_into(self).unwrap_or(&NULL)
    }
}

impl<S: TreeIndex> ops::IndexMut<S> for Tree {
    fn index_mut(&mut self, step: S) -> &mut Self {
        step.index_or_insert(self)
    }
}

impl fmt::Display for Tree {
    /// Writes compact JSON, members sorted by name; indented with `{:#}`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if out.alternate() {
            serde_json::to_string_pretty(self)
        } else {
            serde_json::to_string(self)
        };
        out.write_str(&text.map_err(|_| fmt::Error)?)
    }
}
