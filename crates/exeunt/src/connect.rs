//! Turns the kubeconfig and flags into a client.
//!
//! The client does not retry: a refused eviction is a result that the caller handles. Every request
//! has a timeout, so that a server that does not respond is reported. Errors become a [`CliError`]
//! with a hint in [`errors`] and nowhere else.

mod errors;
mod guard;
mod identity;

use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use serde_json::json;

use crate::cli::ConnectArgs;
use crate::error::CliError;
use crate::names;
pub(crate) use guard::ServerContact;

/// A client, and the names that messages use for what it is connected to.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The client. Its default namespace comes from the flags, then from the context.
    pub(crate) client: Client,
    /// The namespace of objects that are given without one.
    pub(crate) namespace: String,
    /// When the server was last heard.
    pub(crate) contact: ServerContact,
    server: ServerRef,
}

/// What error messages say about the server and about how this process presents itself to it.
#[derive(Clone, Debug)]
pub(crate) struct ServerRef {
    url: String,
    /// Whether the user's certificate is of X.509 version 1.
    version_1: bool,
}

impl Connection {
    /// Returns the URL of the server, for messages.
    pub(crate) fn server(&self) -> &str {
        &self.server.url
    }

    /// Describes why a request failed. `doing` is what was attempted, like `list pods`.
    pub(crate) fn error(&self, doing: &str, error: &kube::Error) -> CliError {
        errors::request_error(&self.server, doing, error)
    }
}

/// Creates a client. Sends no request.
pub(crate) async fn connect(arguments: &ConnectArgs) -> Result<Connection, CliError> {
    let mut config = load(arguments).await?;
    adjust(&mut config, arguments)?;
    names::namespace(&config.default_namespace)?;
    let (server, namespace) = (
        config.cluster_url.to_string(),
        config.default_namespace.clone(),
    );
    let server = server.trim_end_matches('/').to_owned();
    let mut server = ServerRef {
        url: server,
        version_1: false,
    };
    let built = identity::build(config)
        .map_err(|error| errors::request_error(&server, "connect", &error))?;
    server.version_1 = built.version_1;
    let contact = ServerContact::new();
    let client = guard::guard(
        built.client,
        arguments.request_timeout,
        &namespace,
        contact.clone(),
    );
    Ok(Connection {
        client,
        contact,
        namespace,
        server,
    })
}

async fn load(arguments: &ConnectArgs) -> Result<Config, CliError> {
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
        // --server and --token need no kubeconfig.
        (Err(error), Some(server)) if is_absent(&error) => Ok(Config::new(parse_server(server)?)),
        (Err(error), None) if is_absent(&error) => {
            Config::incluster().map_err(|_| errors::kubeconfig_error(arguments, &error))
        }
        (Err(error), _) => Err(errors::kubeconfig_error(arguments, &error)),
    }
}

/// Returns whether there is no kubeconfig, or one without a current context.
fn is_absent(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath | KubeconfigError::CurrentContextNotSet => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn adjust(config: &mut Config, arguments: &ConnectArgs) -> Result<(), CliError> {
    // The default repeats a request after a 429, up to fifteen times and without a message.
    config.default_retry = false;
    if let Some(server) = &arguments.server {
        config.cluster_url = parse_server(server)?;
    }
    if let Some(namespace) = &arguments.namespace {
        config.default_namespace.clone_from(namespace);
    }
    if let Some(token) = &arguments.token {
        let auth_info = serde_json::from_value::<AuthInfo>(json!({"token": token}));
        config.auth_info = auth_info.map_err(|error| {
            CliError::usage(format!("cannot use --token: {error}"), "use a bearer token")
        })?;
    }
    if arguments.impersonate.is_none() && !arguments.impersonate_groups.is_empty() {
        return Err(CliError::usage(
            "cannot impersonate a group without a user",
            "use --as USER together with --as-group",
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

fn parse_server(server: &str) -> Result<http::Uri, CliError> {
    let whole = if server.contains("://") {
        server.to_owned()
    } else {
        format!("http://{server}")
    };
    whole.parse().map_err(|error| {
        CliError::usage(
            format!("cannot parse --server {server:?}: {error}"),
            "use a URL like https://127.0.0.1:6443",
        )
    })
}
