//! JSON: bytes to [`Tree`](crate::Tree) and back, directed by the table of facts.
//!
//! Decoding checks types and ranges, drops unknown members with a warning, and brings quantities
//! and times into their canonical form. Encoding writes members in the order of the type, escapes
//! as Go does, omits empty members and writes those that are always written. Error messages are
//! byte for byte those of upstream, because clients compare and show them.
//!
//! Data flow: `scan` (characters to tokens) → `decode` (tokens to a tree, by type) → … → `encode`.
//! `normal` does the work of `decode` for trees that patches made. Nothing here depends on the
//! meaning of a field.

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

/// How deep values may nest. Upstream allows 10,000.
///
/// `serde_json` reads stored objects again, here and in every Rust client, and gives up at 128
/// levels; lists, events and the managed fields of the deepest field add a few. Trees are also
/// walked recursively in many places, which must fit into the stack of a worker thread (2 MiB) in a
/// debug build. No meaningful object comes near this limit.
pub const MAX_DEPTH: usize = 100;

/// Why bytes do not decode to an object of the requested type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not JSON (or YAML, or protobuf).
    #[error("{0}")]
    Syntax(String),
    /// A value has a wrong type or is out of range.
    #[error("{0}")]
    Value(String),
}

/// The path of a value in a document. Each part is a link to its parent on the call stack, so that
/// a path costs nothing until an error renders it.
#[derive(Clone, Copy)]
pub(crate) struct DocumentPath<'a> {
    parent: Option<&'a DocumentPath<'a>>,
    segment: PathSegment<'a>,
}

#[derive(Clone, Copy)]
enum PathSegment<'a> {
    Root,
    /// A field of the structure that the parent points to.
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

    /// Returns the path of the field `name` of the structure `ty`.
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

    /// Renders `spec.containers[0].name`.
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

    /// Renders `Container.spec.containers.name`, the form of Go's decoding errors: the innermost
    /// structure, then all fields without keys and indexes. `None` outside of any field.
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

    /// Returns the name of the Go string type of this field, if it has one of its own
    /// (`v1.PodPhase`).
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

    /// Returns Go's error for a value of a wrong type. `found` is what the document has (`string`,
    /// `number 1.5`).
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

/// Limit of warnings for one document.
pub(crate) const MAX_WARNINGS: usize = 100;

fn short_name(ty: &Type) -> &str {
    ty.name.rsplit('.').next().unwrap_or(ty.name)
}

/// Returns the Go type of a shape, as decoding errors name it: `int32`, `[]string`, `v1.PodSpec`.
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
