//! Validation of custom objects by their schemas, with upstream's messages.

use std::collections::{HashMap, HashSet};

use kinds::Tree;
use kinds::status::{FieldError, FieldErrors, FieldFault};

use super::path::SchemaPath;
use super::{Kind, ListKind, Schema};

/// Returns the faults of an object. On update, values that equal those of `old` are not validated
/// again (ratcheting): a client can update an object that was stored before its schema became
/// stricter.
pub(crate) fn validate(object: &Tree, old: Option<&Tree>, schema: &Schema) -> FieldErrors {
    let mut faults = FieldErrors::default();
    value(object, old, schema, &SchemaPath::Root, &mut faults);
    faults
}

/// Returns the faults of the status of an object, which a write to the subresource may change.
/// Paths begin at the object, the paths inside of messages at the status.
pub(crate) fn validate_status(object: &Tree, old: &Tree, schema: &Schema) -> FieldErrors {
    let (Some(status), Some(schema)) = (object.get("status"), schema.properties.get("status"))
    else {
        return FieldErrors::default();
    };
    validate(status, old.get("status"), schema).map(|fault| {
        let field = if fault.field.is_empty() {
            "status".to_owned()
        } else {
            format!("status.{}", fault.field)
        };
        FieldError { field, ..fault }
    })
}

fn value(
    here: &Tree,
    old: Option<&Tree>,
    schema: &Schema,
    path: &SchemaPath<'_>,
    faults: &mut FieldErrors,
) {
    if old == Some(here) || (here.is_null() && schema.nullable) {
        return;
    }
    if here.is_null() && schema.kind == Kind::Any && schema.values.is_empty() {
        return;
    }
    if !schema.kind.takes(here) {
        let found = kind_of(here);
        faults.push_with(|| {
            let detail = format!(
                "{path} in body must be of type {}: {found:?}",
                schema.kind.name()
            );
            FieldError {
                fault: FieldFault::TypeInvalid,
                ..FieldError::invalid(path, &Tree::from(found), detail)
            }
        });
        return;
    }
    let mut invalid = |detail: String| {
        faults.push_with(|| FieldError::invalid(path, here, format!("{path} in body {detail}")));
    };
    match here {
        Tree::String(text) => check_text(text, schema, &mut invalid),
        Tree::Number(number) => {
            check_number(number.as_f64().unwrap_or_default(), schema, &mut invalid)
        }
        _ => {}
    }
    check_sizes(here, schema, path, faults);
    check_format(here, schema, path, faults);
    if !schema.values.is_empty() && !schema.values.contains(here) {
        faults.push_with(|| {
            let supported: Vec<String> = schema.values.list().iter().map(shown).collect();
            let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
            FieldError::not_supported(path, here, &supported)
        });
    }
    match here {
        Tree::Object(_) => members(here, old, schema, path, faults),
        Tree::Array(items) => list(items, old, schema, path, faults),
        _ => {}
    }
    check_combinations(here, schema, path, faults);
}

fn shown(value: &Tree) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn kind_of(value: &Tree) -> &'static str {
    match value {
        Tree::Null => "null",
        Tree::Bool(_) => "boolean",
        Tree::Number(number) if number.is_f64() => "number",
        Tree::Number(_) => "integer",
        Tree::String(_) => "string",
        Tree::Array(_) => "array",
        Tree::Object(_) => "object",
    }
}

fn check_text(text: &str, schema: &Schema, invalid: &mut impl FnMut(String)) {
    let characters = text.chars().count();
    if let Some(least) = schema.least.characters.filter(|least| characters < *least) {
        invalid(format!("should be at least {least} chars long"));
    }
    if let Some(pattern) = schema
        .pattern
        .as_ref()
        .filter(|pattern| !pattern.is_match(text))
    {
        invalid(format!("should match '{pattern}'"));
    }
}

fn check_number(number: f64, schema: &Schema, invalid: &mut impl FnMut(String)) {
    if let Some(bound) = schema
        .minimum
        .filter(|bound| number < bound.value || (bound.exclusive && number <= bound.value))
    {
        invalid(format!(
            "should be greater than {}{}",
            if bound.exclusive { "" } else { "or equal to " },
            bound.value
        ));
    }
    if let Some(bound) = schema
        .maximum
        .filter(|bound| number > bound.value || (bound.exclusive && number >= bound.value))
    {
        invalid(format!(
            "should be less than {}{}",
            if bound.exclusive { "" } else { "or equal to " },
            bound.value
        ));
    }
    if let Some(factor) = schema
        .multiple_of
        .filter(|factor| ((number / factor) - (number / factor).round()).abs() > 1e-9)
    {
        invalid(format!("should be a multiple of {factor}"));
    }
}

