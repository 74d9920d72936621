//! Assembles a cluster, gives access to it, and takes it apart in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clock::{Clock, Entropy};
use control::StatusLag;
use kube::Client;
use node::NodeOptions;
use registry::request::User;
use registry::{Component, PublishedServer, Registry};
use server::certs::{Certs, CertsError, LoadedCerts};
use server::listen::Listener;
use server::{CallerService, Server, ServiceAccountTokens};
use store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::advertise;
use crate::config::{ClusterConfig, Listen, Storage};
use crate::error::ClusterError;
use crate::logs::SimulatedLogs;
use crate::memory::CacheSizes;

/// A running cluster.
///
/// Dropping it cancels all parts without waiting; [`Cluster::stop`] ends them in order.
#[derive(Debug)]
pub struct Cluster {
    registry: Registry,
    server: Server,
    clock: Clock,
    entropy: Entropy,
    /// The authority (PEM) that signed the serving certificate.
    authority: String,
    endpoint: Option<Endpoint>,
    /// What other machines and pods see of this server.
    published: Option<PublishedServer>,
    controllers: Option<Controllers>,
    nodes: Option<node::Handle>,
    /// Ends controllers and nodes.
    clients: CancellationToken,
    /// Read by the checks of `componentstatuses`.
    controllers_run: Arc<AtomicBool>,
    /// Ends controllers and nodes when the cluster is dropped.
    _dropped: DropGuard,
}

#[derive(Debug)]
struct Controllers {
    handle: control::ControllerHandle,
    stop: CancellationToken,
}

/// The API on the network.
#[derive(Debug)]
struct Endpoint {
    url: String,
    kubeconfig: PathBuf,
    serving: JoinHandle<Result<(), ClusterError>>,
    /// Ends the listener, also when it is dropped.
    stop: DropGuard,
    /// Cancelled when the serving task ends, for whatever reason.
    ended: CancellationToken,
}

impl Cluster {
    /// Starts all parts. Returns when the API answers and all nodes are registered; controllers may
    /// still be filling their caches.
    ///
    /// # Errors
    /// The part that cannot start, see [`ClusterError`].
    pub async fn start(config: ClusterConfig) -> Result<Self, ClusterError> {
        // The address is the part most likely to be taken: nothing is written before it is ours.
        let listener = bind(config.listen.as_ref()).await?;
        let loaded = load_certs(&config).await?;
        let store = open_store(&config.storage).await?;

        let controllers_run = Arc::new(AtomicBool::new(false));
        let certs = loaded.certs().clone();
        let (registry, server) = build_api(&config, &certs, store, &controllers_run)?;
        // From here on files change: everything that exists has been read and accepted. These wait
        // for the disk side by side.
        tokio::try_join!(loaded.write(), write_initial_objects(&registry, &server))?;
        // From here on an error, too, cancels what was started: the guard is dropped with it.
        let clients = CancellationToken::new();
        let dropped = clients.clone().drop_guard();
        let published = listener
            .as_ref()
            .map(|listener| advertise::published(listener.address()));
        spawn_upkeep(&registry, published.clone(), clients.clone());
        if config.nodes.is_some() {
            server.set_pod_logs(Arc::new(SimulatedLogs));
        }
        let endpoint = match (listener, &config.listen) {
            (Some(listener), Some(listen)) => {
                Some(Endpoint::open(&server, listener, &certs, &listen.dir)?)
            }
            _ => None,
        };

        let mut cluster = Self {
            registry,
            server,
            clock: config.clock,
            entropy: config.entropy,
            authority: certs.authority,
            endpoint,
            published,
            controllers: None,
            nodes: None,
            _dropped: dropped,
            clients,
            controllers_run,
        };
        if let Some(options) = config.controllers {
            cluster.start_controllers(options);
        }
        if let Some(options) = config.nodes {
            cluster.start_nodes(options).await?;
        }
        Ok(cluster)
    }

