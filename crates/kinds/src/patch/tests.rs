//! Tables of patches. The types are small and hand-made, with the properties that matter.

use crate::tree::json;
use proptest::prelude::*;

use super::*;
use crate::facts::{Field, Lookup, PatchStrategy, Shape, Type};

const fn field(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        ..Field::BLANK
    }
}

const fn merged(name: &'static str, shape: Shape, merge_key: &'static str) -> Field {
    Field {
        patch: PatchStrategy {
            merge: true,
            replace: false,
            retain_keys: false,
        },
        merge_key,
        ..field(name, shape)
    }
}

static PORT: Type = Type {
    name: "Port",
    fields: &[field("name", Shape::String), field("port", Shape::Int32)],
    lookup: Lookup::new(),
    atomic: false,
};

static CONTAINER: Type = Type {
    name: "Container",
    fields: &[
        field("image", Shape::String),
        field("name", Shape::String),
        merged("ports", Shape::List(&Shape::Object(&PORT)), "port"),
        field("tags", Shape::List(&Shape::String)),
    ],
    lookup: Lookup::new(),
    atomic: false,
};

static SPEC: Type = Type {
    name: "Spec",
    fields: &[
        merged(
            "containers",
            Shape::List(&Shape::Object(&CONTAINER)),
            "name",
        ),
        merged("finalizers", Shape::List(&Shape::String), ""),
        field("labels", Shape::Map(&Shape::String)),
        Field {
            patch: PatchStrategy {
                merge: false,
                replace: true,
                retain_keys: false,
            },
            ..field("selector", Shape::Map(&Shape::String))
        },
        field("strategy", Shape::Object(&CONTAINER)),
        field("tolerations", Shape::List(&Shape::Object(&PORT))),
    ],
    lookup: Lookup::new(),
    atomic: false,
};

fn check(document: Tree, patch: Tree, expected: Tree) {
    assert_eq!(
        strategic(document, patch.clone(), &SPEC),
        Ok(expected),
        "{patch}"
    );
}

fn refused(document: Tree, patch: Tree, code: u16, message: &str) {
    let error = strategic(document, patch, &SPEC).unwrap_err();
    assert_eq!(
        (error.status().code, error.to_string().as_str()),
        (code, message)
    );
}

fn named(names: &[&str]) -> Tree {
    names.iter().map(|name| json!({"name": name})).collect()
}

#[test]
fn members_merge_and_null_removes() {
    check(
        json!({"labels": {"a": "1", "b": "2"}}),
        json!({"labels": {"a": null, "c": "3"}}),
        json!({"labels": {"b": "2", "c": "3"}}),
    );
    let labelled = || json!({"labels": {"a": "1"}});
    check(labelled(), json!({"labels": null}), json!({}));
    check(labelled(), Tree::Null, labelled());
    check(
        json!({}),
        json!({"labels": {"a": null, "b": "1"}}),
        json!({"labels": {"b": "1"}}),
    );
    check(
        json!({"selector": {"a": "1"}}),
        json!({"selector": {"b": "2"}}),
        json!({"selector": {"b": "2"}}),
    );
}

#[test]
fn new_items_come_before_old_ones_unless_the_patch_names_an_old_one() {
    let old = || json!({"containers": named(&["a", "b"])});
    check(
        old(),
        json!({"containers": named(&["n"])}),
        json!({"containers": named(&["n", "a", "b"])}),
    );
    check(
        old(),
        json!({"containers": named(&["b", "n"])}),
        json!({"containers": named(&["a", "b", "n"])}),
    );
    check(
        json!({"finalizers": ["a", "d"]}),
        json!({"finalizers": ["g"]}),
        json!({"finalizers": ["g", "a", "d"]}),
    );
    check(
        json!({"finalizers": ["a", "d"]}),
        json!({"finalizers": ["d", "a"]}),
        json!({"finalizers": ["d", "a"]}),
    );
    check(
        json!({}),
        json!({"containers": named(&["b", "a"])}),
        json!({"containers": named(&["b", "a"])}),
    );
}

