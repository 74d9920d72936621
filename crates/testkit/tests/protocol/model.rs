//! The protocol as a model for the checker: the steps, their effects, and the properties that must
//! hold after each of them.
//!
//! Every step is one atomic action of a process, the network or a person, so that any two of them
//! can occur in any order with a crash between them. The decisions (whether an eviction is granted,
//! what a status contains, what a charge writes) are made by the production code; see `rules.rs`.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use crate::rules::{self, Verdict};
use crate::world::{
    Budget, Controller, Eviction, Known, Left, Minute, Name, Pod, Status, Truth, World, Write,
};

/// Evictions disrupt no more pods than the budget allows.
pub(crate) const SAFE: &str = "an eviction never leaves fewer healthy pods than the budget demands";
/// The numbers of a status are consistent.
pub(crate) const SOUND: &str = "a status never allows more than it counts above its floor";
/// The charge and the deletion of an eviction happen both or not at all.
pub(crate) const ATOMIC: &str = "a budget pays only for pods that are being deleted";
/// Every `disruptedPods` entry is removed in the end.
pub(crate) const EXPIRES: &str = "no charge outlives its pod by more than two minutes";
/// An eviction deletes only the pod that its client meant.
pub(crate) const AIMED: &str = "only the pod that was meant is evicted";
/// Controllers reach a correct status when nothing else happens.
pub(crate) const SETTLES: &str = "a controller that has seen everything writes what is true";

/// How servers commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    /// One after the other, deciding inside the commit: servers on one embedded store.
    Serialised,
    /// Deciding before the commit and comparing versions in it: servers on a shared engine.
    Compared,
}

/// The fault that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server does not compare `observedGeneration`.
    IgnoresGeneration,
    /// The controller forgets which pods were evicted.
    ForgetsNotes,
    /// The server commits an earlier decision without comparing versions.
    CommitsUnseen,
    /// The budget is charged in one commit and the pod is deleted in another.
    PaysFirst,
    /// The server accepts a status that was computed from an older version of the budget.
    TakesOldStatus,
    /// Clients send no uid precondition.
    OmitsUid,
    /// The controller takes the deletion of any pod for that of the evicted one of its name, as
    /// upstream does.
    KnowsPodsByName,
    /// The controller changes the numbers beside an allowance that another count led to.
    AddsToAnyCount,
    /// Changes may take longer than two minutes to reach the controller.
    LagsForMinutes,
}

/// The size of the model, its kind of commits, and its built-in fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    pub(crate) pods: u8,
    pub(crate) floor: u8,
    pub(crate) clients: usize,
    pub(crate) controllers: usize,
    pub(crate) commits: Commits,
    pub(crate) left: Left,
    pub(crate) fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Send(Name),
    Serve(Eviction),
    Commit(Eviction),
    Lose(Eviction),
    End(Name),
    Create(Name),
    Delete(Name),
    Flip(Name),
    Raise,
    Lower,
    List(usize),
    Learn(usize),
    Plan(usize),
    PlanLate(usize),
    Land(usize),
    Crash(usize),
    LandOrphan,
    LoseOrphan,
    Minute,
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let pods = (0..self.pods)
            .map(|name| {
                (
                    name,
                    Pod {
                        uid: name,
                        ready: true,
                        leaving: false,
                    },
                )
            })
            .collect();
        let budget = Budget {
            generation: 1,
            floor: self.floor,
            status: Status::default(),
        };
        vec![World {
            minute: 0,
            pods,
            next_uid: self.pods,
            budget,
            controllers: vec![Controller::default(); self.controllers],
            evictions: Vec::new(),
            orphan: None,
            left: self.left,
            truth: Truth::default(),
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        let left = &world.left;
        for (&name, pod) in &world.pods {
            let asked = left.evictions > 0 && world.evictions.len() < self.clients;
            steps.extend((asked && !pod.leaving).then_some(Step::Send(name)));
            steps.extend(pod.leaving.then_some(Step::End(name)));
            steps.extend((left.deletions > 0 && !pod.leaving).then_some(Step::Delete(name)));
            steps.extend((left.flips > 0 && !pod.leaving).then_some(Step::Flip(name)));
        }
        if left.creations > 0 {
            // Names are interchangeable, so one free name represents all.
            steps.extend(
                (0..self.pods)
                    .find(|name| !world.pods.contains_key(name))
                    .map(Step::Create),
            );
        }
        for eviction in &world.evictions {
            steps.push(if matches!(eviction, Eviction::Sent { .. }) {
                Step::Serve(*eviction)
            } else {
                Step::Commit(*eviction)
            });
            steps.extend((left.crashes > 0).then_some(Step::Lose(*eviction)));
        }
        if left.edits > 0 {
            steps.extend((world.budget.floor > 0).then_some(Step::Lower));
            steps.extend((world.budget.floor < self.pods).then_some(Step::Raise));
        }
        for (place, controller) in world.controllers.iter().enumerate() {
            match (&controller.pods, &controller.write) {
                (None, _) => steps.push(Step::List(place)),
                (Some(_), None) => {
                    steps.push(Step::Plan(place));
                    steps.extend(
                        (left.late > 0 && controller.before.is_some())
                            .then_some(Step::PlanLate(place)),
                    );
                }
                (Some(_), Some(_)) => steps.push(Step::Land(place)),
            }
            steps.extend((!controller.news.is_empty()).then_some(Step::Learn(place)));
            steps.extend(
                (left.crashes > 0 && controller.pods.is_some()).then_some(Step::Crash(place)),
            );
        }
        if world.orphan.is_some() {
            steps.extend([Step::LandOrphan, Step::LoseOrphan]);
        }
        if left.minutes > 0
            && world
                .controllers
                .iter()
                .all(|controller| self.may_wait(world, controller))
        {
            steps.push(Step::Minute);
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        let done = self.take(&mut world, step);
        world.evictions.sort_unstable();
        done.then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SAFE, |_, world: &World| !world.truth.overdrawn),
            Property::always(SOUND, |_, world: &World| is_sound(&world.budget.status)),
            Property::always(ATOMIC, |_, world: &World| pays_for_deletions(world)),
            Property::always(EXPIRES, |_, world: &World| charges_expire(world)),
            Property::always(AIMED, |_, world: &World| !world.truth.strayed),
            Property::always(SETTLES, |protocol: &Self, world: &World| {
                protocol.settles(world)
            }),
        ]
    }
}

