//! Simulates a drain: evicts pods when the server would grant it, replaces and places them, until
//! all have left or nothing changes any more.
//!
//! Evictions are decided by the server's rule ([`rules::eviction`]). The status of a budget is
//! assumed to be up to date, as it is a moment after each change.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

use rules::eviction::{self, BudgetState, Outcome, Phase, RuleRefusal};

use super::model::{ClusterModel, ModelPodState, Replacement};
use super::timing::Millis;
use crate::{pdb, pods};

/// Which nodes are drained at the same time.
#[derive(Clone, Debug)]
pub(super) enum NodeOrder {
    /// At most this many at a time, in their order.
    Window(usize),
    /// Wave by wave: all nodes of a wave together.
    Waves(Vec<Vec<usize>>),
}

/// The pods that have to leave one node.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeTiers {
    /// The tiers. One begins when all pods of the one before it are gone.
    pub(super) tiers: Vec<Vec<usize>>,
}

impl NodeTiers {
    /// Iterates over the pods of all tiers.
    pub(super) fn pods(&self) -> impl Iterator<Item = usize> {
        self.tiers.iter().flatten().copied()
    }

    /// Returns the pods of the current tier.
    fn current(&self, model: &ClusterModel<'_>) -> &[usize] {
        let is_open = |tier: &&Vec<usize>| {
            tier.iter()
                .any(|pod| model.pods[*pod].state != ModelPodState::Gone)
        };
        self.tiers
            .iter()
            .find(is_open)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

/// How much pods have waited for a budget.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BudgetWait {
    /// The waiting times of all pods, added up.
    pub(super) time: Millis,
    /// The number of pods that waited.
    pub(super) pods: usize,
}

/// The result of a simulation.
#[derive(Clone, Debug)]
pub(super) struct SimulationResult<'a> {
    /// The final state.
    pub(super) model: ClusterModel<'a>,
    /// When each node of the drain was empty, `None` for never.
    pub(super) emptied_at: Vec<Option<Millis>>,
    /// When the eviction of each initial pod was granted.
    pub(super) granted_at: Vec<Option<Millis>>,
    /// The replacement of each initial pod.
    pub(super) replaced_by: Vec<Option<usize>>,
    /// The smallest number of healthy pods of each budget.
    pub(super) least_healthy: Vec<i32>,
    /// How much pods have waited for each budget.
    pub(super) waits: Vec<BudgetWait>,
}

impl SimulationResult<'_> {
    /// Returns when the last node was empty, `None` when the drain is stuck.
    pub(super) fn finished(&self) -> Option<Millis> {
        self.emptied_at
            .iter()
            .copied()
            .try_fold(0, |last, emptied| Some(last.max(emptied?)))
    }
}

/// Simulates the drain of some nodes.
pub(super) fn simulate<'a>(
    model: ClusterModel<'a>,
    leaving: &[NodeTiers],
    order: &NodeOrder,
) -> SimulationResult<'a> {
    let (pods, budgets) = (model.pods.len(), model.budgets.len());
    let mut by_owner: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, pod) in model.pods.iter().enumerate() {
        by_owner.entry(pod.owner).or_default().push(index);
    }
    let mut simulation = Simulation {
        leaving,
        order,
        unreplaced: model.missing.clone(),
        changes: BinaryHeap::new(),
        pending: BTreeSet::new(),
        by_owner,
        has_waited: vec![false; pods],
        result: SimulationResult {
            least_healthy: (0..budgets).map(|budget| model.healthy(budget)).collect(),
            model,
            emptied_at: vec![None; leaving.len()],
            granted_at: vec![None; pods],
            replaced_by: vec![None; pods],
            waits: vec![BudgetWait::default(); budgets],
        },
    };
    (0..pods).for_each(|pod| simulation.expect_change(pod));
    let mut now = 0;
    loop {
        simulation.settle(now);
        simulation.evict(now);
        simulation.record_empty_nodes(now);
        let Some(next) = simulation.next_change(now) else {
            simulation.record_waits(0);
            return simulation.result;
        };
        simulation.record_waits(next - now);
        now = next;
    }
}

struct Simulation<'a, 'b> {
    leaving: &'b [NodeTiers],
    order: &'b NodeOrder,
    /// Pods that are gone and whose replacement does not exist yet.
    unreplaced: Vec<usize>,
    /// When pods change their state, the earliest first. Those of pods that have changed otherwise
    /// are skipped.
    changes: BinaryHeap<Reverse<(Millis, usize)>>,
    /// The pods that are not scheduled, and some that were.
    pending: BTreeSet<usize>,
    /// The pods of each controller, by its uid.
    by_owner: HashMap<&'a str, Vec<usize>>,
    /// By pod: true when it has waited for a budget.
    has_waited: Vec<bool>,
    result: SimulationResult<'a>,
}

