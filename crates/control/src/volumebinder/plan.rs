//! Decides what becomes of a claim and of a volume. Pure.
//!
//! The two halves of a binding are written one after the other, the volume first, and either may be
//! missing. Each decision therefore depends on what both objects say now, and a binding that was
//! begun is finished by the next one.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

use super::matching::{
    VolumeCandidates, best_match, check, class_of_claim, is_bound_to, leaves_class_open,
    modes_agree,
};
use crate::meta::annotation;

pub(super) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub(super) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const BETA_DEFAULT_CLASS: &str = "storageclass.beta.kubernetes.io/is-default-class";
/// Provisioners with this prefix are parts of the controller manager, of which none is left.
const IN_TREE: &str = "kubernetes.io/";

/// An event about a claim or a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) is_warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Notice {
    fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            is_warning: false,
            reason,
            message: message.into(),
        }
    }

    fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            is_warning: true,
            reason,
            message: message.into(),
        }
    }
}

/// The first pod that uses a claim.
#[derive(Clone, Debug)]
pub(super) enum Consumer {
    None,
    /// The pod of this name has no node yet.
    Unscheduled(String),
    Scheduled(Arc<Node>),
}

/// What to do about a claim.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ClaimStep {
    /// The claim stays pending; the event says why.
    Pending(Option<Notice>),
    /// Give the claim this default class.
    SetClass(String),
    /// The claim waits for a provisioner outside of this program, which is announced on the claim.
    AwaitProvisioner { provisioner: String, notice: Notice },
    /// Write both halves of the binding.
    Bind(Arc<PersistentVolume>),
    /// The volume of a bound claim is gone or taken.
    Lost(Notice),
}

/// What the decision about a claim depends on.
pub(super) struct ClaimContext<'a> {
    pub(super) volumes: &'a [Arc<PersistentVolume>],
    pub(super) classes: &'a [Arc<StorageClass>],
    pub(super) consumer: Consumer,
}

/// Decides about a claim.
pub(super) fn plan_claim(claim: &PersistentVolumeClaim, context: &ClaimContext<'_>) -> ClaimStep {
    let wanted = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref());
    let wanted = wanted.unwrap_or_default();
    let find = |name: &str| {
        let mut volumes = context.volumes.iter();
        volumes.find(|volume| volume.metadata.name.as_deref() == Some(name))
    };
    if annotation(&claim.metadata, BIND_COMPLETED).is_some() {
        return plan_bound(claim, wanted, find(wanted));
    }
    if wanted.is_empty() {
        return plan_unbound(claim, context);
    }
    let Some(volume) = find(wanted) else {
        return ClaimStep::Pending(None);
    };
    let is_free = volume
        .spec
        .as_ref()
        .is_some_and(|spec| spec.claim_ref.is_none());
    if is_free {
        return match check(volume, claim) {
            Ok(()) => ClaimStep::Bind(Arc::clone(volume)),
            Err(fault) => ClaimStep::Pending(Some(Notice::warning(
                "VolumeMismatch",
                format!("Cannot bind to requested volume {wanted:?}: {fault}"),
            ))),
        };
    }
    if is_bound_to(volume, claim) {
        return ClaimStep::Bind(Arc::clone(volume));
    }
    ClaimStep::Pending(Some(Notice::warning(
        "FailedBinding",
        format!("volume {wanted:?} already bound to a different claim."),
    )))
}

/// Decides about a claim that was bound before.
fn plan_bound(
    claim: &PersistentVolumeClaim,
    wanted: &str,
    volume: Option<&Arc<PersistentVolume>>,
) -> ClaimStep {
    let lost = |reason, message: &str| ClaimStep::Lost(Notice::warning(reason, message));
    if wanted.is_empty() {
        let message =
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lost("ClaimLost", message);
    }
    let Some(volume) = volume else {
        let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return lost("ClaimLost", message);
    };
    let reference = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref());
    if reference.is_none_or(|reference| reference.uid == claim.metadata.uid) {
        return ClaimStep::Bind(Arc::clone(volume));
    }
    let message = "Two claims are bound to the same volume, this one is bound incorrectly";
    lost("ClaimMisbound", message)
}

fn plan_unbound(claim: &PersistentVolumeClaim, context: &ClaimContext<'_>) -> ClaimStep {
    let name = class_of_claim(claim);
    let class = context
        .classes
        .iter()
        .find(|class| class.metadata.name.as_deref() == Some(name));
    let waits = class
        .is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    let selected = annotation(&claim.metadata, SELECTED_NODE).is_some();
    let candidates = match &context.consumer {
        _ if !waits => VolumeCandidates::All,
        Consumer::Scheduled(node) => VolumeCandidates::Of(node),
        Consumer::None | Consumer::Unscheduled(_) => VolumeCandidates::Reserved,
    };
    if let Some(volume) = best_match(claim, context.volumes, candidates) {
        return ClaimStep::Bind(volume);
    }
    if leaves_class_open(claim)
        && let Some(default) = default_class(context.classes)
    {
        return ClaimStep::SetClass(default);
    }
    if waits && !selected {
        match &context.consumer {
            Consumer::None => {
                let message = "waiting for first consumer to be created before binding";
                return ClaimStep::Pending(Some(Notice::normal("WaitForFirstConsumer", message)));
            }
            Consumer::Unscheduled(pod) => {
                let message = format!("waiting for pod {pod} to be scheduled");
                return ClaimStep::Pending(Some(Notice::normal("WaitForPodScheduled", message)));
            }
            Consumer::Scheduled(_) => {}
        }
    }
    if name.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return ClaimStep::Pending(Some(Notice::normal("FailedBinding", message)));
    }
    plan_provisioning(name, class.map(|class| class.provisioner.as_str()))
}