impl Protocol {
    /// Returns whether a minute may pass. A running controller receives a change within a minute
    /// and handles it within another.
    fn may_wait(&self, world: &World, controller: &Controller) -> bool {
        if controller.pods.is_none() {
            return true;
        }
        let lags = controller
            .news
            .front()
            .is_some_and(|news| news.minute < world.minute);
        let late = self.fault == Some(Fault::LagsForMinutes);
        (late || !lags)
            && controller.write.is_none()
            && self.plan(world, controller, &world.budget).is_none()
    }

    fn take(&self, world: &mut World, step: Step) -> bool {
        match step {
            Step::Send(name) => self.send(world, name),
            Step::Serve(eviction) => self.serve(world, eviction),
            Step::Commit(eviction) => self.commit(world, eviction),
            Step::Lose(eviction) => {
                world.left.crashes -= 1;
                forget(world, eviction)
            }
            Step::End(name) => end(world, name),
            Step::Create(name) => create(world, name),
            Step::Delete(name) => delete(world, name),
            Step::Flip(name) => flip(world, name),
            Step::Raise => edit(world, world.budget.floor + 1),
            Step::Lower => edit(world, world.budget.floor - 1),
            Step::List(place) => list(world, place),
            Step::Learn(place) => learn(world, place),
            Step::Plan(place) => {
                let budget = world.budget.clone();
                self.start_write(world, place, &budget)
            }
            Step::PlanLate(place) => {
                world.left.late -= 1;
                let before = world.controllers[place].before.take();
                before.is_some_and(|budget| self.start_write(world, place, &budget))
            }
            Step::Land(place) => {
                let write = world.controllers[place].write.take();
                let read = write.as_ref().map(|write| write.read.clone());
                world.controllers[place].before = read.filter(|_| world.left.late > 0);
                self.land(world, write)
            }
            Step::Crash(place) => crash(world, place),
            Step::LandOrphan => {
                let write = world.orphan.take();
                self.land(world, write)
            }
            Step::LoseOrphan => world.orphan.take().is_some(),
            Step::Minute => {
                world.minute += 1;
                world.left.minutes -= 1;
                true
            }
        }
    }

    fn send(&self, world: &mut World, name: Name) -> bool {
        let Some(pod) = world.pods.get(&name) else {
            return false;
        };
        let uid = (self.fault != Some(Fault::OmitsUid)).then_some(pod.uid);
        world.evictions.push(Eviction::Sent {
            name,
            uid,
            meant: pod.uid,
        });
        world.left.evictions -= 1;
        true
    }

    fn serve(&self, world: &mut World, eviction: Eviction) -> bool {
        let Eviction::Sent { name, uid, meant } = eviction else {
            return false;
        };
        forget(world, eviction);
        let Some(&pod) = world.pods.get(&name) else {
            return true;
        };
        let mut seen = world.budget.clone();
        if self.fault == Some(Fault::IgnoresGeneration) {
            seen.status.observed = seen.generation;
        }
        let charge = match rules::decide(name, pod, &seen, uid) {
            Verdict::Refused => return true,
            Verdict::Free => false,
            Verdict::Charged => true,
        };
        match (self.commits, self.fault) {
            (_, Some(Fault::PaysFirst)) if charge => {
                pay(world, name, pod);
                world.evictions.push(Eviction::Paid { name, uid: pod.uid });
            }
            (Commits::Serialised, None | Some(_)) if self.fault != Some(Fault::CommitsUnseen) => {
                grant(world, name, pod, meant, charge)
            }
            _ => world.evictions.push(Eviction::Decided {
                name,
                pod,
                meant,
                charge,
                current: true,
            }),
        }
        true
    }

