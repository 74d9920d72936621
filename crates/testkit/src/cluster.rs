//! A whole cluster in a test process: store, registry, server, and if wanted controllers and
//! simulated nodes, on one clock and one seed, without a socket.
//!
//! It knows how the parts are put together and nothing about what they do. Requests go through the
//! server's own service, so they meet authentication, authorization, negotiation and encoding as
//! over the network. On a paused runtime everything in it lives in virtual time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clock::{Clock, Entropy};
use control::StatusLag;
use futures::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use kube::Client;
use node::NodeOptions;
use registry::request::User;
use registry::{Gates, Registry};
use server::certs::Certs;
use server::{AccountTokens, Server, Service, TokenFile};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::golden::{Answer, Transport};

/// The bearer token of the administrator.
pub const ADMIN_TOKEN: &str = "testkit-administrator";

/// Where the wall clock starts: any fixed moment will do, so that runs look alike.
const START: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// How often a wait looks again.
const PAUSE: Duration = Duration::from_millis(20);

/// What a cluster is to be made of; see [`Cluster::builder`].
#[derive(Debug)]
pub struct Builder {
    controllers: Option<control::Options>,
    nodes: Option<NodeOptions>,
    gates: Gates,
    standing_help: bool,
    tokens: TokenFile,
    start: Timestamp,
    seed: u64,
    store: Option<Store>,
}

impl Builder {
    /// Without controllers and scheduler: budgets keep the status that the test writes.
    #[must_use]
    pub fn without_controllers(mut self) -> Self {
        self.controllers = None;
        self
    }

    /// Controllers with other options than the usual ones.
    #[must_use]
    pub fn controllers(mut self, options: control::Options) -> Self {
        self.controllers = Some(options);
        self
    }

    /// This many simulated nodes, `node-1`, `node-2` and so on; 0 for none.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = (count > 0).then(|| NodeOptions::numbered("node", count));
        self
    }

    /// Simulated nodes with other options than the usual ones.
    #[must_use]
    pub fn node_options(mut self, options: NodeOptions) -> Self {
        self.nodes = Some(options);
        self
    }

    /// Feature gates of the API server.
    #[must_use]
    pub fn gates(mut self, gates: Gates) -> Self {
        self.gates = gates;
        self
    }

    /// With the warnings about budgets that cannot work and the events about refused evictions that
    /// Kubernetes does not have.
    #[must_use]
    pub fn standing_help(mut self) -> Self {
        self.standing_help = true;
        self
    }

    /// Lets this bearer token stand for a user. What the user may do is up to RBAC.
    #[must_use]
    pub fn token(mut self, token: &str, user: User) -> Self {
        self.tokens = self.tokens.with(token, user);
        self
    }

    /// What the wall clock shows at the start.
    #[must_use]
    pub fn starting_at(mut self, start: Timestamp) -> Self {
        self.start = start;
        self
    }

    /// The seed of uids, generated names and jitter.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// On this store, which may have been used before, instead of an empty one in memory. Several
    /// clusters may share a store: they are API servers of one control plane.
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// Starts the cluster; returns when the API answers and all nodes are registered.
    ///
    /// # Errors
    /// A store that cannot be prepared, or nodes that cannot be simulated.
    pub async fn start(self) -> anyhow::Result<Cluster> {
        let (clock, entropy) = (Clock::starting_at(self.start), Entropy::seeded(self.seed));
        let certs = Certs::make(&[], clock.now()).context("cannot make certificates")?;
        let accounts = AccountTokens::from_pem(&certs.accounts_key, clock.clone(), entropy.clone())
            .context("cannot use the key of service accounts")?;
        let options = registry::Options {
            gates: self.gates,
            tokens: Some(Arc::new(accounts.clone())),
            budget_warnings: self.standing_help,
            refusal_events: self.standing_help,
            ..registry::Options::default()
        };
        let registry = Registry::new(
            self.store.unwrap_or_else(Store::open_memory),
            clock.clone(),
            entropy.clone(),
            options,
        );
        registry
            .bootstrap()
            .await
            .context("cannot prepare the store")?;
        let config = server::Config {
            resources: kinds::resources(),
            tokens: self
                .tokens
                .with(ADMIN_TOKEN, server::administrator("testkit")),
            accounts: Some(accounts),
            anonymous: true,
            clock: clock.clone(),
            entropy: entropy.clone(),
        };
        let server = Server::build(config, Arc::new(registry.clone()));
        server
            .bootstrap()
            .await
            .context("cannot prepare the default roles")?;
        let observed = registry.clone();
        // Ends when the store is closed, or with the runtime of the test.
        tokio::spawn(async move { tokio::join!(observed.observe(), observed.forget()) });
        let shutdown = CancellationToken::new();
        let stop_controllers = shutdown.child_token();
        let mut cluster = Cluster {
            server,
            registry,
            clock,
            entropy,
            controllers: None,
            stop_controllers,
            nodes: None,
            shutdown,
        };
        if let Some(options) = self.controllers {
            let root_ca = if options.root_ca.is_empty() {
                certs.authority
            } else {
                options.root_ca
            };
            let told = cluster.registry.clone();
            let status_lag = Some(StatusLag::new(move |lag| told.budget_status_told(lag)));
            cluster.start_controllers(control::Options {
                root_ca,
                status_lag,
                ..options
            });
        }
        if let Some(options) = self.nodes {
            cluster.start_nodes(options).await?;
        }
        Ok(cluster)
    }
}

