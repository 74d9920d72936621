//! The garbage collector: what belongs to something that is gone goes too.
//!
//! Every deletable kind feeds a graph of owners (`graph.rs`): those that other controllers watch
//! through the same caches, each of the others through a watch of metadata. An object whose owners
//! are all gone is deleted; an owner that is deleted in the foreground waits until the dependents
//! that block it are gone; one that leaves orphans is only let go when no dependent names it any
//! more. An owner that the graph does not know is asked for at the server before anything is
//! deleted, because the watches of two kinds are not in step.

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{
    DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use kube::core::PartialObjectMeta;
use kube::discovery::ApiResource;
use kube::{Api, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::caches::{Caches, Source};
use crate::context::Context;
use crate::discovery::{Discovery, Kind, deletable};
use crate::error::{Error, unless_gone};
use crate::meta::{Key, uid};
use crate::namespace::Waker;
use crate::queue::{Outcome, Queue};
use crate::watch::{Collection, ListEnd, Page, Sink, decode, follow};
use graph::{FOREGROUND, Graph, Node, ORPHAN, Step};

const WORKERS: usize = 20;
/// How soon the kinds are asked for again after a definition has changed or asking has failed.
const ASK_AGAIN: Duration = Duration::from_secs(1);

type Metadata = PartialObjectMeta<DynamicObject>;

struct Collector {
    context: Context,
    discovery: Discovery,
    graph: Mutex<Graph>,
    queue: Queue<Key>,
    namespaces: Waker,
    /// Counts changes of definitions.
    definitions: watch::Sender<u64>,
}

pub(crate) fn start(context: &Context, caches: &mut Caches, namespaces: Waker) {
    let queue: Queue<Key> = Queue::new();
    let (definitions, changes) = watch::channel(0);
    let collector = Arc::new(Collector {
        context: context.clone(),
        discovery: Discovery::new(context.client.clone()),
        graph: Mutex::default(),
        queue: queue.clone(),
        namespaces,
        definitions,
    });
    let shared = share(caches, &collector);
    let monitors = Arc::clone(&collector);
    context.spawn(async move { monitors.monitor_all(changes, shared).await });
    let workers = context.clone();
    let shutdown = context.shutdown.clone();
    workers.spawn(async move {
        queue
            .work("garbage collector", WORKERS, shutdown, move |key| {
                let collector = Arc::clone(&collector);
                async move { collector.reconcile(&key.name).await }
            })
            .await;
    });
}

/// Learns from the caches that hold all objects of their kind. Returns the names of these kinds.
fn share(caches: &mut Caches, collector: &Arc<Collector>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut learn = Learn {
        collector,
        names: &mut names,
    };
    learn.from(&mut caches.pods, true);
    learn.from(&mut caches.budgets, true);
    learn.from(&mut caches.replication_controllers, true);
    learn.from(&mut caches.replica_sets, true);
    learn.from(&mut caches.deployments, true);
    learn.from(&mut caches.stateful_sets, true);
    learn.from(&mut caches.daemon_sets, true);
    learn.from(&mut caches.controller_revisions, true);
    learn.from(&mut caches.jobs, true);
    learn.from(&mut caches.cron_jobs, true);
    learn.from(&mut caches.nodes, false);
    learn.from(&mut caches.namespaces, false);
    learn.from(&mut caches.services, true);
    learn.from(&mut caches.slices, true);
    learn.from(&mut caches.endpoints, true);
    learn.from(&mut caches.claims, true);
    names
}

struct Learn<'a> {
    collector: &'a Arc<Collector>,
    names: &'a mut BTreeSet<String>,
}

impl Learn<'_> {
    fn from<K, W>(&mut self, source: &mut Source<K, W>, namespaced: bool)
    where
        K: Resource<DynamicType = ()> + From<W> + Send + Sync + 'static,
        W: DeserializeOwned + 'static,
    {
        let kind = Arc::new(Kind {
            resource: ApiResource::erase::<K>(&()),
            namespaced,
            deletable_together: true,
        });
        self.names.insert(name_of(&kind));
        let collector = Arc::clone(self.collector);
        source.subscribe(move |change| {
            collector.follow(
                &kind,
                change.old.as_deref().map(Resource::meta),
                change.new.as_deref().map(Resource::meta),
            );
        });
    }
}

/// Under which a kind is known, whatever its version.
fn name_of(kind: &Kind) -> String {
    format!("{}.{}", kind.resource.plural, kind.resource.group)
}

fn key(uid: &str) -> Key {
    Key::new("", uid)
}

