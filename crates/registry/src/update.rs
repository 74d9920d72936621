//! PUT, and the part that PUT and PATCH share: read an object, produce its new state and write it,
//! inside one commit.
//!
//! Because the new state is produced where the old one is read, a patch never conflicts with
//! another write. Only a client that names a resource version can get a conflict.

use bytes::Bytes;
use kinds::Tree;
use kinds::status::{FieldError, Status};
use store::{Record, Txn};

use crate::body::{self, ExpectedKind};
use crate::definition;
use crate::request::{DecodedObject, Refusal, Reply, RequestBody, WriteOptions};
use crate::target::Target;
use crate::{
    Registry, admission, convert, create, managers, namespace, object, options, read, record,
    service, size, tree,
};

/// How an object is to be changed.
pub(crate) struct ObjectUpdate<'a> {
    /// The object.
    pub(crate) target: &'a Target,
    /// The subresource that is written, as the rules name it; empty for the object itself.
    pub(crate) subresource: &'a str,
    /// True when the new state comes with its managed fields.
    pub(crate) has_managers: bool,
    /// The options of the request.
    pub(crate) write: &'a WriteOptions,
    /// The origin of the new state.
    pub(crate) origin: Origin,
}

/// The origin of an object's new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// PUT: the client sent all of it.
    Put,
    /// PATCH: it was produced from the present state.
    Patch,
    /// Server-side apply: it was merged with the present state, or creates the object.
    Apply,
}

/// The result of a change.
pub(crate) struct Changed {
    /// The object as it is now.
    pub(crate) json: Bytes,
    /// True when the change created the object.
    pub(crate) created: bool,
    /// Warnings for the client.
    pub(crate) warnings: Vec<String>,
}

impl Registry {
    /// Replaces an object, or the part of it that the subresource covers.
    pub(crate) async fn update(
        &self,
        target: Target,
        subresource: &str,
        body: RequestBody,
        write: WriteOptions,
    ) -> Result<Reply, Refusal> {
        let dry_run = options::dry_run(&write, "UpdateOptions")?;
        let DecodedObject {
            tree: mut sent,
            mut warnings,
        } = body::decode(
            &body,
            ExpectedKind::of(&target.resource),
            write.field_validation,
        )?;
        check_name(&target, &sent)?;
        create::check_place(&target, &mut sent)?;
        convert::to_stored(&target, &mut sent);
        let change = ObjectUpdate {
            target: &target,
            subresource,
            has_managers: false,
            write: &write,
            origin: Origin::Put,
        };
        let changed = self
            .change(&change, dry_run, |_| {
                Ok(DecodedObject {
                    tree: sent.clone(),
                    warnings: Vec::new(),
                })
            })
            .await;
        let changed = changed.map_err(|refusal| body::with_warnings(refusal, &warnings))?;
        warnings.extend(changed.warnings);
        let code = if changed.created { 201 } else { 200 };
        Ok(Reply::Object {
            code,
            json: self.present(&target, &changed.json),
            warnings,
        })
    }

    /// Carries out a change. `produce` returns the new state for the present one, which is `None`
    /// when the object does not exist; it runs again when the commit is retried.
    pub(crate) async fn change(
        &self,
        change: &ObjectUpdate<'_>,
        dry_run: bool,
        produce: impl Fn(Option<&Tree>) -> Result<DecodedObject, Refusal> + Send + Sync,
    ) -> Result<Changed, Refusal> {
        self.commit_or_dry_run(dry_run, |txn| match txn.get(&change.target.key()) {
            Some(found) => self.change_in(txn, change, dry_run, &found, &produce),
            None if may_create(change) => self.create_in(txn, change, dry_run, &produce),
            None => Err(change.target.not_found()),
        })
        .await
    }

    fn create_in(
        &self,
        txn: &mut Txn,
        change: &ObjectUpdate<'_>,
        dry_run: bool,
        produce: &impl Fn(Option<&Tree>) -> Result<DecodedObject, Refusal>,
    ) -> Result<Changed, Refusal> {
        let ObjectUpdate { target, write, .. } = change;
        let DecodedObject {
            tree: mut object,
            mut warnings,
        } = produce(None)?;
        // A client that names a uid or a version refers to an object that existed.
        let uid = object::meta_text(&object, "uid");
        if change.origin == Origin::Put && !uid.is_empty() {
            return Err(target.replaced(uid, ""));
        }
        if change.origin == Origin::Put
            && read::parse_version(object::meta_text(&object, "resourceVersion"))?.is_some()
        {
            return Err(target.not_found());
        }
        object::meta(&mut object).remove("resourceVersion");
        let draft = self.draft(txn, target, object, |object| {
            if !change.has_managers {
                managers::created(object, target, write);
            }
        });
        let draft = draft.map_err(|refusal| body::with_warnings(refusal, &warnings))?;
        let json = self.store_draft(txn, target, &draft)?;
        let json = if dry_run {
            record::without_revision(&target.stored, &json)
        } else {
            json
        };
        warnings.extend(draft.warnings);
        Ok(Changed {
            json,
            created: true,
            warnings,
        })
    }

