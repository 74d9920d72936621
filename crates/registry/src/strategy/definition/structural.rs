//! Validation of structural schemas.
//!
//! In a structural schema every value has exactly one type, combinations (`allOf`, `anyOf`,
//! `oneOf`, `not`) only restrict what is specified outside of them, and defaults match their
//! schema.

use std::collections::BTreeSet;

use kinds::Tree;
use kinds::status::FieldError;

use super::super::checks::Faults;
use super::super::meta::invalid_text;
use super::super::path::Path;
use super::sorted;
use crate::schema::{self, Schema};
use crate::tree::{at, flag, list, text};

/// Position of a schema within its parent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Field,
    Item,
    Entry,
}

/// Validates the schema of one version.
pub(super) fn validate(schema: &Tree, path: &Path<'_>, faults: &mut Faults) {
    value(schema, Place::Root, path, faults);
}

fn value(schema: &Tree, place: Place, path: &Path<'_>, faults: &mut Faults) {
    check_type(schema, place, path, faults);
    check_extensions(schema, path, faults);
    check_forbidden(schema, path, faults);
    let additional = at(schema, &["additionalProperties"]);
    let properties = sorted(schema, "properties");
    if place == Place::Root && !additional.is_null() {
        faults.push(FieldError::forbidden(
            path.child("additionalProperties"),
            "must not be used at the root",
        ));
    }
    if !properties.is_empty() && !additional.is_null() {
        faults.push(FieldError::forbidden(
            path.child("additionalProperties"),
            "additionalProperties and properties are mutual exclusive",
        ));
    }
    let here = path.child("properties");
    for (name, inner) in properties {
        if place == Place::Root && name == "metadata" {
            check_metadata(inner, &here.key(name), faults);
        } else {
            value(inner, Place::Field, &here.key(name), faults);
        }
    }
    if additional.is_object() {
        value(
            additional,
            Place::Entry,
            &path.child("additionalProperties"),
            faults,
        );
    }
    let items = at(schema, &["items"]);
    if items.is_object() {
        value(items, Place::Item, &path.child("items"), faults);
    } else if text(schema, &["type"]) == "array" {
        faults.push(FieldError::required(
            path.child("items"),
            "must be specified",
        ));
    }
    check_pattern(schema, path, faults);
    check_default(schema, path, faults);
    check_list(schema, path, faults);
    for member in ["allOf", "anyOf", "oneOf"] {
        let here = path.child(member);
        for (index, part) in list(schema, &[member]).iter().enumerate() {
            // The only types that a combination may have: a choice between integers and strings,
            // or the same as the first part of `allOf`.
            let free = match member {
                "anyOf" => is_int_or_string(list(schema, &["anyOf"])),
                "allOf" => index == 0 && is_int_or_string(list(part, &["anyOf"])),
                _ => false,
            };
            nested(part, schema, free, &here.index(index), faults);
        }
    }
    let not = at(schema, &["not"]);
    if not.is_object() {
        nested(not, schema, false, &path.child("not"), faults);
    }
}

/// Returns true for the choice between an integer and a string.
fn is_int_or_string(parts: &[Tree]) -> bool {
    let types: Vec<&str> = parts.iter().map(|part| text(part, &["type"])).collect();
    let plain = |part: &Tree| part.as_object().is_some_and(|members| members.len() == 1);
    types == ["integer", "string"] && parts.iter().all(plain)
}

fn check_type(schema: &Tree, place: Place, path: &Path<'_>, faults: &mut Faults) {
    let kind = text(schema, &["type"]);
    let here = path.child("type");
    let free = flag(schema, &["x-kubernetes-int-or-string"])
        || flag(schema, &["x-kubernetes-preserve-unknown-fields"]);
    match kind {
        "" if place == Place::Root => {
            faults.push(FieldError::required(here, "must not be empty at the root"))
        }
        "" if free => {}
        "" => {
            let what = match place {
                Place::Item => "must not be empty for specified array items",
                _ => "must not be empty for specified object fields",
            };
            faults.push(FieldError::required(here, what));
        }
        "object" => {}
        _ if place == Place::Root => {
            faults.push(invalid_text(here, kind, "must be object at the root"))
        }
        // A type beside `x-kubernetes-int-or-string` is accepted, and has no effect.
        "array" | "string" | "integer" | "number" | "boolean" => {}
        _ => faults.push(FieldError::not_supported(
            here,
            &Tree::from(kind),
            &["array", "boolean", "integer", "number", "object", "string"],
        )),
    }
}

