//! Watches the cluster through its API, as anybody could, and tells what happens to the pods.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Event as Notice, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::happening::Happening;

/// A happening and the pod that it is about; no pod for what is about the budget.
pub(crate) type Sight = (Option<String>, Happening);

/// Begins to watch a namespace; ends when dropped.
pub(crate) fn namespace(
    client: &Client,
    namespace: &str,
    sights: &UnboundedSender<Sight>,
) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    watches.spawn(follow::<Pod, _>(
        client.clone(),
        namespace.to_owned(),
        sights.clone(),
        Pods::default(),
    ));
    watches.spawn(follow::<EndpointSlice, _>(
        client.clone(),
        namespace.to_owned(),
        sights.clone(),
        Endpoints::default(),
    ));
    watches.spawn(follow::<PodDisruptionBudget, _>(
        client.clone(),
        namespace.to_owned(),
        sights.clone(),
        Budget::default(),
    ));
    watches.spawn(follow::<Notice, _>(
        client.clone(),
        namespace.to_owned(),
        sights.clone(),
        Notices::default(),
    ));
    watches
}

/// Turns the states of objects into happenings.
trait Eye<K>: Send + 'static {
    fn seen(&mut self, object: &K) -> Vec<Sight>;
    fn gone(&mut self, _object: &K) -> Vec<Sight> {
        Vec::new()
    }
}

async fn follow<K, E>(client: Client, namespace: String, sights: UnboundedSender<Sight>, mut eye: E)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
    E: Eye<K>,
{
    let config = watcher::Config::default();
    let mut events = drain::dynamic::watch::<K>(client, Some(&namespace), config).boxed();
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(Event::InitApply(object) | Event::Apply(object)) => eye.seen(&object),
            Ok(Event::Delete(object)) => eye.gone(&object),
            Ok(Event::Init | Event::InitDone) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "a watch of the demo failed; trying again");
                Vec::new()
            }
        };
        for sight in seen {
            drop(sights.send(sight));
        }
    }
}

/// Tells replacements, stopped containers and removals.
#[derive(Default)]
struct Pods {
    known: BTreeSet<String>,
    /// Pods that are going, each with whether its stop and its replacement were told.
    going: BTreeMap<String, (bool, bool)>,
}

impl Eye<Pod> for Pods {
    fn seen(&mut self, pod: &Pod) -> Vec<Sight> {
        let name = pod.name_any();
        let mut sights = Vec::new();
        if pod.metadata.deletion_timestamp.is_some() {
            let told = self.going.entry(name.clone()).or_default();
            if let (false, Some(exit_code)) = (told.0, exit_code(pod)) {
                told.0 = true;
                sights.push((Some(name.clone()), Happening::Stopped { exit_code }));
            }
        } else if !self.known.contains(&name)
            && let Some((old, told)) = self.going.iter_mut().find(|(_, told)| !told.1)
        {
            told.1 = true;
            sights.push((Some(old.clone()), Happening::Replaced { by: name.clone() }));
        }
        self.known.insert(name);
        sights
    }

    fn gone(&mut self, pod: &Pod) -> Vec<Sight> {
        vec![(Some(pod.name_any()), Happening::Removed)]
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

/// Tells when a pod's endpoint begins to terminate.
#[derive(Default)]
struct Endpoints {
    told: BTreeSet<String>,
}

impl Eye<EndpointSlice> for Endpoints {
    fn seen(&mut self, slice: &EndpointSlice) -> Vec<Sight> {
        let mut sights = Vec::new();
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
            ) && self.told.insert(name.clone())
            {
                sights.push((Some(name), Happening::Unready));
            }
        }
        sights
    }
}

/// Tells when the budget allows an eviction again.
#[derive(Default)]
struct Budget {
    allowed: Option<i32>,
}

impl Eye<PodDisruptionBudget> for Budget {
    fn seen(&mut self, budget: &PodDisruptionBudget) -> Vec<Sight> {
        let Some(status) = &budget.status else {
            return Vec::new();
        };
        let allowed = status.disruptions_allowed.unwrap_or_default();
        let before = self.allowed.replace(allowed);
        if before == Some(0) && allowed > 0 {
            return vec![(
                None,
                Happening::Recovered {
                    healthy: status.current_healthy.unwrap_or_default(),
                    allowed,
                },
            )];
        }
        Vec::new()
    }
}

/// Tells when the node agent begins to stop a pod.
#[derive(Default)]
struct Notices {
    told: BTreeSet<String>,
}

impl Eye<Notice> for Notices {
    fn seen(&mut self, notice: &Notice) -> Vec<Sight> {
        let Some(name) = notice.involved_object.name.clone() else {
            return Vec::new();
        };
        if notice.reason.as_deref() != Some("Killing") || !self.told.insert(name.clone()) {
            return Vec::new();
        }
        vec![(Some(name), Happening::Stopping)]
    }
}