impl Collector {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches every deletable kind that is not shared, and asks anew for the kinds whenever a
    /// definition changes.
    async fn monitor_all(
        self: Arc<Self>,
        mut changes: watch::Receiver<u64>,
        shared: BTreeSet<String>,
    ) {
        let mut watched: BTreeMap<String, CancellationToken> = BTreeMap::new();
        loop {
            changes.mark_unchanged();
            match deletable(&self.context.client).await {
                Ok(kinds) => self.adjust(&mut watched, kinds, &shared),
                Err(error) => {
                    debug!(%error, "the kinds could not be asked for; trying again");
                    tokio::time::sleep(ASK_AGAIN).await;
                    continue;
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
            // A new kind is not served at the very moment at which its definition shows.
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn adjust(
        self: &Arc<Self>,
        watched: &mut BTreeMap<String, CancellationToken>,
        kinds: Vec<Kind>,
        shared: &BTreeSet<String>,
    ) {
        // Events belong to nobody and are many.
        let kinds = kinds
            .into_iter()
            .filter(|kind| kind.resource.plural != "events" && !shared.contains(&name_of(kind)));
        let mut served = BTreeSet::new();
        for kind in kinds {
            let name = name_of(&kind);
            served.insert(name.clone());
            watched
                .entry(name)
                .or_insert_with(|| self.start_monitor(kind));
        }
        watched.retain(|name, stop| {
            let keep = served.contains(name);
            if !keep {
                stop.cancel();
                self.graph().forget_kind(name);
            }
            keep
        });
    }

    /// Watches one kind until the returned token is cancelled.
    fn start_monitor(self: &Arc<Self>, kind: Kind) -> CancellationToken {
        let stop = CancellationToken::new();
        let path = DynamicObject::url_path(&kind.resource, None);
        let collection = Collection {
            path,
            fields: None,
            metadata_only: true,
        };
        let definitions = kind.resource.plural == "customresourcedefinitions";
        let monitor = Monitor {
            collector: Arc::clone(self),
            kind: Arc::new(kind),
            definitions,
            listed: BTreeSet::new(),
        };
        let (client, entropy, token) = (
            self.context.client.clone(),
            self.context.entropy.clone(),
            stop.clone(),
        );
        self.context.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = follow(client, collection, entropy, Box::new(monitor)) => {}
            }
        });
        stop
    }

    /// Learns a change of an object of a shared kind.
    fn follow(&self, kind: &Arc<Kind>, old: Option<&ObjectMeta>, new: Option<&ObjectMeta>) {
        if let (Some(old), Some(new)) = (old, new)
            && Node::is_same(old, new)
        {
            return;
        }
        if let Some(old) = old
            && new.is_none_or(|new| new.uid != old.uid)
        {
            self.lose(uid(old));
        }
        if let Some(new) = new {
            self.learn(Node::new(kind, new));
        }
    }

    fn learn(&self, node: Node) {
        let wake = self.graph().learn(node);
        wake.iter().for_each(|uid| self.queue.add(key(uid)));
    }

    fn lose(&self, uid: &str) {
        let (node, wake) = self.graph().lose(uid);
        wake.iter().for_each(|uid| self.queue.add(key(uid)));
        if let Some(node) = node {
            self.namespaces.content_gone(&node.key.namespace);
        }
    }

    async fn reconcile(&self, uid: &str) -> Result<Outcome, Error> {
        let Some(node) = self.graph().get(uid) else {
            return Ok(Outcome::Done);
        };
        let unknown = self.graph().unknown_owners(&node);
        let mut absent = BTreeSet::new();
        for owner in unknown {
            if self.is_absent(&node, &owner).await? {
                absent.insert(owner.uid);
            }
        }
        let step = self.graph().plan(&node, &absent);
        match step {
            Step::Nothing => {}
            Step::Wake(uids) => uids.iter().for_each(|uid| self.queue.add(key(uid))),
            Step::Delete(policy) => self.delete(&node, policy).await?,
            Step::DropOwners(uids) => self.drop_owners(&node, &uids).await?,
            Step::Orphan(dependents) => {
                for dependent in dependents {
                    self.drop_owners(&dependent, &BTreeSet::from([node.uid.clone()]))
                        .await?;
                }
                self.drop_finalizer(&node, ORPHAN).await?;
            }
            Step::Release => self.drop_finalizer(&node, FOREGROUND).await?,
        }
        Ok(Outcome::Done)
    }

    fn api(&self, node: &Node) -> Api<Metadata> {
        if node.kind.namespaced {
            Api::namespaced_with(
                self.context.client.clone(),
                &node.key.namespace,
                &node.kind.resource,
            )
        } else {
            Api::all_with(self.context.client.clone(), &node.kind.resource)
        }
    }

    /// Asks the server whether an owner is really gone. An owner of a kind that nobody serves is
    /// not known to be gone.
    async fn is_absent(&self, node: &Node, owner: &OwnerReference) -> Result<bool, Error> {
        let served = self
            .discovery
            .resource(&owner.api_version, &owner.kind)
            .await?;
        if served.namespaced && node.key.namespace.is_empty() {
            // A cluster-wide object cannot belong to one in a namespace; nothing can be said.
            return Ok(false);
        }
        let request = http::Request::get(served.path(&node.key.namespace, &owner.name))
            .header(
                http::header::ACCEPT,
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
            )
            .body(Vec::new())
            .map_err(|error| Error::Plan(error.to_string()))?;
        let there = unless_gone(self.context.client.request::<Metadata>(request).await)?;
        Ok(there.is_none_or(|there| uid(&there.metadata) != owner.uid))
    }

    async fn delete(&self, node: &Node, policy: PropagationPolicy) -> Result<(), Error> {
        let precondition = Preconditions {
            uid: Some(node.uid.clone()),
            resource_version: None,
        };
        let how = DeleteParams {
            preconditions: Some(precondition),
            propagation_policy: Some(policy),
            ..DeleteParams::default()
        };
        debug!(object = %node.key, kind = node.kind.resource.kind, "deleting what belongs to something that is gone");
        match self.api(node).delete(&node.key.name, &how).await {
            Err(error) if !matches!(crate::error::code(&error), 404 | 409) => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn drop_owners(&self, node: &Node, uids: &BTreeSet<String>) -> Result<(), Error> {
        let Some(fresh) = self.fresh(node).await? else {
            return Ok(());
        };
        let owners: Vec<_> = fresh
            .metadata
            .owner_references
            .iter()
            .flatten()
            .filter(|owner| !uids.contains(&owner.uid))
            .cloned()
            .collect();
        self.patch(
            node,
            &fresh,
            "ownerReferences",
            serde_json::json!(owners),
            owners.is_empty(),
        )
        .await
    }

    async fn drop_finalizer(&self, node: &Node, finalizer: &str) -> Result<(), Error> {
        let Some(fresh) = self.fresh(node).await? else {
            return Ok(());
        };
        let left: Vec<_> = fresh
            .metadata
            .finalizers
            .iter()
            .flatten()
            .filter(|one| *one != finalizer)
            .cloned()
            .collect();
        self.patch(
            node,
            &fresh,
            "finalizers",
            serde_json::json!(left),
            left.is_empty(),
        )
        .await
    }

    async fn fresh(&self, node: &Node) -> Result<Option<Metadata>, Error> {
        let fresh = self.api(node).get_metadata_opt(&node.key.name).await?;
        let fresh = fresh.map(|fresh| Metadata {
            types: fresh.types,
            metadata: fresh.metadata,
            _phantom: std::marker::PhantomData,
        });
        Ok(fresh.filter(|fresh| fresh.metadata.uid.as_deref() == Some(&node.uid)))
    }

    async fn patch(
        &self,
        node: &Node,
        fresh: &Metadata,
        field: &str,
        value: serde_json::Value,
        empty: bool,
    ) -> Result<(), Error> {
        let value = if empty {
            serde_json::Value::Null
        } else {
            value
        };
        let patch = serde_json::json!({"metadata": {"uid": node.uid, "resourceVersion": fresh.metadata.resource_version, field: value}});
        unless_gone(
            self.api(node)
                .patch_metadata(
                    &node.key.name,
                    &PatchParams::default(),
                    &Patch::Merge(&patch),
                )
                .await
                .map(drop),
        )?;
        Ok(())
    }
}

/// Feeds the graph with the objects of one kind that no cache holds.
struct Monitor {
    collector: Arc<Collector>,
    kind: Arc<Kind>,
    /// The objects define kinds.
    definitions: bool,
    /// Uids of the list that is coming in.
    listed: BTreeSet<String>,
}

/// An object of which only the metadata are of interest.
#[derive(Deserialize)]
struct Partial {
    metadata: ObjectMeta,
}

impl Monitor {
    fn defined(&self) {
        if self.definitions {
            self.collector.definitions.send_modify(|count| *count += 1);
        }
    }
}

impl Sink for Monitor {
    fn begin(&mut self) {
        self.listed.clear();
    }

    fn page(&mut self, body: &[u8]) -> serde_json::Result<ListEnd> {
        let page: Page<Partial> = decode(body)?;
        for object in page.items.into_iter().flatten() {
            self.listed.insert(uid(&object.metadata).to_owned());
            self.collector
                .learn(Node::new(&self.kind, &object.metadata));
        }
        Ok(page.metadata)
    }

    fn complete(&mut self) {
        let gone = self
            .collector
            .graph()
            .missing(&self.kind.resource, &std::mem::take(&mut self.listed));
        gone.iter().for_each(|uid| self.collector.lose(uid));
    }

    fn put(&mut self, object: &[u8]) -> serde_json::Result<String> {
        let object: Partial = decode(object)?;
        self.collector
            .learn(Node::new(&self.kind, &object.metadata));
        self.defined();
        Ok(object.metadata.resource_version.unwrap_or_default())
    }

    fn gone(&mut self, object: &[u8]) -> serde_json::Result<String> {
        let object: Partial = decode(object)?;
        self.collector.lose(uid(&object.metadata));
        self.defined();
        Ok(object.metadata.resource_version.unwrap_or_default())
    }
}
