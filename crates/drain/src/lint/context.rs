//! The input of the rules: workloads with their pod templates, which manifests contain too,
//! autoscalers, and budgets with the workloads and pods that they select.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::LintOptions;
use crate::budget::{BudgetCount, BudgetCounter, PodHealth};
use crate::cluster::{ClusterSnapshot, sends_to};
use crate::workloads::{Autoscaler, Workload, Workloads, autoscalers};
use crate::{pdb, pods};

/// A budget with what it selects.
pub(super) struct CheckedBudget<'a> {
    pub(super) budget: &'a PodDisruptionBudget,
    /// The count of the existing pods; manifests contain none.
    pub(super) count: BudgetCount<'a>,
    /// Indexes in [`LintContext::workloads`].
    pub(super) workloads: Vec<usize>,
    /// True when it selects pods that belong to none of `workloads`.
    pub(super) has_foreign_pods: bool,
}

pub(super) struct LintContext<'a> {
    pub(super) snapshot: &'a ClusterSnapshot,
    pub(super) options: LintOptions,
    pub(super) workloads: Vec<Workload<'a>>,
    pub(super) autoscalers: Vec<Autoscaler<'a>>,
    pub(super) budgets: Vec<CheckedBudget<'a>>,
    /// The indexes of the budgets of each namespace.
    near: HashMap<&'a str, Vec<usize>>,
    services: HashMap<&'a str, Vec<&'a Service>>,
    /// The indexes of the workloads of which a budget selects pods.
    pub(super) protected: HashSet<usize>,
}

impl<'a> LintContext<'a> {
    pub(super) fn of(snapshot: &'a ClusterSnapshot, options: LintOptions) -> Self {
        let workloads = Workloads::of(snapshot);
        let mut protected = HashSet::new();
        let counter = BudgetCounter::new(snapshot);
        let mut in_namespace: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, workload) in workloads.all.iter().enumerate() {
            in_namespace
                .entry(workload.namespace)
                .or_default()
                .push(index);
        }
        let mut near: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, found) in snapshot.budgets.iter().enumerate() {
            near.entry(pdb::namespace(found)).or_default().push(index);
        }
        let mut services: HashMap<&str, Vec<&Service>> = HashMap::new();
        for service in &snapshot.services {
            let namespace = pods::namespace_of(&service.metadata);
            services.entry(namespace).or_default().push(service);
        }
        let budgets = snapshot.budgets.iter().map(|found| {
            let selector = pdb::selector(found);
            let candidates = in_namespace
                .get(pdb::namespace(found))
                .into_iter()
                .flatten();
            let selected: Vec<usize> = candidates
                .copied()
                .filter(|index| {
                    let labels = workloads.all[*index].labels;
                    selector
                        .as_ref()
                        .is_ok_and(|selector| selector.matches(labels))
                })
                .collect();
            let count = counter.count(found);
            let own: HashSet<usize> = selected.iter().copied().collect();
            let living = count
                .pods
                .iter()
                .filter(|covered| covered.health != PodHealth::Terminating);
            let of_pods: Vec<Option<usize>> = living
                .map(|covered| workloads.index_of(covered.pod))
                .collect();
            protected.extend(own.iter().copied());
            protected.extend(of_pods.iter().flatten().copied());
            CheckedBudget {
                budget: found,
                count,
                workloads: selected,
                has_foreign_pods: of_pods.iter().flatten().any(|index| !own.contains(index)),
            }
        });
        let budgets = budgets.collect();
        Self {
            snapshot,
            options,
            budgets,
            near,
            services,
            protected,
            workloads: workloads.all,
            autoscalers: autoscalers(snapshot),
        }
    }

    /// Iterates over the other budgets of the namespace of a budget.
    pub(super) fn others<'s>(
        &'s self,
        covered: &'s CheckedBudget<'a>,
    ) -> impl Iterator<Item = &'s CheckedBudget<'a>> {
        let near = self
            .near
            .get(pdb::namespace(covered.budget))
            .into_iter()
            .flatten();
        near.map(|index| &self.budgets[*index])
            .filter(|other| pdb::name(other.budget) != pdb::name(covered.budget))
    }

    /// Iterates over the budgets of a namespace.
    pub(super) fn budgets_in<'s>(
        &'s self,
        namespace: &str,
    ) -> impl Iterator<Item = &'s CheckedBudget<'a>> {
        let near = self.near.get(namespace).into_iter().flatten();
        near.map(|index| &self.budgets[*index])
    }

    /// Iterates over the names of the Services that select the pods of a workload.
    pub(super) fn services_of<'s>(
        &'s self,
        workload: &Workload<'a>,
    ) -> impl Iterator<Item = &'a str> + use<'s, 'a> {
        let labels = workload.labels;
        let near = self.services.get(workload.namespace).into_iter().flatten();
        near.filter(move |service| sends_to(service, labels))
            .filter_map(|service| service.metadata.name.as_deref())
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
