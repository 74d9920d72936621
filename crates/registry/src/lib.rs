//! REST semantics over `kinds` and `store`: verbs, admission, defaulting, validation and
//! subresources. Eviction lives here. The crate knows no HTTP.
//!
//! [`Registry::call`] is the only door, with a closed request type. A body is decoded and judged
//! first; whatever depends on the present state is decided inside the one commit that writes it.
//!
//! # Layers
//!
//! Imports go downwards only; `cargo xtask tidy` fails on a circle.
//!
//! | layer | modules | knows |
//! | --- | --- | --- |
//! | door | `lib` | which verb or subresource goes where |
//! | around requests | `bootstrap`, `publish`, `forget`, `components` | the system's objects |
//! | kinds with verbs of their own | `pod`, `token`, `scale` | one kind each |
//! | verbs | `create`, `update`, `patch`, `delete`, `read`, `list`, `watch` | any object |
//! | surroundings | `admission`, `definition`, `service`, `namespace` | one object's demands |
//! | | `managers`, `convert`, `body` | owners of fields, versions, decoding |
//! | | `observe` | metrics, log lines, events and warnings about evictions |
//! | state | `record`, `view`, `target`, `selection` | bytes and facts; no kind by name |
//! | | `request`, `options` | what a request asks for |
//! | the table | `kind` | which strategy a resource has |
//! | kinds | `resource`, `custom`, `strategy`, `facts`, `schema` | one kind each; pure |
//! | ground | `key`, `object`, `tree` | no kinds |
//!
//! A kind adds its behaviour in `strategy/` and is listed in `kind.rs`. What the registry should
//! remember beside the bytes of its objects is returned by `Strategy::facts` and read back by type
//! from `record::Facts`, so that the layers between pass it on without knowing it.
//!
//! # Invariants
//!
//! - A request makes at most one commit, and a refused one writes nothing. Deleting a collection
//!   makes one commit for each object.
//! - The bytes in the store are what GET, LIST and WATCH hand out.
//! - Time and randomness come from `clock` only.

use std::sync::{Arc, OnceLock};

use clock::{Clock, Entropy};
use futures::future::BoxFuture;
use kinds::encodings::EncodingCache;
use kinds::status::Status;
use store::{CommitError, Revision, Store, Txn};

mod admission;
mod body;
mod bootstrap;
mod components;
mod convert;
mod create;
pub mod custom;
mod definition;
mod delete;
mod facts;
mod forget;
mod key;
mod kind;
mod list;
mod managers;
pub mod model;
mod namespace;
mod object;
mod observe;
mod options;
mod patch;
mod pod;
mod publish;
mod read;
mod record;
pub mod references;
pub mod request;
mod resource;
mod scale;
mod schema;
mod selection;
mod service;
mod size;
mod strategy;
mod target;
pub mod token;
mod tree;
mod update;
mod view;
mod watch;

pub use components::Component;
pub use publish::PublishedServer;
pub use resource::ResourceRef;
pub use strategy::Gates;

use definition::DefinitionCache;
use record::TreeCache;
use request::{Refusal, Reply, Request, User, Verb};
use target::Target;

/// The configuration of a registry.
#[derive(Clone)]
pub struct Options {
    /// The feature gates.
    pub gates: Gates,
    /// The first two bytes of the cluster addresses that services get.
    pub service_network: [u8; 2],
    /// The issuer of tokens for service accounts; without one such requests are refused.
    pub tokens: Option<Arc<dyn token::TokenIssuer>>,
    /// The parts of the control plane that `componentstatuses` lists, besides the store.
    pub components: Vec<Component>,
    /// Warns a client that writes a budget that cannot work. Kubernetes does not.
    pub budget_warnings: bool,
    /// Writes events about refused evictions, see [`Registry::observe`]. Kubernetes does not.
    pub refusal_events: bool,
    /// The most bytes that converted objects and their originals take.
    pub converted_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gates: Gates::default(),
            service_network: [10, 96],
            tokens: None,
            components: Vec::new(),
            budget_warnings: false,
            refusal_events: false,
            converted_bytes: CONVERTED_BYTES,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Options")
            .field("gates", &self.gates)
            .field("service_network", &self.service_network)
            .finish_non_exhaustive()
    }
}

