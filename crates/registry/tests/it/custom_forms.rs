//! What an object of a custom kind is when it is read: defaults, versions, and the answers to
//! objects that do not fit.

use registry::request::PatchKind;
use serde_json::{Value, json};

use crate::custom::{create, get, patch, send};
use crate::world::{World, refused};

async fn world() -> World {
    let world = World::new().await;
    let version = |name: &str, storage: bool, spec: Value| {
        json!({"name": name, "served": true, "storage": storage,
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas"}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec,
                "x-kubernetes-validations": [{"rule": "true"}]},
            "status": {"type": "object", "default": {"phase": "Unknown"}, "properties": {
                "phase": {"type": "string"}, "replicas": {"type": "integer"}}},
        }}}})
    };
    let definition = json!({
        "metadata": {"name": "crates.shop.example.com"},
        "spec": {
            "group": "shop.example.com", "scope": "Namespaced",
            "names": {"plural": "crates", "kind": "Crate"},
            "versions": [
                version("v1", true, json!({
                    "color": {"type": "string", "default": "red"},
                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "replicas": {"type": "integer"}})),
                version("v1beta1", false, json!({
                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "replicas": {"type": "integer"}})),
            ],
        },
    });
    world
        .create("customresourcedefinitions", "", definition)
        .await;
    world
}

fn object(version: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("shop.example.com/{version}"), "kind": "Crate",
        "metadata": {"name": "a"}, "spec": spec})
}

#[tokio::test(start_paused = true)]
async fn a_new_object_has_the_default_of_its_status() {
    let world = world().await;
    let mut body = object("v1", json!({}));
    body["status"] = json!({"phase": "Ready"});
    let (_, made) = send(&world, "v1", "shop", create(&body))
        .await
        .expect("made");
    assert_eq!(made["status"], json!({"phase": "Unknown"}));
    let (_, read) = send(&world, "v1", "shop/a", get()).await.expect("read");
    assert_eq!(read["status"], json!({"phase": "Unknown"}));
}

#[tokio::test(start_paused = true)]
async fn an_object_of_another_version_is_read_with_the_defaults_of_the_stored_one() {
    let world = world().await;
    let body = object("v1beta1", json!({"replicas": 2}));
    let (_, made) = send(&world, "v1beta1", "shop", create(&body))
        .await
        .expect("made");
    assert_eq!(made["spec"], json!({"replicas": 2}));
    let (_, read) = send(&world, "v1", "shop/a", get()).await.expect("read");
    assert_eq!(read["spec"], json!({"color": "red", "replicas": 2}));
    let (_, read) = send(&world, "v1beta1", "shop/a", get())
        .await
        .expect("read");
    assert_eq!(read["spec"], json!({"replicas": 2}));
}

#[tokio::test(start_paused = true)]
async fn a_refused_patch_brings_its_warnings() {
    let world = world().await;
    let body = object("v1", json!({"replicas": 2}));
    send(&world, "v1", "shop", create(&body))
        .await
        .expect("made");
    let wrong = json!({"spec": {"colour": "red", "replicas": "many"}});
    let refusal = send(&world, "v1", "shop/a", patch(PatchKind::Merge, &wrong, "m"))
        .await
        .expect_err("refused");
    assert_eq!(refusal.status.code, 422);
    assert_eq!(refusal.warnings, ["unknown field \"spec.colour\""]);
    let causes: Vec<String> = refusal
        .status
        .details
        .expect("details")
        .causes
        .iter()
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .collect();
    assert_eq!(
        causes,
        [
            "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"",
            ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: many is of the type string, expected int64",
            "<nil>: Invalid value: \"null\": some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn two_managers_share_an_untyped_object() {
    let world = world().await;
    let apply = |any: Value, manager: &str| {
        patch(
            PatchKind::Apply,
            &object("v1", json!({"any": any})),
            manager,
        )
    };
    send(&world, "v1", "shop/a", apply(json!({"x": 1}), "one"))
        .await
        .expect("made");
    let (_, both) = send(&world, "v1", "shop/a", apply(json!({"y": {"z": 1}}), "two"))
        .await
        .expect("merged");
    assert_eq!(both["spec"]["any"], json!({"x": 1, "y": {"z": 1}}));
    let conflict = refused(send(&world, "v1", "shop/a", apply(json!({"x": 2}), "two")).await);
    assert_eq!(
        conflict,
        (
            409,
            "Apply failed with 1 conflict: conflict with \"one\": .spec.any.x".to_owned()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn an_unqualified_finalizer_of_a_custom_object_brings_a_warning() {
    let world = world().await;
    let mut body = object("v1", json!({}));
    body["metadata"]["finalizers"] = json!(["cleanup", "example.com/cleanup", "a.b"]);
    let (code, made) = send(&world, "v1", "shop", create(&body))
        .await
        .expect("made");
    assert_eq!(code, 201);
    assert_eq!(
        made["warnings"],
        json!([
            "metadata.finalizers: \"a.b\": prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers",
            "metadata.finalizers: \"cleanup\": prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn faults_of_what_all_versions_share_name_the_old_place() {
    let world = World::new().await;
    for (part, value, expected) in [
        (
            "schema",
            json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {}}}}),
            "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            "additionalPrinterColumns",
            json!([{"name": "a", "type": "text", "jsonPath": "spec"}]),
            "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
        ),
        (
            "additionalPrinterColumns",
            json!([{"name": "a", "type": "string", "jsonPath": "spec"}]),
            "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"spec\": must be a simple json path starting with .",
        ),
        (
            "subresources",
            json!({"scale": {"specReplicasPath": ".x", "statusReplicasPath": "status"}}),
            "spec.subresources.scale.specReplicasPath: Invalid value: \".x\": should be a json path under .spec",
        ),
    ] {
        let mut body = json!({
            "metadata": {"name": "crates.shop.example.com"},
            "spec": {"group": "shop.example.com", "scope": "Namespaced",
                "names": {"plural": "crates", "kind": "Crate"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}}]},
        });
        body["spec"]["versions"][0][part] = value;
        let (code, message) = refused(
            world
                .try_create("customresourcedefinitions", "", body)
                .await,
        );
        assert_eq!(code, 422, "{message}");
        assert!(message.contains(expected), "{message}\nlacks {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_path_and_a_type_beside_int_or_string_are_accepted() {
    let world = World::new().await;
    let paths = [
        ".spec.a[-1:]",
        ".spec.a[0:2]",
        ".spec.a[]",
        "..name",
        ".spec.a[?(@.n>3)].n",
        ".",
        ".spec.a[",
    ];
    let columns: Vec<Value> = paths
        .iter()
        .map(|path| json!({"name": path, "type": "string", "jsonPath": path}))
        .collect();
    let port = json!({"type": "string", "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}]});
    let body = json!({
        "metadata": {"name": "crates.shop.example.com"},
        "spec": {"group": "shop.example.com", "scope": "Namespaced",
            "names": {"plural": "crates", "kind": "Crate"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                    "type": "object", "properties": {"port": port}}}}}}]},
    });
    world.create("customresourcedefinitions", "", body).await;
    for port in [json!(80), json!("http")] {
        let mut body = object("v1", json!({ "port": port }));
        body["metadata"] = json!({"generateName": "a-"});
        let (code, _) = send(&world, "v1", "shop", create(&body))
            .await
            .expect("made");
        assert_eq!(code, 201);
    }
    assert_eq!(
        refused(
            send(
                &world,
                "v1",
                "shop",
                create(&object("v1", json!({"port": true})))
            )
            .await
        )
        .0,
        422
    );
}
