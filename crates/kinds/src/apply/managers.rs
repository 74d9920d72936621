//! The managers of an object: who owns which fields since when (`metadata.managedFields`).

use std::collections::HashMap;

use crate::tree::{Map, json};

use super::FieldManager;
use super::field_set::FieldSet;
use crate::Tree;

/// Number of update managers that an object keeps. Older ones are merged, so that an object's
/// managers stay bounded.
const UPDATER_LIMIT: usize = 10;
/// Name of the merged update managers.
const ANCIENT: &str = "ancient-changes";

/// How a manager became the owner of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ManagerOperation {
    Apply,
    Update,
}

/// One entry. Its identity is the name, operation and subresource, for updates also the version.
#[derive(Clone, Debug)]
pub(super) struct ManagerEntry {
    pub(super) name: String,
    pub(super) operation: ManagerOperation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: Option<String>,
    pub(super) fields: FieldSet,
}

impl ManagerEntry {
    pub(super) fn new(writer: &FieldManager<'_>, operation: ManagerOperation) -> Self {
        Self {
            name: writer.manager.to_owned(),
            operation,
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: None,
            fields: FieldSet::default(),
        }
    }

    /// Returns whether both entries are of the same manager.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let is_same_version =
            self.operation == ManagerOperation::Apply || self.api_version == other.api_version;
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && is_same_version
    }

    /// Formats the manager for a conflict.
    pub(super) fn render(&self) -> String {
        let mut text = crate::status::quoted(&self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(
                " with subresource {}",
                crate::status::quoted(&self.subresource)
            ));
        }
        if self.operation == ManagerOperation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }

    fn decode(tree: &Tree) -> Option<Self> {
        let text = |name: &str| {
            tree.get(name)
                .and_then(Tree::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let operation = match text("operation").as_str() {
            "Apply" => ManagerOperation::Apply,
            "Update" => ManagerOperation::Update,
            _ => return None,
        };
        let fields = tree
            .get("fieldsV1")
            .filter(|fields| !fields.is_null())
            .map_or(Some(FieldSet::default()), FieldSet::decode)?;
        Some(Self {
            name: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: Some(text("time")).filter(|time| !time.is_empty()),
            fields,
        })
    }

    fn encode(&self) -> Tree {
        let operation = if self.operation == ManagerOperation::Apply {
            "Apply"
        } else {
            "Update"
        };
        let mut entry = Map::new();
        let mut put = |name: &'static str, value: &str| {
            if !value.is_empty() {
                entry.insert(name, value.into());
            }
        };
        put("manager", &self.name);
        put("operation", operation);
        put("apiVersion", &self.api_version);
        put("time", self.time.as_deref().unwrap_or_default());
        put("fieldsType", "FieldsV1");
        put("subresource", &self.subresource);
        entry.insert("fieldsV1", self.fields.encode());
        Tree::Object(entry)
    }

    /// Returns the identity of the manager: entries for which [`Self::is_same`] holds have the
    /// same.
    fn identity(&self) -> ManagerIdentity {
        let version = match self.operation {
            ManagerOperation::Apply => String::new(),
            ManagerOperation::Update => self.api_version.clone(),
        };
        (
            self.operation,
            self.name.clone(),
            self.subresource.clone(),
            version,
        )
    }

    fn order(&self) -> impl Ord + '_ {
        (
            self.operation,
            self.time.as_deref(),
            &self.name,
            &self.api_version,
            &self.subresource,
        )
    }
}

/// Operation, name, subresource and version.
type ManagerIdentity = (ManagerOperation, String, String, String);

/// All entries of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct ManagedFields(pub(super) Vec<ManagerEntry>);

impl ManagedFields {
    /// Decodes `metadata.managedFields`; `None` if any entry is invalid.
    pub(super) fn decode(tree: &Tree) -> Option<Self> {
        // Entries of the same manager become one, at the place of the last.
        let mut last: HashMap<ManagerIdentity, usize> = HashMap::new();
        let mut found: Vec<Option<(ManagerEntry, Vec<FieldSet>)>> = Vec::new();
        for entry in tree.as_array().into_iter().flatten() {
            let mut entry = ManagerEntry::decode(entry)?;
            let before = last.insert(entry.identity(), found.len());
            let before = before.and_then(|place| found[place].take());
            let mut sets = before.map(|(_, sets)| sets).unwrap_or_default();
            sets.push(std::mem::take(&mut entry.fields));
            found.push(Some((entry, sets)));
        }
        let managers = found
            .into_iter()
            .flatten()
            .map(|(entry, sets)| ManagerEntry {
                fields: FieldSet::union_of(sets),
                ..entry
            });
        Some(Self(managers.collect()))
    }

