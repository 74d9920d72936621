//! From kubeconfig and flags to a client: what every command for a cluster begins with.
//!
//! The client asks once: it repeats nothing by itself, since a refused eviction is an answer and
//! not a fault. Every request has a limit of time, so that a silent server is told and not waited
//! for. What goes wrong becomes a [`Failure`] with a way out in [`trouble`], and nowhere else.

mod trouble;

use std::time::Duration;

use kube::client::{Body, ClientBuilder};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use serde_json::json;

use crate::cli::ConnectArgs;
use crate::failure::Failure;

/// A client, and what messages say about where it leads.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The client; its default namespace is the one of the flags or of the context.
    pub(crate) client: Client,
    /// The namespace of names that are given without one.
    pub(crate) namespace: String,
    server: String,
}

impl Connection {
    /// Why something could not be done: `doing` is what was tried, like `list pods`.
    pub(crate) fn failure(&self, doing: &str, error: &kube::Error) -> Failure {
        trouble::failure(&self.server, doing, error)
    }
}

/// Makes a client. Sends nothing yet.
pub(crate) async fn connect(arguments: &ConnectArgs) -> Result<Connection, Failure> {
    let mut config = load(arguments).await?;
    adjust(&mut config, arguments)?;
    let (server, namespace) = (
        config.cluster_url.to_string(),
        config.default_namespace.clone(),
    );
    let server = server.trim_end_matches('/').to_owned();
    let client = ClientBuilder::try_from(config)
        .map_err(|error| trouble::failure(&server, "connect", &error))?
        .build();
    let client = if arguments.request_timeout.is_zero() {
        client
    } else {
        limited(client, arguments.request_timeout, &namespace)
    };
    Ok(Connection {
        client,
        namespace,
        server,
    })
}

async fn load(arguments: &ConnectArgs) -> Result<Config, Failure> {
    let file = match &arguments.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let options = KubeConfigOptions {
        context: arguments.context.clone(),
        cluster: arguments.cluster.clone(),
        user: arguments.user.clone(),
    };
    let loaded = match file {
        Ok(file) => Config::from_custom_kubeconfig(file, &options).await,
        Err(error) => Err(error),
    };
    match (loaded, &arguments.server) {
        (Ok(config), _) => Ok(config),
        // The flags may say all that is needed.
        (Err(error), Some(server)) if says_nothing(&error) => {
            Ok(Config::new(parse_server(server)?))
        }
        (Err(error), None) if says_nothing(&error) => {
            Config::incluster().map_err(|_| trouble::kubeconfig(arguments, &error))
        }
        (Err(error), _) => Err(trouble::kubeconfig(arguments, &error)),
    }
}

/// There is no file, or nothing is chosen in it.
fn says_nothing(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath | KubeconfigError::CurrentContextNotSet => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn adjust(config: &mut Config, arguments: &ConnectArgs) -> Result<(), Failure> {
    // The default would ask again after a 429, up to fifteen times and without a word.
    config.default_retry = false;
    if let Some(server) = &arguments.server {
        config.cluster_url = parse_server(server)?;
    }
    if let Some(namespace) = &arguments.namespace {
        config.default_namespace.clone_from(namespace);
    }
    if let Some(token) = &arguments.token {
        let wanted = serde_json::from_value::<AuthInfo>(json!({"token": token}));
        config.auth_info = wanted.map_err(|error| {
            Failure::usage(format!("the token cannot be used: {error}"), "see --token")
        })?;
    }
    if arguments.impersonate.is_none() && !arguments.impersonate_groups.is_empty() {
        return Err(Failure::usage(
            "--as-group says nothing without --as",
            "name the user with --as",
        ));
    }
    if let Some(user) = &arguments.impersonate {
        config.auth_info.impersonate = Some(user.clone());
        config.auth_info.impersonate_groups = Some(arguments.impersonate_groups.clone());
    }
    if arguments.insecure_skip_tls_verify {
        config.accept_invalid_certs = true;
        config.root_cert = None;
    }
    Ok(())
}

fn parse_server(server: &str) -> Result<http::Uri, Failure> {
    let whole = if server.contains("://") {
        server.to_owned()
    } else {
        format!("http://{server}")
    };
    let hint = "write it like https://127.0.0.1:6443";
    whole.parse().map_err(|error| {
        Failure::usage(
            format!("{server:?} is not the address of a server: {error}"),
            hint,
        )
    })
}

/// The same client with a limit of time for each answer, body included. The stream of a watch is
/// limited until it begins; the watcher looks after it from there.
fn limited(client: Client, limit: Duration, namespace: &str) -> Client {
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let client = client.clone();
        async move {
            let watch = request
                .uri()
                .query()
                .is_some_and(|query| query.contains("watch="));
            let answer = async {
                let response = client.send(request).await?;
                if watch {
                    return Ok(response);
                }
                let (head, body) = response.into_parts();
                Ok(http::Response::from_parts(
                    head,
                    Body::from(body.collect_bytes().await?.to_vec()),
                ))
            };
            match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer.map_err(|error: kube::Error| {
                    Box::new(error) as Box<dyn std::error::Error + Send + Sync>
                }),
                Err(_) => Err(Box::new(trouble::NoAnswer {
                    seconds: limit.as_secs_f64(),
                }) as _),
            }
        }
    });
    Client::new(service, namespace)
}