    /// A client with all rights, inside this process.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_as(server::administrator("exeunt"))
    }

    /// A client whose requests all come from `user`, inside this process.
    #[must_use]
    pub fn client_as(&self, user: User) -> Client {
        Client::new(self.service_as(user), "default")
    }

    /// The HTTP service with all requests coming from `user`, whatever their headers say.
    #[must_use]
    pub fn service_as(&self, user: User) -> CallerService {
        self.server.service_as(user)
    }

    /// The HTTP service as the network sees it: requests authenticate by their headers.
    #[must_use]
    pub fn service(&self) -> CallerService {
        self.server.service()
    }

    /// The base URL of the API, if it listens.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.endpoint.as_ref().map(|endpoint| endpoint.url.as_str())
    }

    /// The administrator's kubeconfig, if the API listens.
    #[must_use]
    pub fn kubeconfig(&self) -> Option<&Path> {
        let endpoint = self.endpoint.as_ref();
        endpoint.map(|endpoint| endpoint.kubeconfig.as_path())
    }

    /// The clock of all parts.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The source of randomness of all parts.
    #[must_use]
    pub fn entropy(&self) -> &Entropy {
        &self.entropy
    }

    /// Returns when the listener has ended without [`Cluster::stop`]; never without a listener.
    pub async fn ended(&self) {
        match &self.endpoint {
            Some(endpoint) => endpoint.ended.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Starts controllers with empty caches. Running ones must be stopped first, see
    /// [`Cluster::stop_controllers`]; two sets would work against each other.
    pub fn start_controllers(&mut self, mut options: control::ControllerOptions) {
        if options.root_ca.is_empty() {
            options.root_ca.clone_from(&self.authority);
        }
        if options.status_lag.is_none() {
            let registry = self.registry.clone();
            let report = move |lag| registry.record_budget_status_lag(lag);
            options.status_lag = Some(StatusLag::new(report));
        }
        let stop = self.clients.child_token();
        let handle = control::run(
            self.client_as(server::administrator("system:kube-controller-manager")),
            self.clock.clone(),
            self.entropy.clone(),
            options,
            stop.clone(),
        );
        self.controllers_run.store(true, Ordering::Relaxed);
        self.controllers = Some(Controllers { handle, stop });
    }

    /// Stops the controllers wherever they are, as a crash would. The server may still carry out
    /// requests that they have sent.
    pub async fn stop_controllers(&mut self) {
        self.controllers_run.store(false, Ordering::Relaxed);
        if let Some(controllers) = self.controllers.take() {
            controllers.stop.cancel();
            controllers.handle.stopped().await;
        }
    }

    /// Stops in order: controllers and nodes while the API still answers them, then the API, then
    /// the store, which makes durable what was written.
    ///
    /// # Errors
    /// The listener's or the store's failure. Everything has ended in any case.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        self.clients.cancel();
        self.stop_controllers().await;
        if let Some(nodes) = self.nodes {
            nodes.stopped().await;
        }
        if let Some(published) = &self.published {
            // A lease that stays, because the store has failed, expires.
            let _ = self.registry.withdraw(published).await;
        }
        let served = match self.endpoint {
            Some(endpoint) => endpoint.close().await,
            None => Ok(()),
        };
        self.server.leave();
        self.server.end_watches();
        let closed = self.registry.store().close().await;
        served.and(closed.map_err(ClusterError::Close))
    }

    async fn start_nodes(&mut self, options: NodeOptions) -> Result<(), ClusterError> {
        let nodes = node::run(
            self.client_as(server::administrator("system:nodes")),
            self.clock.clone(),
            self.entropy.clone(),
            options,
            self.clients.clone(),
        )
        .map_err(ClusterError::Nodes)?;
        if !nodes.registered().await {
            return Err(ClusterError::Registration);
        }
        self.nodes = Some(nodes);
        Ok(())
    }
}

impl Endpoint {
    /// Serves the listener and writes the kubeconfig that leads to it.
    fn open(
        server: &Server,
        listener: Listener,
        certs: &Certs,
        dir: &Path,
    ) -> Result<Self, ClusterError> {
        let url = listener.url();
        let kubeconfig = dir.join("kubeconfig");
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let serving = {
            let (server, certs) = (server.clone(), certs.clone());
            let (stop, ended) = (stop.clone(), ended.clone().drop_guard());
            async move {
                let _ended = ended;
                let served = server.serve(listener, &certs, stop).await;
                served.map_err(ClusterError::Serve)
            }
        };
        let endpoint = Self {
            serving: tokio::spawn(serving),
            stop: stop.drop_guard(),
            ended,
            url,
            kubeconfig,
        };
        match server::kubeconfig::write(&endpoint.kubeconfig, &endpoint.url, certs) {
            Ok(()) => Ok(endpoint),
            Err(source) => Err(ClusterError::Kubeconfig {
                path: endpoint.kubeconfig,
                source,
            }),
        }
    }

    /// Accepts no more connections, ends watches, and waits for running requests.
    async fn close(self) -> Result<(), ClusterError> {
        drop(self.stop);
        let joined = self.serving.await;
        joined.map_err(|source| task_error("serve HTTPS", source))?
    }
}

async fn bind(listen: Option<&Listen>) -> Result<Option<Listener>, ClusterError> {
    let Some(Listen { address, .. }) = listen else {
        return Ok(None);
    };
    let bound = Listener::bind(*address).await;
    bound.map(Some).map_err(|source| ClusterError::Listen {
        address: *address,
        source,
    })
}

/// Certificates, and the files that they came from or go to.
enum CertsSource {
    /// In the directory of the listener.
    Files(LoadedCerts, PathBuf),
    /// Without a listener nobody needs files.
    Memory(Certs),
}

impl CertsSource {
    fn certs(&self) -> &Certs {
        match self {
            Self::Files(loaded, _) => &loaded.certs,
            Self::Memory(certs) => certs,
        }
    }

