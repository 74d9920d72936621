//! Binds claims to volumes that exist, and carries out the reclaim policy of volumes whose claim is
//! gone. Nothing is provisioned: an event on the claim says what it waits for.
//!
//! The volume is written first, then the claim (`bind`). A reconciliation that reads one half of a
//! binding finishes the other, so a write that fails is made up for later. Every write names the
//! version that was read, so that two claims never take one volume.
//!
//! `plan.rs` decides, `matching.rs` says which volume suits a claim.

mod matching;
mod plan;

use std::sync::Arc;

use events::{EventRecorder, EventType};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::api::NamedApi;
use crate::claimprotection::uses;
use crate::context::{ControllerContext, Reconciler};
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, annotation, delete_params};
use crate::pods::{is_finished, is_terminating, name, node_name};
use crate::queue::{Requeue, WorkQueue};
use matching::{VolumeCandidates, class_of_claim, matches};
use plan::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, ClaimContext, ClaimStep, Consumer, Notice, Reclaim,
    VolumeStep, plan_claim, plan_volume,
};

const WORKERS: usize = 4;
/// The annotations by which a provisioner learns that a claim waits for it.
const PROVISIONER: [&str; 2] = [
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/storage-provisioner",
];

struct Controller {
    context: ControllerContext,
    events: EventRecorder,
    claims: Arc<Cache<PersistentVolumeClaim>>,
    volumes: Arc<Cache<PersistentVolume>>,
    classes: Arc<Cache<StorageClass>>,
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
    queue: WorkQueue<ObjectKey>,
}

/// Keys with a namespace are claims, the others volumes.
pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let (wake, volumes) = (queue.clone(), Arc::clone(&informers.volumes.cache));
    informers.claims.subscribe(move |change| {
        let key = ObjectKey::of(change.latest());
        for volume in volumes.at(&key.to_string()) {
            wake.add(ObjectKey::of(&*volume));
        }
        wake.add(key);
    });
    let (wake, claims) = (queue.clone(), Arc::clone(&informers.claims.cache));
    informers.volumes.subscribe(move |change| {
        wake.add(ObjectKey::of(change.latest()));
        for claim in change.states().filter_map(|volume| claim_of(volume)) {
            wake.add(claim);
        }
        if change.new.as_ref().is_none_or(|volume| is_free(volume)) {
            wake_unbound(&claims, &wake);
        }
    });
    let (wake, claims) = (queue.clone(), Arc::clone(&informers.claims.cache));
    informers
        .storage_classes
        .subscribe(move |_| wake_unbound(&claims, &wake));
    let wake = queue.clone();
    informers.pods.subscribe(move |change| {
        // A claim may wait for its first consumer, and for the node of that.
        let (old, new) = (change.old.as_deref(), change.new.as_deref());
        if let Some(new) = new
            && old.is_none_or(|old| node_name(old) != node_name(new))
        {
            for claim in claims_of(new) {
                wake.add(claim);
            }
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        events: context.recorder("persistentvolume-controller"),
        claims: Arc::clone(&informers.claims.cache),
        volumes: Arc::clone(&informers.volumes.cache),
        classes: Arc::clone(&informers.storage_classes.cache),
        pods: Arc::clone(&informers.pods.cache),
        nodes: Arc::clone(&informers.nodes.cache),
        queue: queue.clone(),
    });
    let synced = vec![
        informers.claims.cache.synced(),
        informers.volumes.cache.synced(),
        informers.storage_classes.cache.synced(),
        informers.pods.cache.synced(),
        informers.nodes.cache.synced(),
    ];
    context.run("volume binder", queue, WORKERS, synced, controller);
}

/// The volumes among which a claim that waits for its first consumer will choose; the consumer
/// needs a node that reaches one of them. None for other claims, which say nothing about nodes.
pub(crate) fn choices(
    claim: &PersistentVolumeClaim,
    classes: &[Arc<StorageClass>],
    volumes: &[Arc<PersistentVolume>],
) -> Option<Vec<Arc<PersistentVolume>>> {
    let spec = claim.spec.as_ref()?;
    if spec
        .volume_name
        .as_ref()
        .is_some_and(|name| !name.is_empty())
    {
        return None;
    }
    let name = class_of_claim(claim);
    let class = classes
        .iter()
        .find(|class| class.metadata.name.as_deref() == Some(name))?;
    // Other provisioners make the volume where it is needed.
    let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
        && class.provisioner == "kubernetes.io/no-provisioner";
    waits.then(|| matches(claim, volumes, VolumeCandidates::All))
}

