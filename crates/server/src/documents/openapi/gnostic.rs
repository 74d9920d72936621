//! OpenAPI v2 as protobuf, with the schema of gnostic (`openapiv2/OpenAPIv2.proto`), which kubectl
//! up to 1.26 requests. `v3` has the tables of version 3.
//!
//! The tables below list the number and the shape of each member; `encode` follows them. They hold
//! only the messages that our documents need. Members without an entry, apart from extensions, are
//! left out, because the format has no place for them. Nothing here knows Kubernetes.

mod v3;

use kinds::Tree;
use kinds::protobuf::MessageWriter;
use kinds::tree::Map;

pub(crate) use v3::encode as encode_v3;

/// Encodes the document as protobuf.
pub(crate) fn encode(document: &Tree) -> Vec<u8> {
    message(document, &DOCUMENT)
}

/// A message type: its members by name, and the field for members that begin with `x-`.
struct MessageType {
    fields: &'static [(&'static str, u32, FieldShape)],
    extensions: u32,
}

/// The shape of a member.
#[derive(Clone, Copy)]
enum FieldShape {
    Text,
    Texts,
    /// One string or several, in a message of their own.
    TypeItem,
    Bool,
    Integer,
    Number,
    /// Any value.
    Any,
    /// Any values.
    Anys,
    /// A message, nested in messages with only this field number.
    One(&'static [u32], &'static MessageType),
    /// Several nested messages.
    Many(&'static [u32], &'static MessageType),
    /// Messages by name, as entries of a message with this field number.
    Named(u32, &'static [u32], &'static MessageType),
    /// A schema or a boolean.
    SchemaOrBool,
    /// Parameters. Their message depends on their `in` member.
    Parameters,
    /// A message (1) or a reference to one (2), nested in messages with only this field number.
    OrReference(&'static [u32], &'static MessageType),
    /// Several messages or references.
    ManyOrReference(&'static MessageType),
    /// Messages or references by name, as entries of a message with this field number.
    NamedOrReference(u32, &'static MessageType),
    /// A schema or reference (1), or a boolean (2).
    ReferenceOrBool(&'static MessageType),
    /// A number (1), a boolean (2) or a text (3); anything else is an empty message.
    Scalar,
}

static DOCUMENT: MessageType = MessageType {
    fields: &[
        ("swagger", 1, FieldShape::Text),
        ("info", 2, FieldShape::One(&[], &INFO)),
        ("paths", 8, FieldShape::Named(2, &[], &PATH_ITEM)),
        ("definitions", 9, FieldShape::Named(1, &[], &SCHEMA)),
    ],
    extensions: 16,
};

static INFO: MessageType = MessageType {
    fields: &[
        ("title", 1, FieldShape::Text),
        ("version", 2, FieldShape::Text),
    ],
    extensions: 7,
};

static PATH_ITEM: MessageType = MessageType {
    fields: &[
        ("get", 2, FieldShape::One(&[], &OPERATION)),
        ("put", 3, FieldShape::One(&[], &OPERATION)),
        ("post", 4, FieldShape::One(&[], &OPERATION)),
        ("delete", 5, FieldShape::One(&[], &OPERATION)),
        ("patch", 8, FieldShape::One(&[], &OPERATION)),
        ("parameters", 9, FieldShape::Parameters),
    ],
    extensions: 10,
};

static OPERATION: MessageType = MessageType {
    fields: &[
        ("tags", 1, FieldShape::Texts),
        ("description", 3, FieldShape::Text),
        ("operationId", 5, FieldShape::Text),
        ("produces", 6, FieldShape::Texts),
        ("consumes", 7, FieldShape::Texts),
        ("parameters", 8, FieldShape::Parameters),
        ("responses", 9, FieldShape::Named(1, &[1], &RESPONSE)),
    ],
    extensions: 13,
};

static RESPONSE: MessageType = MessageType {
    fields: &[
        ("description", 1, FieldShape::Text),
        ("schema", 2, FieldShape::One(&[1], &SCHEMA)),
    ],
    extensions: 5,
};

static BODY: MessageType = MessageType {
    fields: &[
        ("description", 1, FieldShape::Text),
        ("name", 2, FieldShape::Text),
        ("in", 3, FieldShape::Text),
        ("required", 4, FieldShape::Bool),
        ("schema", 5, FieldShape::One(&[], &SCHEMA)),
    ],
    extensions: 6,
};

static QUERY: MessageType = MessageType {
    fields: &[
        ("required", 1, FieldShape::Bool),
        ("in", 2, FieldShape::Text),
        ("description", 3, FieldShape::Text),
        ("name", 4, FieldShape::Text),
        ("type", 6, FieldShape::Text),
        ("format", 7, FieldShape::Text),
        ("uniqueItems", 20, FieldShape::Bool),
    ],
    extensions: 23,
};

static IN_PATH: MessageType = MessageType {
    fields: &[
        ("required", 1, FieldShape::Bool),
        ("in", 2, FieldShape::Text),
        ("description", 3, FieldShape::Text),
        ("name", 4, FieldShape::Text),
        ("type", 5, FieldShape::Text),
        ("format", 6, FieldShape::Text),
        ("uniqueItems", 19, FieldShape::Bool),
    ],
    extensions: 22,
};

static SCHEMA: MessageType = MessageType {
    fields: &[
        ("$ref", 1, FieldShape::Text),
        ("format", 2, FieldShape::Text),
        ("title", 3, FieldShape::Text),
        ("description", 4, FieldShape::Text),
        ("default", 5, FieldShape::Any),
        ("multipleOf", 6, FieldShape::Number),
        ("maximum", 7, FieldShape::Number),
        ("exclusiveMaximum", 8, FieldShape::Bool),
        ("minimum", 9, FieldShape::Number),
        ("exclusiveMinimum", 10, FieldShape::Bool),
        ("maxLength", 11, FieldShape::Integer),
        ("minLength", 12, FieldShape::Integer),
        ("pattern", 13, FieldShape::Text),
        ("maxItems", 14, FieldShape::Integer),
        ("minItems", 15, FieldShape::Integer),
        ("uniqueItems", 16, FieldShape::Bool),
        ("maxProperties", 17, FieldShape::Integer),
        ("minProperties", 18, FieldShape::Integer),
        ("required", 19, FieldShape::Texts),
        ("enum", 20, FieldShape::Anys),
        ("additionalProperties", 21, FieldShape::SchemaOrBool),
        ("type", 22, FieldShape::TypeItem),
        ("items", 23, FieldShape::One(&[1], &SCHEMA)),
        ("allOf", 24, FieldShape::Many(&[], &SCHEMA)),
        ("properties", 25, FieldShape::Named(1, &[], &SCHEMA)),
        ("example", 30, FieldShape::Any),
    ],
    extensions: 31,
};

fn message(tree: &Tree, kind: &MessageType) -> Vec<u8> {
    let mut out = MessageWriter::default();
    let Tree::Object(members) = tree else {
        return out.into_bytes();
    };
    for (name, number, form) in kind.fields {
        if let Some(value) = members.get(name) {
            write(&mut out, *number, *form, value);
        }
    }
    for (name, value) in members.iter().filter(|(name, _)| name.starts_with("x-")) {
        out.bytes(kind.extensions, &named(name, &any(value)));
    }
    out.into_bytes()
}

fn write(out: &mut MessageWriter, number: u32, form: FieldShape, value: &Tree) {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    match form {
        FieldShape::Text => out.text(number, value.as_str().unwrap_or_default()),
        FieldShape::Texts => list
            .iter()
            .filter_map(Tree::as_str)
            .for_each(|text| out.text(number, text)),
        FieldShape::TypeItem => {
            let mut inner = MessageWriter::default();
            value
                .as_str()
                .into_iter()
                .chain(list.iter().filter_map(Tree::as_str))
                .for_each(|text| inner.text(1, text));
            out.bytes(number, &inner.into_bytes());
        }
        FieldShape::Bool => out.varint(number, value.as_bool().unwrap_or_default().into()),
        FieldShape::Integer => {
            out.varint(number, value.as_i64().unwrap_or_default().cast_unsigned())
        }
        FieldShape::Number => out.double(number, value.as_f64().unwrap_or_default()),
        FieldShape::Any => out.bytes(number, &any(value)),
        FieldShape::Anys => list.iter().for_each(|item| out.bytes(number, &any(item))),
        FieldShape::One(around, kind) => out.bytes(number, &wrapped(around, message(value, kind))),
        FieldShape::Many(around, kind) => list
            .iter()
            .for_each(|item| out.bytes(number, &wrapped(around, message(item, kind)))),
        FieldShape::Named(inside, around, kind) => {
            out.bytes(number, &map(value.as_object(), inside, around, kind))
        }
        FieldShape::SchemaOrBool if value.is_boolean() => {
            let mut inner = MessageWriter::default();
            inner.varint(2, value.as_bool().unwrap_or_default().into());
            out.bytes(number, &inner.into_bytes());
        }
        FieldShape::SchemaOrBool => out.bytes(number, &wrapped(&[1], message(value, &SCHEMA))),
        FieldShape::Parameters => list
            .iter()
            .for_each(|item| out.bytes(number, &parameter(item))),
        FieldShape::OrReference(around, kind) => {
            out.bytes(number, &wrapped(around, or_reference(value, kind)));
        }
        FieldShape::ManyOrReference(kind) => list
            .iter()
            .for_each(|item| out.bytes(number, &or_reference(item, kind))),
        FieldShape::NamedOrReference(inside, kind) => {
            let mut entries = MessageWriter::default();
            for (name, value) in value.as_object().into_iter().flatten() {
                entries.bytes(inside, &named(name, &or_reference(value, kind)));
            }
            out.bytes(number, &entries.into_bytes());
        }
        FieldShape::ReferenceOrBool(kind) => out.bytes(
            number,
            &match value {
                Tree::Bool(value) => {
                    let mut inner = MessageWriter::default();
                    inner.varint(2, (*value).into());
                    inner.into_bytes()
                }
                value => wrapped(&[1], or_reference(value, kind)),
            },
        ),
        FieldShape::Scalar => {
            let mut inner = MessageWriter::default();
            match value {
                Tree::Number(value) => inner.double(1, value.as_f64().unwrap_or_default()),
                Tree::Bool(value) => inner.varint(2, (*value).into()),
                Tree::String(value) => inner.text(3, value),
                _ => {}
            }
            out.bytes(number, &inner.into_bytes());
        }
    }
}

/// Returns a message in field 1, or a reference to one in field 2.
fn or_reference(value: &Tree, kind: &MessageType) -> Vec<u8> {
    match value.get("$ref").and_then(Tree::as_str) {
        Some(target) => {
            let mut reference = MessageWriter::default();
            reference.text(1, target);
            wrapped(&[2], reference.into_bytes())
        }
        None => wrapped(&[1], message(value, kind)),
    }
}

/// Returns entries in the order of their names.
fn map(entries: Option<&Map>, inside: u32, around: &[u32], kind: &MessageType) -> Vec<u8> {
    let mut out = MessageWriter::default();
    for (name, value) in entries.into_iter().flatten() {
        out.bytes(inside, &named(name, &wrapped(around, message(value, kind))));
    }
    out.into_bytes()
}

fn parameter(tree: &Tree) -> Vec<u8> {
    match tree.get("in").and_then(Tree::as_str) {
        Some("body") => wrapped(&[1, 1], message(tree, &BODY)),
        Some("path") => wrapped(&[1, 2, 4], message(tree, &IN_PATH)),
        _ => wrapped(&[1, 2, 3], message(tree, &QUERY)),
    }
}

/// Nests a message in others with only one field. `numbers` begins with the outermost.
fn wrapped(around: &[u32], message: Vec<u8>) -> Vec<u8> {
    around.iter().rev().fold(message, |inner, number| {
        let mut out = MessageWriter::default();
        out.bytes(*number, &inner);
        out.into_bytes()
    })
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = MessageWriter::default();
    out.text(1, name);
    out.bytes(2, value);
    out.into_bytes()
}

/// Any value is encoded as YAML, and JSON is YAML.
fn any(value: &Tree) -> Vec<u8> {
    let mut out = MessageWriter::default();
    out.text(2, &value.to_string());
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    #[test]
    fn encoding_follows_the_schema() {
        let document = json!({"swagger": "2.0",
            "definitions": {"a": {"type": "array", "items": {"$ref": "b"}, "x-k": [1]}}});
        let schema = b"\xb2\x01\x07\x0a\x05array\xba\x01\x05\x0a\x03\x0a\x01b\xfa\x01\x0c\x0a\x03x-k\x12\x05\x12\x03[1]";
        let mut expected = b"\x0a\x032.0\x4a\x28\x0a\x26\x0a\x01a\x12\x21".to_vec();
        expected.extend_from_slice(schema);
        assert_eq!(encode(&document), expected);
    }

    /// Returns the names of members for which a message has no field.
    fn unknown(tree: &Tree, kind: &MessageType, found: &mut Vec<String>) {
        for (name, value) in tree.as_object().into_iter().flatten() {
            let Some((_, _, form)) = kind.fields.iter().find(|(known, _, _)| known == name) else {
                if !name.starts_with("x-") {
                    found.push(name.to_string());
                }
                continue;
            };
            match form {
                FieldShape::One(_, kind) => unknown(value, kind, found),
                FieldShape::Many(_, kind) => value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .for_each(|item| unknown(item, kind, found)),
                FieldShape::Named(_, _, kind) => value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .for_each(|(_, item)| unknown(item, kind, found)),
                FieldShape::SchemaOrBool => unknown(value, &SCHEMA, found),
                FieldShape::Parameters => {
                    for item in value.as_array().into_iter().flatten() {
                        let kind = match item["in"].as_str() {
                            Some("body") => &BODY,
                            Some("path") => &IN_PATH,
                            _ => &QUERY,
                        };
                        unknown(item, kind, found);
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn every_member_of_our_document_has_a_field() {
        let document = super::super::v2(
            &kinds::resources()
                .iter()
                .map(registry::ResourceRef::from)
                .collect::<Vec<_>>(),
        );
        let mut found = Vec::new();
        unknown(&document, &DOCUMENT, &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}
