//! Evictions: what is granted and refused, what is written, and in which order.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use registry::request::{ListOptions, Verb, WriteOptions};
use registry::{Gates, Options};
use serde_json::{Value, json};
use store::{Batch, Engine, EngineError, Revision, Store, StoreOptions, Stored};

use crate::world::{World, json_body, refused};

/// The status of an observed budget that allows this many disruptions.
fn open(allowed: i64) -> Value {
    json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 3,
        "desiredHealthy": 2, "expectedPods": 3})
}

#[tokio::test(start_paused = true)]
async fn a_granted_eviction_charges_the_budget_then_sets_the_condition_then_deletes_the_pod() {
    let world = World::new().await;
    world.pod("p", "Running", true).await;
    world.budget("b", json!({"minAvailable": 2}), open(1)).await;
    let since = ListOptions {
        resource_version: world.revision(),
        ..ListOptions::default()
    };
    let (code, body) = world.evict("p", Value::Null).await.expect("granted");
    assert_eq!(
        (code, body),
        (
            201,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "code": 201})
        )
    );

    let pods = world.watch("pods", "shop", since.clone(), 1).await;
    let budgets = world.watch("poddisruptionbudgets", "shop", since, 1).await;
    let version = |object: &Value| {
        object["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|text| text.parse::<u64>().ok())
            .expect("a version")
    };
    assert_eq!((pods.len(), budgets.len()), (2, 1));
    let (charged, marked, deleted) = (&budgets[0].1, &pods[0].1, &pods[1].1);
    assert_eq!(
        [version(marked), version(deleted)],
        [version(charged) + 1, version(charged) + 2]
    );

    assert_eq!(charged["status"]["disruptionsAllowed"], 0);
    assert_eq!(
        charged["status"]["disruptedPods"],
        json!({"p": "2001-09-09T01:46:40Z"})
    );
    assert_eq!(
        charged["status"]["conditions"][0]["reason"],
        "InsufficientPods"
    );
    assert_eq!(charged["status"]["conditions"][0]["observedGeneration"], 1);
    assert_eq!(charged["status"]["currentHealthy"], 3);
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": "2001-09-09T01:46:40Z",
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
    });
    assert_eq!(marked["status"]["conditions"][1], condition);
    assert_eq!(marked["metadata"]["deletionTimestamp"], Value::Null);
    assert_eq!(
        deleted["metadata"]["deletionTimestamp"],
        "2001-09-09T01:47:10Z"
    );
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(deleted["metadata"]["generation"], 2);
}

