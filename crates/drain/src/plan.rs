//! What draining these nodes would meet, said before anything is touched: which pods move, stay,
//! are refused or lose something; whether the rest of the cluster can take them; how long it takes
//! and which budgets make it so; what would be stuck for good, and why.
//!
//! Pure: a [`Snapshot`] in, a [`Plan`] out. The whole drain is played through on a copy of the
//! state (`world.rs`, `play.rs`), with budgets judged as the server judges them, controllers that
//! replace what left, and a placement that fits together. How long pods take to start is what the
//! snapshot shows of their siblings (`pace.rs`); how long they take to end is an assumption that
//! the caller makes, beside the worst case of their whole grace.
//!
//! Read next: `play.rs`, then `waves.rs` and `proof.rs`.

mod pace;
mod play;
mod proof;
mod render;
mod report;
mod waves;
mod world;

use k8s_openapi::api::core::v1::Pod;
use kinds::selector::LabelSelector;
use rules::fit::cordon_taint;
use rules::nodes;

use crate::cluster::Snapshot;
use crate::filter::{Allowed, Daemon, Verdict, daemon_set, has_local_storage, judge};
use crate::tier::Tiers;
use crate::{health, order};
pub use report::{BudgetPlan, Fate, NodePlan, OutOfOrder, Plan, PodPlan, Reason, Stuck, Unplaced};

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
    let drafts: Vec<Draft> = options
        .nodes
        .iter()
        .map(|node| draft(&world, snapshot, node, options))
        .collect();
    let leaving: Vec<Leaving> = drafts.iter().map(Draft::leaving).collect();
    let (waves, fewest_waves) = find_waves(&world, &leaving);
    let blocked = drafts.iter().any(Draft::is_blocked);
    let outcome = play(
        world.clone(),
        &leaving,
        &Order::Window(options.parallel.max(1)),
    );
    let in_waves = play(world, &leaving, &Order::Waves(waves.clone()));
    let patient = Options {
        stop_seconds: f64::MAX,
        ..options.clone()
    };
    let worst = play(
        World::build(snapshot, &options.nodes, &patient),
        &leaving,
        &Order::Window(options.parallel.max(1)),
    );
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
        order: drafts
            .iter()
            .filter_map(|draft| draft.order(&outcome.world, snapshot, &options.tiers))
            .collect(),
        waves: waves
            .iter()
            .map(|wave| wave.iter().map(name).collect())
            .collect(),
        fewest_waves,
        unread: snapshot.unread.clone(),
        nodes: drafts
            .into_iter()
            .enumerate()
            .map(|(index, draft)| draft.finish(index, &outcome))
            .collect(),
    })
}

/// Which of these pods of one node would find no other if all of them went at once, whatever
/// budgets say.
pub(crate) fn homeless(snapshot: &Snapshot, node: &str, pods: &[&Pod]) -> Vec<Unplaced> {
    let nodes = vec![node.to_owned()];
    let mut world = World::build(snapshot, &nodes, &Options::of(nodes.clone()));
    let leaves = |actor: &world::Actor<'_>| {
        pods.iter().any(|pod| std::ptr::eq(*pod, actor.pod))
            && actor.replacement != Replacement::Never
    };
    let leaving: Vec<usize> = (0..world.actors.len())
        .filter(|actor| leaves(&world.actors[*actor]))
        .collect();
    leaving
        .iter()
        .for_each(|actor| world.set(*actor, State::Gone));
    let lost = leaving.into_iter().filter_map(|actor| {
        let successor = world.replace(actor);
        world.place(successor, 0);
        let successor = &world.actors[successor];
        (successor.state == State::Pending).then(|| Unplaced {
            pod: successor.key(),
            why: proof::refusals(&successor.refusals),
        })
    });
    lost.collect()
}

