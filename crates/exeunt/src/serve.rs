//! `exeunt serve`: the control plane, until a signal ends it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use server::TokenFile;

use crate::cli::{Serve, StoreKind};
use crate::cluster::{Cluster, Config, Signals, Storage};
use crate::failure::Failure;
use crate::gates;
use crate::terminal::{remark, say};

/// Runs the control plane.
pub(crate) async fn run(arguments: &Serve) -> Result<(), Failure> {
    let cluster = Cluster::start(config(arguments)?).await?;
    let signals = Signals::listen()?;
    say(&format!(
        "exeunt is ready at {} with kubeconfig {}",
        cluster.url,
        cluster.kubeconfig.display()
    ));
    cluster.wait_for_signal(signals).await;
    remark("stopping");
    cluster.stop().await
}

fn config(arguments: &Serve) -> Result<Config, Failure> {
    let gates = gates::parse(&arguments.feature_gates)?;
    let tokens = arguments
        .token_auth_file
        .as_deref()
        .map(read_tokens)
        .transpose()?
        .unwrap_or_default();
    let data_dir = match &arguments.data_dir {
        Some(data_dir) => data_dir.clone(),
        None => default_data_dir()?,
    };
    std::fs::create_dir_all(&data_dir)
        .with_context(|| format!("cannot make the data directory {}", data_dir.display()))?;
    // The path is shown to people who will use it from elsewhere.
    let data_dir = data_dir.canonicalize().unwrap_or(data_dir);
    let storage = match arguments.store {
        StoreKind::Disk => Storage::Disk,
        StoreKind::Memory => Storage::Memory,
    };
    let (budget_warnings, refusal_events) = (arguments.budget_warnings, arguments.eviction_events);
    Ok(Config {
        nodes: arguments.nodes,
        tokens,
        gates,
        budget_warnings,
        refusal_events,
        ..Config::new(data_dir, storage, arguments.listen)
    })
}

fn read_tokens(path: &Path) -> Result<TokenFile, Failure> {
    let hint = "each line is token,user,uid,\"group1,group2\"";
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(
            format!("cannot read the token file {}: {error}", path.display()),
            hint,
        )
    })?;
    TokenFile::parse(&text)
        .map_err(|error| Failure::usage(format!("token file {}: {error}", path.display()), hint))
}

/// `$XDG_DATA_HOME/exeunt`, or the place that stands for it.
fn default_data_dir() -> Result<PathBuf, Failure> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    base.map(|base| base.join("exeunt")).ok_or_else(|| {
        Failure::usage(
            "there is no home directory to keep state in",
            "give a --data-dir",
        )
    })
}