    /// Encodes the entries in the API's order. No entries give null.
    pub(super) fn encode(mut self) -> Tree {
        if self.0.is_empty() {
            return Tree::Null;
        }
        self.0
            .sort_by(|left, right| left.order().cmp(&right.order()));
        self.0.iter().map(ManagerEntry::encode).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes and returns the entry of this manager.
    pub(super) fn take(&mut self, like: &ManagerEntry) -> Option<ManagerEntry> {
        let index = self.0.iter().position(|manager| manager.is_same(like))?;
        Some(self.0.remove(index))
    }

    /// Adds an entry; merges it with an existing one of the same manager.
    pub(super) fn add(&mut self, manager: ManagerEntry) {
        match self.take(&manager) {
            Some(known) => {
                let fields = known.fields.union(&manager.fields);
                self.0.push(ManagerEntry { fields, ..manager });
            }
            None => self.0.push(manager),
        }
    }

    /// Takes fields from all managers and drops managers that own nothing more.
    pub(super) fn release(&mut self, fields: &FieldSet) {
        if fields.is_empty() {
            return;
        }
        for manager in &mut self.0 {
            manager.fields = std::mem::take(&mut manager.fields).difference(fields);
        }
        self.0.retain(|manager| !manager.fields.is_empty());
    }

    /// Returns all fields that any manager owns.
    pub(super) fn owned(&self) -> FieldSet {
        let sets = self.0.iter().map(|manager| manager.fields.clone());
        FieldSet::union_of(sets.collect())
    }

    /// Merges the oldest update managers, version by version, until at most [`UPDATER_LIMIT`] are
    /// left.
    pub(super) fn cap_updaters(&mut self) {
        let mut updaters: Vec<ManagerEntry> = Vec::new();
        self.0.retain(|manager| {
            let is_updater = manager.operation == ManagerOperation::Update;
            if is_updater {
                updaters.push(manager.clone());
            }
            !is_updater
        });
        updaters.sort_by(|left, right| {
            (left.time.as_deref(), &left.name).cmp(&(right.time.as_deref(), &right.name))
        });
        let mut excess = updaters.len().saturating_sub(UPDATER_LIMIT);
        let mut buckets: Vec<(ManagerEntry, Vec<FieldSet>)> = Vec::new();
        // The first bucket of each version.
        let mut by_version: HashMap<String, usize> = HashMap::new();
        // An updater is merged only when a second one of its version is: a single one keeps its
        // name.
        for updater in updaters {
            match by_version.get(&updater.api_version) {
                Some(place) if excess > 0 => {
                    let (bucket, sets) = &mut buckets[*place];
                    bucket.name = ANCIENT.to_owned();
                    bucket.subresource.clear();
                    bucket.time = updater.time;
                    sets.push(updater.fields);
                    excess -= 1;
                }
                _ => {
                    by_version
                        .entry(updater.api_version.clone())
                        .or_insert(buckets.len());
                    buckets.push((updater, Vec::new()));
                }
            }
        }
        self.0
            .extend(buckets.into_iter().map(|(mut bucket, mut sets)| {
                sets.push(std::mem::take(&mut bucket.fields));
                bucket.fields = FieldSet::union_of(sets);
                bucket
            }));
    }
}

/// Returns the managed fields of an object.
pub(super) fn of(object: &Tree) -> &Tree {
    object
        .pointer("/metadata/managedFields")
        .unwrap_or(&Tree::Null)
}

/// Returns whether a request resets all managers: an empty list, or one empty entry.
pub(super) fn is_reset(managed: &Tree) -> bool {
    managed
        .as_array()
        .is_some_and(|entries| entries.is_empty() || *entries == [json!({})])
}
