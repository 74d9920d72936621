//! Watches: initial events, bookmarks, selectors, and the end of history.

use registry::request::ListOptions;
use serde_json::{Value, json};

use crate::world::{World, refused};

fn since(world: &World) -> ListOptions {
    ListOptions {
        resource_version: world.revision(),
        ..ListOptions::default()
    }
}

fn short(events: &[(String, Value)]) -> Vec<String> {
    events
        .iter()
        .map(|(kind, object)| {
            format!(
                "{kind} {}",
                object["metadata"]["name"].as_str().unwrap_or("-")
            )
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_version_begins_with_the_existing_objects() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world
            .create("configmaps", "shop", json!({"metadata": {"name": name}}))
            .await;
    }
    for version in ["", "0"] {
        let options = ListOptions {
            resource_version: version.to_owned(),
            allow_bookmarks: true,
            ..ListOptions::default()
        };
        let events = world.watch("configmaps", "shop", options, 1).await;
        assert_eq!(short(&events), ["ADDED a", "ADDED b", "BOOKMARK -"]);
        let end = &events[2].1;
        assert_eq!(
            end["metadata"]["annotations"],
            json!({"k8s.io/initial-events-end": "true"})
        );
        assert_eq!(end["metadata"]["resourceVersion"], world.revision());
    }
}

#[tokio::test(start_paused = true)]
async fn a_selector_turns_changes_into_added_and_deleted() {
    let world = World::new().await;
    let options = ListOptions {
        label_selector: "l=yes".to_owned(),
        ..since(&world)
    };
    world
        .create(
            "configmaps",
            "shop",
            json!({"metadata": {"name": "a", "labels": {"l": "yes"}}, "data": {"k": "1"}}),
        )
        .await;
    world
        .create(
            "configmaps",
            "shop",
            json!({"metadata": {"name": "b", "labels": {"l": "no"}}}),
        )
        .await;
    world
        .patch("configmaps", "shop/a", json!({"data": {"k": "2"}}))
        .await
        .expect("written");
    let (_, left) = world
        .patch(
            "configmaps",
            "shop/a",
            json!({"metadata": {"labels": {"l": "no"}}, "data": {"k": "3"}}),
        )
        .await
        .expect("written");
    world
        .patch(
            "configmaps",
            "shop/b",
            json!({"metadata": {"labels": {"l": "yes"}}}),
        )
        .await
        .expect("written");
    world
        .delete("configmaps", "shop/b", Default::default())
        .await
        .expect("deleted");
    let events = world.watch("configmaps", "shop", options, 1).await;
    assert_eq!(
        short(&events),
        ["ADDED a", "MODIFIED a", "DELETED a", "ADDED b", "DELETED b"]
    );
    let gone = &events[2].1;
    assert_eq!(
        (&gone["data"]["k"], &gone["metadata"]["labels"]["l"]),
        (&json!("2"), &json!("yes"))
    );
    assert_eq!(
        gone["metadata"]["resourceVersion"],
        left["metadata"]["resourceVersion"]
    );
}

#[tokio::test(start_paused = true)]
async fn bookmarks_are_sent_every_minute_and_before_the_end_if_there_is_news() {
    let world = World::new().await;
    let options = ListOptions {
        allow_bookmarks: true,
        label_selector: "none".to_owned(),
        ..since(&world)
    };
    world
        .create("configmaps", "shop", json!({"metadata": {"name": "a"}}))
        .await;
    let before = tokio::time::Instant::now();
    let events = world.watch("configmaps", "shop", options.clone(), 90).await;
    assert_eq!(before.elapsed(), std::time::Duration::from_secs(90));
    assert_eq!(short(&events), ["BOOKMARK -"]);
    assert_eq!(
        events[0].1["metadata"],
        json!({"resourceVersion": world.revision()})
    );
    let quiet = ListOptions {
        resource_version: world.revision(),
        ..options
    };
    assert_eq!(
        short(&world.watch("configmaps", "shop", quiet, 90).await),
        Vec::<String>::new()
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_before_the_history_gets_an_error_event() {
    let world = World::new().await;
    world
        .registry
        .store()
        .compact(world.registry.store().revision());
    let options = ListOptions {
        resource_version: "1".to_owned(),
        ..ListOptions::default()
    };
    let events = world.watch("configmaps", "shop", options, 1).await;
    assert_eq!((events.len(), events[0].0.as_str()), (1, "ERROR"));
    assert_eq!(
        (&events[0].1["code"], &events[0].1["reason"]),
        (&json!(410), &json!("Expired"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_future_version_is_awaited() {
    let world = World::new().await;
    let options = ListOptions {
        resource_version: "999999".to_owned(),
        ..ListOptions::default()
    };
    assert_eq!(world.watch("configmaps", "shop", options, 1).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn options_that_exclude_each_other_are_refused() {
    let world = World::new().await;
    let options = ListOptions {
        send_initial_events: Some(true),
        ..ListOptions::default()
    };
    let answer = world
        .ask(
            "configmaps",
            "shop",
            registry::request::Verb::Watch(options),
        )
        .await;
    let text = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
    assert_eq!(refused(answer), (422, text.to_owned()));
}
