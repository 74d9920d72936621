//! The size of stored objects: what defaults, patches and managed fields make of a small body.

use bytes::Bytes;
use registry::request::{DeleteOptions, DeleteRequest, PatchKind, Verb, WriteOptions};
use serde_json::{Value, json};

use crate::world::{Answer, World, refused};

const LIMIT: &str = "Request entity too large: limit is 3145728";

fn is_too_large(answer: Answer) -> bool {
    refused(answer) == (413, LIMIT.to_owned())
}

/// Creates a kind with this schema of its spec.
async fn world(spec: Value) -> World {
    let world = World::new().await;
    let definition = json!({
        "metadata": {"name": "crates.shop.example.com"},
        "spec": {
            "group": "shop.example.com", "scope": "Namespaced",
            "names": {"plural": "crates", "kind": "Crate"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}],
        },
    });
    world
        .create("customresourcedefinitions", "", definition)
        .await;
    world
}

async fn create(world: &World, spec: Value) -> Answer {
    world
        .ask_of(
            "shop.example.com",
            "crates",
            "shop",
            Verb::Create {
                body: crate::world::json_body(&json!({
                    "apiVersion": "shop.example.com/v1", "kind": "Crate",
                    "metadata": {"name": "c"}, "spec": spec})),
                options: WriteOptions::default(),
            },
        )
        .await
}

#[tokio::test]
async fn an_object_that_defaults_make_too_large_is_refused() {
    let world = world(
        json!({"type": "object", "properties": {"parts": {"type": "array",
        "items": {"type": "object", "properties": {
            "note": {"type": "string", "default": "x".repeat(100_000)}}}}}}),
    )
    .await;
    assert_eq!(
        create(&world, json!({"parts": vec![json!({}); 3]}))
            .await
            .expect("it fits")
            .0,
        201
    );
    assert!(is_too_large(
        create(&world, json!({"parts": vec![json!({}); 100]})).await
    ));
    let parts = json!({"spec": {"parts": vec![json!({}); 100]}});
    let patched = patch(&world, PatchKind::Merge, parts).await;
    assert!(is_too_large(patched));
}

#[tokio::test]
async fn defaults_within_defaults_do_not_multiply_without_end() {
    // Each level makes a thousand items of each item: ten to the fifteenth in all.
    let mut schema = json!({"type": "object", "properties": {"end": {"type": "string"}}});
    for _ in 0..5 {
        schema = json!({"type": "object", "properties": {"list": {"type": "array",
            "items": schema, "default": vec![json!({}); 1_000]}}});
    }
    let world = world(schema).await;
    assert!(is_too_large(create(&world, json!({})).await));
}

/// Returns a kind whose spec takes anything.
async fn free() -> World {
    world(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await
}

fn large(prefix: &str, count: usize) -> Value {
    let members = (0..count).map(|at| (format!("{prefix}{at}"), json!("x".repeat(100_000))));
    members.collect::<serde_json::Map<_, _>>().into()
}

async fn patch(world: &World, kind: PatchKind, patch: Value) -> Answer {
    let options = WriteOptions {
        field_manager: "tester".to_owned(),
        ..WriteOptions::default()
    };
    let verb = Verb::Patch {
        kind,
        patch: Bytes::from(patch.to_string()),
        options,
    };
    world
        .ask_of("shop.example.com", "crates", "shop/c", verb)
        .await
}

#[tokio::test]
async fn what_patches_and_applies_add_counts() {
    let world = free().await;
    create(&world, large("a", 16)).await.expect("it fits");
    let more = json!({"spec": large("b", 16)});
    assert!(is_too_large(
        patch(&world, PatchKind::Merge, more.clone()).await
    ));
    let copies: Vec<Value> = (0..16)
        .map(|at| json!({"op": "copy", "from": "/spec/a0", "path": format!("/spec/c{at}")}))
        .collect();
    assert!(is_too_large(
        patch(&world, PatchKind::Json, copies.into()).await
    ));
    let applied = json!({"apiVersion": "shop.example.com/v1", "kind": "Crate",
        "metadata": {"name": "c"}, "spec": more["spec"]});
    assert!(is_too_large(patch(&world, PatchKind::Apply, applied).await));
    let smaller = json!({"spec": {"a0": null}});
    let (code, kept) = patch(&world, PatchKind::Merge, smaller)
        .await
        .expect("it shrinks");
    let members = kept["spec"].as_object().map(serde_json::Map::len);
    assert_eq!((code, members), (200, Some(15)));
}

#[tokio::test]
async fn managed_fields_count() {
    let world = free().await;
    let names: serde_json::Map<String, Value> = (0..150_000)
        .map(|at| (format!("{at}"), json!("")))
        .collect();
    assert!(is_too_large(create(&world, names.into()).await));
}

#[tokio::test]
async fn a_large_object_can_be_deleted() {
    let world = free().await;
    create(&world, large("a", 31)).await.expect("it fits");
    let finalizer = json!({"metadata": {"finalizers": ["example.com/f"]}});
    patch(&world, PatchKind::Merge, finalizer)
        .await
        .expect("it fits");
    let verb = Verb::Delete(DeleteRequest {
        body: None,
        query: DeleteOptions::default(),
    });
    let (code, kept) = world
        .ask_of("shop.example.com", "crates", "shop/c", verb)
        .await
        .expect("it is deleted");
    assert_eq!(code, 200);
    assert!(kept["metadata"]["deletionTimestamp"].is_string());
}
