//! Random owner graphs, random deletions and watches that lag, against a simple rule: an object is
//! deleted if a client deletes it, or if it has owners and each of them is deleted or never
//! existed. A reference with the uid of an object but another kind, namespace or name refers to
//! nothing that exists. A deletion that orphans removes the references to the object.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Objects of even and of odd number are of different kinds, whose watches are not in step.
const KINDS: usize = 2;

/// How an object refers to an owner.
#[derive(Clone, Copy, Debug)]
struct Reference {
    owner: usize,
    blocks: bool,
    mistake: Mistake,
}

/// What is wrong with a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    Kind,
    Group,
    Name,
}

#[derive(Clone, Debug)]
struct Object {
    owners: Vec<Reference>,
    foreground: bool,
    orphan: bool,
    deleting: bool,
}

impl Object {
    fn new(owners: Vec<Reference>) -> Self {
        Self {
            owners,
            foreground: false,
            orphan: false,
            deleting: false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Policy {
    Background,
    Foreground,
    Orphan,
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
    let kind = Arc::new(DeletableResource {
        resource: ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()),
        namespaced: true,
        supports_delete_collection: true,
    });
    GraphNode::new(&kind, &metadata(number, object))
}

fn metadata(number: usize, object: &Object) -> ObjectMeta {
    let owners: Vec<_> = object
        .owners
        .iter()
        .map(|reference| {
            let mistake = reference.mistake;
            let version = if mistake == Mistake::Group {
                "apps/v1"
            } else {
                "v1"
            };
            let kind = if mistake == Mistake::Kind {
                "Node"
            } else {
                "Pod"
            };
            let suffix = if mistake == Mistake::Name {
                "-other"
            } else {
                ""
            };
            json!({"apiVersion": version, "kind": kind, "uid": uid(reference.owner),
                "name": format!("{}{suffix}", uid(reference.owner)),
                "blockOwnerDeletion": reference.blocks})
        })
        .collect();
    let mut finalizers = Vec::new();
    finalizers.extend(object.foreground.then_some(FOREGROUND));
    finalizers.extend(object.orphan.then_some(ORPHAN));
    let meta = json!({
        "name": uid(number), "namespace": "n", "uid": uid(number), "ownerReferences": owners,
            "finalizers": finalizers,
        "deletionTimestamp": object.deleting.then_some("2026-01-01T00:00:00Z"),
    });
    serde_json::from_value(meta).expect("metadata")
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
            Policy::Orphan if !object.deleting => {
                object.deleting = true;
                object.orphan = true;
            }
            Policy::Foreground | Policy::Orphan => return,
            // A second deletion does not take the finalizer away.
            Policy::Background if object.foreground || object.orphan => return,
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
        let looked_up = unknown
            .map(|(place, owner)| (place, self.look_up(&owner)))
            .collect();
        let own = number(key);
        let live = self.objects.get(&own);
        let is_current = live.is_some_and(|live| node.has_same_owners(&metadata(own, live)));
        match self.graph.plan(&node, &looked_up) {
            GarbageAction::Nothing => {}
            GarbageAction::Delete(_) | GarbageAction::UnblockAndDelete if !is_current => {}
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
                    for reference in &mut object.owners {
                        reference.blocks = false;
                    }
                    self.publish(own);
                    self.delete(own, Policy::Foreground);
                }
            }
            GarbageAction::DropOwners(uids) => self.drop_owners(own, &uids),
            GarbageAction::Orphan(dependents) => {
                let gone = BTreeSet::from([key.to_owned()]);
                for dependent in dependents {
                    self.drop_owners(number(&dependent.uid), &gone);
                }
                self.objects.remove(&own);
                self.publish(own);
            }
            GarbageAction::Release => {
                self.objects.remove(&own);
                self.publish(own);
            }
        }
    }

    fn drop_owners(&mut self, from: usize, uids: &BTreeSet<String>) {
        if let Some(object) = self.objects.get_mut(&from) {
            let owners = &mut object.owners;
            owners.retain(|reference| !uids.contains(&uid(reference.owner)));
            self.publish(from);
        }
    }

    /// The answer of the API server, which finds objects by kind, namespace and name.
    fn look_up(&self, owner: &OwnerReference) -> OwnerLookup {
        let right = owner.kind == "Pod" && owner.api_version == "v1" && owner.name == owner.uid;
        match self.objects.get(&number(&owner.uid)).filter(|_| right) {
            None => OwnerLookup::Absent,
            Some(owner) if owner.deleting && owner.foreground => OwnerLookup::Waiting,
            Some(_) => OwnerLookup::Present,
        }
    }

    /// The collector deletes an object only if each owner is gone or waits for it.
    fn assert_no_owner_is_alive(&self, number: usize) {
        for reference in self
            .objects
            .get(&number)
            .iter()
            .flat_map(|object| &object.owners)
            .filter(|reference| reference.mistake == Mistake::None)
        {
            if let Some(owner) = self.objects.get(&reference.owner) {
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
fn survivors(
    created: &BTreeMap<usize, Vec<Reference>>,
    deleted: &BTreeSet<usize>,
) -> BTreeSet<usize> {
    let mut dead = deleted.clone();
    loop {
        let is_dead = |reference: &Reference| {
            reference.mistake != Mistake::None
                || dead.contains(&reference.owner)
                || !created.contains_key(&reference.owner)
        };
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

/// Deletes one object such that its dependents are orphaned, in a world at rest.
fn orphan(owners: &[Owners], first: usize) {
    let mut world = World::default();
    let mut created = BTreeMap::new();
    for (number, owners) in owners.iter().enumerate() {
        let own: Vec<_> = references(owners)
            .into_iter()
            .filter(|reference| reference.owner != number)
            .collect();
        created.insert(number, own.clone());
        world.objects.insert(number, Object::new(own));
        world.publish(number);
    }
    world.settle();
    let before = survivors(&created, &BTreeSet::new());
    if !before.contains(&first) {
        return;
    }
    world.delete(first, Policy::Orphan);
    world.settle();
    let left: BTreeSet<usize> = world.objects.keys().copied().collect();
    let expected = before
        .into_iter()
        .filter(|number| *number != first)
        .collect();
    assert_eq!(left, expected, "all but the deleted object stay");
}

fn mistake() -> impl Strategy<Value = Mistake> {
    prop_oneof![
        6 => Just(Mistake::None),
        1 => Just(Mistake::Kind),
        1 => Just(Mistake::Group),
        1 => Just(Mistake::Name),
    ]
}

type Owners = BTreeMap<usize, (bool, Mistake)>;

fn owners(of: usize, count: usize) -> impl Strategy<Value = Vec<Owners>> {
    let owners = proptest::collection::btree_map(0..of, (any::<bool>(), mistake()), 0..3);
    proptest::collection::vec(owners, count)
}

fn references(owners: &Owners) -> Vec<Reference> {
    let owners = owners.iter();
    owners
        .map(|(owner, (blocks, mistake))| Reference {
            owner: *owner,
            blocks: *blocks,
            mistake: *mistake,
        })
        .collect()
}

fn step() -> impl Strategy<Value = GraphStep> {
    prop_oneof![
        3 => (0..8_usize).prop_map(GraphStep::Create),
        2 => (0..8_usize, policy()).prop_map(|(number, policy)| GraphStep::Delete(number, policy)),
        4 => (0..KINDS).prop_map(GraphStep::Deliver),
        4 => any::<usize>().prop_map(GraphStep::Reconcile),
    ]
}

fn collect(owners: &[Owners], steps: Vec<GraphStep>) {
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
                let own: Vec<_> = references(&owners[number])
                    .into_iter()
                    .filter(|one| one.owner == 8 || created.contains_key(&one.owner))
                    .collect();
                created.insert(number, own.clone());
                world.objects.insert(number, Object::new(own));
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

fn collect_circle(owners: &[Owners], policy: Policy, first: usize) {
    let mut world = World::default();
    let mut created = BTreeMap::new();
    for (number, owners) in owners.iter().enumerate() {
        let own: Vec<_> = references(owners)
            .into_iter()
            .filter(|reference| reference.owner != number)
            .collect();
        created.insert(number, own.clone());
        world.objects.insert(number, Object::new(own));
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
    fn dependents_of_an_orphaning_owner_stay(owners in owners(4, 4), first in 0..4_usize) {
        orphan(&owners, first);
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
