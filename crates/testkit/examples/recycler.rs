//! A controller and its test: pods that run longer than their `example.dev/max-age` annotation are
//! evicted, never deleted, so that budgets hold.
//!
//! `cargo run -p exeunt-testkit --example recycler`
//!
//! [`recycle`] is the controller as it would ship: it holds nothing but a [`Client`] and a clock.
//! [`run`] is its test. The clock of the runtime is paused, so an hour of virtual time takes as
//! long as the work that is done in it.

use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use futures::StreamExt as _;
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, EvictParams, ListParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testkit::TestCluster;

const MAX_AGE: &str = "example.dev/max-age";

/// What the reconciler works with.
struct RecyclerContext {
    client: Client,
    clock: Clock,
}

/// Runs the controller. It ends when its future is dropped.
async fn recycle(client: Client, clock: Clock) {
    let pods = Api::<Pod>::all(client.clone());
    let context = Arc::new(RecyclerContext { client, clock });
    Controller::new(pods, watcher::Config::default())
        .run(reconcile, on_error, context)
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn reconcile(pod: Arc<Pod>, context: Arc<RecyclerContext>) -> Result<Action, kube::Error> {
    let Some(left) = time_left(&pod, &context.clock) else {
        return Ok(Action::await_change());
    };
    if left.is_positive() {
        return Ok(Action::requeue(left.unsigned_abs()));
    }
    let pods = Api::<Pod>::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    match pods.evict(&pod.name_any(), &EvictParams::default()).await {
        Ok(_) => Ok(Action::await_change()),
        // A refused eviction is not an error: the budget allows one later.
        Err(kube::Error::Api(status)) if status.code == 429 => {
            Ok(Action::requeue(Duration::from_secs(5)))
        }
        Err(error) => Err(error),
    }
}

/// The time until the pod is too old; `None` if it has no maximum age or is terminating.
fn time_left(pod: &Pod, clock: &Clock) -> Option<SignedDuration> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let max_age: i64 = pod.annotations().get(MAX_AGE)?.parse().ok()?;
    let started = pod.status.as_ref()?.start_time.as_ref()?.0;
    Some(SignedDuration::from_secs(max_age) - clock.now().duration_since(started))
}

fn on_error(_pod: Arc<Pod>, _error: &kube::Error, _context: Arc<RecyclerContext>) -> Action {
    Action::requeue(Duration::from_secs(1))
}

/// Tests the controller: within ten minutes every pod of a Deployment is replaced, and there are
/// never fewer ready pods than its budget demands.
///
/// # Errors
/// An assertion about the controller does not hold.
pub(crate) async fn run() -> anyhow::Result<()> {
    let cluster = TestCluster::start(2).await?;
    let client = cluster.client();
    create::<Deployment>(&client, deployment()).await?;
    create::<PodDisruptionBudget>(&client, budget()).await?;

    let pods = Api::<Pod>::default_namespaced(client.clone());
    let ready = async || {
        let pods = pods.list(&ListParams::default()).await?.items;
        let ready = pods.into_iter().filter(is_ready);
        anyhow::Ok(ready.map(|pod| pod.name_any()).collect::<Vec<_>>())
    };
    let three_ready = async || Ok(Some(ready().await?).filter(|pods| pods.len() == 3));
    let minute = Duration::from_secs(60);
    let first = cluster.wait_for(minute, three_ready).await?;

    let controller = tokio::spawn(recycle(client.clone(), cluster.clock().clone()));
    let all_replaced = async || {
        let now = ready().await?;
        anyhow::ensure!(now.len() >= 2, "the budget demands 2 ready pods: {now:?}");
        let replaced = now.len() == 3 && now.iter().all(|pod| !first.contains(pod));
        Ok(replaced.then_some(()))
    };
    cluster.wait_for(10 * minute, all_replaced).await?;

    controller.abort();
    cluster.stop().await
}

async fn create<K>(client: &Client, object: Value) -> anyhow::Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    let object: K = serde_json::from_value(object)?;
    Api::<K>::default_namespaced(client.clone())
        .create(&PostParams::default(), &object)
        .await?;
    Ok(())
}

fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default()
        .iter();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn deployment() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {MAX_AGE: "120"}},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    })
}

fn budget() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    })
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> anyhow::Result<()> {
    run().await
}
