//! Lets a single-replica workload stay reachable: a second replica is started first, the old one is
//! evicted when the new one is ready, and the workload is scaled back.
//!
//! The workload carries a label and an annotation meanwhile, so that an interrupted run is put
//! right by the next drain of the same node: nothing is kept anywhere else.
//!
//! A StatefulSet gives another member and no copy: it is scaled back only when the member that went
//! is back, and not scaled up at all when its members have volumes of their own.
//!
//! Read next: `workload.rs`, which workload a pod stands for.

mod workload;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::{dynamic, evict, health};
pub use workload::Kind;
pub(crate) use workload::may_be_raised;

/// Names the node for whose drain a workload was scaled up.
pub const LABEL: &str = "exeunt.dev/surged-for";
/// The number of replicas to go back to.
pub const ANNOTATION: &str = "exeunt.dev/surged-from";

/// How long a replica may take to be ready; a pod that needs longer needs a person.
const PATIENCE: Duration = Duration::from_secs(600);

/// A workload that was scaled up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surge {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What came of the wish for another replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raised {
    /// The pod is not the only replica of anything: there is nothing to do.
    Needless,
    /// It would be undone, or do harm: why. The pod is evicted as it is.
    Unwise(String),
    /// Another replica is ready.
    Ready(Surge),
}

impl Surge {
    /// As `deployment NAMESPACE/NAME`.
    #[must_use]
    pub fn told(&self) -> String {
        format!("{} {}/{}", self.kind.word(), self.namespace, self.name)
    }

    /// What the other replica is not, where it is no copy of the one that goes.
    #[must_use]
    pub fn caveat(&self) -> Option<String> {
        let text = || {
            format!(
                "{} has another member now and no copy of the one that goes; it stays until that one is back",
                self.told()
            )
        };
        (self.kind == Kind::StatefulSet).then(text)
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &self.namespace, &self.kind.resource())
    }
}

