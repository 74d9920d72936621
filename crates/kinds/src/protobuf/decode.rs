//! Decodes a protobuf message to a tree. Fields may come in any order; unknown fields are skipped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::wire::{MessageReader, WireValue};
use crate::Tree;
use crate::facts::{Field, Shape, Type};
use crate::json::{DecodeError, MAX_DEPTH, decode_untyped, scalar};
use crate::tree::{Map, Text};

pub(super) fn message(bytes: &[u8], ty: &'static Type) -> Result<Tree, DecodeError> {
    let tree = object(bytes, ty, 0)?;
    // The depth of messages was limited while decoding. Lists, maps and embedded JSON add levels to
    // the tree.
    if levels(&tree) > MAX_DEPTH {
        Err(too_deep())
    } else {
        Ok(tree)
    }
}

fn levels(tree: &Tree) -> usize {
    match tree {
        Tree::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Tree::Object(members) => 1 + members.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

fn too_deep() -> DecodeError {
    DecodeError::Syntax(format!("exceeded max depth of {MAX_DEPTH}"))
}

fn object(bytes: &[u8], ty: &'static Type, depth: usize) -> Result<Tree, DecodeError> {
    let mut members = Map::new();
    structure(bytes, ty, &[], &mut members, depth)?;
    Ok(Tree::Object(members))
}

/// Decodes the message that holds the fields of a structure whose `within` starts so.
fn structure(
    bytes: &[u8],
    ty: &'static Type,
    within: &[u32],
    members: &mut Map,
    depth: usize,
) -> Result<(), DecodeError> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    let level = within.len();
    let mut reader = MessageReader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        let of_number =
            |field: &&Field| field.within.get(level).copied().unwrap_or(field.number) == number;
        let found = ty
            .fields
            .iter()
            .filter(|field| field.number != 0 && field.within.starts_with(within))
            .find(of_number);
        // A newer client may send fields that the table does not have.
        let Some(field) = found else { continue };
        if field.within.len() > level {
            structure(
                need_bytes(value, field)?,
                ty,
                &field.within[..=level],
                members,
                depth + 1,
            )?;
        } else {
            member(field, value, members, depth)?;
        }
    }
    Ok(())
}

fn wrong(field: &Field) -> DecodeError {
    DecodeError::Value(format!("proto: wrong wireType for field {}", field.name))
}

fn need_bytes<'a>(value: WireValue<'a>, field: &Field) -> Result<&'a [u8], DecodeError> {
    if let WireValue::Bytes(bytes) = value {
        Ok(bytes)
    } else {
        Err(wrong(field))
    }
}

fn member(
    field: &Field,
    found: WireValue<'_>,
    members: &mut Map,
    depth: usize,
) -> Result<(), DecodeError> {
    match &field.shape {
        Shape::List(inner) => {
            let items = members
                .entry(Text::new_static(field.name))
                // A repeated field occurs once for each item, so the list exists from the first on.
                .or_insert_with(|| Tree::from_iter([Tree::Null; 0]));
            let Tree::Array(items) = items else {
                return Ok(());
            };
            match (found, inner) {
                // Packed integers: all items in one field.
                (WireValue::Bytes(bytes), Shape::Int32 | Shape::Int64 | Shape::Bool) => {
                    let mut reader = MessageReader::new(bytes);
                    while !reader.is_empty() {
                        let number = WireValue::Varint(reader.varint()?);
                        items.push(value(inner, number, field, depth)?);
                    }
                }
                _ => items.push(value(inner, found, field, depth)?),
            }
        }
        Shape::Map(inner) => {
            let (key, entry) = entry(inner, need_bytes(found, field)?, field, depth)?;
            let entries = members
                .entry(Text::new_static(field.name))
                .or_insert_with(|| Tree::Object(Map::new()));
            if let Tree::Object(entries) = entries {
                // Of entries with the same key the last one counts, as protobuf demands.
                entries.insert(key, entry);
            }
        }
        shape => {
            let tree = value(shape, found, field, depth)?;
            // Go omits bytes that are nil, so that empty bytes in the message are an explicit empty
            // value.
            let written = field.always && matches!(shape, Shape::Bytes);
            if tree.is_null() || (!field.optional && !written && is_zero(&tree, shape)) {
                // The field may occur several times; a final zero also undoes an earlier value.
                members.remove(field.name);
            } else {
                members.insert(Text::new_static(field.name), tree);
            }
        }
    }
    Ok(())
}

