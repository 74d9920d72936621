//! Validates an applied object: known fields, values of their types, no duplicate items. The
//! messages are upstream's.

use std::collections::HashMap;
use std::fmt;

use super::ApplyError;
use super::field_set::render_element;
use super::node::FieldNode;
use super::schema::{FieldView, ShapeView, StructureView};
use crate::Tree;
use crate::facts::Shape;
use crate::status::MAX_CAUSES;

/// Validates the whole applied object.
///
/// # Errors
/// [`ApplyError::Schema`] with all faults.
pub(super) fn validate(applied: &Tree, node: FieldNode<'_>) -> Result<(), ApplyError> {
    let mut faults = SchemaFaults::default();
    match node {
        FieldNode::Object(structure) => {
            object(applied, structure, &ValuePath::Root, &mut faults);
        }
        _ if applied.is_object() => {}
        _ => faults.add(|| expected(&ValuePath::Root, "map", applied)),
    }
    let mut texts = faults.kept;
    if faults.dropped > 0 {
        texts.push(format!("and {} more", faults.dropped));
    }
    let why = match texts.len() {
        0 => return Ok(()),
        1 => texts.remove(0),
        _ => format!("errors:\n  {}", texts.join("\n  ")),
    };
    Err(ApplyError::Schema {
        object: name(applied),
        why,
    })
}

/// The first faults of an applied object. The others are counted.
#[derive(Debug, Default)]
struct SchemaFaults {
    kept: Vec<String>,
    dropped: usize,
}

impl SchemaFaults {
    fn add(&mut self, fault: impl FnOnce() -> String) {
        if self.kept.len() < MAX_CAUSES {
            self.kept.push(fault());
        } else {
            self.dropped += 1;
        }
    }
}

/// The path of a value. It becomes a string only when a fault is reported: a key can have a
/// megabyte, and as many values below it.
enum ValuePath<'a> {
    Root,
    Member(&'a Self, &'a str),
    Index(&'a Self, usize),
    /// An item by its element, for example `k:{"name":"c"}`.
    Element(&'a Self, &'a str),
}

impl fmt::Display for ValuePath<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(parent, name) => write!(out, "{parent}.{name}"),
            Self::Index(parent, index) => write!(out, "{parent}[{index}]"),
            Self::Element(parent, element) => write!(out, "{parent}{}", render_element(element)),
        }
    }
}

/// `namespace/name; group/version, Kind=kind`.
fn name(applied: &Tree) -> String {
    let text = |pointer: &str| {
        applied
            .pointer(pointer)
            .and_then(Tree::as_str)
            .unwrap_or_default()
    };
    let api_version = text("/apiVersion");
    let version = if api_version.contains('/') {
        api_version.to_owned()
    } else {
        format!("/{api_version}")
    };
    format!(
        "{}/{}; {version}, Kind={}",
        text("/metadata/namespace"),
        text("/metadata/name"),
        text("/kind")
    )
}

fn object(
    tree: &Tree,
    structure: StructureView<'_>,
    path: &ValuePath<'_>,
    faults: &mut SchemaFaults,
) {
    let members = match tree {
        Tree::Object(members) => members,
        Tree::Null => return,
        _ if structure.is_untyped() => return,
        other => return faults.add(|| expected(path, "map", other)),
    };
    for (name, value) in members {
        let path = ValuePath::Member(path, name);
        match (structure.field_at(name), structure.rest()) {
            (Some((_, field)), _) => field_value(value, field, &path, faults),
            (None, Some(rest)) => shape(value, rest, &path, faults),
            (None, None) => faults.add(|| format!("{path}: field not declared in schema")),
        }
    }
}

