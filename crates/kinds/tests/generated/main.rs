//! Properties of the codecs over generated objects of every kind.

mod draw;

use draw::Draw;
use exeunt_kinds::facts::Type;
use exeunt_kinds::{Tree, json, protobuf, resources, type_named};
use proptest::prelude::*;

fn shown(tree: &Tree, ty: &'static Type) -> String {
    String::from_utf8(json::encode(tree, ty)).expect("text")
}

/// Returns whether the predicted tree equals the decoded one. There is no prediction for
/// floating-point numbers, which only JSON schemas have.
fn is_known_as(known: Option<Tree>, read: &Tree, kind: &str) -> bool {
    known.map_or(kind == "CustomResourceDefinition", |known| known == *read)
}

/// Replaces, empties or removes some members of an object and of the objects in it.
fn change(draw: &mut Draw, tree: &mut Tree, other: &Tree, levels: u8) {
    let Some(members) = tree.as_object_mut() else {
        return;
    };
    let names: Vec<_> = members
        .keys()
        .chain(other.as_object().into_iter().flat_map(|other| other.keys()))
        .cloned()
        .collect();
    for name in names {
        match (draw.below(6), members.get_mut(&name), other.get(&name)) {
            (0, Some(_), _) => drop(members.remove(&name)),
            (1, _, Some(member)) => drop(members.insert(name, member.clone())),
            (2, Some(member), _) => *member = Tree::Null,
            (3, Some(member), Some(other)) if levels > 0 => change(draw, member, other, levels - 1),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn objects_of_every_kind_survive_json_and_protobuf(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        for row in resources() {
            let mut tree = draw.object(row.ty, 0);
            tree["kind"] = row.kind.as_str().into();
            tree["apiVersion"] = row.api_version().into();
            let json = json::encode(&tree, row.ty);
            let decoded = json::decode(&json, row.ty).map_err(|error| TestCaseError::fail(format!("{}: {error}", row.kind)))?;
            prop_assert_eq!(&decoded.warnings, &Vec::<String>::new());
            prop_assert!(json::equal(&decoded.tree, &tree, row.ty), "{} through JSON: {} {}", row.kind, decoded.tree, tree);
            prop_assert_eq!(shown(&decoded.tree, row.ty), shown(&tree, row.ty));
            let body = protobuf::encode(&decoded.tree, row.ty);
            let again = protobuf::decode(&body, row.ty).map_err(|error| TestCaseError::fail(format!("{}: {error}", row.kind)))?;
            prop_assert_eq!(shown(&again.tree, row.ty), shown(&tree, row.ty), "{}", row.kind);
            prop_assert!(json::equal(&again.tree, &tree, row.ty), "{} through protobuf", row.kind);
            let mut normal = tree.clone();
            prop_assert_eq!(json::normalize(&mut normal, row.ty), Ok(Vec::new()));
        }
    }

    #[test]
    fn any_bytes_decode_or_are_rejected(bytes in prop::collection::vec(any::<u8>(), 0..64), cut in 0..400_usize, flip in any::<u8>()) {
        let pod = type_named("io.k8s.api.core.v1.Pod").expect("in the table");
        let _ = protobuf::decode_message(&bytes, pod);
        let mut body = protobuf::encode(&Draw(u64::from(flip)).object(pod, 0), pod);
        if let Some(byte) = body.get_mut(cut) {
            *byte ^= flip;
        }
        let _ = protobuf::decode(&body, pod);
    }

    #[test]
    fn an_object_is_encoded_alike_over_any_earlier_state(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let read = |bytes: &[u8]| serde_json::from_slice::<Tree>(bytes).expect("JSON");
        for row in resources() {
            let drawn = draw.object(row.ty, 0);
            let (bytes, reread) = json::encode_and_reread(&drawn, row.ty, None);
            prop_assert_eq!(&bytes, &json::encode(&drawn, row.ty));
            let earlier = read(&bytes);
            prop_assert!(is_known_as(reread, &earlier, &row.kind), "{} as it is read", row.kind);
            let mut now = earlier.clone();
            let other = draw.object(row.ty, 0);
            change(&mut draw, &mut now, &other, 3);
            let (again, reread) = json::encode_and_reread(&now, row.ty, Some(json::EncodedTree { tree: &earlier, bytes: &bytes }));
            let whole = json::encode(&now, row.ty);
            prop_assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&whole), "{}", row.kind);
            prop_assert!(is_known_as(reread, &read(&again), &row.kind), "{} as it is read", row.kind);
        }
    }
}
