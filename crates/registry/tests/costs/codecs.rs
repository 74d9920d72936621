//! Codecs, selectors and patches: what happens before the registry is asked.

use kinds::apply::{ApplySchema, FieldManager};
use kinds::patch::strategic;
use kinds::selector::LabelSelector;
use kinds::status::{FieldError, GroupResource, Status};
use kinds::tree::json;
use kinds::{Tree, yaml};

use crate::costs;

fn repeated(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect()
}

fn list(count: usize, item: impl Fn(usize) -> Tree) -> Tree {
    (0..count).map(item).collect()
}

fn pod_type() -> &'static kinds::facts::Type {
    kinds::resource("", "v1", "pods").expect("it is served").ty
}

fn patch(object: Tree, patch: Tree) {
    let _ = strategic(object, patch, pod_type());
}

/// An entry of managed fields, which owns one label.
fn manager(name: &str, version: &str, label: usize) -> Tree {
    let label = format!("f:l{label}");
    json!({"manager": name, "operation": "Update", "apiVersion": version,
        "time": "2026-11-30T00:00:00Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {label: {}}}}})
}

fn labels(count: usize, value: &str) -> Tree {
    let labels = (0..count).map(|at| (format!("l{at}"), Tree::from(value)));
    Tree::Object(labels.collect())
}

/// Updates all labels of an object with these managers.
fn update(count: usize, managers: impl Fn(usize) -> Tree) {
    let managed = list(count, managers);
    let object = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "uid": "u", "labels": labels(count, value), "managedFields": managed}})
    };
    let writer = FieldManager {
        manager: "me",
        api_version: "v1",
        subresource: "",
        now: "2026-11-30T00:00:01Z",
    };
    let schema = ApplySchema::BuiltIn(pod_type());
    let _ = kinds::apply::update_managers(&object("a"), &object("b"), schema, &writer);
}

/// Applies other labels to an object of which others own all of them.
fn conflicting(count: usize) {
    let managed = list(count, |at| manager(&format!("m{at}"), "v1", at));
    let live = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p",
        "uid": "u", "labels": labels(count, "a"), "managedFields": managed}});
    let applied = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p",
        "labels": labels(count, "b")}});
    let writer = FieldManager {
        manager: "me",
        api_version: "v1",
        subresource: "",
        now: "2026-11-30T00:00:01Z",
    };
    let schema = ApplySchema::BuiltIn(pod_type());
    let refused = kinds::apply::apply(&live, &applied, schema, &writer, false);
    drop(refused.expect_err("conflicts").status());
}

costs! {
    duplicate_keys_of_yaml: 1_000, |size| {
        let text = repeated(size, |at| format!("k{}: 1\n", at / 2));
        yaml::to_json(text.as_bytes()).expect("valid");
    };
    aliases_of_yaml: 500, |size| {
        let text = format!("a: &a [1, 2]\nb:\n{}", repeated(size, |_| "- *a\n".to_owned()));
        yaml::to_json(text.as_bytes()).expect("valid");
    };
    anchors_of_yaml: 500, |size| {
        let text = repeated(size, |at| format!("k{at}: &a{at} {{x: 1}}\n"));
        yaml::to_json(text.as_bytes()).expect("valid");
    };
    unknown_members: 1_000, |size| {
        let text = repeated(size, |at| format!("\"k{at}\":1,"));
        let text = format!("{{{text}\"kind\":\"Pod\"}}");
        kinds::json::decode(text.as_bytes(), pod_type()).expect("valid");
    };
    members_in_reverse_order: 2_000, |size| {
        let text = repeated(size, |at| format!("\"k{:09}\":1,", size - at));
        kinds::json::decode_untyped(format!("{{{text}\"a\":1}}").as_bytes()).expect("valid");
    };
    invalid_values_of_a_selector: 500, |size| {
        let text = format!("a in ({})", repeated(size, |at| format!("-{at},")));
        LabelSelector::parse(&text).expect_err("invalid");
    };
    requirements_of_a_selector: 500, |size| {
        let text = repeated(size, |at| format!("k{at}=v,"));
        let selector = LabelSelector::parse(text.trim_end_matches(',')).expect("valid");
        assert!(!selector.matches(&json!({"a": "b"})));
    };
    faults_of_an_object: 2_000, |size| {
        let faults: Vec<FieldError> = (0..size)
            .map(|at| FieldError::required(format!("spec.x[{at}]"), ""))
            .collect();
        let kind = GroupResource { group: "", resource: "Pod" };
        drop(Status::invalid(kind, "p", &faults));
    };
    values_deleted_from_a_list: 500, |size| {
        let names = list(size, |at| format!("example.com/f{at}").into());
        patch(json!({"metadata": {"finalizers": names}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers":
                list(size, |at| format!("example.com/g{at}").into())}}));
    };
    retained_keys: 500, |size| {
        patch(json!({"metadata": {"labels": labels(size, "a")}}),
            json!({"metadata": {"labels": {"$retainKeys":
                list(size, |at| format!("x{at}").into())}}}));
    };
    items_merged_by_key: 500, |size| {
        let items = |prefix: &str| list(size, |at| json!({"name": format!("{prefix}{at}")}));
        patch(json!({"spec": {"containers": items("a")}}),
            json!({"spec": {"containers": items("b")}}));
    };
    items_deleted_by_key: 500, |size| {
        patch(json!({"spec": {"containers": list(size, |at| json!({"name": format!("a{at}")}))}}),
            json!({"spec": {"containers":
                list(size, |at| json!({"$patch": "delete", "name": format!("b{at}")}))}}));
    };
    items_in_a_given_order: 500, |size| {
        let names = list(size, |at| json!({"name": format!("a{}", size - at)}));
        patch(json!({"spec": {"containers": list(size, |at| json!({"name": format!("a{at}")}))}}),
            json!({"spec": {"$setElementOrder/containers": names}}));
    };
    managers_of_an_object: 200, |size| update(size, |at| manager(&format!("m{at}"), "v1", at));
    versions_of_managers: 200, |size| update(size, |at| manager("m", &format!("v{at}"), at));
    repeated_managers: 200, |size| update(size, |at| manager("m", "v1", at));
    conflicts_of_an_apply: 200, conflicting;
    undeclared_members_of_an_apply: 500, |size| {
        // The path of each member contains a key that is as long as there are members.
        let key = "k".repeat(20 * size);
        let members = (0..size).map(|at| (format!("x{at}"), Tree::from(1)));
        let container = json!({"name": key, "resources": Tree::Object(members.collect())});
        let applied = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [container]}});
        let writer = FieldManager { manager: "me", api_version: "v1", subresource: "", now: "" };
        let schema = ApplySchema::BuiltIn(pod_type());
        kinds::apply::apply(&json!({}), &applied, schema, &writer, false)
            .expect_err("undeclared");
    };
}