#[test]
fn items_are_paired_by_their_key_at_every_level() {
    check(
        json!({"containers": [{"name": "a", "image": "i", "ports": [{"port": 1, "name": "x"}],
            "tags": ["t"]}]}),
        json!({"containers": [{"name": "a", "ports": [{"port": 1, "name": "y"}, {"port": 2}],
            "tags": ["u"]}]}),
        json!({"containers": [{"name": "a", "image": "i", "ports": [{"port": 1, "name": "y"},
            {"port": 2}], "tags": ["u"]}]}),
    );
    check(
        json!({"tolerations": [{"port": 1}]}),
        json!({"tolerations": [{"port": 2}]}),
        json!({"tolerations": [{"port": 2}]}),
    );
}

#[test]
fn the_order_of_elements_can_be_set() {
    let old = || json!({"containers": named(&["a", "b"])});
    let order = |names: &[&str]| json!({"$setElementOrder/containers": named(names)});
    check(
        old(),
        order(&["b", "a"]),
        json!({"containers": named(&["b", "a"])}),
    );
    check(
        old(),
        order(&["b"]),
        json!({"containers": named(&["a", "b"])}),
    );
    let mut patch = order(&["c", "a", "b"]);
    patch["containers"] = json!([{"name": "c"}, {"name": "a", "$patch": "delete"}]);
    check(old(), patch, json!({"containers": named(&["c", "b"])}));
    let mut patch = order(&["a", "b", "n"]);
    patch["containers"] = json!([{"name": "n", "image": null}]);
    check(old(), patch, json!({"containers": named(&["a", "b", "n"])}));
    check(
        json!({}),
        json!({"$setElementOrder/containers": [], "labels": {}}),
        json!({"labels": {}}),
    );
    check(
        json!({"finalizers": ["x", "y"]}),
        json!({"$setElementOrder/finalizers": ["z", "y"],
            "$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]}),
        json!({"finalizers": ["z", "y"]}),
    );
    refused(
        old(),
        json!({"$setElementOrder/containers": named(&["a"]), "containers": named(&["q"])}),
        500,
        "The order in patch list:\n[map[name:q]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
    );
}

#[test]
fn directives_replace_and_delete() {
    let old = || {
        json!({"containers": named(&["a", "b"]), "labels": {"a": "1"}, "finalizers": ["x",
        "y"], "strategy": {"image": "i", "name": "n"}})
    };
    let with = |name: &str, value: Tree| {
        let mut expected = old();
        expected[name] = value;
        expected
    };
    check(
        old(),
        json!({"containers": [{"name": "a", "$patch": "delete"}]}),
        with("containers", named(&["b"])),
    );
    check(
        old(),
        json!({"containers": [{"name": "q"}, {"$patch": "replace"}]}),
        with("containers", named(&["q"])),
    );
    check(
        old(),
        json!({"labels": {"$patch": "replace", "only": "me"}}),
        with("labels", json!({"only": "me"})),
    );
    check(
        old(),
        json!({"labels": {"$patch": "delete"}}),
        with("labels", json!({})),
    );
    check(
        old(),
        json!({"$deleteFromPrimitiveList/finalizers": ["x", "q"]}),
        with("finalizers", json!(["y"])),
    );
    check(
        old(),
        json!({"strategy": {"$retainKeys": ["name"], "name": "m"}}),
        with("strategy", json!({"name": "m"})),
    );
    check(
        json!({}),
        json!({"strategy": {"$retainKeys": ["name"], "name": "m"}}),
        json!({"strategy": {"name": "m"}}),
    );
    check(
        json!({}),
        json!({"containers": [{"name": "a", "$patch": "delete"}], "labels": {"$patch": "delete"}}),
        json!({"containers": []}),
    );
}

#[test]
fn invalid_strategic_patches_are_rejected_with_the_code_of_the_api() {
    let old =
        || json!({"containers": named(&["a"]), "strategy": {"name": "n"}, "finalizers": ["x"]});
    refused(
        old(),
        json!([]),
        400,
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
    );
    refused(
        old(),
        json!({"containers": [{"image": "i"}]}),
        500,
        "map: map[image:i] does not contain declared merge key: name",
    );
    refused(
        old(),
        json!({"strategy": {"$patch": "x", "a": 1}}),
        500,
        "unknown patch type: x in map: map[$patch:x a:1]",
    );
    refused(
        old(),
        json!({"containers": [{"$patch": "y"}]}),
        500,
        "unknown patch type: y in map: map[$patch:y]",
    );
    refused(
        old(),
        json!({"strategy": {"$retainKeys": ["a"], "b": 1}}),
        400,
        "invalid patch format of retainKeys",
    );
    refused(
        old(),
        json!({"finalizers": [["x"]]}),
        422,
        "the server rejected our request due to an error in our request",
    );
    refused(
        old(),
        json!({"finalizers": [{"x": 1}]}),
        500,
        "list element types are not identical: [x map[x:1]]",
    );
    refused(
        old(),
        json!({"$setElementOrder/finalizers": 1}),
        500,
        "expected a list, but received a number",
    );
}

#[test]
fn merge_patches_follow_the_rfc() {
    let table = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": "b"}),
            json!({"b": "c"}),
            json!({"a": "b", "b": "c"}),
        ),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (
            json!({"a": "foo"}),
            json!({"a": {"b": {"c": null}}}),
            json!({"a": {"b": {}}}),
        ),
        (
            json!({"a": [{"b": "c"}]}),
            json!({"a": [1]}),
            json!({"a": [1]}),
        ),
    ];
    for (document, patch, expected) in table {
        assert_eq!(merge(document, patch.clone()), Ok(expected), "{patch}");
    }
    assert_eq!(
        merge(json!({}), Tree::Null).unwrap_err().to_string(),
        "Invalid JSON Patch"
    );
    assert_eq!(
        merge(json!({}), json!(1)).unwrap_err().to_string(),
        "error decoding patch: json: cannot unmarshal number into Go value of type map[string]interface {}"
    );
}

