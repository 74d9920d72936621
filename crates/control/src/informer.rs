//! Informers: for each kind a cache of what the API server holds, shared by all controllers.
//!
//! A reflector task owns the only writer of its [`Cache`]. Each change is first stored and then
//! passed to the subscribers, in order, as the old and the new state. Subscribers only compute keys
//! and add them to work queues. After a broken watch the difference between the new list and the
//! cache is passed on in the same form, so that no change is missed.
//!
//! Objects are read-only here and lack what no controller reads: managed fields of all kinds, most
//! of a pod (`partialpod.rs`), the images of nodes. `indexer.rs` finds objects by owner, by node or
//! service, and by label. `informers.rs` lists the kinds.

mod indexer;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use clock::Entropy;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::error;

use crate::meta::ObjectKey;
use crate::queue::WorkQueue;
use crate::reflector::{ListPage, PageMeta, WatchSink, WatchedCollection, decode, reflect};
use crate::selector::Selector;
use crate::selectors::SelectorIndex;
use crate::synced::Synced;
use indexer::{AnyObject, Indexer, typed, typed_ref};

/// A change of one object. At least one of the two states is present.
pub(crate) struct ObjectChange<K> {
    pub(crate) old: Option<Arc<K>>,
    pub(crate) new: Option<Arc<K>>,
}

impl<K> ObjectChange<K> {
    /// The newest known state. For a removed object, this is its last state.
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

type Subscriber<K> = Box<dyn Fn(&ObjectChange<K>) + Send + Sync>;

/// The known objects of one kind.
pub(crate) struct Cache<K> {
    objects: RwLock<Indexer>,
    /// The value of [`Cache::progress`].
    progress: AtomicU64,
    synced: watch::Receiver<bool>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Send + Sync + 'static> Cache<K> {
    fn objects(&self) -> RwLockReadGuard<'_, Indexer> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn synced(&self) -> Synced {
        Synced::new(self.synced.clone())
    }

    /// A resource version that the cache has at least reached; 0 when versions are not numbers.
    /// Objects that are read afterwards are not older.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Acquire)
    }

    fn advance_to(&self, version: &str) {
        self.progress
            .fetch_max(version.parse().unwrap_or_default(), Ordering::AcqRel);
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.find(&key.namespace, &key.name)
    }

    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let found = self.objects().get(namespace, name).cloned();
        found.map(typed)
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.objects().all().cloned().map(typed).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.objects().len()
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.select(namespace, |_| true)
    }

    /// The objects of a namespace for which `wanted` is true.
    pub(crate) fn select(&self, namespace: &str, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.objects()
            .in_namespace(namespace)
            .filter(|object| wanted(typed_ref(&***object)))
            .cloned()
            .map(typed)
            .collect()
    }

    /// The objects of a namespace whose labels match the selector.
    pub(crate) fn selected(&self, namespace: &str, selector: &Selector) -> Vec<Arc<K>> {
        all_typed(self.objects().selected(namespace, selector))
    }

    /// The objects whose controlling owner has this uid.
    pub(crate) fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        all_typed(self.objects().controlled_by(uid))
    }

    /// The objects of a namespace that have no controlling owner and match the selector.
    pub(crate) fn adoptable(&self, namespace: &str, selector: &Selector) -> Vec<Arc<K>> {
        all_typed(self.objects().adoptable(namespace, selector))
    }

    /// The objects with this value of the extra index: the pods of a node, the slices of a service.
    pub(crate) fn at(&self, value: &str) -> Vec<Arc<K>> {
        all_typed(self.objects().at(value))
    }
}

fn all_typed<K: Send + Sync + 'static>(objects: Vec<Arc<dyn AnyObject>>) -> Vec<Arc<K>> {
    objects.into_iter().map(typed).collect()
}

/// A cache that is filled from list and watch, with its subscribers. `W` is the type that objects
/// are decoded as before they become a `K`.
pub(crate) struct Informer<K, W = K> {
    pub(crate) cache: Arc<Cache<K>>,
    collection: WatchedCollection,
    strip: fn(&mut K),
    skip_superseded: bool,
    synced: watch::Sender<bool>,
    subscribers: Vec<Subscriber<K>>,
    /// The resource version of the list that is being received, and its objects so far.
    list_version: String,
    listed: BTreeMap<ObjectKey, Arc<dyn AnyObject>>,
    wire: PhantomData<fn() -> W>,
}

