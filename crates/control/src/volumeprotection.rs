//! Keeps a deleted PersistentVolume while it is bound to a claim.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Patch, PatchParams};

use crate::context::ControllerContext;
use crate::error::{ReconcileError, ignore_not_found};
use crate::informers::Informers;
use crate::meta::{ObjectKey, has_finalizer, without_finalizer};
use crate::queue::{Requeue, WorkQueue};

const WORKERS: usize = 2;
const FINALIZER: &str = "kubernetes.io/pv-protection";

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let wake = queue.clone();
    informers.volumes.subscribe(move |change| {
        if change.new.as_ref().is_some_and(|volume| may_go(volume)) {
            wake.add(ObjectKey::of(change.latest()));
        }
    });
    let (context_, volumes) = (context.clone(), Arc::clone(&informers.volumes.cache));
    context.work(
        "volume protection",
        queue,
        WORKERS,
        vec![informers.volumes.cache.synced()],
        move |key| {
            let (context, volumes) = (context_.clone(), Arc::clone(&volumes));
            async move {
                if let Some(volume) = volumes.get(&key).filter(|volume| may_go(volume)) {
                    release(&context, &volume).await?;
                }
                Ok(Requeue::OnChange)
            }
        },
    );
}

/// True when the volume is deleted, and only this finalizer still protects it.
fn may_go(volume: &PersistentVolume) -> bool {
    let status = volume.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    volume.metadata.deletion_timestamp.is_some()
        && has_finalizer(&volume.metadata, FINALIZER)
        && phase != Some("Bound")
}

async fn release(
    context: &ControllerContext,
    volume: &PersistentVolume,
) -> Result<(), ReconcileError> {
    let left = without_finalizer(&volume.metadata, FINALIZER);
    // The version makes sure that the volume was not bound meanwhile.
    let patch = serde_json::json!({"metadata": {"uid": volume.metadata.uid,
        "resourceVersion": volume.metadata.resource_version, "finalizers": left}});
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let api = context.cluster::<PersistentVolume>();
    ignore_not_found(
        api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bound_volume_is_kept() {
        let volume = |phase: &str, deleted: bool| -> PersistentVolume {
            let stamp = deleted.then_some("2026-01-01T00:00:00Z");
            serde_json::from_value(json!({"metadata": {"name": "v", "deletionTimestamp": stamp,
                "finalizers": [FINALIZER]}, "status": {"phase": phase}}))
            .expect("a volume")
        };
        let cases = [
            ("Bound", true, false),
            ("Available", true, true),
            ("Released", true, true),
            ("Failed", true, true),
            ("Pending", true, true),
            ("Available", false, false),
        ];
        for (phase, deleted, expected) in cases {
            assert_eq!(
                may_go(&volume(phase, deleted)),
                expected,
                "{phase} {deleted}"
            );
        }
    }
}