fn check_sizes(here: &Tree, schema: &Schema, path: &SchemaPath<'_>, faults: &mut FieldErrors) {
    let (count, least, most, what) = match here {
        Tree::String(text) => {
            if let Some(most) = schema
                .most
                .characters
                .filter(|most| text.chars().count() > *most)
            {
                faults.push_with(|| FieldError::too_long(path, most));
            }
            return;
        }
        Tree::Array(items) => (items.len(), schema.least.items, schema.most.items, "items"),
        Tree::Object(members) => (
            members.len(),
            schema.least.members,
            schema.most.members,
            "properties",
        ),
        _ => return,
    };
    if let Some(least) = least.filter(|least| count < *least) {
        faults.push_with(|| {
            let detail = format!("{path} in body should have at least {least} {what}");
            FieldError::invalid(path, &Tree::from(count), detail)
        });
    }
    if let Some(most) = most.filter(|most| count > *most) {
        let body = format!("Too many: {count}: must have at most {most} items");
        faults.push_with(|| FieldError {
            fault: FieldFault::TooMany,
            field: path.to_string(),
            body,
        });
    }
}

fn check_format(here: &Tree, schema: &Schema, path: &SchemaPath<'_>, faults: &mut FieldErrors) {
    let sound = match (schema.format.as_str(), here) {
        ("date-time", Tree::String(text)) => text.parse::<jiff::Timestamp>().is_ok(),
        ("date", Tree::String(text)) => {
            text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10
        }
        ("ipv4", Tree::String(text)) => text.parse::<std::net::Ipv4Addr>().is_ok(),
        ("ipv6", Tree::String(text)) => text.parse::<std::net::Ipv6Addr>().is_ok(),
        ("cidr", Tree::String(text)) => is_cidr(text),
        ("uuid", Tree::String(text)) => is_uuid(text),
        ("byte", Tree::String(text)) => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .is_ok()
        }
        ("int32", Tree::Number(number)) => number
            .as_i64()
            .is_none_or(|number| i32::try_from(number).is_ok()),
        _ => true,
    };
    if !sound {
        faults.push_with(|| {
            let detail = format!(
                "{path} in body must be of type {}: {}",
                schema.format,
                kinds::status::quoted(&shown(here))
            );
            FieldError::invalid(path, here, detail)
        });
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn is_uuid(text: &str) -> bool {
    let hex: String = text.chars().filter(|character| *character != '-').collect();
    hex.len() == 32 && hex.chars().all(|character| character.is_ascii_hexdigit())
}

fn members(
    here: &Tree,
    old: Option<&Tree>,
    schema: &Schema,
    path: &SchemaPath<'_>,
    faults: &mut FieldErrors,
) {
    for name in schema
        .required
        .iter()
        .filter(|name| here.get(name.as_str()).is_none())
    {
        faults.push_with(|| FieldError::required(path.member(name), ""));
    }
    let Tree::Object(found) = here else { return };
    // Metadata is not skipped: its own rules apply elsewhere, and a schema may restrict it further.
    for (name, member) in found {
        if let Some(inner) = schema.member(name) {
            value(
                member,
                old.and_then(|old| old.get(name)),
                inner,
                &path.member(name),
                faults,
            );
        }
    }
}

fn list(
    items: &[Tree],
    old: Option<&Tree>,
    schema: &Schema,
    path: &SchemaPath<'_>,
    faults: &mut FieldErrors,
) {
    let before = old
        .and_then(Tree::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    // Items of a map list may move; their keys identify the old value.
    let mut by_key: HashMap<String, &Tree> = HashMap::new();
    if schema.list == ListKind::Map && schema.items.is_some() {
        for item in before {
            by_key
                .entry(key_of(item, schema).to_string())
                .or_insert(item);
        }
    }
    if let Some(inner) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            let old = match schema.list {
                ListKind::Map if by_key.is_empty() => None,
                ListKind::Map => by_key.get(&key_of(item, schema).to_string()).copied(),
                _ => before.get(index),
            };
            value(item, old, inner, &path.item(index), faults);
        }
    }
    let mut seen: HashSet<String> = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let key = match schema.list {
            ListKind::Atomic => return,
            ListKind::Set => item.clone(),
            ListKind::Map => key_of(item, schema),
        };
        // Equal values have the same text: members are sorted.
        if !seen.insert(key.to_string()) {
            faults.push_with(|| FieldError::duplicate(path.item(index), &key));
        }
    }
}

/// Returns the members of an item that identify it in a list of type map.
fn key_of(item: &Tree, schema: &Schema) -> Tree {
    let keys = schema
        .keys
        .iter()
        .filter_map(|key| item.get(key).map(|value| (key.clone(), value.clone())));
    Tree::Object(keys.collect())
}

