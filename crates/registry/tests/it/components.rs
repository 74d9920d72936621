//! `componentstatuses`: health checks that run when a client reads.

use std::sync::Arc;

use registry::request::{ListOptions, Verb};
use registry::{Component, Options};
use serde_json::json;

use crate::world::{World, refused};

async fn world() -> World {
    let scheduler = Component {
        name: "scheduler",
        check: Arc::new(|| Err("stopping".to_owned())),
    };
    World::with(Options {
        components: vec![scheduler],
        ..Options::default()
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn component_statuses_report_the_health_of_each_part() {
    let world = world().await;
    let (_, list) = world
        .list("componentstatuses", "", ListOptions::default())
        .await
        .expect("a list");
    let shown = |name: &str, status: &str, message: &str| {
        let condition = json!({"type": "Healthy", "status": status, "message": message});
        json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
            "conditions": [condition]})
    };
    let (scheduler, store) = (
        shown("scheduler", "False", "stopping"),
        shown("store", "True", "ok"),
    );
    assert_eq!(
        (&list["kind"], &list["items"]),
        (&json!("ComponentStatusList"), &json!([scheduler, store]))
    );
    assert_eq!(
        world.get("componentstatuses", "/store").await,
        Some(store.clone())
    );
    let one = ListOptions {
        field_selector: "metadata.name=store".to_owned(),
        ..ListOptions::default()
    };
    assert_eq!(
        world
            .list("componentstatuses", "", one)
            .await
            .expect("a list")
            .1["items"],
        json!([store])
    );
    let labelled = ListOptions {
        label_selector: "a=b".to_owned(),
        ..ListOptions::default()
    };
    assert_eq!(
        world
            .list("componentstatuses", "", labelled)
            .await
            .expect("a list")
            .1["items"],
        json!([])
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_components_cannot_be_read_and_none_can_be_created() {
    let world = world().await;
    let unknown = world
        .ask(
            "componentstatuses",
            "/nope",
            Verb::Get {
                resource_version: String::new(),
            },
        )
        .await;
    assert_eq!(
        refused(unknown),
        (500, "Component not found: nope".to_owned())
    );
    let made = world
        .try_create(
            "componentstatuses",
            "",
            json!({"metadata": {"name": "mine"}}),
        )
        .await;
    assert_eq!(refused(made).0, 405);
}
