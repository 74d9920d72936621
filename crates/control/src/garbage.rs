//! The garbage collector: deletes objects whose owners no longer exist.
//!
//! Every deletable kind feeds a graph of owners (`graph.rs`): kinds that other controllers read
//! through their informers, the others through a watch of metadata. An object whose owners are all
//! gone is deleted. An owner under foreground deletion waits until the dependents that block it are
//! gone. An owner that orphans its dependents is released when no dependent refers to it any more.
//! An owner that the graph does not contain is looked up at the server before anything is deleted,
//! because the watches of two kinds are not in step.

mod graph;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::{EventRecorder, EventType};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kinds::path::segment;
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

use crate::context::ControllerContext;
use crate::discovery::{DeletableResource, Discovery, deletable};
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Informer;
use crate::informers::Informers;
use crate::meta::{ObjectKey, has_finalizer, uid, without_finalizer};
use crate::namespace::NamespaceWaker;
use crate::queue::{Requeue, WorkQueue};
use crate::reflector::{ListPage, PageMeta, WatchSink, WatchedCollection, decode, reflect};
use graph::{FOREGROUND, GarbageAction, Graph, GraphNode, MisplacedReference, ORPHAN, OwnerLookup};

const WORKERS: usize = 20;
/// The pause before discovery runs again after a definition has changed or discovery has failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

type Metadata = PartialObjectMeta<DynamicObject>;

struct Collector {
    context: ControllerContext,
    discovery: Discovery,
    graph: Mutex<Graph>,
    queue: WorkQueue<ObjectKey>,
    events: EventRecorder,
    namespaces: NamespaceWaker,
    /// Counts changes of custom resource definitions.
    definitions: watch::Sender<u64>,
}

pub(crate) fn start(
    context: &ControllerContext,
    informers: &mut Informers,
    namespaces: NamespaceWaker,
) {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let (definitions, changes) = watch::channel(0);
    let collector = Arc::new(Collector {
        context: context.clone(),
        discovery: Discovery::new(context.client.clone()),
        graph: Mutex::default(),
        queue: queue.clone(),
        events: context.recorder("garbage-collector-controller"),
        namespaces,
        definitions,
    });
    let shared = subscribe_to_informers(informers, &collector);
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

/// Subscribes to the informers that hold all objects of their kind. Returns the names of these
/// kinds.
fn subscribe_to_informers(
    informers: &mut Informers,
    collector: &Arc<Collector>,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut monitors = SharedMonitors {
        collector,
        names: &mut names,
    };
    monitors.add(&mut informers.pods, true);
    monitors.add(&mut informers.budgets, true);
    monitors.add(&mut informers.replication_controllers, true);
    monitors.add(&mut informers.replica_sets, true);
    monitors.add(&mut informers.deployments, true);
    monitors.add(&mut informers.stateful_sets, true);
    monitors.add(&mut informers.daemon_sets, true);
    monitors.add(&mut informers.controller_revisions, true);
    monitors.add(&mut informers.jobs, true);
    monitors.add(&mut informers.cron_jobs, true);
    monitors.add(&mut informers.nodes, false);
    monitors.add(&mut informers.namespaces, false);
    monitors.add(&mut informers.services, true);
    monitors.add(&mut informers.slices, true);
    monitors.add(&mut informers.endpoints, true);
    monitors.add(&mut informers.claims, true);
    monitors.add(&mut informers.volumes, false);
    monitors.add(&mut informers.storage_classes, false);
    monitors.add(&mut informers.accounts, true);
    monitors.add(&mut informers.cluster_roles, false);
    monitors.add(&mut informers.service_cidrs, false);
    monitors.add(&mut informers.ip_addresses, false);
    names
}

struct SharedMonitors<'a> {
    collector: &'a Arc<Collector>,
    names: &'a mut BTreeSet<String>,
}

