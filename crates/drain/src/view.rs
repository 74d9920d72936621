//! What a drain watches: the pods of its node, and whether any budget has changed.

use std::collections::HashSet;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Uids of the node's pods and a counter of budget changes, both kept up by watches for as long as
/// this lives.
pub(crate) struct View {
    pub(crate) alive: watch::Receiver<Option<HashSet<String>>>,
    pub(crate) budgets: watch::Receiver<u64>,
    _watches: JoinSet<()>,
}

impl View {
    /// Begins to watch.
    pub(crate) fn of_node(client: &Client, node: &str) -> Self {
        let (alive_sender, alive) = watch::channel(None);
        let (budgets_sender, budgets) = watch::channel(0);
        let mut watches = JoinSet::new();
        watches.spawn(follow_pods(client.clone(), node.to_owned(), alive_sender));
        watches.spawn(follow_budgets(client.clone(), budgets_sender));
        Self { alive, budgets, _watches: watches }
    }
}

async fn follow_pods(client: Client, node: String, alive: watch::Sender<Option<HashSet<String>>>) {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = watcher::watcher(Api::<Pod>::all(client), config).boxed();
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => listed.extend(pod.uid()),
            Ok(Event::InitDone) => drop(alive.send_replace(Some(std::mem::take(&mut listed)))),
            Ok(Event::Apply(pod)) => edit(&alive, |uids| uids.extend(pod.uid())),
            Ok(Event::Delete(pod)) => edit(&alive, |uids| uids.retain(|uid| Some(uid) != pod.metadata.uid.as_ref())),
            Err(error) => tracing::warn!(%error, "watching the node's pods failed; trying again"),
        }
    }
}

fn edit(alive: &watch::Sender<Option<HashSet<String>>>, change: impl FnOnce(&mut HashSet<String>)) {
    alive.send_modify(|uids| change(uids.get_or_insert_default()));
}

async fn follow_budgets(client: Client, changes: watch::Sender<u64>) {
    let mut events = watcher::watcher(Api::<PodDisruptionBudget>::all(client), watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(_) => changes.send_modify(|count| *count += 1),
            Err(error) => tracing::warn!(%error, "watching budgets failed; trying again"),
        }
    }
}
