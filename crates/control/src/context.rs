//! What every controller needs: the client, clock, randomness, options, events and a place for
//! tasks.

use std::future::Future;
use std::sync::Arc;

use clock::{Clock, Entropy};
use events::{EventBroadcaster, EventRecorder};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{PostParams, Request};
use kube::{Api, Client, Resource};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ControllerOptions;
use crate::error::ReconcileError;
use crate::meta::{ObjectKey, version};
use crate::partialpod::PartialPod;
use crate::queue::{Requeue, WorkQueue};
use crate::synced::Synced;

/// Shared by all controllers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ControllerContext {
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) options: Arc<ControllerOptions>,
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

    /// Creates a pod. Returns it as the server has stored it.
    pub(crate) async fn create_pod(&self, pod: &Pod) -> Result<Pod, kube::Error> {
        let path = Pod::url_path(&(), pod.metadata.namespace.as_deref());
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
    pub(crate) fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The API of a cluster-wide kind.
    pub(crate) fn cluster<K>(&self) -> Api<K>
    where
        K: Resource<Scope = ClusterResourceScope>,
        K::DynamicType: Default,
    {
        Api::all(self.client.clone())
    }
}
