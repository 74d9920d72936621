//! The composition root: a whole cluster in this process, from the store to the nodes.
//!
//! The socket is bound first and served when all is ready. Controllers and nodes reach the API
//! through a client whose transport is the server itself, without a socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clock::{Clock, Entropy};
use control::{Options as ControlOptions, StatusLag};
use kube::Client;
use node::NodeOptions;
use registry::{Component, Gates, Registry};
use server::certs::Certs;
use server::listen::Listener;
use server::{AccountTokens, Server, TokenFile};
use store::{EngineError, Store};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::failure::Failure;
use crate::logs::SimulatedLogs;

/// Where objects are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// In the data directory.
    Disk,
    /// In memory.
    Memory,
}

/// What a cluster is made of.
#[derive(Debug)]
pub(crate) struct Config {
    /// Holds the store, the certificates and the kubeconfig.
    pub(crate) data_dir: PathBuf,
    pub(crate) storage: Storage,
    pub(crate) listen: SocketAddr,
    /// Number of simulated nodes.
    pub(crate) nodes: u32,
    pub(crate) tokens: TokenFile,
    pub(crate) gates: Gates,
    /// Warn who writes a budget that cannot work.
    pub(crate) budget_warnings: bool,
    /// Write events about refused evictions.
    pub(crate) refusal_events: bool,
}

impl Config {
    /// A cluster without nodes and without tokens.
    pub(crate) fn new(data_dir: PathBuf, storage: Storage, listen: SocketAddr) -> Self {
        Self {
            data_dir,
            storage,
            listen,
            nodes: 0,
            tokens: TokenFile::default(),
            gates: Gates::default(),
            budget_warnings: true,
            refusal_events: true,
        }
    }
}

/// A running cluster.
pub(crate) struct Cluster {
    /// Where clients reach it.
    pub(crate) url: String,
    /// The administrator's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    server: Server,
    registry: Registry,
    serving: JoinHandle<Result<(), Failure>>,
    controllers: control::Handle,
    nodes: Option<node::Handle>,
    /// Cancelled first: controllers and nodes stop while the API still answers.
    clients: CancellationToken,
    /// Cancelled then: the server leaves in order.
    listener: CancellationToken,
    /// Cancelled by the server's task when it ends, whatever the reason.
    served: CancellationToken,
}

impl Cluster {
    /// Starts everything; returns when the API answers and all nodes are registered.
    pub(crate) async fn start(config: Config) -> Result<Self, Failure> {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let listener = Listener::bind(config.listen)
            .await
            .map_err(|error| port_failure(config.listen, &error))?;
        let (certs, store) = open_files(&config, clock.now()).await?;

        let accounts = AccountTokens::from_pem(&certs.accounts_key, clock.clone(), entropy.clone())
            .context("cannot use the key of service accounts")?;
        let clients = CancellationToken::new();
        let options = registry::Options {
            gates: config.gates,
            tokens: Some(Arc::new(accounts.clone())),
            components: components(&clients),
            budget_warnings: config.budget_warnings,
            refusal_events: config.refusal_events,
            ..registry::Options::default()
        };
        let registry = Registry::new(store, clock.clone(), entropy.clone(), options);
        let server = Server::build(
            server::Config {
                resources: kinds::resources(),
                tokens: config.tokens,
                accounts: Some(accounts),
                anonymous: true,
                clock: clock.clone(),
                entropy: entropy.clone(),
            },
            Arc::new(registry.clone()),
        );
        // Side by side: a store on disk then syncs what both make together.
        let objects = async {
            registry
                .bootstrap()
                .await
                .map_err(|refusal| Failure::new(format!("cannot prepare the store: {refusal}")))
        };
        let roles = async {
            server.bootstrap().await.map_err(|refusal| {
                Failure::new(format!("cannot prepare the default roles: {refusal}"))
            })
        };
        tokio::try_join!(objects, roles)?;

        let observed = registry.clone();
        // Ends when the store is closed; nothing waits for it.
        tokio::spawn(async move { tokio::join!(observed.observe(), observed.forget()) });
        if config.nodes > 0 {
            server.keep_logs(Arc::new(SimulatedLogs));
        }
        let url = listener.url();
        let kubeconfig = config.data_dir.join("kubeconfig");
        let stop_listening = CancellationToken::new();
        let root_ca = certs.authority.clone();
        let served = CancellationToken::new();
        let serving = serve(
            server.clone(),
            listener,
            certs.clone(),
            stop_listening.clone(),
            served.clone().drop_guard(),
        );
        let serving = tokio::spawn(serving);
        server::kubeconfig::write(&kubeconfig, &url, &certs)
            .with_context(|| format!("cannot write {}", kubeconfig.display()))?;

        let inside = |name: &str| client_of(&server, name);
        let told = registry.clone();
        let status_lag = Some(StatusLag::new(move |lag| told.budget_status_told(lag)));
        let controllers = control::run(
            inside("system:kube-controller-manager"),
            clock.clone(),
            entropy.clone(),
            ControlOptions {
                root_ca,
                status_lag,
                ..ControlOptions::default()
            },
            clients.clone(),
        );
        let nodes = start_nodes(
            inside("system:nodes"),
            clock,
            entropy,
            config.nodes,
            &clients,
        )?;
        if let Some(nodes) = &nodes {
            nodes.registered().await;
        }
        Ok(Self {
            url,
            kubeconfig,
            server,
            registry,
            serving,
            controllers,
            nodes,
            clients,
            listener: stop_listening,
            served,
        })
    }

