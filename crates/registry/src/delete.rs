//! DELETE of one object and of a collection: read the options, decide (`delete/decide.rs`, pure),
//! write the mark, remove the key, or both, in one commit.
//!
//! Namespaces have a life of their own and are sent to `namespace.rs`.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use kinds::Tree;
use kinds::json::EncodedTree;
use kinds::status::{Details, GroupResource, Status};
use store::{Record, Txn};

pub(crate) mod decide;

use self::decide::Step;
use crate::custom::definition;
use crate::key;
use crate::record::Ready;
use crate::request::{DeleteOptions, DeleteRequest, ListOptions, Refusal, Reply};
use crate::target::Target;
use crate::{Registry, admission, namespace, object, options, record};

/// How many objects of a collection are on their way to the disk at the same time.
const CONCURRENT_DELETIONS: usize = 128;

/// What became of an object that was deleted.
pub(crate) struct Deleted {
    /// Its last or its present state.
    pub(crate) json: Bytes,
    /// True when it is gone.
    pub(crate) gone: bool,
    uid: String,
}

impl Deleted {
    /// What became of `before`.
    pub(crate) fn new(json: Bytes, gone: bool, before: &Tree) -> Self {
        Self {
            json,
            gone,
            uid: object::meta_text(before, "uid").to_owned(),
        }
    }
}

impl Registry {
    /// Deletes one object.
    pub(crate) async fn delete(
        &self,
        target: Target,
        request: &DeleteRequest,
    ) -> Result<Reply, Refusal> {
        let options = options::of_delete(request)?;
        admission::namespace::check_delete(&target)?;
        let dry_run = !options.dry_run.is_empty();
        let warnings = propagation_warnings(&target, &options);
        let (place, asked) = (target.clone(), options.clone());
        let deleted = self
            .commit_or_rehearse(dry_run, move |txn| {
                if namespace::is_namespace(&place.stored) {
                    namespace::delete_in(txn, &place, &asked)
                } else if definition::is_definition(&place.stored) {
                    definition::delete_in(txn, &place, &asked)
                } else {
                    delete_in(txn, &place, &asked)
                }
            })
            .await?;
        Ok(self.answer(&target, &options, deleted, warnings))
    }

    /// Deletes what a list would show; the answer is that list as it was.
    pub(crate) async fn delete_collection(
        &self,
        target: Target,
        list: ListOptions,
        request: &DeleteRequest,
    ) -> Result<Reply, Refusal> {
        let options = options::of_delete(request)?;
        let dry_run = !options.dry_run.is_empty();
        let (page, records) = self.select(&target, &list).await?;
        let deletions: Vec<_> = records
            .iter()
            .map(|record| {
                let (namespace, name) = key::namespace_and_name(&record.key);
                let (place, asked) = (target.clone().at(namespace, name), options.clone());
                self.commit_or_rehearse(dry_run, move |txn| {
                    if definition::is_definition(&place.stored) {
                        definition::delete_in(txn, &place, &asked)
                    } else {
                        delete_in(txn, &place, &asked)
                    }
                })
            })
            .collect();
        // Several at a time, so that a store on disk syncs them together.
        let mut deleted = futures::stream::iter(deletions).buffered(CONCURRENT_DELETIONS);
        while let Some(outcome) = deleted.next().await {
            match outcome {
                Err(refusal) if refusal.status.reason != "NotFound" => return Err(refusal),
                _ => {}
            }
        }
        Ok(self.render_list(&target, page, &records))
    }

    fn answer(
        &self,
        target: &Target,
        options: &DeleteOptions,
        deleted: Deleted,
        warnings: Vec<String>,
    ) -> Reply {
        if deleted.gone && !target.rules.returns_deleted_object() {
            let details = Details {
                name: target.name.clone(),
                group: target.resource.group.to_string(),
                kind: target.resource.plural.to_string(),
                uid: deleted.uid,
                ..Details::default()
            };
            let status = Status {
                details: Some(details),
                ..Status::success(0)
            };
            return Reply::Status {
                status,
                code: 200,
                warnings,
            };
        }
        let code = if !deleted.gone && options.orphan_dependents == Some(false) {
            202
        } else {
            200
        };
        Reply::Object {
            code,
            json: self.present(target, &deleted.json),
            warnings,
        }
    }
}

