//! Types for server-side apply of custom kinds, built from their schemas.

use kinds::CUSTOM_OBJECT;
use kinds::apply::{CustomField, CustomShape, CustomType};
use kinds::facts::{ListType, Shape};

use crate::schema::{Additional, Kind, ListKind, Schema};

/// Returns the fields that every object has, as `CUSTOM_OBJECT` declares them.
fn own_fields() -> Vec<CustomField> {
    CUSTOM_OBJECT
        .fields
        .iter()
        .map(|field| CustomField {
            always: field.always,
            ..CustomField::new(field.name, CustomShape::BuiltIn(field.shape))
        })
        .collect()
}

/// Returns the type for server-side apply.
pub(super) fn owned(schema: &Schema) -> CustomType {
    let ty = CustomType::new(with_own_fields(schema, schema.preserve), false);
    if schema.preserve || schema.properties.is_empty() {
        ty.with_rest(CustomShape::Deduced)
    } else {
        ty
    }
}

/// Returns the fields that every object has, followed by those of the schema.
fn with_own_fields(schema: &Schema, preserve: bool) -> Vec<CustomField> {
    let mut fields = own_fields();
    let own: Vec<&str> = CUSTOM_OBJECT
        .fields
        .iter()
        .map(|field| field.name)
        .collect();
    let declared = schema.properties.iter();
    fields.extend(
        declared
            .filter(|(name, _)| !own.contains(&name.as_str()))
            .map(|(name, schema)| field(name, schema, preserve)),
    );
    fields
}

fn field(name: &str, schema: &Schema, preserve: bool) -> CustomField {
    CustomField {
        list: match schema.list {
            ListKind::Atomic => ListType::Atomic,
            ListKind::Set => ListType::Set,
            ListKind::Map => ListType::Map,
        },
        keys: schema.keys.iter().map(Into::into).collect(),
        atomic: schema.atomic,
        default: schema
            .default
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        ..CustomField::new(name, shape(schema, preserve))
    }
}

/// Returns the type of a value. `preserve`: a schema around this one preserves unknown members,
/// which upstream takes for a property of everything below it.
fn shape(schema: &Schema, preserve: bool) -> CustomShape {
    let preserve = preserve || schema.preserve;
    let scalar = match schema.kind {
        Kind::Any if schema.properties.is_empty() => return CustomShape::Deduced,
        Kind::Any => {
            let ty = CustomType::new(fields(schema, true), schema.atomic);
            return CustomShape::Object(ty.with_rest(CustomShape::Deduced).untyped());
        }
        Kind::String => Shape::String,
        Kind::Integer => Shape::Int64,
        Kind::Number => Shape::Float64,
        Kind::Boolean => Shape::Bool,
        Kind::IntOrString => Shape::IntOrString,
        Kind::Array => {
            let item = schema
                .items
                .as_deref()
                .map_or(CustomShape::Deduced, |items| shape(items, preserve));
            return CustomShape::List(Box::new(item));
        }
        Kind::Object => return object(schema, preserve),
    };
    CustomShape::BuiltIn(scalar)
}

fn fields(schema: &Schema, preserve: bool) -> Vec<CustomField> {
    if schema.embedded {
        return with_own_fields(schema, preserve);
    }
    let declared = schema.properties.iter();
    declared
        .map(|(name, schema)| field(name, schema, preserve))
        .collect()
}

fn object(schema: &Schema, preserve: bool) -> CustomShape {
    let rest = match &schema.additional {
        Additional::Each(each) => Some(shape(each, preserve)),
        Additional::Any => Some(CustomShape::Deduced),
        // An object without any declaration is free-form.
        Additional::None if preserve || schema.properties.is_empty() => Some(CustomShape::Deduced),
        Additional::None => None,
    };
    match rest {
        Some(each) if matches!(schema.additional, Additional::Each(_)) && !schema.atomic => {
            CustomShape::Map(Box::new(each))
        }
        rest => {
            let ty = CustomType::new(fields(schema, preserve), schema.atomic);
            CustomShape::Object(match rest {
                Some(rest) => ty.with_rest(rest),
                None => ty,
            })
        }
    }
}
