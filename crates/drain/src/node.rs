//! The drain of one node: cordon, evict every pod at once, and let refused ones try again the moment
//! a budget changes.
//!
//! Pods of DaemonSets and mirror pods stay, since they would be back at once. Nothing is deleted
//! past a budget, and nothing gives up: the caller sees every refusal as [`Progress`] and may drop
//! the future.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use tokio::sync::mpsc::UnboundedSender;

use crate::cordon::{Change, cordon};
use crate::evict::{Answer, Refused, Target, evict};
use crate::view::View;

/// How long a refused eviction waits at the most when no watch tells it to try again.
const RETRY_AT_LATEST: Duration = Duration::from_secs(5);

/// What happens during a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The node takes no new pods.
    Cordoned(Change),
    /// This pod stays, for this reason.
    Skipped(Target, &'static str),
    /// An eviction is asked for.
    Asked(Target),
    /// It was granted.
    Granted(Target),
    /// It was refused and will be asked for again.
    Refused(Target, Refused),
    /// The pod is gone.
    Gone(Target),
}

/// Drains one node; returns when every pod that had to go is gone.
///
/// # Errors
/// The first answer that no waiting can mend, for example that the node does not exist, or that a
/// pod has two budgets.
pub async fn drain(client: &Client, node: &str, progress: UnboundedSender<Progress>) -> Result<(), kube::Error> {
    let tell = |event| drop(progress.send(event));
    tell(Progress::Cordoned(cordon(client, node).await?));
    let view = View::of_node(client, node);
    let pods: Api<Pod> = Api::all(client.clone());
    let listed = pods.list(&ListParams::default().fields(&format!("spec.nodeName={node}"))).await?;
    let mut leaving = FuturesUnordered::new();
    for pod in &listed.items {
        match stays(pod) {
            Some(why) => tell(Progress::Skipped(Target::of(pod), why)),
            None => leaving.push(leave(client, &view, Target::of(pod), &tell)),
        }
    }
    while let Some(done) = leaving.next().await {
        done?;
    }
    Ok(())
}

/// Why a pod is not evicted, if so.
fn stays(pod: &Pod) -> Option<&'static str> {
    let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    if pod.annotations().contains_key("kubernetes.io/config.mirror") {
        return Some("a mirror pod");
    }
    controller.is_some_and(|owner| owner.kind == "DaemonSet").then_some("managed by a DaemonSet")
}

async fn leave(client: &Client, view: &View, target: Target, tell: &impl Fn(Progress)) -> Result<(), kube::Error> {
    let mut budgets = view.budgets.clone();
    loop {
        // Changes from here on count: one that comes between the answer and the wait is not missed.
        budgets.mark_unchanged();
        tell(Progress::Asked(target.clone()));
        match evict(client, &target).await? {
            Answer::Granted => break tell(Progress::Granted(target.clone())),
            Answer::Gone => break,
            Answer::Refused(why) => {
                tell(Progress::Refused(target.clone(), why));
                if let Ok(Err(_ended)) = tokio::time::timeout(RETRY_AT_LATEST, budgets.changed()).await {
                    tokio::time::sleep(RETRY_AT_LATEST).await;
                }
            }
        }
    }
    let mut alive = view.alive.clone();
    drop(alive.wait_for(|uids| uids.as_ref().is_some_and(|uids| !uids.contains(&target.uid))).await);
    tell(Progress::Gone(target));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(metadata: serde_json::Value) -> Option<&'static str> {
        stays(&serde_json::from_value(json!({"metadata": metadata})).expect("a pod"))
    }

    #[test]
    fn pods_that_would_be_back_at_once_stay() {
        let owner = |kind: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "u", "controller": true}]);
        assert_eq!(check(json!({"ownerReferences": owner("DaemonSet")})), Some("managed by a DaemonSet"));
        assert_eq!(check(json!({"ownerReferences": owner("ReplicaSet")})), None);
        assert_eq!(check(json!({"annotations": {"kubernetes.io/config.mirror": "x"}})), Some("a mirror pod"));
        assert_eq!(check(json!({})), None);
    }
}
