//! `testkit::TestCluster` as authors of controllers use it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use registry::request::User;
use serde_json::json;
use testkit::TestCluster;

const MINUTE: Duration = Duration::from_secs(60);

fn pod_is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .iter()
            .any(|one| one.type_ == "Ready" && one.status == "True")
}

async fn ready_pods(client: &Client) -> anyhow::Result<Vec<String>> {
    let pods = Api::<Pod>::default_namespaced(client.clone())
        .list(&ListParams::default())
        .await?;
    Ok(pods
        .items
        .into_iter()
        .filter(pod_is_ready)
        .filter_map(|pod| pod.metadata.name)
        .collect())
}

/// Creates a Deployment with three pods and a budget that allows one disruption.
async fn apply_web(client: &Client) -> anyhow::Result<()> {
    let labels = BTreeMap::from([("app", "web")]);
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    });
    let budget = json!({
        "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
    });
    let options = PostParams::default();
    Api::<Deployment>::default_namespaced(client.clone())
        .create(&options, &serde_json::from_value(deployment)?)
        .await?;
    Api::<PodDisruptionBudget>::default_namespaced(client.clone())
        .create(&options, &serde_json::from_value(budget)?)
        .await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_evicted_pod_is_replaced_while_the_budget_holds_the_others() -> anyhow::Result<()> {
    let cluster = TestCluster::start(2).await?;
    let client = cluster.client();
    apply_web(&client).await?;
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(client.clone());

    let names = cluster
        .wait_for(MINUTE, async || {
            Ok(Some(ready_pods(&client).await?).filter(|names| names.len() == 3))
        })
        .await?;
    let allowed = async || {
        let status = budgets.get("web").await?.status.unwrap_or_default();
        Ok((status.disruptions_allowed == Some(1)).then_some(()))
    };
    cluster.wait_for(MINUTE, allowed).await?;

    pods.evict(&names[0], &EvictParams::default()).await?;
    let refused = pods
        .evict(&names[1], &EvictParams::default())
        .await
        .expect_err("the budget is spent");
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 429),
        "{refused}"
    );

    let replaced = async || {
        Ok(Some(ready_pods(&client).await?)
            .filter(|now| now.len() == 3 && !now.contains(&names[0])))
    };
    cluster.wait_for(2 * MINUTE, replaced).await?;
    cluster.wait_for(MINUTE, allowed).await?;
    cluster.stop().await
}

#[tokio::test(start_paused = true)]
async fn a_rolling_update_makes_each_pod_of_a_stateful_set_once() -> anyhow::Result<()> {
    let cluster = TestCluster::start(2).await?;
    let client = cluster.client();
    let sets = Api::<StatefulSet>::default_namespaced(client.clone());
    let labels = BTreeMap::from([("app", "db")]);
    let set = json!({
        "metadata": {"name": "db"},
        "spec": {
            "replicas": 3,
            "serviceName": "db",
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "db", "image": "postgres"}]},
            },
        },
    });
    sets.create(&PostParams::default(), &serde_json::from_value(set)?)
        .await?;
    let is_updated = async |revisions: usize| {
        let set = sets.get("db").await?;
        let status = set.status.unwrap_or_default();
        let names = [&status.current_revision, &status.update_revision];
        let all = api_count::<ControllerRevision>(&client).await?;
        let done = status.updated_replicas == Some(3)
            && status.ready_replicas == Some(3)
            && names[0] == names[1]
            && set.metadata.generation == status.observed_generation
            && all == revisions;
        anyhow::Ok(done.then_some(()))
    };
    cluster
        .wait_for(MINUTE, async || is_updated(1).await)
        .await?;
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"v": "2"}}}}});
    sets.patch("db", &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    cluster
        .wait_for(MINUTE, async || is_updated(2).await)
        .await?;
    let count = cluster
        .wait_for(MINUTE, async || {
            let events = Api::<Event>::default_namespaced(client.clone())
                .list(&ListParams::default())
                .await?;
            let created = |event: &&Event| event.reason.as_deref() == Some("SuccessfulCreate");
            let counts = events
                .iter()
                .filter(created)
                .filter_map(|event| event.count);
            Ok(Some(counts.sum::<i32>()).filter(|count| *count >= 6))
        })
        .await?;
    assert_eq!(count, 6, "three pods of each revision");
    cluster.stop().await
}

