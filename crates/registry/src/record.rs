//! Objects as records of the store: their bytes, and what is kept beside them so that readers do
//! not parse them.
//!
//! Beside the bytes lie the [`Facts`] of an object: its labels, its selectable fields and what its
//! kind registers. They are made when the object is written, or by the first reader after a
//! restart. The trees of recent objects are cached as well (`cache.rs`).
//!
//! This module knows no kind. `kind.rs` says which strategy makes an object's facts.

mod cache;

use std::sync::Arc;

use bytes::Bytes;
use kinds::json::EncodedTree;
use kinds::selector::Labels;
use kinds::tree::Text;
use kinds::{Tree, json};
use memchr::memmem;
use store::{Record, Txn};

use crate::key;
use crate::kind;
use crate::object;
use crate::resource::ResourceRef;
use crate::strategy::KindFacts;
use crate::tree as path;
use cache::TreeSlot;

pub(crate) use cache::TreeCache;

/// What is kept beside the bytes of one object. Never changes while the bytes do not.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Labels, sorted by key.
    pub(crate) labels: Vec<(String, String)>,
    /// Selectable fields beyond name and namespace that have a value.
    pub(crate) fields: Vec<(Text, String)>,
    /// What the kind's strategy keeps.
    kind: Option<KindFacts>,
    /// The object itself while it is cached.
    slot: TreeSlot,
}

impl Facts {
    /// Makes the facts of an object.
    pub(crate) fn of(resource: &ResourceRef, tree: &Tree) -> Self {
        let rules = kind::rules(resource);
        let labels = path::entries(tree, &["metadata", "labels"])
            .into_iter()
            .map(|(key, value)| {
                (
                    key.to_owned(),
                    value.as_str().unwrap_or_default().to_owned(),
                )
            })
            .collect();
        // Name and namespace are in the key.
        let fields = rules
            .fields()
            .filter(|field| !field.starts_with("metadata."))
            .map(|field| {
                let value = rules.selectable(tree, &field);
                (field, value)
            })
            .filter(|(_, value)| !value.is_empty())
            .collect();
        Self {
            labels,
            fields,
            kind: rules.facts(tree),
            slot: TreeSlot::default(),
        }
    }

    /// Returns what the kind's strategy keeps of the object, if it is of this type.
    pub(crate) fn of_kind<T: 'static>(&self) -> Option<&T> {
        self.kind.as_ref()?.downcast_ref()
    }

    /// Returns the value of a selectable field, empty when it has none. `key` is the record's key.
    pub(crate) fn field<'a>(&'a self, key: &'a str, field: &str) -> &'a str {
        let (namespace, name) = key::namespace_and_name(key);
        match field {
            "metadata.name" => name,
            "metadata.namespace" => namespace,
            _ => self
                .fields
                .iter()
                .find(|(known, _)| known == field)
                .map_or("", |(_, value)| value.as_str()),
        }
    }
}

impl Labels for Facts {
    fn label(&self, key: &str) -> Option<&str> {
        let found = self
            .labels
            .binary_search_by(|(name, _)| name.as_str().cmp(key))
            .ok()?;
        Some(&self.labels[found].1)
    }
}

/// Returns the facts of a record; the first call for a record parses it.
pub(crate) fn facts<'a>(resource: &ResourceRef, record: &'a Record) -> &'a Facts {
    record
        .memo
        .get_or_init(|| Arc::new(Facts::of(resource, &parse(&record.value))))
        .downcast_ref()
        .expect("only this module fills memos")
}

/// Returns the object of a record, which is parsed only when its tree is not cached.
pub(crate) fn tree_of(cache: &TreeCache, resource: &ResourceRef, record: &Record) -> Tree {
    let mut parsed = None;
    let memo = record
        .memo
        .get_or_init(|| Arc::new(Facts::of(resource, parsed.insert(parse(&record.value)))));
    let facts: Arc<Facts> = Arc::clone(memo)
        .downcast()
        .expect("only this module fills memos");
    facts.slot.get().unwrap_or_else(|| {
        let tree = parsed.unwrap_or_else(|| parse(&record.value));
        cache.insert(&facts, tree.clone(), record.value.len());
        tree
    })
}

