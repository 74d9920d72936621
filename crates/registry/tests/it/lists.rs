//! Lists: order, selectors, pages, and reads at a resource version.

use registry::request::ListOptions;
use serde_json::{Value, json};

use crate::world::{World, refused};

async fn maps(names: &[&str]) -> World {
    let world = World::new().await;
    for name in names {
        world
            .create(
                "configmaps",
                "shop",
                json!({"metadata": {"name": name, "labels": {"l": "1"}}}),
            )
            .await;
    }
    world
}

fn names(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| item["metadata"]["name"].as_str().expect("a name"))
        .collect()
}

fn limited(limit: i64) -> ListOptions {
    ListOptions {
        limit,
        ..ListOptions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn names_sort_bytewise() {
    let world = maps(&["b", "a.b", "a-b", "a", "aa", "0"]).await;
    let (_, list) = world
        .list("configmaps", "shop", ListOptions::default())
        .await
        .expect("a list");
    assert_eq!(
        (list["kind"].as_str(), names(&list)),
        (
            Some("ConfigMapList"),
            vec!["0", "a", "a-b", "a.b", "aa", "b"]
        )
    );
}

#[tokio::test(start_paused = true)]
async fn all_pages_come_from_the_snapshot_of_the_first() {
    let world = maps(&["p", "q", "r"]).await;
    let (_, first) = world
        .list("configmaps", "shop", limited(1))
        .await
        .expect("a page");
    assert_eq!(
        (names(&first), &first["metadata"]["remainingItemCount"]),
        (vec!["p"], &json!(2))
    );
    world
        .delete("configmaps", "shop/q", Default::default())
        .await
        .expect("deleted");
    world
        .create("configmaps", "shop", json!({"metadata": {"name": "s"}}))
        .await;
    let token = first["metadata"]["continue"]
        .as_str()
        .expect("a token")
        .to_owned();
    let next = ListOptions {
        continue_token: token.clone(),
        ..limited(1)
    };
    let (_, second) = world
        .list("configmaps", "shop", next.clone())
        .await
        .expect("a page");
    assert_eq!(
        (names(&second), &second["metadata"]["remainingItemCount"]),
        (vec!["q"], &json!(1))
    );
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let rest = ListOptions {
        continue_token: token,
        ..limited(0)
    };
    let (_, rest) = world
        .list("configmaps", "shop", rest)
        .await
        .expect("the rest");
    assert_eq!(
        (names(&rest), &rest["metadata"]["continue"]),
        (vec!["q", "r"], &Value::Null)
    );
    let any = ListOptions {
        resource_version: "0".to_owned(),
        ..next.clone()
    };
    assert_eq!(
        names(
            &world
                .list("configmaps", "shop", any)
                .await
                .expect("a page")
                .1
        ),
        ["q", "r"]
    );
    let versioned = ListOptions {
        resource_version: "5".to_owned(),
        ..next
    };
    let text = "specifying resource version is not allowed when using continue";
    assert_eq!(
        refused(world.list("configmaps", "shop", versioned).await),
        (400, text.to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_answered_with_one_that_continues() {
    let world = maps(&["p", "q", "r"]).await;
    let (_, first) = world
        .list("configmaps", "shop", limited(1))
        .await
        .expect("a page");
    world
        .delete("configmaps", "shop/q", Default::default())
        .await
        .expect("deleted");
    world
        .registry
        .store()
        .compact(world.registry.store().revision());
    let token = first["metadata"]["continue"]
        .as_str()
        .expect("a token")
        .to_owned();
    let refusal = world
        .list(
            "configmaps",
            "shop",
            ListOptions {
                continue_token: token,
                ..limited(1)
            },
        )
        .await
        .expect_err("expired");
    assert_eq!(
        (refusal.status.code, refusal.status.reason.as_str()),
        (410, "Expired")
    );
    let token = refusal.status.metadata.continue_token.clone();
    let (_, rest) = world
        .list(
            "configmaps",
            "shop",
            ListOptions {
                continue_token: token,
                ..limited(5)
            },
        )
        .await
        .expect("the rest");
    assert_eq!(names(&rest), ["r"]);
}

#[tokio::test(start_paused = true)]
async fn selectors_filter_by_labels_and_fields() {
    let world = maps(&["a", "b"]).await;
    world
        .create("configmaps", "shop", json!({"metadata": {"name": "c"}}))
        .await;
    world.pod("p", "Running", true).await;
    world.pod("q", "Pending", false).await;
    let check = async |plural: &str, labels: &str, fields: &str, expected: &[&str]| {
        let options = ListOptions {
            label_selector: labels.to_owned(),
            field_selector: fields.to_owned(),
            ..ListOptions::default()
        };
        let (_, list) = world.list(plural, "shop", options).await.expect("a list");
        assert_eq!(names(&list), expected, "{labels} {fields}");
    };
    check("configmaps", "l=1", "", &["a", "b"]).await;
    check("configmaps", "!l", "", &["c"]).await;
    check("configmaps", "l", "metadata.name!=a", &["b"]).await;
    check("pods", "", "spec.nodeName=n", &["p"]).await;
    check("pods", "", "spec.nodeName=", &["q"]).await;
    check(
        "pods",
        "app=a",
        "status.phase=Running,metadata.namespace=shop",
        &["p"],
    )
    .await;
    let bad = ListOptions {
        field_selector: "x=y".to_owned(),
        ..ListOptions::default()
    };
    let text =
        "\"x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    assert_eq!(
        refused(world.list("configmaps", "shop", bad).await),
        (400, text.to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_page_with_a_selector_does_not_count_the_rest() {
    let world = maps(&["a", "b", "c"]).await;
    let options = ListOptions {
        label_selector: "l=1".to_owned(),
        ..limited(2)
    };
    let (_, page) = world
        .list("configmaps", "shop", options)
        .await
        .expect("a page");
    assert!(
        page["metadata"]["continue"].is_string()
            && page["metadata"]["remainingItemCount"].is_null()
    );
}

#[tokio::test(start_paused = true)]
async fn a_future_version_is_awaited_and_then_refused() {
    let world = maps(&["a"]).await;
    let options = ListOptions {
        resource_version: "999".to_owned(),
        ..ListOptions::default()
    };
    let before = tokio::time::Instant::now();
    let refusal = world
        .list("configmaps", "shop", options.clone())
        .await
        .expect_err("refused");
    assert_eq!(before.elapsed(), std::time::Duration::from_secs(3));
    assert_eq!(
        (
            refusal.status.code,
            refusal
                .status
                .details
                .map(|details| details.retry_after_seconds)
        ),
        (504, Some(1))
    );
    let exact = ListOptions {
        resource_version_match: "Exact".to_owned(),
        ..options
    };
    let before = tokio::time::Instant::now();
    let refusal = world.list("configmaps", "shop", exact).await;
    let status = refusal.expect_err("refused").status;
    let details = status.details.as_ref();
    assert_eq!(
        (
            status.code,
            details.map(|details| details.retry_after_seconds)
        ),
        (504, Some(1))
    );
    assert_eq!(before.elapsed(), std::time::Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn an_exact_version_returns_the_objects_of_that_revision() {
    let world = maps(&["a"]).await;
    let then = world.revision();
    world
        .create("configmaps", "shop", json!({"metadata": {"name": "b"}}))
        .await;
    let options = ListOptions {
        resource_version: then,
        resource_version_match: "Exact".to_owned(),
        ..ListOptions::default()
    };
    let (_, list) = world
        .list("configmaps", "shop", options)
        .await
        .expect("a list");
    assert_eq!(names(&list), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_never_served_is_expired() {
    let world = maps(&["a"]).await;
    // A token of revision 1: {"v":"meta.k8s.io/v1","rv":1,"start":"a\u0000"}
    let token = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0";
    let options = ListOptions {
        continue_token: token.to_owned(),
        limit: 5,
        ..ListOptions::default()
    };
    let refusal = world
        .list("configmaps", "shop", options)
        .await
        .expect_err("refused");
    assert_eq!(
        (refusal.status.code, refusal.status.reason.as_str()),
        (410, "Expired")
    );
    assert!(!refusal.status.metadata.continue_token.is_empty());
    let options = ListOptions {
        resource_version: "1".to_owned(),
        resource_version_match: "Exact".to_owned(),
        ..ListOptions::default()
    };
    let refused = refused(world.list("configmaps", "shop", options).await);
    assert_eq!(refused.0, 410);
}

#[tokio::test(start_paused = true)]
async fn wrong_options_are_refused_in_upstreams_order() {
    let world = maps(&["a"]).await;
    for (options, code, message) in [
        (
            ListOptions {
                resource_version: "abc".to_owned(),
                ..ListOptions::default()
            },
            400,
            "invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax",
        ),
        (
            ListOptions {
                resource_version: "abc".to_owned(),
                continue_token: "x".to_owned(),
                ..ListOptions::default()
            },
            400,
            "invalid continue token: continue key is not valid: illegal base64 data",
        ),
        (
            ListOptions {
                field_selector: "nope=1".to_owned(),
                resource_version_match: "Newest".to_owned(),
                continue_token: "x".to_owned(),
                send_initial_events: Some(true),
                ..ListOptions::default()
            },
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided, resourceVersionMatch: Unsupported value: \"Newest\": supported values: \"Exact\", \"NotOlderThan\", \"\", sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list]",
        ),
        (
            ListOptions {
                label_selector: "a in".to_owned(),
                send_initial_events: Some(true),
                ..ListOptions::default()
            },
            400,
            "",
        ),
    ] {
        let refused = refused(world.list("configmaps", "shop", options).await);
        assert_eq!(refused.0, code, "{}", refused.1);
        assert!(
            message.is_empty() || refused.1.contains(message),
            "{}",
            refused.1
        );
    }
}
