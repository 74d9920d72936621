//! Conversions to trees, and comparisons of trees with plain values.

use std::borrow::Cow;

use serde_json::Value;

use super::{List, Map, Number, Text, Tree};

macro_rules! from_numbers {
    ($($number:ty)+) => { $(
        impl From<$number> for Tree {
            fn from(value: $number) -> Self {
                Self::Number(value.into())
            }
        }

        impl PartialEq<$number> for &Tree {
            fn eq(&self, other: &$number) -> bool {
                **self == *other
            }
        }

        impl PartialEq<$number> for Tree {
            fn eq(&self, other: &$number) -> bool {
                matches!(self, Self::Number(number) if *number == Number::from(*other))
            }
        }
    )+ };
}

from_numbers!(i32 i64 u8 u16 u32 u64 usize);

macro_rules! from_texts {
    ($($text:ty)+) => { $(
        impl From<$text> for Tree {
            fn from(text: $text) -> Self {
                Self::String(text.into())
            }
        }
    )+ };
}

from_texts!(&str String &String Text Cow<'_, str>);

impl From<bool> for Tree {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Tree {
    /// Not-a-number and infinity become null, as in `serde_json`.
    fn from(value: f64) -> Self {
        Number::from_f64(value).map_or(Self::Null, Self::Number)
    }
}

impl From<Number> for Tree {
    fn from(number: Number) -> Self {
        Self::Number(number)
    }
}

impl From<List> for Tree {
    fn from(items: List) -> Self {
        Self::Array(items)
    }
}

impl From<Map> for Tree {
    fn from(members: Map) -> Self {
        Self::Object(members)
    }
}

impl<T: Into<Tree>> From<Vec<T>> for Tree {
    fn from(items: Vec<T>) -> Self {
        Self::Array(items.into_iter().collect())
    }
}

impl<T: Clone + Into<Tree>> From<&[T]> for Tree {
    fn from(items: &[T]) -> Self {
        Self::Array(items.iter().cloned().collect())
    }
}

impl<T: Into<Tree>, const N: usize> From<[T; N]> for Tree {
    fn from(items: [T; N]) -> Self {
        Self::Array(items.into_iter().collect())
    }
}

impl<T: Into<Tree>> From<Option<T>> for Tree {
    /// `None` becomes null.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Value> for Tree {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::String(text.into()),
            Value::Array(items) => Self::Array(items.into_iter().collect()),
            Value::Object(members) => Self::Object(
                members
                    .into_iter()
                    .map(|(name, value)| (name, value.into()))
                    .collect(),
            ),
        }
    }
}

impl From<Tree> for Value {
    fn from(tree: Tree) -> Self {
        match tree {
            Tree::Null => Self::Null,
            Tree::Bool(value) => Self::Bool(value),
            Tree::Number(number) => Self::Number(number),
            Tree::String(text) => Self::String(text.into()),
            Tree::Array(items) => Self::Array(items.into_iter().map(Into::into).collect()),
            Tree::Object(members) => Self::Object(
                members
                    .into_iter()
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect(),
            ),
        }
    }
}

impl<T: Into<Tree>> FromIterator<T> for Tree {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::Array(items.into_iter().collect())
    }
}

impl<N: Into<Text>, T: Into<Tree>> FromIterator<(N, T)> for Tree {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(members: I) -> Self {
        Self::Object(
            members
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect(),
        )
    }
}

impl PartialEq<Value> for Tree {
    #[expect(
        clippy::cmp_owned,
        reason = "this is the comparison that does the conversion"
    )]
    fn eq(&self, other: &Value) -> bool {
        *self == Self::from(other.clone())
    }
}

impl PartialEq<Tree> for Value {
    fn eq(&self, other: &Tree) -> bool {
        other == self
    }
}

impl PartialEq<str> for Tree {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Tree {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl PartialEq<String> for Tree {
    fn eq(&self, other: &String) -> bool {
        *self == **other
    }
}

impl PartialEq<bool> for Tree {
    fn eq(&self, other: &bool) -> bool {
        self.as_bool() == Some(*other)
    }
}

impl PartialEq<f64> for Tree {
    fn eq(&self, other: &f64) -> bool {
        self.as_f64() == Some(*other)
    }
}