#[test]
fn json_patches_do_all_operations_with_the_leniencies_of_the_api() {
    let document = json!({"data": {"k": "1", "a/b": "2", "l": [1, 2, 3]}});
    let table = [
        (
            json!([{"op": "add", "path": "/data/n", "value": "4"}]),
            "/data/n",
            json!("4"),
        ),
        (
            json!([{"op": "add", "path": "/data/l/-", "value": 4}]),
            "/data/l",
            json!([1, 2, 3, 4]),
        ),
        (
            json!([{"op": "add", "path": "/data/l/1", "value": 4}]),
            "/data/l",
            json!([1, 4, 2, 3]),
        ),
        (
            json!([{"op": "add", "path": "/data/l/3", "value": 4}]),
            "/data/l",
            json!([1, 2, 3, 4]),
        ),
        (
            json!([{"op": "add", "path": "/data/l/-1", "value": 4}]),
            "/data/l",
            json!([1, 2, 3, 4]),
        ),
        (
            json!([{"op": "remove", "path": "/data/l/-1"}]),
            "/data/l",
            json!([1, 2]),
        ),
        (
            json!([{"op": "replace", "path": "/data/a~1b", "value": "5"}]),
            "/data/a~1b",
            json!("5"),
        ),
        (
            json!([{"op": "replace", "path": "/data/none", "value": "5"}]),
            "/data/none",
            json!("5"),
        ),
        (
            json!([{"op": "add", "path": "/data/k"}]),
            "/data/k",
            Tree::Null,
        ),
        (
            json!([{"op": "add", "path": "ignored/data/k", "value": 1}]),
            "/data/k",
            json!(1),
        ),
        (
            json!([{"op": "move", "from": "/data/k", "path": "/data/m"}]),
            "/data/m",
            json!("1"),
        ),
        (
            json!([{"op": "copy", "from": "/data/l/0", "path": "/data/m"}]),
            "/data/m",
            json!(1),
        ),
        (
            json!([{"op": "copy", "from": "/data/none", "path": "/data/m"}]),
            "/data/m",
            Tree::Null,
        ),
        (
            json!([{"op": "test", "path": "/data/k", "value": "1"}, {"op": "test",
                "path": "/data/none"}]),
            "/data/k",
            json!("1"),
        ),
        (json!([]), "/data/k", json!("1")),
    ];
    for (patch, pointer, expected) in table {
        let patched = json(document.clone(), patch.clone()).unwrap();
        assert_eq!(patched.pointer(pointer), Some(&expected), "{patch}");
    }
}

