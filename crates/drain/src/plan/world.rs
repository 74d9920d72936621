//! The copy of the cluster in which a plan is played through: small, indexed, and only what a drain
//! can change.
//!
//! A pod becomes an [`Actor`]; its successors are actors too, made when its controller would make
//! them. Time is in milliseconds since the snapshot.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod};
use rules::resources::{Amounts, allocatable, requests};
use rules::selector::Selector;
use rules::{affinity, fit, nodes};

use super::Options;
use super::pace::Pace;
use crate::budget::{self, Count};
use crate::cluster::Snapshot;
use crate::health::{self, Trouble};

/// Milliseconds since the snapshot.
pub(super) type Millis = i64;

/// What a pod is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No node takes it yet.
    Pending,
    /// It starts, and is ready at this time.
    Starting(Millis),
    /// It is ready.
    Ready,
    /// It is not ready, and nothing here says that it will be: why.
    Unready(String),
    /// It ends, and is gone at this time; never when there is none.
    Leaving(Option<Millis>),
    /// It ran to its end.
    Finished,
    /// It is not there any more.
    Gone,
}

impl State {
    /// It uses room on its node.
    fn uses_room(&self) -> bool {
        !matches!(self, Self::Gone | Self::Finished | Self::Pending)
    }
}

/// When a controller makes up for a pod that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// As soon as the pod is told to go.
    AtOnce,
    /// When the pod is gone, and all before it are ready (`OrderedReady` of a StatefulSet) or not.
    WhenGone {
        /// The number at the end of its name, where order counts.
        ordinal: Option<u32>,
    },
    /// Nobody does.
    Never,
}

/// A pod, or one that stands in for it later.
#[derive(Clone, Debug)]
pub(super) struct Actor<'a> {
    /// The pod, or the one whose template this one has.
    pub(super) pod: &'a Pod,
    /// True when it does not exist yet.
    pub(super) stands_in: bool,
    pub(super) node: Option<usize>,
    pub(super) state: State,
    /// The uid of its controller; empty for none.
    pub(super) owner: &'a str,
    pub(super) replacement: Replacement,
    pub(super) budgets: Vec<usize>,
    pub(super) start: Millis,
    pub(super) stop: Millis,
    pub(super) requests: Amounts,
    volumes: Vec<&'a PersistentVolume>,
    /// Why no node took it when that was last tried.
    pub(super) refusals: Vec<(String, usize)>,
}

impl Actor<'_> {
    pub(super) fn key(&self) -> String {
        format!("{}/{}", health::namespace(self.pod), health::name(self.pod))
    }
}

/// A node with room.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) node: &'a Node,
    pub(super) has: Amounts,
    /// No new pods: cordoned before, or by the drain.
    pub(super) closed: bool,
}

/// A budget and what it covers.
#[derive(Clone, Debug)]
pub(super) struct Bound<'a> {
    pub(super) count: Count<'a>,
    selector: Option<Selector>,
    /// True when unready pods may always go.
    pub(super) always_allows_unready: bool,
}

/// Everything that moves.
#[derive(Clone, Debug)]
pub(super) struct World<'a> {
    pub(super) places: Vec<Place<'a>>,
    pub(super) actors: Vec<Actor<'a>>,
    pub(super) budgets: Vec<Bound<'a>>,
    /// Some pod demands something of others, so that placing one has to look at all.
    affinities: bool,
    rooms: Vec<Room>,
    /// By budget.
    healthy: Vec<i32>,
}