/// Returns whether a value is the zero that Go writes for a field without a pointer that was not
/// set.
fn is_zero(tree: &Tree, shape: &Shape) -> bool {
    match tree {
        Tree::String(text) => text.is_empty() && !matches!(shape, Shape::IntOrString),
        Tree::Bool(value) => !value && matches!(shape, Shape::Bool),
        Tree::Number(number) => number.as_f64() == Some(0.0),
        Tree::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn entry(
    shape: &Shape,
    bytes: &[u8],
    field: &Field,
    depth: usize,
) -> Result<(String, Tree), DecodeError> {
    let (mut key, mut tree) = (String::new(), None);
    let mut reader = MessageReader::new(bytes);
    while let Some((number, found)) = reader.next()? {
        match number {
            1 => key = text(need_bytes(found, field)?),
            2 => {
                tree = Some(match shape {
                    Shape::List(inner) => {
                        wrapped_list(inner, need_bytes(found, field)?, field, depth)?
                    }
                    _ => value(shape, found, field, depth)?,
                });
            }
            _ => {}
        }
    }
    // A map entry without a value has the zero value.
    let empty = || match shape {
        Shape::Bytes => Tree::String(String::new().into()),
        Shape::List(_) => Tree::Array(Vec::new().into()),
        _ => scalar::zero(shape),
    };
    Ok((key, tree.unwrap_or_else(empty)))
}

fn wrapped_list(
    inner: &Shape,
    bytes: &[u8],
    field: &Field,
    depth: usize,
) -> Result<Tree, DecodeError> {
    let mut items = Vec::new();
    let mut reader = MessageReader::new(bytes);
    while let Some((number, found)) = reader.next()? {
        if number == 1 {
            items.push(value(inner, found, field, depth)?);
        }
    }
    Ok(Tree::from(items))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Decodes a value; null for a time that was not set.
fn value(
    shape: &Shape,
    found: WireValue<'_>,
    field: &Field,
    depth: usize,
) -> Result<Tree, DecodeError> {
    let bytes = || need_bytes(found, field);
    Ok(match (shape, found) {
        (Shape::String | Shape::Duration, _) => Tree::from(String::from_utf8_lossy(bytes()?)),
        (Shape::Bool, WireValue::Varint(number)) => Tree::Bool(number != 0),
        // Every protobuf decoder truncates a 32-bit field to its low half.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the wire format cuts it so"
        )]
        (Shape::Int32, WireValue::Varint(number)) => Tree::from(number as u32 as i32),
        (Shape::Int64, WireValue::Varint(number)) => Tree::from(number.cast_signed()),
        (Shape::Float64, WireValue::Fixed64(bits)) => {
            serde_json::Number::from_f64(f64::from_bits(bits)).map_or(Tree::Null, Tree::Number)
        }
        (Shape::Bytes, _) => Tree::from(STANDARD.encode(bytes()?)),
        (Shape::Time | Shape::MicroTime, _) => time(bytes()?, matches!(shape, Shape::MicroTime))?,
        (Shape::Quantity, _) => quantity(bytes()?)?,
        (Shape::IntOrString, _) => int_or_string(bytes()?)?,
        (Shape::Any, _) => any(bytes()?)?,
        (Shape::Object(ty), _) => object(bytes()?, ty, depth + 1)?,
        (Shape::ObjectOrBool(ty) | Shape::ObjectOrList(ty) | Shape::ObjectOrStrings(ty), _) => {
            union(shape, bytes()?, ty, field, depth)?
        }
        _ => return Err(wrong(field)),
    })
}

fn time(bytes: &[u8], micros: bool) -> Result<Tree, DecodeError> {
    let (mut seconds, mut nanos, mut reader) = (0, 0, MessageReader::new(bytes));
    if reader.is_empty() {
        return Ok(Tree::Null);
    }
    while let Some((number, found)) = reader.next()? {
        match (number, found) {
            (1, WireValue::Varint(value)) => seconds = value.cast_signed(),
            (2, WireValue::Varint(value)) => {
                nanos = i32::try_from(value.cast_signed()).unwrap_or_default()
            }
            _ => {}
        }
    }
    let time = Timestamp::new(seconds, nanos)
        .map_err(|_| DecodeError::Value(format!("a time of {seconds} seconds is out of range")))?;
    // Go's zero time is in year 1.
    const YEAR_ONE: i64 = -62_135_596_800;
    if seconds == YEAR_ONE {
        return Ok(Tree::Null);
    }
    Ok(Tree::from(if micros {
        scalar::micros_text(time)
    } else {
        scalar::seconds_text(time)
    }))
}

fn quantity(bytes: &[u8]) -> Result<Tree, DecodeError> {
    let mut reader = MessageReader::new(bytes);
    let mut written = String::new();
    while let Some((number, found)) = reader.next()? {
        if let (1, WireValue::Bytes(bytes)) = (number, found) {
            written = text(bytes);
        }
    }
    if written.is_empty() {
        return Ok(Tree::from("0"));
    }
    crate::quantity::canonical(&written)
        .map(Tree::from)
        .map_err(|error| DecodeError::Value(error.to_string()))
}

fn int_or_string(bytes: &[u8]) -> Result<Tree, DecodeError> {
    let (mut is_text, mut number_value, mut text_value) = (false, 0, String::new());
    let mut reader = MessageReader::new(bytes);
    while let Some((number, found)) = reader.next()? {
        match (number, found) {
            (1, WireValue::Varint(value)) => is_text = value == 1,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the wire format cuts it so"
            )]
            (2, WireValue::Varint(value)) => number_value = value as u32 as i32,
            (3, WireValue::Bytes(bytes)) => text_value = text(bytes),
            _ => {}
        }
    }
    Ok(if is_text {
        Tree::from(text_value)
    } else {
        Tree::from(number_value)
    })
}

