//! The server as a tower service: the listener drives it for connections, and callers in this
//! process (controllers, tests) drive it directly, with no socket between.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use clock::{Clock, Entropy};
use http::{Request, Response};
use kinds::facts::Resource;
use registry::request::{Refusal, Reply, Request as Asked, User, Verb};
use tokio_util::sync::CancellationToken;

use crate::auth::{AccountTokens, Authenticator, Known, Peer, TokenFile};
use crate::authorize::{self, Ask, PolicyCache};
use crate::backend::Backend;
use crate::body::Body;
use crate::catalogue::{Served, Shelves};
use crate::encodings::Encodings;
use crate::flow::Seats;
use crate::handle;
use crate::health::Check;
use crate::metrics::Metrics;
use crate::reach::PodLogs;

/// Requests that are worked on at once.
const SEATS: usize = 2_000;

/// What a server is made of.
#[derive(Debug)]
pub struct Config {
    /// The resource table.
    pub resources: &'static [Resource],
    /// Static bearer tokens.
    pub tokens: TokenFile,
    /// Judges the tokens of service accounts; none: there are none.
    pub accounts: Option<AccountTokens>,
    /// Whether requests without credentials are let through to authorization.
    pub anonymous: bool,
    /// Tells the time.
    pub clock: Clock,
    /// Draws ids.
    pub entropy: Entropy,
}

/// Everything that requests share.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) shelves: Shelves,
    /// Who knows what containers have written, where somebody does.
    pub(crate) logs: OnceLock<Arc<dyn PodLogs>>,
    pub(crate) authenticator: Authenticator,
    pub(crate) policy: PolicyCache,
    pub(crate) seats: Seats,
    pub(crate) metrics: Metrics,
    pub(crate) encodings: Arc<Encodings>,
    pub(crate) ids: Ids,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    /// Cancelled when watches have to end.
    pub(crate) stop: CancellationToken,
    /// Set while the server shuts down: it is alive, but no longer ready.
    pub(crate) stopping: AtomicBool,
}

impl Shared {
    /// Whether a user may do something. When the rules cannot be read, only what needs none is
    /// allowed.
    pub(crate) async fn allows(&self, user: &User, ask: &Ask<'_>) -> bool {
        self.reason(user, ask)
            .await
            .is_ok_and(|reason| reason.is_some())
    }

    /// Why a user may do something (it may be empty); none when they may not.
    pub(crate) async fn reason(
        &self,
        user: &User,
        ask: &Ask<'_>,
    ) -> Result<Option<String>, Refusal> {
        if authorize::is_master(user) || authorize::is_open(user, ask) {
            return Ok(Some(String::new()));
        }
        match self.policy.policy(&*self.backend).await {
            Ok(policy) => Ok(policy.allows(user, ask)),
            Err(refusal) => {
                tracing::warn!(%refusal, "the rules of RBAC cannot be read");
                Err(refusal)
            }
        }
    }

    /// Everything that is served now, custom kinds too.
    pub(crate) fn served(&self) -> Arc<Served> {
        self.shelves.with(self.backend.custom_rows())
    }

    /// What is served, as far as a request for this resource needs to know.
    pub(crate) fn served_for(&self, group: &str, version: &str, plural: &str) -> Arc<Served> {
        let built_in = &self.shelves.built_in;
        if built_in
            .catalogue
            .resource(group, version, plural)
            .is_some()
        {
            built_in.clone()
        } else {
            self.served()
        }
    }

    /// Whether somebody who showed credentials is still there: a service account that was deleted
    /// takes its tokens with it, also when another of its name follows, and so does an object to
    /// which a token is bound.
    pub(crate) async fn lives(&self, known: &Known) -> bool {
        let Known::Account(account) = known else {
            return true;
        };
        let at = |plural| {
            if plural == "nodes" {
                ""
            } else {
                account.namespace.as_str()
            }
        };
        self.is_there(
            "serviceaccounts",
            &account.namespace,
            &account.name,
            &account.user.uid,
        )
        .await
            && match &account.bound {
                Some(bound) => {
                    self.is_there(bound.plural, at(bound.plural), &bound.name, &bound.uid)
                        .await
                }
                None => true,
            }
    }

