//! DELETE of one object and of a collection: read the options, decide (`delete/decide.rs`, pure),
//! then set the deletion timestamp, remove the key, or both, in one commit.
//!
//! Namespaces and definitions are deleted in steps of their own, in `delete/namespace.rs` and
//! `delete/definition.rs`; all other kinds in `delete/object.rs`.

use futures::StreamExt as _;
use kinds::status::{Details, Status};
use store::Txn;

mod decide;
mod definition;
mod namespace;
mod object;

pub(crate) use decide::{uid_conflict, version_conflict};
pub(crate) use object::{Deletion, carry_out, prepare};

use self::object::Deleted;
use crate::request::{DeleteOptions, DeleteRequest, ListOptions, Refusal, Reply};
use crate::target::Target;
use crate::{Registry, admission, key, options};

/// How many objects of a collection are deleted concurrently.
const CONCURRENT_DELETIONS: usize = 128;

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
            .commit_or_dry_run(dry_run, move |txn| {
                if crate::namespace::is_namespace(&place.stored) {
                    namespace::delete_in(txn, &place, &asked)
                } else {
                    delete_in(txn, &place, &asked)
                }
            })
            .await?;
        Ok(self.answer(&target, &options, deleted, warnings))
    }

    /// Deletes the objects that a list with these options returns. The answer is that list.
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
                self.commit_or_dry_run(dry_run, move |txn| delete_in(txn, &place, &asked))
            })
            .collect();
        // Concurrent commits share one sync on disk.
        let mut deleted = futures::stream::iter(deletions).buffered(CONCURRENT_DELETIONS);
        while let Some(outcome) = deleted.next().await {
            match outcome {
                // Another request may have deleted the object since the list was read.
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
        // As upstream, 202 only for the deprecated `orphanDependents: false` while the object
        // remains.
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

/// Warns a client that deletes a job without a propagation policy: jobs orphan their pods by
/// default.
fn propagation_warnings(target: &Target, options: &DeleteOptions) -> Vec<String> {
    let silent = options.propagation_policy.is_none() && options.orphan_dependents.is_none();
    if silent && target.resource.group == "batch" && target.resource.plural == "jobs" {
        let text = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or \
                    set propagationPolicy=Orphan to suppress this warning";
        return vec![text.to_owned()];
    }
    Vec::new()
}

/// Deletes an object of any kind that has a `deletecollection`, which namespaces have not.
fn delete_in(txn: &mut Txn, target: &Target, options: &DeleteOptions) -> Result<Deleted, Refusal> {
    if crate::definition::is_definition(&target.stored) {
        definition::delete_in(txn, target, options)
    } else {
        object::delete_in(txn, target, options)
    }
}
