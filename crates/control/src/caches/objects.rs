//! Objects of one kind and the ways to find them: by name, by owner, by place and by label. Pure.
//!
//! Most changes of an object touch none of what it is found by; then only the object is exchanged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kube::Resource;

use crate::meta::{Key, controller_of};
use crate::selector::Selector;

pub(super) struct Objects<K> {
    /// By namespace and name.
    by_name: BTreeMap<String, BTreeMap<String, Arc<K>>>,
    by_controller: HashMap<String, BTreeSet<Key>>,
    /// Names of objects that nobody manages, by namespace.
    loose: HashMap<String, BTreeSet<String>>,
    by_place: HashMap<String, BTreeSet<Key>>,
    place: fn(&K) -> Option<String>,
    by_label: Option<Labels>,
}

/// Names by namespace, label and value.
type Labels = HashMap<String, HashMap<String, HashMap<String, BTreeSet<String>>>>;

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
            by_controller: HashMap::new(),
            loose: HashMap::new(),
            by_place: HashMap::new(),
            place: |_| None,
            by_label: None,
        }
    }
}

impl<K: Resource> Objects<K> {
    /// To be called while there are none.
    pub(super) fn index_places(&mut self, place: fn(&K) -> Option<String>) {
        self.place = place;
    }

    /// To be called while there are none.
    pub(super) fn index_labels(&mut self) {
        self.by_label = Some(Labels::default());
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.by_name.get(namespace)?.get(name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<K>> {
        self.by_name.values().flat_map(BTreeMap::values)
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.values().map(BTreeMap::len).sum()
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<K>> {
        self.by_name
            .get(namespace)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    pub(super) fn selected(&self, namespace: &str, selector: &Selector) -> Vec<Arc<K>> {
        let matches = |object: &&Arc<K>| selector.matches(object.meta().labels.as_ref());
        match self.narrowed(namespace, selector) {
            Narrowed::All => self
                .in_namespace(namespace)
                .filter(matches)
                .cloned()
                .collect(),
            Narrowed::To(names) => self
                .named(namespace, names)
                .filter(matches)
                .cloned()
                .collect(),
            Narrowed::Nothing => Vec::new(),
        }
    }

    pub(super) fn loose_selected(&self, namespace: &str, selector: &Selector) -> Vec<Arc<K>> {
        let Some(loose) = self.loose.get(namespace) else {
            return Vec::new();
        };
        let names = match self.narrowed(namespace, selector) {
            Narrowed::To(names) if names.len() < loose.len() => names,
            Narrowed::Nothing => return Vec::new(),
            _ => loose,
        };
        let wanted = |object: &&Arc<K>| {
            controller_of(object.meta()).is_none()
                && selector.matches(object.meta().labels.as_ref())
        };
        self.named(namespace, names)
            .filter(wanted)
            .cloned()
            .collect()
    }

    pub(super) fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.pick(self.by_controller.get(uid))
    }

    pub(super) fn at(&self, place: &str) -> Vec<Arc<K>> {
        self.pick(self.by_place.get(place))
    }

    /// The fewest objects among which all are that the selector can select.
    fn narrowed(&self, namespace: &str, selector: &Selector) -> Narrowed<'_> {
        let Some(labels) = &self.by_label else {
            return Narrowed::All;
        };
        let with = |(key, value): (&str, &str)| labels.get(namespace)?.get(key)?.get(value);
        let mut fewest = Narrowed::All;
        for names in selector.demanded().map(with) {
            fewest = match (names, fewest) {
                (None, _) => return Narrowed::Nothing,
                (Some(names), Narrowed::To(known)) if known.len() <= names.len() => {
                    Narrowed::To(known)
                }
                (Some(names), _) => Narrowed::To(names),
            };
        }
        fewest
    }

    fn named<'a>(
        &'a self,
        namespace: &str,
        names: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = &'a Arc<K>> {
        let objects = self.by_name.get(namespace);
        names.iter().filter_map(move |name| objects?.get(name))
    }

    fn pick(&self, keys: Option<&BTreeSet<Key>>) -> Vec<Arc<K>> {
        keys.into_iter()
            .flatten()
            .filter_map(|key| self.get(&key.namespace, &key.name).cloned())
            .collect()
    }

    pub(super) fn insert(&mut self, key: Key, object: Arc<K>) -> Option<Arc<K>> {
        if let Some(known) = self
            .by_name
            .get_mut(&key.namespace)
            .and_then(|objects| objects.get_mut(&key.name))
            && known.meta().labels == object.meta().labels
            && controller_of(known.meta()).map(|owner| &owner.uid)
                == controller_of(object.meta()).map(|owner| &owner.uid)
            && (self.place)(known) == (self.place)(&object)
        {
            return Some(std::mem::replace(known, object));
        }
        let old = self.remove(&key);
        match controller_of(object.meta()) {
            Some(owner) => self
                .by_controller
                .entry(owner.uid.clone())
                .or_default()
                .insert(key.clone()),
            None => self
                .loose
                .entry(key.namespace.clone())
                .or_default()
                .insert(key.name.clone()),
        };
        if let Some(place) = (self.place)(&object) {
            self.by_place.entry(place).or_default().insert(key.clone());
        }
        if let Some(labels) = &mut self.by_label
            && let Some(own) = object.meta().labels.as_ref().filter(|own| !own.is_empty())
        {
            let labels = labels.entry(key.namespace.clone()).or_default();
            for (label, value) in own {
                labels
                    .entry(label.clone())
                    .or_default()
                    .entry(value.clone())
                    .or_default()
                    .insert(key.name.clone());
            }
        }
        self.by_name
            .entry(key.namespace)
            .or_default()
            .insert(key.name, object);
        old
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let objects = self.by_name.get_mut(&key.namespace)?;
        let old = objects.remove(&key.name)?;
        if objects.is_empty() {
            self.by_name.remove(&key.namespace);
        }
        match controller_of(old.meta()) {
            Some(owner) => forget(&mut self.by_controller, &owner.uid, key),
            None => forget(&mut self.loose, &key.namespace, &key.name),
        }
        if let Some(place) = (self.place)(&old) {
            forget(&mut self.by_place, &place, key);
        }
        if let Some(spaces) = &mut self.by_label
            && let Some(labels) = spaces.get_mut(&key.namespace)
        {
            for (label, value) in old.meta().labels.iter().flatten() {
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

/// Where the objects are that a selector can select.
enum Narrowed<'a> {
    /// Anywhere in the namespace.
    All,
    /// Among these names.
    To(&'a BTreeSet<String>),
    /// Nowhere.
    Nothing,
}

fn forget<T, Q>(index: &mut HashMap<String, BTreeSet<T>>, entry: &str, key: &Q)
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

    fn objects() -> Objects<Pod> {
        let mut objects = Objects::default();
        objects.index_places(|pod: &Pod| pod.spec.as_ref()?.node_name.clone());
        objects.index_labels();
        objects
    }

    fn put(objects: &mut Objects<Pod>, name: &str, labels: Value, owner: Option<&str>, node: &str) {
        let owners: Vec<Value> = owner
            .iter()
            .map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid, "uid": uid, "controller": true}))
            .collect();
        let pod = pod(
            json!({"metadata": {"name": name, "namespace": "n", "labels": labels, "ownerReferences": owners}, "spec": {"nodeName": node}}),
        );
        objects.insert(Key::new("n", name), Arc::new(pod));
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().map(|pod| name(pod)).collect()
    }

    fn selector(json: Value) -> Selector {
        Selector::compile(Some(&serde_json::from_value(json).expect("a selector")))
            .expect("compiles")
    }

    #[test]
    fn objects_are_found_by_all_that_they_have_and_not_by_what_they_had() {
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
        assert_eq!(names(&pods.loose_selected("n", &web)), ["b"]);
        assert_eq!(names(&pods.loose_selected("n", &any)), ["b", "c"]);
        assert_eq!(names(&pods.controlled_by("rs")), ["a"]);
        assert_eq!(names(&pods.at("node-1")), ["a", "b"]);

        put(&mut pods, "a", json!({"app": "db"}), None, "node-2");
        assert_eq!(names(&pods.selected("n", &web)), ["b"]);
        assert_eq!(names(&pods.selected("n", &both)), Vec::<&str>::new());
        assert_eq!(names(&pods.controlled_by("rs")), Vec::<&str>::new());
        assert_eq!(names(&pods.at("node-2")), ["a", "c"]);
    }

    #[test]
    fn nothing_is_kept_of_what_is_gone() {
        let mut pods = objects();
        put(&mut pods, "a", json!({"app": "web"}), Some("rs"), "node-1");
        put(&mut pods, "b", json!({"app": "web"}), None, "node-1");
        for name in ["a", "b"] {
            assert!(pods.remove(&Key::new("n", name)).is_some());
        }
        assert_eq!(pods.len(), 0);
        assert!(
            pods.by_name.is_empty()
                && pods.by_controller.is_empty()
                && pods.loose.is_empty()
                && pods.by_place.is_empty()
        );
        assert!(pods.by_label.is_some_and(|labels| labels.is_empty()));
    }
}
