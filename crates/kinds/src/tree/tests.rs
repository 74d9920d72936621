//! Trees behave like values of `serde_json`, and share what was not changed.

use proptest::prelude::*;
use serde_json::Value;

use super::{Map, Tree, json};

#[test]
fn a_change_of_one_copy_leaves_the_other() {
    let tree = json!({"a": {"b": [1, 2]}, "c": "x"});
    let mut copy = tree.clone();
    copy["a"]["b"][0] = 7.into();
    copy["d"] = Tree::Null;
    assert_eq!(tree, json!({"a": {"b": [1, 2]}, "c": "x"}));
    assert_eq!(copy, json!({"a": {"b": [7, 2]}, "c": "x", "d": null}));
}

#[test]
fn pointers_find_members_and_items() {
    let mut tree = json!({"a/b": {"c~d": [true, {"e": 1}]}});
    assert_eq!(tree.pointer("/a~1b/c~0d/1/e"), Some(&Tree::from(1)));
    assert_eq!(tree.pointer("/a~1b/c~0d/2"), None);
    assert_eq!(tree.pointer("a"), None);
    *tree.pointer_mut("/a~1b/c~0d/0").expect("there") = false.into();
    assert_eq!(tree, json!({"a/b": {"c~d": [false, {"e": 1}]}}));
}

#[test]
fn the_last_of_members_with_one_name_counts() {
    let members = |names: &[&str]| {
        names
            .iter()
            .enumerate()
            .map(|(at, name)| (*name, Tree::from(at)))
            .collect::<Map>()
    };
    assert_eq!(
        Tree::from(members(&["b", "a", "b", "a", "b"])),
        json!({"a": 3, "b": 4})
    );
    let many: Vec<String> = (0..1_000)
        .map(|number| format!("m{}", number % 300))
        .collect();
    let many = members(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((many.len(), many.get("m5")), (300, Some(&Tree::from(905))));
}

/// Generates any JSON value.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::btree_map(".{0,30}", inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn values_round_trip_through_trees(value in value()) {
        let tree = Tree::from(value.clone());
        prop_assert_eq!(tree.to_string(), value.to_string());
        prop_assert_eq!(&serde_json::from_str::<Tree>(&value.to_string()).expect("JSON"),
            &Tree::from(serde_json::from_str::<Value>(&value.to_string()).expect("JSON")));
        prop_assert_eq!(Value::from(tree), value);
    }

    #[test]
    fn a_map_is_an_ordered_map(edits in proptest::collection::vec((0..3_u8, 0..400_u32), 0..600)) {
        let (mut map, mut model) = (Map::new(), serde_json::Map::new());
        for (what, number) in edits {
            let name = format!("m{number}");
            match what {
                0 => prop_assert_eq!(map.remove(&name).map(Value::from), model.remove(&name)),
                1 => {
                    map.entry(name.as_str()).or_insert(number.into());
                    model.entry(name).or_insert(number.into());
                }
                _ => prop_assert_eq!(map.insert(name.as_str(), number.into()).map(Value::from),
                    model.insert(name, number.into())),
            }
        }
        prop_assert_eq!(Value::from(Tree::from(map)), Value::Object(model));
    }
}
