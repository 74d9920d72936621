//! OpenAPI v2 as protobuf, by the schema of gnostic (`openapiv2/OpenAPIv2.proto`): what kubectl up
//! to 1.26 asks for.
//!
//! The tables below say which member has which number and which form; `encode` follows them. Only
//! messages of which our documents are made are here. A member that no table knows (extensions
//! aside) has no place in this format and is left out. Nothing here knows Kubernetes.

use kinds::Tree;
use kinds::protobuf::MessageWriter;
use kinds::tree::Map;

/// The document as protobuf.
pub(crate) fn encode(document: &Tree) -> Vec<u8> {
    message(document, &DOCUMENT)
}

/// A kind of message: its members by name, and where members that begin with `x-` go.
struct Message {
    fields: &'static [(&'static str, u32, Form)],
    extensions: u32,
}

/// How a member is written.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Texts,
    /// One text or several, in a message of their own.
    TypeItem,
    Bool,
    Integer,
    Number,
    /// Any value.
    Any,
    /// Any values.
    Anys,
    /// A message, inside messages that hold nothing but it, in the field with this number.
    One(&'static [u32], &'static Message),
    /// Several of them.
    Many(&'static [u32], &'static Message),
    /// Messages by name, in a message of their own that has them in the field with this number.
    Named(u32, &'static [u32], &'static Message),
    /// A schema or a truth value.
    SchemaOrBool,
    /// Parameters, whose message depends on where they stand.
    Parameters,
}

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Form::Text),
        ("info", 2, Form::One(&[], &INFO)),
        ("paths", 8, Form::Named(2, &[], &PATH_ITEM)),
        ("definitions", 9, Form::Named(1, &[], &SCHEMA)),
    ],
    extensions: 16,
};

static INFO: Message = Message {
    fields: &[("title", 1, Form::Text), ("version", 2, Form::Text)],
    extensions: 7,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, Form::One(&[], &OPERATION)),
        ("put", 3, Form::One(&[], &OPERATION)),
        ("post", 4, Form::One(&[], &OPERATION)),
        ("delete", 5, Form::One(&[], &OPERATION)),
        ("patch", 8, Form::One(&[], &OPERATION)),
        ("parameters", 9, Form::Parameters),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Form::Texts),
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("produces", 6, Form::Texts),
        ("consumes", 7, Form::Texts),
        ("parameters", 8, Form::Parameters),
        ("responses", 9, Form::Named(1, &[1], &RESPONSE)),
    ],
    extensions: 13,
};

static RESPONSE: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("schema", 2, Form::One(&[1], &SCHEMA)),
    ],
    extensions: 5,
};

static BODY: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("required", 4, Form::Bool),
        ("schema", 5, Form::One(&[], &SCHEMA)),
    ],
    extensions: 6,
};

static QUERY: Message = Message {
    fields: &[
        ("required", 1, Form::Bool),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 6, Form::Text),
        ("format", 7, Form::Text),
        ("uniqueItems", 20, Form::Bool),
    ],
    extensions: 23,
};

static IN_PATH: Message = Message {
    fields: &[
        ("required", 1, Form::Bool),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 5, Form::Text),
        ("format", 6, Form::Text),
        ("uniqueItems", 19, Form::Bool),
    ],
    extensions: 22,
};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Form::Text),
        ("format", 2, Form::Text),
        ("title", 3, Form::Text),
        ("description", 4, Form::Text),
        ("default", 5, Form::Any),
        ("multipleOf", 6, Form::Number),
        ("maximum", 7, Form::Number),
        ("exclusiveMaximum", 8, Form::Bool),
        ("minimum", 9, Form::Number),
        ("exclusiveMinimum", 10, Form::Bool),
        ("maxLength", 11, Form::Integer),
        ("minLength", 12, Form::Integer),
        ("pattern", 13, Form::Text),
        ("maxItems", 14, Form::Integer),
        ("minItems", 15, Form::Integer),
        ("uniqueItems", 16, Form::Bool),
        ("maxProperties", 17, Form::Integer),
        ("minProperties", 18, Form::Integer),
        ("required", 19, Form::Texts),
        ("enum", 20, Form::Anys),
        ("additionalProperties", 21, Form::SchemaOrBool),
        ("type", 22, Form::TypeItem),
        ("items", 23, Form::One(&[1], &SCHEMA)),
        ("allOf", 24, Form::Many(&[], &SCHEMA)),
        ("properties", 25, Form::Named(1, &[], &SCHEMA)),
        ("example", 30, Form::Any),
    ],
    extensions: 31,
};

