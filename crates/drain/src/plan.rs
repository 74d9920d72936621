//! What draining these nodes would meet, said before anything is touched: which pods move, stay, are
//! refused or lose something; whether the rest of the cluster can take them; how long it takes and
//! which budgets make it so; what would be stuck for good, and why.
//!
//! Pure: a [`Snapshot`] in, a [`Plan`] out. The whole drain is played through on a copy of the state
//! (`world.rs`, `play.rs`), with budgets judged as the server judges them, controllers that replace
//! what left, and a placement that fits together. How long pods take to start is what the snapshot
//! shows of their siblings (`pace.rs`); how long they take to end is an assumption that the caller
//! makes, beside the worst case of their whole grace.
//!
//! Read next: `play.rs`, then `waves.rs` and `proof.rs`.

mod pace;
mod play;
mod proof;
mod render;
mod waves;
mod world;

use kinds::selector::LabelSelector;
use rules::fit::cordon_taint;
use rules::nodes;
use serde::Serialize;

use crate::cluster::{Snapshot, Unread};
use crate::filter::{Allowed, Daemon, Verdict, daemon_set, has_local_storage, judge};
use crate::health;
use crate::tier::Tiers;
use play::{Leaving, Order, Outcome, play};
use world::{Millis, Replacement, State, World};

/// What is planned.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names of the nodes, in the order in which they would be drained.
    pub nodes: Vec<String>,
    /// What the user allows, as for a drain.
    pub allowed: Allowed,
    /// Only pods with these labels leave.
    pub pods: Option<LabelSelector>,
    /// What goes first and last.
    pub tiers: Tiers,
    /// So many nodes at a time.
    pub parallel: usize,
    /// Instead of what each pod asks for.
    pub grace_seconds: Option<i64>,
    /// From a node to ready, for pods of which no sibling has shown it.
    pub start_seconds: f64,
    /// From the stop signal to the end; never more than the grace.
    pub stop_seconds: f64,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The snapshot holds no such node.
    #[error("node {0:?} is not there")]
    NoSuchNode(String),
}

/// The plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// True when the drain comes to its end.
    pub finishes: bool,
    /// How long it takes in all, in seconds; none when it does not end.
    pub seconds: Option<f64>,
    /// The same if every pod uses its whole grace.
    pub worst_seconds: Option<f64>,
    /// The same with the waves below instead of so many nodes at a time.
    pub wave_seconds: Option<f64>,
    /// Node by node.
    pub nodes: Vec<NodePlan>,
    /// The budgets that matter.
    pub budgets: Vec<BudgetPlan>,
    /// Pods that cannot leave, and why.
    pub stuck: Vec<Stuck>,
    /// Pods for which there is no room elsewhere, and why.
    pub unplaced: Vec<Unplaced>,
    /// Nodes that do not wait for each other, wave by wave.
    pub waves: Vec<Vec<String>>,
    /// True when fewer waves are proven impossible.
    pub fewest_waves: bool,
    /// What could not be read, and so is not in the plan.
    pub unread: Vec<Unread>,
}

/// What happens on a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePlan {
    /// Its name.
    pub name: String,
    /// When it is empty, in seconds from the start; none when it never is.
    pub seconds: Option<f64>,
    /// Its pods.
    pub pods: Vec<PodPlan>,
}

/// What happens to a pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPlan {
    /// `namespace/name`
    pub pod: String,
    /// What happens to it.
    #[serde(flatten)]
    pub fate: Fate,
    /// When its eviction is granted, in seconds from the start.
    pub evicted: Option<f64>,
    /// What else there is to know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What happens to a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "fate")]
pub enum Fate {
    /// It leaves, and a successor starts there.
    Moves {
        /// The node; none when there is no room.
        to: Option<String>,
    },
    /// It leaves, and nobody makes it again.
    Ends,
    /// It stays.
    Stays {
        /// Why.
        why: String,
    },
    /// It keeps its node from being drained.
    Refused {
        /// In kubectl's words, with the flag that would change it.
        why: String,
    },
    /// It never leaves: see [`Plan::stuck`].
    Stuck,
}

/// How a budget goes through the drain.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetPlan {
    /// `namespace/name`
    pub budget: String,
    /// Healthy pods that must stay; none when that cannot be counted.
    pub needs: Option<i32>,
    /// Healthy pods now.
    pub healthy: i32,
    /// The fewest healthy pods at any time.
    pub least_healthy: i32,
    /// Pods that leave under it.
    pub leaving: usize,
    /// Pods that had to wait for it.
    pub waiting: usize,
    /// Seconds that they waited, all together.
    pub waited_seconds: f64,
}

