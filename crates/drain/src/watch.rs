//! The watches of a drain: what they see becomes [`Fact`]s, and so does that they cannot see.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use tokio::sync::mpsc::UnboundedSender;

use crate::cordon::Change;
use crate::dynamic;
use crate::evict::{self, Answer, Target};
use crate::filter::Sorted;
use crate::surge::{Raised, Surge};

/// Something that the engine learns, from a watch or as the answer to a request.
#[derive(Debug)]
pub(crate) enum Fact {
    /// Whether the server knows evictions in `policy/v1beta1` only.
    Api(Result<bool, String>),
    Cordoned(String, Result<Change, kube::Error>),
    Surveyed(String, Result<Sorted, kube::Error>),
    PodSeen(Box<Pod>),
    PodGone(String),
    /// All pods of this node.
    PodsListed(String, BTreeSet<String>),
    PodsBlind(Option<String>),
    NodeSeen(String, Option<Box<Node>>),
    BudgetSeen(Box<PodDisruptionBudget>),
    BudgetGone(Box<PodDisruptionBudget>),
    BudgetsBlind(Option<String>),
    Answered(Target, Answer),
    Looked(Target, Result<Option<Box<Pod>>, kube::Error>),
    Surged(Target, Result<Raised, String>),
    /// Whether there was anything to do.
    Restored(Surge, Result<bool, String>),
    Leftovers(Vec<Surge>, Vec<String>),
}

/// Follows the pods that `config` selects, in one namespace or in all, as pods of `node`.
pub(crate) async fn pods(
    client: Client,
    namespace: Option<String>,
    config: watcher::Config,
    node: String,
    facts: UnboundedSender<Fact>,
) {
    let mut events = dynamic::watch::<Pod>(client, namespace.as_deref(), config).boxed();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        let fact = match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(pod)) => {
                listed.extend(pod.uid());
                Fact::PodSeen(Box::new(pod))
            }
            Ok(Event::InitDone) => {
                drop(facts.send(Fact::PodsBlind(None)));
                Fact::PodsListed(node.clone(), std::mem::take(&mut listed))
            }
            Ok(Event::Apply(pod)) => Fact::PodSeen(Box::new(pod)),
            Ok(Event::Delete(pod)) => Fact::PodGone(pod.uid().unwrap_or_default()),
            Err(error) => Fact::PodsBlind(Some(words(&error))),
        };
        drop(facts.send(fact));
    }
}

/// Follows a node.
pub(crate) async fn node(client: Client, name: String, facts: UnboundedSender<Fact>) {
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
            // Without this watch less is known of why a pod does not go, and nothing else is lost.
            Err(error) => {
                tracing::debug!(%error, node = name, "watching the node failed; trying again");
                continue;
            }
        };
        drop(facts.send(Fact::NodeSeen(name.clone(), seen)));
    }
}

/// Follows all budgets.
pub(crate) async fn budgets(client: Client, facts: UnboundedSender<Fact>) {
    let mut events =
        dynamic::watch::<PodDisruptionBudget>(client, None, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let fact = match event {
            Ok(Event::Apply(budget) | Event::InitApply(budget)) => {
                Fact::BudgetSeen(Box::new(budget))
            }
            Ok(Event::Delete(budget)) => Fact::BudgetGone(Box::new(budget)),
            Ok(Event::InitDone) => Fact::BudgetsBlind(None),
            Ok(Event::Init) => continue,
            Err(error) => Fact::BudgetsBlind(Some(words(&error))),
        };
        drop(facts.send(fact));
    }
}

/// The server's words in an error of a watch.
fn words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => evict::words(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        other => other.to_string(),
    }
}
