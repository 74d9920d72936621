//! OpenAPI schemas of the types of the field table.

use kinds::Tree;
use kinds::facts::{Field, ListType, Shape, Type};
use kinds::tree::{Map, json};
use registry::ResourceRef;

use super::descriptions::Descriptions;

/// Version of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `#/definitions/…`
    V2,
    /// `#/components/schemas/…`
    V3,
}

impl Style {
    pub(super) fn reference(self, name: &str) -> Tree {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// Returns the type of the elements of a shape, at any depth.
pub(super) fn structure(shape: Shape) -> Option<&'static Type> {
    match shape {
        Shape::Object(ty)
        | Shape::ObjectOrBool(ty)
        | Shape::ObjectOrList(ty)
        | Shape::ObjectOrStrings(ty) => Some(ty),
        Shape::List(item) | Shape::Map(item) => structure(*item),
        _ => None,
    }
}

/// Returns the schema of a type.
pub(crate) fn of_type(ty: &'static Type, style: Style, texts: &Descriptions) -> Tree {
    let described = |field: &'static Field| {
        let mut schema = property(field, style);
        if let Some(text) = texts.of_field(ty.name, field.name) {
            extend(&mut schema, style, "description", json!(text));
        }
        (field.name.to_owned(), schema)
    };
    let properties: Map = ty.fields.iter().map(described).collect();
    let mut schema = json!({"type": "object"});
    if let Some(text) = texts.of_type(ty.name) {
        schema["description"] = json!(text);
    }
    if !properties.is_empty() {
        schema["properties"] = Tree::Object(properties);
    }
    let required: Vec<&str> = ty
        .fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    let kinds = group_version_kinds(ty);
    if !kinds.is_empty() {
        schema["x-kubernetes-group-version-kind"] = Tree::from(kinds);
    }
    schema
}

fn group_version_kinds(ty: &'static Type) -> Vec<Tree> {
    let mut found: Vec<Tree> = Vec::new();
    let mut add = |group: &str, version: &str, kind: &str| {
        let kind = json!({"group": group, "version": version, "kind": kind});
        if !found.contains(&kind) {
            found.push(kind);
        }
    };
    for row in kinds::resources() {
        if std::ptr::eq(row.ty, ty) {
            add(&row.group, &row.version, &row.kind);
        }
        for sub in row
            .subresources
            .iter()
            .filter(|sub| std::ptr::eq(sub.ty, ty))
        {
            add(&sub.group, &sub.version, &sub.kind);
        }
    }
    found
}

fn property(field: &'static Field, style: Style) -> Tree {
    let mut schema = of_shape(field.shape, style);
    let mut extend = |name: &str, value: Tree| extend(&mut schema, style, name, value);
    if let Ok(default) = serde_json::from_str::<Tree>(field.default) {
        extend("default", default);
    }
    let list = matches!(field.shape, Shape::List(_));
    if list {
        let kind = match field.list {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        extend("x-kubernetes-list-type", json!(kind));
    } else if field.atomic {
        extend("x-kubernetes-map-type", json!("atomic"));
    }
    if !field.keys.is_empty() {
        extend("x-kubernetes-list-map-keys", json!(field.keys));
    }
    let strategies = [
        (field.patch.merge, "merge"),
        (field.patch.replace, "replace"),
        (field.patch.retain_keys, "retainKeys"),
    ];
    let strategies: Vec<&str> = strategies
        .into_iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| name)
        .collect();
    if !strategies.is_empty() {
        extend("x-kubernetes-patch-strategy", json!(strategies.join(",")));
    }
    if !field.merge_key.is_empty() {
        extend("x-kubernetes-patch-merge-key", json!(field.merge_key));
    }
    schema
}

/// Version 3 ignores siblings of a reference, so the reference is wrapped.
fn extend(schema: &mut Tree, style: Style, name: &str, value: Tree) {
    if style == Style::V3 && schema.get("$ref").is_some() {
        *schema = json!({"allOf": [schema.take()]});
    }
    schema[name] = value;
}

fn of_shape(shape: Shape, style: Style) -> Tree {
    match shape {
        Shape::String | Shape::Duration => json!({"type": "string"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Float64 => json!({"type": "number", "format": "double"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Time | Shape::MicroTime => json!({"type": "string", "format": "date-time"}),
        Shape::Quantity if style == Style::V3 => {
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]})
        }
        Shape::Quantity => json!({"type": "string"}),
        Shape::IntOrString if style == Style::V3 => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Shape::IntOrString => json!({"type": "string", "format": "int-or-string"}),
        Shape::Any => json!({"type": "object"}),
        // Version 2 cannot express a choice of types, so both versions leave the type open.
        Shape::ObjectOrBool(_) | Shape::ObjectOrList(_) | Shape::ObjectOrStrings(_) => json!({}),
        Shape::Object(ty) => style.reference(ty.name),
        Shape::List(item) => json!({"type": "array", "items": of_shape(*item, style)}),
        Shape::Map(item) => {
            json!({"type": "object", "additionalProperties": of_shape(*item, style)})
        }
    }
}

/// Returns the schema name of the list of a resource.
pub(super) fn list_name(row: &ResourceRef) -> String {
    format!("{}List", type_name(row))
}

/// Returns the schema of the list of a resource.
pub(super) fn list(row: &ResourceRef, style: Style) -> Tree {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text, "kind": text,
            "items": {"type": "array", "items": style.reference(type_name(row))},
            "metadata": style.reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"),
        },
        "x-kubernetes-group-version-kind": [{"group": row.group, "version": row.version,
            "kind": format!("{}List", row.kind)}],
    })
}

/// The name of the schema of a resource's objects.
pub(super) fn type_name(row: &ResourceRef) -> &str {
    row.custom()
        .map_or(row.ty.name, |version| version.type_name())
}

/// Returns the name and the schema of a custom resource, from its definition; `None` for built-in
/// resources.
pub(super) fn of_custom(row: &ResourceRef, style: Style) -> Option<(String, Tree)> {
    let version = row.custom()?;
    let mut schema = version.schema().clone();
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    if style == Style::V2 {
        only_v2(&mut schema);
    }
    let own = [
        (
            "apiVersion",
            json!({"type": "string", "description": "The version of the schema of this object."}),
        ),
        (
            "kind",
            json!({"type": "string", "description": "The kind of this object."}),
        ),
        (
            "metadata",
            style.reference("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"),
        ),
    ];
    for (name, property) in own {
        schema["properties"][name] = property;
    }
    schema["x-kubernetes-group-version-kind"] =
        json!([{"group": row.group, "version": row.version, "kind": row.kind}]);
    Some((version.type_name().to_owned(), schema))
}

/// Removes what version 2 cannot express.
fn only_v2(schema: &mut Tree) {
    let Tree::Object(members) = schema else {
        return;
    };
    for name in ["oneOf", "anyOf", "not", "nullable"] {
        members.remove(name);
    }
    // Version 2 cannot express that unknown members are kept, so nothing is said about members.
    if members
        .get("x-kubernetes-preserve-unknown-fields")
        .and_then(Tree::as_bool)
        == Some(true)
    {
        for name in ["properties", "items", "type"] {
            members.remove(name);
        }
    }
    if let Some(Tree::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(only_v2);
    }
    for name in ["items", "additionalProperties"] {
        members.get_mut(name).into_iter().for_each(only_v2);
    }
}
