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

/// The schema of patches, which have no type.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const FIELDS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1";

/// Returns the schemas that are not types of the field table.
pub(super) fn untyped(texts: &Descriptions) -> Map {
    let own = [
        (
            PATCH,
            "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.",
        ),
        (
            FIELDS,
            "A set of fields as paths, which the server writes and clients need not read.",
        ),
    ];
    own.into_iter()
        .map(|(name, text)| {
            let text = texts.of_type(name).unwrap_or(text);
            let schema = json!({"type": "object", "description": text});
            (name.to_owned(), schema)
        })
        .collect()
}

fn property(field: &'static Field, style: Style) -> Tree {
    let mut schema = match field.name {
        "fieldsV1" => style.reference(FIELDS),
        _ => of_shape(field.shape, style),
    };
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
pub(super) fn list(row: &ResourceRef, style: Style, texts: &Descriptions) -> Tree {
    let kind = format!("{}List", row.kind);
    let items = json!({"type": "array", "items": style.reference(type_name(row))});
    let mut properties = json!({
        "apiVersion": own_text(texts, "apiVersion"), "kind": own_text(texts, "kind"),
        "items": items,
        "metadata": style.reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"),
    });
    let mut found = json!({
        "type": "object",
        "required": ["items"],
        "x-kubernetes-group-version-kind": [{"group": row.group, "version": row.version,
            "kind": kind}],
    });
    if row.is_custom() {
        found["description"] = json!(format!("{kind} is a list of {}", row.kind));
        properties["items"]["description"] =
            json!(format!("List of {}. More info: {CONVENTIONS}", row.plural));
        let text = format!("Standard list metadata. More info: {CONVENTIONS}#types-kinds");
        extend(
            &mut properties["metadata"],
            style,
            "description",
            json!(text),
        );
    }
    found["properties"] = properties;
    found
}

const CONVENTIONS: &str =
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
/// A type whose fields describe what every object has.
const EXAMPLE: &str = "io.k8s.api.core.v1.Pod";

/// Returns the schema of `apiVersion` or `kind`.
fn own_text(texts: &Descriptions, name: &str) -> Tree {
    let mut schema = json!({"type": "string"});
    if let Some(text) = texts.of_field(EXAMPLE, name) {
        schema["description"] = json!(text);
    }
    schema
}

/// The name of the schema of a resource's objects.
pub(super) fn type_name(row: &ResourceRef) -> &str {
    row.custom()
        .map_or(row.ty.name, |version| version.type_name())
}

/// Returns the name and the schema of a custom resource, from its definition; `None` for built-in
/// resources.
pub(super) fn of_custom(
    row: &ResourceRef,
    style: Style,
    texts: &Descriptions,
) -> Option<(String, Tree)> {
    let version = row.custom()?;
    let mut schema = version.schema().clone();
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    let is_open = schema
        .get(PRESERVE)
        .and_then(Tree::as_bool)
        .unwrap_or_default();
    if style == Style::V2 {
        only_v2(&mut schema);
        if is_open {
            schema = json!({"type": "object"});
        }
    }
    embed(&mut schema, style, texts);
    // With own properties alone, clients would take all others of an open schema for wrong.
    if !(style == Style::V2 && is_open) {
        add_own(&mut schema, style, texts);
    }
    schema["x-kubernetes-group-version-kind"] =
        json!([{"group": row.group, "version": row.version, "kind": row.kind}]);
    let selectable: Vec<Tree> = version
        .selectable_fields()
        .map(|path| json!({"fieldPath": path}))
        .collect();
    if style == Style::V3 && !selectable.is_empty() {
        schema["x-kubernetes-selectable-fields"] = Tree::from(selectable);
    }
    Some((version.type_name().to_owned(), schema))
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// Adds the properties that every object has.
fn add_own(schema: &mut Tree, style: Style, texts: &Descriptions) {
    let mut metadata = style.reference("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    if let Some(text) = texts.of_field(EXAMPLE, "metadata") {
        extend(&mut metadata, style, "description", json!(text));
    }
    for (name, property) in [
        ("apiVersion", own_text(texts, "apiVersion")),
        ("kind", own_text(texts, "kind")),
        ("metadata", metadata),
    ] {
        schema["properties"][name] = property;
    }
}

/// Adds these properties to the objects inside of objects that have them.
fn embed(schema: &mut Tree, style: Style, texts: &Descriptions) {
    if let Some(Tree::Object(properties)) = schema.get_mut("properties") {
        for inner in properties.values_mut() {
            embed(inner, style, texts);
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(name) {
            embed(inner, style, texts);
        }
    }
    let flag = |name: &str| schema.get(name).and_then(Tree::as_bool) == Some(true);
    if !flag("x-kubernetes-embedded-resource") || (style == Style::V2 && flag(PRESERVE)) {
        return;
    }
    add_own(schema, style, texts);
    let mut required: Vec<Tree> = schema
        .get("required")
        .and_then(Tree::as_array)
        .map(|names| names.to_vec())
        .unwrap_or_default();
    for name in ["kind", "apiVersion"] {
        if !required.contains(&Tree::from(name)) {
            required.push(name.into());
        }
    }
    schema["required"] = Tree::from(required);
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
