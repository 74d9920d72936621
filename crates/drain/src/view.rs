//! What a drain watches: the pods of its node, and whether any budget may let another pod go.

use std::collections::{HashMap, HashSet};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Uids of the node's pods, and a counter that rises when a refused eviction is worth another try;
/// both are kept up by watches for as long as this lives.
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

async fn follow_budgets(client: Client, chances: watch::Sender<u64>) {
    let mut generations = HashMap::new();
    let mut events = watcher::watcher(Api::<PodDisruptionBudget>::all(client), watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let chance = match event {
            Ok(Event::Apply(budget) | Event::InitApply(budget)) => gives_a_chance(&budget, &mut generations),
            Ok(Event::Delete(_)) => true,
            Ok(Event::Init | Event::InitDone) => false,
            Err(error) => {
                tracing::warn!(%error, "watching budgets failed; trying again");
                false
            }
        };
        if chance {
            chances.send_modify(|count| *count += 1);
        }
    }
}

/// A budget gives a chance when it allows a disruption, or when it is another one than before.
fn gives_a_chance(budget: &PodDisruptionBudget, generations: &mut HashMap<String, Option<i64>>) -> bool {
    let before = generations.insert(budget.uid().unwrap_or_default(), budget.metadata.generation);
    let edited = before.is_some_and(|before| before != budget.metadata.generation);
    let allowed = budget.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or_default();
    edited || allowed > 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refused_eviction_waits_for_a_budget_that_allows_or_that_was_edited() {
        let mut generations = HashMap::new();
        let mut check = |generation: i64, allowed: i32| {
            let budget = json!({"metadata": {"uid": "u", "generation": generation}, "spec": {},
                "status": {"disruptionsAllowed": allowed, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}});
            gives_a_chance(&serde_json::from_value(budget).expect("a budget"), &mut generations)
        };
        assert!(!check(1, 0), "nothing allowed");
        assert!(check(1, 1), "one allowed");
        assert!(!check(1, 0), "charged");
        assert!(check(2, 0), "edited");
    }
}