/// Jobs have always orphaned their pods by default; clients that do not say what they want are
/// told.
fn propagation_warnings(target: &Target, options: &DeleteOptions) -> Vec<String> {
    let silent = options.propagation_policy.is_none() && options.orphan_dependents.is_none();
    if silent && target.resource.group == "batch" && target.resource.plural == "jobs" {
        let text = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or \
                    set propagationPolicy=Orphan to suppress this warning";
        return vec![text.to_owned()];
    }
    Vec::new()
}

/// Deletes inside a commit.
pub(crate) fn delete_in(
    txn: &mut Txn,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Deleted, Refusal> {
    let key = target.key();
    let found = txn.get(&key).ok_or_else(|| target.not_found())?;
    let before = record::tree_of(&target.trees, &target.stored, &found);
    let deletion = prepare(
        target,
        &before,
        Some(record::written(&before, &found)),
        options,
    )?;
    Ok(carry_out(txn, target, &found, &deletion))
}

/// A deletion that is decided and ready to be written.
pub(crate) struct Deletion {
    next: Next,
    uid: String,
}

/// What a deletion makes of an object.
enum Next {
    Same,
    Marked(Ready),
    MarkedAndRemoved(Ready),
    Removed,
}

/// Decides about an object, and makes ready what is to be written. `earlier` is the object, too, if
/// its bytes are known.
pub(crate) fn prepare(
    target: &Target,
    object: &Tree,
    earlier: Option<EncodedTree<'_>>,
    options: &DeleteOptions,
) -> Result<Deletion, Refusal> {
    let next = match decide::decide(
        object,
        &target.stored.kind,
        &target.rules,
        options,
        target.now,
    )? {
        Step::Wait => Next::Same,
        Step::Mark(next) if next == *object => Next::Same,
        Step::Mark(next) => Next::Marked(record::ready(&target.stored, next, earlier)),
        Step::MarkAndRemove(next) => {
            Next::MarkedAndRemoved(record::ready(&target.stored, next, earlier))
        }
        Step::Remove => Next::Removed,
    };
    Ok(Deletion {
        next,
        uid: object::meta_text(object, "uid").to_owned(),
    })
}

/// Writes a deletion of the object whose present record is `found`.
pub(crate) fn carry_out(
    txn: &mut Txn,
    target: &Target,
    found: &Arc<Record>,
    deletion: &Deletion,
) -> Deleted {
    let key = &*found.key;
    let (json, gone) = match &deletion.next {
        Next::Same => (found.value.clone(), false),
        Next::Marked(ready) => (
            record::put_ready(txn, &target.trees, key, ready)
                .value
                .clone(),
            false,
        ),
        Next::MarkedAndRemoved(ready) => {
            let marked = record::put_passing(txn, key, ready);
            (remove(txn, &marked), true)
        }
        Next::Removed => (remove(txn, found), true),
    };
    if gone {
        definition::release(txn, target, &target.resource);
    }
    Deleted {
        json,
        gone,
        uid: deletion.uid.clone(),
    }
}

/// Removes a record; gives back its last state.
pub(crate) fn remove(txn: &mut Txn, last: &Arc<Record>) -> Bytes {
    record::remove(txn, &last.key, &last.value)
        .map_or_else(|| last.value.clone(), |removed| removed.value.clone())
}

/// 409 of a delete that means another object of the name.
pub(crate) fn uid_conflict(kind: &str, name: &str, asked: &str, found: &str) -> Refusal {
    let why = format!(
        "the UID in the precondition ({asked}) does not match the UID in record ({found}). The object might have been deleted and then recreated"
    );
    Status::conflict(
        GroupResource {
            group: "",
            resource: kind,
        },
        name,
        why,
    )
    .into()
}

/// 409 of a delete that means another state of the object.
pub(crate) fn version_conflict(kind: &str, name: &str, asked: &str, found: &str) -> Refusal {
    let why = format!(
        "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({found}). The object might have been modified"
    );
    Status::conflict(
        GroupResource {
            group: "",
            resource: kind,
        },
        name,
        why,
    )
    .into()
}
