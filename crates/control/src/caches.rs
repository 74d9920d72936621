//! What the API server holds, as far as the watches have told: one watcher and one store per kind,
//! shared by all controllers, the garbage collector among them.
//!
//! A watcher task owns the only writer of its [`Cache`]. Each change is first stored and then told
//! to the subscribers, in order, as the old and the new state; subscribers only compute keys and
//! add them to queues. After a broken watch the difference of the two lists is told in the same
//! form, so that nothing is missed.
//!
//! Objects are read-only here, and without what no controller reads: managed fields of all kinds,
//! most of a pod (`pod.rs`), the images of nodes. `objects.rs` finds them by owner, place and
//! label.

mod objects;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use clock::Entropy;
use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolumeClaim, Pod, ReplicationController,
    Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::error;

use crate::context::Context;
use crate::meta::Key;
use crate::pod::Wire;
use crate::selector::Selector;
use crate::selectors::SelectorIndex;
use crate::watch::{Collection, ListEnd, Page, Sink, decode, follow};
use objects::Objects;

/// One change of one object. At least one of the two is there.
pub(crate) struct Change<K> {
    pub(crate) old: Option<Arc<K>>,
    pub(crate) new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The newest known state: the last one for a removed object.
    pub(crate) fn latest(&self) -> &K {
        match (&self.new, &self.old) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => unreachable!("a change is about an object"),
        }
    }

    /// Both states, the old one first.
    pub(crate) fn states(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.iter().chain(&self.new)
    }
}

type Subscriber<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// The known objects of one kind.
pub(crate) struct Cache<K> {
    objects: RwLock<Objects<K>>,
    /// See [`Cache::progress`].
    progress: AtomicU64,
    synced: watch::Receiver<bool>,
}

/// Becomes true when the first list of a kind is in its cache.
pub(crate) struct Synced(watch::Receiver<bool>);

impl Synced {
    pub(crate) async fn wait(mut self) {
        // The sender lives as long as the watcher task; when that is gone, so is the controller
        // that waits.
        let _ = self.0.wait_for(|synced| *synced).await;
    }
}

impl<K: Resource> Cache<K> {
    fn read<T>(&self, look: impl FnOnce(&Objects<K>) -> T) -> T {
        look(&self.objects.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn synced(&self) -> Synced {
        Synced(self.synced.clone())
    }

    /// The newest resource version that this cache has come to, at least; 0 when versions are no
    /// numbers. What is read from the cache afterwards is not older.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Acquire)
    }

    fn come_to(&self, version: &str) {
        self.progress
            .fetch_max(version.parse().unwrap_or_default(), Ordering::AcqRel);
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.find(&key.namespace, &key.name)
    }

    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.read(|objects| objects.get(namespace, name).cloned())
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.read(|objects| objects.all().cloned().collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.read(Objects::len)
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.select(namespace, |_| true)
    }

    /// Those of a namespace that `wanted` picks.
    pub(crate) fn select(&self, namespace: &str, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.read(|objects| {
            objects
                .in_namespace(namespace)
                .filter(|object| wanted(object))
                .cloned()
                .collect()
        })
    }

    /// Those of a namespace whose labels a selector selects.
    pub(crate) fn selected(&self, namespace: &str, selector: &Selector) -> Vec<Arc<K>> {
        self.read(|objects| objects.selected(namespace, selector))
    }

    /// Those that the object with this uid manages.
    pub(crate) fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.read(|objects| objects.controlled_by(uid))
    }

    /// Those of a namespace that nobody manages and whose labels a selector selects.
    pub(crate) fn loose_selected(&self, namespace: &str, selector: &Selector) -> Vec<Arc<K>> {
        self.read(|objects| objects.loose_selected(namespace, selector))
    }

    /// Those at a place; for pods, those of a node.
    pub(crate) fn at(&self, place: &str) -> Vec<Arc<K>> {
        self.read(|objects| objects.at(place))
    }
}

/// A cache before it is filled: subscribers can still join. `W` is what objects are decoded as on
/// their way in.
pub(crate) struct Source<K, W = K> {
    pub(crate) cache: Arc<Cache<K>>,
    collection: Collection,
    strip: fn(&mut K),
    newest_only: bool,
    synced: watch::Sender<bool>,
    subscribers: Vec<Subscriber<K>>,
    /// The version of the list that is coming in, and the list.
    list_version: String,
    listed: BTreeMap<Key, Arc<K>>,
    wire: PhantomData<fn() -> W>,
}