/// Parses stored bytes. What this crate wrote always parses; bytes of a damaged store read as null,
/// so that the object appears empty and the server goes on.
pub(crate) fn parse(bytes: &[u8]) -> Tree {
    serde_json::from_slice(bytes).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot parse a stored object");
        Tree::Null
    })
}

/// An encoded object.
#[derive(Debug)]
pub(crate) struct EncodedObject {
    pub(crate) bytes: Bytes,
    /// The tree that parsing the bytes gives, where the encoder knows it.
    parsed: Option<Tree>,
}

/// Pairs the tree that [`tree_of`] returned for a record with the record's bytes, as the state from
/// which a successor is encoded.
pub(crate) fn written<'a>(tree: &'a Tree, record: &'a Record) -> EncodedTree<'a> {
    EncodedTree {
        tree,
        bytes: &record.value,
    }
}

/// Encodes an object at a resource version. Parts that it shares with the earlier state are copied
/// from that state's bytes.
pub(crate) fn encode(
    resource: &ResourceRef,
    tree: &mut Tree,
    revision: u64,
    earlier: Option<EncodedTree<'_>>,
) -> EncodedObject {
    set_revision(tree, revision);
    let (bytes, parsed) = json::encode_and_reread(tree, resource.ty, earlier);
    debug_assert!(
        is_alike(&bytes, tree, resource),
        "copied wrongly from an earlier state: {}",
        String::from_utf8_lossy(&bytes)
    );
    debug_assert!(
        parsed
            .as_ref()
            .is_none_or(|parsed| parse(&bytes) == *parsed),
        "{parsed:?} differs from the bytes: {}",
        String::from_utf8_lossy(&bytes)
    );
    // The buffer has more capacity than most objects need, and records live long: copy the bytes
    // into an allocation of their size.
    EncodedObject {
        bytes: Bytes::copy_from_slice(&bytes),
        parsed,
    }
}

/// Returns true when the bytes encode the object. Bytes that were copied from a state of an older
/// program may differ in form, but parse to an equal object.
fn is_alike(bytes: &[u8], object: &Tree, resource: &ResourceRef) -> bool {
    let whole = json::encode(object, resource.ty);
    whole == bytes || json::equal(&parse(&whole), &parse(bytes), resource.ty)
}

fn set_revision(tree: &mut Tree, revision: u64) {
    object::meta(tree).insert("resourceVersion", revision.to_string().into());
}

/// Writes an object at the revision that the write takes, and returns its record.
pub(crate) fn put(
    txn: &mut Txn,
    cache: &TreeCache,
    resource: &ResourceRef,
    key: &str,
    tree: Tree,
) -> Arc<Record> {
    replace(txn, cache, resource, key, tree, None)
}

/// Writes the successor of an earlier state, and returns its record. Shared parts are copied from
/// the earlier bytes.
pub(crate) fn replace(
    txn: &mut Txn,
    cache: &TreeCache,
    resource: &ResourceRef,
    key: &str,
    mut tree: Tree,
    earlier: Option<EncodedTree<'_>>,
) -> Arc<Record> {
    let encoded = encode(resource, &mut tree, txn.next_revision().0, earlier);
    put_encoded(txn, cache, resource, key, &tree, encoded)
}

/// Writes an object that has been encoded for the revision that the write takes.
pub(crate) fn put_encoded(
    txn: &mut Txn,
    cache: &TreeCache,
    resource: &ResourceRef,
    key: &str,
    tree: &Tree,
    encoded: EncodedObject,
) -> Arc<Record> {
    let facts = Arc::new(Facts::of(resource, tree));
    drop_tree(txn, key);
    if let Some(parsed) = encoded.parsed {
        cache.insert(&facts, parsed, encoded.bytes.len());
    }
    txn.put(key, encoded.bytes, Some(facts))
}

/// An object that was encoded before its commit, so that the commit, which excludes all others,
/// only has to insert the revision.
pub(crate) struct Prepared {
    encoded: EncodedObject,
    facts: Arc<Facts>,
}

impl Prepared {
    /// Returns the object as parsing its bytes gives it, resource version excepted, with the bytes.
    /// `None` when the encoder does not know it.
    pub(crate) fn written(&self) -> Option<EncodedTree<'_>> {
        self.encoded.parsed.as_ref().map(|tree| EncodedTree {
            tree,
            bytes: &self.encoded.bytes,
        })
    }
}