fn message(tree: &Tree, kind: &Message) -> Vec<u8> {
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

fn write(out: &mut MessageWriter, number: u32, form: Form, value: &Tree) {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    match form {
        Form::Text => out.text(number, value.as_str().unwrap_or_default()),
        Form::Texts => list
            .iter()
            .filter_map(Tree::as_str)
            .for_each(|text| out.text(number, text)),
        Form::TypeItem => {
            let mut inner = MessageWriter::default();
            value
                .as_str()
                .into_iter()
                .chain(list.iter().filter_map(Tree::as_str))
                .for_each(|text| inner.text(1, text));
            out.bytes(number, &inner.into_bytes());
        }
        Form::Bool => out.varint(number, value.as_bool().unwrap_or_default().into()),
        Form::Integer => out.varint(number, value.as_i64().unwrap_or_default().cast_unsigned()),
        Form::Number => out.double(number, value.as_f64().unwrap_or_default()),
        Form::Any => out.bytes(number, &any(value)),
        Form::Anys => list.iter().for_each(|item| out.bytes(number, &any(item))),
        Form::One(around, kind) => out.bytes(number, &wrapped(around, message(value, kind))),
        Form::Many(around, kind) => list
            .iter()
            .for_each(|item| out.bytes(number, &wrapped(around, message(item, kind)))),
        Form::Named(inside, around, kind) => {
            out.bytes(number, &map(value.as_object(), inside, around, kind))
        }
        Form::SchemaOrBool if value.is_boolean() => {
            let mut inner = MessageWriter::default();
            inner.varint(2, value.as_bool().unwrap_or_default().into());
            out.bytes(number, &inner.into_bytes());
        }
        Form::SchemaOrBool => out.bytes(number, &wrapped(&[1], message(value, &SCHEMA))),
        Form::Parameters => list
            .iter()
            .for_each(|item| out.bytes(number, &parameter(item))),
    }
}

/// Entries in the order of their names.
fn map(entries: Option<&Map>, inside: u32, around: &[u32], kind: &Message) -> Vec<u8> {
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

/// The message inside others that hold nothing else; the numbers are those of the outer ones first.
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

/// Any value is carried as YAML, which JSON is.
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
    fn bytes_are_those_of_the_schema() {
        let document = json!({"swagger": "2.0", "definitions": {"a": {"type": "array", "items": {"$ref": "b"}, "x-k": [1]}}});
        let schema = b"\xb2\x01\x07\x0a\x05array\xba\x01\x05\x0a\x03\x0a\x01b\xfa\x01\x0c\x0a\x03x-k\x12\x05\x12\x03[1]";
        let mut expected = b"\x0a\x032.0\x4a\x28\x0a\x26\x0a\x01a\x12\x21".to_vec();
        expected.extend_from_slice(schema);
        assert_eq!(encode(&document), expected);
    }

    /// The names of members for which a message has no place.
    fn unknown(tree: &Tree, kind: &Message, found: &mut Vec<String>) {
        for (name, value) in tree.as_object().into_iter().flatten() {
            let Some((_, _, form)) = kind.fields.iter().find(|(known, _, _)| known == name) else {
                if !name.starts_with("x-") {
                    found.push(name.to_string());
                }
                continue;
            };
            match form {
                Form::One(_, kind) => unknown(value, kind, found),
                Form::Many(_, kind) => value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .for_each(|item| unknown(item, kind, found)),
                Form::Named(_, _, kind) => value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .for_each(|(_, item)| unknown(item, kind, found)),
                Form::SchemaOrBool => unknown(value, &SCHEMA, found),
                Form::Parameters => {
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
    fn nothing_of_our_own_document_is_left_out() {
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
