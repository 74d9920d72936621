//! The managers of an object: who owns which fields since when (`metadata.managedFields`).

use crate::tree::{Map, json};

use super::FieldManager;
use super::field_set::FieldSet;
use crate::Tree;

/// ManagedFields of ordinary writes that an object keeps; older ones are counted together.
const UPDATER_LIMIT: usize = 10;
/// The name of the managers that are counted together.
const ANCIENT: &str = "ancient-changes";

/// How a manager came to its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ManagerOperation {
    Apply,
    Update,
}

/// One manager. Who it is: name, operation and subresource, and for updates the version.
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

    /// True when both are entries of one and the same manager.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let is_same_version =
            self.operation == ManagerOperation::Apply || self.api_version == other.api_version;
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && is_same_version
    }

    /// The manager as conflicts name it.
    pub(super) fn shown(&self) -> String {
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

/// All managers of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct ManagedFields(pub(super) Vec<ManagerEntry>);

impl ManagedFields {
    /// Reads `metadata.managedFields`; an entry that cannot be read makes all of them unreadable.
    pub(super) fn decode(tree: &Tree) -> Option<Self> {
        let mut managers = Self::default();
        for entry in tree.as_array().into_iter().flatten() {
            managers.add(ManagerEntry::decode(entry)?);
        }
        Some(managers)
    }

    /// Writes them in the order in which the API shows them; null when there are none.
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

    /// Takes out this manager's entry.
    pub(super) fn take(&mut self, like: &ManagerEntry) -> Option<ManagerEntry> {
        let index = self.0.iter().position(|manager| manager.is_same(like))?;
        Some(self.0.remove(index))
    }

    /// Adds an entry, to the one that is there if there is one.
    pub(super) fn add(&mut self, manager: ManagerEntry) {
        match self.take(&manager) {
            Some(known) => {
                let fields = known.fields.union(&manager.fields);
                self.0.push(ManagerEntry { fields, ..manager });
            }
            None => self.0.push(manager),
        }
    }

    /// Takes fields from everybody, and lets those go who own nothing more.
    pub(super) fn release(&mut self, fields: &FieldSet) {
        if fields.is_empty() {
            return;
        }
        for manager in &mut self.0 {
            manager.fields = std::mem::take(&mut manager.fields).difference(fields);
        }
        self.0.retain(|manager| !manager.fields.is_empty());
    }

    /// Everything that anybody owns.
    pub(super) fn owned(&self) -> FieldSet {
        self.0.iter().fold(FieldSet::default(), |owned, manager| {
            owned.union(&manager.fields)
        })
    }

    /// Counts the oldest updaters together, version by version, until few enough are left.
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
        let mut buckets: Vec<ManagerEntry> = Vec::new();
        // The first of a version becomes its bucket only when a second one joins it.
        for updater in updaters {
            match buckets
                .iter_mut()
                .find(|bucket| excess > 0 && bucket.api_version == updater.api_version)
            {
                Some(bucket) => {
                    bucket.name = ANCIENT.to_owned();
                    bucket.subresource.clear();
                    bucket.fields = std::mem::take(&mut bucket.fields).union(&updater.fields);
                    bucket.time = updater.time;
                    excess -= 1;
                }
                None => buckets.push(updater),
            }
        }
        self.0.extend(buckets);
    }
}

/// What an object says of its managers.
pub(super) fn of(object: &Tree) -> &Tree {
    object
        .pointer("/metadata/managedFields")
        .unwrap_or(&Tree::Null)
}

/// True when a request asks to forget all managers: an empty list, or one empty entry.
pub(super) fn is_reset(managed: &Tree) -> bool {
    managed
        .as_array()
        .is_some_and(|entries| entries.is_empty() || *entries == [json!({})])
}
