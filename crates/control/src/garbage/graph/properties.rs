//! Random owner graphs, random deletions and watches that lag, against a simple rule: an object is
//! deleted if a client deletes it, or if it has owners and each of them is deleted or never
//! existed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Objects of even and of odd number are of different kinds, whose watches are not in step.
const KINDS: usize = 2;

#[derive(Clone, Debug)]
struct Object {
    /// The owners, and whether the object blocks them.
    owners: Vec<(usize, bool)>,
    foreground: bool,
    deleting: bool,
}

#[derive(Clone, Copy, Debug)]
enum Policy {
    Background,
    Foreground,
}

/// What happens next. Numbers choose among what is possible.
#[derive(Clone, Debug)]
enum GraphStep {
    Create(usize),
    Delete(usize, Policy),
    Deliver(usize),
    Reconcile(usize),
}

/// The API server, the watches and the garbage collector.
#[derive(Default)]
struct World {
    objects: BTreeMap<usize, Object>,
    events: [VecDeque<(usize, Option<Object>)>; KINDS],
    graph: Graph,
    queue: BTreeSet<String>,
}

fn uid(number: usize) -> String {
    format!("uid-{number}")
}

fn number(uid: &str) -> usize {
    uid.trim_start_matches("uid-").parse().expect("a number")
}

fn node(number: usize, object: &Object) -> GraphNode {
    let owners: Vec<_> = object
        .owners
        .iter()
        .map(|(owner, blocks)| {
            json!({"apiVersion": "v1", "kind": "Pod", "name": uid(*owner), "uid": uid(*owner),
                "blockOwnerDeletion": blocks})
        })
        .collect();
    let finalizers: &[&str] = if object.foreground {
        &[FOREGROUND]
    } else {
        &[]
    };
    let meta = json!({
        "name": uid(number), "namespace": "n", "uid": uid(number), "ownerReferences": owners,
            "finalizers": finalizers,
        "deletionTimestamp": object.deleting.then_some("2026-01-01T00:00:00Z"),
    });
    let kind = Arc::new(DeletableResource {
        resource: ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()),
        namespaced: true,
        supports_delete_collection: true,
    });
    GraphNode::new(&kind, &serde_json::from_value(meta).expect("metadata"))
}

impl World {
    fn publish(&mut self, number: usize) {
        let state = self.objects.get(&number).cloned();
        self.events[number % KINDS].push_back((number, state));
    }

    fn delete(&mut self, number: usize, policy: Policy) {
        let Some(object) = self.objects.get_mut(&number) else {
            return;
        };
        match policy {
            Policy::Foreground if !object.deleting => {
                object.deleting = true;
                object.foreground = true;
            }
            Policy::Foreground => return,
            // A second deletion does not take the finalizer away.
            Policy::Background if object.foreground => return,
            Policy::Background => {
                self.objects.remove(&number);
            }
        }
        self.publish(number);
    }

    fn deliver(&mut self, stream: usize) {
        let Some((number, state)) = self.events[stream].pop_front() else {
            return;
        };
        let wake = match state {
            Some(object) => self.graph.insert(node(number, &object)),
            None => self.graph.remove(&uid(number)).1,
        };
        self.queue.extend(wake);
    }

    /// One pass of the collector, as `Collector::reconcile` makes it.
    fn reconcile(&mut self, key: &str) {
        let Some(node) = self.graph.get(key) else {
            return;
        };
        let unknown = self.graph.unknown_owners(&node).into_iter();
        let absent: BTreeSet<String> = unknown
            .map(|owner| owner.uid)
            .filter(|owner| !self.objects.contains_key(&number(owner)))
            .collect();
        let own = number(key);
        match self.graph.plan(&node, &absent) {
            GarbageAction::Nothing => {}
            GarbageAction::Reconcile(uids) => self.queue.extend(uids),
            GarbageAction::Delete(policy) => {
                self.assert_no_owner_is_alive(own);
                let policy = match policy {
                    PropagationPolicy::Foreground => Policy::Foreground,
                    _ => Policy::Background,
                };
                self.delete(own, policy);
            }
            GarbageAction::UnblockAndDelete => {
                self.assert_no_owner_is_alive(own);
                if let Some(object) = self.objects.get_mut(&own) {
                    for (_, blocks) in &mut object.owners {
                        *blocks = false;
                    }
                    self.publish(own);
                    self.delete(own, Policy::Foreground);
                }
            }
            GarbageAction::DropOwners(uids) => {
                if let Some(object) = self.objects.get_mut(&own) {
                    object
                        .owners
                        .retain(|(owner, _)| !uids.contains(&uid(*owner)));
                    self.publish(own);
                }
            }
            GarbageAction::Orphan(_) => panic!("nobody orphans here"),
            GarbageAction::Release => {
                self.objects.remove(&own);
                self.publish(own);
            }
        }
    }