impl Options {
    /// A plan for these nodes with nothing allowed and nothing chosen, and the assumptions of
    /// `exeunt plan`.
    #[must_use]
    pub fn of(nodes: Vec<String>) -> Self {
        Self {
            nodes,
            allowed: Allowed::default(),
            pods: None,
            tiers: Tiers::default(),
            parallel: 1,
            grace_seconds: None,
            start_seconds: 10.0,
            stop_seconds: 1.0,
        }
    }
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
    let (mut pods, mut tiers) = (
        Vec::new(),
        std::collections::BTreeMap::<usize, Vec<usize>>::new(),
    );
    for (index, actor) in world.actors.iter().enumerate() {
        let selected = options
            .pods
            .as_ref()
            .is_none_or(|selector| selector.matches(&actor.pod.metadata.labels));
        if health::node_of(actor.pod) != Some(node) || !selected {
            continue;
        }
        let daemon = daemon(snapshot, actor.pod);
        let verdict = judge(actor.pod, &daemon, options.allowed, snapshot.now);
        if matches!(verdict, Verdict::Goes(_)) {
            tiers
                .entry(options.tiers.of(actor.pod))
                .or_default()
                .push(index);
        }
        pods.push((index, verdict, notes(actor.pod)));
    }
    Draft {
        node: node.to_owned(),
        pods,
        tiers: tiers.into_values().collect(),
    }
}

/// A file may lack DaemonSets: then they are taken to be there.
fn daemon(snapshot: &Snapshot, pod: &Pod) -> Daemon {
    let Some(name) = daemon_set(pod) else {
        return Daemon::None;
    };
    let unread = snapshot
        .unread
        .iter()
        .any(|unread| unread.resource == "daemonsets.apps");
    let found = snapshot.daemon_sets.iter().any(|set| {
        set.metadata.name.as_deref() == Some(name)
            && set.metadata.namespace.as_deref().unwrap_or("default") == health::namespace(pod)
    });
    if found || unread {
        Daemon::There
    } else {
        Daemon::Gone(format!("daemonsets.apps {name:?} not found"))
    }
}

fn notes(pod: &Pod) -> Vec<String> {
    let mut notes = Vec::new();
    if has_local_storage(pod) {
        notes.push("the contents of its emptyDir volumes are lost".to_owned());
    }
    let is_daemon = daemon_set(pod).is_some();
    if !is_daemon
        && nodes::tolerates(
            pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref()),
            &cordon_taint(),
        )
    {
        notes.push("it tolerates the cordon, so its successor may come straight back".to_owned());
    }
    notes
}

impl Draft {
    fn is_blocked(&self) -> bool {
        self.pods
            .iter()
            .any(|(_, verdict, _)| matches!(verdict, Verdict::Blocks(_)))
    }

    /// Nothing leaves a node that cannot be drained.
    fn leaving(&self) -> Leaving {
        if self.is_blocked() {
            Leaving::default()
        } else {
            Leaving {
                tiers: self.tiers.clone(),
            }
        }
    }

    /// What leaves too early with these tiers.
    fn order(&self, world: &World<'_>, snapshot: &Snapshot, tiers: &Tiers) -> Option<OutOfOrder> {
        let leaving: Vec<&Pod> = self
            .tiers
            .iter()
            .flatten()
            .map(|actor| world.actors[*actor].pod)
            .collect();
        let needs = order::needs(snapshot, &leaving);
        let key = |pod: &Pod| format!("{}/{}", health::namespace(pod), health::name(pod));
        let broken = needs
            .iter()
            .filter(|need| need.is_broken(tiers))
            .map(|need| {
                let users: Vec<String> = need.users.iter().map(|user| key(user)).collect();
                format!(
                    "{} {}: it has to go after {}",
                    key(need.provider),
                    need.what,
                    users.join(", ")
                )
            });
        let because: Vec<String> = broken.collect();
        (!because.is_empty()).then(|| OutOfOrder {
            node: self.node.clone(),
            because,
            last: order::last(&needs, &leaving, tiers),
        })
    }

