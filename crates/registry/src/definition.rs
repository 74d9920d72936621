//! The lifecycle of custom resource definitions: their names are accepted unless another definition
//! of the group has them, then their kinds are served, and a deleted definition goes after its
//! objects.
//!
//! All of it happens inside the commit that changes the definition: the client sees what it wrote,
//! and the next revision has the conditions. Upstream does the same by controllers, some moments
//! later.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use kinds::Tree;
use kinds::facts::Resource;
use kinds::status::{Details, Status};
use kinds::tree::json;
use store::{Record, Revision, Txn};

use crate::custom::CompiledDefinition;
use crate::facts::DefinitionFlags;
use crate::request::Refusal;
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::view::StoreView;
use crate::{Registry, key, object, record, tree};

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
/// The finalizer that holds a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Returns true for the resource `customresourcedefinitions`.
pub(crate) fn is_definition(resource: &Resource) -> bool {
    resource.group == GROUP && resource.plural == PLURAL
}

fn row() -> Option<ResourceRef> {
    ResourceRef::built_in(GROUP, "v1", PLURAL)
}

fn key_of(plural: &str, group: &str) -> String {
    format!("{PLURAL}.{GROUP}/{plural}.{group}")
}

/// Returns the prefix of all keys of definitions.
fn collection() -> String {
    format!("{PLURAL}.{GROUP}/")
}

fn facts_of(record: &Record) -> Option<DefinitionFlags> {
    record::facts(&row()?, record).of_kind().copied()
}

/// Returns the definition of a custom kind's row; `None` when it has been removed.
fn definition_of(
    view: &impl StoreView,
    resource: &Resource,
) -> Option<(Arc<Record>, DefinitionFlags)> {
    let record = view.record(&key_of(&resource.plural, &resource.group))?;
    let found = facts_of(&record)?;
    Some((record, found))
}

/// The compiled definitions of a registry, by the keys of their records.
///
/// They are not kept beside the records: a store remembers replaced records for a long time, and a
/// compiled definition is many times larger than its bytes.
#[derive(Default)]
pub(crate) struct DefinitionCache(Mutex<CompiledDefinitions>);

#[derive(Default)]
struct CompiledDefinitions {
    /// The newest revision of each definition that a reader has asked for.
    cells: HashMap<Box<str>, (Revision, DefinitionCell)>,
    /// The number of entries above which those of removed definitions are dropped.
    limit: usize,
}

/// The compiled form of one revision of a definition; `None` when it has no storage version.
///
/// Filled once: all readers get the same result, because rows are compared by their places in
/// memory.
type DefinitionCell = Arc<OnceLock<Option<CompiledDefinition>>>;

/// The smallest value of [`CompiledDefinitions::limit`].
const MIN_CACHED: usize = 64;

impl std::fmt::Debug for DefinitionCache {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("DefinitionCache").finish_non_exhaustive()
    }
}

impl DefinitionCache {
    fn state(&self) -> MutexGuard<'_, CompiledDefinitions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the compiled form of a definition; `None` when it has no storage version.
    fn get(&self, record: &Record, is_live: impl Fn(&str) -> bool) -> Option<CompiledDefinition> {
        let cell = self.state().cell(record, is_live);
        // Without the lock: compiling takes long, and only readers of this definition need it.
        cell.get_or_init(|| CompiledDefinition::of(&record::parse(&record.value)))
            .clone()
    }

    fn retain(&self, is_live: impl Fn(&str) -> bool) {
        self.state().retain(is_live);
    }
}

impl CompiledDefinitions {
    /// Returns the cell of a definition at the record's revision.
    fn cell(&mut self, record: &Record, is_live: impl Fn(&str) -> bool) -> DefinitionCell {
        if let Some((revision, cell)) = self.cells.get(&*record.key) {
            match record.modified.cmp(revision) {
                Ordering::Equal => return Arc::clone(cell),
                // A reader of an old snapshot.
                Ordering::Less => return DefinitionCell::default(),
                Ordering::Greater => {}
            }
        }
        let cell = DefinitionCell::default();
        let key = record.key.as_ref().into();
        self.cells.insert(key, (record.modified, Arc::clone(&cell)));
        if self.cells.len() > self.limit.max(MIN_CACHED) {
            self.retain(is_live);
        }
        cell
    }