/// The revision, the pod and the budget: everything that a refused eviction could have changed.
async fn state(world: &World) -> (String, Option<Value>, Option<Value>) {
    (
        world.revision(),
        world.get("pods", "shop/p").await,
        world.get("poddisruptionbudgets", "shop/b").await,
    )
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_its_budget_refuses_writes_nothing() {
    let world = World::new().await;
    world.pod("p", "Running", true).await;
    world.budget("b", json!({"minAvailable": 2}), open(0)).await;
    let before = state(&world).await;
    let refusal = world.evict("p", Value::Null).await.expect_err("refused");
    assert_eq!(refusal.status.code, 429);
    let details = refusal.status.details.expect("details");
    assert_eq!(
        details.causes[0].message,
        "The disruption budget b does not allow evicting pods currently"
    );
    assert_eq!(details.retry_after_seconds, 0);
    assert_eq!(state(&world).await, before);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_fails_its_preconditions_writes_nothing() {
    let world = World::new().await;
    world.pod("p", "Running", true).await;
    world.budget("b", json!({"minAvailable": 2}), open(2)).await;
    let before = state(&world).await;
    for (options, code) in [
        (json!({"preconditions": {"uid": "x"}}), 409),
        (json!({"preconditions": {"resourceVersion": "1"}}), 409),
        (json!({"propagationPolicy": "Sideways"}), 422),
    ] {
        assert_eq!(refused(world.evict("p", options).await).0, code);
        assert_eq!(state(&world).await, before);
    }
    // With preconditions that hold it is granted, and the state does change.
    let (_, pod, _) = &before;
    let metadata = &pod.as_ref().expect("a pod")["metadata"];
    let (uid, version) = (&metadata["uid"], &metadata["resourceVersion"]);
    let options = json!({"preconditions": {"uid": uid, "resourceVersion": version}});
    assert_eq!(world.evict("p", options).await.expect("granted").0, 201);
    assert_ne!(state(&world).await, before);
}

#[tokio::test(start_paused = true)]
async fn a_version_is_no_precondition_for_an_unready_pod_that_its_budget_exempts() {
    let world = World::new().await;
    world.pod("p", "Running", false).await;
    world.budget("b", json!({"minAvailable": 2}), open(0)).await;
    let options = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(world.evict("p", options).await.expect("granted").0, 201);
}

#[tokio::test(start_paused = true)]
async fn a_second_eviction_of_a_terminating_pod_is_granted_and_writes_nothing() {
    let world = World::new().await;
    world.pod("p", "Running", true).await;
    world.evict("p", Value::Null).await.expect("granted");
    let before = state(&world).await;
    world.budget("b", json!({"minAvailable": 2}), open(0)).await;
    let revision = world.revision();
    world.evict("p", Value::Null).await.expect("granted");
    assert_eq!(world.revision(), revision);
    assert_eq!(state(&world).await.1, before.1);
}

/// An engine that finishes no write while the test holds the lock.
struct GatedEngine(Arc<Mutex<()>>);

impl Engine for GatedEngine {
    fn load(&mut self, _: &mut dyn FnMut(Stored)) -> Result<Revision, EngineError> {
        Ok(Revision(0))
    }

    fn append(&mut self, _: &Batch<'_>) -> Result<(), EngineError> {
        drop(self.0.lock());
        Ok(())
    }
}

#[tokio::test]
async fn a_change_that_commits_while_an_eviction_decides_is_not_lost() {
    let gate = Arc::new(Mutex::new(()));
    let engine = Box::new(GatedEngine(Arc::clone(&gate)));
    let store = Store::open_threaded(engine, StoreOptions::default()).expect("a thread");
    let world = World::on(store, Options::default()).await;
    world.pod("p", "Running", true).await;
    let patch = json!({"metadata": {"labels": {"late": "yes"}}});
    let mut changed = pin!(world.patch("pods", "shop/p", patch));
    let mut evicted = pin!(world.evict("p", Value::Null));
    {
        let _closed = gate.lock();
        // Committed, and not visible: the eviction still prepares its writes from the pod before.
        assert!(changed.as_mut().now_or_never().is_none());
        assert!(evicted.as_mut().now_or_never().is_none());
    }
    assert!(changed.await.is_ok() && evicted.await.is_ok());
    let pod = world.get("pods", "shop/p").await.expect("it terminates");
    assert_eq!(pod["metadata"]["labels"]["late"], "yes");
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(pod["status"]["conditions"][1]["type"], "DisruptionTarget");
}

#[tokio::test(start_paused = true)]
async fn only_budgets_of_the_pods_namespace_protect_it_and_each_counts_once() {
    let world = World::new().await;
    world
        .create("namespaces", "", json!({"metadata": {"name": "else"}}))
        .await;
    let selector = json!({"matchExpressions": [{"key": "app", "operator": "In",
        "values": ["a", "web"]}]});
    let elsewhere = json!({"metadata": {"name": "b"},
        "spec": {"minAvailable": 2, "selector": selector}});
    world
        .create("poddisruptionbudgets", "else", elsewhere)
        .await;
    world.pod("p", "Running", true).await;
    let labels = json!({"metadata": {"labels": {"app": "a", "tier": "web"}}});
    world
        .patch("pods", "shop/p", labels)
        .await
        .expect("written");
    let dry_run = || json!({"dryRun": ["All"]});
    assert_eq!(world.evict("p", dry_run()).await.expect("granted").0, 201);
    let mine = json!({"minAvailable": 2, "selector": selector});
    world.budget("b", mine, open(0)).await;
    assert_eq!(refused(world.evict("p", dry_run()).await).0, 429);
}

#[tokio::test(start_paused = true)]
async fn two_budgets_are_an_untyped_error() {
    let world = World::new().await;
    world.pod("p", "Running", true).await;
    world.budget("b", json!({"minAvailable": 1}), open(1)).await;
    world.budget("c", json!({"minAvailable": 1}), open(1)).await;
    let refusal = world.evict("p", Value::Null).await.expect_err("refused");
    assert_eq!(
        (
            refusal.status.code,
            refusal.status.reason.as_str(),
            refusal.status.details
        ),
        (500, "", None)
    );
}

#[tokio::test(start_paused = true)]
async fn unready_pod_is_evicted_when_policy_is_always_allow_unless_the_gate_is_off() {
    let never = json!({"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 0,
        "desiredHealthy": 2, "expectedPods": 2});
    let world = World::new().await;
    world.pod("p", "Running", false).await;
    world
        .budget(
            "b",
            json!({"minAvailable": 2, "unhealthyPodEvictionPolicy": "AlwaysAllow"}),
            never.clone(),
        )
        .await;
    assert_eq!(world.evict("p", Value::Null).await.expect("granted").0, 201);
    let budget = world
        .get("poddisruptionbudgets", "shop/b")
        .await
        .expect("there");
    assert_eq!(budget["status"]["disruptedPods"], Value::Null);

    let off = Gates {
        unhealthy_pod_eviction_policy: false,
    };
    let world = World::with(Options {
        gates: off,
        ..Options::default()
    })
    .await;
    world.pod("p", "Running", false).await;
    world
        .budget(
            "b",
            json!({"minAvailable": 2, "unhealthyPodEvictionPolicy": "AlwaysAllow"}),
            never,
        )
        .await;
    assert_eq!(refused(world.evict("p", Value::Null).await).0, 429);
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_grace_period_is_gone_after_the_call() {
    let world = World::new().await;
    world.pod("p", "Pending", false).await;
    world.pod("s", "Succeeded", false).await;
    let since = ListOptions {
        resource_version: world.revision(),
        ..ListOptions::default()
    };
    for name in ["p", "s"] {
        world.evict(name, Value::Null).await.expect("granted");
        assert_eq!(world.get("pods", &format!("shop/{name}")).await, None);
    }
    let events = world.watch("pods", "shop", since, 1).await;
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "MODIFIED", "MODIFIED", "DELETED", "MODIFIED", "MODIFIED", "DELETED"
        ]
    );
    let last = &events[2].1;
    assert_eq!(last["metadata"]["deletionGracePeriodSeconds"], 0);
    assert!(
        last["metadata"]["resourceVersion"].as_str()
            > events[1].1["metadata"]["resourceVersion"].as_str()
    );
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_decides_and_writes_nothing() {
    let world = World::new().await;
    world.pod("p", "Running", true).await;
    world.budget("b", json!({"minAvailable": 2}), open(1)).await;
    let before = world.revision();
    assert_eq!(
        world
            .evict("p", json!({"dryRun": ["All"]}))
            .await
            .expect("granted")
            .0,
        201
    );
    let both = Verb::Create {
        body: json_body(&json!({"metadata": {"name": "p"}, "deleteOptions": {"dryRun": ["x"]}})),
        options: WriteOptions {
            dry_run: vec!["All".to_owned()],
            ..WriteOptions::default()
        },
    };
    let mismatch = refused(world.ask("pods", "shop/p/eviction", both).await);
    assert_eq!(
        mismatch,
        (
            500,
            "Non-matching dry-run options in request and content: [All] and [x]".to_owned()
        )
    );
    let illegal = refused(world.evict("p", json!({"dryRun": ["x"]})).await);
    assert_eq!(illegal.0, 422);
    assert_eq!(world.revision(), before);
}

#[tokio::test(start_paused = true)]
async fn the_body_is_checked_before_the_pod_is_looked_up() {
    let world = World::new().await;
    let check = async |path: &str, body: Value, code: u16, message: &str| {
        assert_eq!(
            refused(world.try_create("pods", path, body).await),
            (code, message.to_owned())
        );
    };
    check(
        "shop/p/eviction",
        json!({}),
        400,
        "name in URL does not match name in Eviction object",
    )
    .await;
    check(
        "shop/p/eviction",
        json!({"metadata": {"name": "p"}}),
        404,
        "pods \"p\" not found",
    )
    .await;
    check(
        "none/p/eviction",
        json!({"metadata": {"name": "q"}}),
        404,
        "namespaces \"none\" not found",
    )
    .await;
    let elsewhere =
        "the namespace of the provided object does not match the namespace sent on the request";
    check(
        "shop/p/eviction",
        json!({"metadata": {"name": "p", "namespace": "x"}}),
        400,
        elsewhere,
    )
    .await;
    let pod = "Pod in version \"v1\" cannot be handled as a Eviction: converting (v1.Pod) to (policy.Eviction): unknown conversion";
    check(
        "shop/p/eviction",
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}),
        400,
        pod,
    )
    .await;
    let of_version = |version: &str| {
        let metadata = json!({"name": "p"});
        json!({"apiVersion": version, "kind": "Eviction", "metadata": metadata})
    };
    for version in ["policy/v1", "policy/v1beta1"] {
        check(
            "shop/p/eviction",
            of_version(version),
            404,
            "pods \"p\" not found",
        )
        .await;
    }
    let v2 = "Eviction in version \"v2\" cannot be handled as a Eviction: no kind \"Eviction\" is registered for version \"policy/v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"";
    check(
        "shop/p/eviction",
        json!({"apiVersion": "policy/v2", "kind": "Eviction"}),
        400,
        v2,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn concurrent_evictions_never_exceed_the_budget() {
    let world = World::new().await;
    for number in 0..20 {
        world.pod(&format!("p{number}"), "Running", true).await;
    }
    world.budget("b", json!({"minAvailable": 2}), open(7)).await;
    let all = (0..20).map(|number| {
        let world = &world;
        async move {
            world
                .evict(&format!("p{number}"), Value::Null)
                .await
                .is_ok()
        }
    });
    let granted = futures::future::join_all(all)
        .await
        .into_iter()
        .filter(|granted| *granted)
        .count();
    assert_eq!(granted, 7);
    let budget = world
        .get("poddisruptionbudgets", "shop/b")
        .await
        .expect("there");
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert_eq!(
        budget["status"]["disruptedPods"]
            .as_object()
            .map(serde_json::Map::len),
        Some(7)
    );
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_found_by_every_kind_of_selector() {
    let expression = |key: &str, operator: &str, values: Value| {
        json!({"matchExpressions": [{"key": key, "operator": operator,
        "values": values}]})
    };
    for (selector, selects) in [
        (json!({"matchLabels": {"app": "a"}}), true),
        (json!({"matchLabels": {"app": "b"}}), false),
        (json!({"matchLabels": {"app": "a", "tier": "front"}}), false),
        (expression("app", "In", json!(["b", "a"])), true),
        (expression("app", "In", json!(["b", "c"])), false),
        (expression("app", "Exists", Value::Null), true),
        (expression("app", "NotIn", json!(["b"])), true),
        (expression("app", "NotIn", json!(["a"])), false),
        (json!({}), true),
    ] {
        let world = World::new().await;
        world.pod("p", "Running", true).await;
        // The first selector is another one, so that the index has to follow the change.
        let other = json!({"selector": {"matchLabels": {"app": "other"}}, "minAvailable": 2});
        world.budget("b", other, open(0)).await;
        let changed = json!({"spec": {"selector": null}});
        world
            .patch("poddisruptionbudgets", "shop/b", changed)
            .await
            .expect("written");
        world
            .patch(
                "poddisruptionbudgets",
                "shop/b",
                json!({"spec": {"selector": selector}}),
            )
            .await
            .expect("written");
        let expected = if selects { 429 } else { 201 };
        let found = world
            .evict("p", Value::Null)
            .await
            .map_or_else(|refusal| refusal.status.code, |(code, _)| code);
        assert_eq!(found, expected, "{selector}");
    }
}
