//! Keeps a single-replica workload available during a drain: scales it to two, evicts the old pod
//! when the new one is ready, and scales it back.
//!
//! Meanwhile the workload has a label and an annotation. They are the only state, so that the next
//! drain of the same node scales the workload back after an interruption.
//!
//! The second pod of a StatefulSet is another member, not a copy. The set is scaled back only when
//! the evicted member is ready again, and not scaled up at all when its members have their own
//! volumes.
//!
//! Read next: `workload.rs`, which finds the workload of a pod.

mod workload;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kinds::path::segment;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::{dynamic, evict, pods};
pub use workload::WorkloadKind;
pub(crate) use workload::can_surge;

/// The label of a workload that is scaled up. Its value is the node that is drained.
pub const LABEL: &str = "exeunt.dev/surged-for";
/// The annotation of a workload that is scaled up. Its value is the number of replicas before.
pub const ANNOTATION: &str = "exeunt.dev/surged-from";

/// How long a new replica may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// A workload that was scaled up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurgedWorkload {
    /// Kind.
    pub kind: WorkloadKind,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The result of scaling up the workload of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SurgeResult {
    /// The pod is not the only replica of a workload. It is evicted at once.
    NotNeeded,
    /// The workload was not scaled up because that would be reverted or do harm: a warning. The pod
    /// is evicted without a second replica.
    Declined(String),
    /// A second replica is ready.
    Ready(SurgedWorkload),
}

impl SurgedWorkload {
    /// Formats the workload as `deployment NAMESPACE/NAME`.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "{} {}/{}",
            self.kind.resource_name(),
            self.namespace,
            self.name
        )
    }

    /// Returns a warning when the new replica is no copy of the old one.
    #[must_use]
    pub fn caveat(&self) -> Option<String> {
        let text = || {
            format!(
                "{} runs another member, not a copy of the evicted one; it is scaled back when the evicted member is ready again",
                self.describe()
            )
        };
        (self.kind == WorkloadKind::StatefulSet).then(text)
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        Api::namespaced_with(
            client.clone(),
            &segment(&self.namespace),
            &self.kind.resource(),
        )
    }
}

