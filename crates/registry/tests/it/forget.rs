//! Removal of old state: events after an hour, history after five to ten minutes.

use std::time::Duration;

use registry::request::ListOptions;
use serde_json::{Value, json};
use store::Revision;

use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);

async fn forgetting() -> World {
    let world = World::new().await;
    let registry = world.registry.clone();
    tokio::spawn(async move { registry.forget().await });
    tokio::task::yield_now().await;
    world
}

fn event(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "reason": "R", "message": "m",
        "type": "Normal",
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "p"}})
}

async fn events(world: &World) -> Vec<String> {
    let list = world
        .list("events", "shop", ListOptions::default())
        .await
        .expect("a list")
        .1;
    let items = list["items"].as_array().expect("items").iter();
    items
        .map(|event| {
            event["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn events_expire_an_hour_after_their_last_occurrence() {
    let world = forgetting().await;
    for name in ["old", "told-again"] {
        world.create("events", "shop", event(name)).await;
    }
    tokio::time::sleep(40 * MINUTE).await;
    // The clock of the test world starts at 01:46:40.
    let again = json!({"count": 2, "lastTimestamp": "2001-09-09T02:26:40Z"});
    world
        .patch("events", "shop/told-again", again)
        .await
        .expect("told again");
    tokio::time::sleep(19 * MINUTE).await;
    assert_eq!(events(&world).await, ["old", "told-again"]);
    tokio::time::sleep(7 * MINUTE).await;
    assert_eq!(events(&world).await, ["told-again"]);
    tokio::time::sleep(40 * MINUTE).await;
    assert_eq!(events(&world).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn history_is_compacted_after_five_to_ten_minutes() {
    let world = forgetting().await;
    let store = world.registry.store().clone();
    let start = store.revision();
    world.create("events", "shop", event("a")).await;
    tokio::time::sleep(4 * MINUTE).await;
    assert_eq!(store.compacted(), Revision(0));
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(
        store.compacted(),
        start,
        "what was new when it was looked at first"
    );
    tokio::time::sleep(5 * MINUTE).await;
    assert!(store.compacted() > start);
    let end = tokio::spawn({
        let registry = world.registry.clone();
        async move { registry.forget().await }
    });
    store.close().await.expect("closed");
    end.await.expect("who forgets ends with the store");
}
