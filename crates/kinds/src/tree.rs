//! An object, or a part of one, as a tree: what JSON can say, in a form that is cheap to make, to
//! copy and to compare.
//!
//! A write copies the stored object, changes a little of it, and compares both several times. So
//! lists and maps are shared between copies until one of them is changed ([`List`], [`Map`]), and
//! two that are still shared are equal without a look at them. Short texts and the names of the
//! table need no memory of their own.
//!
//! The methods are those of `serde_json::Value`, and the two convert into each other. Knows nothing
//! of types: what may stand in a tree says [`crate::facts`].

mod convert;
mod list;
mod map;
mod serial;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops;

pub use serde_json::Number;
/// A text: short ones lie in place, long ones are shared.
pub use smol_str::SmolStr as Text;

pub use crate::__tree_json as json;
pub use list::List;
pub use map::{Entry, Iter, Map};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tree {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(Text),
    /// A list.
    Array(List),
    /// Members by name.
    Object(Map),
}

/// Makes a tree of what looks like JSON, as `serde_json::json!` does.
#[doc(hidden)]
#[macro_export]
macro_rules! __tree_json {
    ($($token:tt)+) => { $crate::Tree::from($crate::__serde_json::json!($($token)+)) };
}

static NULL: Tree = Tree::Null;

/// A step into a tree: the name of a member, or the place of an item.
pub trait TreeIndex {
    /// What is there.
    fn index_into<'a>(&self, tree: &'a Tree) -> Option<&'a Tree>;
    /// What is there, to change it.
    fn index_into_mut<'a>(&self, tree: &'a mut Tree) -> Option<&'a mut Tree>;
    /// What is there; a member that is not there is made.
    ///
    /// # Panics
    /// When there can be no such place.
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
            panic!("there is no member {self:?} in what is no object")
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
            .unwrap_or_else(|| panic!("there is no item {self}"))
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
    /// The member of this name or the item at this place.
    pub fn get(&self, step: impl TreeIndex) -> Option<&Self> {
        step.index_into(self)
    }

    /// The same to change it.
    pub fn get_mut(&mut self, step: impl TreeIndex) -> Option<&mut Self> {
        step.index_into_mut(self)
    }

    /// What stands at a JSON pointer (RFC 6901).
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        let mut steps = pointer.strip_prefix('/')?.split('/');
        steps.try_fold(self, |here, step| {
            let name;
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

    /// What stands at a JSON pointer, to change it.
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

    /// True when both are one value without a look at what is in them: a list or a map that copies
    /// still share, or the same plain value. Two that are not may be equal all the same.
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

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The truth value, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The number, if it is whole and fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Number(number) = self {
            number.as_i64()
        } else {
            None
        }
    }

    /// The number, if it is whole, not negative and fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Number(number) = self {
            number.as_u64()
        } else {
            None
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Number(number) = self {
            number.as_f64()
        } else {
            None
        }
    }

    /// The items, if it is a list.
    #[must_use]
    pub fn as_array(&self) -> Option<&Vec<Self>> {
        if let Self::Array(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// The items to change them, if it is a list.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Self>> {
        if let Self::Array(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// The members, if it has any.
    #[must_use]
    pub fn as_object(&self) -> Option<&Map> {
        if let Self::Object(members) = self {
            Some(members)
        } else {
            None
        }
    }

    /// The members to change them, if it has any.
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        if let Self::Object(members) = self {
            Some(members)
        } else {
            None
        }
    }

    /// The JSON type, as error messages name it.
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

    /// True for null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// True for a truth value.
    #[must_use]
    pub fn is_boolean(&self) -> bool {
        matches!(self, Self::Bool(_))
    }

    /// True for a number.
    #[must_use]
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }

    /// True for a number with a fraction, or one too large for a whole one.
    #[must_use]
    pub fn is_f64(&self) -> bool {
        matches!(self, Self::Number(number) if number.is_f64())
    }

    /// True for a whole number that fits.
    #[must_use]
    pub fn is_i64(&self) -> bool {
        matches!(self, Self::Number(number) if number.is_i64())
    }

    /// True for a whole number that is not negative.
    #[must_use]
    pub fn is_u64(&self) -> bool {
        matches!(self, Self::Number(number) if number.is_u64())
    }

    /// True for a text.
    #[must_use]
    pub fn is_string(&self) -> bool {
        matches!(self, Self::String(_))
    }

    /// True for a list.
    #[must_use]
    pub fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    /// True for what has members.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }
}

impl<S: TreeIndex> ops::Index<S> for Tree {
    type Output = Self;

    /// Null where there is nothing.
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
    /// Compact JSON, members sorted by name; indented with `{:#}`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if out.alternate() {
            serde_json::to_string_pretty(self)
        } else {
            serde_json::to_string(self)
        };
        out.write_str(&text.map_err(|_| fmt::Error)?)
    }
}
