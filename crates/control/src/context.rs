//! What every controller needs: the client, clock, randomness, options, events and a place for
//! tasks.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use clock::{Clock, Entropy};
use events::{EventBroadcaster, EventRecorder};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kinds::path::segment;
use kube::api::{Patch, PatchParams, PostParams, Request};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ControllerOptions;
use crate::api::NamedApi;
use crate::error::{ReconcileError, ignore_not_found};
use crate::informer::Cache;
use crate::meta::{ObjectKey, version};
use crate::pacing::PodPace;
use crate::partialpod::PartialPod;
use crate::pods::{name, namespace};
use crate::queue::{Requeue, WorkQueue};
use crate::synced::Synced;

/// Brings objects to the state that their specs ask for.
pub(crate) trait Reconciler: Send + Sync + 'static {
    /// Reads the caches, plans and applies the plan. It does not know why it is called, so it must
    /// be idempotent, and a key whose object no longer exists is no error.
    fn reconcile(
        &self,
        key: &ObjectKey,
    ) -> impl Future<Output = Result<Requeue, ReconcileError>> + Send;
}

/// Shared by all controllers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ControllerContext {
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) options: Arc<ControllerOptions>,
    /// How fast all controllers together create pods.
    pub(crate) pod_pace: Arc<PodPace>,
    pub(crate) shutdown: CancellationToken,
    tasks: TaskTracker,
    events: EventBroadcaster,
}

impl ControllerContext {
    pub(crate) fn new(
        client: Client,
        clock: Clock,
        entropy: Entropy,
        options: ControllerOptions,
        shutdown: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let (events, writer) = EventBroadcaster::new(client.clone(), clock.clone(), None);
        tasks.spawn(writer.run(shutdown.clone()));
        Self {
            client,
            clock,
            entropy,
            pod_pace: Arc::new(PodPace::new(options.pods_per_second, options.pod_burst)),
            options: Arc::new(options),
            shutdown,
            tasks,
            events,
        }
    }

    /// The present time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The present time in whole seconds, as objects hold it.
    pub(crate) fn now_on_wire(&self) -> Time {
        Time(crate::meta::whole_seconds(self.clock.now()))
    }

    /// A recorder for the events of one component.
    pub(crate) fn recorder(&self, component: &'static str) -> EventRecorder {
        self.events.recorder(component)
    }

    /// Runs a task until shutdown.
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs a controller: reconciles the keys of its queue, `workers` at a time, once the caches
    /// behind `synced` are filled.
    pub(crate) fn run<R: Reconciler>(
        &self,
        name: &'static str,
        queue: WorkQueue<ObjectKey>,
        workers: usize,
        synced: Vec<Synced>,
        reconciler: Arc<R>,
    ) {
        self.work(name, queue, workers, synced, move |key| {
            let reconciler = Arc::clone(&reconciler);
            async move { reconciler.reconcile(&key).await }
        });
    }

    /// Reconciles the keys of a queue, `workers` at a time, once the caches behind `synced` are
    /// filled.
    pub(crate) fn work<F, W>(
        &self,
        name: &'static str,
        queue: WorkQueue<ObjectKey>,
        workers: usize,
        synced: Vec<Synced>,
        reconcile: F,
    ) where
        F: Fn(ObjectKey) -> W + Send + 'static,
        W: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.spawn(async move {
            for one in synced {
                one.wait().await;
            }
            queue.work(name, workers, shutdown, reconcile).await;
        });
    }

    /// Makes a request whose response is an object. Returns the object's resource version; 0 when
    /// it is not a number.
    pub(crate) async fn send(&self, request: http::Request<Vec<u8>>) -> Result<u64, kube::Error> {
        #[derive(serde::Deserialize)]
        struct WrittenObject {
            metadata: ObjectMeta,
        }
        let written: WrittenObject = self.client.request(request).await?;
        Ok(version(&written.metadata))
    }

    /// Writes the status of an object over the version that it has. Returns the stored object; none
    /// when it no longer exists. If `known` shows that it is gone or has a successor, nothing is
    /// sent: during a mass deletion every fourth status would be written in vain.
    pub(crate) async fn replace_status<K>(
        &self,
        updated: &K,
        known: &Cache<K>,
    ) -> Result<Option<K>, ReconcileError>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default,
    {
        let meta = updated.meta();
        let present = known.get(&ObjectKey::of_meta(meta));
        if present.is_none_or(|present| present.meta().uid != meta.uid) {
            return Ok(None);
        }
        let api = self.namespaced::<K>(meta.namespace.as_deref().unwrap_or_default());
        let name = meta.name.as_deref().unwrap_or_default();
        let replaced = api
            .replace_status(name, &PostParams::default(), updated)
            .await;
        Ok(ignore_not_found(replaced)?)
    }

    /// Changes members of the status of this very pod, and of no successor of its name. Conditions
    /// are merged by type. A pod that no longer exists is left alone.
    pub(crate) async fn patch_pod_status(
        &self,
        pod: &Pod,
        status: serde_json::Value,
    ) -> Result<(), ReconcileError> {
        let patch = serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
        let patched = self
            .namespaced::<Pod>(namespace(pod))
            .patch_status(
                name(pod),
                &PatchParams::default(),
                &Patch::Strategic(&patch),
            )
            .await;
        ignore_not_found(patched)?;
        Ok(())
    }

    /// The `DisruptionTarget` condition of a pod that is about to be deleted (KEP-3329).
    pub(crate) fn disruption_target(
        &self,
        pod: &Pod,
        reason: &str,
        message: &str,
    ) -> serde_json::Value {
        serde_json::json!({
            "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
            "observedGeneration": pod.metadata.generation, "lastProbeTime": null,
            "lastTransitionTime": self.now_on_wire(),
        })
    }

    /// Creates a pod. Returns it as the server has stored it.
    pub(crate) async fn create_pod(&self, pod: &Pod) -> Result<Pod, kube::Error> {
        let namespace = segment(namespace(pod));
        let path = Pod::url_path(
            &(),
            Some(&namespace)
                .filter(|name| !name.is_empty())
                .map(|name| &**name),
        );
        let body = serde_json::to_vec(pod).map_err(kube::Error::SerdeError)?;
        let request = Request::new(path)
            .create(&PostParams::default(), body)
            .map_err(kube::Error::BuildRequest)?;
        self.client
            .request::<PartialPod>(request)
            .await
            .map(Pod::from)
    }

    /// The API of a namespaced kind in one namespace.
    pub(crate) fn namespaced<K>(&self, namespace: &str) -> NamedApi<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &segment(namespace)).into()
    }

    /// The API of a cluster-wide kind.
    pub(crate) fn cluster<K>(&self) -> NamedApi<K>
    where
        K: Resource<Scope = ClusterResourceScope>,
        K::DynamicType: Default,
    {
        Api::all(self.client.clone()).into()
    }
}