/// A pod that cannot leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stuck {
    /// `namespace/name`
    pub pod: String,
    /// Of what sort.
    pub reason: Reason,
    /// The budget, when it is about one.
    pub budget: Option<String>,
    /// The proof, step by step.
    pub because: Vec<String>,
}

/// What keeps a pod for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The budget allows no eviction even with every pod healthy.
    NeverAllows,
    /// The budget has too few healthy pods, and those that lack will not become healthy.
    Exhausted,
    /// Several budgets select the pod.
    SeveralBudgets,
    /// The budget cannot be counted.
    Uncounted,
    /// The pod is being deleted and does not end.
    NeverGone,
    /// Pods that go before it do not go.
    Waits,
}

/// A successor for which there is no node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unplaced {
    /// The pod that it would stand in for.
    pub pod: String,
    /// The nodes' reasons, as the scheduler gives them.
    pub why: String,
}

/// Makes the plan.
///
/// # Errors
/// For a node that the snapshot does not hold.
pub fn make(snapshot: &Snapshot, options: &Options) -> Result<Plan, Error> {
    for name in &options.nodes {
        if !snapshot.nodes.iter().any(|node| nodes::name(node) == name) {
            return Err(Error::NoSuchNode(name.clone()));
        }
    }
    let world = World::build(snapshot, &options.nodes, options);
    let drafts: Vec<Draft> = options.nodes.iter().map(|node| draft(&world, snapshot, node, options)).collect();
    let leaving: Vec<Leaving> = drafts.iter().map(Draft::leaving).collect();
    let (waves, fewest_waves) = find_waves(&world, &leaving);
    let blocked = drafts.iter().any(Draft::is_blocked);
    let outcome = play(world.clone(), &leaving, &Order::Window(options.parallel.max(1)));
    let in_waves = play(world, &leaving, &Order::Waves(waves.clone()));
    let patient = Options { stop_seconds: f64::MAX, ..options.clone() };
    let worst = play(World::build(snapshot, &options.nodes, &patient), &leaving, &Order::Window(options.parallel.max(1)));
    let ends = |outcome: &Outcome<'_>| outcome.finished().filter(|_| !blocked).map(seconds);
    let name = |node: &usize| options.nodes[*node].clone();
    Ok(Plan {
        finishes: ends(&outcome).is_some(),
        seconds: ends(&outcome),
        worst_seconds: ends(&worst),
        wave_seconds: ends(&in_waves),
        budgets: budgets(&outcome, &leaving),
        stuck: stuck(&outcome, &leaving),
        unplaced: unplaced(&outcome),
        waves: waves.iter().map(|wave| wave.iter().map(name).collect()).collect(),
        fewest_waves,
        unread: snapshot.unread.clone(),
        nodes: drafts.into_iter().enumerate().map(|(index, draft)| draft.finish(index, &outcome)).collect(),
    })
}

fn seconds(millis: Millis) -> f64 {
    std::time::Duration::from_millis(millis.try_into().unwrap_or_default()).as_secs_f64()
}

/// The pods of a node as they are judged before the drain is played.
struct Draft {
    node: String,
    pods: Vec<(usize, Verdict, Vec<String>)>,
    tiers: Vec<Vec<usize>>,
}

fn draft(world: &World<'_>, snapshot: &Snapshot, node: &str, options: &Options) -> Draft {
    let (mut pods, mut tiers) = (Vec::new(), std::collections::BTreeMap::<usize, Vec<usize>>::new());
    for (index, actor) in world.actors.iter().enumerate() {
        let selected = options.pods.as_ref().is_none_or(|selector| selector.matches(&actor.pod.metadata.labels));
        if health::node_of(actor.pod) != Some(node) || !selected {
            continue;
        }
        let daemon = daemon(snapshot, actor.pod);
        let verdict = judge(actor.pod, &daemon, options.allowed, snapshot.now);
        if matches!(verdict, Verdict::Goes(_)) {
            tiers.entry(options.tiers.of(actor.pod)).or_default().push(index);
        }
        pods.push((index, verdict, notes(actor.pod)));
    }
    Draft { node: node.to_owned(), pods, tiers: tiers.into_values().collect() }
}

/// A file may lack DaemonSets: then they are taken to be there.
fn daemon(snapshot: &Snapshot, pod: &k8s_openapi::api::core::v1::Pod) -> Daemon {
    let Some(name) = daemon_set(pod) else { return Daemon::None };
    let unread = snapshot.unread.iter().any(|unread| unread.resource == "daemonsets.apps");
    let found = snapshot.daemon_sets.iter().any(|set| {
        set.metadata.name.as_deref() == Some(name) && set.metadata.namespace.as_deref().unwrap_or("default") == health::namespace(pod)
    });
    if found || unread { Daemon::There } else { Daemon::Gone(format!("daemonsets.apps {name:?} not found")) }
}