#[test]
fn a_failing_json_patch_changes_nothing_and_is_a_422() {
    let document = json!({"data": {"k": "1", "l": [1]}});
    let table = [
        json!([{"op": "test", "path": "/data/k", "value": "9"}]),
        json!([{"op": "remove", "path": "/data/none"}]),
        json!([{"op": "move", "path": "/data/x"}]),
        json!([{"op": "add", "path": "/none/x", "value": 1}]),
        json!([{"op": "add", "path": "", "value": 1}]),
        json!([{"op": "add", "path": "/data/l/2", "value": 1}]),
        json!([{"op": "replace", "path": "/data/l/1", "value": 1}]),
        json!([{"op": "add", "path": "/data/k/x", "value": 1}]),
        json!([{"op": "add", "value": 1}]),
        json!([{"op": "increase", "path": "/data/k"}]),
        json!([{}]),
    ];
    for patch in table {
        let error = json(document.clone(), patch.clone()).unwrap_err();
        assert_eq!(
            (error.status().code, error.to_string().as_str()),
            (
                422,
                "the server rejected our request due to an error in our request"
            ),
            "{patch}"
        );
    }
}

#[test]
fn invalid_json_patches_are_rejected() {
    let table = [
        (
            json!({"op": "add"}),
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        (
            json!([1]),
            400,
            "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
        ),
        (
            json!([{"op": 1}]),
            400,
            "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
        ),
        (
            Tree::from(vec![json!({}); 10_001]),
            413,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
        ),
    ];
    for (patch, code, message) in table {
        let error = json(json!({}), patch).unwrap_err();
        assert_eq!(
            (error.status().code, error.to_string().as_str()),
            (code, message)
        );
    }
}

#[test]
fn a_json_patch_cannot_make_a_document_large_deep_or_slow() {
    let why = |document: Tree, patch: Vec<Tree>| match json(document, Tree::from(patch)) {
        Err(PatchError::Rejected(why)) => why,
        other => panic!("{other:?}"),
    };
    let long = "x".repeat(100_000);
    let doubling = (0..60).map(|_| json!({"op": "copy", "from": "/d", "path": "/d/-"}));
    assert!(why(json!({"d": [long]}), doubling.collect()).contains("copies"));
    let nesting = (0..60)
        .map(|_| json!({"op": "copy", "from": "/d", "path": format!("/d{}", "/0".repeat(60))}));
    let mut deep = json!([[]]);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    assert!(why(json!({"d": deep}), nesting.collect()).contains("nested"));
    let wide: Tree = (0..2000).collect();
    let moves = (0..2000).map(|index| match index % 2 {
        0 => json!({"op": "move", "from": "/a", "path": "/b"}),
        _ => json!({"op": "move", "from": "/b", "path": "/a"}),
    });
    assert!(why(json!({"a": wide}), moves.collect()).contains("large"));
}

#[test]
fn invalid_json_is_rejected_with_the_messages_of_the_api() {
    let table = [
        ("", "unexpected end of JSON input"),
        ("[", "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
    ];
    for (bytes, why) in table {
        assert_eq!(
            decode(bytes.as_bytes()).unwrap_err(),
            PatchError::BadRequest(format!("error decoding patch: {why}"))
        );
    }
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        "a|b|delete|replace|merge".prop_map(Tree::from),
        (0..3).prop_map(Tree::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = "containers|finalizers|labels|selector|strategy|name|port|ports|image|[$]patch|[$]retainKeys|[$]setElementOrder/containers|[$]deleteFromPrimitiveList/finalizers";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::from),
            proptest::collection::btree_map(name, inner, 0..5).prop_map(Tree::from_iter),
        ]
    })
}

/// Returns the document without members that have a meaning in patches.
fn plain(tree: Tree) -> Tree {
    match tree {
        Tree::Null => json!(0),
        Tree::Object(members) => members
            .into_iter()
            .filter(|(name, _)| !name.starts_with('$'))
            .map(|(name, value)| (name, plain(value)))
            .collect(),
        Tree::Array(items) => items.into_iter().map(plain).collect(),
        other => other,
    }
}

