//! What the rules look at: workloads by what their templates say, so that manifests do, and budgets
//! with the workloads and pods that they select.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Options;
use crate::budget::{self, Count};
use crate::cluster::Snapshot;
use crate::health;

/// Something that makes pods, or a pod that nothing makes.
pub(super) struct Workload<'a> {
    pub(super) kind: &'static str,
    pub(super) meta: &'a ObjectMeta,
    /// None for what has no number: DaemonSets, Jobs, pods.
    pub(super) replicas: Option<i32>,
    /// Labels of its pods.
    pub(super) labels: Option<&'a BTreeMap<String, String>>,
    /// What its pods are.
    pub(super) spec: &'a PodSpec,
}

/// A budget with what it selects.
pub(super) struct Covered<'a> {
    pub(super) budget: &'a PodDisruptionBudget,
    /// Over the pods that are there; empty for manifests.
    pub(super) count: Count<'a>,
    /// Places in [`Scene::workloads`].
    pub(super) workloads: Vec<usize>,
}

pub(super) struct Scene<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) options: Options,
    pub(super) workloads: Vec<Workload<'a>>,
    pub(super) budgets: Vec<Covered<'a>>,
}

impl Workload<'_> {
    pub(super) fn namespace(&self) -> &str {
        self.meta.namespace.as_deref().unwrap_or("default")
    }

    pub(super) fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }
}

impl<'a> Scene<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, options: Options) -> Self {
        let workloads = workloads(snapshot);
        let budgets = snapshot.budgets.iter().map(|found| {
            let selector = budget::selector(found);
            let selected = workloads.iter().enumerate().filter(|(_, workload)| {
                workload.namespace() == budget::namespace(found)
                    && selector
                        .as_ref()
                        .is_ok_and(|selector| selector.matches(workload.labels))
            });
            let selected = selected.map(|(place, _)| place).collect();
            Covered {
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

    /// The workloads that a budget selects.
    pub(super) fn selected<'s>(
        &'s self,
        covered: &'s Covered<'a>,
    ) -> impl Iterator<Item = &'s Workload<'a>> {
        covered
            .workloads
            .iter()
            .map(|place| &self.workloads[*place])
    }
}

fn workloads(snapshot: &Snapshot) -> Vec<Workload<'_>> {
    let mut found = Vec::new();
    let owned = |meta: &ObjectMeta| rules::owners::controller_of(meta).is_some();
    for object in &snapshot.deployments {
        let Some(spec) = &object.spec else { continue };
        found.extend(made(
            "Deployment",
            &object.metadata,
            Some(spec.replicas.unwrap_or(1)),
            Some(&spec.template),
        ));
    }
    for object in &snapshot.stateful_sets {
        let Some(spec) = &object.spec else { continue };
        found.extend(made(
            "StatefulSet",
            &object.metadata,
            Some(spec.replicas.unwrap_or(1)),
            Some(&spec.template),
        ));
    }
    for object in snapshot
        .replica_sets
        .iter()
        .filter(|object| !owned(&object.metadata))
    {
        let Some(spec) = &object.spec else { continue };
        found.extend(made(
            "ReplicaSet",
            &object.metadata,
            Some(spec.replicas.unwrap_or(1)),
            spec.template.as_ref(),
        ));
    }
    for object in snapshot
        .replication_controllers
        .iter()
        .filter(|object| !owned(&object.metadata))
    {
        let Some(spec) = &object.spec else { continue };
        found.extend(made(
            "ReplicationController",
            &object.metadata,
            Some(spec.replicas.unwrap_or(1)),
            spec.template.as_ref(),
        ));
    }
    for object in &snapshot.daemon_sets {
        let Some(spec) = &object.spec else { continue };
        found.extend(made(
            "DaemonSet",
            &object.metadata,
            None,
            Some(&spec.template),
        ));
    }
    for object in snapshot
        .jobs
        .iter()
        .filter(|object| !owned(&object.metadata))
    {
        let Some(spec) = &object.spec else { continue };
        found.extend(made("Job", &object.metadata, None, Some(&spec.template)));
    }
    let bare = |pod: &&Pod| {
        health::controller_of(pod).is_none() && !health::is_finished(pod) && !is_mirror(pod)
    };
    for pod in snapshot.pods.iter().filter(bare) {
        let Some(spec) = &pod.spec else { continue };
        found.push(Workload {
            kind: "Pod",
            meta: &pod.metadata,
            replicas: None,
            labels: pod.metadata.labels.as_ref(),
            spec,
        });
    }
    found
}

fn made<'a>(
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

fn is_mirror(pod: &Pod) -> bool {
    pod.metadata
        .annotations
        .as_ref()
        .is_some_and(|notes| notes.contains_key("kubernetes.io/config.mirror"))
}