    fn change_in(
        &self,
        txn: &mut Txn,
        change: &ObjectUpdate<'_>,
        dry_run: bool,
        found: &Record,
        produce: &impl Fn(Option<&Tree>) -> Result<DecodedObject, Refusal>,
    ) -> Result<Changed, Refusal> {
        let target = change.target;
        let old = record::tree_of(&target.trees, &target.stored, found);
        let version = object::meta_text(&old, "resourceVersion");
        if let Some(authorized) = &change.write.authorized_version
            && authorized != version
        {
            return Err(target.modified());
        }
        let DecodedObject {
            tree: mut new,
            mut warnings,
        } = produce(Some(&old))?;
        check_identity(change, &mut new, &old)?;
        admission::node_restriction::update(target, change.subresource, &new, &old)?;
        let rules = &target.rules;
        let context = self.context(target, change.subresource);
        rules.default(&mut new);
        size::check_change(&new, &old, found.value.len())?;
        if change.subresource.is_empty() {
            admission::mutate_update(target, &mut new, &old);
        }
        rules.prepare_update(&context, &mut new, &old);
        // After the strategy has reset what this path may not change, so that such fields get no
        // owner.
        if !change.has_managers {
            let author = managers::Author::new(target, change.subresource, change.write);
            managers::updated(&mut new, &old, target, &author);
        }
        let faults = rules.validate_update(&context, &new, &old);
        if !faults.is_empty() {
            let refused =
                Status::invalid_fields(target.resource.group_kind(), &target.name, &faults);
            return Err(body::with_warnings(refused.into(), &warnings));
        }
        admission::validate_update(txn, target, change.subresource, &new, &old)?;
        if service::is_service(&target.stored) && change.subresource.is_empty() {
            service::allocate(self, txn, target, &mut new, Some(&old))?;
        }
        warnings.extend(rules.warnings(&context, &new, Some(&old)));
        target.settle(&mut new);
        // The version was compared above. With the old one, an unchanged object equals `old` and
        // nothing is written.
        tree::carry(&old, &mut new, &["metadata", "resourceVersion"]);
        let json = store_change(txn, target, found, &old, new);
        size::check_bytes(json.len(), found.value.len())?;
        if definition::is_definition(&target.stored) {
            // The group of a definition is immutable, so the old object names it as well.
            definition::settle(txn, target, tree::text(&old, &["spec", "group"]));
        }
        let json = if dry_run {
            record::with_revision(&json, found.modified.0)
        } else {
            json
        };
        Ok(Changed {
            json,
            created: false,
            warnings,
        })
    }
}

/// Writes the new state, unless it equals the old one. Removes the object instead when this change
/// removed the last finalizer of a terminating object.
fn store_change(
    txn: &mut Txn,
    target: &Target,
    found: &Record,
    old: &Tree,
    mut new: Tree,
) -> Bytes {
    if new == *old {
        return found.value.clone();
    }
    let next = txn.next_revision().0;
    let encoded = record::encode(
        &target.stored,
        &mut new,
        next,
        Some(record::written(old, found)),
    );
    // Trees that differ may still encode to equal bytes.
    if encoded.bytes == record::with_revision(&found.value, next) {
        return found.value.clone();
    }
    if !is_released(target, &new, old) {
        return record::put_encoded(
            txn,
            &target.trees,
            &target.stored,
            &found.key,
            &new,
            encoded,
        )
        .value
        .clone();
    }
    // As upstream: the watch event has the state that was last stored, the answer the new one.
    record::remove(txn, &found.key, &found.value);
    definition::release(txn, target, &target.resource);
    if service::is_service(&target.stored) {
        service::release(txn, &target.stored, found);
    }
    encoded.bytes
}

/// Returns true when the change removed the last thing that kept a terminating object.
fn is_released(target: &Target, new: &Tree, old: &Tree) -> bool {
    if namespace::is_namespace(&target.stored) {
        return namespace::is_released(new);
    }
    object::terminating(new)
        && object::finalizers(new).is_empty()
        && !object::finalizers(old).is_empty()
        && tree::int(new, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
}

/// Returns true when the change may create its object: apply may for every kind, PUT for the kinds
/// where upstream's does.
fn may_create(change: &ObjectUpdate<'_>) -> bool {
    let allowed = match change.origin {
        Origin::Put => change.target.rules.allow_create_on_update(),
        Origin::Patch => false,
        Origin::Apply => true,
    };
    allowed && change.subresource.is_empty()
}

/// Refuses a body that names another object than the path, with 400.
pub(crate) fn check_name(target: &Target, object: &Tree) -> Result<(), Refusal> {
    let name = object::meta_text(object, "name");
    let text = if name.is_empty() {
        format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            target.name
        )
    } else if name != target.name {
        format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )
    } else {
        return Ok(());
    };
    Err(Status::bad_request(text).into())
}

/// Checks that uid and resource version of the new state, where given, are those of the object.
fn check_identity(change: &ObjectUpdate<'_>, new: &mut Tree, old: &Tree) -> Result<(), Refusal> {
    let target = change.target;
    check_name(target, new)?;
    let (uid, found) = (object::meta_text(new, "uid"), object::meta_text(old, "uid"));
    if change.origin == Origin::Put && !uid.is_empty() && uid != found {
        return Err(target.replaced(uid, found));
    }
    check_version(
        change,
        object::meta_text(new, "resourceVersion"),
        object::meta_text(old, "resourceVersion"),
    )
}

fn check_version(change: &ObjectUpdate<'_>, asked: &str, found: &str) -> Result<(), Refusal> {
    let target = change.target;
    if asked == found {
        return Ok(());
    }
    match asked {
        "" | "0" if target.rules.allow_unconditional_update() || change.origin == Origin::Apply => {
            Ok(())
        }
        "" | "0" => {
            let fault = FieldError::invalid(
                "metadata.resourceVersion",
                &Tree::from(0),
                "must be specified for an update",
            );
            Err(Status::invalid(target.resource.group_resource(), &target.name, &[fault]).into())
        }
        garbage if garbage.parse::<u64>().is_err() => {
            Err(Status::untyped(read::number_fault(garbage)).into())
        }
        _ => Err(target.modified()),
    }
}
