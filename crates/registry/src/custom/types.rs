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

/// Returns the type for server-side apply. Returns `None` when the root of the schema preserves
/// unknown fields.
pub(super) fn owned(schema: &Schema) -> Option<CustomType> {
    (!schema.preserve).then(|| CustomType::new(with_own_fields(schema), false))
}

/// Returns the fields that every object has, followed by those of the schema.
fn with_own_fields(schema: &Schema) -> Vec<CustomField> {
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
            .map(field),
    );
    fields
}

fn field((name, schema): (&String, &Schema)) -> CustomField {
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
        ..CustomField::new(name, shape(schema))
    }
}

fn shape(schema: &Schema) -> CustomShape {
    let scalar = match schema.kind {
        Kind::Any => Shape::Any,
        Kind::String => Shape::String,
        Kind::Integer => Shape::Int64,
        Kind::Number => Shape::Float64,
        Kind::Boolean => Shape::Bool,
        Kind::IntOrString => Shape::IntOrString,
        Kind::Array => {
            let item = schema.items.as_deref().map_or(any(), shape);
            return CustomShape::List(Box::new(item));
        }
        Kind::Object => return object(schema),
    };
    CustomShape::BuiltIn(scalar)
}

fn any() -> CustomShape {
    CustomShape::BuiltIn(Shape::Any)
}

fn object(schema: &Schema) -> CustomShape {
    match &schema.additional {
        Additional::Each(each) => CustomShape::Map(Box::new(shape(each))),
        Additional::None if !schema.preserve => {
            let fields = if schema.embedded {
                with_own_fields(schema)
            } else {
                schema.properties.iter().map(field).collect()
            };
            CustomShape::Object(CustomType::new(fields, schema.atomic))
        }
        // Managers own undeclared members one by one, each as a whole.
        Additional::Any | Additional::None => CustomShape::Map(Box::new(any())),
    }
}
