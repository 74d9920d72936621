//! Metrics, events and warnings about evictions and budgets.

use std::time::Duration;

use registry::Options;
use registry::request::{DeleteOptions, ListOptions, PatchKind, Reply, Verb, WriteOptions};
use serde_json::{Value, json};
use store::{MemoryEngine, Store};

use crate::world::{World, json_body};

const HELPFUL: fn() -> Options = || Options {
    budget_warnings: true,
    refusal_events: true,
    ..Options::default()
};

fn status(allowed: i64) -> Value {
    json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 2,
        "desiredHealthy": 2, "expectedPods": 3})
}

fn closed(reason: &str) -> Value {
    let mut closed = status(0);
    closed["conditions"] = json!([{"type": "DisruptionAllowed", "status": "False", "reason": reason,
        "message": "m",
        "lastTransitionTime": "2001-09-09T01:46:40Z"}]);
    closed
}

/// A world whose registry runs `observe`.
async fn observed(options: Options) -> World {
    let world = World::with(options).await;
    let registry = world.registry.clone();
    tokio::spawn(async move { registry.observe().await });
    settle().await;
    world
}

/// Lets the observer catch up (in virtual time).
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn metrics(world: &World) -> String {
    let mut out = String::new();
    world.registry.metrics(&mut out);
    out
}

fn assert_shows(world: &World, lines: &[&str]) {
    let text = metrics(world);
    for line in lines {
        assert!(
            text.lines().any(|found| found == *line),
            "{line} is missing in\n{text}"
        );
    }
}

async fn events(world: &World) -> Vec<Value> {
    let list = world
        .list("events", "shop", ListOptions::default())
        .await
        .expect("a list")
        .1;
    list["items"].as_array().expect("items").clone()
}

