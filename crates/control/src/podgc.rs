//! The pod garbage collector: deletes pods that no one else deletes. These are pods on nodes that
//! do not exist, terminating pods that were never scheduled, terminating pods on nodes that are out
//! of service, and finished pods beyond a threshold.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::DeleteParams;

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, until};
use crate::nodes;
use crate::pods::{is_finished, is_terminating, name, namespace, node_name};
use crate::queue::{Requeue, WorkQueue};

const WORKERS: usize = 4;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// The key that stands for all finished pods. No node has an empty name.
const FINISHED: &str = "";

struct Controller {
    context: ControllerContext,
    nodes: Arc<Cache<Node>>,
    pods: Arc<Cache<Pod>>,
    /// Since when nodes have been missing.
    missing: Mutex<HashMap<String, Timestamp>>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    // Keys without a namespace are nodes, the others are pods.
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    informers.nodes.enqueue_changes(&queue);
    let (wake, threshold, pods) = (
        queue.clone(),
        context.options.terminated_pod_threshold,
        Arc::clone(&informers.pods.cache),
    );
    let known = Arc::clone(&informers.nodes.cache);
    informers.pods.subscribe(move |change| {
        let Some(pod) = &change.new else { return };
        if is_terminating(pod) && node_name(pod).is_empty() {
            wake.add(ObjectKey::of(&**pod));
        }
        if !node_name(pod).is_empty() {
            let node = known.find("", node_name(pod));
            if node.is_none_or(|node| is_terminating(pod) && is_out_of_service(&node)) {
                wake.add(ObjectKey::new("", node_name(pod)));
            }
        }
        let finishes = is_finished(pod) && change.old.as_ref().is_none_or(|old| !is_finished(old));
        if finishes && pods.len() > threshold {
            wake.add(ObjectKey::new("", FINISHED));
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        nodes: Arc::clone(&informers.nodes.cache),
        pods: Arc::clone(&informers.pods.cache),
        missing: Mutex::default(),
    });
    let synced = vec![
        informers.nodes.cache.synced(),
        informers.pods.cache.synced(),
    ];
    context.run("pod gc", queue, WORKERS, synced, controller);
}

fn is_out_of_service(node: &Node) -> bool {
    let ready = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|c| c.type_ == "Ready" && c.status == "True");
    !ready && nodes::taints(node).any(|taint| taint.key == OUT_OF_SERVICE)
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        if !key.namespace.is_empty() {
            if let Some(pod) = self
                .pods
                .get(key)
                .filter(|pod| is_terminating(pod) && node_name(pod).is_empty())
            {
                self.remove(&pod, false).await?;
            }
            return Ok(Requeue::OnChange);
        }
        if key.name == FINISHED {
            return self.trim().await;
        }
        match self.nodes.get(key) {
            Some(node) => {
                self.note_missing(&key.name, None);
                if is_out_of_service(&node) {
                    for pod in self
                        .pods
                        .at(&key.name)
                        .iter()
                        .filter(|pod| is_terminating(pod))
                    {
                        self.remove(pod, false).await?;
                    }
                }
                Ok(Requeue::OnChange)
            }
            None => self.remove_orphans(key).await,
        }
    }
}

impl Controller {
    fn note_missing(&self, node: &str, since: Option<Timestamp>) -> Option<Timestamp> {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        match since {
            Some(since) => Some(*missing.entry(node.to_owned()).or_insert(since)),
            None => missing.remove(node),
        }
    }

    /// Deletes the pods of a missing node, after a quarantine and a last look at the server.
    async fn remove_orphans(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let orphans = self.pods.at(&key.name);
        if orphans.is_empty() {
            self.note_missing(&key.name, None);
            return Ok(Requeue::OnChange);
        }
        let now = self.context.now();
        let since = self.note_missing(&key.name, Some(now)).unwrap_or(now);
        let due = since
            .saturating_add(self.context.options.orphan_quarantine)
            .unwrap_or(Timestamp::MAX);
        if due > now {
            return Ok(Requeue::After(until(now, due)));
        }
        if self
            .context
            .cluster::<Node>()
            .get_opt(&key.name)
            .await?
            .is_some()
        {
            return Ok(Requeue::OnChange);
        }
        for pod in orphans {
            self.remove(&pod, true).await?;
        }
        Ok(Requeue::OnChange)
    }

    /// Deletes finished pods beyond the threshold: evicted ones first, then the oldest.
    async fn trim(&self) -> Result<Requeue, ReconcileError> {
        let mut finished: Vec<_> = self
            .pods
            .all()
            .into_iter()
            .filter(|pod| is_finished(pod) && !is_terminating(pod))
            .collect();
        let surplus = finished
            .len()
            .saturating_sub(self.context.options.terminated_pod_threshold);
        let evicted = |pod: &Pod| {
            pod.status
                .as_ref()
                .and_then(|status| status.reason.as_deref())
                == Some("Evicted")
        };
        finished.sort_by_key(|pod| {
            (
                !evicted(pod),
                pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
                ObjectKey::of(&**pod),
            )
        });
        for pod in finished.iter().take(surplus) {
            self.remove(pod, false).await?;
        }
        Ok(Requeue::OnChange)
    }

    /// Marks a pod as failed unless it has finished, and deletes it without grace period.
    async fn remove(&self, pod: &Arc<Pod>, orphan: bool) -> Result<(), ReconcileError> {
        let api = self.context.namespaced::<Pod>(namespace(pod));
        if !is_finished(pod) {
            let mut status = serde_json::json!({"phase": "Failed"});
            if orphan {
                let target = self.context.disruption_target(
                    pod,
                    "DeletionByPodGC",
                    "PodGC: node no longer exists",
                );
                status["conditions"] = serde_json::json!([target]);
            }
            self.context.patch_pod_status(pod, status).await?;
        }
        ignore_not_found(
            api.delete(name(pod), &DeleteParams::default().grace_period(0))
                .await,
        )?;
        Ok(())
    }
}
