//! The tables of OpenAPI v3 (`openapiv3/OpenAPIv3.proto` of gnostic).

use kinds::Tree;

use super::{FieldShape, MessageType, message};

/// Encodes a document of version 3 as protobuf.
pub(crate) fn encode(document: &Tree) -> Vec<u8> {
    message(document, &DOCUMENT)
}

static DOCUMENT: MessageType = MessageType {
    fields: &[
        ("openapi", 1, FieldShape::Text),
        ("info", 2, FieldShape::One(&[], &INFO)),
        ("paths", 4, FieldShape::Named(1, &[], &PATH_ITEM)),
        ("components", 5, FieldShape::One(&[], &COMPONENTS)),
    ],
    extensions: 9,
};

static INFO: MessageType = MessageType {
    fields: &[
        ("title", 1, FieldShape::Text),
        ("version", 6, FieldShape::Text),
    ],
    extensions: 7,
};

static COMPONENTS: MessageType = MessageType {
    fields: &[("schemas", 1, FieldShape::NamedOrReference(1, &SCHEMA))],
    extensions: 10,
};

static PATH_ITEM: MessageType = MessageType {
    fields: &[
        ("get", 4, FieldShape::One(&[], &OPERATION)),
        ("put", 5, FieldShape::One(&[], &OPERATION)),
        ("post", 6, FieldShape::One(&[], &OPERATION)),
        ("delete", 7, FieldShape::One(&[], &OPERATION)),
        ("patch", 10, FieldShape::One(&[], &OPERATION)),
        ("parameters", 13, FieldShape::ManyOrReference(&PARAMETER)),
    ],
    extensions: 14,
};

static OPERATION: MessageType = MessageType {
    fields: &[
        ("tags", 1, FieldShape::Texts),
        ("description", 3, FieldShape::Text),
        ("operationId", 5, FieldShape::Text),
        ("parameters", 6, FieldShape::ManyOrReference(&PARAMETER)),
        (
            "requestBody",
            7,
            FieldShape::OrReference(&[], &REQUEST_BODY),
        ),
        ("responses", 8, FieldShape::Named(2, &[1], &RESPONSE)),
    ],
    extensions: 13,
};

static PARAMETER: MessageType = MessageType {
    fields: &[
        ("name", 1, FieldShape::Text),
        ("in", 2, FieldShape::Text),
        ("description", 3, FieldShape::Text),
        ("required", 4, FieldShape::Bool),
        ("schema", 10, FieldShape::OrReference(&[], &SCHEMA)),
    ],
    extensions: 14,
};

static REQUEST_BODY: MessageType = MessageType {
    fields: &[
        ("description", 1, FieldShape::Text),
        ("content", 2, FieldShape::Named(1, &[], &MEDIA)),
        ("required", 3, FieldShape::Bool),
    ],
    extensions: 4,
};

static RESPONSE: MessageType = MessageType {
    fields: &[
        ("description", 1, FieldShape::Text),
        ("content", 3, FieldShape::Named(1, &[], &MEDIA)),
    ],
    extensions: 5,
};

static MEDIA: MessageType = MessageType {
    fields: &[("schema", 1, FieldShape::OrReference(&[], &SCHEMA))],
    extensions: 5,
};

static SCHEMA: MessageType = MessageType {
    fields: &[
        ("nullable", 1, FieldShape::Bool),
        ("example", 7, FieldShape::Any),
        ("title", 9, FieldShape::Text),
        ("multipleOf", 10, FieldShape::Number),
        ("maximum", 11, FieldShape::Number),
        ("exclusiveMaximum", 12, FieldShape::Bool),
        ("minimum", 13, FieldShape::Number),
        ("exclusiveMinimum", 14, FieldShape::Bool),
        ("maxLength", 15, FieldShape::Integer),
        ("minLength", 16, FieldShape::Integer),
        ("pattern", 17, FieldShape::Text),
        ("maxItems", 18, FieldShape::Integer),
        ("minItems", 19, FieldShape::Integer),
        ("uniqueItems", 20, FieldShape::Bool),
        ("maxProperties", 21, FieldShape::Integer),
        ("minProperties", 22, FieldShape::Integer),
        ("required", 23, FieldShape::Texts),
        ("enum", 24, FieldShape::Anys),
        ("type", 25, FieldShape::Text),
        ("allOf", 26, FieldShape::ManyOrReference(&SCHEMA)),
        ("oneOf", 27, FieldShape::ManyOrReference(&SCHEMA)),
        ("anyOf", 28, FieldShape::ManyOrReference(&SCHEMA)),
        ("not", 29, FieldShape::One(&[], &SCHEMA)),
        ("items", 30, FieldShape::OrReference(&[1], &SCHEMA)),
        ("properties", 31, FieldShape::NamedOrReference(1, &SCHEMA)),
        (
            "additionalProperties",
            32,
            FieldShape::ReferenceOrBool(&SCHEMA),
        ),
        ("default", 33, FieldShape::Scalar),
        ("description", 34, FieldShape::Text),
        ("format", 35, FieldShape::Text),
    ],
    extensions: 36,
};

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    #[test]
    fn encoding_follows_the_schema() {
        let document = json!({"openapi": "3.0.0", "components": {"schemas": {
            "a": {"type": "array", "items": {"$ref": "b"}, "default": true}}}});
        // Field 25, the type; 30, items of one reference; 33, a boolean default.
        let schema = b"\xca\x01\x05array\xf2\x01\x07\x0a\x05\x12\x03\x0a\x01b\x8a\x02\x02\x10\x01";
        let mut expected =
            b"\x0a\x053.0.0\x2a\x22\x0a\x20\x0a\x1e\x0a\x01a\x12\x19\x0a\x17".to_vec();
        expected.extend_from_slice(schema);
        assert_eq!(encode(&document), expected);
    }

    /// Returns the names of members for which a message has no field.
    fn unknown(tree: &Tree, kind: &MessageType, found: &mut Vec<String>) {
        if tree.get("$ref").is_some() {
            return;
        }
        for (name, value) in tree.as_object().into_iter().flatten() {
            let Some((_, _, form)) = kind.fields.iter().find(|(known, _, _)| known == name) else {
                if !name.starts_with("x-") {
                    found.push(name.to_string());
                }
                continue;
            };
            match form {
                FieldShape::One(_, kind)
                | FieldShape::OrReference(_, kind)
                | FieldShape::ReferenceOrBool(kind) => unknown(value, kind, found),
                FieldShape::ManyOrReference(kind) => value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .for_each(|item| unknown(item, kind, found)),
                FieldShape::Named(_, _, kind) | FieldShape::NamedOrReference(_, kind) => value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .for_each(|(_, item)| unknown(item, kind, found)),
                _ => {}
            }
        }
    }

    #[test]
    fn every_member_of_our_documents_has_a_field() {
        let rows: Vec<registry::ResourceRef> = kinds::resources()
            .iter()
            .map(registry::ResourceRef::from)
            .collect();
        for name in ["api/v1", "apis/apiextensions.k8s.io/v1"] {
            let document = super::super::super::document(&rows, name).expect("a document");
            let mut found = Vec::new();
            unknown(&document, &DOCUMENT, &mut found);
            assert_eq!(found, Vec::<String>::new(), "{name}");
        }
    }
}
