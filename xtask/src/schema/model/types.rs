//! Types with their fields in wire order, from the OpenAPI definitions and the protobuf messages.
//!
//! The order of fields in a protobuf definition is that of the Go structure, which is the order on
//! the wire. A structure that Go embeds is one message in protobuf and shows its fields inline in
//! JSON: such fields carry the numbers of the messages around them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::{FieldModel, ShapeModel, TypeModel};
use crate::schema::facts::{DefinitionFacts, FieldFacts, MessageFacts, ProtoField, SchemaFacts};

/// A JSON field's place in protobuf.
struct WirePosition {
    number: u32,
    within: Vec<u32>,
    /// Position on the wire.
    order: usize,
}

/// The types that `roots` reach, sorted by name.
pub(super) fn build(facts: &SchemaFacts, roots: Vec<String>) -> Result<Vec<TypeModel>> {
    let mut open = roots;
    let mut done: BTreeMap<String, TypeModel> = BTreeMap::new();
    while let Some(name) = open.pop() {
        if done.contains_key(&name) {
            continue;
        }
        let built = match facts.definitions.get(&name) {
            Some(definition) => from_definition(facts, &name, definition)?,
            None => from_message(facts, &name)?,
        };
        for field in &built.fields {
            referenced(&field.shape, &mut open);
        }
        done.insert(name, built);
    }
    Ok(done.into_values().collect())
}

fn referenced(shape: &ShapeModel, open: &mut Vec<String>) {
    match shape {
        ShapeModel::Plain(_) => {}
        ShapeModel::Of(_, name) => open.push(name.clone()),
        ShapeModel::List(inner) | ShapeModel::Map(inner) => referenced(inner, open),
    }
}

/// `io.k8s.api.core.v1.Pod` is `k8s.io.api.core.v1.Pod` in protobuf.
fn protobuf_name(name: &str) -> String {
    name.replacen("io.k8s.", "k8s.io.", 1)
        .replace("apiextensions-apiserver", "apiextensions_apiserver")
        .replace("kube-aggregator", "kube_aggregator")
}

fn openapi_name(name: &str) -> String {
    name.replacen("k8s.io.", "io.k8s.", 1)
        .replace("apiextensions_apiserver", "apiextensions-apiserver")
        .replace("kube_aggregator", "kube-aggregator")
}

/// The full name of a type that a message of `package` mentions.
fn full_name(package: &str, kind: &str) -> String {
    if kind.contains('.') {
        kind.trim_start_matches('.').to_owned()
    } else {
        format!("{package}.{kind}")
    }
}

fn package_of(message: &str) -> &str {
    message.rsplit_once('.').map_or("", |(package, _)| package)
}

fn from_definition(
    facts: &SchemaFacts,
    name: &str,
    definition: &DefinitionFacts,
) -> Result<TypeModel> {
    let empty = BTreeMap::new();
    let fields = match (&definition.fields, definition.kind.as_deref()) {
        (Some(fields), _) => fields,
        (None, Some("object")) => &empty,
        _ => bail!("{name} is not a structure"),
    };
    let places = places(facts, &protobuf_name(name), fields)?;
    let no_tags = BTreeMap::new();
    let tags = facts.tags.get(name).unwrap_or(&no_tags);
    if let Some(stray) = tags.keys().find(|field| !fields.contains_key(*field)) {
        bail!("tags.json knows a field {name}.{stray} that does not exist");
    }
    let mut built: Vec<(usize, FieldModel)> = Vec::new();
    for (field, known) in fields {
        let place = places.get(field);
        let order = match (place, field.as_str()) {
            (Some(place), _) => place.order + 2,
            // Kind and version are not in the message: the envelope has them. They stand first.
            (None, "kind") => 0,
            (None, "apiVersion") => 1,
            _ => bail!("protobuf does not know {name}.{field}"),
        };
        let shape = shape(facts, known).with_context(|| format!("{name}.{field}"))?;
        let tag = tags
            .get(field)
            .map_or_else(|| rule(definition, field, known, place), String::as_str);
        built.push((
            order,
            field_model(facts, definition, (field, known), place, shape, tag),
        ));
    }
    built.sort_by_key(|(order, _)| *order);
    Ok(TypeModel {
        name: name.to_owned(),
        fields: built.into_iter().map(|(_, field)| field).collect(),
        atomic: definition.map_type.as_deref() == Some("atomic"),
    })
}

