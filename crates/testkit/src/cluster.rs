//! A whole cluster in a test process: [`cluster::Cluster`] without a listener, on a fixed start
//! time and a seed.
//!
//! Requests go through the server's own service, so they meet authentication, authorization,
//! negotiation and encoding as over the network. On a paused runtime everything in it lives in
//! virtual time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clock::{Clock, Entropy};
use cluster::{
    CallerService, ClusterConfig, ControllerOptions, Gates, NodeOptions, Storage, Store, User,
    administrator,
};
use futures::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use kube::Client;

use crate::golden::{HttpResponse, Transport};

/// The bearer token of the administrator.
pub const ADMIN_TOKEN: &str = "testkit-administrator";

/// Where the wall clock starts: a fixed time, so that runs are alike.
const START: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// The pause between two looks of a wait.
const PAUSE: Duration = Duration::from_millis(20);

/// Settings of a cluster under test; see [`TestCluster::builder`].
#[derive(Debug)]
pub struct TestClusterBuilder {
    config: ClusterConfig,
    start: Timestamp,
    seed: u64,
}

impl TestClusterBuilder {
    /// Starts no controllers and no scheduler: budgets keep the status that the test writes.
    #[must_use]
    pub fn without_controllers(mut self) -> Self {
        self.config.controllers = None;
        self
    }

    /// Starts the controllers with these options.
    #[must_use]
    pub fn controllers(mut self, options: ControllerOptions) -> Self {
        self.config.controllers = Some(options);
        self
    }

    /// Starts this many simulated nodes: `node-1`, `node-2` and so on. The default is 0.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        self.config.nodes = (count > 0).then(|| NodeOptions::numbered("node", count));
        self
    }

    /// Starts simulated nodes with these options.
    #[must_use]
    pub fn node_options(mut self, options: NodeOptions) -> Self {
        self.config.nodes = Some(options);
        self
    }

    /// Sets the feature gates of the API server.
    #[must_use]
    pub fn gates(mut self, gates: Gates) -> Self {
        self.config.gates = gates;
        self
    }

    /// Turns on what Kubernetes does not have: warnings about budgets that can never allow a
    /// disruption, and events about refused evictions. `exeunt serve` has both on.
    #[must_use]
    pub fn eviction_hints(mut self) -> Self {
        self.config.budget_warnings = true;
        self.config.refusal_events = true;
        self
    }

    /// Accepts this bearer token as the user. RBAC decides what the user may do.
    #[must_use]
    pub fn token(mut self, token: &str, user: User) -> Self {
        self.config.tokens = self.config.tokens.with(token, user);
        self
    }

    /// Sets the wall clock's time at the start. The default is 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn starting_at(mut self, start: Timestamp) -> Self {
        self.start = start;
        self
    }

    /// Sets the seed of uids, generated names and jitter. The default is 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Uses this store, which may hold objects, instead of an empty one in memory. Several clusters
    /// may share a store: they are API servers of one control plane.
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.config.storage = Storage::Opened(store);
        self
    }

    /// Starts the cluster. Returns when the API answers and all nodes are registered.
    ///
    /// # Errors
    /// A store that cannot be prepared, or nodes that cannot be simulated.
    pub async fn start(self) -> anyhow::Result<TestCluster> {
        let config = ClusterConfig {
            tokens: self
                .config
                .tokens
                .with(ADMIN_TOKEN, administrator("testkit")),
            clock: Clock::starting_at(self.start),
            entropy: Entropy::seeded(self.seed),
            ..self.config
        };
        let cluster = cluster::Cluster::start(config).await?;
        Ok(TestCluster { cluster })
    }
}

/// A running cluster. Dropping it stops controllers and nodes; [`TestCluster::stop`] also waits for
/// them.
///
/// # Guarantees
///
/// Under `#[tokio::test(start_paused = true)]` no wait takes real time, and the same seed gives the
/// same names and uids in the same order of requests.
///
/// # Caveats
///
/// A test that waits for something outside the runtime (a socket, a child process, a thread) lets
/// the paused clock run ahead meanwhile: do not pause the clock then.
#[derive(Debug)]
pub struct TestCluster {
    cluster: cluster::Cluster,
}

