//! Removes unknown fields from custom objects and adds the defaults of their schemas.

use kinds::Tree;
use kinds::tree::Map;

use super::path::SchemaPath;
use super::{Additional, Schema};
use crate::size::MAX_OBJECT_BYTES;

/// Upper bound on the unknown fields reported for one object.
const MAX_UNKNOWN: usize = 100;

/// Members of every object that schemas need not declare.
const OWN: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes the members that the schema does not declare and adds their paths to `unknown`. Beyond
/// `MAX_UNKNOWN` paths, members are removed without a report.
pub(crate) fn prune(object: &mut Tree, schema: &Schema, unknown: &mut Vec<String>) {
    prune_at(object, schema, true, &SchemaPath::Root, unknown);
}

fn prune_at(
    value: &mut Tree,
    schema: &Schema,
    is_object: bool,
    path: &SchemaPath<'_>,
    unknown: &mut Vec<String>,
) {
    match value {
        Tree::Object(members) => {
            prune_members(members, schema, is_object || schema.embedded, path, unknown)
        }
        Tree::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for (index, item) in items.iter_mut().enumerate() {
                prune_at(item, schema, false, &path.item(index), unknown);
            }
        }
        _ => {}
    }
}

fn prune_members(
    members: &mut Map,
    schema: &Schema,
    is_object: bool,
    path: &SchemaPath<'_>,
    unknown: &mut Vec<String>,
) {
    let keeps_all = schema.preserve || matches!(schema.additional, Additional::Any);
    members.retain(|name, member| {
        if is_object && OWN.contains(&name.as_str()) {
            return true;
        }
        let here = path.member(name);
        match schema.member(name) {
            Some(inner) => prune_at(member, inner, false, &here, unknown),
            None if keeps_all => {}
            None => {
                if unknown.len() < MAX_UNKNOWN {
                    unknown.push(here.to_string());
                }
                return false;
            }
        }
        true
    });
}

/// Adds defaults for absent members. A null is removed first if its schema is not nullable.
///
/// Defaults stop when they exceed the size of the largest object. Defaults within defaults
/// multiply: a hundred bytes could become more than any memory holds. The object is then refused
/// for its size.
pub(crate) fn default(value: &mut Tree, schema: &Schema) {
    let mut left = MAX_OBJECT_BYTES;
    default_within(value, schema, &mut left);
}

fn default_within(value: &mut Tree, schema: &Schema, left: &mut usize) {
    match value {
        Tree::Object(members) => {
            members.retain(|name, member| {
                !member.is_null() || schema.member(name).is_none_or(|inner| inner.nullable)
            });
            for (name, inner) in &schema.properties {
                if let Some(default) = inner
                    .default
                    .as_ref()
                    .filter(|_| !members.contains_key(name) && *left > 0)
                {
                    *left = left.saturating_sub(name.len() + inner.default_bytes);
                    members.insert(name.clone(), default.clone());
                }
            }
            for (name, member) in members.iter_mut() {
                if let Some(inner) = schema.member(name) {
                    default_within(member, inner, left);
                }
            }
        }
        Tree::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for item in items.iter_mut() {
                default_within(item, schema, left);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    fn schema() -> Schema {
        Schema::parse(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "replicas": {"type": "integer", "default": 1},
                "name": {"type": "string"},
                "note": {"type": "string", "nullable": true},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"known": {"type": "object", "properties": {}}}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "parts": {"type": "array", "items": {"type": "object",
                    "properties": {"size": {"type": "integer", "default": 3}}}},
            }},
        }}))
    }

    #[test]
    fn unknown_fields_are_removed_and_reported() {
        let mut object = json!({"kind": "K", "metadata": {"name": "n"}, "extra": 1, "spec": {
            "replica": 2, "free": {"any": {"deep": 1}, "known": {"not": 1}}, "labels": {"a": "b"},
            "parts": [{"size": 1}, {"color": 2}]}});
        let mut unknown = Vec::new();
        prune(&mut object, &schema(), &mut unknown);
        unknown.sort();
        assert_eq!(
            unknown,
            [
                "extra",
                "spec.free.known.not",
                "spec.parts[1].color",
                "spec.replica"
            ]
        );
        let expected = json!({"kind": "K", "metadata": {"name": "n"}, "spec": {
            "free": {"any": {"deep": 1}, "known": {}}, "labels": {"a": "b"},
            "parts": [{"size": 1}, {}]}});
        assert_eq!(object, expected);
    }

    #[test]
    fn absent_and_null_members_get_defaults() {
        for (given, expected) in [
            (json!({"spec": {}}), json!({"spec": {"replicas": 1}})),
            (
                json!({"spec": {"replicas": null, "name": null, "note": null}}),
                json!({"spec": {"replicas": 1, "note": null}}),
            ),
            (
                json!({"spec": {"replicas": 0, "parts": [{}, {"size": 1}]}}),
                json!({"spec": {"replicas": 0, "parts": [{"size": 3}, {"size": 1}]}}),
            ),
            (json!({}), json!({})),
        ] {
            let mut object = given;
            default(&mut object, &schema());
            assert_eq!(object, expected);
        }
    }
}