fn plan_provisioning(class: &str, provisioner: Option<&str>) -> ClaimStep {
    let failed =
        |message: String| ClaimStep::Pending(Some(Notice::warning("ProvisioningFailed", message)));
    match provisioner {
        None => failed(format!("storageclass.storage.k8s.io {class:?} not found")),
        Some(name) if name.starts_with(IN_TREE) => {
            failed(format!("no volume plugin matched name: {name}"))
        }
        Some(name) => ClaimStep::AwaitProvisioner {
            provisioner: name.to_owned(),
            notice: Notice::normal(
                "ExternalProvisioning",
                format!(
                    "Waiting for a volume to be created either by the external provisioner \
                     '{name}' or manually by the system administrator. If volume creation is \
                     delayed, please verify that the provisioner is running and correctly \
                     registered."
                ),
            ),
        },
    }
}

/// The newest class that is marked as default; of equally old ones the first by name.
fn default_class(classes: &[Arc<StorageClass>]) -> Option<String> {
    let marked = classes.iter().filter(|class| {
        [DEFAULT_CLASS, BETA_DEFAULT_CLASS]
            .iter()
            .any(|name| annotation(&class.metadata, name) == Some("true"))
    });
    let newest = marked.min_by_key(|class| {
        let created = class
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0);
        (std::cmp::Reverse(created), class.metadata.name.clone())
    });
    newest.and_then(|class| class.metadata.name.clone())
}

/// What to do about a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VolumeStep {
    Nothing,
    /// Set the phase.
    SetPhase(&'static str),
    /// The claim decides, so look at it.
    LookAtClaim,
    /// The volume cannot be bound to its claim; both get the event.
    Mismatch(Notice),
    /// Take back the half of a binding whose claim is bound elsewhere.
    Unbind,
    /// The claim is gone: set the phase to Released, then carry out the reclaim policy.
    Release(Reclaim),
}

/// What the reclaim policy does with a released volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reclaim {
    /// Nothing, or a provisioner outside of this program does it.
    Keep,
    /// Remove the volume object.
    Delete,
    /// The policy cannot be carried out: the phase becomes Failed.
    Fail(Notice),
}

/// Decides about a volume. `claim` is the claim of the name in its claim reference.
pub(super) fn plan_volume(
    volume: &PersistentVolume,
    claim: Option<&PersistentVolumeClaim>,
) -> VolumeStep {
    let spec = volume.spec.as_ref();
    let phase = volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let set = |wanted: &'static str| match phase == Some(wanted) {
        true => VolumeStep::Nothing,
        false => VolumeStep::SetPhase(wanted),
    };
    let Some(reference) = spec.and_then(|spec| spec.claim_ref.as_ref()) else {
        return set("Available");
    };
    let uid = reference.uid.as_deref().unwrap_or_default();
    if uid.is_empty() {
        // The volume is reserved; the claim binds it.
        return set("Available");
    }
    let claim = claim.filter(|claim| claim.metadata.uid.as_deref() == Some(uid));
    let Some(claim) = claim else {
        return VolumeStep::Release(reclaim(volume));
    };
    let bound_to = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref());
    let bound_to = bound_to.unwrap_or_default();
    if bound_to.is_empty() {
        if !modes_agree(volume, claim) {
            return VolumeStep::Mismatch(Notice::warning(
                "VolumeMismatch",
                format!(
                    "Cannot bind PersistentVolume to requested PersistentVolumeClaim {:?} due to \
                     incompatible volumeMode.",
                    claim.metadata.name.as_deref().unwrap_or_default()
                ),
            ));
        }
        return VolumeStep::LookAtClaim;
    }
    if Some(bound_to) == volume.metadata.name.as_deref() {
        return set("Bound");
    }
    let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let is_provisioned = annotation(&volume.metadata, PROVISIONED_BY).is_some();
    if is_provisioned && policy == Some("Delete") {
        VolumeStep::Release(reclaim(volume))
    } else {
        VolumeStep::Unbind
    }
}

fn reclaim(volume: &PersistentVolume) -> Reclaim {
    let Some(spec) = &volume.spec else {
        return Reclaim::Keep;
    };
    match spec.persistent_volume_reclaim_policy.as_deref() {
        None | Some("Retain") => Reclaim::Keep,
        Some("Recycle") => Reclaim::Fail(Notice::warning(
            "VolumeFailedRecycle",
            "No recycler plugin found for the volume!",
        )),
        Some("Delete") => delete(volume),
        Some(_) => Reclaim::Fail(Notice::warning(
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy",
        )),
    }
}

/// Decides how a volume is deleted. Only upstream's deleter of `hostPath` volumes is left in the
/// controller manager; it takes directories below `/tmp`, which a simulated node does not have.
fn delete(volume: &PersistentVolume) -> Reclaim {
    let provisioner = annotation(&volume.metadata, PROVISIONED_BY);
    if provisioner.is_some_and(|name| !name.starts_with(IN_TREE)) {
        return Reclaim::Keep;
    }
    let failed = |message: String| Reclaim::Fail(Notice::warning("VolumeFailedDelete", message));
    let spec = volume.spec.as_ref();
    if let Some(source) = spec.and_then(|spec| spec.host_path.as_ref()) {
        let below = source.path.strip_prefix("/tmp/");
        if below.is_some_and(|below| !below.is_empty()) {
            return Reclaim::Delete;
        }
        return failed(format!(
            "host_path deleter only supports /tmp/.+ but received provided {}",
            source.path
        ));
    }
    let found = match spec.is_some_and(|spec| spec.nfs.is_some()) {
        true => "no deletable volume plugin matched",
        false => "no volume plugin matched",
    };
    failed(format!(
        "error getting deleter volume plugin for volume {:?}: {found}",
        volume.metadata.name.as_deref().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests;
