//! The client that evicts, and its latencies.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{EvictParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::support::PATIENCE;

const REPLICAS: usize = 20;

/// Creates a deployment whose budget lets half of the pods go, and waits until all are ready.
pub(super) async fn prepare(client: &Client) {
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "main", "image": "nginx"}],
                },
            },
        },
    }))
    .unwrap();
    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"maxUnavailable": "50%", "selector": {"matchLabels": {"app": "web"}}},
    }))
    .unwrap();
    let options = PostParams::default();
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    deployments.create(&options, &deployment).await.unwrap();
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(client.clone());
    budgets.create(&options, &budget).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = budgets.get("web").await.unwrap().status.unwrap_or_default();
        if status
            .current_healthy
            .and_then(|count| usize::try_from(count).ok())
            == Some(REPLICAS)
        {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the pods do not become ready: {status:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How long evictions took, sorted.
pub(super) struct Latencies {
    granted: usize,
    sorted: Vec<Duration>,
}

impl Latencies {
    pub(super) fn p99(&self) -> Duration {
        let place = self.sorted.len() * 99 / 100;
        self.sorted.get(place).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let middle = self
            .sorted
            .get(self.sorted.len() / 2)
            .copied()
            .unwrap_or_default();
        write!(
            out,
            "{} evictions ({} granted), p50 {middle:.1?}, p99 {:.1?}",
            self.sorted.len(),
            self.granted,
            self.p99()
        )
    }
}

/// Evicts one pod after the other for this long. Every answer is one of the budget: a limit of the
/// server that stops an administrator's eviction fails the test.
pub(super) async fn run(client: &Client, phase: Duration) -> Latencies {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let mut latencies = Latencies {
        granted: 0,
        sorted: Vec::new(),
    };
    let end = Instant::now() + phase;
    while Instant::now() < end || latencies.granted == 0 {
        let running = pods
            .list(&ListParams::default().labels("app=web"))
            .await
            .unwrap();
        for pod in running.items {
            let asked = Instant::now();
            match pods.evict(&pod.name_any(), &EvictParams::default()).await {
                Ok(_) => latencies.granted += 1,
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(kube::Error::Api(status))
                    if status.code == 429 && status.message.contains("disruption budget") => {}
                Err(error) => panic!("an eviction is not answered by its budget: {error}"),
            }
            latencies.sorted.push(asked.elapsed());
        }
    }
    latencies.sorted.sort_unstable();
    latencies
}