    /// A client inside this process, with all rights.
    pub(crate) fn client(&self) -> Client {
        client_of(&self.server, "exeunt")
    }

    /// Waits for Ctrl-C or SIGTERM, or until the server has ended by itself.
    pub(crate) async fn wait_for_signal(&self, mut signals: Signals) {
        tokio::select! {
            () = signals.next() => {}
            () = self.served.cancelled() => {}
        }
    }

    /// Stops in order: clients of the API first, then the API, then the store.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.clients.cancel();
        self.controllers.stopped().await;
        if let Some(nodes) = self.nodes {
            nodes.stopped().await;
        }
        self.listener.cancel();
        let served = self.serving.await.context("the server's task failed")?;
        self.registry
            .store()
            .close()
            .await
            .context("cannot close the store")?;
        served
    }
}

/// The parts that run until `clients` is cancelled, as `componentstatuses` tells of them.
fn components(clients: &CancellationToken) -> Vec<Component> {
    let running = |name: &'static str| {
        let clients = clients.clone();
        let check = move || {
            if clients.is_cancelled() {
                Err("stopping".to_owned())
            } else {
                Ok(())
            }
        };
        Component {
            name,
            check: Arc::new(check),
        }
    };
    ["controller-manager", "scheduler"].map(running).into()
}

async fn serve(
    server: Server,
    listener: Listener,
    certs: Certs,
    stop: CancellationToken,
    _served: DropGuard,
) -> Result<(), Failure> {
    server
        .serve(listener, &certs, stop)
        .await
        .context("cannot serve")?;
    Ok(())
}

fn client_of(server: &Server, name: &str) -> Client {
    Client::new(server.service_as(server::administrator(name)), "default")
}

fn start_nodes(
    client: Client,
    clock: Clock,
    entropy: Entropy,
    count: u32,
    shutdown: &CancellationToken,
) -> Result<Option<node::Handle>, Failure> {
    if count == 0 {
        return Ok(None);
    }
    let names = (1..=count).map(|number| format!("node-{number}")).collect();
    let started = node::run(
        client,
        clock,
        entropy,
        NodeOptions::named(names),
        shutdown.clone(),
    );
    let hint = "choose a smaller number of --nodes";
    started
        .map(Some)
        .map_err(|error| Failure::usage(error.to_string(), hint))
}

/// What is kept in files. Certificates and store wait for the disk side by side.
async fn open_files(config: &Config, now: jiff::Timestamp) -> Result<(Certs, Store), Failure> {
    let (data_dir, address) = (config.data_dir.clone(), config.listen.ip().to_string());
    let certs = tokio::task::spawn_blocking(move || {
        Certs::load_or_make(&data_dir.join("pki"), &[address], now)
            .with_context(|| format!("cannot keep certificates in {}", data_dir.display()))
    });
    let (storage, data_dir) = (config.storage, config.data_dir.clone());
    let store = tokio::task::spawn_blocking(move || open_store(storage, &data_dir));
    let (certs, store) = tokio::join!(certs, store);
    Ok((
        certs.context("the task that reads certificates failed")??,
        store.context("the task that opens the store failed")??,
    ))
}

fn open_store(storage: Storage, data_dir: &Path) -> Result<Store, Failure> {
    if storage == Storage::Memory {
        return Ok(Store::open_memory());
    }
    Store::open_disk(&data_dir.join("store"), store::Options::default()).map_err(|error| {
        let failure = Failure::new(format!("{error}: {}", error.reason));
        match error.reason {
            EngineError::InUse => failure.hint("stop the other process, or give this one a --data-dir of its own"),
            EngineError::Corrupt(_) => {
                failure.hint("nothing was changed; put a backup in its place, or move it away to begin with an empty store")
            }
            EngineError::Format { .. } => failure.hint("use the version of exeunt that wrote it"),
            EngineError::Io(_) | EngineError::Failed(_) => {
                failure.hint("see that the directory can be written and that the disk is not full")
            }
        }
    })
}

fn port_failure(address: SocketAddr, error: &std::io::Error) -> Failure {
    let failure = Failure::new(format!("cannot listen on {address}: {error}"));
    match error.kind() {
        std::io::ErrorKind::AddrInUse => failure
            .hint("another process listens there; choose another port, or port 0 for a free one"),
        std::io::ErrorKind::AddrNotAvailable => {
            failure.hint("the address is not one of this machine's")
        }
        _ => failure.hint("choose another --listen address"),
    }
}

/// Ctrl-C and SIGTERM, which no longer end the process from the moment that these are listened to.
pub(crate) struct Signals {
    interrupted: Signal,
    terminated: Signal,
}

impl Signals {
    /// To be called before anybody is told that the process runs, for who is told may send one.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            interrupted: listen(SignalKind::interrupt())?,
            terminated: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}

/// Ctrl-C or SIGTERM, from now on.
pub(crate) async fn signalled() {
    match Signals::listen() {
        Ok(mut signals) => signals.next().await,
        // Then a signal ends the process as it always does.
        Err(_) => std::future::pending().await,
    }
}