impl<K, W> Informer<K, W>
where
    K: Resource<DynamicType = ()> + From<W> + Send + Sync + 'static,
    W: DeserializeOwned + 'static,
{
    /// Follows all objects of the kind.
    pub(crate) fn new() -> Self {
        Self::within(None)
    }

    /// Follows the objects of one namespace, or of all namespaces.
    pub(crate) fn within(namespace: Option<&str>) -> Self {
        let (synced, receiver) = watch::channel(false);
        let cache = Arc::new(Cache {
            objects: RwLock::new(Indexer::default()),
            progress: AtomicU64::new(0),
            synced: receiver,
            kind: PhantomData,
        });
        let collection = WatchedCollection {
            path: K::url_path(&(), namespace),
            fields: None,
            metadata_only: false,
        };
        Self {
            cache,
            collection,
            strip: |_| {},
            skip_superseded: false,
            synced,
            subscribers: Vec::new(),
            list_version: String::new(),
            listed: BTreeMap::new(),
            wire: PhantomData,
        }
    }

    /// Adds the index behind [`Cache::at`].
    pub(crate) fn indexed_by(self, value: fn(&K) -> Option<String>) -> Self {
        self.objects().index_extra(value);
        self
    }

    /// Adds an index by label, so that [`Cache::selected`] need not try every object.
    pub(crate) fn indexed_by_label(self) -> Self {
        self.objects().index_labels();
        self
    }

    pub(crate) fn stripped(self, strip: fn(&mut K)) -> Self {
        Self { strip, ..self }
    }

    /// Skips a state of an object when the next watch event shows a newer one.
    pub(crate) fn skip_superseded(self) -> Self {
        Self {
            skip_superseded: true,
            ..self
        }
    }

    pub(crate) fn with_field_selector(mut self, fields: &str) -> Self {
        self.collection.fields = Some(fields.to_owned());
        self
    }

    /// Keeps an index of the selectors of these objects. An object without a usable selector is
    /// left out.
    pub(crate) fn index_selectors(
        &mut self,
        selector_of: fn(&K) -> Option<Selector>,
    ) -> Arc<SelectorIndex> {
        let index = Arc::new(SelectorIndex::default());
        let learning = Arc::clone(&index);
        self.subscribe(move |change| {
            learning.set(
                &ObjectKey::of(change.latest()),
                change.new.as_deref().and_then(selector_of),
            )
        });
        index
    }

    /// Adds every object that changes to a work queue.
    pub(crate) fn enqueue_changes(&mut self, queue: &WorkQueue<ObjectKey>) {
        let queue = queue.clone();
        self.subscribe(move |change| queue.add(ObjectKey::of(change.latest())));
    }

    /// Calls `subscriber` for every change from now on, after the cache shows it.
    pub(crate) fn subscribe(
        &mut self,
        subscriber: impl Fn(&ObjectChange<K>) + Send + Sync + 'static,
    ) {
        self.subscribers.push(Box::new(subscriber));
    }

    /// Fills the cache and keeps it up to date until the future is dropped.
    pub(crate) fn run(
        self,
        client: &Client,
        entropy: &Entropy,
    ) -> impl Future<Output = ()> + Send + use<K, W> {
        reflect(
            client.clone(),
            self.collection.clone(),
            entropy.clone(),
            Box::new(self),
        )
    }

    fn objects(&self) -> RwLockWriteGuard<'_, Indexer> {
        let objects = self.cache.objects.write();
        objects.unwrap_or_else(PoisonError::into_inner)
    }

    fn prepare(&self, object: W) -> Arc<K> {
        let mut object = K::from(object);
        (self.strip)(&mut object);
        Arc::new(object)
    }

    /// Stores an object. `version` is what the cache reaches thereby; empty when it is not known.
    fn store(&self, key: ObjectKey, object: Arc<K>, version: &str) {
        let stored: Arc<dyn AnyObject> = object.clone();
        let old = self.objects().insert(key, stored).map(typed);
        self.cache.advance_to(version);
        self.notify(&ObjectChange {
            old,
            new: Some(object),
        });
    }

    fn remove(&self, key: &ObjectKey, last: Option<Arc<K>>, version: &str) {
        let old = self.objects().remove(key).map(typed);
        self.cache.advance_to(version);
        // The state in the event is newer than the stored one.
        let old = last.or(old);
        if old.is_some() {
            self.notify(&ObjectChange { old, new: None });
        }
    }

    fn notify(&self, change: &ObjectChange<K>) {
        for subscriber in &self.subscribers {
            // A subscriber that panics over one object must not end the watch for all controllers.
            if std::panic::catch_unwind(AssertUnwindSafe(|| subscriber(change))).is_err() {
                let key = ObjectKey::of(change.latest());
                error!(kind = std::any::type_name::<K>(), %key,
                    "informer subscriber panicked; change not delivered");
            }
        }
    }
}

