//! Server-side apply. The properties: managed fields decode to what was encoded, applying the same
//! again has no conflicts, and a forced apply has none either.

use kinds::apply::{
    ApplyError, ApplySchema, FieldManager, FieldSet, apply as apply_to, update_managers,
};
use kinds::tree::json;
use kinds::{Tree, json as codec};

use crate::typed;

/// The input is a sequence of objects, separated by zero bytes, which two managers write in turn.
/// The byte before an object selects the kind of write: odd is forced, a multiple of four is an
/// ordinary write.
pub fn apply(input: &[u8]) {
    let Some((ty, rest)) = typed(input) else {
        return;
    };
    let mut live = json!({"metadata": {}});
    for (turn, part) in rest.split(|&byte| byte == 0).enumerate().take(6) {
        let Some((&how, text)) = part.split_first() else {
            continue;
        };
        let Ok(decoded) = codec::decode(text, ty) else {
            continue;
        };
        let mut object = decoded.tree;
        if object
            .get("metadata")
            .is_none_or(|metadata| !metadata.is_object())
        {
            object["metadata"] = json!({});
        }
        let manager = if turn % 2 == 0 { "a" } else { "b" };
        let writer = FieldManager {
            manager,
            api_version: "v1",
            subresource: "",
            now: "2026-01-01T00:00:00Z",
        };
        if how % 4 == 0 {
            let managed = update_managers(&live, &object, ApplySchema::BuiltIn(ty), &writer);
            object["metadata"]["managedFields"] = managed;
            live = object;
        } else {
            let force = how % 2 == 1;
            live = match apply_to(&live, &object, ApplySchema::BuiltIn(ty), &writer, force) {
                Ok(applied) => applied,
                Err(ApplyError::Conflicts(conflicts, _)) => {
                    assert!(!force, "{conflicts:?}");
                    continue;
                }
                Err(_) => continue,
            };
            check_again(&live, &object, ty, &writer);
        }
        check_managers(&live);
    }
}

/// Checks that applying the same object again changes nothing and has no conflicts.
fn check_again(
    live: &Tree,
    object: &Tree,
    ty: &'static kinds::facts::Type,
    writer: &FieldManager<'_>,
) {
    let again = apply_to(live, object, ApplySchema::BuiltIn(ty), writer, false)
        .unwrap_or_else(|error| panic!("{error}: {object} on {live}"));
    assert!(codec::equal(live, &again, ty), "{live} {again}");
}

fn check_managers(live: &Tree) {
    for entry in live
        .pointer("/metadata/managedFields")
        .and_then(Tree::as_array)
        .into_iter()
        .flatten()
    {
        let Some(set) = entry.get("fieldsV1").and_then(FieldSet::decode) else {
            continue;
        };
        assert_eq!(FieldSet::decode(&set.encode()), Some(set.clone()));
        let _ = set.paths(usize::MAX);
    }
}
