//! The objects of one kind, with indexes by name, owner, label and one extra value. Pure.
//!
//! Most changes of an object touch none of the indexed values. Then only the object is exchanged.
//!
//! The indexer does not know the type of its objects. It is compiled once instead of once for each
//! kind, which took a sixth of the compile time of this crate.
//!
//! An object lives in a slot, and the indexes lead to slots instead of names: a budget is counted
//! after each change of one of its pods, and finding each pod by name cost more than counting it.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use crate::meta::{ObjectKey, controller_of};
use crate::selector::Selector;

/// An object of a kind that the caller knows.
pub(super) trait AnyObject: Any + Send + Sync {
    fn metadata(&self) -> &ObjectMeta;
}

impl<K: Resource + Send + Sync + 'static> AnyObject for K {
    fn metadata(&self) -> &ObjectMeta {
        self.meta()
    }
}

/// Returns an object as its type. All objects of an indexer have the same type.
pub(super) fn typed<K: Send + Sync + 'static>(object: Arc<dyn AnyObject>) -> Arc<K> {
    let object: Arc<dyn Any + Send + Sync> = object;
    object
        .downcast()
        .expect("an indexer has objects of one kind")
}

/// Returns a reference to an object as its type.
pub(super) fn typed_ref<K: 'static>(object: &dyn AnyObject) -> &K {
    let object: &dyn Any = object;
    object
        .downcast_ref()
        .expect("an indexer has objects of one kind")
}

/// Returns the value of the extra index.
type ExtraValue = Box<dyn Fn(&dyn AnyObject) -> Option<String> + Send + Sync>;

pub(super) struct Indexer {
    slots: Slots,
    /// By namespace and name.
    by_name: BTreeMap<String, ByName>,
    by_controller: HashMap<String, BTreeMap<ObjectKey, Slot>>,
    /// Objects without a controlling owner, by namespace.
    without_controller: HashMap<String, ByName>,
    by_extra: HashMap<String, BTreeMap<ObjectKey, Slot>>,
    extra: ExtraValue,
    by_label: Option<LabelIndex>,
}

/// Objects of one namespace by name.
type ByName = BTreeMap<String, Slot>;

/// Objects by namespace, label key and label value.
type LabelIndex = HashMap<String, HashMap<String, HashMap<String, ByName>>>;

/// The place of an object in [`Slots`].
#[derive(Clone, Copy)]
struct Slot(usize);

/// The objects. An object keeps its slot until it is removed.
#[derive(Default)]
struct Slots {
    objects: Vec<Option<Arc<dyn AnyObject>>>,
    free: Vec<Slot>,
}

impl Slots {
    fn get(&self, slot: Slot) -> &Arc<dyn AnyObject> {
        self.objects[slot.0]
            .as_ref()
            .expect("an index leads to slots in use only")
    }

    fn add(&mut self, object: Arc<dyn AnyObject>) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.objects[slot.0] = Some(object);
            return slot;
        }
        self.objects.push(Some(object));
        Slot(self.objects.len() - 1)
    }

    /// Puts a newer state of an object in the place of an older one, which is returned.
    fn replace(&mut self, slot: Slot, object: Arc<dyn AnyObject>) -> Option<Arc<dyn AnyObject>> {
        self.objects[slot.0].replace(object)
    }

    fn remove(&mut self, slot: Slot) -> Option<Arc<dyn AnyObject>> {
        self.free.push(slot);
        self.objects[slot.0].take()
    }
}

impl Default for Indexer {
    fn default() -> Self {
        Self {
            slots: Slots::default(),
            by_name: BTreeMap::new(),
            by_controller: HashMap::new(),
            without_controller: HashMap::new(),
            by_extra: HashMap::new(),
            extra: Box::new(|_| None),
            by_label: None,
        }
    }
}

