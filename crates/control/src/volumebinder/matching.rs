//! Which volume suits a claim. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kinds::quantity::Quantity;

use crate::meta::annotation;
use crate::nodes;
use crate::selector::Selector;

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const STORAGE: &str = "storage";
const FILESYSTEM: &str = "Filesystem";

/// The storage class that a claim asks for; empty for none.
pub(super) fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let spec = claim.spec.as_ref();
    annotation(&claim.metadata, CLASS)
        .or_else(|| spec?.storage_class_name.as_deref())
        .unwrap_or_default()
}

/// True when the claim leaves the storage class open, so that the default class applies.
pub(super) fn leaves_class_open(claim: &PersistentVolumeClaim) -> bool {
    let spec = claim.spec.as_ref();
    annotation(&claim.metadata, CLASS).is_none()
        && spec.is_none_or(|spec| spec.storage_class_name.is_none())
}

fn class_of_volume(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref();
    annotation(&volume.metadata, CLASS)
        .or_else(|| spec?.storage_class_name.as_deref())
        .unwrap_or_default()
}

/// The capacity of a volume; zero when it has none.
fn capacity(volume: &PersistentVolume) -> Quantity {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    let storage = capacity.and_then(|capacity| capacity.get(STORAGE));
    storage
        .and_then(|storage| Quantity::parse(&storage.0).ok())
        .unwrap_or_default()
}

/// The storage that a claim requests; zero when it requests none.
fn request(claim: &PersistentVolumeClaim) -> Quantity {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let storage = requests.and_then(|requests| requests.get(STORAGE));
    storage
        .and_then(|storage| Quantity::parse(&storage.0).ok())
        .unwrap_or_default()
}

/// True when a volume offers its storage in the form that the claim wants: as a file system or as a
/// block device.
pub(super) fn modes_agree(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let offered = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_mode.as_deref());
    let wanted = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_mode.as_deref());
    offered.unwrap_or(FILESYSTEM) == wanted.unwrap_or(FILESYSTEM)
}

fn access_modes(volume: &PersistentVolume) -> &[String] {
    let spec = volume.spec.as_ref();
    spec.and_then(|spec| spec.access_modes.as_deref())
        .unwrap_or_default()
}

fn offers_access(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let wanted = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.access_modes.as_deref());
    let offered = access_modes(volume);
    let mut wanted = wanted.unwrap_or_default().iter();
    wanted.all(|mode| offered.contains(mode))
}

/// True when the volume is bound to this claim, or reserved for it by name.
pub(super) fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(reference) = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref())
    else {
        return false;
    };
    let reserved_for = reference.uid.as_deref().unwrap_or_default();
    reference.name == claim.metadata.name
        && reference.namespace == claim.metadata.namespace
        && (reserved_for.is_empty() || Some(reserved_for) == claim.metadata.uid.as_deref())
}

/// True when the node may use the volume.
fn reaches(node: &Node, volume: &PersistentVolume) -> bool {
    let affinity = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|required| nodes::matches(required, node))
}

/// Where a claim may get its volume from.
#[derive(Clone, Copy, Debug)]
pub(super) enum VolumeCandidates<'a> {
    /// From all volumes.
    All,
    /// Only from volumes that are reserved for it: its class waits for the first consumer.
    Reserved,
    /// From those that the node of its first consumer reaches.
    Of(&'a Node),
}

/// The volume for a claim: the one that is reserved for it, or the smallest that suits. As
/// upstream, volumes with fewer access modes come first, even before one that is reserved.
pub(super) fn best_match(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    candidates: VolumeCandidates<'_>,
) -> Option<Arc<PersistentVolume>> {
    let rank = |volume: &PersistentVolume| {
        let modes = access_modes(volume).len();
        let reserved = is_bound_to(volume, claim);
        (
            modes,
            !reserved,
            capacity(volume),
            volume.metadata.name.clone(),
        )
    };
    let mut found = matches(claim, volumes, candidates);
    found.sort_by_cached_key(|volume| rank(volume));
    found.into_iter().next()
}

/// All volumes that suit a claim or are reserved for it.
pub(super) fn matches(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    candidates: VolumeCandidates<'_>,
) -> Vec<Arc<PersistentVolume>> {
    let spec = claim.spec.as_ref();
    let selector = match spec.and_then(|spec| spec.selector.as_ref()) {
        Some(selector) => match Selector::compile(Some(selector)) {
            Ok(selector) => Some(selector),
            Err(_) => return Vec::new(),
        },
        None => None,
    };
    let wanted = request(claim);
    let is_usable = |volume: &PersistentVolume| {
        volume.metadata.deletion_timestamp.is_none()
            && offers_access(volume, claim)
            && modes_agree(volume, claim)
            && capacity(volume) >= wanted
            && match candidates {
                VolumeCandidates::Of(node) => reaches(node, volume),
                VolumeCandidates::All | VolumeCandidates::Reserved => true,
            }
    };
    let suits = |volume: &PersistentVolume| {
        let phase = volume
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let is_free = volume
            .spec
            .as_ref()
            .is_some_and(|spec| spec.claim_ref.is_none());
        is_free
            && !matches!(candidates, VolumeCandidates::Reserved)
            && phase == Some("Available")
            && selector
                .as_ref()
                .is_none_or(|selector| selector.matches(volume.metadata.labels.as_ref()))
            && class_of_volume(volume) == class_of_claim(claim)
    };
    let volumes = volumes.iter();
    volumes
        .filter(|volume| is_usable(volume) && (is_bound_to(volume, claim) || suits(volume)))
        .cloned()
        .collect()
}

/// Checks that a claim may be bound to the volume that it names.
///
/// # Errors
/// What upstream's event says.
pub(super) fn check(
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
) -> Result<(), String> {
    let fault = if volume.metadata.deletion_timestamp.is_some() {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        return Err(format!("the volume is marked for deletion {name:?}"));
    } else if capacity(volume).value() < request(claim).value() {
        "requested PV is too small"
    } else if class_of_volume(volume) != class_of_claim(claim) {
        "storageClassName does not match"
    } else if !modes_agree(volume, claim) {
        "incompatible volumeMode"
    } else if !offers_access(volume, claim) {
        "incompatible accessMode"
    } else {
        return Ok(());
    };
    Err(fault.to_owned())
}

#[cfg(test)]
mod tests;