fn any(bytes: &[u8]) -> Result<Tree, DecodeError> {
    let mut reader = MessageReader::new(bytes);
    let mut raw: &[u8] = &[];
    while let Some((number, found)) = reader.next()? {
        if let (1, WireValue::Bytes(bytes)) = (number, found) {
            raw = bytes;
        }
    }
    if raw.is_empty() {
        Ok(Tree::Null)
    } else {
        Ok(decode_untyped(raw)?.tree)
    }
}

fn union(
    shape: &Shape,
    bytes: &[u8],
    ty: &'static Type,
    field: &Field,
    depth: usize,
) -> Result<Tree, DecodeError> {
    let (mut allows, mut schema, mut items) = (false, None, Vec::new());
    let mut reader = MessageReader::new(bytes);
    while let Some((number, found)) = reader.next()? {
        match (shape, number, found) {
            (Shape::ObjectOrBool(_), 1, WireValue::Varint(value)) => allows = value != 0,
            (Shape::ObjectOrBool(_), 2, WireValue::Bytes(bytes))
            | (_, 1, WireValue::Bytes(bytes)) => schema = Some(object(bytes, ty, depth + 1)?),
            (Shape::ObjectOrList(_), 2, WireValue::Bytes(bytes)) => {
                items.push(object(bytes, ty, depth + 1)?)
            }
            (Shape::ObjectOrStrings(_), 2, WireValue::Bytes(bytes)) => {
                items.push(Tree::from(text(bytes)))
            }
            (_, 1 | 2, _) => return Err(wrong(field)),
            _ => {}
        }
    }
    Ok(match (shape, schema) {
        (_, Some(schema)) => schema,
        (Shape::ObjectOrBool(_), None) => Tree::Bool(allows),
        _ => Tree::from(items),
    })
}
