//! A bare API server for trying things: memory store, no controllers, no nodes.
//!
//! `cargo run -p exeunt-server --example apiserver -- [--listen ADDRESS] [--dir DIR] [--token
//! TOKEN]`
//!
//! Prints its URL and the path of the administrator's kubeconfig, and serves until it is
//! interrupted. `--token` lets an administrator in by a bearer token as well. Every namespace gets
//! its default service account, for pods cannot be made without.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clock::{Clock, Entropy};
use exeunt_server as server;
use futures::StreamExt as _;
use registry::request::{
    Body, BodyForm, ListOptions, Reply, Request, Verb, WatchEvent, WriteOptions,
};
use registry::{Options, Registry};
use server::certs::Certs;
use server::listen::Listener;
use server::{AccountTokens, Config, Server, TokenFile};
use store::Store;
use tokio_util::sync::CancellationToken;

struct Arguments {
    listen: String,
    dir: PathBuf,
    token: Option<String>,
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut found = Arguments {
        listen: "127.0.0.1:0".to_owned(),
        dir: std::env::temp_dir().join("exeunt-apiserver"),
        token: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words
            .next()
            .with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--listen" => found.listen = value,
            "--dir" => found.dir = value.into(),
            "--token" => found.token = Some(value),
            _ => bail!("unknown flag {flag}; there are --listen, --dir and --token"),
        }
    }
    Ok(found)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, dir, token } = arguments()?;
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let listener = Listener::bind(listen.parse().context("--listen ADDRESS:PORT")?).await?;
    let certs = Certs::load_or_make(
        &dir.join("pki"),
        &[listener.address().ip().to_string()],
        clock.now(),
    )?;
    let accounts = AccountTokens::from_pem(&certs.accounts_key, clock.clone(), entropy.clone())?;
    let options = Options {
        tokens: Some(Arc::new(accounts.clone())),
        ..Options::default()
    };
    let registry = Registry::new(
        Store::open_memory(),
        clock.clone(),
        entropy.clone(),
        options,
    );
    registry
        .bootstrap()
        .await
        .map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let tokens = token.map_or_else(TokenFile::default, |token| {
        TokenFile::default().with(&token, server::administrator("admin"))
    });
    let accounts_made = tokio::spawn(make_accounts(registry.clone()));
    let config = Config {
        resources: kinds::resources(),
        tokens,
        accounts: Some(accounts),
        anonymous: true,
        clock,
        entropy,
    };
    let server = Server::build(config, Arc::new(registry));
    server
        .bootstrap()
        .await
        .map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let kubeconfig = dir.join("kubeconfig");
    server::kubeconfig::write(&kubeconfig, &listener.url(), &certs)?;
    #[expect(clippy::print_stdout, reason = "an example talks to who runs it")]
    {
        println!("{} {}", listener.url(), kubeconfig.display());
    }
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    let waiting = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    server.serve(listener, &certs, stop).await?;
    waiting.abort();
    accounts_made.abort();
    Ok(())
}

/// Gives every namespace its default service account, as a controller does in a whole cluster.
async fn make_accounts(registry: Registry) {
    let request = |resource: &str, namespace: &str, verb| Request {
        user: server::administrator("example"),
        group: String::new(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        subresource: String::new(),
        namespace: namespace.to_owned(),
        name: String::new(),
        verb,
    };
    let Ok(Reply::Watch(mut events)) = registry
        .call(request(
            "namespaces",
            "",
            Verb::Watch(ListOptions::default()),
        ))
        .await
    else {
        return;
    };
    while let Some(WatchEvent { kind, json }) = events.next().await {
        let namespace: kinds::Tree = serde_json::from_slice(&json).unwrap_or_default();
        let Some(name) = namespace["metadata"]["name"]
            .as_str()
            .filter(|_| kind == "ADDED")
        else {
            continue;
        };
        let bytes =
            r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}"#.into();
        let body = Body {
            bytes,
            form: BodyForm::Json,
        };
        let verb = Verb::Create {
            body,
            options: WriteOptions::default(),
        };
        if let Err(refusal) = registry.call(request("serviceaccounts", name, verb)).await {
            tracing::debug!(%refusal, "the default account was not made");
        }
    }
}