impl Simulation<'_, '_> {
    /// Returns when the pod changes its state by itself.
    fn due(&self, pod: usize) -> Option<Millis> {
        match self.result.model.pods[pod].state {
            ModelPodState::Starting(at) | ModelPodState::Terminating(Some(at)) => Some(at),
            _ => None,
        }
    }

    /// Notes what a pod in a new state waits for.
    fn expect_change(&mut self, pod: usize) {
        if let Some(at) = self.due(pod) {
            self.changes.push(Reverse((at, pod)));
        }
        if self.result.model.pods[pod].state == ModelPodState::Pending {
            self.pending.insert(pod);
        }
    }

    /// Removes and returns the pods whose change is due, in their order.
    fn take_due(&mut self, now: Millis) -> BTreeSet<usize> {
        let mut due = BTreeSet::new();
        while let Some(Reverse((at, pod))) = self.changes.peek().copied() {
            if at > now {
                break;
            }
            self.changes.pop();
            if self.due(pod) == Some(at) {
                due.insert(pod);
            }
        }
        due
    }

    /// Applies every change that is due: pods become ready, pods are gone, replacements are created
    /// and placed.
    fn settle(&mut self, now: Millis) {
        for pod in self.take_due(now) {
            let model = &mut self.result.model;
            if matches!(model.pods[pod].state, ModelPodState::Starting(_)) {
                model.set(pod, ModelPodState::Ready);
                continue;
            }
            model.set(pod, ModelPodState::Gone);
            if matches!(model.pods[pod].replacement, Replacement::WhenGone { .. }) {
                self.unreplaced.push(pod);
            }
        }
        let unreplaced = std::mem::take(&mut self.unreplaced);
        let waiting: HashSet<usize> = unreplaced.iter().copied().collect();
        let (due, left): (Vec<usize>, Vec<usize>) = unreplaced
            .into_iter()
            .partition(|pod| self.may_replace(*pod, &waiting));
        self.unreplaced = left;
        for pod in due {
            self.replace(pod);
        }
        for pod in std::mem::take(&mut self.pending) {
            if self.result.model.pods[pod].state == ModelPodState::Pending {
                self.result.model.place(pod, now);
                self.expect_change(pod);
            }
        }
    }

    /// Returns true unless an `OrderedReady` StatefulSet waits for a pod with a lower ordinal.
    fn may_replace(&self, pod: usize, unreplaced: &HashSet<usize>) -> bool {
        let pods = &self.result.model.pods;
        let gone = &pods[pod];
        let Replacement::WhenGone {
            ordinal: Some(ordinal),
        } = gone.replacement
        else {
            return true;
        };
        let is_before = |other: usize| {
            matches!(pods[other].replacement,
                Replacement::WhenGone { ordinal: Some(other) } if other < ordinal)
        };
        let is_settled = |other: usize| {
            matches!(
                pods[other].state,
                ModelPodState::Ready | ModelPodState::Gone | ModelPodState::Finished
            )
        };
        let siblings = self.by_owner.get(gone.owner).map(Vec::as_slice);
        siblings
            .unwrap_or_default()
            .iter()
            .filter(|other| is_before(**other))
            .all(|other| !unreplaced.contains(other) && is_settled(*other))
    }

    fn replace(&mut self, pod: usize) -> usize {
        let replacement = self.result.model.replace(pod);
        if let Some(replaced_by) = self.result.replaced_by.get_mut(pod) {
            *replaced_by = Some(replacement);
        }
        let owner = self.result.model.pods[replacement].owner;
        self.by_owner.entry(owner).or_default().push(replacement);
        self.expect_change(replacement);
        replacement
    }

    /// Sends the evictions of all current tiers, alternating between the nodes.
    fn evict(&mut self, now: Millis) {
        let tiers: Vec<&[usize]> = self
            .active()
            .into_iter()
            .map(|node| self.leaving[node].current(&self.result.model))
            .collect();
        let longest = tiers.iter().map(|tier| tier.len()).max();
        for turn in 0..longest.unwrap_or_default() {
            for pod in tiers.iter().filter_map(|tier| tier.get(turn).copied()) {
                let model = &self.result.model;
                if needs_eviction(model, pod) && blocker(model, pod).is_none() {
                    self.grant(pod, now);
                }
            }
        }
    }

    fn grant(&mut self, pod: usize, now: Millis) {
        let model = &mut self.result.model;
        let end = now.saturating_add(model.pods[pod].stop);
        self.result.granted_at[pod] = Some(now);
        model.set(pod, ModelPodState::Terminating(Some(end)));
        let is_replaced = model.pods[pod].replacement == Replacement::AtOnce;
        self.expect_change(pod);
        if is_replaced {
            let replacement = self.replace(pod);
            self.result.model.place(replacement, now);
            self.expect_change(replacement);
        }
        let model = &self.result.model;
        for budget in &model.pods[pod].budgets {
            let least = &mut self.result.least_healthy[*budget];
            *least = (*least).min(model.healthy(*budget));
        }
    }