    /// Whether the core object with this uid is there.
    async fn is_there(&self, plural: &str, namespace: &str, name: &str, uid: &str) -> bool {
        let asked = Asked {
            user: crate::auth::administrator("system:apiserver"),
            group: String::new(),
            version: "v1".to_owned(),
            resource: plural.to_owned(),
            subresource: String::new(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            verb: Verb::Get {
                resource_version: String::new(),
            },
        };
        let Ok(Reply::Object { json, .. }) = self.backend.call(asked).await else {
            return false;
        };
        let found: kinds::Tree = serde_json::from_slice(&json).unwrap_or_default();
        found
            .pointer("/metadata/uid")
            .is_some_and(|found| *found == *uid)
    }

    /// What the checks of a health endpoint find.
    pub(crate) fn checks(&self, endpoint: &str) -> Vec<Check> {
        let mut checks = vec![
            Check {
                name: "ping",
                outcome: Ok(()),
            },
            Check {
                name: "store",
                outcome: self.backend.check(),
            },
        ];
        if endpoint == "readyz" {
            let stopping = self.stopping.load(Ordering::Relaxed);
            checks.push(Check {
                name: "shutdown",
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

/// Ids for answers: unique in this server, and cheap.
pub(crate) struct Ids {
    seed: u64,
    next: AtomicU64,
}

impl Ids {
    fn new(entropy: &Entropy) -> Self {
        Self {
            seed: entropy.below(u64::MAX),
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn next(&self) -> String {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        // A multiplication by an odd number visits every value once.
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

/// The HTTP face of one registry. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub(crate) shared: Arc<Shared>,
}

impl Server {
    /// Puts a server together. It answers nothing before one of its services is called.
    #[must_use]
    pub fn build(config: Config, backend: Arc<dyn Backend>) -> Self {
        let Config {
            resources,
            tokens,
            accounts,
            anonymous,
            clock,
            entropy,
        } = config;
        let shared = Shared {
            backend,
            shelves: Shelves::new(resources),
            logs: OnceLock::new(),
            authenticator: Authenticator::new(tokens, accounts, anonymous),
            policy: PolicyCache::default(),
            seats: Seats::new(SEATS),
            metrics: Metrics::new(clock.now()),
            encodings: Arc::default(),
            ids: Ids::new(&entropy),
            clock,
            entropy,
            stop: CancellationToken::new(),
            stopping: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Makes the roles and bindings that every cluster has, as far as they are missing.
    ///
    /// # Errors
    /// What the registry refuses.
    pub async fn bootstrap(&self) -> Result<(), Refusal> {
        authorize::ensure_defaults(&*self.shared.backend).await?;
        self.shared.policy.forget();
        Ok(())
    }

    /// Hands in who knows what containers have written. Only the first counts.
    pub fn keep_logs(&self, logs: Arc<dyn PodLogs>) {
        drop(self.shared.logs.set(logs));
    }

    /// A service whose every request comes from this user, as callers inside this process use it:
    /// `kube::Client::new(server.service_as(user), "default")`.
    #[must_use]
    pub fn service_as(&self, user: User) -> Service {
        self.service_for(Peer::Inside(Arc::new(user)))
    }

    /// A service whose requests prove who they are by their headers, as over the network.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service_for(Peer::Unknown)
    }

    pub(crate) fn service_for(&self, peer: Peer) -> Service {
        Service {
            shared: self.shared.clone(),
            peer,
        }
    }

    /// From now on `/readyz` fails, so that nobody sends new work here.
    pub fn leave(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// Ends all watches, those of callers in this process too.
    pub fn end_watches(&self) {
        self.shared.stop.cancel();
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server").finish_non_exhaustive()
    }
}

/// A tower service (and a hyper one) that answers requests of one caller. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
    peer: Peer,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Service")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// An answer to come. Dropping it gives the request up.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Service {
    /// Answers one request.
    pub fn answer<B>(&self, request: Request<B>) -> Answering
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let answering = handle::answer(self.shared.clone(), self.peer.clone(), request);
        Box::pin(async move { Ok(answering.await) })
    }
}

impl<B> tower::Service<Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        self.answer(request)
    }
}

impl<B> hyper::service::Service<Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<B>) -> Answering {
        self.answer(request)
    }
}

#[cfg(test)]
mod tests {
    use registry::token::Bound;

    use super::*;
    use crate::auth::Account;
    use crate::testing;

    #[tokio::test]
    async fn a_service_account_lives_as_long_as_its_object() {
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
            let account = Account {
                namespace,
                name,
                user,
                audiences,
                bound,
            };
            assert_eq!(
                server.shared.lives(&Known::Account(account.clone())).await,
                expected,
                "{account:?}"
            );
        }
    }
}