impl<'a> World<'a> {
    /// The cluster as the snapshot has it, with the nodes of the drain closed.
    pub(super) fn build(snapshot: &'a Snapshot, drained: &[String], options: &Options) -> Self {
        let pace = Pace::observe(snapshot, options);
        let is_drained = |node: &Node| drained.iter().any(|name| name == nodes::name(node));
        let places: Vec<Place<'a>> = snapshot
            .nodes
            .iter()
            .map(|node| Place {
                node,
                has: allocatable(node),
                closed: nodes::is_cordoned(node)
                    || is_drained(node)
                    || !health::node_is_ready(node),
            })
            .collect();
        let at: HashMap<&str, usize> = places
            .iter()
            .enumerate()
            .map(|(index, place)| (nodes::name(place.node), index))
            .collect();
        let budgets: Vec<Bound<'a>> = snapshot
            .budgets
            .iter()
            .map(|budget| Bound::of(snapshot, budget))
            .collect();
        let mut actors = Vec::with_capacity(snapshot.pods.len());
        for pod in &snapshot.pods {
            let covers = |bound: &Bound<'_>| bound.covers(pod);
            actors.push(Actor {
                pod,
                stands_in: false,
                node: health::node_of(pod).and_then(|name| at.get(name).copied()),
                state: state(snapshot, pod, &pace),
                owner: health::controller_of(pod)
                    .map(|owner| owner.uid.as_str())
                    .unwrap_or_default(),
                replacement: replacement(snapshot, pod),
                budgets: budgets
                    .iter()
                    .enumerate()
                    .filter(|(_, bound)| covers(bound))
                    .map(|(index, _)| index)
                    .collect(),
                start: pace.start(pod),
                stop: pace.stop(pod),
                requests: requests(pod),
                volumes: volumes(snapshot, pod),
                refusals: Vec::new(),
            });
        }
        let affinities = snapshot.pods.iter().any(affinity::demands);
        let (rooms, healthy) = (vec![Room::default(); places.len()], vec![0; budgets.len()]);
        let mut world = Self {
            places,
            actors,
            budgets,
            affinities,
            rooms,
            healthy,
        };
        for actor in 0..world.actors.len() {
            // From nowhere into the present state, so that the counts begin right.
            let state = std::mem::replace(&mut world.actors[actor].state, State::Gone);
            world.set(actor, state);
        }
        world
    }

    /// Pods that a budget counts as healthy.
    pub(super) fn healthy(&self, budget: usize) -> i32 {
        self.healthy[budget]
    }