fn check_combinations(
    here: &Tree,
    schema: &Schema,
    path: &SchemaPath<'_>,
    faults: &mut FieldErrors,
) {
    let fits = |schema: &Schema| {
        let mut faults = FieldErrors::default();
        value(here, None, schema, path, &mut faults);
        faults.is_empty()
    };
    for part in &schema.all_of {
        value(here, None, part, path, faults);
    }
    let name = match path {
        SchemaPath::Root => "<nil>".to_owned(),
        path if has_combinations(schema) => path.to_string(),
        _ => return,
    };
    let mut refuse =
        |detail: String| faults.push_with(|| FieldError::invalid(path, &Tree::from(""), detail));
    if !schema.any_of.is_empty() && !schema.any_of.iter().any(fits) {
        refuse(format!(
            "{name:?} must validate at least one schema (anyOf)"
        ));
    }
    if !schema.one_of.is_empty() {
        match schema.one_of.iter().filter(|part| fits(part)).count() {
            1 => {}
            0 => refuse(format!(
                "{name:?} must validate one and only one schema (oneOf). Found none valid"
            )),
            count => refuse(format!(
                "{name:?} must validate one and only one schema (oneOf). Found {count} valid alternatives"
            )),
        }
    }
    if schema.not.as_ref().is_some_and(|not| fits(not)) {
        refuse(format!("{name:?} must not validate the schema (not)"));
    }
}

fn has_combinations(schema: &Schema) -> bool {
    !schema.any_of.is_empty() || !schema.one_of.is_empty() || schema.not.is_some()
}

#[cfg(test)]
mod tests {
    use kinds::tree::json;

    use super::*;

    fn check(schema: &Tree, spec: &Tree, expected: &[&str]) {
        let schema = Schema::parse(&json!({"type": "object", "properties": {"spec": schema}}));
        let faults: Vec<String> = validate(&json!({"spec": spec}), None, &schema)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(faults, expected, "{spec}");
    }

    #[test]
    fn faults_have_the_messages_of_the_api() {
        let schema = json!({"type": "object", "required": ["image"], "properties": {
            "image": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]*$"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
            "share": {"type": "number", "exclusiveMaximum": true, "maximum": 1},
            "mode": {"type": "string", "enum": ["a", "b"]},
            "port": {"x-kubernetes-int-or-string": true},
            "at": {"type": "string", "format": "date-time"},
            "tags": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "set",
                "items": {"type": "string"}},
            "ports": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            "none": {"type": "string", "nullable": true},
            "one": {"type": "object", "properties": {"a": {"type": "string"},
                "b": {"type": "string"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        }});
        let check = |spec: Tree, expected: &[&str]| check(&schema, &spec, expected);
        check(
            json!({"image": "abc", "replicas": 1, "port": "http", "none": null, "share": 0.5}),
            &[],
        );
        check(json!({}), &["spec.image: Required value"]);
        check(
            json!("x"),
            &["spec: Invalid value: \"string\": spec in body must be of type object: \"string\""],
        );
        check(
            json!({"image": 7}),
            &[
                "spec.image: Invalid value: \"integer\": spec.image in body must be of type string: \"integer\"",
            ],
        );
        check(
            json!({"image": "a"}),
            &[
                "spec.image: Invalid value: \"a\": spec.image in body should be at least 2 chars long",
            ],
        );
        check(
            json!({"image": "AB"}),
            &["spec.image: Invalid value: \"AB\": spec.image in body should match '^[a-z]*$'"],
        );
        check(
            json!({"image": "abcde"}),
            &["spec.image: Too long: may not be more than 4 bytes"],
        );
        let with = |member: &str, value: Tree| json!({"image": "abc", member: value});
        check(
            with("replicas", json!(0)),
            &[
                "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
            ],
        );
        check(
            with("replicas", json!(11)),
            &[
                "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
            ],
        );
        check(
            with("share", json!(1)),
            &["spec.share: Invalid value: 1: spec.share in body should be less than 1"],
        );
        check(
            with("mode", json!("c")),
            &["spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\""],
        );
        check(
            with("port", json!(true)),
            &[
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            ],
        );
        check(
            with("at", json!("noon")),
            &[
                "spec.at: Invalid value: \"noon\": spec.at in body must be of type date-time: \"noon\"",
            ],
        );
        check(
            with("tags", json!(["a", "b", "c"])),
            &["spec.tags: Too many: 3: must have at most 2 items"],
        );
        check(
            with("tags", json!(["a", "a"])),
            &["spec.tags[1]: Duplicate value: \"a\""],
        );
        check(
            with("ports", json!([{"name": "a"}, {"name": "a"}])),
            &["spec.ports[1]: Duplicate value: {\"name\":\"a\"}"],
        );
        check(
            with("one", json!({})),
            &[
                "spec.one: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found none valid",
            ],
        );
    }

    #[test]
    fn unchanged_values_are_not_validated_on_update() {
        let schema = Schema::parse(
            &json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}}}),
        );
        let old = json!({"spec": {"a": "was allowed once", "b": 1}});
        assert!(
            validate(
                &json!({"spec": {"a": "was allowed once", "b": 2}}),
                Some(&old),
                &schema
            )
            .is_empty()
        );
        assert_eq!(
            validate(
                &json!({"spec": {"a": "is not now", "b": 2}}),
                Some(&old),
                &schema
            )
            .len(),
            1
        );
    }
}
