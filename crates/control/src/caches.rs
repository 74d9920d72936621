//! What the API server holds, as far as the watches have told: one watcher and one store per kind, shared by all
//! controllers.
//!
//! A watcher task owns the only writer of its [`Cache`]. Each change is first stored and then told to the
//! subscribers, in order, as the old and the new state; subscribers only compute keys and add them to queues.
//! After a broken watch the difference of the two lists is told in the same form, so that nothing is missed.
//!
//! Objects are read-only here. They are stripped of what no controller reads (field managers, environment, probes).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use clock::Entropy;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolumeClaim, Pod, ReplicationController, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::debug;

use crate::context::Context;
use crate::meta::{Key, controller_of, slim, version};

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

struct Objects<K> {
    by_key: BTreeMap<Key, Arc<K>>,
    by_controller: HashMap<String, BTreeSet<Key>>,
    /// Objects that nobody manages, by namespace.
    loose: HashMap<String, BTreeSet<Key>>,
    by_place: HashMap<String, BTreeSet<Key>>,
    place: fn(&K) -> Option<String>,
}

/// Becomes true when the first list of a kind is in its cache.
pub(crate) struct Synced(watch::Receiver<bool>);

impl Synced {
    pub(crate) async fn wait(mut self) {
        // The sender lives as long as the watcher task; when that is gone, so is the controller that waits.
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

    /// The newest resource version that this cache has come to, at least; 0 when versions are no numbers. What is read
    /// from the cache afterwards is not older.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Acquire)
    }

    fn come_to(&self, version: u64) {
        self.progress.fetch_max(version, Ordering::AcqRel);
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read(|objects| objects.by_key.get(key).cloned())
    }

    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&Key::new(namespace, name))
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.read(|objects| objects.by_key.values().cloned().collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.read(|objects| objects.by_key.len())
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.select(namespace, |_| true)
    }

    /// Those of a namespace that `wanted` picks.
    pub(crate) fn select(&self, namespace: &str, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.read(|objects| {
            let first = Bound::Included(Key::new(namespace, ""));
            objects
                .by_key
                .range((first, Bound::Unbounded))
                .take_while(|(key, _)| key.namespace == namespace)
                .filter(|(_, object)| wanted(object))
                .map(|(_, object)| Arc::clone(object))
                .collect()
        })
    }

    /// Those that the object with this uid manages.
    pub(crate) fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.read(|objects| objects.pick(objects.by_controller.get(uid)))
    }

    /// Those of a namespace that nobody manages.
    pub(crate) fn loose_in(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read(|objects| objects.pick(objects.loose.get(namespace)))
    }

    /// Those at a place; for pods, those of a node.
    pub(crate) fn at(&self, place: &str) -> Vec<Arc<K>> {
        self.read(|objects| objects.pick(objects.by_place.get(place)))
    }
}

impl<K: Resource> Objects<K> {
    fn pick(&self, keys: Option<&BTreeSet<Key>>) -> Vec<Arc<K>> {
        keys.into_iter().flatten().filter_map(|key| self.by_key.get(key).cloned()).collect()
    }

    fn insert(&mut self, key: Key, object: Arc<K>) -> Option<Arc<K>> {
        let old = self.remove(&key);
        match controller_of(object.meta()) {
            Some(owner) => self.by_controller.entry(owner.uid.clone()).or_default().insert(key.clone()),
            None => self.loose.entry(key.namespace.clone()).or_default().insert(key.clone()),
        };
        if let Some(place) = (self.place)(&object) {
            self.by_place.entry(place).or_default().insert(key.clone());
        }
        self.by_key.insert(key, object);
        old
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let old = self.by_key.remove(key)?;
        match controller_of(old.meta()) {
            Some(owner) => forget(&mut self.by_controller, &owner.uid, key),
            None => forget(&mut self.loose, &key.namespace, key),
        }
        if let Some(place) = (self.place)(&old) {
            forget(&mut self.by_place, &place, key);
        }
        Some(old)
    }
}

fn forget(index: &mut HashMap<String, BTreeSet<Key>>, entry: &str, key: &Key) {
    if let Some(keys) = index.get_mut(entry) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(entry);
        }
    }
}

