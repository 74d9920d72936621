//! The path of a value of a custom object. It becomes a string only when a fault is reported: the
//! key of a map can have a megabyte, and as many values below it.

use std::fmt;

/// A path, linked to its parent.
#[derive(Clone, Copy, Debug)]
pub(super) enum SchemaPath<'a> {
    /// The object itself.
    Root,
    /// A member.
    Member(&'a SchemaPath<'a>, &'a str),
    /// An item.
    Item(&'a SchemaPath<'a>, usize),
}

impl<'a> SchemaPath<'a> {
    pub(super) fn member(&'a self, name: &'a str) -> Self {
        Self::Member(self, name)
    }

    pub(super) fn item(&'a self, index: usize) -> Self {
        Self::Item(self, index)
    }
}

impl fmt::Display for SchemaPath<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Root => Ok(()),
            Self::Member(Self::Root, name) => out.write_str(name),
            Self::Member(parent, name) => write!(out, "{parent}.{name}"),
            Self::Item(parent, index) => write!(out, "{parent}[{index}]"),
        }
    }
}

impl From<SchemaPath<'_>> for String {
    fn from(path: SchemaPath<'_>) -> Self {
        path.to_string()
    }
}

impl From<&SchemaPath<'_>> for String {
    fn from(path: &SchemaPath<'_>) -> Self {
        path.to_string()
    }
}
