//! Deletion: grace, finalizers, preconditions, propagation, collections and namespaces.

use registry::request::{DeleteOptions, DeleteRequest, ListOptions, Verb};
use serde_json::{Value, json};

use crate::world::{World, json_body, refused};

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions {
        grace_period_seconds: Some(seconds),
        ..DeleteOptions::default()
    }
}

fn marks(object: &Value) -> (&Value, &Value, &Value) {
    let meta = &object["metadata"];
    (
        &meta["deletionTimestamp"],
        &meta["deletionGracePeriodSeconds"],
        &meta["generation"],
    )
}

#[tokio::test(start_paused = true)]
async fn a_running_pod_is_terminating_until_its_node_deletes_it() {
    let world = World::new().await;
    world.pod("p", "Running", true).await;
    let (code, pod) = world
        .delete("pods", "shop/p", DeleteOptions::default())
        .await
        .expect("deleted");
    assert_eq!(
        (code, marks(&pod)),
        (200, (&json!("2001-09-09T01:47:10Z"), &json!(30), &json!(2)))
    );
    assert_eq!(world.get("pods", "shop/p").await.expect("still there"), pod);
}

#[tokio::test(start_paused = true)]
async fn a_later_delete_can_only_shorten_the_grace_period() {
    let world = World::new().await;
    world.pod("p", "Running", true).await;
    world
        .delete("pods", "shop/p", DeleteOptions::default())
        .await
        .expect("deleted");
    let written = world.revision();
    for later in [DeleteOptions::default(), grace(60), grace(30)] {
        let (_, pod) = world
            .delete("pods", "shop/p", later)
            .await
            .expect("deleted");
        assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    }
    assert_eq!(world.revision(), written);
    let (_, pod) = world
        .delete("pods", "shop/p", grace(10))
        .await
        .expect("deleted");
    assert_eq!(
        marks(&pod),
        (&json!("2001-09-09T01:46:50Z"), &json!(10), &json!(2))
    );
    tokio::time::advance(std::time::Duration::from_secs(20)).await;
    let (_, pod) = world
        .delete("pods", "shop/p", grace(5))
        .await
        .expect("deleted");
    assert_eq!(
        marks(&pod),
        (&json!("2001-09-09T01:47:00Z"), &json!(1), &json!(2))
    );
    world
        .delete("pods", "shop/p", grace(0))
        .await
        .expect("deleted");
    assert_eq!(world.get("pods", "shop/p").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_forced_delete_emits_the_terminating_state_and_then_the_removal() {
    let world = World::new().await;
    world.pod("p", "Running", true).await;
    let since = ListOptions {
        resource_version: world.revision(),
        ..ListOptions::default()
    };
    let (code, last) = world
        .delete("pods", "shop/p", grace(0))
        .await
        .expect("deleted");
    assert_eq!(
        (code, &last["metadata"]["deletionGracePeriodSeconds"]),
        (200, &json!(0))
    );
    let events = world.watch("pods", "shop", since, 1).await;
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["MODIFIED", "DELETED"]);
    assert_eq!(events[1].1, last);
}

#[tokio::test(start_paused = true)]
async fn finalizers_keep_an_object_until_the_last_one_is_removed() {
    let world = World::new().await;
    let body =
        json!({"metadata": {"name": "m", "finalizers": ["a.b/c", "d.e/f"]}, "data": {"k": "1"}});
    world.create("configmaps", "shop", body).await;
    let (code, marked) = world
        .delete("configmaps", "shop/m", DeleteOptions::default())
        .await
        .expect("marked");
    assert_eq!(
        (code, &marked["metadata"]["deletionGracePeriodSeconds"]),
        (200, &json!(0))
    );
    let (_, again) = world
        .delete("configmaps", "shop/m", DeleteOptions::default())
        .await
        .expect("marked already");
    assert_eq!(
        (&again, again["metadata"]["resourceVersion"].as_str()),
        (&marked, Some(world.revision().as_str()))
    );
    let again = refused(
        world
            .try_create("configmaps", "shop", json!({"metadata": {"name": "m"}}))
            .await,
    );
    assert_eq!(
        again,
        (
            409,
            "object is being deleted: configmaps \"m\" already exists".to_owned()
        )
    );
    world
        .patch(
            "configmaps",
            "shop/m",
            json!({"metadata": {"finalizers": ["d.e/f"]}}),
        )
        .await
        .expect("one goes");
    let since = ListOptions {
        resource_version: world.revision(),
        ..ListOptions::default()
    };
    world
        .patch(
            "configmaps",
            "shop/m",
            json!({"metadata": {"finalizers": []}}),
        )
        .await
        .expect("the last goes");
    assert_eq!(world.get("configmaps", "shop/m").await, None);
    let events = world.watch("configmaps", "shop", since, 1).await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].0.as_str(), &events[0].1["metadata"]["finalizers"]),
        ("DELETED", &json!(["d.e/f"]))
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_a_finalizer_stays_until_both_grace_period_and_finalizer_have_ended() {
    let world = World::new().await;
    world.pod("p", "Running", true).await;
    world
        .patch(
            "pods",
            "shop/p",
            json!({"metadata": {"finalizers": ["a.b/c"]}}),
        )
        .await
        .expect("held");
    world
        .delete("pods", "shop/p", DeleteOptions::default())
        .await
        .expect("marked");
    world
        .delete("pods", "shop/p", grace(0))
        .await
        .expect("spent");
    assert!(world.get("pods", "shop/p").await.is_some());
    world
        .patch("pods", "shop/p", json!({"metadata": {"finalizers": null}}))
        .await
        .expect("released");
    assert_eq!(world.get("pods", "shop/p").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_delete_whose_preconditions_do_not_hold_is_refused() {
    let world = World::new().await;
    let pod = world.pod("p", "Running", true).await;
    let uid = DeleteOptions {
        uid: Some("x".to_owned()),
        ..DeleteOptions::default()
    };
    let version = DeleteOptions {
        resource_version: Some(String::new()),
        ..DeleteOptions::default()
    };
    let (_, text) = refused(world.delete("pods", "shop/p", uid).await);
    let found = pod["metadata"]["uid"].as_str().expect("a uid");
    assert_eq!(
        text,
        format!(
            "Operation cannot be fulfilled on Pod \"p\": the UID in the precondition (x) does not match the UID in record ({found}). The object might have been deleted and then recreated"
        )
    );
    assert_eq!(
        refused(world.delete("pods", "shop/p", version).await).0,
        409
    );
    let right = DeleteOptions {
        uid: Some(found.to_owned()),
        ..DeleteOptions::default()
    };
    assert_eq!(
        world
            .delete("pods", "shop/p", right)
            .await
            .expect("deleted")
            .0,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn propagation_sets_the_finalizer_of_the_garbage_collector() {
    let world = World::new().await;
    let policy = |text: &str| DeleteOptions {
        propagation_policy: Some(text.to_owned()),
        ..DeleteOptions::default()
    };
    for (name, options, expected) in [
        ("f", policy("Foreground"), json!(["foregroundDeletion"])),
        ("o", policy("Orphan"), json!(["orphan"])),
        (
            "old",
            DeleteOptions {
                orphan_dependents: Some(true),
                ..DeleteOptions::default()
            },
            json!(["orphan"]),
        ),
    ] {
        world
            .create("configmaps", "shop", json!({"metadata": {"name": name}}))
            .await;
        let (_, map) = world
            .delete("configmaps", &format!("shop/{name}"), options)
            .await
            .expect("marked");
        assert_eq!(map["metadata"]["finalizers"], expected, "{name}");
    }
    world
        .create("configmaps", "shop", json!({"metadata": {"name": "b"}}))
        .await;
    let (code, status) = world
        .delete("configmaps", "shop/b", policy("Background"))
        .await
        .expect("gone");
    assert_eq!(
        (code, &status["details"]["kind"], &status["code"]),
        (200, &json!("configmaps"), &Value::Null)
    );
    let (code, _) = refused(world.delete("configmaps", "shop/f", policy("Up")).await);
    assert_eq!(code, 422);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_returns_the_result_and_a_body_overrides_the_query() {
    let world = World::new().await;
    world.pod("p", "Running", true).await;
    let written = world.revision();
    let dry = DeleteOptions {
        dry_run: vec!["All".to_owned()],
        ..DeleteOptions::default()
    };
    let (_, pod) = world
        .delete("pods", "shop/p", dry.clone())
        .await
        .expect("rehearsed");
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(world.revision(), written);
    let real = Verb::Delete(DeleteRequest {
        body: Some(json_body(&json!({"dryRun": []}))),
        query: dry,
    });
    world.ask("pods", "shop/p", real).await.expect("deleted");
    assert_ne!(world.revision(), written);
}

#[tokio::test(start_paused = true)]
async fn deleting_a_collection_returns_the_objects_as_they_were() {
    let world = World::new().await;
    world.pod("a", "Running", true).await;
    world.pod("b", "Pending", false).await;
    let request = Verb::DeleteCollection {
        list: ListOptions::default(),
        delete: DeleteRequest::default(),
    };
    let (_, list) = world.ask("pods", "shop", request).await.expect("deleted");
    assert_eq!(list["kind"], "PodList");
    let items = list["items"].as_array().expect("items");
    assert!(
        items.len() == 2
            && items
                .iter()
                .all(|item| item["metadata"]["deletionTimestamp"].is_null())
    );
    assert!(
        world.get("pods", "shop/a").await.is_some() && world.get("pods", "shop/b").await.is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn a_namespace_terminates_and_is_removed_with_its_last_finalizer() {
    let world = World::new().await;
    let (code, gone) = world
        .delete("namespaces", "/shop", DeleteOptions::default())
        .await
        .expect("marked");
    assert_eq!(
        (
            code,
            &gone["status"]["phase"],
            &gone["metadata"]["deletionGracePeriodSeconds"]
        ),
        (200, &json!("Terminating"), &Value::Null)
    );
    let (code, text) = refused(
        world
            .try_create("configmaps", "shop", json!({"metadata": {"name": "late"}}))
            .await,
    );
    assert_eq!(code, 403);
    assert_eq!(
        text,
        "configmaps \"late\" is forbidden: unable to create new content in namespace shop because it is being terminated"
    );
    let mut empty = world.get("namespaces", "/shop").await.expect("there");
    empty["spec"]["finalizers"] = json!([]);
    world
        .update("namespaces", "/shop/finalize", empty)
        .await
        .expect("finalized");
    assert_eq!(world.get("namespaces", "/shop").await, None);
    let (code, text) = refused(
        world
            .delete("namespaces", "/default", DeleteOptions::default())
            .await,
    );
    assert_eq!(
        (code, text.as_str()),
        (
            403,
            "namespaces \"default\" is forbidden: this namespace may not be deleted"
        )
    );
}