/// A cache before it is filled: subscribers can still join.
pub(crate) struct Source<K> {
    pub(crate) cache: Arc<Cache<K>>,
    api: Api<K>,
    config: watcher::Config,
    strip: fn(&mut K),
    synced: watch::Sender<bool>,
    subscribers: Vec<Subscriber<K>>,
    entropy: Entropy,
}

impl<K> Source<K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    pub(crate) fn new(api: Api<K>, entropy: &Entropy) -> Self {
        let (synced, receiver) = watch::channel(false);
        let objects = Objects {
            by_key: BTreeMap::new(),
            by_controller: HashMap::new(),
            loose: HashMap::new(),
            by_place: HashMap::new(),
            place: |_| None,
        };
        let cache = Arc::new(Cache { objects: RwLock::new(objects), progress: AtomicU64::new(0), synced: receiver });
        Self { cache, api, config: watcher::Config::default(), strip: |_| {}, synced, subscribers: Vec::new(), entropy: entropy.clone() }
    }

    fn placed(self, place: fn(&K) -> Option<String>) -> Self {
        self.cache.objects.write().unwrap_or_else(PoisonError::into_inner).place = place;
        self
    }

    fn stripped(self, strip: fn(&mut K)) -> Self {
        Self { strip, ..self }
    }

    fn selected(self, fields: &str) -> Self {
        Self { config: self.config.fields(fields), ..self }
    }

    /// Calls `subscriber` for every change from now on, after the cache shows it.
    pub(crate) fn subscribe(&mut self, subscriber: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.subscribers.push(Box::new(subscriber));
    }

    /// Fills the cache and keeps it up to date, for ever.
    pub(crate) async fn run(mut self) {
        let mut events =
            watcher(self.api.clone(), self.config.clone()).backoff(Backoff { attempts: 0, entropy: self.entropy.clone() }).boxed();
        let mut listed: Option<BTreeMap<Key, Arc<K>>> = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed = Some(BTreeMap::new()),
                Ok(watcher::Event::InitApply(object)) => {
                    let object = self.strip(object);
                    if let Some(listed) = &mut listed {
                        listed.insert(Key::of(&*object), object);
                    }
                }
                Ok(watcher::Event::InitDone) => {
                    self.replace(listed.take().unwrap_or_default());
                    self.synced.send_replace(true);
                }
                Ok(watcher::Event::Apply(object)) => {
                    let object = self.strip(object);
                    self.store(Key::of(&*object), object);
                }
                Ok(watcher::Event::Delete(object)) => self.drop_key(&Key::of(&object), object),
                Err(error) => debug!(kind = std::any::type_name::<K>(), %error, "watch interrupted; taking it up again"),
            }
        }
    }

    fn strip(&self, mut object: K) -> Arc<K> {
        slim(object.meta_mut());
        (self.strip)(&mut object);
        Arc::new(object)
    }

    fn store(&mut self, key: Key, object: Arc<K>) {
        let old = self.cache.objects.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&object));
        self.cache.come_to(version(object.meta()));
        self.tell(&Change { old, new: Some(object) });
    }

    fn drop_key(&mut self, key: &Key, last: K) {
        self.cache.objects.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        // What the event carries is newer than what was stored.
        let last = self.strip(last);
        self.cache.come_to(version(last.meta()));
        self.tell(&Change { old: Some(last), new: None });
    }

    /// Takes over a whole list at once: nobody sees a part of it, or is told before all of it can be seen.
    fn replace(&mut self, listed: BTreeMap<Key, Arc<K>>) {
        let newest = listed.values().map(|object| version(object.meta())).max();
        let mut changes = Vec::new();
        {
            let mut objects = self.cache.objects.write().unwrap_or_else(PoisonError::into_inner);
            let gone: Vec<Key> = objects.by_key.keys().filter(|key| !listed.contains_key(key)).cloned().collect();
            for key in gone {
                changes.push(Change { old: objects.remove(&key), new: None });
            }
            for (key, object) in listed {
                let known = objects.by_key.get(&key);
                if known.is_none_or(|known| known.meta().resource_version != object.meta().resource_version) {
                    let old = objects.insert(key, Arc::clone(&object));
                    changes.push(Change { old, new: Some(object) });
                }
            }
        }
        self.cache.come_to(newest.unwrap_or_default());
        changes.iter().for_each(|change| self.tell(change));
    }

    fn tell(&self, change: &Change<K>) {
        for subscriber in &self.subscribers {
            subscriber(change);
        }
    }
}