fn check_extensions(schema: &Tree, path: &Path<'_>, faults: &mut Faults) {
    const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
    if at(schema, &[PRESERVE]) == &Tree::Bool(false) {
        faults.push(FieldError::invalid(
            path.child(PRESERVE),
            &Tree::from(false),
            "must be true or undefined",
        ));
    }
    let embedded = flag(schema, &["x-kubernetes-embedded-resource"]);
    if embedded && text(schema, &["type"]) != "object" {
        let here = path.child("type");
        faults.push(invalid_text(
            here,
            text(schema, &["type"]),
            "must be object if x-kubernetes-embedded-resource is true",
        ));
    }
    if embedded && at(schema, &["properties"]).is_null() && !flag(schema, &[PRESERVE]) {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        faults.push(FieldError::required(path.child("properties"), why));
    }
    let free = flag(schema, &["x-kubernetes-int-or-string"]);
    for (member, is_set) in [
        (PRESERVE, flag(schema, &[PRESERVE])),
        ("x-kubernetes-embedded-resource", embedded),
    ] {
        if free && is_set {
            faults.push(FieldError::invalid(
                path.child(member),
                &Tree::from(true),
                "must be false if x-kubernetes-int-or-string is true",
            ));
        }
    }
    let nullable_root =
        flag(schema, &["nullable"]) && path.to_string().ends_with("openAPIV3Schema");
    if nullable_root {
        faults.push(FieldError::forbidden(
            path.child("nullable"),
            "nullable cannot be true at the root",
        ));
    }
}