impl TestCluster {
    /// Configures a cluster. Without further calls it has all controllers and no nodes.
    #[must_use]
    pub fn builder() -> TestClusterBuilder {
        TestClusterBuilder {
            config: ClusterConfig::default(),
            start: START,
            seed: 0,
        }
    }

    /// Starts a cluster with all controllers and this many simulated nodes.
    ///
    /// # Errors
    /// As [`TestClusterBuilder::start`].
    pub async fn start(nodes: usize) -> anyhow::Result<Self> {
        Self::builder().nodes(nodes).start().await
    }

    /// Returns a client with all rights.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_as(administrator("testkit"))
    }

    /// Returns a client whose requests all come from this user.
    #[must_use]
    pub fn client_as(&self, user: User) -> Client {
        self.cluster.client_as(user)
    }

    /// Returns the HTTP service as the network sees it: requests authenticate by their headers.
    #[must_use]
    pub fn service(&self) -> CallerService {
        self.cluster.service()
    }

    /// Returns a function that sends whole requests as over the network. A request without an
    /// `Authorization` header comes from the administrator; one with an empty header is anonymous.
    #[must_use]
    pub fn transport(&self) -> Transport {
        let service = self.service();
        Arc::new(move |request| exchange(service.clone(), request).boxed())
    }

    /// Returns the clock of all parts.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.cluster.clock()
    }

    /// Returns the source of randomness of all parts.
    #[must_use]
    pub fn entropy(&self) -> &Entropy {
        self.cluster.entropy()
    }

    /// Calls `look` every 20 ms until it returns `Some`, for at most `limit` (virtual time on a
    /// paused runtime).
    ///
    /// # Errors
    /// The first error of `look`, or that `limit` has passed.
    pub async fn wait_for<T, L, F>(&self, limit: Duration, mut look: L) -> anyhow::Result<T>
    where
        L: FnMut() -> F,
        F: Future<Output = anyhow::Result<Option<T>>>,
    {
        let search = async {
            loop {
                if let Some(found) = look().await? {
                    return Ok(found);
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(limit, search)
            .await
            .with_context(|| format!("did not happen within {limit:?}"))?
    }

    /// Starts controllers with empty caches, after [`TestClusterBuilder::without_controllers`] or
    /// [`TestCluster::stop_controllers`].
    pub fn start_controllers(&mut self, options: ControllerOptions) {
        self.cluster.start_controllers(options);
    }

    /// Stops the controllers wherever they are, as a crash would. The server may still carry out
    /// requests that they have sent.
    pub async fn stop_controllers(&mut self) {
        self.cluster.stop_controllers().await;
    }

    /// Stops in order: the clients of the API first, then the API, then the store.
    ///
    /// # Errors
    /// The store cannot be closed.
    pub async fn stop(self) -> anyhow::Result<()> {
        Ok(self.cluster.stop().await?)
    }
}

async fn exchange(service: CallerService, mut request: http::Request<Bytes>) -> HttpResponse {
    authorize(request.headers_mut());
    // Below the service it is the listener that keeps the body of such an answer back.
    let bodiless = request.method() == http::Method::HEAD;
    let response = match service.answer(request.map(Full::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (head, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(_) if bodiless => Bytes::new(),
        Ok(whole) => whole.to_bytes(),
        Err(never) => match never {},
    };
    HttpResponse {
        code: head.status.as_u16(),
        headers: joined(&head.headers),
        body,
    }
}

fn authorize(headers: &mut HeaderMap) {
    headers.entry(AUTHORIZATION).or_insert_with(|| {
        HeaderValue::try_from(format!("Bearer {ADMIN_TOKEN}")).expect("the token is ASCII")
    });
}

/// Headers by lower-case name; several of one name become one.
fn joined(headers: &HeaderMap) -> std::collections::BTreeMap<String, String> {
    let mut all = std::collections::BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        all.entry(name.as_str().to_owned())
            .and_modify(|seen| *seen = format!("{seen}, {value}"))
            .or_insert_with(|| value.into_owned());
    }
    all
}