/// Pauses between attempts to watch: short at first, because in one process the server is up within milliseconds.
#[derive(Debug)]
struct Backoff {
    attempts: u32,
    entropy: Entropy,
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = Duration::from_millis(20).saturating_mul(1 << self.attempts.min(10)).min(Duration::from_secs(15));
        self.attempts += 1;
        // Many watches break together; they need not all come back at once.
        Some(self.entropy.jitter(pause, 0.2))
    }
}

impl kube::runtime::utils::Backoff for Backoff {
    fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// All shared caches.
pub(crate) struct Caches {
    pub(crate) pods: Source<Pod>,
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
    pub(crate) fn new(context: &Context) -> Self {
        let (client, entropy) = (&context.client, &context.entropy);
        Self {
            pods: Source::new(Api::all(client.clone()), entropy).placed(node_of).stripped(strip_pod),
            budgets: Source::new(Api::all(client.clone()), entropy),
            replication_controllers: Source::new(Api::all(client.clone()), entropy),
            replica_sets: Source::new(Api::all(client.clone()), entropy),
            deployments: Source::new(Api::all(client.clone()), entropy),
            stateful_sets: Source::new(Api::all(client.clone()), entropy),
            daemon_sets: Source::new(Api::all(client.clone()), entropy),
            controller_revisions: Source::new(Api::all(client.clone()), entropy),
            jobs: Source::new(Api::all(client.clone()), entropy),
            cron_jobs: Source::new(Api::all(client.clone()), entropy),
            nodes: Source::new(Api::all(client.clone()), entropy).stripped(|node| {
                if let Some(status) = &mut node.status {
                    status.images = None;
                }
            }),
            leases: Source::new(Api::namespaced(client.clone(), LEASE_NAMESPACE), entropy),
            namespaces: Source::new(Api::all(client.clone()), entropy),
            accounts: Source::new(Api::all(client.clone()), entropy).selected("metadata.name=default"),
            root_ca_maps: Source::new(Api::all(client.clone()), entropy).selected("metadata.name=kube-root-ca.crt"),
            services: Source::new(Api::all(client.clone()), entropy),
            slices: Source::new(Api::all(client.clone()), entropy).placed(service_of_slice),
            endpoints: Source::new(Api::all(client.clone()), entropy),
            claims: Source::new(Api::all(client.clone()), entropy),
        }
    }

    /// Starts the watchers.
    pub(crate) fn start(self, context: &Context) {
        context.spawn(self.pods.run());
        context.spawn(self.budgets.run());
        context.spawn(self.replication_controllers.run());
        context.spawn(self.replica_sets.run());
        context.spawn(self.deployments.run());
        context.spawn(self.stateful_sets.run());
        context.spawn(self.daemon_sets.run());
        context.spawn(self.controller_revisions.run());
        context.spawn(self.jobs.run());
        context.spawn(self.cron_jobs.run());
        context.spawn(self.nodes.run());
        context.spawn(self.leases.run());
        context.spawn(self.namespaces.run());
        context.spawn(self.accounts.run());
        context.spawn(self.root_ca_maps.run());
        context.spawn(self.services.run());
        context.spawn(self.slices.run());
        context.spawn(self.endpoints.run());
        context.spawn(self.claims.run());
    }
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone().filter(|name| !name.is_empty())
}

/// The place of a slice: the service that it is about.
fn service_of_slice(slice: &EndpointSlice) -> Option<String> {
    let name = slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?;
    Some(format!("{}/{name}", slice.metadata.namespace.as_deref().unwrap_or_default()))
}

/// Controllers place and count pods; what runs inside is the node's business.
fn strip_pod(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    spec.volumes = None;
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        container.env = None;
        container.env_from = None;
        container.command = None;
        container.args = None;
        container.volume_mounts = None;
        container.liveness_probe = None;
        container.readiness_probe = None;
        container.startup_probe = None;
        container.lifecycle = None;
        container.security_context = None;
    }
}