/// Encodes an object for a later write, whatever resource version it has.
pub(crate) fn prepare(
    resource: &ResourceRef,
    mut tree: Tree,
    earlier: Option<EncodedTree<'_>>,
) -> Prepared {
    // Version 0 is a placeholder: the member must exist for `with_revision` to replace it.
    let encoded = encode(resource, &mut tree, 0, earlier);
    let facts = Arc::new(Facts::of(resource, &tree));
    Prepared { encoded, facts }
}

/// Writes a prepared object at the revision that the write takes, and returns its record.
pub(crate) fn put_prepared(
    txn: &mut Txn,
    cache: &TreeCache,
    key: &str,
    prepared: &Prepared,
) -> Arc<Record> {
    let record = put_transient(txn, key, prepared);
    if let Some(parsed) = &prepared.encoded.parsed {
        let mut tree = parsed.clone();
        set_revision(&mut tree, record.modified.0);
        debug_assert!(
            parse(&record.value) == tree,
            "{key}: the cached tree differs from the bytes"
        );
        cache.insert(&prepared.facts, tree, record.value.len());
    }
    record
}

/// Writes a prepared object without caching its tree: for a state that the same commit mostly
/// replaces or removes.
pub(crate) fn put_transient(txn: &mut Txn, key: &str, prepared: &Prepared) -> Arc<Record> {
    let bytes = with_revision(&prepared.encoded.bytes, txn.next_revision().0);
    let facts: Arc<Facts> = Arc::clone(&prepared.facts);
    // An earlier run of the same commit may have cached the tree of another revision.
    facts.slot.clear();
    drop_tree(txn, key);
    txn.put(key, bytes, Some(facts))
}

/// Removes an object. Watchers see `last` at the revision of the removal.
pub(crate) fn remove(txn: &mut Txn, key: &str, last: &Bytes) -> Option<Arc<Record>> {
    let bytes = with_revision(last, txn.next_revision().0);
    drop_tree(txn, key);
    txn.remove(key, Some(bytes))
}

/// Drops the cached tree of the state that is about to be replaced, because its record stays in the
/// history for long. A reader that still sees that state, before the commit is visible or after it
/// was refused, parses and caches it again.
fn drop_tree(txn: &Txn, key: &str) {
    if let Some(facts) = txn
        .peek(key)
        .and_then(|record| record.memo.get()?.downcast_ref::<Facts>())
    {
        facts.slot.clear();
    }
}

/// Replaces the resource version in the bytes of an object.
pub(crate) fn with_revision(bytes: &Bytes, revision: u64) -> Bytes {
    const MEMBER: &[u8] = b"\"resourceVersion\":\"";
    // The member is in the metadata, before anything that a user can nest, and quotes inside of
    // strings are escaped: the first occurrence is the member itself.
    let start = memmem::find(bytes, MEMBER).map(|found| found + MEMBER.len());
    let end = start.and_then(|start| Some(start + memchr::memchr(b'"', &bytes[start..])?));
    let (Some(start), Some(end)) = (start, end) else {
        return bytes.clone();
    };
    let version = revision.to_string();
    let mut out = Vec::with_capacity(bytes.len() + version.len());
    out.extend_from_slice(&bytes[..start]);
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(&bytes[end..]);
    out.into()
}

/// Removes the resource version from the bytes of an object, as a dry run of a create answers.
pub(crate) fn without_revision(resource: &ResourceRef, bytes: &[u8]) -> Bytes {
    let mut tree = parse(bytes);
    object::meta(&mut tree).remove("resourceVersion");
    json::encode(&tree, resource.ty).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_resource_version_of_the_object_is_replaced() {
        let bytes = Bytes::from_static(
            br#"{"metadata":{"name":"a\"resourceVersion\":\"1","resourceVersion":"7","labels":{"resourceVersion":"7"}}}"#,
        );
        let changed = with_revision(&bytes, 12);
        let json = std::str::from_utf8(&changed).expect("UTF-8");
        assert_eq!(
            json,
            r#"{"metadata":{"name":"a\"resourceVersion\":\"1","resourceVersion":"12","labels":{"resourceVersion":"7"}}}"#
        );
    }
}