/// The claim that a volume refers to.
fn claim_of(volume: &PersistentVolume) -> Option<ObjectKey> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(ObjectKey::new(
        reference.namespace.clone().unwrap_or_default(),
        reference.name.clone().unwrap_or_default(),
    ))
}

fn is_free(volume: &PersistentVolume) -> bool {
    claim_of(volume).is_none()
}

fn wake_unbound(claims: &Cache<PersistentVolumeClaim>, queue: &WorkQueue<ObjectKey>) {
    let claims = claims.all().into_iter();
    claims
        .filter(|claim| annotation(&claim.metadata, BIND_COMPLETED).is_none())
        .for_each(|claim| queue.add(ObjectKey::of(&*claim)));
}

fn claims_of(pod: &Pod) -> Vec<ObjectKey> {
    let namespace = crate::pods::namespace(pod);
    let names = crate::claimprotection::claims_of(pod);
    names.map(|name| ObjectKey::new(namespace, name)).collect()
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        if key.namespace.is_empty() {
            if let Some(volume) = self.volumes.get(key) {
                self.reconcile_volume(&volume).await?;
            }
        } else if let Some(claim) = self.claims.get(key) {
            self.reconcile_claim(&claim).await?;
        }
        Ok(Requeue::OnChange)
    }
}

impl Controller {
    async fn reconcile_claim(&self, claim: &PersistentVolumeClaim) -> Result<(), ReconcileError> {
        let volumes = self.volumes.all();
        let classes = self.classes.all();
        let context = ClaimContext {
            volumes: &volumes,
            classes: &classes,
            consumer: self.consumer(claim),
        };
        match plan_claim(claim, &context) {
            ClaimStep::Pending(notice) => {
                self.set_claim_status(claim, "Pending", None).await?;
                self.report(claim, notice.as_ref());
            }
            ClaimStep::SetClass(class) => {
                let patch = json!({"spec": {"storageClassName": class}});
                self.patch_claim(claim, patch).await?;
            }
            ClaimStep::AwaitProvisioner {
                provisioner,
                notice,
            } => {
                let announced =
                    |name: &&str| annotation(&claim.metadata, name) == Some(provisioner.as_str());
                if !PROVISIONER.iter().all(announced) {
                    let [beta, stable] = PROVISIONER;
                    let annotations = json!({beta: provisioner, stable: provisioner});
                    let patch = json!({"metadata": {"annotations": annotations}});
                    self.patch_claim(claim, patch).await?;
                }
                self.report(claim, Some(&notice));
            }
            ClaimStep::Bind(volume) => self.bind(claim, &volume).await?,
            ClaimStep::Lost(notice) => {
                if phase_of_claim(claim) != "Lost" {
                    self.set_claim_status(claim, "Lost", None).await?;
                    self.report(claim, Some(&notice));
                }
            }
        }
        Ok(())
    }

    fn consumer(&self, claim: &PersistentVolumeClaim) -> Consumer {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        let pods = self.pods.select(namespace, |pod| {
            uses(pod, claim) && !is_finished(pod) && !is_terminating(pod)
        });
        let placed = pods
            .iter()
            .find_map(|pod| self.nodes.find("", node_name(pod)));
        match (placed, pods.first()) {
            (Some(node), _) => Consumer::Scheduled(node),
            (None, Some(pod)) => Consumer::Unscheduled(name(pod).to_owned()),
            (None, None) => Consumer::None,
        }
    }

    fn report(&self, claim: &PersistentVolumeClaim, notice: Option<&Notice>) {
        if let Some(notice) = notice {
            self.events.event(
                claim,
                kind_of(notice),
                notice.reason,
                notice.message.as_str(),
            );
        }
    }

