//! Custom resources: from the definition to the last object.

use std::sync::Arc;

use bytes::Bytes;
use kinds::status::Status;
use registry::request::{
    DeleteOptions, FieldValidation, ListOptions, PatchKind, Refusal, Reply, Request, User, Verb,
    WriteOptions,
};
use serde_json::{Value, json};

use crate::world::{Answer, World, json_body, refused};

const DEFINITIONS: &str = "customresourcedefinitions";

fn definition() -> Value {
    json!({
        "metadata": {"name": "crates.shop.example.com"},
        "spec": {
            "group": "shop.example.com", "scope": "Namespaced",
            "names": {"plural": "crates", "kind": "Crate", "shortNames": ["cr"],
                "categories": ["all"]},
            "versions": [
                {
                    "name": "v1", "served": true, "storage": true,
                    "subresources": {"status": {}, "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector"}},
                    "selectableFields": [{"jsonPath": ".spec.color"}],
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "required": ["color"], "properties": {
                            "color": {"type": "string", "enum": ["red", "blue"]},
                            "replicas": {"type": "integer", "default": 1, "minimum": 0},
                            "parts": {"type": "array", "x-kubernetes-list-type": "map",
                                "x-kubernetes-list-map-keys": ["name"],
                                "items": {"type": "object", "required": ["name"],
                                    "properties": {"name": {"type": "string"},
                                    "size": {"type": "integer"}}}},
                        }},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    }}},
                },
                {"name": "v1beta1", "served": true, "storage": false, "schema": {"openAPIV3Schema":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
                {"name": "v1alpha1", "served": false, "storage": false,
                    "schema": {"openAPIV3Schema": {"type": "object"}}},
            ],
        },
    })
}

async fn world() -> World {
    let world = World::new().await;
    world.create(DEFINITIONS, "", definition()).await;
    world
}

/// Returns a request that is routed by the definitions of this moment.
fn request(world: &World, version: &str, path: &str, verb: Verb) -> Result<Request, Refusal> {
    let mut parts = path.split('/').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let (namespace, name, subresource) = (part(), part(), part());
    let resource = world
        .registry
        .resource("shop.example.com", version, "crates")
        .ok_or_else(Status::no_such_resource)?;
    let subresource = match subresource.as_str() {
        "" => None,
        name => Some(
            resource
                .subresource(name)
                .ok_or_else(Status::no_such_resource)?
                .name,
        ),
    };
    let user = User {
        name: "tester".to_owned(),
        ..User::default()
    };
    Ok(Request {
        user: Arc::new(user),
        resource,
        subresource,
        namespace,
        name,
        verb,
    })
}

pub(crate) async fn send(world: &World, version: &str, path: &str, verb: Verb) -> Answer {
    let request = request(world, version, path, verb)?;
    match world.registry.call(request).await? {
        Reply::Object {
            code,
            json,
            warnings,
        } => {
            let mut object: Value = serde_json::from_slice(&json).expect("JSON");
            if !warnings.is_empty() {
                object["warnings"] = json!(warnings);
            }
            Ok((code, object))
        }
        Reply::Status { code, status, .. } => {
            Ok((code, serde_json::to_value(&status).expect("serializes")))
        }
        Reply::List { items, kind, .. } => {
            let items: Vec<Value> = items
                .iter()
                .map(|item| serde_json::from_slice(item).expect("JSON"))
                .collect();
            Ok((200, json!({"kind": kind, "items": items})))
        }
        Reply::Watch(_) => panic!("a watch is not an answer"),
    }
}

pub(crate) fn create(body: &Value) -> Verb {
    Verb::Create {
        body: json_body(body),
        options: WriteOptions::default(),
    }
}

pub(crate) fn get() -> Verb {
    Verb::Get {
        resource_version: String::new(),
    }
}

pub(crate) fn patch(kind: PatchKind, patch: &Value, manager: &str) -> Verb {
    let options = WriteOptions {
        field_manager: manager.to_owned(),
        ..WriteOptions::default()
    };
    Verb::Patch {
        kind,
        patch: Bytes::from(patch.to_string()),
        options,
    }
}

fn delete() -> Verb {
    Verb::Delete(registry::request::DeleteRequest::default())
}

fn red(name: &str) -> Value {
    json!({"apiVersion": "shop.example.com/v1", "kind": "Crate", "metadata": {"name": name},
        "spec": {"color": "red"}})
}

