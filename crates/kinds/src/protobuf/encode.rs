//! Encodes a tree to a protobuf message, fields sorted by number. Go's generated encoders do the
//! same, and recordings compare the bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::wire::MessageWriter;
use crate::Tree;
use crate::facts::{Field, Shape, Type};

pub(super) fn message(tree: &Tree, ty: &'static Type) -> Vec<u8> {
    let mut out = MessageWriter::default();
    if let Tree::Object(members) = tree {
        structure(&mut out, members, ty, &[]);
    } else {
        structure(&mut out, &crate::tree::Map::new(), ty, &[]);
    }
    out.into_bytes()
}

/// Writes the fields that are in the message `within` of the structure.
fn structure(
    out: &mut MessageWriter,
    members: &crate::tree::Map,
    ty: &'static Type,
    within: &[u32],
) {
    let depth = within.len();
    let number = |field: &Field| field.within.get(depth).copied().unwrap_or(field.number);
    let mut inside: Vec<&'static Field> = ty
        .fields
        .iter()
        .filter(|field| field.number != 0 && field.within.starts_with(within))
        .collect();
    // The table has JSON order, which differs from the order of the numbers.
    inside.sort_by_key(|field| number(field));
    let mut last = 0;
    for field in inside {
        if field.within.len() == depth {
            member(
                out,
                field,
                members.get(field.name).filter(|member| !member.is_null()),
            );
        } else if number(field) != last {
            // The first field of an inner message writes the whole message.
            let mut inner = MessageWriter::default();
            structure(&mut inner, members, ty, &field.within[..=depth]);
            out.bytes(number(field), &inner.into_bytes());
        }
        last = number(field);
    }
}

fn member(out: &mut MessageWriter, field: &Field, tree: Option<&Tree>) {
    match (&field.shape, tree) {
        (Shape::List(inner), Some(Tree::Array(items))) => {
            for item in items {
                value(out, field.number, inner, item);
            }
        }
        (Shape::Map(inner), Some(Tree::Object(entries))) => {
            for (key, entry) in entries {
                let mut pair = MessageWriter::default();
                pair.text(1, key);
                map_value(&mut pair, inner, entry);
                out.bytes(field.number, &pair.into_bytes());
            }
        }
        (Shape::List(_) | Shape::Map(_), _) => {}
        (shape, Some(tree)) => value(out, field.number, shape, tree),
        // Absent bytes are nil in Go, and nil bytes are not written.
        (Shape::Bytes, None) => {}
        // Go writes a field without a pointer even if it is zero.
        (shape, None) if !field.optional => value(out, field.number, shape, &Tree::Null),
        _ => {}
    }
}

/// Writes the value of a map entry. A list in a map is a message with items (`ExtraValue`).
fn map_value(out: &mut MessageWriter, shape: &Shape, tree: &Tree) {
    match (shape, tree) {
        (Shape::List(inner), Tree::Array(items)) => {
            let mut list = MessageWriter::default();
            for item in items {
                value(&mut list, 1, inner, item);
            }
            out.bytes(2, &list.into_bytes());
        }
        (Shape::List(_), _) => out.bytes(2, &[]),
        _ => value(out, 2, shape, tree),
    }
}

/// Writes a value; null is the zero value of the shape.
fn value(out: &mut MessageWriter, number: u32, shape: &Shape, tree: &Tree) {
    let text = || tree.as_str().unwrap_or_default();
    match shape {
        Shape::String | Shape::Duration => out.text(number, text()),
        Shape::Bool => out.varint(number, u64::from(tree.as_bool().unwrap_or_default())),
        Shape::Int32 | Shape::Int64 => {
            out.varint(number, tree.as_i64().unwrap_or_default().cast_unsigned())
        }
        Shape::Float64 => out.double(number, tree.as_f64().unwrap_or_default()),
        Shape::Bytes => out.bytes(number, &STANDARD.decode(text()).unwrap_or_default()),
        Shape::Time | Shape::MicroTime => out.bytes(number, &time(text())),
        Shape::Quantity => {
            let mut inner = MessageWriter::default();
            inner.text(1, tree.as_str().unwrap_or("0"));
            out.bytes(number, &inner.into_bytes());
        }
        Shape::IntOrString => out.bytes(number, &int_or_string(tree)),
        Shape::Any => {
            let mut inner = MessageWriter::default();
            if !tree.is_null() {
                inner.bytes(1, &crate::json::encode_untyped(tree));
            }
            out.bytes(number, &inner.into_bytes());
        }
        Shape::Object(ty) => out.bytes(number, &message(tree, ty)),
        Shape::ObjectOrBool(ty) => {
            let mut inner = MessageWriter::default();
            inner.varint(1, u64::from(tree.as_bool().unwrap_or(true)));
            if tree.is_object() {
                inner.bytes(2, &message(tree, ty));
            }
            out.bytes(number, &inner.into_bytes());
        }
        Shape::ObjectOrList(ty) => out.bytes(number, &either(tree, ty, &Shape::Object(ty))),
        Shape::ObjectOrStrings(ty) => out.bytes(number, &either(tree, ty, &Shape::String)),
        // The API has no lists of lists.
        Shape::List(_) | Shape::Map(_) => {}
    }
}

fn either(tree: &Tree, ty: &'static Type, item_shape: &Shape) -> Vec<u8> {
    let mut inner = MessageWriter::default();
    match tree {
        Tree::Array(items) => items
            .iter()
            .for_each(|item| value(&mut inner, 2, item_shape, item)),
        other => inner.bytes(1, &message(other, ty)),
    }
    inner.into_bytes()
}

fn int_or_string(tree: &Tree) -> Vec<u8> {
    let mut inner = MessageWriter::default();
    inner.varint(1, u64::from(tree.is_string()));
    inner.varint(2, tree.as_i64().unwrap_or_default().cast_unsigned());
    inner.text(3, tree.as_str().unwrap_or_default());
    inner.into_bytes()
}

/// Encodes seconds and nanoseconds; an absent time is an empty message.
fn time(text: &str) -> Vec<u8> {
    let mut inner = MessageWriter::default();
    if let Ok(time) = text.parse::<Timestamp>() {
        let nanos = time.as_nanosecond();
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default();
        inner.varint(1, seconds.cast_unsigned());
        inner.varint(
            2,
            u64::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default(),
        );
    }
    inner.into_bytes()
}
