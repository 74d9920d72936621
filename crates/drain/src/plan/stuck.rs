//! Explains why a pod of a finished simulation is stuck: what it waits for, and why nothing can
//! bring that about.
//!
//! At the end of a simulation no pod starts and none terminates any more. So it is enough to name,
//! for a budget that allows nothing, each of its pods that is not healthy, with the reason.

use std::collections::HashMap;

use super::model::{ClusterModel, ModelPodState};
use super::simulation::{Blocker, blocker};
use super::{StuckPod, StuckReason, placement};
use crate::budget::CountError;
use crate::format::{NounPhrase, plural, verb_for};
use crate::{pdb, pods};

/// Explains stuck pods of one model. What concerns a budget is found once for all its pods.
pub(super) struct Explainer<'m, 'a> {
    model: &'m ClusterModel<'a>,
    none_allowed: HashMap<usize, (StuckReason, Vec<String>)>,
}

impl<'m, 'a> Explainer<'m, 'a> {
    pub(super) fn new(model: &'m ClusterModel<'a>) -> Self {
        Self {
            model,
            none_allowed: HashMap::new(),
        }
    }

    /// Explains why the pod does not leave.
    pub(super) fn explain(&mut self, index: usize) -> StuckPod {
        let model = self.model;
        let pod = &model.pods[index];
        let (reason, because) = match blocker(model, index) {
            _ if matches!(pod.state, ModelPodState::Terminating(None)) => {
                (StuckReason::NeverGone, vec![never_gone(model, index)])
            }
            Some(Blocker::SeveralBudgets(budgets)) => {
                let names: Vec<&str> = budgets
                    .iter()
                    .map(|budget| pdb::name(model.budgets[*budget].count.budget))
                    .collect();
                let text = format!(
                    "the server refuses to evict a pod that several budgets select: {}",
                    names.join(", ")
                );
                (StuckReason::SeveralBudgets, vec![text])
            }
            Some(Blocker::Uncounted(budget)) => {
                (StuckReason::Uncounted, vec![uncounted(model, budget)])
            }
            Some(Blocker::NoneAllowed(budget)) => {
                let known = self.none_allowed.entry(budget);
                known.or_insert_with(|| none_allowed(model, budget)).clone()
            }
            None => (
                StuckReason::Waits,
                vec!["it waits for pods of its node that are evicted before it".to_owned()],
            ),
        };
        StuckPod {
            pod: pod.key(),
            reason,
            budget: pod
                .budgets
                .first()
                .map(|budget| model.budgets[*budget].key()),
            because,
        }
    }
}

fn never_gone(model: &ClusterModel<'_>, pod: usize) -> String {
    let pod = model.pods[pod].object;
    let finalizers = pod.metadata.finalizers.iter().flatten().map(String::as_str);
    let finalizers = NounPhrase::new("finalizer", finalizers, 5);
    if finalizers.is_empty() {
        format!(
            "it is being deleted, and node {} does not report that it has terminated",
            pods::node_of(pod).unwrap_or("?")
        )
    } else {
        let verb = finalizers.agree("is", "are");
        format!("it is being deleted, and its {finalizers} {verb} not removed")
    }
}

fn uncounted(model: &ClusterModel<'_>, budget: usize) -> String {
    let budget = &model.budgets[budget];
    let key = budget.key();
    match &budget.count.demand {
        Err(CountError::Fails(why)) => {
            format!("budget {key} allows nothing, because its pods cannot be counted: {why}")
        }
        Err(CountError::Unseen(why)) => format!("what budget {key} allows is unknown: {why}"),
        Ok(_) => String::new(),
    }
}

/// Returns the arithmetic of the budget, and every pod of it that is not healthy.
fn none_allowed(model: &ClusterModel<'_>, index: usize) -> (StuckReason, Vec<String>) {
    let budget = &model.budgets[index];
    let key = budget.key();
    let Ok(demand) = &budget.count.demand else {
        return (StuckReason::Uncounted, Vec::new());
    };
    let (desired, healthy) = (demand.desired, model.healthy(index));
    if demand.expected == 0 {
        let text =
            format!("budget {key} allows nothing, because the controllers of its pods want none");
        return (StuckReason::NeverAllows, vec![text]);
    }
    if budget.count.allowed_at_best() == Some(0) {
        let pods = plural(desired, "healthy pod");
        let text = format!(
            "budget {key} needs {pods} and can never have more: it never allows an eviction"
        );
        return (StuckReason::NeverAllows, vec![text]);
    }
    let mut because = vec![format!(
        "budget {key} allows an eviction when more than {desired} of its pods are healthy, and {healthy} {}",
        verb_for(healthy, "is", "are")
    )];
    because.extend(model.covered(index).filter_map(|other| {
        let name = if other.is_replacement && other.missing.is_none() {
            format!("the replacement of {}", other.key())
        } else {
            other.key()
        };
        Some(match &other.state {
            ModelPodState::Pending if other.refusals.is_empty() => {
                format!("{name} is not scheduled")
            }
            ModelPodState::Pending => format!(
                "{name} finds no node: {}",
                placement::describe(&other.refusals)
            ),
            ModelPodState::Unready(why) => format!("{name} is not ready: {why}"),
            ModelPodState::Terminating(None) => format!("{name} does not finish terminating"),
            _ => return None,
        })
    }));
    because.push("no pod starts or terminates any more, so waiting does not help".to_owned());
    let wanted = budget.count.wanted();
    if budget.count.most() > wanted {
        because.push(format!(
            "an autoscaler may run up to {} instead of {wanted}, which the plan does not simulate",
            plural(budget.count.most(), "pod")
        ));
    }
    (StuckReason::Exhausted, because)
}
