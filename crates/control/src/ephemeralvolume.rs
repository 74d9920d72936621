//! Makes the claims behind the ephemeral volumes of pods. A claim belongs to its pod and goes with
//! it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;

use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, code, namespace_terminates};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, controlled_by, controller_of, uid};
use crate::pods::{is_active, name};
use crate::queue::{Requeue, WorkQueue};

const WORKERS: usize = 4;

struct Controller {
    context: ControllerContext,
    pods: Arc<Cache<Pod>>,
    claims: Arc<Cache<PersistentVolumeClaim>>,
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let wake = queue.clone();
    informers.pods.subscribe(move |change| {
        if let (None, Some(pod)) = (&change.old, &change.new)
            && ephemeral_volumes(pod).next().is_some()
        {
            wake.add(ObjectKey::of(&**pod));
        }
    });
    let wake = queue.clone();
    informers.claims.subscribe(move |change| {
        if change.new.is_none()
            && let Some(owner) = controller_of(&change.latest().metadata)
            && owner.kind == "Pod"
        {
            let namespace = change.latest().metadata.namespace.clone();
            wake.add(ObjectKey::new(
                namespace.unwrap_or_default(),
                owner.name.clone(),
            ));
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        pods: Arc::clone(&informers.pods.cache),
        claims: Arc::clone(&informers.claims.cache),
    });
    let synced = vec![
        informers.pods.cache.synced(),
        informers.claims.cache.synced(),
    ];
    context.run("ephemeral volumes", queue, WORKERS, synced, controller);
}

/// The names of the ephemeral volumes of a pod.
fn ephemeral_volumes(pod: &Pod) -> impl Iterator<Item = &str> {
    let spec = pod.spec.iter();
    let volumes = spec.flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter(|volume| volume.ephemeral.is_some())
        .map(|volume| volume.name.as_str())
}

/// The claim of an ephemeral volume; none when the volume has no template.
fn claim(pod: &Pod, volume: &str) -> Option<PersistentVolumeClaim> {
    let mut volumes = pod.spec.as_ref()?.volumes.iter().flatten();
    let found = volumes.find(|found| found.name == volume)?;
    let template = found.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
    let given = template.metadata.clone().unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(format!("{}-{volume}", name(pod))),
            namespace: pod.metadata.namespace.clone(),
            labels: given.labels,
            annotations: given.annotations,
            owner_references: Some(vec![controlled_by(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        ..PersistentVolumeClaim::default()
    })
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(pod) = self.pods.get(key).filter(|pod| is_active(pod)) else {
            return Ok(Requeue::OnChange);
        };
        let missing: Vec<&str> = ephemeral_volumes(&pod)
            .filter(|volume| {
                let name = format!("{}-{volume}", key.name);
                self.claims.find(&key.namespace, &name).is_none()
            })
            .collect();
        if missing.is_empty() {
            return Ok(Requeue::OnChange);
        }
        // The cache does not hold the templates.
        let api = self.context.namespaced::<Pod>(&key.namespace);
        let whole = api.get_opt(&key.name).await?;
        let Some(whole) = whole.filter(|whole| uid(&whole.metadata) == uid(&pod.metadata)) else {
            return Ok(Requeue::OnChange);
        };
        let api = self
            .context
            .namespaced::<PersistentVolumeClaim>(&key.namespace);
        for claim in missing
            .into_iter()
            .filter_map(|volume| claim(&whole, volume))
        {
            match api.create(&PostParams::default(), &claim).await {
                // One of that name that is not the pod's stays, and the volume is never there.
                Err(error) if code(&error) != 409 && !namespace_terminates(&error) => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Ok(Requeue::OnChange)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::claimprotection::uses;
    use crate::pods::tests::pod;

    #[test]
    fn the_claim_of_an_ephemeral_volume_belongs_to_its_pod() {
        let template = json!({"metadata": {"labels": {"a": "b"}},
            "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}});
        let pod = pod(
            json!({"metadata": {"name": "web", "namespace": "n", "uid": "p1"},
            "spec": {"nodeName": "a", "containers": [], "volumes": [
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}},
                {"name": "other", "emptyDir": {}}]}}),
        );
        assert_eq!(ephemeral_volumes(&pod).collect::<Vec<_>>(), ["scratch"]);
        let made = claim(&pod, "scratch").expect("a claim");
        assert_eq!(made.metadata.name.as_deref(), Some("web-scratch"));
        let labels = made.metadata.labels.clone().unwrap_or_default();
        assert_eq!(labels.get("a").map(String::as_str), Some("b"));
        assert!(uses(&pod, &made));
        assert!(claim(&pod, "other").is_none());
    }
}