async fn api_count<K>(client: &Client) -> anyhow::Result<usize>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let list = Api::<K>::default_namespaced(client.clone())
        .list(&ListParams::default())
        .await?;
    Ok(list.items.len())
}

#[tokio::test(start_paused = true)]
async fn jobs_end_by_their_policies_on_simulated_nodes() -> anyhow::Result<()> {
    let cluster = TestCluster::start(1).await?;
    let client = cluster.client();
    let jobs = Api::<Job>::default_namespaced(client.clone());
    let sidecar = json!([{"name": "s", "image": "i", "restartPolicy": "Always"}]);
    // (name, spec, exit code of the pods, reason, [succeeded, failed], failed indexes)
    let cases = [
        (
            "indexes",
            json!({"completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1}),
            "1",
            "FailedIndexes",
            [None, Some(4)],
            Some("0,1"),
        ),
        (
            "enough",
            json!({"completions": 5, "successPolicy": {"rules": [{"succeededCount": 2}]}}),
            "0",
            "SuccessPolicy",
            [Some(2), None],
            None,
        ),
        (
            "limit",
            json!({"completions": 2, "backoffLimit": 1}),
            "1",
            "BackoffLimitExceeded",
            [None, Some(2)],
            None,
        ),
    ];
    for (name, mut spec, code, reason, counts, failed_indexes) in cases {
        spec["completionMode"] = json!("Indexed");
        spec["template"] = json!({
            "metadata": {"annotations": {"sim.exeunt.dev/exit-code.c": code}},
            "spec": {"restartPolicy": "Never", "initContainers": sidecar,
                "containers": [{"name": "c", "image": "i"}]}});
        let job = json!({"metadata": {"name": name}, "spec": spec});
        jobs.create(&PostParams::default(), &serde_json::from_value(job)?)
            .await?;
        let status = cluster
            .wait_for(10 * MINUTE, async || {
                let status = jobs.get(name).await?.status.unwrap_or_default();
                let mut conditions = status.conditions.iter().flatten();
                let ended = conditions.any(|one| matches!(&*one.type_, "Complete" | "Failed"));
                Ok(ended.then_some(status))
            })
            .await?;
        let conditions = status.conditions.unwrap_or_default();
        assert!(
            conditions
                .iter()
                .all(|one| one.reason.as_deref() == Some(reason)),
            "{name}: {conditions:?}"
        );
        assert_eq!([status.succeeded, status.failed], counts, "{name}");
        assert_eq!(status.failed_indexes.as_deref(), failed_indexes, "{name}");
    }
    cluster.stop().await
}

/// Returns the value of the last series of the page that starts with this name and labels.
fn metric(page: &str, series: &str) -> Option<f64> {
    page.lines()
        .rev()
        .find(|line| line.starts_with(series))?
        .rsplit_once(' ')?
        .1
        .parse()
        .ok()
}

#[tokio::test(start_paused = true)]
async fn the_life_of_an_eviction_is_measured_from_the_request_to_the_budget_that_counts_it()
-> anyhow::Result<()> {
    let cluster = TestCluster::start(2).await?;
    let client = cluster.client();
    apply_web(&client).await?;
    let names = cluster
        .wait_for(MINUTE, async || {
            Ok(Some(ready_pods(&client).await?).filter(|names| names.len() == 3))
        })
        .await?;
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(client.clone());
    let healthy = async || {
        let status = budgets.get("web").await?.status.unwrap_or_default();
        Ok(
            (status.current_healthy == Some(3) && status.disruptions_allowed == Some(1))
                .then_some(()),
        )
    };
    cluster.wait_for(MINUTE, healthy).await?;
    let pods = Api::<Pod>::default_namespaced(client.clone());
    pods.evict(&names[0], &EvictParams::default()).await?;
    pods.evict(&names[1], &EvictParams::default())
        .await
        .expect_err("the budget is spent");
    let gone = async || Ok(pods.get_opt(&names[0]).await?.is_none().then_some(()));
    cluster.wait_for(2 * MINUTE, gone).await?;
    cluster.wait_for(MINUTE, healthy).await?;

    let page = (cluster.transport())(http::Request::get("/metrics").body(Bytes::new())?).await;
    let page = String::from_utf8(page.body.to_vec())?;
    let budget = r#"namespace="default",pdb="web""#;
    let eviction = r#"group="",resource="pods",scope="resource",subresource="eviction",verb="POST",version="v1""#;
    for (series, least) in [
        (
            format!(
                "apiserver_request_total{{code=\"201\",component=\"apiserver\",dry_run=\"\",{eviction}"
            ),
            1.0,
        ),
        (
            format!(
                "apiserver_request_total{{code=\"429\",component=\"apiserver\",dry_run=\"\",{eviction}"
            ),
            1.0,
        ),
        (
            format!(
                "apiserver_request_duration_seconds_count{{component=\"apiserver\",dry_run=\"\",{eviction}"
            ),
            2.0,
        ),
        (
            format!("exeunt_eviction_requests_total{{outcome=\"allowed\",{budget}"),
            1.0,
        ),
        (format!("exeunt_pdb_blocked_seconds_total{{{budget}"), 0.0),
        ("exeunt_eviction_to_gone_seconds_count".to_owned(), 1.0),
        ("exeunt_pdb_status_lag_seconds_count".to_owned(), 1.0),
        ("exeunt_pdb_pod_status_lag_seconds_count".to_owned(), 2.0),
    ] {
        let found = metric(&page, &series);
        assert!(
            found.is_some_and(|found| found >= least),
            "{series} is {found:?} in {page}"
        );
    }
    for (name, expected) in [
        ("current_healthy", 3.0),
        ("desired_healthy", 2.0),
        ("pod_disruptions_allowed", 1.0),
        ("expected_pods", 3.0),
        ("observed_generation", 1.0),
    ] {
        let series = format!(
            "kube_poddisruptionbudget_status_{name}{{namespace=\"default\",poddisruptionbudget=\"web\"}}"
        );
        assert_eq!(metric(&page, &series), Some(expected), "{series}");
    }
    cluster.stop().await
}

#[tokio::test(start_paused = true)]
async fn requests_with_credentials_of_their_own_are_judged_by_them() -> anyhow::Result<()> {
    let alice = User {
        name: "alice".to_owned(),
        ..User::default()
    };
    let cluster = TestCluster::builder()
        .without_controllers()
        .token("t0k", alice)
        .start()
        .await?;
    let code = async |token: Option<&str>| {
        let request = http::Request::builder().uri("/api/v1/namespaces/default/pods");
        let request = token.iter().fold(request, |request, token| {
            request.header("Authorization", *token)
        });
        (cluster.transport())(request.body(Bytes::new()).expect("a request"))
            .await
            .code
    };
    assert_eq!(code(None).await, 200);
    assert_eq!(code(Some("Bearer t0k")).await, 403);
    assert_eq!(code(Some("Bearer nobody")).await, 401);
    assert_eq!(code(Some("")).await, 403);
    cluster.stop().await
}

#[tokio::test(start_paused = true)]
async fn what_never_happens_is_given_up_in_time() -> anyhow::Result<()> {
    let cluster = TestCluster::builder().without_controllers().start().await?;
    let before = cluster.clock().now();
    let waited = cluster.wait_for(MINUTE, async || Ok(None::<()>)).await;
    assert!(waited.is_err());
    assert_eq!(cluster.clock().now().duration_since(before).as_secs(), 60);
    cluster.stop().await
}

#[tokio::test(start_paused = true)]
async fn eviction_hints_are_sent_over_http_when_they_are_on() -> anyhow::Result<()> {
    let cluster = TestCluster::builder()
        .without_controllers()
        .eviction_hints()
        .start()
        .await?;
    let body = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "a"}}}});
    let request = http::Request::post("/apis/policy/v1/namespaces/default/poddisruptionbudgets")
        .header("Content-Type", "application/json");
    let answer = (cluster.transport())(request.body(body.to_string().into())?).await;
    let warning = answer
        .headers
        .get("warning")
        .map(String::as_str)
        .unwrap_or_default();
    assert_eq!(answer.code, 201);
    assert!(
        warning.starts_with("299 - \"spec.maxUnavailable: with 0 no healthy pod"),
        "{warning}"
    );
    let page = (cluster.transport())(http::Request::get("/metrics").body(Bytes::new())?).await;
    let page = String::from_utf8(page.body.to_vec())?;
    let requests = r#"apiserver_request_total{code="201",component="apiserver",dry_run="",group="policy",resource="poddisruptionbudgets",scope="resource",subresource="",verb="POST",version="v1"} 1"#;
    for line in [
        requests,
        r#"kube_poddisruptionbudget_status_expected_pods{namespace="default",poddisruptionbudget="b"} 0"#,
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line} is missing in {page}"
        );
    }
    cluster.stop().await
}