    fn commit(&self, world: &mut World, eviction: Eviction) -> bool {
        forget(world, eviction);
        match eviction {
            Eviction::Sent { .. } => return false,
            Eviction::Decided {
                name,
                pod,
                meant,
                charge,
                current,
            } => {
                if current || self.fault == Some(Fault::CommitsUnseen) {
                    if world.pods.contains_key(&name) {
                        grant(world, name, pod, meant, charge);
                    }
                } else {
                    // The closure runs again on the current state.
                    world.evictions.push(Eviction::Sent {
                        name,
                        uid: Some(meant),
                        meant,
                    });
                }
            }
            Eviction::Paid { name, uid } => {
                if let Some(&pod) = world.pods.get(&name).filter(|pod| pod.uid == uid) {
                    remove(world, name, pod);
                }
            }
        }
        true
    }

    /// Returns the status that the controller computes from the budget `read`.
    fn plan(&self, world: &World, controller: &Controller, read: &Budget) -> Option<Write> {
        let pods = controller.pods.as_ref()?;
        let by_name = self.fault == Some(Fault::KnowsPodsByName);
        let known = if by_name {
            Known::default()
        } else {
            controller.known.clone()
        };
        let mut seen = read.clone();
        if self.fault == Some(Fault::ForgetsNotes) {
            seen.status.notes.clear();
        }
        let (status, counted) = rules::plan(&seen, pods, &known, world.minute)?;
        Some(Write {
            read: read.clone(),
            status,
            counted,
            current: *read == world.budget,
        })
    }

    fn start_write(&self, world: &mut World, place: usize, read: &Budget) -> bool {
        let write = self.plan(world, &world.controllers[place], read);
        world.controllers[place].write = write;
        world.controllers[place].write.is_some()
    }

    fn land(&self, world: &mut World, write: Option<Write>) -> bool {
        let Some(write) = write else { return false };
        let status = if write.current || self.fault == Some(Fault::TakesOldStatus) {
            Some(write.status)
        } else {
            let careless = self.fault == Some(Fault::AddsToAnyCount);
            rules::patched(&write.read, &write.status, &world.budget.status, careless)
        };
        if let Some(status) = status {
            world.put_status(status);
            world.truth.counted = write.counted;
        }
        true
    }

    /// Delivers all changes to a controller, lets it write, and checks the result.
    fn settles(&self, world: &World) -> bool {
        if self.fault == Some(Fault::ForgetsNotes) {
            return true;
        }
        let mut world = world.clone();
        for _ in 0..2 {
            let informed = Controller {
                pods: Some(world.pods.clone()),
                ..Controller::default()
            };
            let Some(write) = self.plan(&world, &informed, &world.budget) else {
                break;
            };
            world.put_status(write.status);
        }
        let status = &world.budget.status;
        let stands = |name: &Name| world.pods.get(name).is_some_and(|pod| !pod.leaving);
        let fresh = |at: Minute| world.minute < at + 2;
        let noted = |name: &Name| status.notes.get(name).is_some_and(|&at| fresh(at));
        let healthy = world
            .pods
            .iter()
            .filter(|(name, pod)| pod.is_healthy() && !noted(name))
            .count();
        let allowed = if world.pods.is_empty() {
            0
        } else {
            healthy.saturating_sub(world.budget.floor.into())
        };
        status.observed == world.budget.generation
            && usize::from(status.healthy) == healthy
            && usize::try_from(status.allowed) == Ok(allowed)
            && status
                .notes
                .iter()
                .all(|(name, at)| stands(name) && world.minute <= at + 2)
    }
}

fn forget(world: &mut World, eviction: Eviction) -> bool {
    let place = world.evictions.iter().position(|found| *found == eviction);
    place.map(|place| world.evictions.remove(place)).is_some()
}

/// The commit of an eviction: charges the budget if necessary and begins the deletion.
fn grant(world: &mut World, name: Name, pod: Pod, meant: u8, charge: bool) {
    if charge {
        pay(world, name, pod);
    }
    let Some(&found) = world.pods.get(&name) else {
        return;
    };
    world.truth.strayed |= found.uid != meant && !found.leaving;
    remove(world, name, found);
}