impl SharedMonitors<'_> {
    fn add<K, W>(&mut self, source: &mut Informer<K, W>, namespaced: bool)
    where
        K: Resource<DynamicType = ()> + From<W> + Send + Sync + 'static,
        W: DeserializeOwned + 'static,
    {
        let kind = Arc::new(DeletableResource {
            resource: ApiResource::erase::<K>(&()),
            namespaced,
            supports_delete_collection: true,
        });
        self.names.insert(name_of(&kind));
        let collector = Arc::clone(self.collector);
        source.subscribe(move |change| {
            collector.observe(
                &kind,
                change.old.as_deref().map(Resource::meta),
                change.new.as_deref().map(Resource::meta),
            );
        });
    }
}

/// The name of a kind, whatever its version.
fn name_of(kind: &DeletableResource) -> String {
    format!("{}.{}", kind.resource.plural, kind.resource.group)
}

fn key(uid: &str) -> ObjectKey {
    ObjectKey::new("", uid)
}

impl Collector {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches every deletable kind that has no informer. Runs discovery again when a definition
    /// changes.
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
                    debug!(%error, "discovery failed");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
            // A new kind is not served at the very moment at which its definition appears.
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn adjust(
        self: &Arc<Self>,
        watched: &mut BTreeMap<String, CancellationToken>,
        kinds: Vec<DeletableResource>,
        shared: &BTreeSet<String>,
    ) {
        // Events have no owners and are many.
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
    fn start_monitor(self: &Arc<Self>, kind: DeletableResource) -> CancellationToken {
        let stop = CancellationToken::new();
        let path = DynamicObject::url_path(&kind.resource, None);
        let collection = WatchedCollection {
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
                () = reflect(client, collection, entropy, Box::new(monitor)) => {}
            }
        });
        stop
    }

    /// Takes in a change of an object of a kind with an informer.
    fn observe(
        &self,
        kind: &Arc<DeletableResource>,
        old: Option<&ObjectMeta>,
        new: Option<&ObjectMeta>,
    ) {
        if let (Some(old), Some(new)) = (old, new)
            && GraphNode::is_same(old, new)
        {
            return;
        }
        if let Some(old) = old
            && new.is_none_or(|new| new.uid != old.uid)
        {
            self.remove(uid(old));
        }
        if let Some(new) = new {
            self.insert(GraphNode::new(kind, new));
        }
    }

    fn insert(&self, node: GraphNode) {
        let (wake, misplaced) = {
            let mut graph = self.graph();
            (graph.insert(node), graph.take_misplaced())
        };
        misplaced.iter().for_each(|found| self.report(found));
        wake.iter().for_each(|uid| self.queue.add(key(uid)));
    }

    fn remove(&self, uid: &str) {
        let (node, wake) = self.graph().remove(uid);
        wake.iter().for_each(|uid| self.queue.add(key(uid)));
        if let Some(node) = node {
            self.namespaces.content_gone(&node.key.namespace);
        }
    }

    /// Emits the event about an owner reference that leads to another namespace.
    fn report(&self, found: &MisplacedReference) {
        let MisplacedReference {
            dependent,
            reference,
        } = found;
        let namespace = &dependent.key.namespace;
        let resource = &dependent.kind.resource;
        let involved = ObjectReference {
            api_version: Some(resource.api_version.clone()),
            kind: Some(resource.kind.clone()),
            namespace: Some(namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(dependent.key.name.clone()),
            uid: Some(dependent.uid.clone()),
            ..ObjectReference::default()
        };
        let message = format!(
            "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in \
             namespace {namespace:?}",
            reference.api_version, reference.kind, reference.name, reference.uid
        );
        let reason = "OwnerRefInvalidNamespace";
        self.events
            .event_about(involved, EventType::Warning, reason, message);
    }

    async fn reconcile(&self, uid: &str) -> Result<Requeue, ReconcileError> {
        let Some(node) = self.graph().get(uid) else {
            return Ok(Requeue::OnChange);
        };
        let unknown = self.graph().unknown_owners(&node);
        let mut looked_up = HashMap::new();
        for (place, owner) in unknown {
            looked_up.insert(place, self.look_up(&node, &owner).await?);
        }
        let step = self.graph().plan(&node, &looked_up);
        match step {
            GarbageAction::Nothing => {}
            GarbageAction::Reconcile(uids) => uids.iter().for_each(|uid| self.queue.add(key(uid))),
            GarbageAction::Delete(policy) => self.delete(&node, policy).await?,
            GarbageAction::UnblockAndDelete => {
                self.unblock_owners(&node).await?;
                self.delete(&node, PropagationPolicy::Foreground).await?;
            }
            GarbageAction::DropOwners(uids) => self.drop_owners(&node, &uids).await?,
            GarbageAction::Orphan(dependents) => {
                for dependent in dependents {
                    self.drop_owners(&dependent, &BTreeSet::from([node.uid.clone()]))
                        .await?;
                }
                self.drop_finalizer(&node, ORPHAN).await?;
            }
            GarbageAction::Release => self.drop_finalizer(&node, FOREGROUND).await?,
        }
        Ok(Requeue::OnChange)
    }

    fn api(&self, node: &GraphNode) -> Api<Metadata> {
        if node.kind.namespaced {
            Api::namespaced_with(
                self.context.client.clone(),
                &segment(&node.key.namespace),
                &node.kind.resource,
            )
        } else {
            Api::all_with(self.context.client.clone(), &node.kind.resource)
        }
    }

    /// Asks the server for an owner. An owner of a kind that is not served is not known to be
    /// gone.
    async fn look_up(
        &self,
        node: &GraphNode,
        owner: &OwnerReference,
    ) -> Result<OwnerLookup, ReconcileError> {
        let served = self
            .discovery
            .resource(&owner.api_version, &owner.kind)
            .await?;
        if served.namespaced && node.key.namespace.is_empty() {
            // A cluster-wide object cannot have a namespaced owner, so its owner cannot be looked
            // up.
            return Ok(OwnerLookup::Present);
        }
        let request = http::Request::get(served.path(&node.key.namespace, &owner.name))
            .header(
                http::header::ACCEPT,
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
            )
            .body(Vec::new())
            .map_err(|error| ReconcileError::Plan(error.to_string()))?;
        let there = ignore_not_found(self.context.client.request::<Metadata>(request).await)?;
        Ok(match there.map(|there| there.metadata) {
            Some(there) if uid(&there) != owner.uid => OwnerLookup::Absent,
            Some(there)
                if there.deletion_timestamp.is_some() && has_finalizer(&there, FOREGROUND) =>
            {
                OwnerLookup::Waiting
            }
            Some(_) => OwnerLookup::Present,
            None => OwnerLookup::Absent,
        })
    }

    async fn delete(
        &self,
        node: &GraphNode,
        policy: PropagationPolicy,
    ) -> Result<(), ReconcileError> {
        // The graph may be older than a change by which other owners, or none, own the object.
        let Some(fresh) = self.fresh(node).await? else {
            return Ok(());
        };
        if !node.has_same_owners(&fresh.metadata) {
            return Ok(());
        }
        let precondition = Preconditions {
            uid: Some(node.uid.clone()),
            resource_version: fresh.metadata.resource_version,
        };
        let how = DeleteParams {
            preconditions: Some(precondition),
            propagation_policy: Some(policy),
            ..DeleteParams::default()
        };
        debug!(object = %node.key, kind = node.kind.resource.kind,
            "deleting object without owners");
        match self.api(node).delete(&segment(&node.key.name), &how).await {
            Err(error) if crate::error::code(&error) != 404 => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn drop_owners(
        &self,
        node: &GraphNode,
        uids: &BTreeSet<String>,
    ) -> Result<(), ReconcileError> {
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
        self.patch(node, &fresh, "ownerReferences", or_null(&owners))
            .await
    }

    async fn unblock_owners(&self, node: &GraphNode) -> Result<(), ReconcileError> {
        let Some(fresh) = self.fresh(node).await? else {
            return Ok(());
        };
        let mut owners = fresh.metadata.owner_references.clone().unwrap_or_default();
        for owner in &mut owners {
            owner.block_owner_deletion = Some(false);
        }
        self.patch(node, &fresh, "ownerReferences", or_null(&owners))
            .await
    }

    async fn drop_finalizer(
        &self,
        node: &GraphNode,
        finalizer: &str,
    ) -> Result<(), ReconcileError> {
        let Some(fresh) = self.fresh(node).await? else {
            return Ok(());
        };
        let left = without_finalizer(&fresh.metadata, finalizer);
        self.patch(node, &fresh, "finalizers", left).await
    }

    async fn fresh(&self, node: &GraphNode) -> Result<Option<Metadata>, ReconcileError> {
        let fresh = self
            .api(node)
            .get_metadata_opt(&segment(&node.key.name))
            .await?;
        let fresh = fresh.map(|fresh| Metadata {
            types: fresh.types,
            metadata: fresh.metadata,
            _phantom: std::marker::PhantomData,
        });
        Ok(fresh.filter(|fresh| fresh.metadata.uid.as_deref() == Some(&node.uid)))
    }

    async fn patch(
        &self,
        node: &GraphNode,
        fresh: &Metadata,
        field: &str,
        value: serde_json::Value,
    ) -> Result<(), ReconcileError> {
        let patch = serde_json::json!({"metadata": {"uid": node.uid,
            "resourceVersion": fresh.metadata.resource_version, field: value}});
        ignore_not_found(
            self.api(node)
                .patch_metadata(
                    &segment(&node.key.name),
                    &PatchParams::default(),
                    &Patch::Merge(&patch),
                )
                .await
                .map(drop),
        )?;
        Ok(())
    }
}

/// A list as the value in a merge patch.
fn or_null(owners: &[OwnerReference]) -> serde_json::Value {
    if owners.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::json!(owners)
    }
}

/// Feeds the graph with the objects of a kind that has no informer.
struct Monitor {
    collector: Arc<Collector>,
    kind: Arc<DeletableResource>,
    /// Whether the objects are custom resource definitions.
    definitions: bool,
    /// The uids in the list that is being received.
    listed: BTreeSet<String>,
}

/// An object of which only the metadata are decoded.
#[derive(Deserialize)]
struct MetadataOnly {
    metadata: ObjectMeta,
}

impl Monitor {
    fn bump_definitions(&self) {
        if self.definitions {
            self.collector.definitions.send_modify(|count| *count += 1);
        }
    }
}

impl WatchSink for Monitor {
    fn list_started(&mut self) {
        self.listed.clear();
    }

    fn list_page(&mut self, body: &[u8]) -> serde_json::Result<PageMeta> {
        let page: ListPage<MetadataOnly> = decode(body)?;
        for object in page.items.into_iter().flatten() {
            self.listed.insert(uid(&object.metadata).to_owned());
            self.collector
                .insert(GraphNode::new(&self.kind, &object.metadata));
        }
        Ok(page.metadata)
    }

    fn list_completed(&mut self) {
        let gone = self
            .collector
            .graph()
            .missing(&self.kind.resource, &std::mem::take(&mut self.listed));
        gone.iter().for_each(|uid| self.collector.remove(uid));
    }

    fn applied(&mut self, object: &[u8]) -> serde_json::Result<String> {
        let object: MetadataOnly = decode(object)?;
        self.collector
            .insert(GraphNode::new(&self.kind, &object.metadata));
        self.bump_definitions();
        Ok(object.metadata.resource_version.unwrap_or_default())
    }

    fn deleted(&mut self, object: &[u8]) -> serde_json::Result<String> {
        let object: MetadataOnly = decode(object)?;
        self.collector.remove(uid(&object.metadata));
        self.bump_definitions();
        Ok(object.metadata.resource_version.unwrap_or_default())
    }
}
