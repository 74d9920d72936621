//! Namespace deletion: deletes all content, pods first, and then removes the finalizer.
//!
//! While a pod is left, nothing else is deleted, so that what pods need (budgets, configuration,
//! network policies) outlives them. Five conditions (`plan.rs`) report what is left and why. The
//! namespace is reconciled again when an object in it is gone, or when the grace period of its pods
//! is over.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kinds::path::segment;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::PartialObjectMeta;

use crate::context::{ControllerContext, Reconciler};
use crate::discovery::{DeletableResource, deletable};
use crate::error::{ReconcileError, code, ignore_not_found};
use crate::informer::Cache;
use crate::informers::Informers;
use crate::meta::{ObjectKey, after_seconds, until};
use crate::pods::is_finished;
use crate::queue::{Requeue, WorkQueue};
use plan::ContentDeletion;

const WORKERS: usize = 4;
/// The finalizer that stands for the content of a namespace.
const FINALIZER: &str = "kubernetes";
/// How long finalizers of the content may take before the namespace is reconciled again.
const FINALIZER_SECONDS: u64 = 15;

struct Controller {
    context: ControllerContext,
    namespaces: Arc<Cache<Namespace>>,
}

/// Wakes namespaces that are being deleted.
#[derive(Clone)]
pub(crate) struct NamespaceWaker {
    queue: WorkQueue<ObjectKey>,
    namespaces: Arc<Cache<Namespace>>,
}

impl NamespaceWaker {
    /// An object in this namespace is gone.
    pub(crate) fn content_gone(&self, namespace: &str) {
        let key = ObjectKey::new("", namespace);
        if !namespace.is_empty()
            && self
                .namespaces
                .get(&key)
                .is_some_and(|namespace| is_leaving(&namespace))
        {
            self.queue.add(key);
        }
    }
}

fn is_leaving(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
}

pub(crate) fn start(context: &ControllerContext, informers: &mut Informers) -> NamespaceWaker {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let wake = queue.clone();
    informers.namespaces.subscribe(move |change| {
        if let Some(namespace) = &change.new
            && is_leaving(namespace)
        {
            wake.add(ObjectKey::of(&**namespace));
        }
    });
    let waker = NamespaceWaker {
        queue: queue.clone(),
        namespaces: Arc::clone(&informers.namespaces.cache),
    };
    let on_pods = waker.clone();
    informers.pods.subscribe(move |change| {
        if change.new.is_none() {
            on_pods.content_gone(crate::pods::namespace(change.latest()));
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        namespaces: Arc::clone(&informers.namespaces.cache),
    });
    context.run(
        "namespace",
        queue,
        WORKERS,
        vec![informers.namespaces.cache.synced()],
        controller,
    );
    waker
}

impl Reconciler for Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, ReconcileError> {
        let Some(namespace) = self
            .namespaces
            .get(key)
            .filter(|namespace| is_leaving(namespace))
        else {
            return Ok(Requeue::OnChange);
        };
        let finalizers = namespace
            .spec
            .as_ref()
            .and_then(|spec| spec.finalizers.clone())
            .unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(Requeue::OnChange);
        }
        let progress = self.empty(&namespace).await;
        let done = progress.is_empty();
        if let Some(updated) = plan::with_conditions(&namespace, &progress, self.context.now()) {
            ignore_not_found(
                self.context
                    .cluster::<Namespace>()
                    .replace_status(&key.name, &PostParams::default(), &updated)
                    .await,
            )?;
        }
        if done {
            return self.finalize(&key.name).await;
        }
        match progress.failures.first() {
            Some(failure) if progress.wait.is_none() => Err(ReconcileError::Plan(failure.clone())),
            _ => Ok(progress.wait.map_or(Requeue::OnChange, Requeue::After)),
        }
    }
}

impl Controller {
    async fn finalize(&self, name: &str) -> Result<Requeue, ReconcileError> {
        let api = self.context.cluster::<Namespace>();
        let Some(mut namespace) = ignore_not_found(api.get(name).await)? else {
            return Ok(Requeue::OnChange);
        };
        if let Some(finalizers) = namespace
            .spec
            .as_mut()
            .and_then(|spec| spec.finalizers.as_mut())
        {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let body = serde_json::to_vec(&namespace)
            .map_err(|error| ReconcileError::Plan(error.to_string()))?;
        let request = http::Request::put(format!("/api/v1/namespaces/{}/finalize", segment(name)))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| ReconcileError::Plan(error.to_string()))?;
        ignore_not_found(
            self.context
                .client
                .request::<serde_json::Value>(request)
                .await,
        )?;
        Ok(Requeue::OnChange)
    }

