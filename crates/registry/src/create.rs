//! POST of an object: decode, fill in defaults, admit, validate, and store it if its name is free.
//!
//! A PUT or an apply that names an object that does not exist creates it by these steps, too,
//! inside its own commit.

use bytes::Bytes;
use kinds::Tree;
use kinds::status::Status;
use store::Txn;

use crate::body::{self, ExpectedKind};
use crate::definition;
use crate::record::Prepared;
use crate::request::{Refusal, Reply, RequestBody, WriteOptions};
use crate::strategy::StrategyContext;
use crate::target::Target;
use crate::view::StoreView;
use crate::{Registry, admission, convert, managers, object, options, record, service, size, tree};

/// The number of random characters that follow `generateName`, and the length to which the prefix
/// is cut so that both fit into a name.
const SUFFIX_CHARACTERS: usize = 5;
const MAX_PREFIX_BYTES: usize = 58;
/// How many generated names are tried until one is free.
const GENERATE_ATTEMPTS: usize = 8;

/// A new object that has passed all checks except whether its name is free.
pub(crate) struct Draft {
    /// The object.
    pub(crate) object: Tree,
    /// Warnings for the client.
    pub(crate) warnings: Vec<String>,
    generated: bool,
    /// The encoded object, unless a part of it is decided in the commit.
    prepared: Option<Prepared>,
}

impl Registry {
    /// Creates an object.
    pub(crate) async fn create(
        &self,
        target: Target,
        body: &RequestBody,
        write: &WriteOptions,
    ) -> Result<Reply, Refusal> {
        let dry_run = options::dry_run(write, "CreateOptions")?;
        let decoded = body::decode(
            body,
            ExpectedKind::of(&target.resource),
            write.field_validation,
        )?;
        let (mut object, mut warnings) = (decoded.tree, decoded.warnings);
        convert::to_stored(&target, &mut object);
        let created = self.create_tree(&target, object, write, dry_run).await;
        let (json, more) = created.map_err(|refusal| body::with_warnings(refusal, &warnings))?;
        warnings.extend(more);
        Ok(Reply::Object {
            code: 201,
            json: self.present(&target, &json),
            warnings,
        })
    }

    async fn create_tree(
        &self,
        target: &Target,
        object: Tree,
        write: &WriteOptions,
        dry_run: bool,
    ) -> Result<(Bytes, Vec<String>), Refusal> {
        self.await_default_account(target, &object).await;
        let mut draft = self.draft(&self.store().snapshot(), target, object, |object| {
            managers::created(object, target, write)
        })?;
        // Services get addresses inside the commit.
        draft.prepared = (!service::is_service(&target.stored))
            .then(|| record::prepare(&target.stored, draft.object.clone(), None));
        let json = self
            .commit_or_dry_run(dry_run, |txn| self.store_draft(txn, target, &draft))
            .await?;
        let json = if dry_run {
            record::without_revision(&target.stored, &json)
        } else {
            json
        };
        Ok((json, draft.warnings))
    }

    /// Does everything for a new object that does not need the commit. `own` records the owner of
    /// its fields.
    pub(crate) fn draft(
        &self,
        view: &impl StoreView,
        target: &Target,
        object: Tree,
        own: impl FnOnce(&mut Tree),
    ) -> Result<Draft, Refusal> {
        let mut draft = self.unchecked_draft(view, target, object, own)?;
        let (object, context) = (&draft.object, self.context(target, ""));
        let faults = target.rules.validate_create(&context, object);
        if !faults.is_empty() {
            return Err(Status::invalid_fields(
                target.resource.group_kind(),
                object::meta_text(object, "name"),
                &faults,
            )
            .into());
        }
        admission::validate(view, target, object)?;
        let version = object::meta_text(object, "resourceVersion");
        if !version.is_empty() && version != "0" {
            return Err(Status::untyped(
                "resourceVersion should not be set on objects to be created",
            )
            .into());
        }
        draft.warnings = target.rules.warnings(&context, object, None);
        target.settle(&mut draft.object);
        Ok(draft)
    }