/// The Kubernetes API without HTTP. Clones are handles to the same registry.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    entropy: Entropy,
    options: Options,
    observer: observe::Observer,
    /// Stored bytes converted to other versions, by the row.
    converted: EncodingCache<ResourceRef>,
    /// The trees of recent objects.
    trees: TreeCache,
    /// The compiled definitions of custom kinds.
    definitions: DefinitionCache,
    /// The oldest revision that a client can have seen.
    first_served: OnceLock<Revision>,
}

/// The default of [`Options::converted_bytes`]: enough for the second version of 10,000 events or
/// custom resources of three kilobytes.
const CONVERTED_BYTES: usize = 64 * 1024 * 1024;

impl Registry {
    /// Creates a registry over a store. Call [`Registry::bootstrap`] before the first request.
    #[must_use]
    pub fn new(store: Store, clock: Clock, entropy: Entropy, options: Options) -> Self {
        store.index(pod::eviction::candidates::BUDGETS);
        Self {
            inner: Arc::new(Inner {
                store,
                clock,
                entropy,
                converted: EncodingCache::with_limit(options.converted_bytes),
                options,
                observer: observe::Observer::default(),
                trees: TreeCache::default(),
                definitions: DefinitionCache::default(),
                first_served: OnceLock::new(),
            }),
        }
    }