    fn finish(self, index: usize, outcome: &Outcome<'_>) -> NodePlan {
        let blocked = self.is_blocked();
        let pods = self.pods.into_iter().map(|(actor, verdict, notes)| {
            let fate = fate(actor, verdict, blocked, outcome);
            PodPlan {
                pod: outcome.world.actors[actor].key(),
                fate,
                evicted: outcome.told[actor].map(seconds),
                notes,
            }
        });
        NodePlan {
            pods: pods.collect(),
            seconds: outcome.emptied[index].filter(|_| !blocked).map(seconds),
            name: self.node,
        }
    }
}

fn fate(actor: usize, verdict: Verdict, blocked: bool, outcome: &Outcome<'_>) -> Fate {
    match verdict {
        Verdict::Blocks(why) => Fate::Refused { why },
        Verdict::Stays(why) => Fate::Stays {
            why: why.unwrap_or("nobody has to make it leave").to_owned(),
        },
        Verdict::Goes(_) if blocked => Fate::Stays {
            why: "nothing leaves a node of which a pod is refused".to_owned(),
        },
        Verdict::Goes(_) if outcome.world.actors[actor].state != State::Gone => Fate::Stuck,
        Verdict::Goes(_) if outcome.world.actors[actor].replacement == Replacement::Never => {
            Fate::Ends
        }
        Verdict::Goes(_) => {
            let place =
                outcome.successor[actor].and_then(|successor| outcome.world.actors[successor].node);
            Fate::Moves {
                to: place.map(|place| nodes::name(outcome.world.places[place].node).to_owned()),
            }
        }
    }
}

fn find_waves(world: &World<'_>, leaving: &[Leaving]) -> (Vec<Vec<usize>>, bool) {
    let takes = leaving.iter().map(|node| {
        let mut takes: Vec<(usize, i32)> = Vec::new();
        for budget in node
            .actors()
            .flat_map(|actor| world.actors[actor].budgets.iter().copied())
        {
            match takes.iter_mut().find(|(known, _)| *known == budget) {
                Some((_, pods)) => *pods += 1,
                None => takes.push((budget, 1)),
            }
        }
        takes
    });
    let allowed: Vec<i32> = world
        .budgets
        .iter()
        .map(|bound| bound.count.allowed().unwrap_or_default())
        .collect();
    waves::fewest(&takes.collect(), &allowed)
}

fn budgets(outcome: &Outcome<'_>, leaving: &[Leaving]) -> Vec<BudgetPlan> {
    let plans = outcome
        .world
        .budgets
        .iter()
        .enumerate()
        .map(|(index, bound)| {
            let leaves = |actor: &usize| outcome.world.actors[*actor].budgets.contains(&index);
            BudgetPlan {
                budget: bound.key(),
                needs: bound
                    .count
                    .figures
                    .as_ref()
                    .ok()
                    .map(|figures| figures.desired),
                healthy: bound.count.healthy(),
                least_healthy: outcome.least[index],
                leaving: leaving
                    .iter()
                    .flat_map(Leaving::actors)
                    .filter(leaves)
                    .count(),
                waiting: outcome.waited[index].1,
                waited_seconds: seconds(outcome.waited[index].0),
            }
        });
    plans.filter(|plan| plan.leaving > 0).collect()
}

fn stuck(outcome: &Outcome<'_>, leaving: &[Leaving]) -> Vec<Stuck> {
    let left = leaving
        .iter()
        .flat_map(Leaving::actors)
        .filter(|actor| outcome.world.actors[*actor].state != State::Gone);
    let mut stuck: Vec<Stuck> = left.map(|actor| proof::of(&outcome.world, actor)).collect();
    stuck.sort_by(|a, b| (a.reason, &a.pod).cmp(&(b.reason, &b.pod)));
    stuck
}

fn unplaced(outcome: &Outcome<'_>) -> Vec<Unplaced> {
    let waiting = outcome
        .world
        .actors
        .iter()
        .filter(|actor| actor.stands_in && actor.state == State::Pending);
    waiting
        .map(|actor| Unplaced {
            pod: actor.key(),
            why: proof::refusals(&actor.refusals),
        })
        .collect()
}

#[cfg(test)]
mod tests;
