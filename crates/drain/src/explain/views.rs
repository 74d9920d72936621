//! What the explanations of several pods share: the arithmetic of each budget, the pods that leave
//! a node together, and the volumes of claims. Each is computed once, so that explaining a node
//! costs in proportion to its pods.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::{Evidence, Problem, Remedy, budgets, remedies};
use crate::budget::{BudgetCount, BudgetCounter};
use crate::cluster::{BoundVolumes, ClusterSnapshot};

/// A budget with everything that explanations say about it.
pub(super) struct BudgetView<'a> {
    pub(super) count: BudgetCount<'a>,
    pub(super) problems: Vec<Problem>,
    pub(super) evidence: Vec<Evidence>,
    pub(super) remedies: Vec<Remedy>,
}

/// The shared parts of explanations over one snapshot.
pub(super) struct ExplainViews<'a> {
    snapshot: &'a ClusterSnapshot,
    counter: BudgetCounter<'a>,
    /// By the address of the budget in the snapshot.
    budgets: RefCell<HashMap<usize, Rc<BudgetView<'a>>>>,
    leaving: RefCell<HashMap<&'a str, Rc<Vec<&'a Pod>>>>,
    volumes: BoundVolumes<'a>,
}

impl<'a> ExplainViews<'a> {
    pub(super) fn new(snapshot: &'a ClusterSnapshot) -> Self {
        Self {
            snapshot,
            counter: BudgetCounter::new(snapshot),
            budgets: RefCell::default(),
            leaving: RefCell::default(),
            volumes: BoundVolumes::new(snapshot),
        }
    }

    /// Returns what is said about a budget of the snapshot.
    pub(super) fn budget(&self, found: &'a PodDisruptionBudget) -> Rc<BudgetView<'a>> {
        let address = std::ptr::from_ref(found).addr();
        if let Some(known) = self.budgets.borrow().get(&address) {
            return Rc::clone(known);
        }
        let count = self.counter.count(found);
        let problems = budgets::problems(self.snapshot, &count);
        let view = Rc::new(BudgetView {
            evidence: budgets::evidence(self.snapshot, &count),
            remedies: remedies::of_budget(self.snapshot, &count, &problems),
            problems,
            count,
        });
        self.budgets.borrow_mut().insert(address, Rc::clone(&view));
        view
    }

    /// Returns the pods that a drain of the node evicts.
    pub(super) fn leaving(&self, node: &'a str) -> Rc<Vec<&'a Pod>> {
        let mut leaving = self.leaving.borrow_mut();
        let found = leaving
            .entry(node)
            .or_insert_with(|| Rc::new(self.snapshot.pods_leaving(node)));
        Rc::clone(found)
    }

    /// Returns the volumes that the pod's claims are bound to, each with the name of its claim.
    pub(super) fn volumes_of(&self, pod: &'a Pod) -> Vec<(&'a str, &'a PersistentVolume)> {
        self.volumes.of(pod).collect()
    }

    /// Returns the names of the volumes that the pods of a node use.
    pub(super) fn used_on(&self, node: &'a str) -> HashSet<&'a str> {
        self.snapshot
            .pods_on(node)
            .flat_map(|pod| self.volumes_of(pod))
            .filter_map(|(_, volume)| volume.metadata.name.as_deref())
            .collect()
    }
}