    /// Does everything that precedes validation. Only the system's own objects are stored without
    /// it.
    pub(crate) fn unchecked_draft(
        &self,
        view: &impl StoreView,
        target: &Target,
        mut object: Tree,
        own: impl FnOnce(&mut Tree),
    ) -> Result<Draft, Refusal> {
        check_place(target, &mut object)?;
        remove_system_fields(&mut object);
        target.rules.default(&mut object);
        size::check_tree(&object, 0)?;
        // Fields that the server adds after this have no owner.
        own(&mut object);
        admission::namespace::check(
            view,
            &target
                .clone()
                .at(target.namespace.clone(), object::shown_name(&object)),
        )?;
        admission::mutate(self, view, target, &mut object)?;
        let generated = self.name(&mut object);
        let meta = object::meta(&mut object);
        meta.insert("uid", self.entropy().uid().into());
        meta.insert("creationTimestamp", object::wire_time(target.now).into());
        target
            .rules
            .prepare_create(&self.context(target, ""), &mut object);
        Ok(Draft {
            object,
            warnings: Vec::new(),
            generated,
            prepared: None,
        })
    }

    /// Returns what the rules of a kind may know about a request.
    pub(crate) fn context<'a>(
        &self,
        target: &'a Target,
        subresource: &'a str,
    ) -> StrategyContext<'a> {
        StrategyContext {
            now: target.now,
            subresource,
            gates: self.options().gates,
        }
    }

    /// Stores a draft if its name is free and its namespace still accepts objects.
    pub(crate) fn store_draft(
        &self,
        txn: &mut Txn,
        target: &Target,
        draft: &Draft,
    ) -> Result<Bytes, Refusal> {
        let mut object = draft.object.clone();
        let name = object::meta_text(&object, "name").to_owned();
        let mut place = target.clone().at(target.namespace.clone(), name);
        admission::namespace::check(txn, &place)?;
        definition::check_open(txn, &target.resource)?;
        let mut attempts = 1;
        while let Some(found) = txn.get(&place.key()) {
            if !draft.generated || attempts >= GENERATE_ATTEMPTS {
                return Err(already_exists(&place, &found.value));
            }
            attempts += 1;
            self.name_again(&mut object);
            object::meta_text(&object, "name").clone_into(&mut place.name);
        }
        if service::is_service(&target.stored) {
            service::allocate(self, txn, target, &mut object, None)?;
        }
        let stored = match &draft.prepared {
            // The prepared bytes hold the first name.
            Some(prepared) if attempts == 1 => {
                record::put_prepared(txn, &target.trees, &place.key(), prepared)
            }
            _ => record::put(txn, &target.trees, &target.stored, &place.key(), object),
        };
        size::check_bytes(stored.value.len(), 0)?;
        if definition::is_definition(&target.stored) {
            definition::settle(txn, target, tree::text(&draft.object, &["spec", "group"]));
        }
        Ok(stored.value.clone())
    }

    /// Generates a name from `generateName` if the object has none; returns true if it did.
    fn name(&self, object: &mut Tree) -> bool {
        let wanted = object::meta_text(object, "name").is_empty()
            && !object::meta_text(object, "generateName").is_empty();
        if wanted {
            self.name_again(object);
        }
        wanted
    }

    fn name_again(&self, object: &mut Tree) {
        let prefix = object::meta_text(object, "generateName");
        let cut = (0..=prefix.len().min(MAX_PREFIX_BYTES))
            .rev()
            .find(|&end| prefix.is_char_boundary(end))
            .unwrap_or(0);
        let name = format!(
            "{}{}",
            &prefix[..cut],
            self.entropy().suffix(SUFFIX_CHARACTERS)
        );
        object::meta(object).insert("name", name.into());
    }
}

/// Sets the namespace of the path, which a body may leave out but not contradict; removes it from
/// cluster-scoped objects.
pub(crate) fn check_place(target: &Target, object: &mut Tree) -> Result<(), Refusal> {
    if !target.resource.namespaced {
        tree::take(object, &["metadata", "namespace"]);
        return Ok(());
    }
    let namespace = object::meta_text(object, "namespace");
    if !namespace.is_empty() && namespace != target.namespace {
        let text =
            "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(text).into());
    }
    object::meta(object).insert("namespace", target.namespace.clone().into());
    Ok(())
}

/// Removes metadata that only the server sets.
fn remove_system_fields(object: &mut Tree) {
    let meta = object::meta(object);
    for name in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        meta.remove(name);
    }
}

fn already_exists(target: &Target, found: &[u8]) -> Refusal {
    let mut status = Status::already_exists(target.resource.group_resource(), &target.name);
    if object::terminating(&record::parse(found)) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status.into()
}