    /// Writes the certificates that were made.
    async fn write(self) -> Result<(), ClusterError> {
        let Self::Files(loaded, dir) = self else {
            return Ok(());
        };
        let write = move || {
            let written = loaded.write();
            written.map_err(|source| ClusterError::Certificates { dir, source })
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.map_err(|source| task_error("write certificates", source))?
    }
}

/// Loads or makes certificates, and changes no file. Without a listener they are made in memory, on
/// this thread: virtual time must not pass.
async fn load_certs(config: &ClusterConfig) -> Result<CertsSource, ClusterError> {
    let now = config.clock.now();
    let Some(listen) = &config.listen else {
        let made = Certs::make(&[], now).map_err(ClusterError::Keys)?;
        return Ok(CertsSource::Memory(made));
    };
    let (root, dir) = (listen.dir.clone(), listen.dir.join("pki"));
    let names = [listen.address.ip().to_string()];
    let load = move || {
        let loaded = files::private_dir(&root)
            .map_err(CertsError::from)
            .and_then(|()| Certs::load(&dir, &names, now));
        match loaded {
            Ok(loaded) => Ok(CertsSource::Files(loaded, dir)),
            Err(source) => Err(ClusterError::Certificates { dir, source }),
        }
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    loaded.map_err(|source| task_error("load certificates", source))?
}

async fn open_store(storage: &Storage) -> Result<Store, ClusterError> {
    let dir = match storage {
        Storage::Memory => return Ok(Store::open_memory()),
        Storage::Opened(store) => return Ok(store.clone()),
        Storage::Disk(dir) => dir.clone(),
    };
    let open = move || Store::open_disk(&dir, store::StoreOptions::default());
    let opened = tokio::task::spawn_blocking(open).await;
    Ok(opened.map_err(|source| task_error("open the store", source))??)
}

fn build_api(
    config: &ClusterConfig,
    certs: &Certs,
    store: Store,
    controllers_run: &Arc<AtomicBool>,
) -> Result<(Registry, Server), ClusterError> {
    let (clock, entropy) = (&config.clock, &config.entropy);
    let caches = CacheSizes::of_machine();
    let accounts =
        ServiceAccountTokens::from_pem(&certs.accounts_key, clock.clone(), entropy.clone())
            .map_err(|error| ClusterError::AccountKey(Box::new(error)))?;
    let options = registry::Options {
        gates: config.gates,
        tokens: Some(Arc::new(accounts.clone())),
        components: components(config, controllers_run),
        budget_warnings: config.budget_warnings,
        refusal_events: config.refusal_events,
        converted_bytes: caches.converted_bytes,
        ..registry::Options::default()
    };
    let registry = Registry::new(store, clock.clone(), entropy.clone(), options);
    let server = Server::build(
        server::ServerConfig {
            resources: kinds::resources(),
            tokens: config.tokens.clone(),
            accounts: Some(accounts),
            anonymous: true,
            encodings_bytes: caches.encodings_bytes,
            clock: clock.clone(),
            entropy: entropy.clone(),
        },
        Arc::new(registry.clone()),
    );
    Ok((registry, server))
}

/// The parts that `componentstatuses` reports besides the store.
fn components(config: &ClusterConfig, controllers_run: &Arc<AtomicBool>) -> Vec<Component> {
    let component = |name: &'static str| {
        let running = controllers_run.clone();
        let check = move || match running.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("not running".to_owned()),
        };
        Component {
            name,
            check: Arc::new(check),
        }
    };
    let Some(options) = &config.controllers else {
        return Vec::new();
    };
    let scheduler = options.schedule.then(|| component("scheduler"));
    std::iter::once(component("controller-manager"))
        .chain(scheduler)
        .collect()
}

/// Both write side by side: a store on disk then syncs once for both.
async fn write_initial_objects(registry: &Registry, server: &Server) -> Result<(), ClusterError> {
    let objects = async {
        let written = registry.bootstrap().await;
        written.map_err(ClusterError::InitialObjects)
    };
    let roles = async {
        let written = server.bootstrap().await;
        written.map_err(ClusterError::DefaultRoles)
    };
    tokio::try_join!(objects, roles)?;
    Ok(())
}

/// Measures evictions, removes old events and revisions and publishes the server until `stop` is
/// cancelled or the store is closed. The task holds the store, which stays open as long as it runs.
fn spawn_upkeep(registry: &Registry, published: Option<PublishedServer>, stop: CancellationToken) {
    let registry = registry.clone();
    tokio::spawn(async move {
        let publish = async {
            if let Some(published) = &published {
                registry.publish(published).await;
            }
        };
        let upkeep = async { tokio::join!(registry.observe(), registry.forget(), publish) };
        stop.run_until_cancelled(upkeep).await;
    });
}

fn task_error(doing: &'static str, source: tokio::task::JoinError) -> ClusterError {
    ClusterError::Task { doing, source }
}
