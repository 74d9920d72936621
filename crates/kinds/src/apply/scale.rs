//! The managed fields of the `scale` subresource.
//!
//! A scale has no managed fields of its own. It shows those entries of its object that own the
//! number of replicas, and a write of the scale puts them back. In between, the path and the
//! version of an entry are translated; name, operation and subresource stay, because they identify
//! the manager.

use super::field_set::FieldSet;
use super::managers::{ManagedFields, ManagerEntry};
use crate::Tree;

/// The version in which scales are read and written.
pub const SCALE_VERSION: &str = "autoscaling/v1";
/// The path of the number of replicas in a scale.
const IN_SCALE: [&str; 2] = ["f:spec", "f:replicas"];

/// Returns the managed fields of a scale: the entries of the object's `managed` that own the number
/// of replicas. `replicas` is the path of that number in the object, as member names.
#[must_use]
pub fn managers_of_scale(managed: &Tree, replicas: &[&str]) -> Tree {
    borrowed(&decode(managed), &elements(replicas)).encode()
}

/// Returns the managed fields of an object whose scale was written. `managed` are those before,
/// `scaled` those of the written scale, `api_version` is the version of the request to the object.
///
/// Entries that passed through the scale have no time, as in upstream.
#[must_use]
pub fn managers_behind_scale(
    managed: &Tree,
    scaled: &Tree,
    replicas: &[&str],
    api_version: &str,
) -> Tree {
    let (elements, mut scaled) = (elements(replicas), decode(scaled));
    let path = path(&elements);
    let only_replicas = FieldSet::of(&path);
    let mut object = decode(managed);
    for manager in object
        .0
        .iter_mut()
        .filter(|manager| manager.fields.contains(&path))
    {
        if scaled.take(manager).is_none() {
            manager.fields = std::mem::take(&mut manager.fields).difference(&only_replicas);
        }
    }
    object.0.retain(|manager| !manager.fields.is_empty());
    let taken = scaled
        .0
        .into_iter()
        .filter(|manager| manager.fields.contains(&IN_SCALE));
    object.0.extend(taken.map(|manager| ManagerEntry {
        api_version: api_version.to_owned(),
        fields: only_replicas.clone(),
        time: None,
        ..manager
    }));
    object.encode()
}

fn borrowed(object: &ManagedFields, elements: &[String]) -> ManagedFields {
    let owners = object
        .0
        .iter()
        .filter(|manager| manager.fields.contains(&path(elements)));
    let as_scale = |manager: &ManagerEntry| ManagerEntry {
        api_version: SCALE_VERSION.to_owned(),
        fields: FieldSet::of(&IN_SCALE),
        ..manager.clone()
    };
    ManagedFields(owners.map(as_scale).collect())
}

fn decode(managed: &Tree) -> ManagedFields {
    ManagedFields::decode(managed).unwrap_or_default()
}

fn elements(replicas: &[&str]) -> Vec<String> {
    replicas.iter().map(|name| format!("f:{name}")).collect()
}

fn path(elements: &[String]) -> Vec<&str> {
    elements.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::json;

    const REPLICAS: [&str; 2] = ["spec", "replicas"];

    fn entry(manager: &str, operation: &str, subresource: &str, fields: Tree) -> Tree {
        let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1"});
        if !subresource.is_empty() {
            entry["subresource"] = subresource.into();
        }
        entry["fieldsV1"] = fields;
        entry
    }

    fn both() -> Tree {
        json!({"f:spec": {"f:replicas": {}, "f:selector": {}}})
    }

    fn replicas() -> Tree {
        json!({"f:spec": {"f:replicas": {}}})
    }

    fn selector() -> Tree {
        json!({"f:spec": {"f:selector": {}}})
    }

    fn scaled(manager: &str, operation: &str) -> Tree {
        let mut entry = entry(manager, operation, "scale", replicas());
        entry["apiVersion"] = SCALE_VERSION.into();
        entry
    }

    #[test]
    fn a_scale_shows_only_owners_of_the_number_of_replicas() {
        let managed = json!([
            entry("owner", "Apply", "", both()),
            entry("other", "Update", "", selector())
        ]);
        let seen = managers_of_scale(&managed, &REPLICAS);
        let mut expected = entry("owner", "Apply", "", replicas());
        expected["apiVersion"] = SCALE_VERSION.into();
        assert_eq!(seen, json!([expected]));
        assert_eq!(managers_of_scale(&managed, &["spec", "size"]), Tree::Null);
    }

    #[test]
    fn scaling_takes_the_number_of_replicas_from_its_owner() {
        let check = |owner: (&str, &str), scaler: (&str, &str)| {
            let managed = json!([entry(owner.0, owner.1, "", both())]);
            let after = managers_behind_scale(
                &managed,
                &json!([scaled(scaler.0, scaler.1)]),
                &REPLICAS,
                "apps/v1",
            );
            let mut expected = [
                entry(owner.0, owner.1, "", selector()),
                entry(scaler.0, scaler.1, "scale", replicas()),
            ];
            expected.sort_by_key(|entry| {
                (entry["operation"].to_string(), entry["manager"].to_string())
            });
            assert_eq!(
                after,
                json!([expected[0].clone(), expected[1].clone()]),
                "{owner:?} {scaler:?}"
            );
        };
        check(("test", "Apply"), ("scale", "Update"));
        check(("test", "Apply"), ("scale", "Apply"));
        check(("test", "Update"), ("scale", "Update"));
        check(("test", "Update"), ("scale", "Apply"));
        check(("test", "Update"), ("test", "Apply"));
    }

    #[test]
    fn applying_the_same_number_shares_it() {
        let managed = json!([entry("test", "Apply", "", both())]);
        let mut kept = entry("test", "Apply", "", replicas());
        kept["apiVersion"] = SCALE_VERSION.into();
        let after = managers_behind_scale(
            &managed,
            &json!([kept, scaled("test", "Apply")]),
            &REPLICAS,
            "apps/v1",
        );
        assert_eq!(
            after,
            json!([
                entry("test", "Apply", "", both()),
                entry("test", "Apply", "scale", replicas())
            ])
        );
    }

    #[test]
    fn an_entry_without_fields_is_dropped_and_other_fields_of_the_scale_make_none() {
        let managed = json!([entry("test", "Apply", "", replicas())]);
        let after = managers_behind_scale(
            &managed,
            &json!([scaled("scale", "Update")]),
            &REPLICAS,
            "apps/v1",
        );
        assert_eq!(
            after,
            json!([entry("scale", "Update", "scale", replicas())])
        );
        let mut status = scaled("scale", "Update");
        status["fieldsV1"] = json!({"f:status": {"f:replicas": {}}});
        assert_eq!(
            managers_behind_scale(&managed, &json!([status]), &REPLICAS, "apps/v1"),
            Tree::Null
        );
    }
}