/// Scales up the workload of the pod for the drain of `node`, and waits until another replica is
/// ready.
///
/// # Errors
/// A message that says why no other replica is ready. The workload is scaled back then.
pub(crate) async fn raise(client: &Client, pod: &Pod, node: &str) -> Result<SurgeResult, String> {
    let found = workload::find(client, pod)
        .await
        .map_err(|error| format!("cannot read its controller: {}", evict::message_of(&error)))?;
    let Some((kind, object)) = found else {
        return Ok(SurgeResult::NotNeeded);
    };
    let surge = SurgedWorkload {
        kind,
        namespace: pods::namespace(pod).to_owned(),
        name: object.name_any(),
    };
    let (replicas, raised) = (
        workload::replicas(&object),
        object.annotations().contains_key(ANNOTATION),
    );
    if replicas != 1 && !raised {
        return Ok(SurgeResult::NotNeeded);
    }
    if !raised {
        if let Some(why) = workload::reason_to_decline(kind, &object) {
            return Ok(SurgeResult::Declined(format!(
                "{} is not scaled up, so its only pod is evicted without a second one: {why}",
                surge.describe()
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
            .patch(
                &segment(&surge.name),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await;
        scaled.map_err(|error| {
            format!(
                "cannot scale up {}: {}",
                surge.describe(),
                evict::message_of(&error)
            )
        })?;
    }
    match tokio::time::timeout(READY_TIMEOUT, another_is_ready(client, pod)).await {
        Ok(()) => Ok(SurgeResult::Ready(surge)),
        Err(_) => {
            lower(client, &surge).await?;
            Err(format!(
                "the second replica of {} was not ready after {} s; it was scaled back",
                surge.describe(),
                READY_TIMEOUT.as_secs()
            ))
        }
    }
}

/// Waits until another pod of the same owner is ready.
async fn another_is_ready(client: &Client, pod: &Pod) {
    let owner = pods::controller_of(pod).map(|owner| owner.uid.clone());
    let namespace = Some(pods::namespace(pod));
    let mut events =
        dynamic::watch::<Pod>(client.clone(), namespace, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        if let Ok(Event::Apply(other) | Event::InitApply(other)) = event {
            let same_owner = pods::controller_of(&other).map(|owner| owner.uid.clone()) == owner;
            if same_owner && other.uid() != pod.uid() && is_up(&other) {
                return;
            }
        }
    }
}

fn is_up(pod: &Pod) -> bool {
    pods::is_ready(pod) && !pods::is_terminating(pod)
}

/// Scales a workload back, a StatefulSet only when its evicted member is ready again. Returns false
/// when it was scaled back before.
///
/// # Errors
/// The message of the failed request, or that the evicted member did not become ready in time. In
/// the second case the workload is scaled back nevertheless.
pub(crate) async fn restore(client: &Client, surge: &SurgedWorkload) -> Result<bool, String> {
    let is_back = match surge.kind {
        WorkloadKind::StatefulSet => {
            tokio::time::timeout(READY_TIMEOUT, members_are_back(client, surge))
                .await
                .is_ok()
        }
        _ => true,
    };
    let lowered = lower(client, surge).await?;
    if is_back || !lowered {
        return Ok(lowered);
    }
    Err(format!(
        "{} was scaled back, but its evicted member is not ready after {} s",
        surge.describe(),
        READY_TIMEOUT.as_secs()
    ))
}

/// Waits until the members that a StatefulSet had before are all ready, or the set is deleted.
async fn members_are_back(client: &Client, surge: &SurgedWorkload) {
    let Ok(Some(set)) = surge.api(client).get_opt(&segment(&surge.name)).await else {
        return;
    };
    let wanted = workload::members(&set, before(&set).unwrap_or(1));
    let mut up: BTreeMap<String, bool> = BTreeMap::new();
    let namespace = Some(surge.namespace.as_str());
    let mut events =
        dynamic::watch::<Pod>(client.clone(), namespace, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let is_complete = match event {
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
        if is_complete && wanted.iter().all(|name| up.get(name) == Some(&true)) {
            return;
        }
    }
}

/// Returns the number of replicas before the surge. Other clients can write the annotation, so only
/// small numbers are accepted.
fn before(object: &DynamicObject) -> Option<i64> {
    object
        .annotations()
        .get(ANNOTATION)?
        .parse::<u8>()
        .ok()
        .map(i64::from)
}

/// Scales a workload back at once, and removes label and annotation. Keeps the number of replicas
/// when another client has changed it since. Returns false when there was nothing to do.
///
/// # Errors
/// The message of the failed request.
pub(crate) async fn lower(client: &Client, surge: &SurgedWorkload) -> Result<bool, String> {
    let api = surge.api(client);
    let failed = |error: kube::Error| {
        format!(
            "cannot scale back {}: {}",
            surge.describe(),
            evict::message_of(&error)
        )
    };
    // A concurrent write conflicts once or twice; five conflicts mean that something is wrong.
    for _ in 0..5 {
        let Some(object) = api.get_opt(&segment(&surge.name)).await.map_err(failed)? else {
            return Ok(false);
        };
        let Some(before) = before(&object) else {
            return Ok(false);
        };
        let mut patch = json!({"metadata": {
            "resourceVersion": object.resource_version(), "labels": {LABEL: null},
            "annotations": {ANNOTATION: null},
        }});
        if workload::replicas(&object) == before + 1 {
            patch["spec"] = json!({"replicas": before});
        }
        match api
            .patch(
                &segment(&surge.name),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await
        {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(format!(
        "cannot scale back {}: another client keeps changing it",
        surge.describe()
    ))
}

/// Returns the workloads that are scaled up for the drain of this node, by this run or an
/// interrupted one, and a warning for each kind that cannot be listed.
pub(crate) async fn raised_for(client: &Client, node: &str) -> (Vec<SurgedWorkload>, Vec<String>) {
    let (mut surges, mut unseen) = (Vec::new(), Vec::new());
    for kind in WorkloadKind::ALL {
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.resource());
        match api
            .list(&ListParams::default().labels(&format!("{LABEL}={node}")))
            .await
        {
            Ok(found) => surges.extend(found.items.iter().map(|object| SurgedWorkload {
                kind,
                namespace: object.namespace().unwrap_or_default(),
                name: object.name_any(),
            })),
            Err(error) => unseen.push(format!(
                "cannot list {}s that are still scaled up: {}",
                kind.resource_name(),
                evict::message_of(&error)
            )),
        }
    }
    (surges, unseen)
}
