//! The end of a namespace: everything in it is deleted, pods first, and then the namespace lets go.
//!
//! While any pod is left nothing else is touched, so that what protects and serves the pods
//! (budgets, configuration, network policy) outlives them. What is left, and why, stands in five
//! conditions (`plan.rs`). The namespace is looked at again when something in it goes away, or when
//! the grace of its pods has run out.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::PartialObjectMeta;

use crate::caches::{Cache, Caches};
use crate::context::Context;
use crate::discovery::{Kind, deletable};
use crate::error::{Error, code, unless_gone};
use crate::meta::{Key, after_seconds, until};
use crate::pods::is_finished;
use crate::queue::{Outcome, Queue};
use plan::Findings;

const WORKERS: usize = 4;
/// The finalizer of a namespace that stands for its content.
const FINALIZER: &str = "kubernetes";
/// How long content with finalizers is given before the namespace is looked at again unasked.
const FINALIZER_SECONDS: u64 = 15;

struct Controller {
    context: Context,
    namespaces: Arc<Cache<Namespace>>,
}

/// Wakes namespaces that are on their way out.
#[derive(Clone)]
pub(crate) struct Waker {
    queue: Queue<Key>,
    namespaces: Arc<Cache<Namespace>>,
}

impl Waker {
    /// Something in this namespace has gone.
    pub(crate) fn content_gone(&self, namespace: &str) {
        let key = Key::new("", namespace);
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

pub(crate) fn start(context: &Context, caches: &mut Caches) -> Waker {
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    caches.namespaces.subscribe(move |change| {
        if let Some(namespace) = &change.new
            && is_leaving(namespace)
        {
            wake.add(Key::of(&**namespace));
        }
    });
    let waker = Waker {
        queue: queue.clone(),
        namespaces: Arc::clone(&caches.namespaces.cache),
    };
    let on_pods = waker.clone();
    caches.pods.subscribe(move |change| {
        if change.new.is_none() {
            on_pods.content_gone(crate::pods::namespace(change.latest()));
        }
    });
    let controller = Arc::new(Controller {
        context: context.clone(),
        namespaces: Arc::clone(&caches.namespaces.cache),
    });
    context.work(
        "namespace",
        queue,
        WORKERS,
        vec![caches.namespaces.cache.synced()],
        move |key| {
            let controller = Arc::clone(&controller);
            async move { controller.reconcile(&key).await }
        },
    );
    waker
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, Error> {
        let Some(namespace) = self
            .namespaces
            .get(key)
            .filter(|namespace| is_leaving(namespace))
        else {
            return Ok(Outcome::Done);
        };
        let finalizers = namespace
            .spec
            .as_ref()
            .and_then(|spec| spec.finalizers.clone())
            .unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(Outcome::Done);
        }
        let findings = self.empty(&namespace).await;
        let done = findings.is_empty();
        if let Some(updated) = plan::with_conditions(&namespace, &findings, self.context.now()) {
            unless_gone(
                self.context
                    .cluster::<Namespace>()
                    .replace_status(&key.name, &PostParams::default(), &updated)
                    .await,
            )?;
        }
        if done {
            return self.finalize(&key.name).await;
        }
        match findings.failures.first() {
            Some(failure) if findings.wait.is_none() => Err(Error::Plan(failure.clone())),
            _ => Ok(findings.wait.map_or(Outcome::Done, Outcome::After)),
        }
    }

    async fn finalize(&self, name: &str) -> Result<Outcome, Error> {
        let api = self.context.cluster::<Namespace>();
        let Some(mut namespace) = unless_gone(api.get(name).await)? else {
            return Ok(Outcome::Done);
        };
        if let Some(finalizers) = namespace
            .spec
            .as_mut()
            .and_then(|spec| spec.finalizers.as_mut())
        {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let body =
            serde_json::to_vec(&namespace).map_err(|error| Error::Plan(error.to_string()))?;
        let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| Error::Plan(error.to_string()))?;
        unless_gone(
            self.context
                .client
                .request::<serde_json::Value>(request)
                .await,
        )?;
        Ok(Outcome::Done)
    }

    /// Deletes what can be deleted now and tells what is left.
    async fn empty(&self, namespace: &Namespace) -> Findings {
        let mut findings = Findings::default();
        let kinds = match deletable(&self.context.client).await {
            Ok(kinds) => kinds,
            Err(error) => {
                findings.discovery = Some(crate::error::told(&error));
                return findings;
            }
        };
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let (pods, others): (Vec<_>, Vec<_>) = kinds
            .into_iter()
            .filter(|kind| kind.namespaced)
            .partition(|kind| kind.resource.group.is_empty() && kind.resource.plural == "pods");
        for kind in &pods {
            self.empty_kind(namespace, name, kind, &mut findings).await;
        }
        if findings.failures.is_empty() && findings.remaining.is_empty() {
            for kind in &others {
                self.empty_kind(namespace, name, kind, &mut findings).await;
            }
        } else {
            // Upstream tells of content only once the pods have gone.
            findings.remaining.clear();
            findings.finalizers.clear();
            findings.pods_left = true;
        }
        findings
    }

    async fn empty_kind(
        &self,
        namespace: &Namespace,
        name: &str,
        kind: &Kind,
        findings: &mut Findings,
    ) {
        if let Err(error) = self.try_empty_kind(namespace, name, kind, findings).await {
            findings.failures.push(error.to_string());
        }
    }

    async fn try_empty_kind(
        &self,
        namespace: &Namespace,
        name: &str,
        kind: &Kind,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::namespaced_with(self.context.client.clone(), name, &kind.resource);
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
        if kind.deletable_together {
            self.delete_together(name, kind).await?;
        } else {
            for object in api.list_metadata(&ListParams::default()).await?.items {
                unless_gone(
                    api.delete(
                        &object.metadata.name.unwrap_or_default(),
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
        findings.remaining.insert(resource, left.len());
        let mut held = false;
        for finalizer in left
            .iter()
            .flat_map(|object| object.metadata.finalizers.iter().flatten())
        {
            *findings.finalizers.entry(finalizer.clone()).or_default() += 1;
            held = true;
        }
        match wait {
            Some(wait) => findings.wait_for(wait),
            None if held => findings.wait_for(Duration::from_secs(FINALIZER_SECONDS)),
            None => {
                let version = &kind.resource.version;
                let group = &kind.resource.group;
                let plural = &kind.resource.plural;
                let text = format!(
                    "unexpected items still remain in namespace: {name} for gvr: {group}/{version}, Resource={plural}"
                );
                return Err(Error::Plan(text));
            }
        }
        Ok(())
    }

    async fn delete_together(&self, name: &str, kind: &Kind) -> Result<(), Error> {
        let root = if kind.resource.group.is_empty() {
            "api"
        } else {
            "apis"
        };
        let path = format!(
            "/{root}/{}/namespaces/{name}/{}",
            kind.resource.api_version, kind.resource.plural
        );
        let body = serde_json::to_vec(&DeleteParams::background())
            .map_err(|error| Error::Plan(error.to_string()))?;
        let request = http::Request::delete(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| Error::Plan(error.to_string()))?;
        match self.context.client.request_text(request).await {
            Err(error) if code(&error) != 404 => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// How long the pods may still take, counted from the deletion of the namespace; none when that
    /// time is over.
    async fn grace(&self, namespace: &Namespace, name: &str) -> Result<Option<Duration>, Error> {
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
        Ok(Some(left).filter(|left| !left.is_zero()))
    }
}