/// Starts a second replica of the pod's workload and waits until one that is not `pod` is ready.
///
/// # Errors
/// What keeps the replica from being ready, in words.
pub(crate) async fn raise(client: &Client, pod: &Pod, node: &str) -> Result<Raised, String> {
    let found = workload::find(client, pod)
        .await
        .map_err(|error| format!("cannot read its controller: {}", evict::words(&error)))?;
    let Some((kind, object)) = found else {
        return Ok(Raised::Needless);
    };
    let surge = Surge {
        kind,
        namespace: health::namespace(pod).to_owned(),
        name: object.name_any(),
    };
    let (replicas, raised) = (
        workload::replicas(&object),
        object.annotations().contains_key(ANNOTATION),
    );
    if replicas != 1 && !raised {
        return Ok(Raised::Needless);
    }
    if !raised {
        if let Some(why) = workload::unwise(kind, &object) {
            return Ok(Raised::Unwise(format!(
                "{} is not scaled up, and its only pod goes as it is: {why}",
                surge.told()
            )));
        }
        let patch = json!({
            "metadata": {
                "resourceVersion": object.resource_version(),
                "labels": {LABEL: node}, "annotations": {ANNOTATION: replicas.to_string()},
            },
            "spec": {"replicas": replicas + 1},
        });
        let scaled = surge
            .api(client)
            .patch(&surge.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        scaled.map_err(|error| {
            format!("cannot scale up {}: {}", surge.told(), evict::words(&error))
        })?;
    }
    match tokio::time::timeout(PATIENCE, another_is_ready(client, pod)).await {
        Ok(()) => Ok(Raised::Ready(surge)),
        Err(_) => {
            lower(client, &surge).await?;
            Err(format!(
                "the second replica of {} was not ready after {} s; it was scaled back",
                surge.told(),
                PATIENCE.as_secs()
            ))
        }
    }
}

/// Waits until another pod of the same owner is ready.
async fn another_is_ready(client: &Client, pod: &Pod) {
    let owner = health::controller_of(pod).map(|owner| owner.uid.clone());
    let namespace = Some(health::namespace(pod));
    let mut events =
        dynamic::watch::<Pod>(client.clone(), namespace, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        if let Ok(Event::Apply(other) | Event::InitApply(other)) = event {
            let same_owner = health::controller_of(&other).map(|owner| owner.uid.clone()) == owner;
            if same_owner && other.uid() != pod.uid() && is_up(&other) {
                return;
            }
        }
    }
}

fn is_up(pod: &Pod) -> bool {
    health::is_ready(pod) && !health::is_terminating(pod)
}

/// Scales a workload back when nobody is missed: the member of a StatefulSet that went must be
/// back. When it does not come, the workload is scaled back all the same, and that is an error.
///
/// # Errors
/// What went wrong, in words.
pub(crate) async fn restore(client: &Client, surge: &Surge) -> Result<bool, String> {
    let back = match surge.kind {
        Kind::StatefulSet => tokio::time::timeout(PATIENCE, members_are_back(client, surge))
            .await
            .is_ok(),
        _ => true,
    };
    let lowered = lower(client, surge).await?;
    if back || !lowered {
        return Ok(lowered);
    }
    Err(format!(
        "{} was scaled back, and its first member is not ready after {} s",
        surge.told(),
        PATIENCE.as_secs()
    ))
}

/// Waits until the members that a StatefulSet had before are all ready, or the set is gone.
async fn members_are_back(client: &Client, surge: &Surge) {
    let Ok(Some(set)) = surge.api(client).get_opt(&surge.name).await else {
        return;
    };
    let wanted = workload::members(&set, before(&set).unwrap_or(1));
    let mut up: BTreeMap<String, bool> = BTreeMap::new();
    let namespace = Some(surge.namespace.as_str());
    let mut events =
        dynamic::watch::<Pod>(client.clone(), namespace, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let whole = match event {
            Ok(Event::Init) => {
                up.clear();
                false
            }
            Ok(Event::InitApply(pod)) => {
                up.insert(pod.name_any(), is_up(&pod));
                false
            }
            Ok(Event::Apply(pod)) => {
                up.insert(pod.name_any(), is_up(&pod));
                true
            }
            Ok(Event::Delete(pod)) => {
                up.remove(&pod.name_any());
                true
            }
            Ok(Event::InitDone) => true,
            Err(_) => false,
        };
        if whole && wanted.iter().all(|name| up.get(name) == Some(&true)) {
            return;
        }
    }
}

/// The number of replicas to go back to. Others can write the annotation, so that no more is
/// believed than a surge ever notes down: a small number.
fn before(object: &DynamicObject) -> Option<i64> {
    object
        .annotations()
        .get(ANNOTATION)?
        .parse::<u8>()
        .ok()
        .map(i64::from)
}

/// Scales a workload back at once, unless somebody else has changed its size since; false when that
/// was done before.
///
/// # Errors
/// What the server answers, in words.
pub(crate) async fn lower(client: &Client, surge: &Surge) -> Result<bool, String> {
    let api = surge.api(client);
    let failed = |error: kube::Error| {
        format!(
            "cannot scale back {}: {}",
            surge.told(),
            evict::words(&error)
        )
    };
    // A write of somebody else in between is met once or twice, not for ever.
    for _ in 0..5 {
        let Some(object) = api.get_opt(&surge.name).await.map_err(failed)? else {
            return Ok(false);
        };
        let Some(before) = before(&object) else {
            return Ok(false);
        };
        let mut patch = json!({"metadata": {
            "resourceVersion": object.resource_version(), "labels": {LABEL: null}, "annotations": {ANNOTATION: null},
        }});
        if workload::replicas(&object) == before + 1 {
            patch["spec"] = json!({"replicas": before});
        }
        match api
            .patch(&surge.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(format!(
        "cannot scale back {}: somebody else keeps changing it",
        surge.told()
    ))
}

/// The workloads that are scaled up for the drain of this node, by this run or an interrupted one;
/// and in words, what could not be seen.
pub(crate) async fn raised_for(client: &Client, node: &str) -> (Vec<Surge>, Vec<String>) {
    let (mut surges, mut unseen) = (Vec::new(), Vec::new());
    for kind in Kind::ALL {
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.resource());
        match api
            .list(&ListParams::default().labels(&format!("{LABEL}={node}")))
            .await
        {
            Ok(found) => surges.extend(found.items.iter().map(|object| Surge {
                kind,
                namespace: object.namespace().unwrap_or_default(),
                name: object.name_any(),
            })),
            Err(error) => unseen.push(format!(
                "cannot see whether a {} is still scaled up: {}",
                kind.word(),
                evict::words(&error)
            )),
        }
    }
    (surges, unseen)
}