/// Rejects JSON schema keywords that structural schemas do not support.
fn check_forbidden(schema: &Tree, path: &Path<'_>, faults: &mut Faults) {
    for member in [
        "$ref",
        "definitions",
        "dependencies",
        "patternProperties",
        "additionalItems",
        "id",
        "$schema",
    ] {
        if !at(schema, &[member]).is_null() {
            faults.push(FieldError::forbidden(
                path.child(member),
                format!("{member} is not supported"),
            ));
        }
    }
    if flag(schema, &["uniqueItems"]) {
        faults.push(FieldError::forbidden(
            path.child("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ));
    }
    if at(schema, &["additionalProperties"]) == &Tree::Bool(false) {
        faults.push(FieldError::forbidden(
            path.child("additionalProperties"),
            "additionalProperties cannot be set to false",
        ));
    }
    if at(schema, &["items"]).is_array() {
        faults.push(FieldError::forbidden(
            path.child("items"),
            "items must be a schema object and not an array",
        ));
    }
}

/// Validates the schema of the root's metadata, which may specify only `name` and `generateName`.
fn check_metadata(schema: &Tree, path: &Path<'_>, faults: &mut Faults) {
    if text(schema, &["type"]) != "object" {
        faults.push(invalid_text(
            path.child("type"),
            text(schema, &["type"]),
            "must be object",
        ));
    }
    let known = |name: &str| matches!(name, "name" | "generateName");
    if sorted(schema, "properties")
        .iter()
        .any(|(name, _)| !known(name))
    {
        faults.push(FieldError::forbidden(
            path,
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        ));
    }
}

fn check_pattern(schema: &Tree, path: &Path<'_>, faults: &mut Faults) {
    let pattern = text(schema, &["pattern"]);
    if let Err(error) = regex::Regex::new(pattern) {
        tracing::debug!(%error, pattern, "a pattern of a schema is refused");
        faults.push(invalid_text(
            path.child("pattern"),
            pattern,
            "must be a valid regular expression, but isn't",
        ));
    }
}

fn check_default(schema: &Tree, path: &Path<'_>, faults: &mut Faults) {
    let default = at(schema, &["default"]);
    if default.is_null() {
        return;
    }
    let here = path.child("default");
    let compiled = Schema::parse(schema);
    let mut pruned = default.clone();
    let mut unknown = Vec::new();
    schema::prune(&mut pruned, &compiled, &mut unknown);
    if !unknown.is_empty() {
        faults.push(FieldError::invalid(
            here,
            default,
            "must not have unknown fields",
        ));
        return;
    }
    faults.extend(schema::validate(default, None, &compiled).map(|fault| {
        let field = if fault.field.is_empty() {
            here.to_string()
        } else {
            format!("{here}.{}", fault.field)
        };
        FieldError { field, ..fault }
    }));
}

fn check_list(schema: &Tree, path: &Path<'_>, faults: &mut Faults) {
    const TYPE: &str = "x-kubernetes-list-type";
    const KEYS: &str = "x-kubernetes-list-map-keys";
    let (kind, keys) = (text(schema, &[TYPE]), list(schema, &[KEYS]));
    if !kind.is_empty() && text(schema, &["type"]) != "array" {
        faults.push(invalid_text(
            path.child("type"),
            text(schema, &["type"]),
            "must be array if x-kubernetes-list-type is specified",
        ));
    }
    if !matches!(kind, "" | "atomic" | "set" | "map") {
        faults.push(FieldError::not_supported(
            path.child(TYPE),
            &Tree::from(kind),
            &["atomic", "map", "set"],
        ));
    }
    if kind == "map" && keys.is_empty() {
        faults.push(FieldError::required(
            path.child(KEYS),
            "must not be empty if x-kubernetes-list-type is map",
        ));
    }
    if kind != "map" && !keys.is_empty() {
        faults.push(FieldError::required(
            path.child(TYPE),
            "must be map if x-kubernetes-list-map-keys is non-empty",
        ));
    }
    let here = path.child(KEYS);
    let required: BTreeSet<&str> = list(schema, &["items", "required"])
        .iter()
        .filter_map(Tree::as_str)
        .collect();
    for (index, key) in keys.iter().filter_map(Tree::as_str).enumerate() {
        let known = at(schema, &["items", "properties", key]);
        if known.is_null() {
            faults.push(invalid_text(
                here.index(index),
                key,
                "must be a property of the array items",
            ));
        } else if !required.contains(key) && at(known, &["default"]).is_null() {
            let items = path.child("items");
            let properties = items.child("properties");
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            faults.push(FieldError::required(
                properties.key(key).child("default"),
                why,
            ));
        }
    }
}

/// What a part of a combination must not have, and what it must be instead.
const NOT_NESTED: [(&str, &str); 13] = [
    ("additionalProperties", "undefined"),
    ("default", "undefined"),
    ("title", "empty"),
    ("description", "empty"),
    ("nullable", "false"),
    ("externalDocs", "undefined"),
    ("x-kubernetes-preserve-unknown-fields", "false"),
    ("x-kubernetes-embedded-resource", "false"),
    ("x-kubernetes-int-or-string", "false"),
    ("x-kubernetes-list-map-keys", "empty"),
    ("x-kubernetes-list-type", "undefined"),
    ("x-kubernetes-map-type", "undefined"),
    ("x-kubernetes-validations", "empty"),
];

/// Validates a part of a combination, which may restrict only properties that are specified outside
/// of it.
fn nested(part: &Tree, outside: &Tree, int_or_string: bool, path: &Path<'_>, faults: &mut Faults) {
    for (member, what) in NOT_NESTED {
        let found = at(part, &[member]);
        if !crate::tree::is_empty(found) && found != &Tree::Bool(false) {
            let why = format!("must be {what} to be structural");
            faults.push(FieldError::forbidden(path.child(member), why));
        }
    }
    if sorted(part, "properties")
        .iter()
        .any(|(name, _)| *name == "metadata")
    {
        let here = path.child("properties");
        faults.push(FieldError::forbidden(
            here.key("metadata"),
            "must not be specified in a nested context",
        ));
    }
    if !text(part, &["type"]).is_empty() && !int_or_string {
        faults.push(FieldError::forbidden(
            path.child("type"),
            "must be empty to be structural",
        ));
    }
    let here = path.child("properties");
    for (name, inner) in sorted(part, "properties") {
        let known = at(outside, &["properties", name]);
        if known.is_null() && !at(outside, &["additionalProperties"]).is_object() {
            faults.push(FieldError::required(
                format!("{}.properties[{name}]", outer(path)),
                &format!("because it is defined in {}", here.key(name)),
            ));
        } else {
            nested(
                inner,
                known,
                flag(known, &["x-kubernetes-int-or-string"]),
                &here.key(name),
                faults,
            );
        }
    }
    for member in ["allOf", "anyOf", "oneOf"] {
        let here = path.child(member);
        for (index, inner) in list(part, &[member]).iter().enumerate() {
            nested(inner, outside, int_or_string, &here.index(index), faults);
        }
    }
}

/// Returns the path of the schema that contains a combination.
fn outer(path: &Path<'_>) -> String {
    let text = path.to_string();
    let cut = [".allOf[", ".anyOf[", ".oneOf[", ".not"]
        .into_iter()
        .filter_map(|part| text.find(part))
        .min();
    cut.map_or(text.clone(), |cut| text[..cut].to_owned())
}