fn pay(world: &mut World, name: Name, pod: Pod) {
    let status = rules::charged(&world.budget.status, name, world.minute);
    world.truth.gone.remove(&name);
    world.put_status(status);
    world.truth.paid_for.insert(name, pod.uid);
    for controller in world
        .controllers
        .iter_mut()
        .filter(|controller| controller.pods.is_some())
    {
        // All earlier changes, and the first change after them.
        let news = u8::try_from(controller.news.len())
            .unwrap_or(u8::MAX)
            .saturating_add(1);
        controller.known.unsettled.insert(name, news);
        controller.known.served.remove(&name);
    }
}

/// Begins the deletion of an evicted pod and checks the properties.
fn remove(world: &mut World, name: Name, pod: Pod) {
    world.put_pod(
        name,
        Some(Pod {
            leaving: true,
            ..pod
        }),
    );
    if pod.is_healthy() {
        // Pods that were lost otherwise, and are still counted, are not lost by the eviction.
        let unnoticed = world.truth.counted.intersection(&world.truth.lost).count();
        world.truth.overdrawn |= world.healthy() + unnoticed < usize::from(world.budget.floor);
    }
}

fn end(world: &mut World, name: Name) -> bool {
    if world.budget.status.notes.contains_key(&name) {
        let minute = world.minute;
        world.truth.gone.entry(name).or_insert(minute);
    }
    world.put_pod(name, None);
    true
}

fn create(world: &mut World, name: Name) -> bool {
    let uid = world.next_uid;
    world.next_uid += 1;
    world.left.creations -= 1;
    world.put_pod(
        name,
        Some(Pod {
            uid,
            ready: true,
            leaving: false,
        }),
    );
    true
}

fn delete(world: &mut World, name: Name) -> bool {
    let Some(&pod) = world.pods.get(&name) else {
        return false;
    };
    world.left.deletions -= 1;
    world.truth.lost.insert(pod.uid);
    world.put_pod(
        name,
        Some(Pod {
            leaving: true,
            ..pod
        }),
    );
    true
}

fn flip(world: &mut World, name: Name) -> bool {
    let Some(&pod) = world.pods.get(&name) else {
        return false;
    };
    world.left.flips -= 1;
    if pod.ready {
        world.truth.lost.insert(pod.uid);
    } else {
        world.truth.lost.remove(&pod.uid);
    }
    world.put_pod(
        name,
        Some(Pod {
            ready: !pod.ready,
            ..pod
        }),
    );
    true
}

fn edit(world: &mut World, floor: u8) -> bool {
    world.left.edits -= 1;
    world.budget.floor = floor;
    world.budget.generation += 1;
    world.new_version();
    true
}

fn list(world: &mut World, place: usize) -> bool {
    let (pods, since) = (world.pods.clone(), world.minute);
    let controller = &mut world.controllers[place];
    (controller.pods, controller.since) = (Some(pods), since);
    true
}

fn learn(world: &mut World, place: usize) -> bool {
    let noted: BTreeSet<Name> = world.budget.status.notes.keys().copied().collect();
    let controller = &mut world.controllers[place];
    let (Some(news), Some(pods)) = (controller.news.pop_front(), &mut controller.pods) else {
        return false;
    };
    match news.pod {
        Some(pod) => pods.insert(news.name, pod),
        None => pods.remove(&news.name),
    };
    let known = &mut controller.known;
    known.unsettled.values_mut().for_each(|left| *left -= 1);
    known.unsettled.retain(|_, left| *left > 0);
    if news.pod.is_none_or(|pod| pod.leaving)
        && noted.contains(&news.name)
        && !known.unsettled.contains_key(&news.name)
    {
        known.served.insert(news.name);
    }
    true
}

fn crash(world: &mut World, place: usize) -> bool {
    world.left.crashes -= 1;
    let dead = std::mem::take(&mut world.controllers[place]);
    world.orphan = dead.write.or(world.orphan.take());
    true
}

fn is_sound(status: &Status) -> bool {
    let above = i16::from(status.healthy) - i16::from(status.desired);
    status.allowed >= 0 && i16::from(status.allowed) <= above.max(0)
}

fn pays_for_deletions(world: &World) -> bool {
    world.truth.paid_for.iter().all(|(name, uid)| {
        world
            .pods
            .get(name)
            .is_none_or(|pod| pod.uid != *uid || pod.leaving)
    })
}

/// Two minutes, and one that the controller may take to act, after the deletion of the pod or the
/// start of the controller.
fn charges_expire(world: &World) -> bool {
    let Some(since) = world
        .controllers
        .iter()
        .filter(|controller| controller.pods.is_some())
        .map(|alive| alive.since)
        .min()
    else {
        return true;
    };
    world
        .truth
        .gone
        .values()
        .all(|gone| world.minute <= (*gone).max(since) + 3)
}
