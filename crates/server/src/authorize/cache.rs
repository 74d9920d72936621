//! Caches the RBAC policy. It is read when it is first needed, dropped when a request through this
//! server writes an RBAC object, and read again after [`MAX_AGE`] for writes through other servers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kinds::Tree;
use registry::request::{ListOptions, Refusal, Reply, Request, Verb};
use tokio::time::Instant;

use super::GROUP;
use super::rbac::RbacPolicy;
use crate::backend::Backend;

/// Time after which the policy is read again, because another server on the same store could have
/// changed it.
const MAX_AGE: Duration = Duration::from_secs(10);

/// The cached policy, if any.
#[derive(Debug, Default)]
pub(crate) struct PolicyCache {
    known: RwLock<Option<(Instant, Arc<RbacPolicy>)>>,
    writes: AtomicU64,
    /// Held while the policy is read, so that concurrent requests read it once.
    reading: tokio::sync::Mutex<()>,
    /// Held from the escalation check of a write to its commit.
    pub(crate) writing: tokio::sync::Mutex<()>,
}

impl PolicyCache {
    /// Drops the policy, because an RBAC object was written.
    pub(crate) fn forget(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the current policy.
    pub(crate) async fn policy(&self, backend: &dyn Backend) -> Result<Arc<RbacPolicy>, Refusal> {
        if let Some(policy) = self.fresh() {
            return Ok(policy);
        }
        Box::pin(self.read_policy(backend)).await
    }

    /// Reads the policy, unless another request has just read it.
    async fn read_policy(&self, backend: &dyn Backend) -> Result<Arc<RbacPolicy>, Refusal> {
        let _turn = self.reading.lock().await;
        if let Some(policy) = self.fresh() {
            return Ok(policy);
        }
        let (started, writes) = (Instant::now(), self.writes.load(Ordering::SeqCst));
        let policy = Arc::new(read(backend).await?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // A write during this read can be missing from it, so only this request uses the result.
        if self.writes.load(Ordering::SeqCst) == writes {
            *known = Some((started, policy.clone()));
        }
        Ok(policy)
    }

    fn fresh(&self) -> Option<Arc<RbacPolicy>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .as_ref()
            .filter(|(since, _)| since.elapsed() < MAX_AGE)
            .map(|(_, policy)| policy.clone())
    }
}

async fn read(backend: &dyn Backend) -> Result<RbacPolicy, Refusal> {
    let (roles, cluster_roles) = (
        all(backend, "roles").await?,
        all(backend, "clusterroles").await?,
    );
    let (bindings, cluster_bindings) = (
        all(backend, "rolebindings").await?,
        all(backend, "clusterrolebindings").await?,
    );
    Ok(RbacPolicy::of(
        &roles,
        &cluster_roles,
        &bindings,
        &cluster_bindings,
    ))
}

/// Returns all objects of an RBAC resource.
pub(super) async fn all(backend: &dyn Backend, resource: &str) -> Result<Vec<Tree>, Refusal> {
    let Some(request) = request(resource, "", Verb::List(ListOptions::default())) else {
        return Ok(Vec::new());
    };
    match backend.call(request).await? {
        Reply::List { items, .. } => Ok(items
            .iter()
            .filter_map(|item| serde_json::from_slice(item).ok())
            .collect()),
        _ => Ok(Vec::new()),
    }
}

/// Returns a request by the server itself.
pub(super) fn request(resource: &str, name: &str, verb: Verb) -> Option<Request> {
    Some(Request {
        user: Arc::new(crate::auth::administrator("system:apiserver")),
        resource: kinds::resource(GROUP, "v1", resource)?.into(),
        subresource: None,
        namespace: String::new(),
        name: name.to_owned(),
        verb,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn the_policy_is_read_again_after_a_write_or_its_maximum_age() {
        let lists = Arc::new(AtomicUsize::new(0));
        let counted = lists.clone();
        let server = testing::server(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(Reply::List {
                kind: String::new(),
                api_version: String::new(),
                metadata: kinds::status::ListMeta::default(),
                items: Vec::new(),
            })
        });
        let cache = PolicyCache::default();
        let read = async || {
            cache
                .policy(&*server.state.backend)
                .await
                .map(|_| ())
                .expect("read");
            lists.load(Ordering::SeqCst) / 4
        };
        assert_eq!((read().await, read().await), (1, 1));
        cache.forget();
        assert_eq!((read().await, read().await), (2, 2));
        tokio::time::advance(MAX_AGE).await;
        assert_eq!(read().await, 3);
    }
}
