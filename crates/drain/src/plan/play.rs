//! Plays a drain through: who may go when, who stands in for whom and where, until all are gone or
//! nothing can change any more.
//!
//! The rules of an eviction are the server's (budget, health, policy, in its order), and a budget's
//! figures are taken to be fresh, as they are a moment after each change.

use super::world::{Millis, Replacement, State, World};
use crate::health;

/// Which nodes are drained at the same time.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// As they are named, so many at a time.
    Window(usize),
    /// These together, then those.
    Waves(Vec<Vec<usize>>),
}

/// A node of the drain and the pods that have to leave it.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaving {
    /// Tiers: one begins when the one before it is gone.
    pub(super) tiers: Vec<Vec<usize>>,
}

impl Leaving {
    /// All of them.
    pub(super) fn actors(&self) -> impl Iterator<Item = usize> {
        self.tiers.iter().flatten().copied()
    }

    /// Those whose turn it is.
    fn present(&self, world: &World<'_>) -> &[usize] {
        let goes_on = |tier: &&Vec<usize>| {
            tier.iter()
                .any(|actor| world.actors[*actor].state != State::Gone)
        };
        self.tiers
            .iter()
            .find(goes_on)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

/// What became of it.
#[derive(Clone, Debug)]
pub(super) struct Outcome<'a> {
    /// The end of the play.
    pub(super) world: World<'a>,
    /// For each node of the drain, when it was empty.
    pub(super) emptied: Vec<Option<Millis>>,
    /// For each actor there was at the start, when it was told to go.
    pub(super) told: Vec<Option<Millis>>,
    /// For each actor there was at the start, who stands in for it.
    pub(super) successor: Vec<Option<usize>>,
    /// For each budget, the fewest healthy pods at any time.
    pub(super) least: Vec<i32>,
    /// For each budget, how many milliseconds pods have waited for it, and how many pods.
    pub(super) waited: Vec<(Millis, usize)>,
}

impl Outcome<'_> {
    /// When the last node was empty; none when the drain is stuck.
    pub(super) fn finished(&self) -> Option<Millis> {
        self.emptied
            .iter()
            .copied()
            .try_fold(0, |last, emptied| Some(last.max(emptied?)))
    }
}

/// The play.
pub(super) fn play<'a>(world: World<'a>, leaving: &[Leaving], order: &Order) -> Outcome<'a> {
    let (actors, budgets) = (world.actors.len(), world.budgets.len());
    let mut stage = Stage {
        leaving,
        order,
        owed: Vec::new(),
        waits: vec![false; actors],
        outcome: Outcome {
            least: (0..budgets).map(|budget| world.healthy(budget)).collect(),
            world,
            emptied: vec![None; leaving.len()],
            told: vec![None; actors],
            successor: vec![None; actors],
            waited: vec![(0, 0); budgets],
        },
    };
    let mut now = 0;
    loop {
        stage.settle(now);
        stage.send_away(now);
        stage.note(now);
        let Some(next) = stage.next(now) else {
            stage.count_waits(0);
            return stage.outcome;
        };
        stage.count_waits(next - now);
        now = next;
    }
}

struct Stage<'a, 'b> {
    leaving: &'b [Leaving],
    order: &'b Order,
    /// Pods that are gone and whose successor has not been made.
    owed: Vec<usize>,
    /// By actor: it has waited for a budget.
    waits: Vec<bool>,
    outcome: Outcome<'a>,
}

impl Stage<'_, '_> {
    /// Everything that is due: pods become ready, pods are gone, successors are made and placed.
    fn settle(&mut self, now: Millis) {
        for actor in 0..self.outcome.world.actors.len() {
            match self.outcome.world.actors[actor].state {
                State::Starting(ready) if ready <= now => {
                    self.outcome.world.set(actor, State::Ready)
                }
                State::Leaving(Some(gone)) if gone <= now => {
                    self.outcome.world.set(actor, State::Gone);
                    if matches!(
                        self.outcome.world.actors[actor].replacement,
                        Replacement::WhenGone { .. }
                    ) {
                        self.owed.push(actor);
                    }
                }
                _ => {}
            }
        }
        let due: Vec<usize> = self
            .owed
            .iter()
            .copied()
            .filter(|actor| self.is_due(*actor))
            .collect();
        self.owed.retain(|actor| !due.contains(actor));
        for actor in due {
            self.replace(actor);
        }
        for actor in 0..self.outcome.world.actors.len() {
            if self.outcome.world.actors[actor].state == State::Pending {
                self.outcome.world.place(actor, now);
            }
        }
    }

    /// Where order counts, those before it must be ready.
    fn is_due(&self, actor: usize) -> bool {
        let gone = &self.outcome.world.actors[actor];
        let Replacement::WhenGone {
            ordinal: Some(number),
        } = gone.replacement
        else {
            return true;
        };
        let before = |other: usize| {
            let other = &self.outcome.world.actors[other];
            let lower = matches!(other.replacement, Replacement::WhenGone { ordinal: Some(other) } if other < number);
            lower && other.owner == gone.owner
        };
        let ready = |other: usize| {
            matches!(
                self.outcome.world.actors[other].state,
                State::Ready | State::Gone | State::Finished
            )
        };
        !self.owed.iter().any(|other| before(*other))
            && (0..self.outcome.world.actors.len()).all(|other| !before(other) || ready(other))
    }