    /// Writes both halves of a binding, the volume first, and their phases.
    async fn bind(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> Result<(), ReconcileError> {
        let spec = volume.spec.as_ref();
        let reference = spec.and_then(|spec| spec.claim_ref.as_ref());
        let mut volume = volume.clone();
        if reference.is_none_or(|reference| reference.uid != claim.metadata.uid) {
            let mut patch = json!({"spec": {"claimRef": {
                "kind": "PersistentVolumeClaim", "apiVersion": "v1",
                "namespace": claim.metadata.namespace, "name": claim.metadata.name,
                "uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version,
            }}});
            if reference.is_none() {
                patch["metadata"] = json!({"annotations": {BOUND_BY_CONTROLLER: "yes"}});
            }
            volume = self.patch_volume(&volume, patch).await?;
        }
        self.set_volume_phase(&volume, "Bound", "").await?;
        let wanted = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_name.as_ref());
        let is_named = wanted.is_some_and(|wanted| !wanted.is_empty());
        let mut claim = claim.clone();
        if !is_named || annotation(&claim.metadata, BIND_COMPLETED).is_none() {
            let mut annotations = json!({BIND_COMPLETED: "yes"});
            if !is_named {
                annotations[BOUND_BY_CONTROLLER] = json!("yes");
            }
            let patch = json!({"metadata": {"annotations": annotations},
                "spec": {"volumeName": volume.metadata.name}});
            claim = self.patch_claim(&claim, patch).await?;
        }
        self.set_claim_status(&claim, "Bound", Some(&volume)).await
    }

    async fn reconcile_volume(&self, volume: &PersistentVolume) -> Result<(), ReconcileError> {
        let key = claim_of(volume);
        let claim = match &key {
            Some(key) => self.claim_now(key, volume).await?,
            None => None,
        };
        match plan_volume(volume, claim.as_deref()) {
            VolumeStep::Nothing => {}
            VolumeStep::SetPhase(phase) => self.set_volume_phase(volume, phase, "").await?,
            VolumeStep::LookAtClaim => {
                if let Some(key) = key {
                    self.queue.add(key);
                }
            }
            VolumeStep::Mismatch(notice) => {
                self.events.event(
                    volume,
                    kind_of(&notice),
                    notice.reason,
                    notice.message.as_str(),
                );
                if let Some(claim) = &claim {
                    self.report(claim, Some(&notice));
                }
            }
            VolumeStep::Unbind => self.unbind(volume).await?,
            VolumeStep::Release(reclaim) => self.release(volume, reclaim).await?,
        }
        Ok(())
    }

    /// The claim of a volume. What the cache does not have is looked up, because a volume whose
    /// claim is gone loses its content.
    async fn claim_now(
        &self,
        key: &ObjectKey,
        volume: &PersistentVolume,
    ) -> Result<Option<Arc<PersistentVolumeClaim>>, ReconcileError> {
        let reference = volume
            .spec
            .as_ref()
            .and_then(|spec| spec.claim_ref.as_ref());
        let wanted = reference.and_then(|reference| reference.uid.as_deref());
        let known = self.claims.get(key);
        let is_known = known
            .as_ref()
            .is_some_and(|claim| claim.metadata.uid.as_deref() == wanted);
        if is_known || wanted.is_none_or(str::is_empty) {
            return Ok(known);
        }
        let api = self
            .context
            .namespaced::<PersistentVolumeClaim>(&key.namespace);
        Ok(api.get_opt(&key.name).await?.map(Arc::new))
    }

    async fn release(
        &self,
        volume: &PersistentVolume,
        reclaim: Reclaim,
    ) -> Result<(), ReconcileError> {
        let mut volume = volume.clone();
        if !matches!(phase_of_volume(&volume), "Released" | "Failed") {
            self.set_volume_phase(&volume, "Released", "").await?;
            // The next write names the version of this one.
            let name = volume.metadata.name.clone().unwrap_or_default();
            let api = self.context.cluster::<PersistentVolume>();
            match api.get_opt(&name).await? {
                Some(now) if now.metadata.uid == volume.metadata.uid => volume = now,
                _ => return Ok(()),
            }
        }
        match reclaim {
            Reclaim::Keep => Ok(()),
            Reclaim::Fail(notice) => {
                if phase_of_volume(&volume) != "Failed" {
                    self.set_volume_phase(&volume, "Failed", &notice.message)
                        .await?;
                    self.events.event(
                        &volume,
                        kind_of(&notice),
                        notice.reason,
                        notice.message.as_str(),
                    );
                }
                Ok(())
            }
            Reclaim::Delete => {
                if volume.metadata.deletion_timestamp.is_none() {
                    let name = volume.metadata.name.as_deref().unwrap_or_default();
                    let api = self.context.cluster::<PersistentVolume>();
                    ignore_not_found(api.delete(name, &delete_params(&volume.metadata)).await)?;
                }
                Ok(())
            }
        }
    }