#[tokio::test(start_paused = true)]
async fn a_definition_is_established_by_the_revision_after_its_creation() {
    let world = World::new().await;
    assert_eq!(refused(send(&world, "v1", "shop/a", get()).await).0, 404);
    let made = world.create(DEFINITIONS, "", definition()).await;
    assert_eq!(made["status"]["conditions"], Value::Null);
    assert_eq!(made["spec"]["names"]["listKind"], "CrateList");
    assert_eq!(made["spec"]["conversion"]["strategy"], "None");
    let found = world
        .get(DEFINITIONS, "/crates.shop.example.com")
        .await
        .expect("it is there");
    let conditions: Vec<_> = found["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .map(|one| (&one["type"], &one["status"]))
        .collect();
    assert_eq!(
        conditions,
        [
            (&json!("NamesAccepted"), &json!("True")),
            (&json!("Established"), &json!("True"))
        ]
    );
    assert_eq!(found["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(
        found["status"]["acceptedNames"]["shortNames"],
        json!(["cr"])
    );
    assert_eq!(
        refused(send(&world, "v1alpha1", "shop/a", get()).await).0,
        404
    );
    let rows = world.registry.custom_rows();
    assert_eq!(
        rows.iter()
            .map(|row| row.version.as_str())
            .collect::<Vec<_>>(),
        ["v1", "v1beta1"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_is_pruned_defaulted_and_validated() {
    let world = world().await;
    let mut body = red("a");
    body["spec"]["colour"] = json!("grey");
    body["status"] = json!({"replicas": 3});
    let (code, made) = send(&world, "v1", "shop", create(&body))
        .await
        .expect("made");
    assert_eq!(
        (code, &made["spec"]),
        (201, &json!({"color": "red", "replicas": 1}))
    );
    assert_eq!(made["warnings"], json!(["unknown field \"spec.colour\""]));
    assert_eq!(
        (&made["status"], &made["metadata"]["generation"]),
        (&Value::Null, &json!(1))
    );
    let strict = Verb::Create {
        body: json_body(&body),
        options: WriteOptions {
            field_validation: FieldValidation::Strict,
            ..WriteOptions::default()
        },
    };
    let (code, message) = refused(send(&world, "v1", "shop", strict).await);
    assert_eq!(code, 400);
    assert!(
        message.contains("strict decoding error: unknown field \"spec.colour\""),
        "{message}"
    );
    let mut bad = red("b");
    bad["spec"] = json!({"color": "green", "replicas": -1});
    let (code, message) = refused(send(&world, "v1", "shop", create(&bad)).await);
    assert_eq!(code, 422);
    for part in [
        "Crate.shop.example.com \"b\" is invalid",
        "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"",
        "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_patch_languages_but_the_strategic_one_work() {
    let world = world().await;
    send(&world, "v1", "shop", create(&red("a")))
        .await
        .expect("made");
    let (_, merged) = send(
        &world,
        "v1",
        "shop/a",
        patch(PatchKind::Merge, &json!({"spec": {"color": "blue"}}), "m"),
    )
    .await
    .expect("merged");
    assert_eq!(
        (&merged["spec"]["color"], &merged["metadata"]["generation"]),
        (&json!("blue"), &json!(2))
    );
    let operations = json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]);
    let (_, changed) = send(
        &world,
        "v1",
        "shop/a",
        patch(PatchKind::Json, &operations, "m"),
    )
    .await
    .expect("changed");
    assert_eq!(changed["spec"]["replicas"], 4);
    assert_eq!(
        refused(
            send(
                &world,
                "v1",
                "shop/a",
                patch(PatchKind::Strategic, &json!({}), "m")
            )
            .await
        )
        .0,
        415
    );
    let apply = |part: &str, manager: &str| {
        let body = json!({"apiVersion": "shop.example.com/v1", "kind": "Crate",
            "metadata": {"name": "a"}, "spec": {"parts": [{"name": part, "size": 1}]}});
        patch(PatchKind::Apply, &body, manager)
    };
    send(&world, "v1", "shop/a", apply("lid", "one"))
        .await
        .expect("applied");
    let (_, applied) = send(&world, "v1", "shop/a", apply("side", "two"))
        .await
        .expect("applied");
    let names: Vec<_> = applied["spec"]["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| &part["name"])
        .collect();
    assert_eq!(names, ["lid", "side"]);
}

#[tokio::test(start_paused = true)]
async fn status_and_scale_are_served() {
    let world = world().await;
    send(&world, "v1", "shop", create(&red("a")))
        .await
        .expect("made");
    let status = json!({"spec": {"color": "blue"}, "status": {"replicas": 2, "selector": "a=b"}});
    let (_, changed) = send(
        &world,
        "v1",
        "shop/a/status",
        patch(PatchKind::Merge, &status, "m"),
    )
    .await
    .expect("changed");
    assert_eq!(
        (
            &changed["spec"]["color"],
            &changed["status"]["replicas"],
            &changed["metadata"]["generation"]
        ),
        (&json!("red"), &json!(2), &json!(1))
    );
    let (_, scale) = send(&world, "v1", "shop/a/scale", get())
        .await
        .expect("a scale");
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"]),
        (&json!("Scale"), &json!(1))
    );
    assert_eq!(scale["status"], json!({"replicas": 2, "selector": "a=b"}));
    send(
        &world,
        "v1",
        "shop/a/scale",
        patch(PatchKind::Merge, &json!({"spec": {"replicas": 7}}), "m"),
    )
    .await
    .expect("scaled");
    assert_eq!(
        send(&world, "v1", "shop/a", get()).await.expect("there").1["spec"]["replicas"],
        7
    );
}

#[tokio::test(start_paused = true)]
async fn selectable_fields_select_and_others_are_refused() {
    let world = world().await;
    let mut blue = red("b");
    blue["spec"]["color"] = json!("blue");
    for body in [red("a"), blue] {
        send(&world, "v1", "shop", create(&body))
            .await
            .expect("made");
    }
    let select = |text: &str| {
        Verb::List(ListOptions {
            field_selector: text.to_owned(),
            ..ListOptions::default()
        })
    };
    let (_, list) = send(&world, "v1", "shop", select("spec.color=blue"))
        .await
        .expect("a list");
    assert_eq!(
        (&list["kind"], list["items"].as_array().map(Vec::len)),
        (&json!("CrateList"), Some(1))
    );
    assert_eq!(list["items"][0]["metadata"]["name"], "b");
    assert_eq!(
        refused(send(&world, "v1", "shop", select("spec.replicas=1")).await).0,
        400
    );
}

#[tokio::test(start_paused = true)]
async fn every_version_returns_the_same_objects_in_its_own_api_version() {
    let world = world().await;
    let mut body = red("a");
    body["apiVersion"] = json!("shop.example.com/v1beta1");
    body["spec"]["loose"] = json!(1);
    let (_, made) = send(&world, "v1beta1", "shop", create(&body))
        .await
        .expect("made");
    // The stored version does not have the field.
    assert_eq!(
        (&made["apiVersion"], &made["spec"]["loose"]),
        (&json!("shop.example.com/v1beta1"), &Value::Null)
    );
    let (_, found) = send(&world, "v1", "shop/a", get()).await.expect("there");
    assert_eq!(found["apiVersion"], "shop.example.com/v1");
    let mut changed = definition();
    changed["metadata"]["resourceVersion"] = world
        .get(DEFINITIONS, "/crates.shop.example.com")
        .await
        .expect("there")["metadata"]["resourceVersion"]
        .clone();
    for (version, storage) in [(0, false), (1, true)] {
        changed["spec"]["versions"][version]["storage"] = json!(storage);
    }
    let (_, updated) = world
        .update(DEFINITIONS, "/crates.shop.example.com", changed)
        .await
        .expect("updated");
    assert_eq!(
        updated["status"]["storedVersions"],
        json!(["v1", "v1beta1"])
    );
    for version in ["v1", "v1beta1"] {
        let (_, found) = send(&world, version, "shop/a", get()).await.expect("there");
        assert_eq!(found["apiVersion"], format!("shop.example.com/{version}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_definition_deletes_its_objects_and_waits_for_their_finalizers() {
    let world = world().await;
    let mut held = red("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    for body in [red("a"), held] {
        send(&world, "v1", "shop", create(&body))
            .await
            .expect("made");
    }
    let (code, marked) = world
        .delete(
            DEFINITIONS,
            "/crates.shop.example.com",
            DeleteOptions::default(),
        )
        .await
        .expect("deleted");
    assert_eq!(
        (code, &marked["metadata"]["finalizers"]),
        (200, &json!(["customresourcecleanup.apiextensions.k8s.io"]))
    );
    assert_eq!(refused(send(&world, "v1", "shop/a", get()).await).0, 404);
    let (code, message) = refused(send(&world, "v1", "shop", create(&red("late"))).await);
    assert_eq!(
        (code, message.as_str()),
        (
            405,
            "create not allowed while custom resource definition is terminating"
        )
    );
    assert!(
        world
            .get(DEFINITIONS, "/crates.shop.example.com")
            .await
            .is_some()
    );
    send(
        &world,
        "v1",
        "shop/held",
        patch(
            PatchKind::Merge,
            &json!({"metadata": {"finalizers": null}}),
            "m",
        ),
    )
    .await
    .expect("released");
    assert!(
        world
            .get(DEFINITIONS, "/crates.shop.example.com")
            .await
            .is_none()
    );
    assert_eq!(refused(send(&world, "v1", "shop/held", get()).await).0, 404);
    assert!(world.registry.custom_rows().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_routed_before_the_scope_changed_creates_nothing() {
    let world = world().await;
    let object = json!({
        "apiVersion": "shop.example.com/v1",
        "kind": "Crate",
        "metadata": {"name": "late"},
        "spec": {"color": "red"},
    });
    let late = request(&world, "v1", "shop", create(&object)).expect("routed");
    let name = "/crates.shop.example.com";
    let deleted = world.delete(DEFINITIONS, name, DeleteOptions::default());
    deleted.await.expect("deleted");
    let mut definition = definition();
    definition["spec"]["scope"] = json!("Cluster");
    world.create(DEFINITIONS, "", definition).await;
    let refusal = world.registry.call(late).await.err().expect("refused");
    assert_eq!(refusal.status.code, 404);
}

#[tokio::test(start_paused = true)]
async fn an_object_is_deleted_like_any_other() {
    let world = world().await;
    send(&world, "v1", "shop", create(&red("a")))
        .await
        .expect("made");
    let (code, answer) = send(&world, "v1", "shop/a", delete())
        .await
        .expect("deleted");
    assert_eq!((code, &answer["status"]), (200, &json!("Success")));
}

#[tokio::test(start_paused = true)]
async fn faults_of_definitions_have_upstreams_messages() {
    let world = World::new().await;
    let schema = "/spec/versions/0/schema/openAPIV3Schema";
    for (pointer, value, expected) in [
        (
            "/metadata/name",
            json!("boxes.shop.example.com"),
            "metadata.name: Invalid value: \"boxes.shop.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            "/spec/scope",
            json!("Village"),
            "spec.scope: Unsupported value: \"Village\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            "/spec/versions/1/storage",
            json!(true),
            "must have exactly one version marked as storage version",
        ),
        (
            "/spec/versions/1/name",
            json!("v1"),
            "must contain unique version names",
        ),
        (
            "/spec/versions/0/schema",
            Value::Null,
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            "/spec/names/kind",
            json!(""),
            "spec.names.kind: Required value",
        ),
        (
            schema,
            json!({"properties": {}}),
            "spec.versions[0].schema.openAPIV3Schema.type: Required value: must not be empty at the root",
        ),
        (
            schema,
            json!({"type": "object", "properties": {"spec": {"properties": {}}}}),
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            schema,
            json!({"type": "object", "properties": {"spec": {"type": "array"}}}),
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].items: Required value: must be specified",
        ),
        (
            schema,
            json!({"type": "object", "properties": {"spec": {"type": "integer",
                "default": "one"}}}),
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].default: Invalid value",
        ),
    ] {
        let mut body = definition();
        *body.pointer_mut(pointer).expect("a place") = value;
        let (code, message) = refused(world.try_create(DEFINITIONS, "", body).await);
        assert_eq!(code, 422, "{message}");
        assert!(message.contains(expected), "{message}\nlacks {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_custom_object_must_name_its_kind() {
    let world = world().await;
    let mut nameless = red("a");
    nameless.as_object_mut().expect("members").remove("kind");
    let text = format!(
        "the object provided is unrecognized (must be of type Crate): Object 'Kind' is missing in '{nameless}' ({} ...)",
        &nameless.to_string()[..30]
    );
    assert_eq!(
        refused(send(&world, "v1", "shop", create(&nameless)).await),
        (400, text)
    );
    let mut without_version = red("a");
    without_version
        .as_object_mut()
        .expect("members")
        .remove("apiVersion");
    let text = "the API version in the data () does not match the expected API version (shop.example.com/v1)";
    assert_eq!(
        refused(send(&world, "v1", "shop", create(&without_version)).await),
        (400, text.to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn writing_the_status_of_a_custom_object_keeps_its_metadata() {
    let world = world().await;
    send(&world, "v1", "shop", create(&red("a")))
        .await
        .expect("it can be made");
    let both = json!({"metadata": {"labels": {"a": "b"}}, "status": {"phase": "open"}});
    let (_, written) = send(
        &world,
        "v1",
        "shop/a/status",
        patch(PatchKind::Merge, &both, "m"),
    )
    .await
    .expect("written");
    assert_eq!(
        (&written["metadata"]["labels"], &written["status"]["phase"]),
        (&Value::Null, &json!("open"))
    );
    let mut applied = red("a");
    applied["metadata"]["labels"] = json!({"a": "b"});
    applied["status"] = json!({"phase": "open"});
    let (_, written) = send(
        &world,
        "v1",
        "shop/a/status",
        patch(PatchKind::Apply, &applied, "n"),
    )
    .await
    .expect("applied");
    let own = written["metadata"]["managedFields"]
        .as_array()
        .expect("managers")
        .iter()
        .find(|entry| entry["manager"] == "n");
    assert_eq!(
        own.expect("its entry")["fieldsV1"],
        json!({"f:status": {"f:phase": {}}})
    );
}