    /// Deletes what can be deleted now. Returns what is left.
    async fn empty(&self, namespace: &Namespace) -> ContentDeletion {
        let mut progress = ContentDeletion::default();
        let kinds = match deletable(&self.context.client).await {
            Ok(kinds) => kinds,
            Err(error) => {
                progress.discovery = Some(crate::error::server_message(&error));
                return progress;
            }
        };
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let (pods, others): (Vec<_>, Vec<_>) = kinds
            .into_iter()
            .filter(|kind| kind.namespaced)
            .partition(|kind| kind.resource.group.is_empty() && kind.resource.plural == "pods");
        for kind in &pods {
            self.empty_kind(namespace, name, kind, &mut progress).await;
        }
        if progress.failures.is_empty() && progress.remaining.is_empty() {
            for kind in &others {
                self.empty_kind(namespace, name, kind, &mut progress).await;
            }
        } else {
            // Upstream reports other content only once the pods are gone.
            progress.remaining.clear();
            progress.finalizers.clear();
            progress.pods_left = true;
        }
        progress
    }

    async fn empty_kind(
        &self,
        namespace: &Namespace,
        name: &str,
        kind: &DeletableResource,
        progress: &mut ContentDeletion,
    ) {
        if let Err(error) = self.try_empty_kind(namespace, name, kind, progress).await {
            progress.failures.push(error.to_string());
        }
    }

    async fn try_empty_kind(
        &self,
        namespace: &Namespace,
        name: &str,
        kind: &DeletableResource,
        progress: &mut ContentDeletion,
    ) -> Result<(), ReconcileError> {
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::namespaced_with(self.context.client.clone(), &segment(name), &kind.resource);
        if api
            .list_metadata(&ListParams::default())
            .await?
            .items
            .is_empty()
        {
            return Ok(());
        }
        let wait = if kind.resource.group.is_empty() && kind.resource.plural == "pods" {
            self.grace(namespace, name).await?
        } else {
            None
        };
        if kind.supports_delete_collection {
            self.delete_collection(name, kind).await?;
        } else {
            for object in api.list_metadata(&ListParams::default()).await?.items {
                ignore_not_found(
                    api.delete(
                        &segment(&object.metadata.name.unwrap_or_default()),
                        &DeleteParams::background(),
                    )
                    .await
                    .map(drop),
                )?;
            }
        }
        let left = api.list_metadata(&ListParams::default()).await?.items;
        if left.is_empty() {
            return Ok(());
        }
        let resource = if kind.resource.group.is_empty() {
            format!("{}.", kind.resource.plural)
        } else {
            format!("{}.{}", kind.resource.plural, kind.resource.group)
        };
        progress.remaining.insert(resource, left.len());
        let mut held = false;
        for finalizer in left
            .iter()
            .flat_map(|object| object.metadata.finalizers.iter().flatten())
        {
            *progress.finalizers.entry(finalizer.clone()).or_default() += 1;
            held = true;
        }
        match wait {
            Some(wait) => progress.wait_for(wait),
            None if held => progress.wait_for(Duration::from_secs(FINALIZER_SECONDS)),
            None => {
                let version = &kind.resource.version;
                let group = &kind.resource.group;
                let plural = &kind.resource.plural;
                let text = format!(
                    "unexpected items still remain in namespace: {name} for gvr: \
                     {group}/{version}, Resource={plural}"
                );
                return Err(ReconcileError::Plan(text));
            }
        }
        Ok(())
    }

    async fn delete_collection(
        &self,
        name: &str,
        kind: &DeletableResource,
    ) -> Result<(), ReconcileError> {
        let root = if kind.resource.group.is_empty() {
            "api"
        } else {
            "apis"
        };
        let path = format!(
            "/{root}/{}/namespaces/{}/{}",
            kind.resource.api_version,
            segment(name),
            kind.resource.plural
        );
        let body = serde_json::to_vec(&DeleteParams::background())
            .map_err(|error| ReconcileError::Plan(error.to_string()))?;
        let request = http::Request::delete(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| ReconcileError::Plan(error.to_string()))?;
        match self.context.client.request_text(request).await {
            Err(error) if code(&error) != 404 => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The time that the pods may still take, counted from the deletion of the namespace; none when
    /// it is over.
    async fn grace(
        &self,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Option<Duration>, ReconcileError> {
        let pods = self
            .context
            .namespaced::<Pod>(name)
            .list(&ListParams::default())
            .await?
            .items;
        let running = pods.iter().filter(|pod| !is_finished(pod));
        let grace = running
            .filter_map(|pod| pod.spec.as_ref()?.termination_grace_period_seconds)
            .max()
            .unwrap_or_default();
        let since = namespace
            .metadata
            .deletion_timestamp
            .as_ref()
            .map_or(self.context.now(), |time| time.0);
        let left = until(self.context.now(), after_seconds(since, grace));
        // Also when the clock was set back since the deletion.
        let left = left.min(Duration::from_secs(
            u64::try_from(grace).unwrap_or_default(),
        ));
        Ok(Some(left).filter(|left| !left.is_zero()))
    }
}