/// Validates the value of a field. Paths name items by their keys, as conflicts do.
fn field_value(tree: &Tree, field: FieldView<'_>, path: &ValuePath<'_>, faults: &mut SchemaFaults) {
    let node = FieldNode::of_field(field);
    let (Some(item), Some(items)) = (field.value().item(), node.items(Some(tree))) else {
        return shape(tree, field.value(), path, faults);
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, value) in items.iter().enumerate() {
        let Some(element) = node.element(value) else {
            faults.add(|| format!("{path}: element {index}: {}", without_keys(node, value)));
            continue;
        };
        let times = seen.entry(element.clone()).or_default();
        *times += 1;
        match *times {
            1 => shape(value, item, &ValuePath::Element(path, &element), faults),
            2 => faults.add(|| {
                let element = render_element(&element);
                format!("{path}: duplicate entries for key {element}")
            }),
            _ => {}
        }
    }
}

fn without_keys(node: FieldNode<'_>, item: &Tree) -> String {
    let FieldNode::Items { keys, .. } = node else {
        return String::new();
    };
    if item.is_null() {
        return "associative list with keys may not have a null element".to_owned();
    }
    if !item.is_object() {
        return "associative list with keys may not have non-map elements".to_owned();
    }
    let keys: Vec<String> = keys.iter().map(crate::status::quoted).collect();
    format!(
        "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
        keys.join(" ")
    )
}

fn shape(tree: &Tree, expectation: ShapeView<'_>, path: &ValuePath<'_>, faults: &mut SchemaFaults) {
    if tree.is_null() {
        return;
    }
    if let Some(structure) = expectation.structure() {
        return object(tree, structure, path, faults);
    }
    if let Some(entry) = expectation.entry() {
        let Tree::Object(members) = tree else {
            return faults.add(|| expected(path, "map", tree));
        };
        for (name, member) in members {
            shape(member, entry, &ValuePath::Member(path, name), faults);
        }
        return;
    }
    if let Some(item) = expectation.item() {
        let Tree::Array(items) = tree else {
            return faults.add(|| expected(path, "list", tree));
        };
        for (index, value) in items.iter().enumerate() {
            shape(value, item, &ValuePath::Index(path, index), faults);
        }
        return;
    }
    if let ShapeView::BuiltIn(scalar) = expectation
        && let Some(what) = mismatch(tree, scalar)
    {
        faults.add(|| expected(path, what, tree));
    }
}

/// What a scalar should have been, in the API's words; `None` when the value fits.
fn mismatch(tree: &Tree, scalar: Shape) -> Option<&'static str> {
    let (fits, what) = match scalar {
        Shape::String | Shape::Bytes | Shape::Time | Shape::MicroTime | Shape::Duration => {
            (tree.is_string(), "string")
        }
        Shape::Bool => (tree.is_boolean(), "boolean"),
        Shape::Int32 | Shape::Int64 | Shape::Float64 => {
            (tree.is_number(), "numeric (int or float)")
        }
        Shape::Quantity | Shape::IntOrString => {
            (tree.is_string() || tree.is_number(), "string or number")
        }
        Shape::Any
        | Shape::ObjectOrBool(_)
        | Shape::ObjectOrList(_)
        | Shape::ObjectOrStrings(_)
        | Shape::Object(_)
        | Shape::Map(_)
        | Shape::List(_) => return None,
    };
    (!fits).then_some(what)
}

/// Formats a value in Go's notation, as upstream's message does.
fn expected(path: &ValuePath<'_>, what: &str, found: &Tree) -> String {
    let at = match path {
        ValuePath::Root => String::new(),
        path => format!("{path}: "),
    };
    format!(
        "{at}expected {what}, got &value.valueUnstructured{{Value:{}}}",
        go_syntax(found)
    )
}

fn go_syntax(tree: &Tree) -> String {
    match tree {
        Tree::Null => "interface {}(nil)".to_owned(),
        Tree::String(text) => crate::status::quoted(text),
        Tree::Array(items) => format!(
            "[]interface {{}}{{{}}}",
            items.iter().map(go_syntax).collect::<Vec<_>>().join(", ")
        ),
        Tree::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| {
                    format!("{}:{}", crate::status::quoted(name), go_syntax(value))
                })
                .collect();
            format!("map[string]interface {{}}{{{}}}", members.join(", "))
        }
        Tree::Bool(_) | Tree::Number(_) => tree.to_string(),
    }
}
