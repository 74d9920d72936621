//! Finds the ReplicaSet of the present template and manages revision numbers. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::scale::{self, DESIRED, MAX};
use crate::meta::{annotation, controlled_by};
use crate::revisions;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const HASH: &str = "pod-template-hash";

/// Annotations of a deployment that its sets do not inherit.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// The sets of a deployment.
#[derive(Debug)]
pub(super) struct ReplicaSets {
    /// The set of the present template.
    pub(super) new: Option<Arc<ReplicaSet>>,
    pub(super) old: Vec<Arc<ReplicaSet>>,
}

impl ReplicaSets {
    /// Separates the set of the present template from the others. Of several, the oldest counts.
    pub(super) fn sort(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Self {
        let mut sets = sets.to_vec();
        sets.sort_by(|a, b| {
            created(a)
                .cmp(&created(b))
                .then_with(|| a.metadata.name.cmp(&b.metadata.name))
        });
        let at = sets.iter().position(|set| same_template(deployment, set));
        let new = at.map(|at| sets.remove(at));
        Self { new, old: sets }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }
}

fn created(set: &ReplicaSet) -> Option<jiff::Timestamp> {
    set.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

pub(super) fn same_template(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let Some(wanted) = deployment.spec.as_ref().map(|spec| &spec.template) else {
        return false;
    };
    let Some(mut template) = set.spec.as_ref().and_then(|spec| spec.template.clone()) else {
        return false;
    };
    if let Some(labels) = template
        .metadata
        .as_mut()
        .and_then(|meta| meta.labels.as_mut())
    {
        labels.remove(HASH);
    }
    without_empty_labels(&mut template);
    let mut wanted = wanted.clone();
    if let Some(labels) = wanted
        .metadata
        .as_mut()
        .and_then(|meta| meta.labels.as_mut())
    {
        labels.remove(HASH);
    }
    without_empty_labels(&mut wanted);
    template == wanted
}

fn without_empty_labels(template: &mut PodTemplateSpec) {
    if let Some(meta) = &mut template.metadata {
        meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
    }
}

/// The revision number of a set; 0 when it has none.
pub(super) fn revision(meta: &ObjectMeta) -> i64 {
    annotation(meta, REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// The revision number for the set of the present template.
pub(super) fn next_revision(old: &[Arc<ReplicaSet>]) -> i64 {
    old.iter()
        .map(|set| revision(&set.metadata))
        .max()
        .unwrap_or_default()
        + 1
}

/// The annotations for the set of the present template.
pub(super) fn annotations(
    deployment: &Deployment,
    set: &ObjectMeta,
    wanted: i64,
) -> BTreeMap<String, String> {
    let mut annotations = set.annotations.clone().unwrap_or_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let before = revision(set);
    if before < wanted {
        annotations.insert(REVISION.to_owned(), wanted.to_string());
        if before > 0 {
            let history = annotation(set, HISTORY).filter(|history| !history.is_empty());
            annotations.insert(
                HISTORY.to_owned(),
                history.map_or_else(
                    || before.to_string(),
                    |history| format!("{history},{before}"),
                ),
            );
        }
    }
    annotations
}

/// Makes the set of the present template.
pub(super) fn make(deployment: &Deployment, sets: &ReplicaSets) -> Option<ReplicaSet> {
    let spec = deployment.spec.as_ref()?;
    let hash = revisions::hash(
        &spec.template,
        deployment
            .status
            .as_ref()
            .and_then(|status| status.collision_count)
            .unwrap_or_default(),
    );
    let mut template = spec.template.clone();
    template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default()
        .insert(HASH.to_owned(), hash.clone());
    let mut selector = spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH.to_owned(), hash.clone());
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let mut meta = ObjectMeta {
        name: Some(format!("{name}-{hash}")),
        namespace: deployment.metadata.namespace.clone(),
        labels: template
            .metadata
            .as_ref()
            .and_then(|meta| meta.labels.clone()),
        owner_references: Some(vec![controlled_by(deployment)]),
        ..ObjectMeta::default()
    };
    let mut annotations = annotations(deployment, &meta, next_revision(&sets.old));
    annotations.extend(scale::size_annotations(deployment));
    meta.annotations = Some(annotations);
    let replicas = scale::new_set_size(
        deployment,
        0,
        sets.all().map(|set| scale::replicas_of(set)).sum(),
    );
    let spec = ReplicaSetSpec {
        replicas: Some(replicas),
        min_ready_seconds: spec.min_ready_seconds,
        selector,
        template: Some(template),
    };
    Some(ReplicaSet {
        metadata: meta,
        spec: Some(spec),
        status: None,
    })
}

/// Counts a name collision, which makes the next hash different.
pub(super) fn with_collision(deployment: &Deployment) -> Deployment {
    let mut deployment = deployment.clone();
    let count = &mut deployment.status.get_or_insert_default().collision_count;
    *count = Some(count.unwrap_or_default() + 1);
    deployment
}