    /// The collector deletes an object only if each owner is gone or waits for it.
    fn assert_no_owner_is_alive(&self, number: usize) {
        for (owner, _) in self
            .objects
            .get(&number)
            .iter()
            .flat_map(|object| &object.owners)
        {
            if let Some(owner) = self.objects.get(owner) {
                assert!(
                    owner.deleting && owner.foreground,
                    "{number} is deleted though an owner is alive: {owner:?}"
                );
            }
        }
    }

    /// Delivers all events and reconciles all keys.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if let Some(key) = self.queue.pop_first() {
                self.reconcile(&key);
            } else if let Some(stream) = (0..KINDS).find(|stream| !self.events[*stream].is_empty())
            {
                self.deliver(stream);
            } else {
                return;
            }
        }
        panic!("the collector never comes to rest: {:?}", self.objects);
    }
}

/// The numbers of the objects that must be left: a fixpoint over the owners that objects had when
/// they were created.
fn survivors(created: &BTreeMap<usize, Vec<usize>>, deleted: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut dead = deleted.clone();
    loop {
        let is_dead = |owner: &usize| dead.contains(owner) || !created.contains_key(owner);
        let dies: Vec<usize> = created
            .iter()
            .filter(|(number, owners)| {
                !dead.contains(number) && !owners.is_empty() && owners.iter().all(is_dead)
            })
            .map(|(number, _)| *number)
            .collect();
        if dies.is_empty() {
            return created
                .keys()
                .copied()
                .filter(|number| !dead.contains(number))
                .collect();
        }
        dead.extend(dies);
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::Background), Just(Policy::Foreground)]
}

fn owners(of: usize, count: usize) -> impl Strategy<Value = Vec<BTreeMap<usize, bool>>> {
    let owners = proptest::collection::btree_map(0..of, any::<bool>(), 0..3);
    proptest::collection::vec(owners, count)
}

fn step() -> impl Strategy<Value = GraphStep> {
    prop_oneof![
        3 => (0..8_usize).prop_map(GraphStep::Create),
        2 => (0..8_usize, policy()).prop_map(|(number, policy)| GraphStep::Delete(number, policy)),
        4 => (0..KINDS).prop_map(GraphStep::Deliver),
        4 => any::<usize>().prop_map(GraphStep::Reconcile),
    ]
}

fn collect(owners: &[BTreeMap<usize, bool>], steps: Vec<GraphStep>) {
    let mut world = World::default();
    let (mut created, mut deleted) = (BTreeMap::new(), BTreeSet::new());
    for step in steps {
        match step {
            GraphStep::Create(number) => {
                if created.contains_key(&number) {
                    continue;
                }
                // Owner 8 never exists. The others exist already: an object that is created before
                // its owner is deleted rightly.
                let own: Vec<_> = owners[number]
                    .iter()
                    .map(|(owner, blocks)| (*owner, *blocks))
                    .filter(|(owner, _)| *owner == 8 || created.contains_key(owner))
                    .collect();
                created.insert(number, own.iter().map(|(owner, _)| *owner).collect());
                world.objects.insert(
                    number,
                    Object {
                        owners: own,
                        foreground: false,
                        deleting: false,
                    },
                );
                world.publish(number);
            }
            GraphStep::Delete(number, policy) => {
                if world.objects.contains_key(&number) {
                    deleted.insert(number);
                    world.delete(number, policy);
                }
            }
            GraphStep::Deliver(stream) => world.deliver(stream),
            GraphStep::Reconcile(choice) => {
                let key = world
                    .queue
                    .iter()
                    .nth(choice % world.queue.len().max(1))
                    .cloned();
                if let Some(key) = key {
                    world.queue.remove(&key);
                    world.reconcile(&key);
                }
            }
        }
    }
    world.settle();
    let left: BTreeSet<usize> = world.objects.keys().copied().collect();
    assert_eq!(left, survivors(&created, &deleted));
}

fn collect_circle(owners: &[BTreeMap<usize, bool>], policy: Policy, first: usize) {
    let mut world = World::default();
    let mut created = BTreeMap::new();
    for (number, owners) in owners.iter().enumerate() {
        let own: Vec<_> = owners
            .iter()
            .map(|(owner, blocks)| (*owner, *blocks))
            .filter(|(owner, _)| *owner != number)
            .collect();
        created.insert(
            number,
            own.iter().map(|(owner, _)| *owner).collect::<Vec<_>>(),
        );
        world.objects.insert(
            number,
            Object {
                owners: own,
                foreground: false,
                deleting: false,
            },
        );
    }
    for number in 0..4 {
        world.publish(number);
    }
    world.settle();
    world.delete(first, policy);
    world.settle();
    let left: BTreeSet<usize> = world.objects.keys().copied().collect();
    assert_eq!(left, survivors(&created, &BTreeSet::from([first])));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn the_collector_deletes_exactly_the_objects_whose_owners_are_all_deleted(
        owners in owners(9, 8),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        collect(&owners, steps);
    }

    #[test]
    fn owners_that_own_each_other_are_deleted_too(
        owners in owners(4, 4),
        policy in policy(),
        first in 0..4_usize,
    ) {
        collect_circle(&owners, policy, first);
    }
}
