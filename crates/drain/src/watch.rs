//! The watches of a drain. Their events and failures become [`EngineInput`]s.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use tokio::sync::mpsc::Sender;

use crate::cordon::CordonChange;
use crate::dynamic;
use crate::evict::{self, EvictionResponse, PodRef};
use crate::filter::FilteredPods;
use crate::surge::{SurgeResult, SurgedWorkload};

/// An input of the engine: a watch event, or the response to a request.
#[derive(Debug)]
pub(crate) enum EngineInput {
    /// The eviction API of the server, or the error of the discovery.
    Discovered(Result<EvictionApi, String>),
    /// The response to marking a node as unschedulable.
    Cordoned(String, Result<CordonChange, kube::Error>),
    /// The filtered pods of a node.
    Listed(String, Result<FilteredPods, kube::Error>),
    PodObserved(Box<Pod>),
    /// The uid of a deleted pod.
    PodDeleted(String),
    /// The uids of all pods of a node.
    PodsListed(String, BTreeSet<String>),
    /// The error of the watch of pods, `None` when it works again.
    PodWatch(Option<String>),
    /// A node, `None` when it was deleted.
    NodeObserved(String, Option<Box<Node>>),
    BudgetObserved(Box<PodDisruptionBudget>),
    BudgetDeleted(Box<PodDisruptionBudget>),
    /// The error of the watch of budgets, `None` when it works again.
    BudgetWatch(Option<String>),
    /// The response to an eviction or deletion.
    Responded(PodRef, EvictionResponse),
    /// The result of reading a pod, `None` when it does not exist.
    Checked(PodRef, Result<Option<Box<Pod>>, kube::Error>),
    Surged(PodRef, Result<SurgeResult, String>),
    /// True when the workload was scaled back, false when there was nothing to do.
    Restored(SurgedWorkload, Result<bool, String>),
    /// Workloads that are still scaled up after the drain of their node, and warnings.
    StillSurged(Vec<SurgedWorkload>, Vec<String>),
}

/// The version of the eviction API that the server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EvictionApi {
    /// `policy/v1`, since Kubernetes 1.22.
    V1,
    /// Only `policy/v1beta1`.
    V1Beta1,
}

/// Watches the pods that `config` selects, on behalf of the drain of `node`.
pub(crate) async fn pods(
    client: Client,
    namespace: Option<String>,
    config: watcher::Config,
    node: String,
    inputs: Sender<EngineInput>,
) {
    let mut events = dynamic::watch::<Pod>(client, namespace.as_deref(), config).boxed();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        let input = match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(pod)) => {
                listed.extend(pod.uid());
                EngineInput::PodObserved(Box::new(pod))
            }
            Ok(Event::InitDone) => {
                drop(inputs.send(EngineInput::PodWatch(None)).await);
                EngineInput::PodsListed(node.clone(), std::mem::take(&mut listed))
            }
            Ok(Event::Apply(pod)) => EngineInput::PodObserved(Box::new(pod)),
            Ok(Event::Delete(pod)) => EngineInput::PodDeleted(pod.uid().unwrap_or_default()),
            Err(error) => EngineInput::PodWatch(Some(message_of(&error))),
        };
        drop(inputs.send(input).await);
    }
}

/// Watches a node.
pub(crate) async fn node(client: Client, name: String, inputs: Sender<EngineInput>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = dynamic::watch::<Node>(client, None, config).boxed();
    let mut found = false;
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(Event::Init) => {
                found = false;
                continue;
            }
            Ok(Event::InitApply(node) | Event::Apply(node)) => {
                found = true;
                Some(Box::new(node))
            }
            Ok(Event::InitDone) if found => continue,
            Ok(Event::InitDone | Event::Delete(_)) => None,
            // Without this watch the drain reports less about delays, and nothing else is lost.
            Err(error) => {
                tracing::debug!(%error, node = name, "cannot watch node, retrying");
                continue;
            }
        };
        drop(
            inputs
                .send(EngineInput::NodeObserved(name.clone(), seen))
                .await,
        );
    }
}

/// Watches all budgets.
pub(crate) async fn budgets(client: Client, inputs: Sender<EngineInput>) {
    let mut events =
        dynamic::watch::<PodDisruptionBudget>(client, None, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let input = match event {
            Ok(Event::Apply(budget) | Event::InitApply(budget)) => {
                EngineInput::BudgetObserved(Box::new(budget))
            }
            Ok(Event::Delete(budget)) => EngineInput::BudgetDeleted(Box::new(budget)),
            Ok(Event::InitDone) => EngineInput::BudgetWatch(None),
            Ok(Event::Init) => continue,
            Err(error) => EngineInput::BudgetWatch(Some(message_of(&error))),
        };
        drop(inputs.send(input).await);
    }
}

/// Returns the server's message in the error of a watch.
fn message_of(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => evict::message_of(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        other => other.to_string(),
    }
}
