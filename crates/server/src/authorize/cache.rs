//! The policy in force: read from the registry when it is first needed, kept until somebody writes
//! an RBAC object through this server, and read again now and then for writes through others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kinds::Tree;
use registry::request::{ListOptions, Refusal, Reply, Request, Verb};
use tokio::time::Instant;

use super::rbac::Policy;
use crate::backend::Backend;

/// The API group of RBAC objects.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";
/// How long a policy is used before it is read again. Writes through this server count at once;
/// this is for those through another server on the same store.
const KEPT: Duration = Duration::from_secs(10);

/// The policy, when it is known.
#[derive(Debug, Default)]
pub(crate) struct PolicyCache {
    known: RwLock<Option<(Instant, Arc<Policy>)>>,
    writes: AtomicU64,
    /// Held while the policy is read, so that a hundred requests read it once.
    reading: tokio::sync::Mutex<()>,
    /// The turn of those who write rules and must not give away more than they have.
    pub(crate) writing: tokio::sync::Mutex<()>,
}

impl PolicyCache {
    /// Somebody wrote an RBAC object.
    pub(crate) fn forget(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The policy in force.
    pub(crate) async fn policy(&self, backend: &dyn Backend) -> Result<Arc<Policy>, Refusal> {
        if let Some(policy) = self.fresh() {
            return Ok(policy);
        }
        let _turn = self.reading.lock().await;
        if let Some(policy) = self.fresh() {
            return Ok(policy);
        }
        let (started, writes) = (Instant::now(), self.writes.load(Ordering::SeqCst));
        let policy = Arc::new(read(backend).await?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // What was written while we read may be missing: use it for this request only.
        if self.writes.load(Ordering::SeqCst) == writes {
            *known = Some((started, policy.clone()));
        }
        Ok(policy)
    }

    fn fresh(&self) -> Option<Arc<Policy>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .as_ref()
            .filter(|(since, _)| since.elapsed() < KEPT)
            .map(|(_, policy)| policy.clone())
    }
}

async fn read(backend: &dyn Backend) -> Result<Policy, Refusal> {
    let (roles, cluster_roles) = (
        all(backend, "roles").await?,
        all(backend, "clusterroles").await?,
    );
    let (bindings, cluster_bindings) = (
        all(backend, "rolebindings").await?,
        all(backend, "clusterrolebindings").await?,
    );
    Ok(Policy::of(
        &roles,
        &cluster_roles,
        &bindings,
        &cluster_bindings,
    ))
}

/// All objects of a resource of the group.
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

/// A request of the server itself; `None` when the table has no such kind of RBAC.
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
    async fn the_policy_is_read_once_until_it_is_written_or_old() {
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
        tokio::time::advance(KEPT).await;
        assert_eq!(read().await, 3);
    }
}