impl<K, W> Source<K, W>
where
    K: Resource<DynamicType = ()> + From<W> + Send + Sync + 'static,
    W: DeserializeOwned + 'static,
{
    /// All objects of the kind.
    fn new() -> Self {
        Self::within(None)
    }

    /// Those of one namespace.
    fn within(namespace: Option<&str>) -> Self {
        let (synced, receiver) = watch::channel(false);
        let cache = Arc::new(Cache {
            objects: RwLock::new(Objects::default()),
            progress: AtomicU64::new(0),
            synced: receiver,
        });
        let collection = Collection {
            path: K::url_path(&(), namespace),
            fields: None,
            metadata_only: false,
        };
        Self {
            cache,
            collection,
            strip: |_| {},
            newest_only: false,
            synced,
            subscribers: Vec::new(),
            list_version: String::new(),
            listed: BTreeMap::new(),
            wire: PhantomData,
        }
    }

    /// Found by place, too.
    fn placed(self, place: fn(&K) -> Option<String>) -> Self {
        self.write(|objects| objects.index_places(place));
        self
    }

    /// Found by their labels, too.
    fn labelled(self) -> Self {
        self.write(Objects::index_labels);
        self
    }

    fn stripped(self, strip: fn(&mut K)) -> Self {
        Self { strip, ..self }
    }

    /// Of several changes of an object that follow each other only the newest is taken in.
    fn newest_only(self) -> Self {
        Self {
            newest_only: true,
            ..self
        }
    }

    fn chosen(mut self, fields: &str) -> Self {
        self.collection.fields = Some(fields.to_owned());
        self
    }

    /// An index that follows the selectors of these objects. An object without a usable one is left
    /// out.
    pub(crate) fn index_selectors(
        &mut self,
        selector_of: fn(&K) -> Option<Selector>,
    ) -> Arc<SelectorIndex> {
        let index = Arc::new(SelectorIndex::default());
        let learning = Arc::clone(&index);
        self.subscribe(move |change| {
            learning.set(
                &Key::of(change.latest()),
                change.new.as_deref().and_then(selector_of),
            )
        });
        index
    }

    /// Calls `subscriber` for every change from now on, after the cache shows it.
    pub(crate) fn subscribe(&mut self, subscriber: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.subscribers.push(Box::new(subscriber));
    }

    /// Fills the cache and keeps it up to date, for ever.
    fn run(
        self,
        client: &Client,
        entropy: &Entropy,
    ) -> impl Future<Output = ()> + Send + use<K, W> {
        follow(
            client.clone(),
            self.collection.clone(),
            entropy.clone(),
            Box::new(self),
        )
    }

    fn write<T>(&self, change: impl FnOnce(&mut Objects<K>) -> T) -> T {
        change(
            &mut self
                .cache
                .objects
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn take_in(&self, object: W) -> Arc<K> {
        let mut object = K::from(object);
        (self.strip)(&mut object);
        Arc::new(object)
    }

    /// Takes in an object of a cache that thereby comes to `version`, if there is one.
    fn store(&self, key: Key, object: Arc<K>, version: &str) {
        let old = self.write(|objects| objects.insert(key, Arc::clone(&object)));
        self.cache.come_to(version);
        self.tell(&Change {
            old,
            new: Some(object),
        });
    }

    fn remove(&self, key: &Key, last: Option<Arc<K>>, version: &str) {
        let old = self.write(|objects| objects.remove(key));
        self.cache.come_to(version);
        // What the event carries is newer than what was stored.
        let old = last.or(old);
        if old.is_some() {
            self.tell(&Change { old, new: None });
        }
    }

    fn tell(&self, change: &Change<K>) {
        for subscriber in &self.subscribers {
            // One subscriber that breaks down over one object must not end the watch for all
            // controllers.
            if std::panic::catch_unwind(AssertUnwindSafe(|| subscriber(change))).is_err() {
                let key = Key::of(change.latest());
                error!(kind = std::any::type_name::<K>(), %key, "a subscriber panicked over a change; it has missed it");
            }
        }
    }
}

fn version_of<K: Resource>(object: &K) -> String {
    object.meta().resource_version.clone().unwrap_or_default()
}

impl<K, W> Sink for Source<K, W>
where
    K: Resource<DynamicType = ()> + From<W> + Send + Sync + 'static,
    W: DeserializeOwned + 'static,
{
    fn begin(&mut self) {
        self.listed.clear();
    }

    fn page(&mut self, body: &[u8]) -> serde_json::Result<ListEnd> {
        let page: Page<W> = decode(body)?;
        for object in page.items.into_iter().flatten() {
            let object = self.take_in(object);
            self.listed.insert(Key::of(&*object), object);
        }
        self.list_version
            .clone_from(&page.metadata.resource_version);
        Ok(page.metadata)
    }

    fn complete(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let known = self.cache.all();
        for key in known
            .iter()
            .map(|object| Key::of(&**object))
            .filter(|key| !listed.contains_key(key))
        {
            self.remove(&key, None, "");
        }
        for (key, object) in listed {
            let known = self.cache.get(&key);
            if known
                .is_none_or(|known| known.meta().resource_version != object.meta().resource_version)
            {
                self.store(key, object, "");
            }
        }
        // Only now all of the list can be seen.
        self.cache.come_to(&self.list_version);
        self.synced.send_replace(true);
    }

    fn wants_newest_only(&self) -> bool {
        self.newest_only
    }

    fn put(&mut self, object: &[u8]) -> serde_json::Result<String> {
        let object = self.take_in(decode(object)?);
        let version = version_of(&*object);
        self.store(Key::of(&*object), object, &version);
        Ok(version)
    }

    fn gone(&mut self, object: &[u8]) -> serde_json::Result<String> {
        let object = self.take_in(decode(object)?);
        let version = version_of(&*object);
        self.remove(&Key::of(&*object), Some(object), &version);
        Ok(version)
    }
}

/// All shared caches.
pub(crate) struct Caches {
    pub(crate) pods: Source<Pod, Wire>,
    pub(crate) budgets: Source<PodDisruptionBudget>,
    pub(crate) replication_controllers: Source<ReplicationController>,
    pub(crate) replica_sets: Source<ReplicaSet>,
    pub(crate) deployments: Source<Deployment>,
    pub(crate) stateful_sets: Source<StatefulSet>,
    pub(crate) daemon_sets: Source<DaemonSet>,
    pub(crate) controller_revisions: Source<ControllerRevision>,
    pub(crate) jobs: Source<Job>,
    pub(crate) cron_jobs: Source<CronJob>,
    pub(crate) nodes: Source<Node>,
    pub(crate) leases: Source<Lease>,
    pub(crate) namespaces: Source<Namespace>,
    pub(crate) accounts: Source<ServiceAccount>,
    pub(crate) root_ca_maps: Source<ConfigMap>,
    pub(crate) services: Source<Service>,
    pub(crate) slices: Source<EndpointSlice>,
    pub(crate) endpoints: Source<Endpoints>,
    pub(crate) claims: Source<PersistentVolumeClaim>,
}

/// The namespace in which nodes keep their leases.
pub(crate) const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The config map that tells every namespace whom to trust.
pub(crate) const ROOT_CA_MAP: &str = "kube-root-ca.crt";

impl Caches {
    pub(crate) fn new() -> Self {
        Self {
            // An eviction alone makes three of them. A budget, in contrast, is followed state by
            // state (`disruption/notes.rs`).
            pods: Source::new().placed(node_of).labelled().newest_only(),
            budgets: Source::new(),
            replication_controllers: Source::new(),
            replica_sets: Source::new(),
            deployments: Source::new(),
            stateful_sets: Source::new(),
            daemon_sets: Source::new(),
            controller_revisions: Source::new(),
            jobs: Source::new(),
            cron_jobs: Source::new(),
            nodes: Source::new().stripped(|node| {
                if let Some(status) = &mut node.status {
                    status.images = None;
                }
            }),
            leases: Source::within(Some(LEASE_NAMESPACE)),
            namespaces: Source::new(),
            accounts: Source::new().chosen("metadata.name=default"),
            root_ca_maps: Source::new().chosen("metadata.name=kube-root-ca.crt"),
            services: Source::new(),
            slices: Source::new().placed(service_of_slice),
            endpoints: Source::new(),
            claims: Source::new(),
        }
    }

    /// Starts the watchers.
    pub(crate) fn start(self, context: &Context) {
        let (client, entropy) = (&context.client, &context.entropy);
        context.spawn(self.pods.run(client, entropy));
        context.spawn(self.budgets.run(client, entropy));
        context.spawn(self.replication_controllers.run(client, entropy));
        context.spawn(self.replica_sets.run(client, entropy));
        context.spawn(self.deployments.run(client, entropy));
        context.spawn(self.stateful_sets.run(client, entropy));
        context.spawn(self.daemon_sets.run(client, entropy));
        context.spawn(self.controller_revisions.run(client, entropy));
        context.spawn(self.jobs.run(client, entropy));
        context.spawn(self.cron_jobs.run(client, entropy));
        context.spawn(self.nodes.run(client, entropy));
        context.spawn(self.leases.run(client, entropy));
        context.spawn(self.namespaces.run(client, entropy));
        context.spawn(self.accounts.run(client, entropy));
        context.spawn(self.root_ca_maps.run(client, entropy));
        context.spawn(self.services.run(client, entropy));
        context.spawn(self.slices.run(client, entropy));
        context.spawn(self.endpoints.run(client, entropy));
        context.spawn(self.claims.run(client, entropy));
    }
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec
        .as_ref()?
        .node_name
        .clone()
        .filter(|name| !name.is_empty())
}

/// The place of a slice: the service that it is about.
fn service_of_slice(slice: &EndpointSlice) -> Option<String> {
    let name = slice
        .metadata
        .labels
        .as_ref()?
        .get("kubernetes.io/service-name")?;
    Some(format!(
        "{}/{name}",
        slice.metadata.namespace.as_deref().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    type Told = Arc<Mutex<Vec<(Option<String>, Option<String>)>>>;

    /// A source whose first subscriber breaks down over pods named `bad`, and what its second one
    /// was told.
    fn source() -> (Source<Pod, Wire>, Told) {
        let mut source: Source<Pod, Wire> = Source::new();
        source.subscribe(|change| {
            assert_ne!(
                change.latest().metadata.name.as_deref(),
                Some("bad"),
                "as the test wants it"
            )
        });
        let told = Told::default();
        let notes = Arc::clone(&told);
        let version = |pod: &Option<Arc<Pod>>| {
            pod.as_ref()
                .and_then(|pod| pod.metadata.resource_version.clone())
        };
        source.subscribe(move |change| {
            notes
                .lock()
                .expect("lock")
                .push((version(&change.old), version(&change.new)))
        });
        (source, told)
    }

    fn object(name: &str, version: &str) -> String {
        format!(
            r#"{{"metadata":{{"namespace":"n","name":"{name}","resourceVersion":"{version}"}}}}"#
        )
    }

    fn page(items: &[String]) -> Vec<u8> {
        format!(
            r#"{{"metadata":{{"resourceVersion":"9"}},"items":[{}]}}"#,
            items.join(",")
        )
        .into_bytes()
    }

    fn pair(old: Option<&str>, new: Option<&str>) -> (Option<String>, Option<String>) {
        (old.map(str::to_owned), new.map(str::to_owned))
    }

    #[test]
    fn a_subscriber_that_panics_keeps_neither_the_cache_nor_the_others_from_learning() {
        let (mut source, told) = source();
        source.put(object("bad", "1").as_bytes()).expect("decodes");
        source.put(object("good", "2").as_bytes()).expect("decodes");
        assert_eq!(
            *told.lock().expect("lock"),
            [pair(None, Some("1")), pair(None, Some("2"))]
        );
        assert_eq!(source.cache.len(), 2);
    }

    #[test]
    fn a_new_list_tells_the_difference_to_what_was_known() {
        let (mut source, told) = source();
        for name in ["stays", "changes", "goes"] {
            source.put(object(name, "1").as_bytes()).expect("decodes");
        }
        told.lock().expect("lock").clear();
        source.begin();
        source
            .page(&page(&[object("stays", "1"), object("changes", "2")]))
            .expect("decodes");
        source
            .page(&page(&[object("comes", "3")]))
            .expect("decodes");
        assert_eq!(
            *told.lock().expect("lock"),
            [],
            "nothing is told before the list is complete"
        );
        source.complete();
        assert_eq!(
            *told.lock().expect("lock"),
            [
                pair(Some("1"), None),
                pair(Some("1"), Some("2")),
                pair(None, Some("3"))
            ]
        );
    }
}