fn field_model(
    facts: &SchemaFacts,
    definition: &DefinitionFacts,
    (name, known): (&str, &FieldFacts),
    place: Option<&WirePosition>,
    shape: ShapeModel,
    tag: &str,
) -> FieldModel {
    let (pointer, omitted, unless_zero) = (tag.contains('p'), tag.contains('e'), tag.contains('z'));
    // Go never omits an empty structure that is not behind a pointer, whatever its tag says.
    let structure = matches!(
        &shape,
        ShapeModel::Of(..)
            | ShapeModel::Plain("Time" | "MicroTime" | "Quantity" | "IntOrString" | "Any")
    );
    let refers_to_atomic = known
        .reference
        .as_ref()
        .and_then(|name| facts.definitions.get(name))
        .is_some_and(is_atomic);
    FieldModel {
        number: place.map_or(0, |place| place.number),
        within: place.map(|place| place.within.clone()).unwrap_or_default(),
        required: definition.required.iter().any(|required| required == name),
        always: !unless_zero && (!omitted || (structure && !pointer)),
        optional: pointer,
        list: known.list.clone(),
        keys: known.keys.clone(),
        atomic: known.map_type.as_deref() == Some("atomic") || refers_to_atomic,
        patch: known
            .patch
            .iter()
            .flat_map(|list| list.split(','))
            .map(str::to_owned)
            .collect(),
        merge_key: known.merge_key.clone().unwrap_or_default(),
        default: known
            .default
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        ..blank(name, shape)
    }
}

fn is_atomic(definition: &DefinitionFacts) -> bool {
    definition.map_type.as_deref() == Some("atomic")
}

/// How Go normally declares a field (`p`: behind a pointer, `e`: omitted when empty, `z`: also a
/// structure that is zero).
fn rule(
    definition: &DefinitionFacts,
    name: &str,
    known: &FieldFacts,
    place: Option<&WirePosition>,
) -> &'static str {
    if place.is_none() || name == "metadata" {
        return "e";
    }
    if definition.required.iter().any(|required| required == name) {
        return "";
    }
    let state = !definition.gvk.is_empty() && matches!(name, "spec" | "status");
    let may_be_empty =
        known.array.is_some() || known.map.is_some() || known.kind.as_deref() == Some("string");
    if state || may_be_empty { "e" } else { "pe" }
}

fn shape(facts: &SchemaFacts, known: &FieldFacts) -> Result<ShapeModel> {
    if let Some(inner) = &known.array {
        return Ok(ShapeModel::List(Box::new(shape(facts, inner)?)));
    }
    if let Some(inner) = &known.map {
        return Ok(ShapeModel::Map(Box::new(shape(facts, inner)?)));
    }
    if let Some(name) = &known.reference {
        return reference(facts, name);
    }
    Ok(ShapeModel::Plain(
        match (known.kind.as_deref(), known.format.as_deref()) {
            (Some("string"), None) => "String",
            (Some("string"), Some("byte")) => "Bytes",
            (Some("boolean"), None) => "Bool",
            (Some("integer"), Some("int32")) => "Int32",
            (Some("integer"), Some("int64")) => "Int64",
            (Some("number"), Some("double")) => "Float64",
            (kind, format) => bail!("unknown type {kind:?} {format:?}"),
        },
    ))
}

fn reference(facts: &SchemaFacts, name: &str) -> Result<ShapeModel> {
    let plain = match name.rsplit('.').next().unwrap_or(name) {
        "Time" => "Time",
        "MicroTime" => "MicroTime",
        "Quantity" => "Quantity",
        "IntOrString" => "IntOrString",
        "RawExtension" | "JSON" | "FieldsV1" => "Any",
        "JSONSchemaPropsOrBool" => return Ok(schema_or("ObjectOrBool", name, "OrBool")),
        "JSONSchemaPropsOrArray" => return Ok(schema_or("ObjectOrList", name, "OrArray")),
        "JSONSchemaPropsOrStringArray" => {
            return Ok(schema_or("ObjectOrStrings", name, "OrStringArray"));
        }
        _ if facts.definitions.contains_key(name) => {
            return Ok(ShapeModel::Of("Object", name.to_owned()));
        }
        _ => bail!("{name} is not defined"),
    };
    Ok(ShapeModel::Plain(plain))
}

fn schema_or(variant: &'static str, name: &str, ending: &str) -> ShapeModel {
    ShapeModel::Of(variant, name.trim_end_matches(ending).to_owned())
}