#[tokio::test(start_paused = true)]
async fn evictions_are_counted_by_outcome_and_budget() {
    for (budgets, ask, outcome, labels) in [
        (&[status(1)][..], Value::Null, "allowed", "b0"),
        (&[status(0)], Value::Null, "budget", "b0"),
        (
            &[json!({"observedGeneration": 0})],
            Value::Null,
            "processing",
            "b0",
        ),
        (&[closed("SyncFailed")], Value::Null, "sync_failed", "b0"),
        (&[closed("Other")], Value::Null, "budget", "b0"),
        (
            &[status(1), status(1)],
            Value::Null,
            "multiple_pdb",
            "b0,b1",
        ),
        (
            &[status(1)],
            json!({"preconditions": {"uid": "x"}}),
            "conflict",
            "b0",
        ),
        (&[status(1)], json!({"dryRun": ["All"]}), "dry_run", "b0"),
        (&[status(0)], json!({"dryRun": ["All"]}), "dry_run", "b0"),
        (
            &[status(1)],
            json!({"propagationPolicy": "Sideways"}),
            "invalid",
            "b0",
        ),
        (&[], Value::Null, "allowed", ""),
    ] {
        let world = World::new().await;
        world.pod("p", "Running", true).await;
        for (number, status) in budgets.iter().enumerate() {
            world
                .budget(
                    &format!("b{number}"),
                    json!({"minAvailable": 2}),
                    status.clone(),
                )
                .await;
        }
        drop(world.evict("p", ask).await);
        let line = format!(
            r#"exeunt_eviction_requests_total{{outcome="{outcome}",namespace="shop",pdb="{labels}"}} 1"#
        );
        assert_shows(&world, &[&line]);
        let counted = metrics(&world)
            .lines()
            .filter(|line| line.starts_with("exeunt_eviction_requests_total{"))
            .count();
        assert_eq!(counted, 1, "{outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn evictions_in_unknown_namespaces_share_one_series() {
    let world = World::new().await;
    drop(world.evict("p", Value::Null).await);
    for namespace in ["no\"where", "nowhere"] {
        drop(
            world
                .try_create(
                    "pods",
                    &format!("{namespace}/p/eviction"),
                    json!({"metadata": {"name": "p"}}),
                )
                .await,
        );
    }
    assert_shows(
        &world,
        &[
            r#"exeunt_eviction_requests_total{outcome="not_found",namespace="shop",pdb=""} 1"#,
            r#"exeunt_eviction_requests_total{outcome="not_found",namespace="",pdb=""} 2"#,
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn budgets_have_the_metrics_of_kube_state_metrics() {
    let world = World::new().await;
    world
        .budget("b", json!({"minAvailable": 2}), status(1))
        .await;
    let labels = r#"{namespace="shop",poddisruptionbudget="b"}"#;
    let lines = [
        format!("kube_poddisruptionbudget_created{labels} 1000000000"),
        format!("kube_poddisruptionbudget_status_current_healthy{labels} 2"),
        format!("kube_poddisruptionbudget_status_desired_healthy{labels} 2"),
        format!("kube_poddisruptionbudget_status_pod_disruptions_allowed{labels} 1"),
        format!("kube_poddisruptionbudget_status_expected_pods{labels} 3"),
        format!("kube_poddisruptionbudget_status_observed_generation{labels} 1"),
    ];
    assert_shows(&world, &lines.each_ref().map(String::as_str));
    world
        .delete("poddisruptionbudgets", "shop/b", DeleteOptions::default())
        .await
        .expect("deleted");
    assert!(!metrics(&world).contains(labels));
}

#[tokio::test(start_paused = true)]
async fn the_time_to_removal_and_the_lag_of_a_status_are_measured() {
    let world = observed(Options::default()).await;
    world.pod("p", "Running", true).await;
    world.pod("q", "Pending", false).await;
    world
        .create(
            "poddisruptionbudgets",
            "shop",
            json!({"metadata": {"name": "b"}, "spec": {"maxUnavailable": 1}}),
        )
        .await;
    tokio::time::sleep(Duration::from_millis(40)).await;
    world
        .patch(
            "poddisruptionbudgets",
            "shop/b/status",
            json!({"status": status(1)}),
        )
        .await
        .expect("written");
    for name in ["p", "q"] {
        world.evict(name, Value::Null).await.expect("granted");
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let now = DeleteOptions {
        grace_period_seconds: Some(0),
        ..DeleteOptions::default()
    };
    world.delete("pods", "shop/p", now).await.expect("deleted");
    settle().await;
    assert_shows(
        &world,
        &[
            r#"exeunt_eviction_to_gone_seconds_bucket{le="0.005"} 1"#,
            r#"exeunt_eviction_to_gone_seconds_bucket{le="2"} 1"#,
            r#"exeunt_eviction_to_gone_seconds_bucket{le="5"} 2"#,
            "exeunt_eviction_to_gone_seconds_count 2",
            r#"exeunt_pdb_status_lag_seconds_bucket{le="0.025"} 0"#,
            r#"exeunt_pdb_status_lag_seconds_bucket{le="0.05"} 1"#,
            "exeunt_pdb_status_lag_seconds_count 1",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn refusals_become_one_event_on_the_pod_and_one_on_the_budget() {
    let world = observed(HELPFUL()).await;
    let pod = world.pod("p", "Running", true).await;
    let budget = world
        .budget("b", json!({"minAvailable": 2}), status(0))
        .await;
    for _ in 0..3 {
        world.evict("p", Value::Null).await.expect_err("refused");
        world
            .evict("p", json!({"dryRun": ["All"]}))
            .await
            .expect_err("refused");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let check = async |count: u64| {
        let mut found = events(&world).await;
        found.sort_by_key(|event| event["involvedObject"]["kind"].to_string());
        let [of_pod, of_budget] = &found[..] else {
            panic!("{found:?}")
        };
        let why = "requested by tester was refused: The disruption budget b needs 2 healthy pods and has 2 currently";
        assert_eq!(
            (&of_pod["count"], &of_budget["count"]),
            (&json!(count), &json!(count))
        );
        assert_eq!(of_pod["message"], format!("Eviction {why}").as_str());
        assert_eq!(
            of_budget["message"],
            format!("Eviction of pod p {why}").as_str()
        );
        for (event, about) in [(of_pod, &pod), (of_budget, &budget)] {
            assert_eq!(event["involvedObject"]["uid"], about["metadata"]["uid"]);
            assert_eq!(
                event["involvedObject"]["kind"],
                if about == &pod {
                    "Pod"
                } else {
                    "PodDisruptionBudget"
                }
            );
            assert_eq!(
                (&event["type"], &event["reason"]),
                (&json!("Warning"), &json!("EvictionRefused"))
            );
        }
    };
    check(1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    check(3).await;
    // After the events are deleted, the next refusal creates new ones with the whole count.
    for event in events(&world).await {
        let name = event["metadata"]["name"]
            .as_str()
            .expect("a name")
            .to_owned();
        world
            .delete("events", &format!("shop/{name}"), DeleteOptions::default())
            .await
            .expect("deleted");
    }
    world.evict("p", Value::Null).await.expect_err("refused");
    tokio::time::sleep(Duration::from_secs(10)).await;
    check(4).await;
}

#[tokio::test(start_paused = true)]
async fn two_budgets_are_named_in_the_event() {
    let world = observed(HELPFUL()).await;
    world.pod("p", "Running", true).await;
    for name in ["b", "c"] {
        world
            .budget(name, json!({"minAvailable": 1}), status(1))
            .await;
    }
    world.evict("p", Value::Null).await.expect_err("refused");
    settle().await;
    let found = events(&world).await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found.iter().all(|event| event["message"]
            .as_str()
            .is_some_and(|text| text.ends_with("does not support. (b, c)"))),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn events_and_warnings_of_our_own_are_off_by_default() {
    let world = observed(Options::default()).await;
    world.pod("p", "Running", true).await;
    world
        .budget("b", json!({"minAvailable": 2}), status(0))
        .await;
    world.evict("p", Value::Null).await.expect_err("refused");
    let helpful = observed(HELPFUL()).await;
    helpful.pod("p", "Running", true).await;
    helpful
        .budget("b", json!({"minAvailable": 2}), status(1))
        .await;
    for (name, options) in [
        ("x", Value::Null),
        ("p", json!({"preconditions": {"uid": "x"}})),
        ("p", json!({"dryRun": ["All"]})),
    ] {
        drop(helpful.evict(name, options).await);
    }
    helpful.evict("p", Value::Null).await.expect("granted");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(
        (events(&world).await, events(&helpful).await),
        (Vec::new(), Vec::new())
    );
    assert_eq!(
        warnings(&world, "shop", create("z", json!({"maxUnavailable": 0}))).await,
        Vec::<String>::new()
    );
}

fn create(name: &str, spec: Value) -> Verb {
    let mut body =
        json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": "a"}}}});
    for (key, value) in spec.as_object().expect("members") {
        body["spec"][key] = value.clone();
    }
    Verb::Create {
        body: json_body(&body),
        options: WriteOptions::default(),
    }
}

/// The warnings of a write of a budget.
async fn warnings(world: &World, path: &str, verb: Verb) -> Vec<String> {
    match world.call("poddisruptionbudgets", path, verb).await {
        Ok(Reply::Object { warnings, .. }) => warnings,
        Ok(_) => panic!("no object"),
        Err(refusal) => panic!("{refusal}"),
    }
}

/// Writes a budget; the warnings must begin like this.
async fn check_warnings(world: &World, path: &str, verb: Verb, expected: &[&str]) {
    let found = warnings(world, path, verb).await;
    let alike = found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, expected)| found.starts_with(expected));
    assert!(alike, "{found:?} instead of {expected:?}");
}

fn patch(patch: &Value) -> Verb {
    Verb::Patch {
        kind: PatchKind::Merge,
        patch: patch.to_string().into(),
        options: WriteOptions::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn writing_a_budget_that_cannot_work_warns() {
    let world = World::with(HELPFUL()).await;
    check_warnings(
        &world,
        "shop",
        create("empty", json!({"maxUnavailable": 1})),
        &["spec.selector: selects no pods at present, so"],
    )
    .await;
    world
        .delete(
            "poddisruptionbudgets",
            "shop/empty",
            DeleteOptions::default(),
        )
        .await
        .expect("deleted");

    for name in ["p", "q"] {
        world.pod(name, "Running", true).await;
    }
    world.pod("done", "Succeeded", false).await;
    check_warnings(
        &world,
        "shop",
        create("fine", json!({"maxUnavailable": 1})),
        &[],
    )
    .await;
    for (spec, expected) in [
        (
            json!({"maxUnavailable": "0%"}),
            &["spec.maxUnavailable: with 0% no healthy pod can ever be evicted"][..],
        ),
        (
            json!({"maxUnavailable": null, "minAvailable": 2}),
            &["spec.minAvailable: 2 of 2 selected pods leaves none to spare"],
        ),
        (json!({"minAvailable": 1}), &[]),
    ] {
        check_warnings(&world, "shop/fine", patch(&json!({"spec": spec})), expected).await;
    }
    let overlap = ["spec.selector: pods p, q are also selected by the budget fine;"];
    check_warnings(
        &world,
        "shop",
        create("twin", json!({"selector": {}, "maxUnavailable": 1})),
        &overlap,
    )
    .await;
    let whole = world
        .get("poddisruptionbudgets", "shop/twin")
        .await
        .expect("there");
    let put = Verb::Update {
        body: json_body(&whole),
        options: WriteOptions {
            dry_run: vec!["All".to_owned()],
            ..WriteOptions::default()
        },
    };
    check_warnings(&world, "shop/twin", put, &overlap).await;
    check_warnings(
        &world,
        "shop/twin/status",
        patch(&json!({"status": status(1)})),
        &[],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn replicas_that_do_not_exist_yet_count_for_a_budget() {
    let world = World::with(HELPFUL()).await;
    let template = json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "img"}]}});
    let set = json!({"metadata": {"name": "r"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "a"}}, "template": template}});
    let set = world.create("replicasets", "shop", set).await;
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r",
        "uid": set["metadata"]["uid"], "controller": true});
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "a"}, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "c", "image": "img"}]}});
    world.create("pods", "shop", pod).await;
    check_warnings(
        &world,
        "shop",
        create("two", json!({"minAvailable": 2})),
        &[],
    )
    .await;
    world
        .delete("poddisruptionbudgets", "shop/two", DeleteOptions::default())
        .await
        .expect("deleted");
    let expected = ["spec.minAvailable: 3 of 3 selected pods leaves none to spare, so"];
    check_warnings(
        &world,
        "shop",
        create("three", json!({"minAvailable": 3})),
        &expected,
    )
    .await;
}

/// A store whose writer has its own thread notifies watchers before it answers the commit, so the
/// removal of a pod that has nothing to stop is observed before the eviction knows that it was
/// granted.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_pod_is_measured_even_if_it_is_observed_before_the_answer() {
    let store = Store::open_threaded(Box::new(MemoryEngine), store::StoreOptions::default())
        .expect("a thread");
    let world = World::on(store, Options::default()).await;
    let registry = world.registry.clone();
    tokio::spawn(async move { registry.observe().await });
    settle().await;
    for name in ["p", "q", "r"] {
        world.pod(name, "Pending", false).await;
        world.evict(name, Value::Null).await.expect("granted");
        assert_eq!(
            world.get("pods", &format!("shop/{name}")).await,
            None,
            "it is gone at once"
        );
    }
    settle().await;
    assert_shows(&world, &["exeunt_eviction_to_gone_seconds_count 3"]);
}
