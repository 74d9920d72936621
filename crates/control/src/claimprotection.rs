//! Holds a deleted claim for storage until no pod uses it any more.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{ListParams, Patch, PatchParams};

use crate::caches::{Cache, Caches};
use crate::context::Context;
use crate::error::{Error, unless_gone};
use crate::meta::Key;
use crate::pods::{is_finished, namespace};
use crate::queue::{Outcome, Queue};

const WORKERS: usize = 2;
const FINALIZER: &str = "kubernetes.io/pvc-protection";

pub(crate) fn start(context: &Context, caches: &mut Caches) {
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    caches.claims.subscribe(move |change| {
        if change.new.as_ref().is_some_and(|claim| is_held(claim)) {
            wake.add(Key::of(change.latest()));
        }
    });
    let (wake, claims) = (queue.clone(), Arc::clone(&caches.claims.cache));
    caches.pods.subscribe(move |change| {
        let ended = change.new.as_ref().is_none_or(|pod| is_finished(pod));
        if ended {
            claims
                .select(namespace(change.latest()), is_held)
                .iter()
                .for_each(|claim| wake.add(Key::of(&**claim)));
        }
    });
    let (context_, claims) = (context.clone(), Arc::clone(&caches.claims.cache));
    context.work(
        "claim protection",
        queue,
        WORKERS,
        vec![caches.claims.cache.synced()],
        move |key| {
            let (context, claims) = (context_.clone(), Arc::clone(&claims));
            async move { reconcile(&context, &claims, &key).await }
        },
    );
}

fn is_held(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.deletion_timestamp.is_some()
        && claim
            .metadata
            .finalizers
            .iter()
            .flatten()
            .any(|finalizer| finalizer == FINALIZER)
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
    context: &Context,
    claims: &Cache<PersistentVolumeClaim>,
    key: &Key,
) -> Result<Outcome, Error> {
    let Some(claim) = claims.get(key).filter(|claim| is_held(claim)) else {
        return Ok(Outcome::Done);
    };
    // Volumes are not in the cache; deletions of claims are rare.
    let pods = context
        .namespaced::<Pod>(&key.namespace)
        .list(&ListParams::default())
        .await?
        .items;
    if pods
        .iter()
        .any(|pod| !is_finished(pod) && uses(pod, &key.name))
    {
        return Ok(Outcome::Done);
    }
    let left: Vec<_> = claim
        .metadata
        .finalizers
        .iter()
        .flatten()
        .filter(|finalizer| *finalizer != FINALIZER)
        .collect();
    let value = if left.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::json!(left)
    };
    let patch = serde_json::json!({"metadata": {"uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version, "finalizers": value}});
    let api = context.namespaced::<PersistentVolumeClaim>(&key.namespace);
    unless_gone(
        api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await,
    )?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pods::tests::pod;

    #[test]
    fn a_claim_is_used_by_the_pods_that_mount_it() {
        let pod = pod(
            json!({"spec": {"containers": [], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}}]}}),
        );
        assert!(uses(&pod, "data-0"));
        assert!(!uses(&pod, "data-1"));
    }
}
