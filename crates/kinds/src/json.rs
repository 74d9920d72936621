//! JSON: bytes to [`Tree`](crate::Tree) and back, directed by the table of facts.
//!
//! Decoding checks types and ranges, drops what the type does not know (and says so), and brings
//! quantities and times into the one form that the API shows. Encoding gives members the order of
//! the wire, escapes as Go does, leaves out what is empty and writes what is always written.
//! Texts of errors are those that clients of the API know.
//!
//! Data flow: `scan` (letters to tokens) → `decode` (tokens to a tree, by type) → … → `encode`.
//! This module never looks at what a field means.

mod decode;
mod encode;
mod go_names;
mod members;
mod normal;
pub(crate) mod scan;

pub use decode::{DecodedTree, TypeMeta, decode, decode_untyped, peek_type_meta};
pub use encode::{
    EncodedTree, encode, encode_and_reread, encode_pretty, encode_untyped, encode_untyped_pretty,
};
pub use members::{end_of_text, end_of_value};
pub(crate) use normal::scalar;
pub use normal::{equal, equal_member, normalize, normalize_changes};

use crate::facts::{Shape, Type};

/// How deep values may nest. Upstream allows 10,000. What is stored is read again with
/// `serde_json`, here and by every client in Rust, which gives up at 128 levels; lists, events and
/// the managed fields of the deepest field add a few. A tree is also walked recursively in many
/// places, and all of them must fit into the stack of a worker thread (2 MiB), in a debug build
/// too. No object that means anything comes near this.
pub const MAX_DEPTH: usize = 100;

/// Why bytes are no object of the type asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not JSON (YAML, protobuf) at all.
    #[error("{0}")]
    Syntax(String),
    /// A value has the wrong type or range.
    #[error("{0}")]
    Value(String),
}

/// Where in a document something stands; links of a chain on the call stack, so that the path
/// costs nothing until somebody asks for it.
#[derive(Clone, Copy)]
pub(crate) struct DocumentPath<'a> {
    parent: Option<&'a DocumentPath<'a>>,
    segment: PathSegment<'a>,
}

#[derive(Clone, Copy)]
enum PathSegment<'a> {
    Root,
    /// A field of the structure that the parent holds.
    Field(&'a str, &'a Type),
    Key(&'a str),
    Index(usize),
}

impl<'a> DocumentPath<'a> {
    pub(crate) fn root() -> Self {
        Self {
            parent: None,
            segment: PathSegment::Root,
        }
    }

    /// The field `name` of the structure `ty` at this place.
    pub(crate) fn field(&'a self, name: &'a str, ty: &'a Type) -> Self {
        Self {
            parent: Some(self),
            segment: PathSegment::Field(name, ty),
        }
    }

    pub(crate) fn key(&'a self, key: &'a str) -> Self {
        Self {
            parent: Some(self),
            segment: PathSegment::Key(key),
        }
    }

    pub(crate) fn index(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            segment: PathSegment::Index(index),
        }
    }

    /// `spec.containers[0].name`
    fn render(&self) -> String {
        let mut out = self.parent.map(Self::render).unwrap_or_default();
        match self.segment {
            PathSegment::Root => {}
            PathSegment::Field(name, _) | PathSegment::Key(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            PathSegment::Index(index) => out.push_str(&format!("[{index}]")),
        }
        out
    }

    /// `Container.spec.containers.name`, as decoding errors name a field: the innermost structure,
    /// then all fields without keys and indexes. None outside any field.
    fn go_field(&self) -> Option<String> {
        let mut names = Vec::new();
        let mut innermost = None;
        let mut here = Some(self);
        while let Some(path) = here {
            if let PathSegment::Field(name, ty) = path.segment {
                names.push(name);
                innermost = innermost.or(Some(ty));
            }
            here = path.parent;
        }
        names.reverse();
        innermost.map(|ty| format!("{}.{}", short_name(ty), names.join(".")))
    }

    /// The name of the narrower type of the text that belongs here, if it has one.
    fn named_text(&self) -> Option<&'static str> {
        match self.segment {
            PathSegment::Field(name, ty) => go_names::of_field(ty, name),
            PathSegment::Index(_) => self.parent?.named_text(),
            PathSegment::Root | PathSegment::Key(_) => None,
        }
    }

    fn expected(&self, shape: &Shape) -> String {
        match (shape, self.named_text()) {
            (Shape::String, Some(name)) => name.to_owned(),
            (Shape::List(Shape::String), Some(name)) => format!("[]{name}"),
            _ => go_type(shape),
        }
    }

    /// `found` is what stands there (`string`, `number 1.5`).
    pub(crate) fn mismatch(&self, found: &str, shape: &Shape) -> DecodeError {
        let expected = self.expected(shape);
        DecodeError::Value(match self.go_field() {
            Some(field) => format!(
                "json: cannot unmarshal {found} into Go struct field {field} of type {expected}"
            ),
            None => format!("json: cannot unmarshal {found} into Go value of type {expected}"),
        })
    }

    pub(crate) fn unknown_field(&self, name: &str) -> String {
        format!(
            "unknown field {}",
            crate::status::quoted(&self.key(name).render())
        )
    }

    pub(crate) fn duplicate_field(&self, name: &str) -> String {
        format!(
            "duplicate field {}",
            crate::status::quoted(&self.key(name).render())
        )
    }
}

/// At most so many warnings are kept of one document.
pub(crate) const MAX_WARNINGS: usize = 100;

fn short_name(ty: &Type) -> &str {
    ty.name.rsplit('.').next().unwrap_or(ty.name)
}

/// A shape as decoding errors name it: `int32`, `[]string`, `v1.PodSpec`.
pub(crate) fn go_type(shape: &Shape) -> String {
    match shape {
        Shape::String | Shape::Quantity | Shape::Time | Shape::MicroTime | Shape::Duration => {
            "string".to_owned()
        }
        Shape::Bool => "bool".to_owned(),
        Shape::Int32 | Shape::IntOrString => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Float64 => "float64".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Any => "interface {}".to_owned(),
        Shape::Object(ty)
        | Shape::ObjectOrBool(ty)
        | Shape::ObjectOrList(ty)
        | Shape::ObjectOrStrings(ty) => {
            let mut parts = ty.name.rsplit('.');
            let (name, version) = (
                parts.next().unwrap_or_default(),
                parts.next().unwrap_or_default(),
            );
            format!("{version}.{name}")
        }
        Shape::List(inner) => format!("[]{}", go_type(inner)),
        Shape::Map(inner) => format!("map[string]{}", go_type(inner)),
    }
}
