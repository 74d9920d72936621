//! The server as a tower service. The listener calls it for connections; controllers and tests in
//! this process call it directly, without a socket.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use clock::{Clock, Entropy};
use futures::future::BoxFuture;
use http::{Request, Response};
use kinds::facts::Resource;
use registry::request::{Refusal, User};

use crate::auth::{Authenticator, Peer, ServiceAccountTokens, TokenFile};
use crate::authorize;
use crate::backend::Backend;
use crate::body::Body;
use crate::connection::{ResponseLimit, ServedConnection};
use crate::encodings::Encodings;
use crate::handle;
use crate::kubelet::PodLogs;
use crate::state::ServerState;

/// The configuration of a server.
#[derive(Debug)]
pub struct ServerConfig {
    /// Built-in resources.
    pub resources: &'static [Resource],
    /// Static bearer tokens.
    pub tokens: TokenFile,
    /// Issuer and verifier of service account tokens; without it the server accepts and issues
    /// none.
    pub accounts: Option<ServiceAccountTokens>,
    /// Whether requests without credentials are accepted as the anonymous user.
    pub anonymous: bool,
    /// Limit of the bytes of cached encodings, including the objects that they were made from.
    pub encodings_bytes: usize,
    /// Clock of the server.
    pub clock: Clock,
    /// Source of randomness, for example for audit IDs.
    pub entropy: Entropy,
}

/// The API server of one registry. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub(crate) state: Arc<ServerState>,
}

impl Server {
    /// Builds a server. It answers once one of its services is called.
    #[must_use]
    pub fn build(config: ServerConfig, backend: Arc<dyn Backend>) -> Self {
        let ServerConfig {
            resources,
            tokens,
            accounts,
            anonymous,
            encodings_bytes,
            clock,
            entropy,
        } = config;
        let authenticator = Authenticator::new(tokens, accounts, anonymous);
        let encodings = Encodings::with_limit(encodings_bytes);
        let state = ServerState::new(resources, authenticator, encodings, clock, entropy, backend);
        Self {
            state: Arc::new(state),
        }
    }

    /// Creates the default roles and bindings that are missing.
    ///
    /// # Errors
    /// The registry refuses to read or to create them.
    pub fn bootstrap(&self) -> BoxFuture<'_, Result<(), Refusal>> {
        // Boxed for the reason given in `Server::serve`.
        Box::pin(async {
            authorize::ensure_defaults(&*self.state.backend).await?;
            self.state.policy.forget();
            Ok(())
        })
    }

    /// Sets the source of container logs. The first call wins; later ones have no effect.
    pub fn set_pod_logs(&self, logs: Arc<dyn PodLogs>) {
        drop(self.state.logs.set(logs));
    }

    /// Returns a service whose requests all come from this user, for callers inside this process:
    /// `kube::Client::new(server.service_as(user), "default")`.
    #[must_use]
    pub fn service_as(&self, user: User) -> CallerService {
        self.service_for(Peer::Inside(Arc::new(user)))
    }

    /// Returns a service whose requests authenticate by their headers, as over the network.
    #[must_use]
    pub fn service(&self) -> CallerService {
        self.service_for(Peer::Unknown)
    }

    fn service_for(&self, peer: Peer) -> CallerService {
        self.service_over(peer, None).0
    }

    /// Returns the service of a new connection, and what it does.
    pub(crate) fn connected(&self, peer: Peer) -> (CallerService, Arc<ServedConnection>) {
        self.service_over(peer, Some(&self.state.responses))
    }

    fn service_over(
        &self,
        peer: Peer,
        limit: Option<&Arc<ResponseLimit>>,
    ) -> (CallerService, Arc<ServedConnection>) {
        let number = self.state.next_connection.fetch_add(1, Ordering::Relaxed);
        let connection = ServedConnection::new(number, limit);
        let service = CallerService {
            state: self.state.clone(),
            peer,
            connection: connection.clone(),
        };
        (service, connection)
    }

    /// Makes `/readyz` fail from now on, so that load balancers stop sending requests.
    pub fn leave(&self) {
        self.state.stopping.store(true, Ordering::Relaxed);
    }

    /// Ends all watches, including those of callers in this process.
    pub fn end_watches(&self) {
        self.state.stop.cancel();
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server").finish_non_exhaustive()
    }
}

/// A tower and hyper service that answers the requests of one caller. Cheap to clone.
#[derive(Clone)]
pub struct CallerService {
    state: Arc<ServerState>,
    peer: Peer,
    connection: Arc<ServedConnection>,
}

impl std::fmt::Debug for CallerService {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CallerService")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// The future of a response. Dropping it cancels the request.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl CallerService {
    /// Answers one request.
    pub fn answer<B>(&self, request: Request<B>) -> ResponseFuture
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let counted = self.connection.begin();
        let answering = handle::answer(
            self.state.clone(),
            self.peer.clone(),
            self.connection.number(),
            request,
        );
        Box::pin(async move { Ok(answering.await.map(|body| body.counted(counted))) })
    }
}

impl<B> tower::Service<Request<B>> for CallerService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        self.answer(request)
    }
}

impl<B> hyper::service::Service<Request<B>> for CallerService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: Request<B>) -> ResponseFuture {
        self.answer(request)
    }
}
