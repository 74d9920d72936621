//! The input of the rules: workloads with their pod templates, which manifests contain too, and
//! budgets with the workloads and pods that they select.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::LintOptions;
use crate::budget::{self, BudgetCount};
use crate::cluster::ClusterSnapshot;
use crate::{pdb, pods};

/// A workload, or a pod without a controller.
pub(super) struct Workload<'a> {
    pub(super) kind: &'static str,
    pub(super) meta: &'a ObjectMeta,
    /// `None` for DaemonSets, Jobs and pods.
    pub(super) replicas: Option<i32>,
    /// Labels of its pods.
    pub(super) labels: Option<&'a BTreeMap<String, String>>,
    /// The spec of its pods.
    pub(super) spec: &'a PodSpec,
}

/// A budget with what it selects.
pub(super) struct CheckedBudget<'a> {
    pub(super) budget: &'a PodDisruptionBudget,
    /// The count of the existing pods; manifests contain none.
    pub(super) count: BudgetCount<'a>,
    /// Indexes in [`LintContext::workloads`].
    pub(super) workloads: Vec<usize>,
}

pub(super) struct LintContext<'a> {
    pub(super) snapshot: &'a ClusterSnapshot,
    pub(super) options: LintOptions,
    pub(super) workloads: Vec<Workload<'a>>,
    pub(super) budgets: Vec<CheckedBudget<'a>>,
}

impl Workload<'_> {
    pub(super) fn namespace(&self) -> &str {
        pods::namespace_of(self.meta)
    }

    pub(super) fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }
}

impl<'a> LintContext<'a> {
    pub(super) fn of(snapshot: &'a ClusterSnapshot, options: LintOptions) -> Self {
        let workloads = workloads(snapshot);
        let budgets = snapshot.budgets.iter().map(|found| {
            let selector = pdb::selector(found);
            let selected = workloads.iter().enumerate().filter(|(_, workload)| {
                workload.namespace() == pdb::namespace(found)
                    && selector
                        .as_ref()
                        .is_ok_and(|selector| selector.matches(workload.labels))
            });
            let selected = selected.map(|(index, _)| index).collect();
            CheckedBudget {
                budget: found,
                count: budget::count(snapshot, found),
                workloads: selected,
            }
        });
        let budgets = budgets.collect();
        Self {
            snapshot,
            options,
            budgets,
            workloads,
        }
    }

    /// Iterates over the workloads that a budget selects.
    pub(super) fn selected<'s>(
        &'s self,
        covered: &'s CheckedBudget<'a>,
    ) -> impl Iterator<Item = &'s Workload<'a>> {
        covered
            .workloads
            .iter()
            .map(|index| &self.workloads[*index])
    }
}

fn workloads(snapshot: &ClusterSnapshot) -> Vec<Workload<'_>> {
    let mut found = Vec::new();
    // Kind by kind: the generated types share these fields and no trait.
    for object in &snapshot.deployments {
        let Some(spec) = &object.spec else { continue };
        let template = Some(&spec.template);
        found.extend(scaled(
            "Deployment",
            &object.metadata,
            spec.replicas,
            template,
        ));
    }
    for object in &snapshot.stateful_sets {
        let Some(spec) = &object.spec else { continue };
        let template = Some(&spec.template);
        found.extend(scaled(
            "StatefulSet",
            &object.metadata,
            spec.replicas,
            template,
        ));
    }
    for object in &snapshot.replica_sets {
        let Some(spec) = &object.spec else { continue };
        let template = spec.template.as_ref();
        found.extend(scaled(
            "ReplicaSet",
            &object.metadata,
            spec.replicas,
            template,
        ));
    }
    for object in &snapshot.replication_controllers {
        let Some(spec) = &object.spec else { continue };
        let (kind, template) = ("ReplicationController", spec.template.as_ref());
        found.extend(scaled(kind, &object.metadata, spec.replicas, template));
    }
    for object in &snapshot.daemon_sets {
        let Some(spec) = &object.spec else { continue };
        let template = Some(&spec.template);
        found.extend(workload("DaemonSet", &object.metadata, None, template));
    }
    for object in &snapshot.jobs {
        let Some(spec) = &object.spec else { continue };
        let template = Some(&spec.template);
        found.extend(workload("Job", &object.metadata, None, template));
    }
    let is_bare = |pod: &&Pod| !pods::is_finished(pod) && !pods::is_mirror(pod);
    for pod in snapshot.pods.iter().filter(is_bare) {
        let Some(spec) = &pod.spec else { continue };
        found.push(Workload {
            kind: "Pod",
            meta: &pod.metadata,
            replicas: None,
            labels: pod.metadata.labels.as_ref(),
            spec,
        });
    }
    // The rules check the topmost controller: what it owns has the same template.
    found.retain(|workload| {
        let is_top = matches!(workload.kind, "Deployment" | "StatefulSet" | "DaemonSet");
        is_top || pods::controller(workload.meta).is_none()
    });
    found
}

fn scaled<'a>(
    kind: &'static str,
    meta: &'a ObjectMeta,
    replicas: Option<i32>,
    template: Option<&'a PodTemplateSpec>,
) -> Option<Workload<'a>> {
    workload(kind, meta, Some(replicas.unwrap_or(1)), template)
}

fn workload<'a>(
    kind: &'static str,
    meta: &'a ObjectMeta,
    replicas: Option<i32>,
    template: Option<&'a PodTemplateSpec>,
) -> Option<Workload<'a>> {
    let template = template?;
    let labels = template
        .metadata
        .as_ref()
        .and_then(|meta| meta.labels.as_ref());
    Some(Workload {
        kind,
        meta,
        replicas,
        labels,
        spec: template.spec.as_ref()?,
    })
}
