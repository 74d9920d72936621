//! Watches the cluster through its API, as any client could, and derives events from the changes.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Event as CoreEvent, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::event::DemoEvent;

/// An event and the name of its pod; `None` for events about the budget.
pub(crate) type Observation = (Option<String>, DemoEvent);

/// Watches a namespace until the returned set is dropped.
pub(crate) fn namespace(
    client: &Client,
    namespace: &str,
    observations: &UnboundedSender<Observation>,
) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    watches.spawn(follow::<Pod, _>(
        client.clone(),
        namespace.to_owned(),
        observations.clone(),
        PodObserver::default(),
    ));
    watches.spawn(follow::<EndpointSlice, _>(
        client.clone(),
        namespace.to_owned(),
        observations.clone(),
        EndpointObserver::default(),
    ));
    watches.spawn(follow::<PodDisruptionBudget, _>(
        client.clone(),
        namespace.to_owned(),
        observations.clone(),
        BudgetObserver::default(),
    ));
    watches.spawn(follow::<CoreEvent, _>(
        client.clone(),
        namespace.to_owned(),
        observations.clone(),
        EventObserver::default(),
    ));
    watches
}

/// Derives events from the states of objects of one kind.
trait ObjectObserver<K>: Send + 'static {
    fn applied(&mut self, object: &K) -> Vec<Observation>;
    fn deleted(&mut self, _object: &K) -> Vec<Observation> {
        Vec::new()
    }
}

async fn follow<K, O>(
    client: Client,
    namespace: String,
    observations: UnboundedSender<Observation>,
    mut observer: O,
) where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
    O: ObjectObserver<K>,
{
    let config = watcher::Config::default();
    let mut events = drain::dynamic::watch::<K>(client, Some(&namespace), config).boxed();
    while let Some(event) = events.next().await {
        let observed = match event {
            Ok(Event::InitApply(object) | Event::Apply(object)) => observer.applied(&object),
            Ok(Event::Delete(object)) => observer.deleted(&object),
            Ok(Event::Init | Event::InitDone) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "watch failed; retrying");
                Vec::new()
            }
        };
        for observation in observed {
            drop(observations.send(observation));
        }
    }
}

/// Reports replacements, stopped containers and deletions.
#[derive(Default)]
struct PodObserver {
    known: BTreeSet<String>,
    /// Terminating pods by name.
    terminating: BTreeMap<String, ReportedSteps>,
}

/// What was reported about a terminating pod.
#[derive(Default)]
struct ReportedSteps {
    stop: bool,
    replacement: bool,
}

impl ObjectObserver<Pod> for PodObserver {
    fn applied(&mut self, pod: &Pod) -> Vec<Observation> {
        let name = pod.name_any();
        let mut observations = Vec::new();
        if pod.metadata.deletion_timestamp.is_some() {
            let reported = self.terminating.entry(name.clone()).or_default();
            if let (false, Some(exit_code)) = (reported.stop, exit_code(pod)) {
                reported.stop = true;
                observations.push((Some(name.clone()), DemoEvent::Stopped { exit_code }));
            }
        } else if !self.known.contains(&name)
            && let Some((old, reported)) = self
                .terminating
                .iter_mut()
                .find(|(_, reported)| !reported.replacement)
        {
            reported.replacement = true;
            observations.push((Some(old.clone()), DemoEvent::Replaced { by: name.clone() }));
        }
        self.known.insert(name);
        observations
    }

    fn deleted(&mut self, pod: &Pod) -> Vec<Observation> {
        vec![(Some(pod.name_any()), DemoEvent::Deleted)]
    }
}

fn exit_code(pod: &Pod) -> Option<i32> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    Some(
        statuses
            .first()?
            .state
            .as_ref()?
            .terminated
            .as_ref()?
            .exit_code,
    )
}

/// Reports when a pod's endpoint becomes terminating.
#[derive(Default)]
struct EndpointObserver {
    reported: BTreeSet<String>,
}

impl ObjectObserver<EndpointSlice> for EndpointObserver {
    fn applied(&mut self, slice: &EndpointSlice) -> Vec<Observation> {
        let mut observations = Vec::new();
        for endpoint in slice.endpoints.iter().flatten() {
            let terminating = endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.terminating)
                == Some(true);
            if let (true, Some(name)) = (
                terminating,
                endpoint
                    .target_ref
                    .as_ref()
                    .and_then(|target| target.name.clone()),
            ) && self.reported.insert(name.clone())
            {
                observations.push((Some(name), DemoEvent::Unready));
            }
        }
        observations
    }
}

/// Reports when the budget allows a disruption again.
#[derive(Default)]
struct BudgetObserver {
    allowed: Option<i32>,
}

impl ObjectObserver<PodDisruptionBudget> for BudgetObserver {
    fn applied(&mut self, budget: &PodDisruptionBudget) -> Vec<Observation> {
        let Some(status) = &budget.status else {
            return Vec::new();
        };
        let allowed = status.disruptions_allowed.unwrap_or_default();
        let before = self.allowed.replace(allowed);
        if before == Some(0) && allowed > 0 {
            return vec![(
                None,
                DemoEvent::Recovered {
                    healthy: status.current_healthy.unwrap_or_default(),
                    allowed,
                },
            )];
        }
        Vec::new()
    }
}

/// Reports when the node agent begins to stop a pod, from its `Killing` event.
#[derive(Default)]
struct EventObserver {
    reported: BTreeSet<String>,
}

impl ObjectObserver<CoreEvent> for EventObserver {
    fn applied(&mut self, event: &CoreEvent) -> Vec<Observation> {
        let Some(name) = event.involved_object.name.clone() else {
            return Vec::new();
        };
        if event.reason.as_deref() != Some("Killing") || !self.reported.insert(name.clone()) {
            return Vec::new();
        }
        vec![(Some(name), DemoEvent::Stopping)]
    }
}
