//! The state that all requests of one server share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use clock::{Clock, Entropy};
use kinds::facts::Resource;
use registry::request::{Refusal, Reply, Request, User, Verb};
use tokio_util::sync::CancellationToken;

use crate::auth::{Authenticated, Authenticator};
use crate::authorize::{self, AccessRequest, PolicyCache};
use crate::backend::Backend;
use crate::connection::ResponseLimit;
use crate::encodings::Encodings;
use crate::flow::{BodyLimits, InFlightLimit};
use crate::health::Check;
use crate::kubelet::PodLogs;
use crate::metrics::Metrics;
use crate::served::{ServedApis, ServedApisCache};

/// Requests of one server that are worked on at the same time, long-running ones excepted. Requests
/// take micro- or milliseconds here, so this limit only bounds memory in a stampede.
const MAX_IN_FLIGHT: usize = 2_000;

/// Bytes of responses that all connections of a server hold for clients that have not read them: a
/// chunk of a list for each of a thousand clients.
const MAX_UNREAD_BYTES: usize = 64 * 1024 * 1024;

/// Everything that requests share.
pub(crate) struct ServerState {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) apis: ServedApisCache,
    /// The source of container logs, if one was set.
    pub(crate) logs: OnceLock<Arc<dyn PodLogs>>,
    pub(crate) authenticator: Authenticator,
    pub(crate) policy: PolicyCache,
    pub(crate) in_flight: InFlightLimit,
    pub(crate) bodies: BodyLimits,
    pub(crate) responses: Arc<ResponseLimit>,
    /// Number of the next connection.
    pub(crate) next_connection: AtomicU64,
    pub(crate) metrics: Metrics,
    pub(crate) encodings: Arc<Encodings>,
    pub(crate) ids: RequestIds,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    /// Cancelled to end all watches.
    pub(crate) stop: CancellationToken,
    /// Whether the server shuts down: it is alive, but not ready.
    pub(crate) stopping: AtomicBool,
}

