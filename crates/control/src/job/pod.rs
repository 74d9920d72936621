//! Makes the pods of a job. Pure.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::failure::{FAILURES, IGNORED};
use super::index::INDEX;
use crate::meta::{controlled_by, has_finalizer};
use crate::podcontrol::from_template;

/// The finalizer of pods that have not been counted.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The longest prefix of a generated name, as upstream.
const LONGEST_PREFIX: usize = 58;

/// True when the pod has not been counted.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    has_finalizer(&pod.metadata, TRACKING)
}

/// Makes a pod of a job without indexes.
pub(super) fn make(job: &Job, spec: &JobSpec) -> Pod {
    let mut pod = from_template(
        &spec.template,
        job.metadata.namespace.as_deref().unwrap_or_default(),
        job.metadata.name.as_deref().unwrap_or_default(),
        controlled_by(job),
    );
    if !is_tracked(&pod) {
        let finalizers = pod.metadata.finalizers.get_or_insert_default();
        finalizers.push(TRACKING.to_owned());
    }
    pod
}

/// Makes the pod of an index. `failures` are those of earlier pods of the index: the counted and
/// the ignored ones.
pub(super) fn make_indexed(job: &Job, spec: &JobSpec, index: i32, failures: (i32, i32)) -> Pod {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let mut pod = make(job, spec);
    pod.metadata.generate_name = Some(prefix(name, index));
    pod.metadata
        .labels
        .get_or_insert_default()
        .insert(INDEX.to_owned(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.to_owned(), index.to_string());
    if spec.backoff_limit_per_index.is_some() {
        annotations.insert(FAILURES.to_owned(), failures.0.to_string());
        if failures.1 > 0 {
            annotations.insert(IGNORED.to_owned(), failures.1.to_string());
        }
    }
    let inside = pod.spec.get_or_insert_default();
    inside.hostname = Some(format!("{name}-{index}"));
    let inits = inside.init_containers.iter_mut().flatten();
    for container in inside.containers.iter_mut().chain(inits) {
        let known = container
            .env
            .iter()
            .flatten()
            .any(|variable| variable.name == "JOB_COMPLETION_INDEX");
        if !known {
            container.env.get_or_insert_default().push(index_variable());
        }
    }
    pod
}

/// The prefix of a pod's name: the index is never cut off.
fn prefix(job: &str, index: i32) -> String {
    let end = format!("-{index}-");
    let room = LONGEST_PREFIX.saturating_sub(end.len());
    let kept: String = job.chars().take(room).collect();
    kept + &end
}

fn index_variable() -> EnvVar {
    let field = ObjectFieldSelector {
        api_version: None,
        field_path: format!("metadata.labels['{INDEX}']"),
    };
    EnvVar {
        name: "JOB_COMPLETION_INDEX".to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(field),
            ..EnvVarSource::default()
        }),
    }
}
