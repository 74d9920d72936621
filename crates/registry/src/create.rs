//! POST of an object: decode, fill in, admit, validate, and store it if its name is free.
//!
//! The same steps make an object when a PUT or an apply names one that does not exist; those run
//! them inside their own commit.

use bytes::Bytes;
use kinds::Tree;
use kinds::status::Status;
use store::Txn;

use crate::body::{self, Expected};
use crate::custom::definition;
use crate::record::Ready;
use crate::request::{Body, Refusal, Reply, WriteOptions};
use crate::strategy::Context;
use crate::target::Target;
use crate::view::View;
use crate::{Registry, admission, convert, managers, object, options, record, service, tree};

/// Letters that `generateName` adds, and how much of the prefix is kept so that both fit.
const SUFFIX_LETTERS: usize = 5;
const MAX_PREFIX_BYTES: usize = 58;
/// How often another name is drawn when a generated one is taken.
const GENERATE_ATTEMPTS: usize = 8;

/// A new object that has passed everything but the question whether its name is free.
pub(crate) struct Draft {
    /// The object.
    pub(crate) object: Tree,
    /// What the client should know.
    pub(crate) warnings: Vec<String>,
    generated: bool,
    /// The object as it is written, unless something about it is decided in the commit.
    ready: Option<Ready>,
}

impl Registry {
    /// Makes an object.
    pub(crate) async fn create(
        &self,
        target: Target,
        body: &Body,
        write: &WriteOptions,
    ) -> Result<Reply, Refusal> {
        let dry_run = options::dry_run(write, "CreateOptions")?;
        let decoded = body::decode(body, Expected::of(&target.resource), write.field_validation)?;
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
        // A definition is compiled for good when it is made ready, so only when its name is free.
        let is_decided_later =
            service::is_service(&target.stored) || definition::is_definition(&target.stored);
        draft.ready =
            (!is_decided_later).then(|| record::ready(&target.stored, draft.object.clone(), None));
        let json = self
            .commit_or_rehearse(dry_run, |txn| self.store_draft(txn, target, &draft))
            .await?;
        let json = if dry_run {
            record::without_revision(&target.stored, &json)
        } else {
            json
        };
        Ok((json, draft.warnings))
    }

    /// Everything that can be done about a new object before its name is claimed. `own` notes who
    /// owns its fields.
    pub(crate) fn draft(
        &self,
        view: &impl View,
        target: &Target,
        object: Tree,
        own: impl FnOnce(&mut Tree),
    ) -> Result<Draft, Refusal> {
        let mut draft = self.unchecked_draft(view, target, object, own)?;
        let (object, context) = (&draft.object, self.context(target, ""));
        let faults = target.rules.validate_create(&context, object);
        if !faults.is_empty() {
            return Err(Status::invalid(
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
        Ok(draft)
    }

    /// The same before its validation; only the system's own objects go on from here unchecked.
    pub(crate) fn unchecked_draft(
        &self,
        view: &impl View,
        target: &Target,
        mut object: Tree,
        own: impl FnOnce(&mut Tree),
    ) -> Result<Draft, Refusal> {
        check_place(target, &mut object)?;
        forget_system_fields(&mut object);
        target.rules.default(&mut object);
        // What the server adds from here on belongs to nobody.
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
            ready: None,
        })
    }

    /// What the rules of a kind may know about a request.
    pub(crate) fn context<'a>(&self, target: &'a Target, subresource: &'a str) -> Context<'a> {
        Context {
            now: target.now,
            subresource,
            gates: self.options().gates,
        }
    }

    /// Stores a draft if its name is free and its namespace is still open.
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
            service::allocate(self, txn, &mut object, None)?;
        }
        let stored = match &draft.ready {
            // It has the first name that was drawn.
            Some(ready) if attempts == 1 => {
                record::put_ready(txn, &target.trees, &place.key(), ready)
            }
            _ => record::put(txn, &target.trees, &target.stored, &place.key(), object),
        };
        if definition::is_definition(&target.stored) {
            definition::settle(txn, target, tree::text(&draft.object, &["spec", "group"]));
        }
        Ok(stored.value.clone())
    }

    /// Draws a name from `generateName` when there is none; true when it did.
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
            self.entropy().suffix(SUFFIX_LETTERS)
        );
        object::meta(object).insert("name", name.into());
    }
}

/// The namespace may be left out or must be the path's; cluster-scoped objects have none.
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

/// What only the server says about an object.
fn forget_system_fields(object: &mut Tree) {
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
    if object::terminating(&record::tree(found)) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status.into()
}