impl ServerState {
    /// Returns the state of a server that has answered nothing yet.
    pub(crate) fn new(
        resources: &'static [Resource],
        authenticator: Authenticator,
        encodings: Encodings,
        clock: Clock,
        entropy: Entropy,
        backend: Arc<dyn Backend>,
    ) -> Self {
        Self {
            backend,
            apis: ServedApisCache::new(resources),
            logs: OnceLock::new(),
            authenticator,
            policy: PolicyCache::default(),
            in_flight: InFlightLimit::new(MAX_IN_FLIGHT),
            bodies: BodyLimits::default(),
            responses: ResponseLimit::new(MAX_UNREAD_BYTES),
            next_connection: AtomicU64::new(0),
            metrics: Metrics::new(clock.now()),
            encodings: Arc::new(encodings),
            ids: RequestIds::new(&entropy),
            clock,
            entropy,
            stop: CancellationToken::new(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Returns whether a user may do something. If the RBAC rules cannot be read, only what needs
    /// no rule is allowed.
    pub(crate) async fn allows(&self, user: &User, access: &AccessRequest<'_>) -> bool {
        self.allows_on_node(user, access, "").await
    }

    /// Returns whether a user may do something with those objects of a collection that are on one
    /// node, to which the field selector of the request restricts it. Empty for no restriction.
    pub(crate) async fn allows_on_node(
        &self,
        user: &User,
        access: &AccessRequest<'_>,
        selected_node: &str,
    ) -> bool {
        let reason = self.reason_on_node(user, access, selected_node).await;
        reason.is_ok_and(|reason| reason.is_some())
    }

    /// Returns the reason why a user may do something, which can be empty; `None` if they may not.
    pub(crate) async fn reason(
        &self,
        user: &User,
        access: &AccessRequest<'_>,
    ) -> Result<Option<String>, Refusal> {
        self.reason_on_node(user, access, "").await
    }

    async fn reason_on_node(
        &self,
        user: &User,
        access: &AccessRequest<'_>,
        selected_node: &str,
    ) -> Result<Option<String>, Refusal> {
        // Administrators do not depend on the policy, so they can repair one that cannot be read.
        if authorize::is_master(user) || authorize::is_open(user, access) {
            return Ok(Some(String::new()));
        }
        if let Some(node) = user.node()
            // Boxed, as are all steps that few requests take: the future of a request is allocated,
            // and has room for every step that it could take.
            && Box::pin(authorize::allows_node(&*self.backend, node, access, selected_node)).await?
        {
            return Ok(Some(String::new()));
        }
        match self.policy.policy(&*self.backend).await {
            Ok(policy) => Ok(policy.allows(user, access)),
            Err(refusal) => {
                tracing::warn!(error = %refusal, "cannot read the RBAC policy");
                Err(refusal)
            }
        }
    }

    /// Returns everything that is served now, including custom kinds.
    pub(crate) fn served(&self) -> Arc<ServedApis> {
        self.apis.with(self.backend.custom_rows())
    }

    /// Returns APIs that include a resource if it is served. For built-in resources this does not
    /// access the backend.
    pub(crate) fn served_for(&self, group: &str, version: &str, plural: &str) -> Arc<ServedApis> {
        let built_in = &self.apis.built_in;
        if built_in
            .catalogue
            .resource(group, version, plural)
            .is_some()
        {
            return built_in.clone();
        }
        // Reading one definition is enough while the newest APIs have the row: all definitions are
        // read only after one of them has changed.
        self.backend
            .custom_row(group, version, plural)
            .and_then(|row| self.apis.newest_with(&row))
            .unwrap_or_else(|| self.served())
    }

    /// Returns whether an identity still exists. Deleting a service account, or an object that a
    /// token is bound to, invalidates the token, even if another object of the same name follows.
    pub(crate) async fn is_current(&self, known: &Authenticated) -> bool {
        let Authenticated::ServiceAccount(account) = known else {
            return true;
        };
        let at = |plural| {
            if plural == "nodes" {
                ""
            } else {
                account.namespace.as_str()
            }
        };
        Box::pin(self.is_there(
            "serviceaccounts",
            &account.namespace,
            &account.name,
            &account.user.uid,
        ))
        .await
            && match &account.bound {
                Some(bound) => {
                    let there =
                        self.is_there(bound.plural, at(bound.plural), &bound.name, &bound.uid);
                    Box::pin(there).await
                }
                None => true,
            }
    }

    /// Returns whether a core object with this uid exists.
    async fn is_there(&self, plural: &str, namespace: &str, name: &str, uid: &str) -> bool {
        let Some(resource) = kinds::resource("", "v1", plural) else {
            return false;
        };
        let request = Request {
            user: Arc::new(crate::auth::administrator("system:apiserver")),
            resource: resource.into(),
            subresource: None,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            verb: Verb::Get {
                resource_version: String::new(),
            },
        };
        let Ok(Reply::Object { json, .. }) = self.backend.call(request).await else {
            return false;
        };
        let found: kinds::Tree = serde_json::from_slice(&json).unwrap_or_default();
        found
            .pointer("/metadata/uid")
            .is_some_and(|found| *found == *uid)
    }

    /// Runs the checks of a health endpoint.
    pub(crate) fn checks(&self, endpoint: &str) -> Vec<Check> {
        let mut checks = vec![
            Check {
                name: "ping",
                outcome: Ok(()),
                public: false,
            },
            Check {
                name: "store",
                outcome: self.backend.check(),
                public: true,
            },
        ];
        if endpoint == "readyz" {
            let stopping = self.stopping.load(Ordering::Relaxed);
            checks.push(Check {
                name: "shutdown",
                public: false,
                outcome: if stopping {
                    Err("process is shutting down".to_owned())
                } else {
                    Ok(())
                },
            });
        }
        checks
    }
}

/// Generates request IDs that are unique within a server, without the cost of real UUIDs.
pub(crate) struct RequestIds {
    seed: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new(entropy: &Entropy) -> Self {
        Self {
            seed: entropy.below(u64::MAX),
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn next(&self) -> String {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        // Multiplying by an odd number is a bijection on 64 bits, so no ID repeats.
        let low = self.seed ^ count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (a, b) = (self.seed >> 32, self.seed & 0xffff);
        format!(
            "{a:08x}-{b:04x}-4{:03x}-8{:03x}-{:012x}",
            low >> 52,
            (low >> 40) & 0xfff,
            low & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use registry::token::Bound;

    use bytes::Bytes;

    use super::*;
    use crate::auth::AuthenticatedAccount;
    use crate::testing;

    #[tokio::test]
    async fn a_token_is_valid_as_long_as_its_account_and_its_bound_object_exist() {
        let server = testing::server(|request| match request.name.as_str() {
            "drainer" => Ok(Reply::Object {
                code: 200,
                json: Bytes::from_static(br#"{"metadata":{"uid":"u1"}}"#),
                warnings: Vec::new(),
            }),
            _ => Err(kinds::status::Status::no_such_resource().into()),
        });
        let pod = |uid: &str| {
            Some(Bound {
                plural: "pods",
                name: "drainer".to_owned(),
                uid: uid.to_owned(),
            })
        };
        let cases = [
            ("drainer", "u1", None, true),
            ("drainer", "u2", None, false),
            ("gone", "u1", None, false),
            ("drainer", "u1", pod("u1"), true),
            ("drainer", "u1", pod("u2"), false),
        ];
        for (name, uid, bound, expected) in cases {
            let user = Arc::new(User {
                uid: uid.to_owned(),
                ..User::default()
            });
            let (namespace, name, audiences) =
                ("kube-system".to_owned(), name.to_owned(), Vec::new());
            let account = AuthenticatedAccount {
                namespace,
                name,
                user,
                audiences,
                bound,
            };
            assert_eq!(
                server
                    .state
                    .is_current(&Authenticated::ServiceAccount(account.clone()))
                    .await,
                expected,
                "{account:?}"
            );
        }
    }
}
