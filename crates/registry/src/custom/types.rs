//! Types of the table for custom kinds: a small one for the codecs, which knows only what every
//! object has, and one by which fields are owned under apply.

use kinds::facts::{Field, ListType, Lookup, Shape, Type};

use super::schema::{Additional, Kind, ListKind, Schema};
use super::{leak, leak_all};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn own_fields() -> Vec<Field> {
    let mut fields = vec![
        Field {
            name: "apiVersion",
            ..Field::BLANK
        },
        Field {
            name: "kind",
            ..Field::BLANK
        },
    ];
    if let Some(meta) = kinds::type_named(META) {
        fields.push(Field {
            name: "metadata",
            shape: Shape::Object(meta),
            always: true,
            ..Field::BLANK
        });
    }
    fields
}

fn build(name: &'static str, fields: Vec<Field>, atomic: bool) -> &'static Type {
    Box::leak(Box::new(Type {
        name,
        fields: fields.leak(),
        lookup: Lookup::new(),
        atomic,
    }))
}

/// The type with which objects are written: their metadata in the order of the wire, before all
/// that a user can nest. The rest has no type and follows as it is.
pub(super) fn codec(name: &'static str) -> &'static Type {
    build(name, own_fields(), false)
}

/// The type by which an object's fields are owned; none when the schema leaves the root open.
pub(super) fn owned(schema: &Schema, name: &'static str) -> Option<&'static Type> {
    if schema.preserve {
        return None;
    }
    let mut fields = own_fields();
    fields.extend(
        schema
            .properties
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"))
            .map(field),
    );
    Some(build(name, fields, false))
}

fn field((name, schema): (&String, &Schema)) -> Field {
    Field {
        name: leak(name),
        shape: shape(schema),
        optional: true,
        list: match schema.list {
            ListKind::Atomic => ListType::Atomic,
            ListKind::Set => ListType::Set,
            ListKind::Map => ListType::Map,
        },
        keys: leak_all(schema.keys.iter().map(String::as_str)),
        atomic: schema.atomic,
        default: schema
            .default
            .as_ref()
            .map_or("", |default| leak(&default.to_string())),
        ..Field::BLANK
    }
}

fn shape(schema: &Schema) -> Shape {
    static ANY: Shape = Shape::Any;
    match schema.kind {
        Kind::Any => Shape::Any,
        Kind::String => Shape::String,
        Kind::Integer => Shape::Int64,
        Kind::Number => Shape::Float64,
        Kind::Boolean => Shape::Bool,
        Kind::IntOrString => Shape::IntOrString,
        Kind::Array => Shape::List(
            schema
                .items
                .as_ref()
                .map_or(&ANY, |items| Box::leak(Box::new(shape(items)))),
        ),
        Kind::Object => match &schema.additional {
            Additional::Each(each) => Shape::Map(Box::leak(Box::new(shape(each)))),
            Additional::None if !schema.preserve => {
                let mut fields = if schema.embedded {
                    own_fields()
                } else {
                    Vec::new()
                };
                let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
                let rest: Vec<Field> = schema
                    .properties
                    .iter()
                    .filter(|(name, _)| !known.contains(&name.as_str()))
                    .map(field)
                    .collect();
                fields.extend(rest);
                Shape::Object(build("", fields, schema.atomic))
            }
            // Members that no schema describes are owned one by one, each as a whole.
            Additional::Any | Additional::None => Shape::Map(&ANY),
        },
    }
}
