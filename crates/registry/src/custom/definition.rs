//! The life of a definition: its names are accepted unless another definition of the group has
//! them, then its kinds are served; when it is deleted its objects go first.
//!
//! All of it happens inside the commit that changes the definition: the client sees what it wrote,
//! and the next revision has the conditions. Upstream does the same by controllers, some moments
//! later.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use kinds::Tree;
use kinds::facts::Resource;
use kinds::status::{Details, Status};
use kinds::tree::json;
use store::{Record, Txn};

use super::CompiledDefinition;
use crate::delete::{self, Deleted};
use crate::key;
use crate::record::More;
use crate::request::{DeleteOptions, Refusal};
use crate::resource::ResourceRef;
use crate::target::Target;
use crate::view::View;
use crate::{Registry, object, record, tree};

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
/// Holds a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What lies beside the bytes of a definition.
#[derive(Clone)]
pub(crate) struct Definition {
    compiled: CompiledDefinition,
    established: bool,
    terminating: bool,
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Definition")
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
}

impl Definition {
    /// Reads a definition; none when it has no storage version.
    pub(crate) fn of(tree: &Tree) -> Option<Self> {
        let established = object::condition(tree, "Established")
            .is_some_and(|found| tree::text(found, &["status"]) == "True");
        Some(Self {
            compiled: CompiledDefinition::of(tree)?,
            established,
            terminating: object::terminating(tree),
        })
    }

    /// The rows that are served now.
    fn rows(&self) -> impl Iterator<Item = ResourceRef> {
        let served = self.established.then(|| self.compiled.served());
        served.into_iter().flatten()
    }
}

/// True for the resource `customresourcedefinitions`.
pub(crate) fn is_definition(resource: &Resource) -> bool {
    resource.group == GROUP && resource.plural == PLURAL
}

fn row() -> Option<ResourceRef> {
    ResourceRef::built_in(GROUP, "v1", PLURAL)
}

fn key(plural: &str, group: &str) -> String {
    format!("{PLURAL}.{GROUP}/{plural}.{group}")
}

/// What all keys of definitions begin with.
fn collection() -> String {
    format!("{PLURAL}.{GROUP}/")
}

fn definition(record: &Record) -> Option<Definition> {
    match &record::facts(&row()?, record).more {
        More::Definition(definition) => definition.clone(),
        _ => None,
    }
}

/// The definition of a custom kind's row; none when it has gone.
fn definition_of(view: &impl View, resource: &Resource) -> Option<(Arc<Record>, Definition)> {
    let record = view.record(&key(&resource.plural, &resource.group))?;
    let found = definition(&record)?;
    Some((record, found))
}

impl Registry {
    /// Returns the row of a resource that is served now, built-in or custom.
    #[must_use]
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<ResourceRef> {
        if let Some(known) = kinds::resource(group, version, plural) {
            return Some(known.into());
        }
        let record = self.store().get(&key(plural, group))?;
        definition(&record)?
            .rows()
            .find(|row| row.version == version && row.plural == plural)
    }

    /// The rows of all custom kinds that are served now, groups together, versions of a group by
    /// preference.
    #[must_use]
    pub fn custom_rows(&self) -> Vec<ResourceRef> {
        let snapshot = self.store().snapshot();
        let prefix = collection();
        let records = View::records(&snapshot, &prefix);
        let mut rows: Vec<ResourceRef> = records
            .filter_map(|record| definition(&record))
            .flat_map(|definition| definition.rows().collect::<Vec<_>>())
            .collect();
        rows.sort_by(|one, other| {
            let priority = |row: &Resource| version_priority(&row.version);
            one.group
                .cmp(&other.group)
                .then_with(|| priority(other).cmp(&priority(one)))
                .then_with(|| one.plural.cmp(&other.plural))
        });
        rows
    }
}

/// Versions by preference, the greatest first: `v2`, `v1`, `v1beta2`, `v1alpha1`, all others.
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

/// Refuses a new object of a custom kind whose definition has gone or is going.
pub(crate) fn check_open(view: &impl View, resource: &ResourceRef) -> Result<(), Refusal> {
    if !resource.is_custom() {
        return Ok(());
    }
    match definition_of(view, resource) {
        None => Err(Status::no_such_resource().into()),
        Some((_, found)) if found.terminating => {
            let text = "create not allowed while custom resource definition is terminating";
            Err(Status::failure(405, "MethodNotAllowed", text, Some(Details::default())).into())
        }
        Some(_) => Ok(()),
    }
}

/// Brings the names and conditions of all definitions of a group up to date.
pub(crate) fn settle(txn: &mut Txn, target: &Target, group: &str) {
    let Some(row) = row() else { return };
    let all: Vec<Arc<Record>> = txn.records(&collection()).collect();
    let mut members: Vec<(Arc<Record>, Tree)> = all
        .into_iter()
        .map(|record| {
            let tree = record::tree(&record.value);
            (record, tree)
        })
        .filter(|(_, tree)| tree::text(tree, &["spec", "group"]) == group)
        .collect();
    // Who was first keeps its names.
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

/// A definition with its accepted names and its conditions, beside the others of its group.
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

fn set_condition(
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

/// Deletes a definition inside a commit: marks it, deletes its objects, and removes it when none is
/// held back by finalizers of its own.
pub(crate) fn delete_in(
    txn: &mut Txn,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Deleted, Refusal> {
    let key = target.key();
    let found = txn.get(&key).ok_or_else(|| target.not_found())?;
    let before = record::tree(&found.value);
    // For its preconditions; what is done is this file's matter.
    delete::decide::decide(
        &before,
        &target.stored.kind,
        &target.rules,
        options,
        target.now,
    )?;
    let mut next = before.clone();
    if !object::terminating(&next) {
        object::meta(&mut next).insert("deletionTimestamp", object::wire_time(target.now).into());
        let mut finalizers: Vec<String> = object::finalizers(&next)
            .into_iter()
            .map(str::to_owned)
            .collect();
        if !finalizers.iter().any(|name| name == CLEANUP) {
            finalizers.push(CLEANUP.to_owned());
        }
        object::set_finalizers(&mut next, finalizers);
        let message =
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        set_condition(
            &mut next,
            "Terminating",
            true,
            "InstanceDeletionPending",
            message,
            target.now,
        );
    }
    let compiled = CompiledDefinition::of(&before);
    let marked = if next == before {
        found
    } else {
        record::put(txn, &target.trees, &target.stored, &key, next)
    };
    if let Some(compiled) = compiled {
        let resource = compiled.stored();
        let place = target.for_resource(resource.clone());
        let objects: Vec<Arc<Record>> = txn.records(&place.prefix()).collect();
        for object in objects {
            let (namespace, name) = key::namespace_and_name(&object.key);
            delete::delete_in(
                txn,
                &place.clone().at(namespace, name),
                &DeleteOptions::default(),
            )?;
        }
        release(txn, target, &resource);
    }
    Ok(Deleted::new(marked.value.clone(), false, &before))
}

/// Lets a deleted definition go when the last of its objects has gone. Does nothing for built-in
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
    let mut next = record::tree(&record.value);
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
    use super::*;

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
    fn names_belong_to_who_was_first() {
        let definition = |plural: &str, kind: &str| json!({"spec": {"names": {"plural": plural, "kind": kind, "shortNames": ["c"]}}});
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
