//! What is kept beside an object's bytes so that nobody parses them again: labels, selectable
//! fields, and for the kinds that evictions ask about the few figures that decide.
//!
//! Facts are made from the tree when an object is written, or from its bytes the first time
//! somebody asks (after a restart). With them the trees of recent objects are kept (`recent.rs`).

mod cache;

use std::sync::Arc;

use bytes::Bytes;
use kinds::json::EncodedTree;
use kinds::selector::Labels;
use kinds::tree::Text;
use kinds::{Tree, json};
use memchr::memmem;
use store::{Record, Txn};

use crate::custom::definition::{self, Definition};
use crate::key;
use crate::kind;
use crate::object;
use crate::pod::eviction::{BudgetFacts, PodFacts};
use crate::resource::ResourceRef;
use crate::tree as path;
use cache::Slot;

pub(crate) use cache::TreeCache;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Labels, sorted by key.
    pub(crate) labels: Vec<(String, String)>,
    /// Selectable fields beyond name and namespace.
    pub(crate) fields: Vec<(Text, String)>,
    /// What is particular about the kind.
    pub(crate) more: More,
    /// The object itself while it is cached.
    slot: Slot,
}

/// What only some kinds have.
#[derive(Debug, Default)]
pub(crate) enum More {
    /// Nothing.
    #[default]
    None,
    /// What an eviction asks of a pod.
    Pod(PodFacts),
    /// What an eviction asks of a budget.
    Budget(Box<BudgetFacts>),
    /// True for a namespace on its way out.
    Namespace(bool),
    /// What a definition of a custom kind says.
    Definition(Option<Definition>),
    /// Addresses and ports that a service holds.
    Service(Vec<String>, Vec<i64>),
}

impl Facts {
    /// The facts of a tree.
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
        let more = match resource.group_and_plural() {
            ("", "pods") => More::Pod(PodFacts::of(tree)),
            ("policy", "poddisruptionbudgets") => More::Budget(Box::new(BudgetFacts::of(tree))),
            ("", "namespaces") => {
                More::Namespace(crate::admission::namespace::is_terminating(tree))
            }
            ("", "services") => More::Service(
                crate::service::addresses(tree),
                crate::service::node_ports(tree),
            ),
            _ if definition::is_definition(resource) => More::Definition(Definition::of(tree)),
            _ => More::None,
        };
        Self {
            labels,
            fields,
            more,
            slot: Slot::empty(),
        }
    }

    /// True for a namespace on its way out.
    pub(crate) fn is_terminating(&self) -> bool {
        matches!(self.more, More::Namespace(true))
    }

    /// The value of one selectable field; `key` is the record's.
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

/// The facts of a record, made now if nobody has asked before.
pub(crate) fn facts<'a>(resource: &ResourceRef, record: &'a Record) -> &'a Facts {
    static NOTHING: Facts = Facts {
        labels: Vec::new(),
        fields: Vec::new(),
        more: More::None,
        slot: Slot::empty(),
    };
    let memo = record
        .memo
        .get_or_init(|| Arc::new(Facts::of(resource, &tree(&record.value))));
    memo.downcast_ref::<Facts>().unwrap_or(&NOTHING)
}

/// The object of a record, which is parsed only when it is not one of the recent ones.
pub(crate) fn tree_of(cache: &TreeCache, resource: &ResourceRef, record: &Record) -> Tree {
    let mut parsed = None;
    let memo = record
        .memo
        .get_or_init(|| Arc::new(Facts::of(resource, parsed.insert(tree(&record.value)))));
    let Ok(facts) = Arc::clone(memo).downcast::<Facts>() else {
        return tree(&record.value);
    };
    facts.slot.get().unwrap_or_else(|| {
        let tree = parsed.unwrap_or_else(|| tree(&record.value));
        cache.insert(&facts, tree.clone(), record.value.len());
        tree
    })
}

/// Stored bytes as a tree. What we wrote ourselves parses; if a damaged store hands out something
/// else it reads as null and the object looks empty, which is better than a panic.
pub(crate) fn tree(bytes: &[u8]) -> Tree {
    serde_json::from_slice(bytes).unwrap_or_else(|error| {
        tracing::error!(%error, "a stored object does not parse");
        Tree::Null
    })
}

/// The bytes of an object.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    /// What parsing them gives, if that is known.
    reread: Option<Tree>,
}

/// The present state of an object: its tree as [`tree_of`] gives it, and its bytes.
pub(crate) fn written<'a>(tree: &'a Tree, record: &'a Record) -> EncodedTree<'a> {
    EncodedTree {
        tree,
        bytes: &record.value,
    }
}

/// An object's bytes at a resource version; what it shares with an earlier state is taken from
/// there.
pub(crate) fn encode(
    resource: &ResourceRef,
    tree: &mut Tree,
    revision: u64,
    earlier: Option<EncodedTree<'_>>,
) -> Encoded {
    set_revision(tree, revision);
    let (bytes, reread) = json::encode_and_reread(tree, resource.ty, earlier);
    debug_assert!(
        is_alike(&bytes, tree, resource),
        "taken from an earlier state: {}",
        String::from_utf8_lossy(&bytes)
    );
    debug_assert!(
        reread
            .as_ref()
            .is_none_or(|reread| self::tree(&bytes) == *reread),
        "{reread:?} is not what is written: {}",
        String::from_utf8_lossy(&bytes)
    );
    // A copy of its own: the buffer has more room than most objects need, and objects stay for
    // long.
    Encoded {
        bytes: Bytes::copy_from_slice(&bytes),
        reread,
    }
}

