//! Scales: the owner of the replicas, written through the scale or the object.

use bytes::Bytes;
use registry::request::{PatchKind, Verb, WriteOptions};
use serde_json::{Value, json};

use crate::world::{Answer, World, refused};

fn deployment(replicas: u64) -> Value {
    let template = json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "img"}]}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "a"}},
            "template": template},
    })
}

fn scale(replicas: i64) -> Value {
    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"},
        "spec": {"replicas": replicas}})
}

async fn patch(
    world: &World,
    path: &str,
    kind: PatchKind,
    manager: &str,
    force: Option<bool>,
    patch: &Value,
) -> Answer {
    let options = WriteOptions {
        field_manager: manager.to_owned(),
        force,
        ..WriteOptions::default()
    };
    world
        .ask(
            "deployments",
            path,
            Verb::Patch {
                kind,
                patch: Bytes::from(patch.to_string()),
                options,
            },
        )
        .await
}

async fn apply(
    world: &World,
    path: &str,
    manager: &str,
    force: Option<bool>,
    applied: &Value,
) -> Answer {
    patch(world, path, PatchKind::Apply, manager, force, applied).await
}

/// The desired replicas, and their owners with operation and subresource.
async fn owners(world: &World) -> (u64, Vec<String>) {
    let found = world
        .get("deployments", "shop/web")
        .await
        .expect("it is there");
    let owners = found["metadata"]["managedFields"]
        .as_array()
        .expect("managers")
        .iter();
    let owners = owners.filter(|entry| !entry["fieldsV1"]["f:spec"]["f:replicas"].is_null());
    let shown = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("apiVersion"), "apps/v1");
        [text("manager"), text("operation"), text("subresource")].join("/")
    };
    (
        found["spec"]["replicas"].as_u64().expect("a number"),
        owners.map(shown).collect(),
    )
}

#[tokio::test(start_paused = true)]
async fn the_last_writer_owns_the_replicas() {
    let world = World::new().await;
    apply(&world, "shop/web", "deployer", None, &deployment(1))
        .await
        .expect("it can be made");
    assert_eq!(
        owners(&world).await,
        (1, vec!["deployer/Apply/".to_owned()])
    );

    // A scale cannot write its status.
    let status = json!({"status": {"replicas": 42}});
    patch(
        &world,
        "shop/web/scale",
        PatchKind::Merge,
        "scaler",
        None,
        &status,
    )
    .await
    .expect("nothing changes");
    assert_eq!(
        owners(&world).await,
        (1, vec!["deployer/Apply/".to_owned()])
    );

    let five = json!({"spec": {"replicas": 5}});
    patch(
        &world,
        "shop/web/scale",
        PatchKind::Merge,
        "scaler",
        None,
        &five,
    )
    .await
    .expect("it scales");
    assert_eq!(
        owners(&world).await,
        (5, vec!["scaler/Update/scale".to_owned()])
    );

    let conflict = refused(apply(&world, "shop/web", "deployer", None, &deployment(1)).await);
    let text = "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas";
    assert_eq!(conflict, (409, text.to_owned()));
    apply(&world, "shop/web", "deployer", Some(true), &deployment(1))
        .await
        .expect("it is forced");
    assert_eq!(
        owners(&world).await,
        (1, vec!["deployer/Apply/".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_scale_can_be_applied_and_conflicts_as_its_object_does() {
    let world = World::new().await;
    apply(&world, "shop/web", "deployer", None, &deployment(1))
        .await
        .expect("it can be made");
    let conflict = refused(apply(&world, "shop/web/scale", "autoscaler", None, &scale(17)).await);
    assert_eq!(
        conflict,
        (
            409,
            "Apply failed with 1 conflict: conflict with \"deployer\": .spec.replicas".to_owned()
        )
    );

    let (code, answer) = apply(
        &world,
        "shop/web/scale",
        "autoscaler",
        Some(true),
        &scale(17),
    )
    .await
    .expect("it is forced");
    assert_eq!(
        (code, &answer["kind"], &answer["spec"]["replicas"]),
        (200, &json!("Scale"), &json!(17))
    );
    assert!(answer["metadata"]["managedFields"].is_null());
    assert_eq!(
        owners(&world).await,
        (17, vec!["autoscaler/Apply/scale".to_owned()])
    );

    // A manager that applies the same value shares it.
    apply(&world, "shop/web/scale", "other", None, &scale(17))
        .await
        .expect("they agree");
    assert_eq!(
        owners(&world).await.1,
        ["autoscaler/Apply/scale", "other/Apply/scale"]
    );

    let conflict = refused(apply(&world, "shop/web", "deployer", None, &deployment(1)).await);
    assert!(
        conflict.1.starts_with("Apply failed with 2 conflicts: conflicts with \"autoscaler\" with subresource \"scale\":"),
        "{conflict:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_conflicting_apply_of_a_scale_has_the_message_of_any_apply() {
    let world = World::new().await;
    apply(&world, "shop/web", "deployer", None, &deployment(1))
        .await
        .expect("it can be made");
    let check = async |path: &str, manager: &str, applied: Value, code: u16, text: &str| {
        assert_eq!(
            refused(apply(&world, path, manager, None, &applied).await),
            (code, text.to_owned())
        );
    };
    let required = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
    check("shop/web/scale", "", scale(2), 422, required).await;
    check(
        "shop/web/scale",
        "m",
        deployment(2),
        400,
        "invalid object type: apps/v1, Kind=Deployment",
    )
    .await;
    check(
        "shop/none/scale",
        "m",
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale"}),
        404,
        "deployments.apps \"none\" not found",
    )
    .await;
    let negative = "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
    let refusal = refused(apply(&world, "shop/web/scale", "m", Some(true), &scale(-1)).await);
    assert_eq!(refusal, (422, negative.to_owned()));
    let mut unknown = scale(1);
    unknown["spec"]["size"] = json!(3);
    let text = "failed to create typed patch object (/web; autoscaling/v1, Kind=Scale): .spec.size: field not declared in schema";
    check("shop/web/scale", "m", unknown, 500, text).await;
}