    /// Drops the entries of definitions that no longer exist.
    fn retain(&mut self, is_live: impl Fn(&str) -> bool) {
        self.cells.retain(|key, _| is_live(key));
        self.cells.shrink_to_fit();
        self.limit = 2 * self.cells.len();
    }
}

impl Registry {
    /// Returns the compiled form of a definition; `None` before it is established.
    fn established(&self, record: &Record) -> Option<CompiledDefinition> {
        facts_of(record).filter(|facts| facts.established)?;
        self.definitions().get(record, |key| self.is_live(key))
    }

    fn is_live(&self, key: &str) -> bool {
        self.store().get(key).is_some()
    }

    /// Drops the compiled forms of definitions that have been removed.
    pub(crate) fn forget_definitions(&self) {
        self.definitions().retain(|key| self.is_live(key));
    }

    /// Returns the row of a resource, built-in or custom, if it is served.
    #[must_use]
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<ResourceRef> {
        if let Some(known) = kinds::resource(group, version, plural) {
            return Some(known.into());
        }
        let compiled = self.established(&*self.store().get(&key_of(plural, group))?)?;
        compiled
            .served()
            .find(|served| served.resource.version == version && served.resource.plural == plural)
            .map(|served| ResourceRef::custom_row(served, compiled.stored()))
    }

    /// Returns the rows of all custom kinds that are served now, sorted by group, and within a
    /// group by version, the preferred one first.
    #[must_use]
    pub fn custom_rows(&self) -> Vec<ResourceRef> {
        let snapshot = self.store().snapshot();
        let prefix = collection();
        let mut rows: Vec<ResourceRef> = Vec::new();
        for record in StoreView::records(&snapshot, &prefix) {
            if let Some(compiled) = self.established(&record) {
                let row = |served| ResourceRef::custom_row(served, compiled.stored());
                rows.extend(compiled.served().map(row));
            }
        }
        rows.sort_by_cached_key(|row| {
            let priority = std::cmp::Reverse(version_priority(&row.version));
            (row.group.clone(), priority, row.plural.clone())
        });
        rows
    }
}

/// Orders versions by preference, the greatest first: `v2`, `v1`, `v1beta2`, `v1alpha1`, then all
/// others by name.
fn version_priority(version: &str) -> (u8, u32, u32, std::cmp::Reverse<String>) {
    let other = || (0, 0, 0, std::cmp::Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else {
        return other();
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let Ok(major) = rest[..digits].parse() else {
        return other();
    };
    let none = std::cmp::Reverse(String::new());
    let (stage, minor) = match &rest[digits..] {
        "" => return (3, major, 0, none),
        rest if rest.starts_with("beta") => (2, &rest[4..]),
        rest if rest.starts_with("alpha") => (1, &rest[5..]),
        _ => return other(),
    };
    minor
        .parse()
        .map_or_else(|_| other(), |minor| (stage, major, minor, none))
}

/// Refuses a new object of a custom kind whose definition is removed (404) or terminating (405).
/// A definition of another scope, which replaced the row's since the request was routed, counts as
/// removed: the key of the object would have the wrong shape.
pub(crate) fn check_open(view: &impl StoreView, resource: &ResourceRef) -> Result<(), Refusal> {
    if !resource.is_custom() {
        return Ok(());
    }
    match definition_of(view, resource) {
        None => Err(Status::no_such_resource().into()),
        Some((_, found)) if found.namespaced != resource.namespaced => {
            Err(Status::no_such_resource().into())
        }
        Some((_, found)) if found.terminating => {
            let text = "create not allowed while custom resource definition is terminating";
            Err(Status::failure(405, "MethodNotAllowed", text, Some(Details::default())).into())
        }
        Some(_) => Ok(()),
    }
}

/// Updates the accepted names and the conditions of all definitions of a group.
pub(crate) fn settle(txn: &mut Txn, target: &Target, group: &str) {
    let Some(row) = row() else { return };
    let all: Vec<Arc<Record>> = txn.records(&collection()).collect();
    let mut members: Vec<(Arc<Record>, Tree)> = all
        .into_iter()
        .map(|record| {
            let tree = record::parse(&record.value);
            (record, tree)
        })
        .filter(|(_, tree)| tree::text(tree, &["spec", "group"]) == group)
        .collect();
    // The definition that was created first keeps its names.
    members.sort_by_key(|(record, _)| record.created);
    for at in 0..members.len() {
        let others: Vec<&Tree> = members
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, (_, tree))| tree)
            .collect();
        let settled = settled(&members[at].1, &others, target.now);
        if settled != members[at].1 {
            record::put(
                txn,
                &target.trees,
                &row,
                &members[at].0.key,
                settled.clone(),
            );
            members[at].1 = settled;
        }
    }
}