    fn replace(&mut self, actor: usize) {
        let successor = self.outcome.world.replace(actor);
        if let Some(known) = self.outcome.successor.get_mut(actor) {
            *known = Some(successor);
        }
    }

    /// Asks for every eviction that the drain asks for now, the nodes in turns, until none is
    /// granted.
    fn send_away(&mut self, now: Millis) {
        let tiers: Vec<&[usize]> = self
            .active()
            .into_iter()
            .map(|node| self.leaving[node].present(&self.outcome.world))
            .collect();
        let longest = tiers
            .iter()
            .map(|tier| tier.len())
            .max()
            .unwrap_or_default();
        for turn in 0..longest {
            for tier in &tiers {
                if let Some(actor) = tier.get(turn).copied()
                    && is_asked(&self.outcome.world, actor)
                    && blocker(&self.outcome.world, actor).is_none()
                {
                    self.send(actor, now);
                }
            }
        }
    }

    fn send(&mut self, actor: usize, now: Millis) {
        let stop = self.outcome.world.actors[actor].stop;
        self.outcome.told[actor] = Some(now);
        self.outcome
            .world
            .set(actor, State::Leaving(Some(now.saturating_add(stop))));
        if self.outcome.world.actors[actor].replacement == Replacement::AtOnce {
            self.replace(actor);
            let last = self.outcome.world.actors.len() - 1;
            self.outcome.world.place(last, now);
        }
        for budget in self.outcome.world.actors[actor].budgets.clone() {
            self.outcome.least[budget] =
                self.outcome.least[budget].min(self.outcome.world.healthy(budget));
        }
    }

    /// The nodes whose turn it is.
    fn active(&self) -> Vec<usize> {
        let open = |node: &usize| self.outcome.emptied[*node].is_none();
        match self.order {
            Order::Window(width) => (0..self.leaving.len()).filter(open).take(*width).collect(),
            Order::Waves(waves) => waves
                .iter()
                .find(|wave| wave.iter().any(open))
                .cloned()
                .unwrap_or_default(),
        }
    }

    /// Notes which nodes are empty. A node that is empty lets the next one begin at once.
    fn note(&mut self, now: Millis) {
        loop {
            let world = &self.outcome.world;
            let is_empty = |node: usize| {
                self.leaving[node]
                    .actors()
                    .all(|actor| world.actors[actor].state == State::Gone)
            };
            let done: Vec<usize> = self
                .active()
                .into_iter()
                .filter(|node| self.outcome.emptied[*node].is_none() && is_empty(*node))
                .collect();
            if done.is_empty() {
                return;
            }
            for node in done {
                self.outcome.emptied[node] = Some(now);
            }
            self.send_away(now);
        }
    }

    /// When something happens next. Nothing does when all nodes are empty.
    fn next(&self, now: Millis) -> Option<Millis> {
        if self.outcome.emptied.iter().all(Option::is_some) {
            return None;
        }
        let times = self
            .outcome
            .world
            .actors
            .iter()
            .filter_map(|actor| match actor.state {
                State::Starting(at) | State::Leaving(Some(at)) => Some(at),
                _ => None,
            });
        times.min().map(|at| at.max(now))
    }

    fn count_waits(&mut self, for_millis: Millis) {
        for node in self.active() {
            let leaving = self.leaving;
            for actor in leaving[node].present(&self.outcome.world).to_vec() {
                if !is_asked(&self.outcome.world, actor) {
                    continue;
                }
                if let Some(Blocker::Budget(budget)) = blocker(&self.outcome.world, actor) {
                    let waited = &mut self.outcome.waited[budget];
                    waited.0 += for_millis;
                    waited.1 += usize::from(!std::mem::replace(&mut self.waits[actor], true));
                }
            }
        }
    }
}

/// Its eviction has not been granted yet.
fn is_asked(world: &World<'_>, actor: usize) -> bool {
    !matches!(world.actors[actor].state, State::Gone | State::Leaving(_))
}

/// What keeps a pod from going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Blocker {
    /// The server refuses pods that several budgets select.
    Several(Vec<usize>),
    /// The budget cannot be counted.
    Uncounted(usize),
    /// The budget allows nothing now.
    Budget(usize),
}

/// As the server decides it.
pub(super) fn blocker(world: &World<'_>, actor: usize) -> Option<Blocker> {
    let leaver = &world.actors[actor];
    let unstarted =
        matches!(leaver.state, State::Starting(_)) && health::phase(leaver.pod) == "Pending";
    if unstarted || matches!(leaver.state, State::Pending | State::Finished) {
        return None;
    }
    let budget = match leaver.budgets.as_slice() {
        [] => return None,
        [budget] => *budget,
        several => return Some(Blocker::Several(several.to_vec())),
    };
    let bound = &world.budgets[budget];
    let Ok(figures) = &bound.count.figures else {
        return Some(Blocker::Uncounted(budget));
    };
    let (healthy, desired) = (world.healthy(budget), figures.desired);
    let unready_may_go = bound.always_allows_unready || (desired > 0 && healthy >= desired);
    if (leaver.state != State::Ready && unready_may_go)
        || (figures.expected > 0 && healthy > desired)
    {
        return None;
    }
    Some(Blocker::Budget(budget))
}
