//! Keeps a deleted PersistentVolumeClaim until no pod uses it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{ListParams, Patch, PatchParams};

use crate::context::ControllerContext;
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, has_finalizer, without_finalizer};
use crate::pods::{is_finished, namespace};
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
    let (wake, claims) = (queue.clone(), Arc::clone(&informers.claims.cache));
    informers.pods.subscribe(move |change| {
        let ended = change.new.as_ref().is_none_or(|pod| is_finished(pod));
        if ended {
            claims
                .select(namespace(change.latest()), is_held)
                .iter()
                .for_each(|claim| wake.add(ObjectKey::of(&**claim)));
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

fn uses(pod: &Pod, claim: &str) -> bool {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let mut names = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    names.any(|source| source.claim_name == claim)
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
    if pods
        .iter()
        .any(|pod| !is_finished(pod) && uses(pod, &key.name))
    {
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
    use serde_json::json;

    use super::*;
    use crate::pods::tests::pod;

    #[test]
    fn a_claim_is_used_by_the_pods_that_mount_it() {
        let pod = pod(
            json!({"spec": {"containers": [], "volumes": [{"name": "data",
                "persistentVolumeClaim": {"claimName": "data-0"}}]}}),
        );
        assert!(uses(&pod, "data-0"));
        assert!(!uses(&pod, "data-1"));
    }
}