/// Whether the bytes are those of the tree. An earlier state may be the work of an older program,
/// which wrote the same in another form, so that what is read has to be the same.
fn is_alike(bytes: &[u8], object: &Tree, resource: &ResourceRef) -> bool {
    let whole = json::encode(object, resource.ty);
    whole == bytes || json::equal(&tree(&whole), &tree(bytes), resource.ty)
}

fn set_revision(tree: &mut Tree, revision: u64) {
    object::meta(tree).insert("resourceVersion", revision.to_string().into());
}

/// Writes an object at the revision that its write takes, and gives back its record.
pub(crate) fn put(
    txn: &mut Txn,
    cache: &TreeCache,
    resource: &ResourceRef,
    key: &str,
    tree: Tree,
) -> Arc<Record> {
    put_over(txn, cache, resource, key, tree, None)
}

/// The same for the successor of an earlier state.
pub(crate) fn put_over(
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

/// The same for a tree that has been encoded at that revision.
pub(crate) fn put_encoded(
    txn: &mut Txn,
    cache: &TreeCache,
    resource: &ResourceRef,
    key: &str,
    tree: &Tree,
    encoded: Encoded,
) -> Arc<Record> {
    let facts = Arc::new(Facts::of(resource, tree));
    forget(txn, key);
    if let Some(reread) = encoded.reread {
        cache.insert(&facts, reread, encoded.bytes.len());
    }
    txn.put(key, encoded.bytes, Some(facts))
}

/// An object that is ready to be written: all that need not wait for its turn in the queue of
/// commits is done.
pub(crate) struct Ready {
    encoded: Encoded,
    facts: Arc<Facts>,
}

impl Ready {
    /// The object as reading it will give it, with its bytes, but for its version; `None` when only
    /// reading tells.
    pub(crate) fn written(&self) -> Option<EncodedTree<'_>> {
        self.encoded.reread.as_ref().map(|tree| EncodedTree {
            tree,
            bytes: &self.encoded.bytes,
        })
    }
}

/// Makes an object ready; the version that it has does not matter.
pub(crate) fn ready(
    resource: &ResourceRef,
    mut tree: Tree,
    earlier: Option<EncodedTree<'_>>,
) -> Ready {
    let encoded = encode(resource, &mut tree, 0, earlier);
    let facts = Arc::new(Facts::of(resource, &tree));
    Ready { encoded, facts }
}

/// Writes what is ready at the revision that its write takes, and gives back its record.
pub(crate) fn put_ready(txn: &mut Txn, cache: &TreeCache, key: &str, ready: &Ready) -> Arc<Record> {
    let record = put_passing(txn, key, ready);
    if let Some(reread) = &ready.encoded.reread {
        let mut tree = reread.clone();
        set_revision(&mut tree, record.modified.0);
        debug_assert!(
            self::tree(&record.value) == tree,
            "{key} is not what is written"
        );
        cache.insert(&ready.facts, tree, record.value.len());
    }
    record
}

/// The same for a state that is mostly replaced or removed at once: hardly anybody will ask for its
/// tree.
pub(crate) fn put_passing(txn: &mut Txn, key: &str, ready: &Ready) -> Arc<Record> {
    let bytes = at_revision(&ready.encoded.bytes, txn.next_revision().0);
    let facts: Arc<Facts> = Arc::clone(&ready.facts);
    // It may have been written before, at another version.
    facts.slot.clear();
    forget(txn, key);
    txn.put(key, bytes, Some(facts))
}

/// Removes an object; its last event shows `last` at the revision of the removal.
pub(crate) fn remove(txn: &mut Txn, key: &str, last: &Bytes) -> Option<Arc<Record>> {
    let bytes = at_revision(last, txn.next_revision().0);
    forget(txn, key);
    txn.remove(key, Some(bytes))
}

/// Forgets the tree of the state that is about to be replaced, which stays in the history for long.
/// Who needs that state once more, because the commit is not visible yet or will not be made,
/// parses it and keeps it again.
fn forget(txn: &Txn, key: &str) {
    if let Some(facts) = txn
        .peek(key)
        .and_then(|record| record.memo.get()?.downcast_ref::<Facts>())
    {
        facts.slot.clear();
    }
}

/// The same bytes with another resource version.
pub(crate) fn at_revision(bytes: &Bytes, revision: u64) -> Bytes {
    const MEMBER: &[u8] = b"\"resourceVersion\":\"";
    // The member stands in the metadata, before anything that a user can nest; quotes inside of
    // texts are escaped, so the first occurrence is the member itself.
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

/// The same object without a resource version, as the rehearsal of a create answers.
pub(crate) fn without_revision(resource: &ResourceRef, bytes: &[u8]) -> Bytes {
    let mut tree = tree(bytes);
    object::meta(&mut tree).remove("resourceVersion");
    json::encode(&tree, resource.ty).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_objects_own_version_is_replaced() {
        let bytes = Bytes::from_static(
            br#"{"metadata":{"name":"a\"resourceVersion\":\"1","resourceVersion":"7","labels":{"resourceVersion":"7"}}}"#,
        );
        let changed = at_revision(&bytes, 12);
        let text = std::str::from_utf8(&changed).expect("text");
        assert_eq!(
            text,
            r#"{"metadata":{"name":"a\"resourceVersion\":\"1","resourceVersion":"12","labels":{"resourceVersion":"7"}}}"#
        );
    }
}
