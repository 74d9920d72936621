//! Pods that controllers want and that do not exist: after an apply, or in the middle of a drain.
//! The simulation creates them, since a budget may wait for them.

use std::collections::{HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::model::{ClusterModel, ModelPodState, Replacement, ordinal_of};
use crate::cluster::ClusterSnapshot;
use crate::pods;

/// The number of missing pods that are simulated for one controller. More of them do not start in
/// the time of a drain.
const MAX_MISSING: usize = 100;

/// Adds the missing pods of each controller that has a pod, as pods that are gone and not replaced
/// yet. A controller whose pods cannot be created is left out.
pub(super) fn add(snapshot: &ClusterSnapshot, model: &mut ClusterModel<'_>) {
    let mut siblings: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, pod) in model.pods.iter().enumerate() {
        if !pod.owner.is_empty() {
            siblings.entry(pod.owner).or_default().push(index);
        }
    }
    let failing: HashSet<&str> = snapshot
        .events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("FailedCreate"))
        .filter_map(|event| event.involved_object.uid.as_deref())
        .collect();
    let owned = |meta: &ObjectMeta| {
        let uid = meta.uid.as_deref().filter(|uid| !failing.contains(uid))?;
        siblings.get(uid).map(Vec::as_slice)
    };
    let mut missing: Vec<(usize, String, Option<u32>)> = Vec::new();
    let sets = snapshot.replica_sets.iter().map(|set| {
        (
            &set.metadata,
            set.spec.as_ref().map(|spec| spec.replicas.unwrap_or(1)),
        )
    });
    let controllers = snapshot.replication_controllers.iter().map(|one| {
        (
            &one.metadata,
            one.spec.as_ref().map(|spec| spec.replicas.unwrap_or(1)),
        )
    });
    for (meta, wanted) in sets.chain(controllers) {
        let (Some(own), Some(wanted)) = (owned(meta), wanted) else {
            continue;
        };
        let is_active = |pod: &&usize| {
            !matches!(
                model.pods[**pod].state,
                ModelPodState::Terminating(_) | ModelPodState::Finished
            )
        };
        let active = own.iter().filter(is_active).count();
        let wanted = usize::try_from(wanted).unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        let lacking = wanted.saturating_sub(active).min(MAX_MISSING);
        missing.extend(
            (1..=lacking).map(|number| (own[0], format!("{name}-(missing {number})"), None)),
        );
    }
    for set in &snapshot.stateful_sets {
        let (Some(own), Some(spec)) = (owned(&set.metadata), &set.spec) else {
            continue;
        };
        let existing: HashSet<u32> = own
            .iter()
            .filter_map(|pod| ordinal_of(pods::name(model.pods[*pod].object)))
            .collect();
        let start = spec
            .ordinals
            .as_ref()
            .and_then(|ordinals| ordinals.start)
            .unwrap_or(0);
        let wanted = spec.replicas.unwrap_or(1);
        let ordinals =
            (start..start.saturating_add(wanted)).filter_map(|one| u32::try_from(one).ok());
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let lacking = ordinals
            .filter(|ordinal| !existing.contains(ordinal))
            .take(MAX_MISSING);
        missing.extend(lacking.map(|ordinal| (own[0], format!("{name}-{ordinal}"), Some(ordinal))));
    }
    for (sibling, name, ordinal) in missing {
        let mut pod = model.pods[sibling].clone();
        pod.missing = Some(name);
        pod.node = None;
        pod.state = ModelPodState::Gone;
        if let (
            Replacement::WhenGone {
                ordinal: own @ Some(_),
            },
            Some(ordinal),
        ) = (&mut pod.replacement, ordinal)
        {
            *own = Some(ordinal);
        }
        if ordinal.is_some() {
            // Its claims are not those of its sibling.
            pod.volumes.clear();
        }
        model.missing.push(model.pods.len());
        model.pods.push(pod);
    }
}
