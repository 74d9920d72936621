//! `exeunt serve`: the control plane, until a signal ends it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cluster::{Cluster, Config, Listen, NodeOptions, Storage, TokenFile};

use crate::cli::{Serve, StoreKind};
use crate::failure::Failure;
use crate::gates;
use crate::signals::Signals;
use crate::terminal::{remark, say};

/// Runs the control plane.
pub(crate) async fn run(arguments: &Serve) -> Result<(), Failure> {
    let cluster = Cluster::start(config(arguments)?).await?;
    let mut signals = Signals::listen()?;
    if let (Some(url), Some(kubeconfig)) = (cluster.url(), cluster.kubeconfig()) {
        let kubeconfig = kubeconfig.display();
        say(&format!(
            "exeunt is ready at {url} with kubeconfig {kubeconfig}"
        ));
    }
    signals.next_or_end_of(&cluster).await;
    remark("stopping");
    Ok(cluster.stop().await?)
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
        StoreKind::Disk => Storage::Disk(data_dir.join("store")),
        StoreKind::Memory => Storage::Memory,
    };
    let nodes = usize::try_from(arguments.nodes).unwrap_or(usize::MAX);
    Ok(Config {
        storage,
        listen: Some(Listen {
            address: arguments.listen,
            dir: data_dir,
        }),
        nodes: (nodes > 0).then(|| NodeOptions::numbered("node", nodes)),
        tokens,
        gates,
        budget_warnings: arguments.budget_warnings,
        refusal_events: arguments.eviction_events,
        ..Config::default()
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
