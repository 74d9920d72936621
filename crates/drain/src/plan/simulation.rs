//! Simulates a drain: evicts pods when the server would grant it, replaces and places them, until
//! all have left or nothing changes any more.
//!
//! Evictions are decided by the server's rule ([`rules::eviction`]). The status of a budget is
//! assumed to be up to date, as it is a moment after each change.

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
    let mut simulation = Simulation {
        leaving,
        order,
        unreplaced: Vec::new(),
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
    /// By pod: true when it has waited for a budget.
    has_waited: Vec<bool>,
    result: SimulationResult<'a>,
}

impl Simulation<'_, '_> {
    /// Applies every change that is due: pods become ready, pods are gone, replacements are created
    /// and placed.
    fn settle(&mut self, now: Millis) {
        let model = &mut self.result.model;
        for pod in 0..model.pods.len() {
            match model.pods[pod].state {
                ModelPodState::Starting(ready) if ready <= now => {
                    model.set(pod, ModelPodState::Ready);
                }
                ModelPodState::Terminating(Some(end)) if end <= now => {
                    model.set(pod, ModelPodState::Gone);
                    if matches!(model.pods[pod].replacement, Replacement::WhenGone { .. }) {
                        self.unreplaced.push(pod);
                    }
                }
                _ => {}
            }
        }
        let due: Vec<usize> = self
            .unreplaced
            .iter()
            .copied()
            .filter(|pod| self.may_replace(*pod))
            .collect();
        self.unreplaced.retain(|pod| !due.contains(pod));
        for pod in due {
            self.replace(pod);
        }
        let model = &mut self.result.model;
        for pod in 0..model.pods.len() {
            if model.pods[pod].state == ModelPodState::Pending {
                model.place(pod, now);
            }
        }
    }

    /// Returns true unless an `OrderedReady` StatefulSet waits for a pod with a lower ordinal.
    fn may_replace(&self, pod: usize) -> bool {
        let pods = &self.result.model.pods;
        let gone = &pods[pod];
        let Replacement::WhenGone {
            ordinal: Some(ordinal),
        } = gone.replacement
        else {
            return true;
        };
        let is_before = |other: usize| {
            let other = &pods[other];
            let is_lower = matches!(other.replacement,
                Replacement::WhenGone { ordinal: Some(other) } if other < ordinal);
            is_lower && other.owner == gone.owner
        };
        let is_settled = |other: usize| {
            matches!(
                pods[other].state,
                ModelPodState::Ready | ModelPodState::Gone | ModelPodState::Finished
            )
        };
        !self.unreplaced.iter().any(|other| is_before(*other))
            && (0..pods.len()).all(|other| !is_before(other) || is_settled(other))
    }

    fn replace(&mut self, pod: usize) -> usize {
        let replacement = self.result.model.replace(pod);
        if let Some(replaced_by) = self.result.replaced_by.get_mut(pod) {
            *replaced_by = Some(replacement);
        }
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
        if model.pods[pod].replacement == Replacement::AtOnce {
            let replacement = self.replace(pod);
            self.result.model.place(replacement, now);
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
    fn next_change(&self, now: Millis) -> Option<Millis> {
        if self.result.emptied_at.iter().all(Option::is_some) {
            return None;
        }
        let times = self
            .result
            .model
            .pods
            .iter()
            .filter_map(|pod| match pod.state {
                ModelPodState::Starting(at) | ModelPodState::Terminating(Some(at)) => Some(at),
                _ => None,
            });
        times.min().map(|at| at.max(now))
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