    /// Everything that a budget covers and that is not gone.
    pub(super) fn covered(&self, budget: usize) -> impl Iterator<Item = &Actor<'a>> {
        self.actors
            .iter()
            .filter(move |actor| actor.state != State::Gone && actor.budgets.contains(&budget))
    }

    /// Puts an actor into a state, and keeps the counts that depend on it.
    pub(super) fn set(&mut self, actor: usize, state: State) {
        let (before, after) = (self.actors[actor].state.clone(), state);
        for budget in &self.actors[actor].budgets {
            self.healthy[*budget] +=
                i32::from(after == State::Ready) - i32::from(before == State::Ready);
        }
        let node = self.actors[actor].node;
        match (node, before.uses_room(), after.uses_room()) {
            (Some(node), false, true) => {
                self.rooms[node].enter(actor, &self.actors[actor].requests)
            }
            (Some(node), true, false) => {
                self.rooms[node].leave(actor, &self.actors[actor].requests)
            }
            _ => {}
        }
        self.actors[actor].state = after;
    }

    /// Makes the one who stands in for this pod; it waits for a node.
    pub(super) fn replace(&mut self, actor: usize) -> usize {
        let mut successor = self.actors[actor].clone();
        successor.stands_in = true;
        successor.node = None;
        successor.state = State::Pending;
        self.actors.push(successor);
        self.actors.len() - 1
    }

    /// Finds a node for a pod and puts it there; it starts at `now`. Leaves the reasons with it
    /// when there is none.
    pub(super) fn place(&mut self, actor: usize, now: Millis) {
        match self.choose(actor) {
            Ok(place) => {
                self.actors[actor].node = Some(place);
                self.actors[actor].refusals.clear();
                self.set(
                    actor,
                    State::Starting(now.saturating_add(self.actors[actor].start)),
                );
            }
            Err(refusals) => self.actors[actor].refusals = refusals,
        }
    }

    fn choose(&self, actor: usize) -> Result<usize, Vec<(String, usize)>> {
        let wanted = &self.actors[actor];
        let neighbours = if self.affinities {
            self.neighbours(wanted)
        } else {
            Vec::new()
        };
        let ground = |place: &Place<'a>| affinity::SpreadNode {
            node: place.node,
            cordoned: place.closed,
        };
        let grounds: Vec<affinity::SpreadNode<'_>> = if self.affinities {
            self.places.iter().map(ground).collect()
        } else {
            Vec::new()
        };
        let mut refusals: Vec<(String, usize)> = Vec::new();
        let mut best: Option<((usize, i64), usize)> = None;
        for index in 0..self.places.len() {
            match self.check(wanted, index, &grounds, &neighbours) {
                Ok(()) => {
                    let score = (self.siblings(wanted, index), self.load(wanted, index));
                    if best.is_none_or(|(known, _)| score < known) {
                        best = Some((score, index));
                    }
                }
                Err(reason) => match refusals.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, count)) => *count += 1,
                    None => refusals.push((reason, 1)),
                },
            }
        }
        refusals.sort();
        best.map(|(_, index)| index).ok_or(refusals)
    }

    fn check(
        &self,
        wanted: &Actor<'_>,
        index: usize,
        grounds: &[affinity::SpreadNode<'_>],
        neighbours: &[affinity::PlacedPod<'_>],
    ) -> Result<(), String> {
        let (place, room) = (&self.places[index], &self.rooms[index]);
        let first =
            |refusal: fit::Unschedulable| refusal.reasons.into_iter().next().unwrap_or_default();
        if place.closed {
            return Err("node(s) were unschedulable".to_owned());
        }
        fit::admits(place.node, wanted.pod).map_err(first)?;
        if wanted
            .volumes
            .iter()
            .any(|volume| !reaches(volume, place.node))
        {
            return Err("node(s) didn't match PersistentVolume's node affinity".to_owned());
        }
        fit::has_ports(
            room.actors.iter().map(|other| self.actors[*other].pod),
            wanted.pod,
        )
        .map_err(first)?;
        fit::has_room(&place.has, &room.used, room.actors.len(), &wanted.requests)
            .map_err(first)?;
        if self.affinities {
            affinity::agree(wanted.pod, place.node, grounds, neighbours).map_err(first)
        } else {
            Ok(())
        }
    }

    /// Those whose place matters to this pod: all of them when it demands something of others, else
    /// only those that demand something themselves.
    fn neighbours(&self, wanted: &Actor<'_>) -> Vec<affinity::PlacedPod<'a>> {
        let all = affinity::demands(wanted.pod);
        let placed = self
            .actors
            .iter()
            .filter(|actor| actor.state.uses_room() && (all || affinity::demands(actor.pod)));
        let placed = placed.filter_map(|actor| {
            let leaving = matches!(actor.state, State::Leaving(_));
            Some(affinity::PlacedPod {
                pod: actor.pod,
                node: self.places[actor.node?].node,
                leaving,
            })
        });
        placed.collect()
    }

    fn siblings(&self, wanted: &Actor<'_>, place: usize) -> usize {
        let is_sibling =
            |other: &&usize| !wanted.owner.is_empty() && self.actors[**other].owner == wanted.owner;
        self.rooms[place].actors.iter().filter(is_sibling).count()
    }

    fn load(&self, wanted: &Actor<'_>, place: usize) -> i64 {
        let of = |name: &str| {
            let (has, used) = (
                self.places[place].has.get(name),
                self.rooms[place].used.get(name) + wanted.requests.get(name),
            );
            if has > 0 {
                used.saturating_mul(1000) / has
            } else {
                0
            }
        };
        of("cpu") + of("memory")
    }
}

/// Who is on a node, and what they use of it.
#[derive(Clone, Debug, Default)]
struct Room {
    actors: Vec<usize>,
    used: Amounts,
}

impl Room {
    fn enter(&mut self, actor: usize, requests: &Amounts) {
        self.actors.push(actor);
        self.used.add(requests);
    }

    fn leave(&mut self, actor: usize, requests: &Amounts) {
        self.actors.retain(|other| *other != actor);
        self.used.subtract(requests);
    }
}

impl<'a> Bound<'a> {
    fn of(
        snapshot: &'a Snapshot,
        budget: &'a k8s_openapi::api::policy::v1::PodDisruptionBudget,
    ) -> Self {
        let count = budget::count(snapshot, budget);
        let policy = budget
            .spec
            .as_ref()
            .and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
        Self {
            always_allows_unready: policy == Some("AlwaysAllow"),
            selector: budget::selector(budget).ok(),
            count,
        }
    }

    fn covers(&self, pod: &Pod) -> bool {
        budget::namespace(self.count.budget) == health::namespace(pod)
            && self
                .selector
                .as_ref()
                .is_some_and(|selector| selector.matches(pod.metadata.labels.as_ref()))
    }

    pub(super) fn key(&self) -> String {
        format!(
            "{}/{}",
            budget::namespace(self.count.budget),
            budget::name(self.count.budget)
        )
    }
}

fn state(snapshot: &Snapshot, pod: &Pod, pace: &Pace<'_>) -> State {
    if health::is_terminating(pod) {
        let held = pod
            .metadata
            .finalizers
            .as_ref()
            .is_some_and(|finalizers| !finalizers.is_empty());
        let lost = health::unready(snapshot, pod)
            .is_some_and(|unready| unready.trouble == Trouble::NodeLost);
        let end = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        let left = end.map_or(0, |end| pace.since(end).saturating_neg().max(0));
        return State::Leaving((!held && !lost).then_some(left.min(pace.stop(pod))));
    }
    if health::is_finished(pod) {
        return State::Finished;
    }
    let Some(unready) = health::unready(snapshot, pod) else {
        return State::Ready;
    };
    match unready.trouble {
        Trouble::Unschedulable => State::Pending,
        Trouble::Starting if health::node_of(pod).is_none() => State::Pending,
        Trouble::Starting => State::Starting(
            (pace.start(pod) - unready.since.map_or(0, |since| pace.since(since))).max(1_000),
        ),
        _ => State::Unready(unready.why),
    }
}

/// How the pod's controller makes up for it. A custom controller is taken to wait, which is the
/// slower way.
fn replacement(snapshot: &Snapshot, pod: &Pod) -> Replacement {
    let Some(owner) = health::controller_of(pod) else {
        return Replacement::Never;
    };
    match owner.kind.as_str() {
        "ReplicaSet" | "ReplicationController" => Replacement::AtOnce,
        "DaemonSet" | "Node" => Replacement::Never,
        "Job" => {
            let job = snapshot
                .jobs
                .iter()
                .find(|job| job.metadata.uid.as_deref() == Some(&owner.uid));
            let policy = job.and_then(|job| job.spec.as_ref()?.pod_replacement_policy.as_deref());
            if policy == Some("Failed") {
                Replacement::WhenGone { ordinal: None }
            } else {
                Replacement::AtOnce
            }
        }
        "StatefulSet" => {
            let set = snapshot
                .stateful_sets
                .iter()
                .find(|set| set.metadata.uid.as_deref() == Some(&owner.uid));
            let policy = set.and_then(|set| set.spec.as_ref()?.pod_management_policy.as_deref());
            let number = health::name(pod)
                .rsplit('-')
                .next()
                .and_then(|number| number.parse().ok());
            Replacement::WhenGone {
                ordinal: number.filter(|_| policy != Some("Parallel")),
            }
        }
        _ => Replacement::WhenGone { ordinal: None },
    }
}

/// The volumes that the pod's claims are bound to.
fn volumes<'a>(snapshot: &'a Snapshot, pod: &Pod) -> Vec<&'a PersistentVolume> {
    let claims = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
        .filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims
        .filter_map(|claim| {
            let found = snapshot.claims.iter().find(|known| {
                known.metadata.name.as_deref() == Some(&claim.claim_name)
                    && known.metadata.namespace.as_deref() == Some(health::namespace(pod))
            })?;
            let volume = found.spec.as_ref()?.volume_name.as_deref()?;
            snapshot
                .volumes
                .iter()
                .find(|known| known.metadata.name.as_deref() == Some(volume))
        })
        .collect()
}

fn reaches(volume: &PersistentVolume, node: &Node) -> bool {
    let required = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    required.is_none_or(|required| nodes::matches(required, node))
}
