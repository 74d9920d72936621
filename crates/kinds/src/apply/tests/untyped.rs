//! Keys that are left out, the order of conflicts, and values without a definition.

use super::*;
use crate::facts::Shape;

#[test]
fn keys_that_upstreams_schema_gives_a_default_may_be_left_out() {
    for (applied, pointer, element) in [
        (
            json!({"spec": {"containers": [{"image": "c"}]}}),
            "/f:spec/f:containers",
            "k:{\"name\":\"\"}",
        ),
        (
            json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "p"}]}]}}),
            "/f:spec/f:containers/k:{\"name\":\"c\"}/f:ports",
            "k:{\"containerPort\":0,\"protocol\":\"TCP\"}",
        ),
        (
            json!({"spec": {"imagePullSecrets": [{}]}}),
            "/f:spec/f:imagePullSecrets",
            "k:{\"name\":\"\"}",
        ),
        (
            json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1}]}}),
            "/f:spec/f:topologySpreadConstraints",
            "k:{\"topologyKey\":\"\",\"whenUnsatisfiable\":\"\"}",
        ),
        (
            json!({"status": {"conditions": [{"status": "True"}]}}),
            "/f:status/f:conditions",
            "k:{\"type\":\"\"}",
        ),
    ] {
        let mut pod = TestObject::new(POD);
        pod.apply("m", applied.clone()).unwrap();
        let fields = &managers::of(&pod.live)[0]["fieldsV1"];
        let items = fields
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{fields}"));
        assert!(items.get(element).is_some(), "{applied}: {items}");
    }
}

#[test]
fn conflicts_name_the_fields_of_one_level_before_those_below() {
    let mut pod = TestObject::new(POD);
    let spec = |image: &str, name: &str| {
        let containers = json!([{"name": "c", "image": image}]);
        json!({"spec": {"nodeName": name, "containers": containers}})
    };
    pod.apply("a", spec("i", "n")).unwrap();
    pod.write(
        "b",
        json!({"spec": {"containers": [{"name": "d", "image": "x"}]}}),
    );
    let error = pod
        .apply(
            "m",
            json!({"spec": {"nodeName": "o", "containers": [{"name": "d", "image": "y",
                "stdin": true}, {"name": "c", "image": "j"}]}}),
        )
        .unwrap_err();
    let text = error.to_string();
    let own = text.find("- .spec.nodeName").expect("the node's name");
    let below = text.find("- .spec.containers").expect("a container");
    assert!(own < below, "{text}");
}

#[test]
fn untyped_values_are_owned_leaf_by_leaf() {
    // As a definition has it: `free` preserves unknown members, `loose` has no type at all.
    let free = CustomType::new(Vec::new(), false).with_rest(CustomShape::Deduced);
    let known = CustomType::new(
        vec![CustomField::new("size", CustomShape::BuiltIn(Shape::Int64))],
        false,
    )
    .with_rest(CustomShape::Deduced);
    let ty = CustomType::new(
        vec![
            CustomField::new("free", CustomShape::Object(free)),
            CustomField::new("known", CustomShape::Object(known)),
            CustomField::new("loose", CustomShape::Deduced),
        ],
        false,
    )
    .with_rest(CustomShape::Deduced);
    let schema = ApplySchema::Custom(&ty);
    let apply_as = |manager: &str, live: &Tree, applied: Tree| {
        let writer = FieldManager {
            manager,
            api_version: "x/v1",
            subresource: "",
            now: "2026-01-01T00:00:00Z",
        };
        let applied = crate::patch::merge(json!({"metadata": {"name": "a"}}), applied).unwrap();
        apply(live, &applied, schema, &writer, false)
    };
    for part in ["free", "known", "loose"] {
        let live = apply_as("one", &json!({}), json!({part: {"x": {"z": 1}}})).unwrap();
        let live = apply_as("two", &live, json!({part: {"x": {"w": [1, 2]}, "y": 1}})).unwrap();
        assert_eq!(live[part], json!({"x": {"z": 1, "w": [1, 2]}, "y": 1}));
        let fields = format!("f:{part}");
        assert_eq!(
            managers::of(&live)[0]["fieldsV1"],
            json!({fields.as_str(): {"f:x": {".": {}, "f:z": {}}}}),
        );
        let error = apply_as("three", &live, json!({part: {"x": {"z": 2}}})).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Apply failed with 1 conflict: conflict with \"one\": .{part}.x.z")
        );
        let live = apply_as("two", &live, json!({})).unwrap();
        assert_eq!(live[part], json!({"x": {"z": 1}}), "{part}");
    }
    let live = apply_as(
        "one",
        &json!({}),
        json!({"known": {"size": 1}, "loose": "text"}),
    )
    .unwrap();
    assert_eq!(
        managers::of(&live)[0]["fieldsV1"],
        json!({"f:known": {"f:size": {}}, "f:loose": {}})
    );
    let error = apply_as("one", &live, json!({"known": {"size": "x"}})).unwrap_err();
    assert_eq!(error.status().code, 500);
}