proptest! {
    #[test]
    fn patches_never_panic(document in any_tree(), patch in any_tree()) {
        let _ = strategic(document.clone(), patch.clone(), &SPEC);
        let _ = merge(document.clone(), patch.clone());
        let _ = json(document, patch);
    }

    #[test]
    fn an_object_patched_into_nothing_is_itself(value in any_tree()) {
        let document = json!({"strategy": plain(value)});
        prop_assert_eq!(strategic(json!({}), document.clone(), &SPEC), Ok(document.clone()));
        prop_assert_eq!(merge(json!({}), document.clone()), Ok(document.clone()));
        prop_assert_eq!(merge(document.clone(), document.clone()), Ok(document));
    }

    #[test]
    fn lists_merge_like_maps(old in proptest::collection::btree_map("[a-h]", 0..9_i32, 0..6),
        new in proptest::collection::btree_map("[a-h]", 0..9_i32, 0..6)) {
        let list = |items: &std::collections::BTreeMap<String, i32>| -> Tree {
            items.iter().map(|(name, image)| json!({"name": name, "image": image})).collect()
        };
        let patched = strategic(json!({"containers": list(&old)}),
            json!({"containers": list(&new)}), &SPEC).unwrap();
        let mut model = old;
        model.extend(new);
        let mut items = patched["containers"].as_array().cloned().unwrap();
        items.sort_by_key(|item| item["name"].to_string());
        prop_assert_eq!(Tree::from(items), list(&model));
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24),
        text in "[\\[\\]{}\":,a0\n ]{0,16}") {
        let _ = (decode(&bytes), decode(text.as_bytes()));
    }
}

/// The recorded conversation "Strategic merge patch of metadata, strategy and conditions", with the
/// real types.
#[test]
fn real_kinds_are_patched_as_recorded() {
    let deployment = crate::type_named("io.k8s.api.apps.v1.Deployment").unwrap();
    let pod = crate::type_named("io.k8s.api.core.v1.Pod").unwrap();
    let budget = crate::type_named("io.k8s.api.policy.v1.PodDisruptionBudget").unwrap();
    let condition = |name: &str, status: &str| json!({"type": name, "status": status});
    let finalizers = |list: &[&str]| json!({"metadata": {"finalizers": list}});
    let conditions = |list: &[Tree]| json!({"status": {"conditions": list}});
    let [a, b, c] = ["A", "B", "C"].map(|name| condition(name, "True"));
    let table = [
        (
            deployment,
            finalizers(&["a.b/c", "d.e/f"]),
            finalizers(&["g.h/i"]),
            finalizers(&["g.h/i", "a.b/c", "d.e/f"]),
        ),
        (
            deployment,
            finalizers(&["g.h/i", "a.b/c", "d.e/f"]),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/c"]}}),
            finalizers(&["g.h/i", "d.e/f"]),
        ),
        (
            deployment,
            finalizers(&["a.b/c"]),
            json!({"metadata": {"finalizers": null}}),
            json!({"metadata": {}}),
        ),
        (
            deployment,
            json!({"spec": {"strategy": {"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"type": "Recreate", "$retainKeys": ["type"]}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        ),
        (
            deployment,
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c",
                "image": "img"}]}}}}),
            json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "c"}],
                "containers": [{"image": "img:2", "name": "c"}]}}}}),
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c",
                "image": "img:2"}]}}}}),
        ),
        (
            pod,
            conditions(&[a.clone(), b.clone()]),
            json!({"status": {"conditions": [condition("B", "False"), c.clone()]}}),
            conditions(&[a.clone(), condition("B", "False"), c.clone()]),
        ),
        (
            pod,
            conditions(&[a, b.clone(), c.clone()]),
            json!({"status": {
                "$setElementOrder/conditions": [{"type": "C"}, {"type": "A"}, {"type": "B"}],
                "conditions": [{"type": "A", "$patch": "delete"}]
            }}),
            conditions(&[c, b.clone()]),
        ),
        (
            pod,
            json!({"metadata": {"ownerReferences": [{"uid": "1"}]}}),
            json!({"metadata": {"ownerReferences": [{"uid": "2"}]}}),
            json!({"metadata": {"ownerReferences": [{"uid": "2"}, {"uid": "1"}]}}),
        ),
        (
            pod,
            json!({"spec": {"tolerations": [{"key": "a"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
        ),
        (
            budget,
            conditions(std::slice::from_ref(&b)),
            conditions(&[condition("X", "True")]),
            conditions(&[condition("X", "True"), b]),
        ),
        (
            budget,
            json!({"spec": {"selector": {"matchLabels": {"app": "none"}}}}),
            json!({"spec": {"selector": {"matchLabels": {"more": "m"}}}}),
            json!({"spec": {"selector": {"matchLabels": {"more": "m"}}}}),
        ),
    ];
    for (ty, document, patch, expected) in table {
        assert_eq!(
            strategic(document, patch.clone(), ty),
            Ok(expected),
            "{patch}"
        );
    }
}
