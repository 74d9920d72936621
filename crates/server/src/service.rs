//! The server as a tower service: the listener drives it for connections, and callers in this
//! process (controllers, tests) drive it directly, with no socket between.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use clock::{Clock, Entropy};
use http::{Request, Response};
use kinds::facts::Resource;
use registry::request::{Refusal, User};

use crate::auth::{AccountTokens, Authenticator, Peer, TokenFile};
use crate::authorize;
use crate::backend::Backend;
use crate::body::Body;
use crate::handle;
use crate::kubelet::PodLogs;
use crate::state::ServerState;

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

/// The HTTP face of one registry. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub(crate) state: Arc<ServerState>,
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
        let authenticator = Authenticator::new(tokens, accounts, anonymous);
        let state = ServerState::new(resources, authenticator, clock, entropy, backend);
        Self {
            state: Arc::new(state),
        }
    }

    /// Makes the roles and bindings that every cluster has, as far as they are missing.
    ///
    /// # Errors
    /// What the registry refuses.
    pub async fn bootstrap(&self) -> Result<(), Refusal> {
        authorize::ensure_defaults(&*self.state.backend).await?;
        self.state.policy.forget();
        Ok(())
    }

    /// Sets the source of container logs. The first call wins; later ones have no effect.
    pub fn set_pod_logs(&self, logs: Arc<dyn PodLogs>) {
        drop(self.state.logs.set(logs));
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
            state: self.state.clone(),
            peer,
        }
    }

    /// From now on `/readyz` fails, so that nobody sends new work here.
    pub fn leave(&self) {
        self.state.stopping.store(true, Ordering::Relaxed);
    }

    /// Ends all watches, those of callers in this process too.
    pub fn end_watches(&self) {
        self.state.stop.cancel();
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
    state: Arc<ServerState>,
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
        let answering = handle::answer(self.state.clone(), self.peer.clone(), request);
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