fn notes(pod: &k8s_openapi::api::core::v1::Pod) -> Vec<String> {
    let mut notes = Vec::new();
    if has_local_storage(pod) {
        notes.push("the contents of its emptyDir volumes are lost".to_owned());
    }
    let is_daemon = daemon_set(pod).is_some();
    if !is_daemon && nodes::tolerates(pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref()), &cordon_taint()) {
        notes.push("it tolerates the cordon, so its successor may come straight back".to_owned());
    }
    notes
}

impl Draft {
    fn is_blocked(&self) -> bool {
        self.pods.iter().any(|(_, verdict, _)| matches!(verdict, Verdict::Blocks(_)))
    }

    /// Nothing leaves a node that cannot be drained.
    fn leaving(&self) -> Leaving {
        if self.is_blocked() { Leaving::default() } else { Leaving { tiers: self.tiers.clone() } }
    }

    fn finish(self, index: usize, outcome: &Outcome<'_>) -> NodePlan {
        let blocked = self.is_blocked();
        let pods = self.pods.into_iter().map(|(actor, verdict, notes)| {
            let fate = fate(actor, verdict, blocked, outcome);
            PodPlan { pod: outcome.world.actors[actor].key(), fate, evicted: outcome.told[actor].map(seconds), notes }
        });
        NodePlan { pods: pods.collect(), seconds: outcome.emptied[index].filter(|_| !blocked).map(seconds), name: self.node }
    }
}

fn fate(actor: usize, verdict: Verdict, blocked: bool, outcome: &Outcome<'_>) -> Fate {
    match verdict {
        Verdict::Blocks(why) => Fate::Refused { why },
        Verdict::Stays(why) => Fate::Stays { why: why.unwrap_or("nobody has to make it leave").to_owned() },
        Verdict::Goes(_) if blocked => Fate::Stays { why: "nothing leaves a node of which a pod is refused".to_owned() },
        Verdict::Goes(_) if outcome.world.actors[actor].state != State::Gone => Fate::Stuck,
        Verdict::Goes(_) if outcome.world.actors[actor].replacement == Replacement::Never => Fate::Ends,
        Verdict::Goes(_) => {
            let place = outcome.successor[actor].and_then(|successor| outcome.world.actors[successor].node);
            Fate::Moves { to: place.map(|place| nodes::name(outcome.world.places[place].node).to_owned()) }
        }
    }
}

fn find_waves(world: &World<'_>, leaving: &[Leaving]) -> (Vec<Vec<usize>>, bool) {
    let takes = leaving.iter().map(|node| {
        let mut takes: Vec<(usize, i32)> = Vec::new();
        for budget in node.actors().flat_map(|actor| world.actors[actor].budgets.iter().copied()) {
            match takes.iter_mut().find(|(known, _)| *known == budget) {
                Some((_, pods)) => *pods += 1,
                None => takes.push((budget, 1)),
            }
        }
        takes
    });
    let allowed: Vec<i32> = world.budgets.iter().map(|bound| bound.count.allowed().unwrap_or_default()).collect();
    waves::fewest(&takes.collect(), &allowed)
}

fn budgets(outcome: &Outcome<'_>, leaving: &[Leaving]) -> Vec<BudgetPlan> {
    let plans = outcome.world.budgets.iter().enumerate().map(|(index, bound)| {
        let leaves = |actor: &usize| outcome.world.actors[*actor].budgets.contains(&index);
        BudgetPlan {
            budget: bound.key(),
            needs: bound.count.figures.as_ref().ok().map(|figures| figures.desired),
            healthy: bound.count.healthy(),
            least_healthy: outcome.least[index],
            leaving: leaving.iter().flat_map(Leaving::actors).filter(leaves).count(),
            waiting: outcome.waited[index].1,
            waited_seconds: seconds(outcome.waited[index].0),
        }
    });
    plans.filter(|plan| plan.leaving > 0).collect()
}

fn stuck(outcome: &Outcome<'_>, leaving: &[Leaving]) -> Vec<Stuck> {
    let left = leaving.iter().flat_map(Leaving::actors).filter(|actor| outcome.world.actors[*actor].state != State::Gone);
    let mut stuck: Vec<Stuck> = left.map(|actor| proof::of(&outcome.world, actor)).collect();
    stuck.sort_by(|a, b| (a.reason, &a.pod).cmp(&(b.reason, &b.pod)));
    stuck
}

fn unplaced(outcome: &Outcome<'_>) -> Vec<Unplaced> {
    let waiting = outcome.world.actors.iter().filter(|actor| actor.stands_in && actor.state == State::Pending);
    waiting.map(|actor| Unplaced { pod: actor.key(), why: proof::refusals(&actor.refusals) }).collect()
}

#[cfg(test)]
mod tests;