impl Indexer {
    /// Sets what the extra index is made from. Must be called before objects are added.
    pub(super) fn index_extra<K: 'static>(&mut self, extra: fn(&K) -> Option<String>) {
        self.extra = Box::new(move |object| extra(typed_ref(object)));
    }

    /// Turns the index by label on. Must be called before objects are added.
    pub(super) fn index_labels(&mut self) {
        self.by_label = Some(LabelIndex::default());
    }

    fn slot(&self, namespace: &str, name: &str) -> Option<Slot> {
        self.by_name.get(namespace)?.get(name).copied()
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<dyn AnyObject>> {
        Some(self.slots.get(self.slot(namespace, name)?))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<dyn AnyObject>> {
        let slots = self.by_name.values().flat_map(BTreeMap::values);
        slots.map(|slot| self.slots.get(*slot))
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.values().map(BTreeMap::len).sum()
    }

    pub(super) fn in_namespace(
        &self,
        namespace: &str,
    ) -> impl Iterator<Item = &Arc<dyn AnyObject>> {
        self.present(self.by_name.get(namespace))
    }

    /// The objects of one entry of an index.
    fn present<'a, K: 'a>(
        &'a self,
        entry: Option<&'a BTreeMap<K, Slot>>,
    ) -> impl Iterator<Item = &'a Arc<dyn AnyObject>> {
        let slots = entry.into_iter().flat_map(BTreeMap::values);
        slots.map(|slot| self.slots.get(*slot))
    }

    pub(super) fn selected(&self, namespace: &str, selector: &Selector) -> Vec<Arc<dyn AnyObject>> {
        let candidates = match self.candidates(namespace, selector) {
            Candidates::All => self.by_name.get(namespace),
            Candidates::To(objects) => Some(objects),
            Candidates::Nothing => None,
        };
        let candidates = self.present(candidates);
        if self.by_label.is_some() && selector.is_one_label() {
            // The index has compared the label already.
            return candidates.cloned().collect();
        }
        candidates
            .filter(|object| selector.matches(object.metadata().labels.as_ref()))
            .cloned()
            .collect()
    }

    pub(super) fn adoptable(
        &self,
        namespace: &str,
        selector: &Selector,
    ) -> Vec<Arc<dyn AnyObject>> {
        let Some(without_controller) = self.without_controller.get(namespace) else {
            return Vec::new();
        };
        let candidates = match self.candidates(namespace, selector) {
            Candidates::To(objects) if objects.len() < without_controller.len() => objects,
            Candidates::Nothing => return Vec::new(),
            _ => without_controller,
        };
        let wanted = |object: &&Arc<dyn AnyObject>| {
            controller_of(object.metadata()).is_none()
                && selector.matches(object.metadata().labels.as_ref())
        };
        let candidates = self.present(Some(candidates));
        candidates.filter(wanted).cloned().collect()
    }

    pub(super) fn controlled_by(&self, uid: &str) -> Vec<Arc<dyn AnyObject>> {
        self.present(self.by_controller.get(uid)).cloned().collect()
    }

    pub(super) fn at(&self, extra: &str) -> Vec<Arc<dyn AnyObject>> {
        self.present(self.by_extra.get(extra)).cloned().collect()
    }

    /// The smallest known set of objects that contains all that match the selector.
    fn candidates(&self, namespace: &str, selector: &Selector) -> Candidates<'_> {
        let Some(labels) = &self.by_label else {
            return Candidates::All;
        };
        let with = |(key, value): (&str, &str)| labels.get(namespace)?.get(key)?.get(value);
        let mut fewest = Candidates::All;
        for objects in selector.demanded().map(with) {
            fewest = match (objects, fewest) {
                (None, _) => return Candidates::Nothing,
                (Some(objects), Candidates::To(known)) if known.len() <= objects.len() => {
                    Candidates::To(known)
                }
                (Some(objects), _) => Candidates::To(objects),
            };
        }
        fewest
    }

    pub(super) fn insert(
        &mut self,
        key: ObjectKey,
        object: Arc<dyn AnyObject>,
    ) -> Option<Arc<dyn AnyObject>> {
        if let Some(slot) = self.slot(&key.namespace, &key.name) {
            let known = self.slots.get(slot);
            if known.metadata().labels == object.metadata().labels
                && controller_of(known.metadata()).map(|owner| &owner.uid)
                    == controller_of(object.metadata()).map(|owner| &owner.uid)
                && (self.extra)(&**known) == (self.extra)(&*object)
            {
                return self.slots.replace(slot, object);
            }
        }
        let old = self.remove(&key);
        let slot = self.slots.add(Arc::clone(&object));
        match controller_of(object.metadata()) {
            Some(owner) => self
                .by_controller
                .entry(owner.uid.clone())
                .or_default()
                .insert(key.clone(), slot),
            None => self
                .without_controller
                .entry(key.namespace.clone())
                .or_default()
                .insert(key.name.clone(), slot),
        };
        if let Some(extra) = (self.extra)(&*object) {
            let entry = self.by_extra.entry(extra).or_default();
            entry.insert(key.clone(), slot);
        }
        if let Some(labels) = &mut self.by_label
            && let Some(own) = object
                .metadata()
                .labels
                .as_ref()
                .filter(|own| !own.is_empty())
        {
            let labels = labels.entry(key.namespace.clone()).or_default();
            for (label, value) in own {
                labels
                    .entry(label.clone())
                    .or_default()
                    .entry(value.clone())
                    .or_default()
                    .insert(key.name.clone(), slot);
            }
        }
        self.by_name
            .entry(key.namespace)
            .or_default()
            .insert(key.name, slot);
        old
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Arc<dyn AnyObject>> {
        let objects = self.by_name.get_mut(&key.namespace)?;
        let slot = objects.remove(&key.name)?;
        if objects.is_empty() {
            self.by_name.remove(&key.namespace);
        }
        let old = self.slots.remove(slot)?;
        match controller_of(old.metadata()) {
            Some(owner) => forget(&mut self.by_controller, &owner.uid, key),
            None => forget(&mut self.without_controller, &key.namespace, &key.name),
        }
        if let Some(extra) = (self.extra)(&*old) {
            forget(&mut self.by_extra, &extra, key);
        }
        if let Some(spaces) = &mut self.by_label
            && let Some(labels) = spaces.get_mut(&key.namespace)
        {
            for (label, value) in old.metadata().labels.iter().flatten() {
                if let Some(values) = labels.get_mut(label) {
                    forget(values, value, &key.name);
                    if values.is_empty() {
                        labels.remove(label);
                    }
                }
            }
            if labels.is_empty() {
                spaces.remove(&key.namespace);
            }
        }
        Some(old)
    }
}