    async fn unbind(&self, volume: &PersistentVolume) -> Result<(), ReconcileError> {
        let patch = if annotation(&volume.metadata, BOUND_BY_CONTROLLER).is_some() {
            json!({"metadata": {"annotations": {BOUND_BY_CONTROLLER: null}},
                "spec": {"claimRef": null}})
        } else {
            // A user has reserved the volume; it stays reserved.
            json!({"spec": {"claimRef": {"uid": null}}})
        };
        let volume = self.patch_volume(volume, patch).await?;
        self.set_volume_phase(&volume, "Available", "").await
    }

    async fn set_volume_phase(
        &self,
        volume: &PersistentVolume,
        phase: &str,
        message: &str,
    ) -> Result<(), ReconcileError> {
        if phase_of_volume(volume) == phase {
            return Ok(());
        }
        let message = Some(message).filter(|message| !message.is_empty());
        let meta = json!({"uid": volume.metadata.uid,
            "resourceVersion": volume.metadata.resource_version});
        let patch = json!({"metadata": meta, "status": {"phase": phase, "message": message}});
        let api = self.context.cluster::<PersistentVolume>();
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        ignore_not_found(
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await,
        )?;
        Ok(())
    }

    /// Sets the phase of a claim, with what its volume offers when it is bound.
    async fn set_claim_status(
        &self,
        claim: &PersistentVolumeClaim,
        phase: &str,
        volume: Option<&PersistentVolume>,
    ) -> Result<(), ReconcileError> {
        let spec = volume.and_then(|volume| volume.spec.as_ref());
        let modes = spec.and_then(|spec| spec.access_modes.clone());
        let capacity = spec.and_then(|spec| spec.capacity.clone());
        let status = claim.status.clone().unwrap_or_default();
        // A capacity that grew is the business of whoever resizes the volume.
        let keeps = phase == "Bound" && status.phase.as_deref() == Some("Bound");
        if status.phase.as_deref() == Some(phase)
            && (keeps || (status.access_modes == modes && status.capacity == capacity))
        {
            return Ok(());
        }
        let status = json!({"phase": phase, "accessModes": modes, "capacity": capacity});
        let meta = json!({"uid": claim.metadata.uid,
            "resourceVersion": claim.metadata.resource_version});
        let patch = json!({"metadata": meta, "status": status});
        let api = self.claims_api(claim);
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        ignore_not_found(
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await,
        )?;
        Ok(())
    }

    fn claims_api(&self, claim: &PersistentVolumeClaim) -> NamedApi<PersistentVolumeClaim> {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        self.context.namespaced(namespace)
    }

    async fn patch_claim(
        &self,
        claim: &PersistentVolumeClaim,
        patch: Value,
    ) -> Result<PersistentVolumeClaim, ReconcileError> {
        let patch = pinned(patch, &claim.metadata);
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let api = self.claims_api(claim);
        Ok(api
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?)
    }

    async fn patch_volume(
        &self,
        volume: &PersistentVolume,
        patch: Value,
    ) -> Result<PersistentVolume, ReconcileError> {
        let patch = pinned(patch, &volume.metadata);
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let api = self.context.cluster::<PersistentVolume>();
        Ok(api
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?)
    }
}

/// Makes a patch fail on any other version of the object than the one that was read.
fn pinned(
    mut patch: Value,
    meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> Value {
    patch["metadata"]["uid"] = json!(meta.uid);
    patch["metadata"]["resourceVersion"] = json!(meta.resource_version);
    patch
}

fn kind_of(notice: &Notice) -> EventType {
    if notice.is_warning {
        EventType::Warning
    } else {
        EventType::Normal
    }
}

fn phase_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let status = claim.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

fn phase_of_volume(volume: &PersistentVolume) -> &str {
    let status = volume.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}