fn version_of<K: Resource>(object: &K) -> String {
    object.meta().resource_version.clone().unwrap_or_default()
}

impl<K, W> WatchSink for Informer<K, W>
where
    K: Resource<DynamicType = ()> + From<W> + Send + Sync + 'static,
    W: DeserializeOwned + 'static,
{
    fn list_started(&mut self) {
        self.listed.clear();
    }

    fn list_page(&mut self, body: &[u8]) -> serde_json::Result<PageMeta> {
        let page: ListPage<W> = decode(body)?;
        for object in page.items.into_iter().flatten() {
            let object = self.prepare(object);
            self.listed.insert(ObjectKey::of(&*object), object);
        }
        self.list_version
            .clone_from(&page.metadata.resource_version);
        Ok(page.metadata)
    }

    fn list_completed(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let known = self.cache.all();
        for key in known
            .iter()
            .map(|object| ObjectKey::of(&**object))
            .filter(|key| !listed.contains_key(key))
        {
            self.remove(&key, None, "");
        }
        for (key, object) in listed {
            let known = self.cache.get(&key);
            if known.is_none_or(|known| {
                known.meta().resource_version != object.metadata().resource_version
            }) {
                self.store(key, typed(object), "");
            }
        }
        // Only now every object of the list can be read.
        self.cache.advance_to(&self.list_version);
        self.synced.send_replace(true);
    }

    fn skips_superseded(&self) -> bool {
        self.skip_superseded
    }

    fn applied(&mut self, object: &[u8]) -> serde_json::Result<String> {
        let object = self.prepare(decode(object)?);
        let version = version_of(&*object);
        self.store(ObjectKey::of(&*object), object, &version);
        Ok(version)
    }

    fn deleted(&mut self, object: &[u8]) -> serde_json::Result<String> {
        let object = self.prepare(decode(object)?);
        let version = version_of(&*object);
        self.remove(&ObjectKey::of(&*object), Some(object), &version);
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use k8s_openapi::api::core::v1::Pod;

    use super::*;
    use crate::partialpod::PartialPod;

    type ChangeLog = Arc<Mutex<Vec<(Option<String>, Option<String>)>>>;

    /// An informer whose first subscriber panics over pods named `bad`, and the log of its second.
    fn source() -> (Informer<Pod, PartialPod>, ChangeLog) {
        let mut source: Informer<Pod, PartialPod> = Informer::new();
        source.subscribe(|change| {
            assert_ne!(
                change.latest().metadata.name.as_deref(),
                Some("bad"),
                "as the test wants it"
            )
        });
        let log = ChangeLog::default();
        let entries = Arc::clone(&log);
        let version = |pod: &Option<Arc<Pod>>| {
            pod.as_ref()
                .and_then(|pod| pod.metadata.resource_version.clone())
        };
        source.subscribe(move |change| {
            entries
                .lock()
                .expect("lock")
                .push((version(&change.old), version(&change.new)))
        });
        (source, log)
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
    fn a_panicking_subscriber_affects_neither_the_cache_nor_other_subscribers() {
        let (mut source, log) = source();
        source
            .applied(object("bad", "1").as_bytes())
            .expect("decodes");
        source
            .applied(object("good", "2").as_bytes())
            .expect("decodes");
        assert_eq!(
            *log.lock().expect("lock"),
            [pair(None, Some("1")), pair(None, Some("2"))]
        );
        assert_eq!(source.cache.len(), 2);
    }

    #[test]
    fn a_new_list_reports_the_difference_to_the_cache() {
        let (mut source, log) = source();
        for name in ["stays", "changes", "goes"] {
            source
                .applied(object(name, "1").as_bytes())
                .expect("decodes");
        }
        log.lock().expect("lock").clear();
        source.list_started();
        source
            .list_page(&page(&[object("stays", "1"), object("changes", "2")]))
            .expect("decodes");
        source
            .list_page(&page(&[object("comes", "3")]))
            .expect("decodes");
        assert_eq!(
            *log.lock().expect("lock"),
            [],
            "no change is reported before the list is complete"
        );
        source.list_completed();
        assert_eq!(
            *log.lock().expect("lock"),
            [
                pair(Some("1"), None),
                pair(Some("1"), Some("2")),
                pair(None, Some("3"))
            ]
        );
    }
}
