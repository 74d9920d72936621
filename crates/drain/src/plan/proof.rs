//! Why a drain that is stuck stays stuck: for each pod that is left, what it waits for, and why
//! nothing can bring that about.
//!
//! The play has come to its end, so nothing starts and nothing ends any more; what is left to say
//! is why each pod that would be needed is not healthy.

use super::play::{Blocker, blocker};
use super::world::{State, World};
use super::{Reason, Stuck};
use crate::budget::{Uncounted, name as budget_name};
use crate::health;

/// What keeps this pod for good.
pub(super) fn of(world: &World<'_>, actor: usize) -> Stuck {
    let left = &world.actors[actor];
    let (reason, because) = match blocker(world, actor) {
        _ if matches!(left.state, State::Leaving(None)) => {
            (Reason::NeverGone, never_gone(world, actor))
        }
        Some(Blocker::Several(budgets)) => {
            let names: Vec<&str> = budgets
                .iter()
                .map(|budget| budget_name(world.budgets[*budget].count.budget))
                .collect();
            (
                Reason::SeveralBudgets,
                vec![format!(
                    "the server refuses to evict a pod of several budgets: {}",
                    names.join(", ")
                )],
            )
        }
        Some(Blocker::Uncounted(budget)) => {
            let bound = &world.budgets[budget];
            let why = match &bound.count.figures {
                Err(Uncounted::Fails(why)) => format!(
                    "budget {} allows nothing, since it cannot be counted: {why}",
                    bound.key()
                ),
                Err(Uncounted::Unseen(why)) => {
                    format!("budget {} cannot be judged: {why}", bound.key())
                }
                Ok(_) => String::new(),
            };
            (Reason::Uncounted, vec![why])
        }
        Some(Blocker::Budget(budget)) => exhausted(world, budget),
        None => (
            Reason::Waits,
            vec!["it waits for pods of its node that must go before it".to_owned()],
        ),
    };
    let budget = left
        .budgets
        .first()
        .map(|budget| world.budgets[*budget].key());
    Stuck {
        pod: left.key(),
        reason,
        budget,
        because,
    }
}

fn never_gone(world: &World<'_>, actor: usize) -> Vec<String> {
    let pod = world.actors[actor].pod;
    let finalizers = pod.metadata.finalizers.clone().unwrap_or_default();
    if finalizers.is_empty() {
        vec![format!(
            "it is being deleted, and node {} does not report that it has ended",
            health::node_of(pod).unwrap_or("?")
        )]
    } else {
        vec![format!(
            "it is being deleted, and finalizers hold it: {}",
            finalizers.join(", ")
        )]
    }
}

/// The arithmetic, and every pod of the budget that does not help.
fn exhausted(world: &World<'_>, budget: usize) -> (Reason, Vec<String>) {
    let bound = &world.budgets[budget];
    let key = bound.key();
    let Ok(figures) = &bound.count.figures else {
        return (Reason::Uncounted, Vec::new());
    };
    let (desired, healthy) = (figures.desired, world.healthy(budget));
    if figures.expected == 0 {
        return (
            Reason::NeverAllows,
            vec![format!(
                "budget {key} allows nothing, since the controllers of its pods want none"
            )],
        );
    }
    if bound.count.allowed_at_best() == Some(0) {
        let why = format!(
            "budget {key} wants {desired} healthy pods, and there are never more than {desired}: it allows no eviction, whoever waits"
        );
        return (Reason::NeverAllows, vec![why]);
    }
    let mut because = vec![format!(
        "budget {key} needs more than {desired} healthy pods to let one go, and has {healthy}"
    )];
    because.extend(world.covered(budget).filter_map(|other| {
        let whose = if other.stands_in {
            format!("the successor of {}", other.key())
        } else {
            other.key()
        };
        Some(match &other.state {
            State::Pending if other.refusals.is_empty() => format!("{whose} has no node"),
            State::Pending => format!("{whose} finds no node: {}", refusals(&other.refusals)),
            State::Unready(why) => format!("{whose} is not ready: {why}"),
            State::Leaving(None) => format!("{whose} is being deleted and does not end"),
            _ => return None,
        })
    }));
    because.push(
        "nothing starts and nothing ends any more, so this does not change by waiting".to_owned(),
    );
    (Reason::Exhausted, because)
}

/// Reasons with the number of nodes, as the scheduler says it.
pub(super) fn refusals(refusals: &[(String, usize)]) -> String {
    let nodes: usize = refusals.iter().map(|(_, count)| count).sum();
    let told: Vec<String> = refusals
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if nodes == 0 {
        "there are no nodes".to_owned()
    } else {
        format!("0/{nodes} nodes are available: {}", told.join(", "))
    }
}