/// A running cluster. Dropping it stops controllers and nodes; [`Cluster::stop`] also waits for
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
pub struct Cluster {
    server: Server,
    registry: Registry,
    clock: Clock,
    entropy: Entropy,
    controllers: Option<control::Handle>,
    stop_controllers: CancellationToken,
    nodes: Option<node::Handle>,
    shutdown: CancellationToken,
}

impl Cluster {
    /// A cluster with all controllers and without nodes, unless told otherwise.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            controllers: Some(control::Options::default()),
            nodes: None,
            gates: Gates::default(),
            standing_help: false,
            tokens: TokenFile::default(),
            start: START,
            seed: 0,
            store: None,
        }
    }

    /// A cluster with all controllers and this many simulated nodes.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub async fn start(nodes: usize) -> anyhow::Result<Self> {
        Self::builder().nodes(nodes).start().await
    }

    /// A client with all rights.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_as(server::administrator("testkit"))
    }

    /// A client whose requests all come from this user.
    #[must_use]
    pub fn client_as(&self, user: User) -> Client {
        Client::new(self.server.service_as(user), "default")
    }

    /// The HTTP service as the network sees it: requests prove who they are by their headers.
    #[must_use]
    pub fn service(&self) -> Service {
        self.server.service()
    }

    /// Sends whole requests as over the network: as the administrator, unless a request brings
    /// credentials of its own (an empty `Authorization` header is none at all).
    #[must_use]
    pub fn transport(&self) -> Transport {
        let service = self.service();
        Arc::new(move |request| exchange(service.clone(), request).boxed())
    }

    /// The clock on which everything runs.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The source of randomness that everything shares.
    #[must_use]
    pub fn entropy(&self) -> &Entropy {
        &self.entropy
    }

    /// The registry behind the server, for tests that look below HTTP.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The server, for tests that need more of it than its service.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Looks again and again until `look` finds something; fails when `limit` has passed (virtual
    /// time on a paused runtime).
    ///
    /// # Errors
    /// What `look` reports, or that nothing was found in time.
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

    /// Starts controllers that know nothing yet, beside none or after
    /// [`Cluster::stop_controllers`].
    pub fn start_controllers(&mut self, options: control::Options) {
        let client = self.client_as(server::administrator("system:kube-controller-manager"));
        self.stop_controllers = self.shutdown.child_token();
        let stop = self.stop_controllers.clone();
        self.controllers = Some(control::run(
            client,
            self.clock.clone(),
            self.entropy.clone(),
            options,
            stop,
        ));
    }

    /// Stops the controllers where they are; what they have asked for may still be done.
    pub async fn stop_controllers(&mut self) {
        self.stop_controllers.cancel();
        if let Some(controllers) = self.controllers.take() {
            controllers.stopped().await;
        }
    }

    /// Stops in order: the clients of the API first, then the API, then the store.
    ///
    /// # Errors
    /// The store cannot be closed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        if let Some(controllers) = self.controllers.take() {
            controllers.stopped().await;
        }
        if let Some(nodes) = self.nodes.take() {
            nodes.stopped().await;
        }
        self.server.leave();
        self.server.end_watches();
        self.registry
            .store()
            .close()
            .await
            .context("cannot close the store")
    }

    async fn start_nodes(&mut self, options: NodeOptions) -> anyhow::Result<()> {
        let client = self.client_as(server::administrator("system:nodes"));
        let nodes = node::run(
            client,
            self.clock.clone(),
            self.entropy.clone(),
            options,
            self.shutdown.clone(),
        )?;
        anyhow::ensure!(
            nodes.registered().await,
            "the simulated nodes ended before they were registered"
        );
        self.nodes = Some(nodes);
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn exchange(service: Service, mut request: http::Request<Bytes>) -> Answer {
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
    Answer {
        code: head.status.as_u16(),
        headers: joined(&head.headers),
        body,
    }
}

fn authorize(headers: &mut HeaderMap) {
    headers.entry(AUTHORIZATION).or_insert_with(|| {
        HeaderValue::try_from(format!("Bearer {ADMIN_TOKEN}"))
            .expect("the token has only letters and dashes")
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
