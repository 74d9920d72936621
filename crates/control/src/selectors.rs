//! An index of selectors: finds those that match given labels without trying all.
//!
//! A selector that requires a label with one value is filed under that label and value. The few
//! that require no such label are tried each time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock};

use kube::Resource;

use crate::meta::ObjectKey;
use crate::selector::Selector;

/// Named selectors by namespace.
#[derive(Debug, Default)]
pub(crate) struct SelectorIndex {
    namespaces: RwLock<HashMap<String, NamespaceIndex>>,
}

#[derive(Debug, Default)]
struct NamespaceIndex {
    selectors: BTreeMap<String, Selector>,
    /// Names by a label key and value that their selectors require.
    by_label: HashMap<String, HashMap<String, BTreeSet<String>>>,
    /// Names of selectors that require no label with one value.
    others: BTreeSet<String>,
}

impl SelectorIndex {
    /// Sets the selector of a name. None removes it.
    pub(crate) fn set(&self, key: &ObjectKey, selector: Option<Selector>) {
        let mut namespaces = self
            .namespaces
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let known = namespaces
            .get(&key.namespace)
            .and_then(|index| index.selectors.get(&key.name));
        if known == selector.as_ref() {
            return;
        }
        if let Some(index) = namespaces.get_mut(&key.namespace) {
            index.remove(&key.name);
            if index.selectors.is_empty() {
                namespaces.remove(&key.namespace);
            }
        }
        if let Some(selector) = selector {
            namespaces
                .entry(key.namespace.clone())
                .or_default()
                .insert(key.name.clone(), selector);
        }
    }

    /// The keys of the selectors that match an object of their namespace.
    pub(crate) fn selecting<K: Resource>(&self, object: &K) -> Vec<ObjectKey> {
        let meta = object.meta();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        self.matching(namespace, meta.labels.as_ref())
            .into_iter()
            .map(|name| ObjectKey::new(namespace, name))
            .collect()
    }

    /// The names of the selectors that match these labels, in order.
    pub(crate) fn matching(
        &self,
        namespace: &str,
        labels: Option<&BTreeMap<String, String>>,
    ) -> Vec<String> {
        let namespaces = self
            .namespaces
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(index) = namespaces.get(namespace) else {
            return Vec::new();
        };
        let filed = labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| index.by_label.get(key)?.get(value))
            .flatten();
        let candidates = filed.chain(&index.others);
        let mut names: Vec<String> = candidates
            .filter(|name| {
                index
                    .selectors
                    .get(*name)
                    .is_some_and(|selector| selector.matches(labels))
            })
            .cloned()
            .collect();
        names.sort_unstable();
        names
    }
}

impl NamespaceIndex {
    fn insert(&mut self, name: String, selector: Selector) {
        match selector.demanded().next() {
            Some((key, value)) => {
                self.by_label
                    .entry(key.to_owned())
                    .or_default()
                    .entry(value.to_owned())
                    .or_default()
                    .insert(name.clone());
            }
            None => {
                self.others.insert(name.clone());
            }
        }
        self.selectors.insert(name, selector);
    }

    fn remove(&mut self, name: &str) {
        let Some(selector) = self.selectors.remove(name) else {
            return;
        };
        let Some((key, value)) = selector.demanded().next() else {
            self.others.remove(name);
            return;
        };
        let Some(values) = self.by_label.get_mut(key) else {
            return;
        };
        if let Some(names) = values.get_mut(value) {
            names.remove(name);
            if names.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.by_label.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn selector(json: Value) -> Option<Selector> {
        Some(
            Selector::compile(Some(&serde_json::from_value(json).expect("a selector")))
                .expect("compiles"),
        )
    }

    fn found(index: &SelectorIndex, labels: &[(&str, &str)]) -> Vec<String> {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        index.matching("n", Some(&labels))
    }

    #[test]
    fn every_selector_is_found_by_matching_labels() {
        let index = SelectorIndex::default();
        let key = |name: &str| ObjectKey::new("n", name);
        index.set(
            &key("web"),
            selector(json!({"matchLabels": {"app": "web", "tier": "a"}})),
        );
        index.set(&key("all"), selector(json!({})));
        index.set(
            &key("one"),
            selector(
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}),
            ),
        );
        index.set(
            &key("not"),
            selector(json!({"matchExpressions": [{"key": "app",
            "operator": "NotIn", "values": ["web"]}]})),
        );
        index.set(&ObjectKey::new("other", "web"), selector(json!({})));
        assert_eq!(
            found(&index, &[("app", "web"), ("tier", "a")]),
            ["all", "one", "web"]
        );
        assert_eq!(found(&index, &[("app", "web")]), ["all", "one"]);
        assert_eq!(found(&index, &[]), ["all", "not"]);
        assert_eq!(index.matching("n", None), ["all", "not"]);
    }

    #[test]
    fn a_changed_selector_matches_by_its_new_labels_only_and_a_removed_one_never() {
        let index = SelectorIndex::default();
        let key = ObjectKey::new("n", "web");
        index.set(&key, selector(json!({"matchLabels": {"app": "a"}})));
        index.set(&key, selector(json!({"matchLabels": {"app": "b"}})));
        assert_eq!(found(&index, &[("app", "a")]), Vec::<String>::new());
        assert_eq!(found(&index, &[("app", "b")]), ["web"]);
        index.set(&key, None);
        assert_eq!(found(&index, &[("app", "b")]), Vec::<String>::new());
        assert!(
            index.namespaces.read().expect("lock").is_empty(),
            "nothing is kept of what is gone"
        );
    }
}