    /// Returns the nodes that are being drained.
    fn active(&self) -> Vec<usize> {
        let is_open = |node: &usize| self.result.emptied_at[*node].is_none();
        match self.order {
            NodeOrder::Window(width) => (0..self.leaving.len())
                .filter(is_open)
                .take(*width)
                .collect(),
            NodeOrder::Waves(waves) => waves
                .iter()
                .find(|wave| wave.iter().any(is_open))
                .cloned()
                .unwrap_or_default(),
        }
    }

    /// Records the nodes that are empty now. The next nodes begin at once, so this repeats until no
    /// further node is empty.
    fn record_empty_nodes(&mut self, now: Millis) {
        loop {
            let pods = &self.result.model.pods;
            let is_empty = |node: usize| {
                self.leaving[node]
                    .pods()
                    .all(|pod| pods[pod].state == ModelPodState::Gone)
            };
            let empty: Vec<usize> = self
                .active()
                .into_iter()
                .filter(|node| self.result.emptied_at[*node].is_none() && is_empty(*node))
                .collect();
            if empty.is_empty() {
                return;
            }
            for node in empty {
                self.result.emptied_at[node] = Some(now);
            }
            self.evict(now);
        }
    }

    /// Returns the time of the next change, `None` when there is none or all nodes are empty.
    fn next_change(&mut self, now: Millis) -> Option<Millis> {
        if self.result.emptied_at.iter().all(Option::is_some) {
            return None;
        }
        while let Some(Reverse((at, pod))) = self.changes.peek().copied() {
            if self.due(pod) == Some(at) {
                return Some(at.max(now));
            }
            self.changes.pop();
        }
        None
    }

    /// Records which pods wait for budgets until the next change.
    fn record_waits(&mut self, time: Millis) {
        for node in self.active() {
            for pod in self.leaving[node].current(&self.result.model) {
                let model = &self.result.model;
                if !needs_eviction(model, *pod) {
                    continue;
                }
                if let Some(Blocker::NoneAllowed(budget)) = blocker(model, *pod) {
                    let wait = &mut self.result.waits[budget];
                    wait.time += time;
                    let has_waited = std::mem::replace(&mut self.has_waited[*pod], true);
                    wait.pods += usize::from(!has_waited);
                }
            }
        }
    }
}

/// Returns true when the eviction of the pod has not been granted yet.
fn needs_eviction(model: &ClusterModel<'_>, pod: usize) -> bool {
    !matches!(
        model.pods[pod].state,
        ModelPodState::Gone | ModelPodState::Terminating(_)
    )
}

/// Why the server refuses an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Blocker {
    /// Several budgets select the pod.
    SeveralBudgets(Vec<usize>),
    /// The budget cannot be counted, so it allows nothing.
    Uncounted(usize),
    /// The budget allows no disruption now.
    NoneAllowed(usize),
}

/// Returns why the server would refuse the eviction of the pod now, `None` when it would grant it.
pub(super) fn blocker(model: &ClusterModel<'_>, pod: usize) -> Option<Blocker> {
    let pod = &model.pods[pod];
    let phase = match pod.state {
        ModelPodState::Pending => Phase::Pending,
        ModelPodState::Starting(_) if pods::phase(pod.object) == "Pending" => Phase::Pending,
        ModelPodState::Finished => Phase::Succeeded,
        _ => Phase::Running,
    };
    let state = eviction::PodState {
        phase,
        ready: pod.state == ModelPodState::Ready,
        terminating: matches!(pod.state, ModelPodState::Terminating(_)),
    };
    let budgets = pod
        .budgets
        .iter()
        .map(|budget| budget_state(model, *budget));
    match eviction::decide(&state, budgets) {
        Outcome::Bypassed(_) | Outcome::Unprotected | Outcome::Uncharged(_) | Outcome::Charged => {
            None
        }
        Outcome::Refused(RuleRefusal::MultipleBudgets) => {
            Some(Blocker::SeveralBudgets(pod.budgets.clone()))
        }
        // The other refusals are about a status that is out of date or broken, which the model
        // does not have.
        Outcome::Refused(_) => {
            let budget = *pod.budgets.first()?;
            Some(match model.budgets[budget].count.demand {
                Ok(_) => Blocker::NoneAllowed(budget),
                Err(_) => Blocker::Uncounted(budget),
            })
        }
    }
}

/// Returns the status that the disruption controller would write now. A budget that it cannot count
/// allows nothing.
fn budget_state(model: &ClusterModel<'_>, budget: usize) -> BudgetState {
    let count = &model.budgets[budget].count;
    let uncounted = BudgetState {
        observed: true,
        always_allow: pdb::always_allows_unready(count.budget),
        ..BudgetState::default()
    };
    let Ok(demand) = count.demand else {
        return uncounted;
    };
    let healthy = model.healthy(budget);
    BudgetState {
        disruptions_allowed: demand.allowed(healthy).into(),
        current_healthy: healthy.into(),
        desired_healthy: demand.desired.into(),
        ..uncounted
    }
}
