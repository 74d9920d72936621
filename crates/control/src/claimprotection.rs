//! Keeps a deleted PersistentVolumeClaim until no pod uses it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{ListParams, Patch, PatchParams};

use crate::context::ControllerContext;
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, controller_of, has_finalizer, uid, without_finalizer};
use crate::pods::{name, namespace, node_name};
use crate::queue::{Requeue, WorkQueue};

const WORKERS: usize = 2;
const FINALIZER: &str = "kubernetes.io/pvc-protection";

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let wake = queue.clone();
    informers.claims.subscribe(move |change| {
        if change.new.as_ref().is_some_and(|claim| is_held(claim)) {
            wake.add(ObjectKey::of(change.latest()));
        }
    });
    let wake = queue.clone();
    informers.pods.subscribe(move |change| {
        let pod = change.latest();
        if change.new.is_none() || is_shut_down(pod) {
            for claim in claims_of(pod) {
                wake.add(ObjectKey::new(namespace(pod), claim));
            }
        }
    });
    let (context_, claims) = (context.clone(), Arc::clone(&informers.claims.cache));
    context.work(
        "claim protection",
        queue,
        WORKERS,
        vec![informers.claims.cache.synced()],
        move |key| {
            let (context, claims) = (context_.clone(), Arc::clone(&claims));
            async move { reconcile(&context, &claims, &key).await }
        },
    );
}

fn is_held(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.deletion_timestamp.is_some() && has_finalizer(&claim.metadata, FINALIZER)
}

/// True when the node is done with the pod, or the pod was deleted without a grace period. Only
/// other finalizers keep it, and these may wait for its claims.
fn is_shut_down(pod: &Pod) -> bool {
    let meta = &pod.metadata;
    meta.deletion_timestamp.is_some() && meta.deletion_grace_period_seconds == Some(0)
}

/// The names of the claims behind the volumes of a pod, those of ephemeral volumes among them.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = String> {
    let spec = pod.spec.iter();
    let volumes = spec.flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| match &volume.persistent_volume_claim {
        Some(source) => Some(source.claim_name.clone()),
        None if volume.ephemeral.is_some() => Some(format!("{}-{}", name(pod), volume.name)),
        None => None,
    })
}

/// True when a volume of the pod is backed by this claim. A claim of the name of an ephemeral
/// volume counts only if it was made for this pod.
pub(crate) fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let claim_name = claim.metadata.name.as_deref().unwrap_or_default();
    let spec = pod.spec.iter();
    let mut volumes = spec.flat_map(|spec| spec.volumes.iter().flatten());
    volumes.any(|volume| match &volume.persistent_volume_claim {
        Some(source) => source.claim_name == claim_name,
        None => {
            volume.ephemeral.is_some()
                && !is_shut_down(pod)
                && format!("{}-{}", name(pod), volume.name) == claim_name
                && controller_of(&claim.metadata)
                    .is_some_and(|owner| owner.uid == uid(&pod.metadata))
        }
    })
}

/// True when the pod keeps the claim. A finished pod does, as upstream. A pod without a node does
/// not: no node starts a pod whose claim is being deleted.
fn keeps(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    !node_name(pod).is_empty() && uses(pod, claim)
}

async fn reconcile(
    context: &ControllerContext,
    claims: &Cache<PersistentVolumeClaim>,
    key: &ObjectKey,
) -> Result<Requeue, ReconcileError> {
    let Some(claim) = claims.get(key).filter(|claim| is_held(claim)) else {
        return Ok(Requeue::OnChange);
    };
    // Pods in the cache may be older than the claim. Deletions of claims are rare, so a list is
    // cheap enough.
    let pods = context
        .namespaced::<Pod>(&key.namespace)
        .list(&ListParams::default())
        .await?
        .items;
    if pods.iter().any(|pod| keeps(pod, &claim)) {
        return Ok(Requeue::OnChange);
    }
    let value = without_finalizer(&claim.metadata, FINALIZER);
    let patch = serde_json::json!({"metadata": {"uid": claim.metadata.uid,
        "resourceVersion": claim.metadata.resource_version, "finalizers": value}});
    let api = context.namespaced::<PersistentVolumeClaim>(&key.namespace);
    ignore_not_found(
        api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await,
    )?;
    Ok(Requeue::OnChange)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::tests::pod;

    #[test]
    fn a_claim_is_kept_by_placed_pods_that_mount_it() {
        let claim = |name: &str, owner: Value| -> PersistentVolumeClaim {
            let owners = json!([{"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": owner,
                "controller": true}]);
            serde_json::from_value(json!({"metadata": {"name": name,
                "ownerReferences": if owner.is_null() { json!([]) } else { owners }}}))
            .expect("a claim")
        };
        let mount = json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}});
        let ephemeral = json!({"name": "v", "ephemeral": {}});
        let web = |volume: &Value, node: &str, phase: &str, deleted: bool| {
            let mut meta = json!({"name": "web", "namespace": "n", "uid": "p1"});
            if deleted {
                meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                meta["deletionGracePeriodSeconds"] = json!(0);
            }
            pod(json!({"metadata": meta, "status": {"phase": phase},
                "spec": {"nodeName": node, "containers": [], "volumes": [volume]}}))
        };
        let (data, own) = (claim("data", Value::Null), claim("web-v", json!("p1")));
        let (other, foreign) = (claim("other", Value::Null), claim("web-v", json!("p0")));
        let cases = [
            (web(&mount, "a", "Running", false), &data, true),
            (web(&mount, "a", "Running", true), &data, true),
            (web(&mount, "a", "Running", false), &other, false),
            (web(&mount, "", "Pending", false), &data, false),
            (web(&mount, "a", "Succeeded", false), &data, true),
            (web(&ephemeral, "a", "Running", false), &own, true),
            (web(&ephemeral, "a", "Running", true), &own, false),
            (web(&ephemeral, "a", "Running", false), &foreign, false),
            (web(&ephemeral, "a", "Running", false), &data, false),
        ];
        for (pod, claim, expected) in cases {
            assert_eq!(keeps(&pod, claim), expected, "{pod:?}");
        }
        let names: Vec<_> = claims_of(&web(&ephemeral, "a", "Running", false)).collect();
        assert_eq!(names, ["web-v"]);
    }
}