    /// Returns the store, for metrics and for closing it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Returns the newest revision that readers see.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.inner.store.revision().0
    }

    /// Checks the store, and returns the error of one that has failed and accepts no more writes.
    /// The message contains no paths.
    #[must_use]
    pub fn store_failure(&self) -> Option<String> {
        let checked = self.inner.store.check();
        checked.err().map(|error| error.to_string())
    }

    /// Returns the oldest revision that a client can have seen: in a new cluster the one at which
    /// the system's own objects were complete. Older ones are refused as expired.
    pub(crate) fn first_served(&self) -> Revision {
        self.inner.first_served.get().copied().unwrap_or_default()
    }

    /// Notes that a new cluster begins to serve with the present revision.
    fn begin_to_serve(&self) {
        // Only the first start of a cluster begins at a known revision, and only once.
        let _ = self.inner.first_served.set(self.store().revision());
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub(crate) fn entropy(&self) -> &Entropy {
        &self.inner.entropy
    }

    pub(crate) fn definitions(&self) -> &DefinitionCache {
        &self.inner.definitions
    }

    pub(crate) fn converted(&self) -> &EncodingCache<ResourceRef> {
        &self.inner.converted
    }

    /// Returns the target of a request that arrives now, as yet without namespace and name.
    pub(crate) fn target(&self, resource: ResourceRef, user: Arc<User>) -> Target {
        Target::new(resource, user, self.clock().now(), self.inner.trees.clone())
    }

    pub(crate) fn observer(&self) -> &observe::Observer {
        &self.inner.observer
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Answers one request. Dropping the future gives the request up; a commit that has begun is
    /// finished all the same.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] with the `Status` for the client.
    pub fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Refusal>> {
        // The crate that polls a future compiles it. Boxed, all verbs are compiled here, once.
        Box::pin(self.call_verb(request))
    }

    async fn call_verb(&self, request: Request) -> Result<Reply, Refusal> {
        let Request {
            user,
            resource,
            subresource,
            namespace,
            name,
            verb,
        } = request;
        let target = self.target(resource, user);
        let namespace = if target.resource.namespaced {
            namespace
        } else {
            String::new()
        };
        let target = target.at(namespace, name);
        check_name(&target.name)?;
        match subresource {
            None => self.call_object(target, verb).await,
            Some(subresource) => self.call_subresource(target, subresource, verb).await,
        }
    }

    async fn call_object(&self, target: Target, verb: Verb) -> Result<Reply, Refusal> {
        if target.resource.group.is_empty() && target.resource.plural == "bindings" {
            return match verb {
                Verb::Create { body, options } => self.bind(target, body, options).await,
                _ => Err(Status::method_not_allowed().into()),
            };
        }
        if components::is_component_status(&target.resource) {
            return self.component_statuses(&target, verb);
        }
        if !target.resource.stored {
            return Err(Status::method_not_allowed().into());
        }
        let is_write = matches!(
            verb,
            Verb::Create { .. } | Verb::Update { .. } | Verb::Patch { .. }
        );
        if is_write && self.is_advised(&target) {
            let namespace = target.namespace.clone();
            let reply = self.call_stored(target, verb).await;
            return self.advise(&namespace, reply);
        }
        self.call_stored(target, verb).await
    }

    async fn call_stored(&self, target: Target, verb: Verb) -> Result<Reply, Refusal> {
        match verb {
            Verb::Get { resource_version } => self.get(&target, &resource_version).await,
            Verb::List(options) => self.list(target, options).await,
            Verb::Watch(options) => self.watch(target, options),
            Verb::Create { body, options } => self.create(target, &body, &options).await,
            Verb::Update { body, options } => self.update(target, "", body, options).await,
            Verb::Patch {
                kind,
                patch,
                options,
            } => self.patch(target, "", kind, patch, options).await,
            Verb::Delete(request) => self.delete(target, &request).await,
            Verb::DeleteCollection { list, delete } => {
                self.delete_collection(target, list, &delete).await
            }
        }
    }

    async fn call_subresource(
        &self,
        target: Target,
        subresource: &str,
        verb: Verb,
    ) -> Result<Reply, Refusal> {
        if target.resource.subresource(subresource).is_none() {
            return Err(Status::no_such_resource().into());
        }
        match (target.resource.plural.as_str(), subresource, verb) {
            ("pods", "eviction", Verb::Create { body, options }) => {
                self.evict(target, body, options).await
            }
            ("pods", "binding", Verb::Create { body, options }) => {
                self.bind(target, body, options).await
            }
            ("serviceaccounts", "token", Verb::Create { body, options }) => {
                self.issue_token(&target, &body, &options)
            }
            (_, "eviction" | "binding" | "token", _) => Err(Status::method_not_allowed().into()),
            (_, "scale", verb) => self.scale(target, verb).await,
            (_, "log" | "exec" | "attach" | "portforward" | "proxy", _) => {
                Err(Status::bad_request(format!(
                    "{}/{subresource} is not served here",
                    target.resource.plural
                ))
                .into())
            }
            (_, _, Verb::Get { resource_version }) => self.get(&target, &resource_version).await,
            (_, _, Verb::Update { body, options }) => {
                self.update(target, subresource, body, options).await
            }
            (
                _,
                _,
                Verb::Patch {
                    kind,
                    patch,
                    options,
                },
            ) => self.patch(target, subresource, kind, patch, options).await,
            _ => Err(Status::method_not_allowed().into()),
        }
    }

    /// Makes one commit. Failures of the store become refusals.
    pub(crate) async fn commit<T: Send>(
        &self,
        decide: impl FnMut(&mut Txn) -> Result<T, Refusal> + Send,
    ) -> Result<T, Refusal> {
        match self.store().commit(decide).await {
            Ok(committed) => Ok(committed.value),
            Err(CommitError::Refused(refusal)) => Err(refusal),
            Err(error) => Err(store_failure(error)),
        }
    }

    /// Makes one commit, or, with `dry_run`, everything of it except its writes.
    pub(crate) async fn commit_or_dry_run<T: Send>(
        &self,
        dry_run: bool,
        mut decide: impl FnMut(&mut Txn) -> Result<T, Refusal> + Send,
    ) -> Result<T, Refusal> {
        // A refused commit writes nothing, so that a dry run is a commit that is refused at its
        // end.
        let result = self.store().commit(|txn| match decide(txn) {
            Ok(value) if dry_run => Err(Ok(value)),
            Ok(value) => Ok(value),
            Err(refusal) => Err(Err(refusal)),
        });
        match result.await {
            Ok(committed) => Ok(committed.value),
            Err(CommitError::Refused(outcome)) => outcome,
            Err(error) => Err(store_failure(error)),
        }
    }
}

/// Refuses a name of the path that no object can have, with 400.
fn check_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return Ok(());
    }
    let faults = kinds::names::path_segment(name);
    if faults.is_empty() {
        return Ok(());
    }
    let name = kinds::status::quoted(name);
    Err(Status::bad_request(format!(
        "Name parameter invalid: {name}: {}",
        faults.join(";")
    ))
    .into())
}

/// Returns the answer for a client when the store could not commit.
fn store_failure<E>(error: CommitError<E>) -> Refusal {
    match error {
        CommitError::Busy => Status::too_many_requests(
            "the storage engine does not keep up with the writes",
            Vec::new(),
            1,
        )
        .into(),
        CommitError::Unstorable(why) => {
            Status::failure(413, "RequestEntityTooLarge", why.to_string(), None).into()
        }
        CommitError::Closed(why) => Status::unavailable(why.to_string()).into(),
        CommitError::Failed(why) => {
            tracing::error!(error = %why, "commit failed");
            Status::internal("the store has failed and accepts nothing more").into()
        }
        CommitError::Refused(_) => Status::internal("a commit was refused twice").into(),
    }
}