/// Where the objects that match a selector can be.
enum Candidates<'a> {
    /// Anywhere in the namespace.
    All,
    /// Among these objects.
    To(&'a ByName),
    /// Nowhere: no object has a label that the selector requires.
    Nothing,
}

fn forget<T, Q>(index: &mut HashMap<String, BTreeMap<T, Slot>>, entry: &str, key: &Q)
where
    T: Ord + std::borrow::Borrow<Q>,
    Q: Ord + ?Sized,
{
    if let Some(keys) = index.get_mut(entry) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::{name, tests::pod};

    fn objects() -> Indexer {
        let mut objects = Indexer::default();
        objects.index_extra(|pod: &Pod| pod.spec.as_ref()?.node_name.clone());
        objects.index_labels();
        objects
    }

    fn put(objects: &mut Indexer, name: &str, labels: Value, owner: Option<&str>, node: &str) {
        let owners: Vec<Value> = owner
            .iter()
            .map(|uid| {
                json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid,
                "uid": uid, "controller": true})
            })
            .collect();
        let pod = pod(
            json!({"metadata": {"name": name, "namespace": "n", "labels": labels,
                "ownerReferences": owners}, "spec": {"nodeName": node}}),
        );
        objects.insert(ObjectKey::new("n", name), Arc::new(pod));
    }

    fn names(pods: &[Arc<dyn AnyObject>]) -> Vec<&str> {
        pods.iter().map(|pod| name(typed_ref(&**pod))).collect()
    }

    fn selector(json: Value) -> Selector {
        Selector::compile(Some(&serde_json::from_value(json).expect("a selector")))
            .expect("compiles")
    }

    #[test]
    fn objects_are_found_by_their_present_values_only() {
        let mut pods = objects();
        put(
            &mut pods,
            "a",
            json!({"app": "web", "tier": "x"}),
            Some("rs"),
            "node-1",
        );
        put(&mut pods, "b", json!({"app": "web"}), None, "node-1");
        put(&mut pods, "c", json!({"app": "db"}), None, "node-2");
        let web = selector(json!({"matchLabels": {"app": "web"}}));
        let both = selector(json!({"matchLabels": {"app": "web", "tier": "x"}}));
        let any = selector(json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}));
        assert_eq!(names(&pods.selected("n", &web)), ["a", "b"]);
        assert_eq!(names(&pods.selected("n", &both)), ["a"]);
        assert_eq!(names(&pods.selected("n", &any)), ["a", "b", "c"]);
        assert_eq!(names(&pods.selected("m", &any)), Vec::<&str>::new());
        assert_eq!(names(&pods.adoptable("n", &web)), ["b"]);
        assert_eq!(names(&pods.adoptable("n", &any)), ["b", "c"]);
        assert_eq!(names(&pods.controlled_by("rs")), ["a"]);
        assert_eq!(names(&pods.at("node-1")), ["a", "b"]);

        put(&mut pods, "a", json!({"app": "db"}), None, "node-2");
        assert_eq!(names(&pods.selected("n", &web)), ["b"]);
        assert_eq!(names(&pods.selected("n", &both)), Vec::<&str>::new());
        assert_eq!(names(&pods.controlled_by("rs")), Vec::<&str>::new());
        assert_eq!(names(&pods.at("node-2")), ["a", "c"]);
        let count = pods.slots.objects.len();
        assert_eq!(count, 3, "a changed object takes the slot that it had");
    }

    #[test]
    fn removed_objects_leave_no_trace_in_the_indexes() {
        let mut pods = objects();
        put(&mut pods, "a", json!({"app": "web"}), Some("rs"), "node-1");
        put(&mut pods, "b", json!({"app": "web"}), None, "node-1");
        for name in ["a", "b"] {
            assert!(pods.remove(&ObjectKey::new("n", name)).is_some());
        }
        assert_eq!(pods.len(), 0);
        assert_eq!(pods.slots.free.len(), pods.slots.objects.len());
        assert!(pods.slots.objects.iter().all(Option::is_none));
        assert!(
            pods.by_name.is_empty()
                && pods.by_controller.is_empty()
                && pods.without_controller.is_empty()
                && pods.by_extra.is_empty()
        );
        assert!(pods.by_label.is_some_and(|labels| labels.is_empty()));
    }
}