/// Returns a definition with its accepted names and its conditions, given the others of its group.
fn settled(definition: &Tree, others: &[&Tree], now: Timestamp) -> Tree {
    let taken = |singles: &[&str], lists: &[&str]| -> BTreeSet<String> {
        let names = |tree: &&Tree| {
            let accepted = tree::at(tree, &["status", "acceptedNames"]);
            let one = singles
                .iter()
                .map(|member| tree::text(accepted, &[member]).to_owned());
            let many = lists.iter().flat_map(|member| {
                tree::list(accepted, &[member])
                    .iter()
                    .filter_map(Tree::as_str)
                    .map(str::to_owned)
            });
            one.chain(many)
                .filter(|name| !name.is_empty())
                .collect::<Vec<_>>()
        };
        others.iter().flat_map(names).collect()
    };
    let (resources, kinds) = (
        taken(&["plural", "singular"], &["shortNames"]),
        taken(&["kind", "listKind"], &[]),
    );
    let mut next = definition.clone();
    let mut conflict = None;
    for (member, reason, taken) in [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("shortNames", "ShortNamesConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ] {
        let wanted = tree::at(definition, &["spec", "names", member]);
        let names = wanted.as_array().map_or_else(
            || wanted.as_str().into_iter().collect::<Vec<_>>(),
            |list| list.iter().filter_map(Tree::as_str).collect(),
        );
        // As upstream, the last conflict is the one that is reported.
        match names.iter().find(|name| taken.contains(**name)) {
            Some(name) => conflict = Some((reason, format!("{name:?} is already in use"))),
            None => tree::carry(
                &at_names(wanted, member),
                &mut next,
                &["status", "acceptedNames", member],
            ),
        }
    }
    let categories = tree::at(definition, &["spec", "names", "categories"]);
    tree::carry(
        &at_names(categories, "categories"),
        &mut next,
        &["status", "acceptedNames", "categories"],
    );
    let accepted = conflict.is_none();
    let (reason, message) = conflict.unwrap_or(("NoConflicts", "no conflicts found".to_owned()));
    set_condition(&mut next, "NamesAccepted", accepted, reason, &message, now);
    // Once established, a definition stays so, even when its names conflict later.
    let established = object::condition(definition, "Established")
        .is_some_and(|found| tree::text(found, &["status"]) == "True");
    if accepted && !established {
        set_condition(
            &mut next,
            "Established",
            true,
            "InitialNamesAccepted",
            "the initial names have been accepted",
            now,
        );
    } else if !established {
        set_condition(
            &mut next,
            "Established",
            false,
            "NotAccepted",
            "not all names are accepted",
            now,
        );
    }
    next
}

fn at_names(value: &Tree, member: &str) -> Tree {
    json!({"status": {"acceptedNames": {member: value}}})
}

/// Sets a condition; its transition time changes only with its status.
pub(crate) fn set_condition(
    definition: &mut Tree,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let status = if holds { "True" } else { "False" };
    let condition = json!({
        "type": kind, "status": status, "lastTransitionTime": object::wire_time(now),
        "reason": reason, "message": message,
    });
    let mut conditions = tree::list(definition, &["status", "conditions"]).to_vec();
    rules::conditions::set(&mut conditions, condition);
    tree::put(definition, &["status", "conditions"], conditions);
}

/// Removes a terminating definition when the last of its objects is gone. Does nothing for built-in
/// kinds.
pub(crate) fn release(txn: &mut Txn, target: &Target, resource: &ResourceRef) {
    if !resource.is_custom() {
        return;
    }
    let Some((record, found)) = definition_of(txn, resource) else {
        return;
    };
    if !found.terminating || txn.records(&key::prefix(resource, "")).next().is_some() {
        return;
    }
    let mut next = record::parse(&record.value);
    let finalizers: Vec<String> = object::finalizers(&next)
        .into_iter()
        .filter(|name| *name != CLEANUP)
        .map(str::to_owned)
        .collect();
    if finalizers.is_empty() {
        record::remove(txn, &record.key, &record.value);
        settle(txn, target, &resource.group);
    } else if let Some(row) = row() {
        object::set_finalizers(&mut next, finalizers);
        record::put(txn, &target.trees, &row, &record.key, next);
    }
}

#[cfg(test)]
mod tests {
    use clock::{Clock, Entropy};
    use store::Store;

    use super::*;
    use crate::Options;
    use crate::record::TreeCache;

    #[tokio::test]
    async fn compiled_definitions_go_with_the_definitions() {
        let registry = Registry::new(
            Store::open_memory(),
            Clock::starting_at(Timestamp::UNIX_EPOCH),
            Entropy::seeded(1),
            Options::default(),
        );
        let trees = TreeCache::default();
        let keys: Vec<String> = (0..300)
            .map(|at| key_of(&format!("crates{at}"), "example.com"))
            .collect();
        let written = registry.commit(|txn| {
            for (at, key) in keys.iter().enumerate() {
                let definition = json!({
                    "metadata": {"name": format!("crates{at}.example.com")},
                    "spec": {
                        "group": "example.com",
                        "scope": "Namespaced",
                        "names": {"plural": format!("crates{at}"), "kind": format!("Crate{at}")},
                        "versions": [{"name": "v1", "served": true, "storage": true}],
                    },
                    "status": {
                        "acceptedNames": {
                            "plural": format!("crates{at}"), "kind": format!("Crate{at}"),
                        },
                        "conditions": [{"type": "Established", "status": "True"}],
                    },
                });
                record::put(txn, &trees, &row().expect("built in"), key, definition);
            }
            Ok(())
        });
        written.await.expect("written");
        let compiled = || registry.definitions().state().cells.len();
        assert_eq!((registry.custom_rows().len(), compiled()), (300, 300));
        let removed = registry.commit(|txn| {
            for key in &keys {
                let found = txn.get(key).expect("a definition");
                record::remove(txn, key, &found.value);
            }
            Ok(())
        });
        removed.await.expect("removed");
        registry.forget_definitions();
        assert_eq!(compiled(), 0);
    }

    #[test]
    fn stable_versions_are_preferred() {
        let mut versions = [
            "foo1", "v1alpha1", "v1", "v10", "v1beta2", "v2", "v1beta1", "bar",
        ];
        versions.sort_by_key(|version| std::cmp::Reverse(version_priority(version)));
        assert_eq!(
            versions,
            [
                "v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "bar", "foo1"
            ]
        );
    }

    #[test]
    fn the_first_definition_keeps_its_names() {
        let definition = |plural: &str, kind: &str| {
            json!({"spec": {"names": {"plural": plural,
            "kind": kind, "shortNames": ["c"]}}})
        };
        let first = settled(&definition("crates", "Crate"), &[], Timestamp::UNIX_EPOCH);
        assert_eq!(
            tree::text(&first, &["status", "acceptedNames", "kind"]),
            "Crate"
        );
        assert_eq!(
            object::condition(&first, "Established").map(|found| tree::text(found, &["status"])),
            Some("True")
        );
        let second = settled(
            &definition("boxes", "Crate"),
            &[&first],
            Timestamp::UNIX_EPOCH,
        );
        let names = object::condition(&second, "NamesAccepted").expect("a condition");
        assert_eq!(
            (
                tree::text(names, &["status"]),
                tree::text(names, &["reason"])
            ),
            ("False", "KindConflict")
        );
        assert_eq!(
            tree::text(names, &["message"]),
            "\"Crate\" is already in use"
        );
        assert_eq!(
            object::condition(&second, "Established").map(|found| tree::text(found, &["reason"])),
            Some("NotAccepted")
        );
        let freed = settled(&second, &[], Timestamp::UNIX_EPOCH);
        assert_eq!(
            object::condition(&freed, "Established").map(|found| tree::text(found, &["status"])),
            Some("True")
        );
    }
}