/// Where each JSON field of a definition lies in its message.
fn places(
    facts: &SchemaFacts,
    message: &str,
    fields: &BTreeMap<String, FieldFacts>,
) -> Result<BTreeMap<String, WirePosition>> {
    let mut places = BTreeMap::new();
    let mut order = 0;
    collect(facts, message, fields, &[], &mut order, &mut places)?;
    Ok(places)
}

fn collect(
    facts: &SchemaFacts,
    message: &str,
    fields: &BTreeMap<String, FieldFacts>,
    within: &[u32],
    order: &mut usize,
    places: &mut BTreeMap<String, WirePosition>,
) -> Result<()> {
    let Some(MessageFacts(known)) = facts.messages.get(message) else {
        bail!("there is no protobuf message {message}")
    };
    for (name, field) in known {
        *order += 1;
        let same = || fields.keys().find(|json| *json == name);
        let alike = || fields.keys().find(|json| plain(json) == plain(name));
        if let Some(json) = same().or_else(alike) {
            let place = match list_in_message(facts, message, field)
                .filter(|_| fields[json].array.is_some())
            {
                Some(items) => WirePosition {
                    number: items,
                    within: [within, &[field.number]].concat(),
                    order: *order,
                },
                None => WirePosition {
                    number: field.number,
                    within: within.to_vec(),
                    order: *order,
                },
            };
            places.insert(json.clone(), place);
            continue;
        }
        let inner = full_name(package_of(message), &field.kind);
        if field.repeated || !facts.messages.contains_key(&inner) {
            bail!("{message}.{name} is in no JSON definition");
        }
        let mut deeper = within.to_vec();
        deeper.push(field.number);
        collect(facts, &inner, fields, &deeper, order, places)?;
    }
    Ok(())
}

/// The number of the items when a list of JSON is a message that holds a list (`Verbs`).
fn list_in_message(facts: &SchemaFacts, message: &str, field: &ProtoField) -> Option<u32> {
    match facts
        .messages
        .get(&full_name(package_of(message), &field.kind))?
        .0
        .as_slice()
    {
        [(name, items)] if !field.repeated && name == "items" && items.repeated => {
            Some(items.number)
        }
        _ => None,
    }
}

/// A name without the marks that protobuf cannot write, `$ref` and `x-kubernetes-list-type` too.
fn plain(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

/// A type that only protobuf knows (options of connections and of requests).
fn from_message(facts: &SchemaFacts, name: &str) -> Result<TypeModel> {
    let message = protobuf_name(name);
    let Some(MessageFacts(known)) = facts.messages.get(&message) else {
        bail!("nobody knows the type {name}")
    };
    let mut fields = vec![
        blank("kind", ShapeModel::Plain("String")),
        blank("apiVersion", ShapeModel::Plain("String")),
    ];
    for (name, field) in known {
        let shape = message_shape(facts, package_of(&message), field)?;
        let metadata = name == "metadata";
        // Of these types the wire only ever shows what is set.
        fields.push(FieldModel {
            number: field.number,
            always: metadata,
            optional: !metadata,
            ..blank(name, shape)
        });
    }
    Ok(TypeModel {
        name: name.to_owned(),
        fields,
        atomic: false,
    })
}

fn blank(name: &str, shape: ShapeModel) -> FieldModel {
    FieldModel {
        name: name.to_owned(),
        number: 0,
        within: Vec::new(),
        shape,
        required: false,
        always: false,
        optional: false,
        list: None,
        keys: Vec::new(),
        atomic: false,
        patch: Vec::new(),
        merge_key: String::new(),
        default: String::new(),
    }
}

fn message_shape(facts: &SchemaFacts, package: &str, field: &ProtoField) -> Result<ShapeModel> {
    let single = match field.kind.as_str() {
        "string" => ShapeModel::Plain("String"),
        "bool" => ShapeModel::Plain("Bool"),
        "int32" => ShapeModel::Plain("Int32"),
        "int64" => ShapeModel::Plain("Int64"),
        kind => {
            let name = openapi_name(&full_name(package, kind));
            if facts.resources.protobuf_only.contains(&name) {
                ShapeModel::Of("Object", name)
            } else {
                reference(facts, &name)?
            }
        }
    };
    Ok(if field.repeated {
        ShapeModel::List(Box::new(single))
    } else {
        single
    })
}
