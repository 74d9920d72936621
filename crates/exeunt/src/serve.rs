//! `exeunt serve`: runs a control plane until a signal arrives.

use std::path::{Path, PathBuf};

use cluster::{Cluster, ClusterConfig, Listen, NodeOptions, Storage, TokenFile};

use crate::cli::{ServeArgs, StoreKind};
use crate::error::CliError;
use crate::gates;
use crate::open_files;
use crate::signals::Signals;
use crate::terminal::{print_line, print_message};

/// Runs the control plane.
pub(crate) async fn run(arguments: &ServeArgs) -> Result<(), CliError> {
    open_files::raise_limit();
    let cluster = Cluster::start(config(arguments)?).await?;
    let mut signals = Signals::listen()?;
    if let (Some(url), Some(kubeconfig)) = (cluster.url(), cluster.kubeconfig()) {
        let kubeconfig = kubeconfig.display();
        print_line(&format!(
            "exeunt is ready at {url} with kubeconfig {kubeconfig}"
        ));
    }
    signals.next_or_end_of(&cluster).await;
    print_message("stopping");
    Ok(cluster.stop().await?)
}

fn config(arguments: &ServeArgs) -> Result<ClusterConfig, CliError> {
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
    files::private_dir(&data_dir)?;
    // The printed path must work from any directory.
    let data_dir = data_dir.canonicalize().unwrap_or(data_dir);
    let storage = match arguments.store {
        StoreKind::Disk => Storage::Disk(data_dir.join("store")),
        StoreKind::Memory => Storage::Memory,
    };
    let nodes = usize::try_from(arguments.nodes).unwrap_or(usize::MAX);
    Ok(ClusterConfig {
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
        ..ClusterConfig::default()
    })
}

fn read_tokens(path: &Path) -> Result<TokenFile, CliError> {
    let hint = "use one token,user,uid,\"group1,group2\" on each line";
    let text = files::read_prepared(path).map_err(|error| {
        let remedy = error.remedy().unwrap_or_else(|| hint.to_owned());
        let why = anyhow::Error::new(error);
        CliError::usage(format!("cannot use the token file: {why:#}"), remedy)
    })?;
    TokenFile::parse(&text).map_err(|error| {
        CliError::usage(
            format!("cannot parse token file {}: {error}", path.display()),
            hint,
        )
    })
}

/// Returns `$XDG_DATA_HOME/exeunt`, or `~/.local/share/exeunt`.
fn default_data_dir() -> Result<PathBuf, CliError> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    base.map(|base| base.join("exeunt")).ok_or_else(|| {
        CliError::usage(
            "no data directory: XDG_DATA_HOME and HOME are not set",
            "use --data-dir",
        )
    })
}
