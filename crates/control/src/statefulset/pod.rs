//! Makes the pods of a set and their claims. Pure.

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::meta::controlled_by;
use crate::revisions::template_of;

/// The label of a pod with the name of the revision that it was made from.
pub(super) const REVISION: &str = "controller-revision-hash";

/// The revision that a pod was created from.
pub(super) fn revision_of(pod: &Pod) -> Option<&str> {
    pod.metadata
        .labels
        .as_ref()?
        .get(REVISION)
        .map(String::as_str)
}

/// The ordinal in the name of a pod of this set.
pub(super) fn ordinal(set: &StatefulSet, pod: &str) -> Option<i32> {
    let number = pod
        .strip_prefix(set.metadata.name.as_deref()?)?
        .strip_prefix('-')?;
    let ordinal: i32 = number.parse().ok()?;
    (ordinal >= 0 && ordinal.to_string() == number).then_some(ordinal)
}

/// Makes the pod of an ordinal from the template of a revision.
pub(super) fn make(set: &StatefulSet, revision: &ControllerRevision, ordinal: i32) -> Pod {
    let own = set
        .spec
        .as_ref()
        .map(|spec| spec.template.clone())
        .unwrap_or_default();
    let template: PodTemplateSpec = template_of(revision).unwrap_or(own);
    let set_name = set.metadata.name.as_deref().unwrap_or_default();
    let pod_name = format!("{set_name}-{ordinal}");
    let meta = template.metadata.unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(
        "statefulset.kubernetes.io/pod-name".to_owned(),
        pod_name.clone(),
    );
    labels.insert(
        "apps.kubernetes.io/pod-index".to_owned(),
        ordinal.to_string(),
    );
    labels.insert(
        REVISION.to_owned(),
        revision.metadata.name.clone().unwrap_or_default(),
    );
    let mut spec = template.spec.unwrap_or_default();
    spec.hostname = Some(pod_name.clone());
    spec.subdomain = set
        .spec
        .as_ref()
        .and_then(|spec| spec.service_name.clone())
        .filter(|name| !name.is_empty());
    let volumes = spec.volumes.get_or_insert_default();
    for (template, claim) in named_claims(set, ordinal) {
        volumes.retain(|volume| volume.name != template);
        let source = PersistentVolumeClaimVolumeSource {
            claim_name: claim.metadata.name.unwrap_or_default(),
            read_only: None,
        };
        volumes.push(Volume {
            name: template,
            persistent_volume_claim: Some(source),
            ..Volume::default()
        });
    }
    spec.volumes = spec.volumes.filter(|volumes| !volumes.is_empty());
    Pod {
        metadata: ObjectMeta {
            name: Some(pod_name),
            generate_name: Some(format!("{set_name}-")),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controlled_by(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// The claims of one pod.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    named_claims(set, ordinal)
        .into_iter()
        .map(|(_, claim)| claim)
        .collect()
}

/// The claims of one pod, with the names of their templates.
fn named_claims(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let Some(spec) = &set.spec else {
        return Vec::new();
    };
    let set_name = set.metadata.name.as_deref().unwrap_or_default();
    let templates = spec.volume_claim_templates.iter().flatten();
    templates
        .map(|template| {
            let mut claim = template.clone();
            let name = template.metadata.name.clone().unwrap_or_default();
            claim.metadata.name = Some(format!("{name}-{set_name}-{ordinal}"));
            claim.metadata.namespace.clone_from(&set.metadata.namespace);
            let labels = claim.metadata.labels.get_or_insert_default();
            labels.extend(spec.selector.match_labels.clone().unwrap_or_default());
            claim.status = None;
            (name, claim)
        })
        .collect()
}
