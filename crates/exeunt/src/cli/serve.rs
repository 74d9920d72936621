//! Arguments of `exeunt serve` and `exeunt demo`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

/// Arguments of `exeunt serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where state, certificates and the kubeconfig are kept [default: the user's data directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Address and port to listen on; port 0 picks a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6443")]
    pub(crate) listen: SocketAddr,

    /// Number of simulated nodes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) nodes: u32,

    /// Where objects are kept.
    #[arg(long, value_enum, default_value_t = StoreKind::Disk)]
    pub(crate) store: StoreKind,

    /// File of bearer tokens: `token,user,uid,"group1,group2"` on each line.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,

    /// Feature gates as kube-apiserver takes them: `Name=true,Other=false`.
    #[arg(long, value_name = "NAME=BOOL,…", value_delimiter = ',')]
    pub(crate) feature_gates: Vec<String>,

    /// Warn who writes a budget that cannot work; kubectl shows it. Kubernetes does not warn.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(crate) budget_warnings: bool,

    /// Write events about refused evictions on pod and budget. Kubernetes writes none.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(crate) eviction_events: bool,
}

/// Where objects are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    /// In the data directory; survives a crash.
    Disk,
    /// In memory; gone when the process ends.
    Memory,
}

/// Arguments of `exeunt demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave the server running at the end, for kubectl.
    #[arg(long)]
    pub(crate) keep: bool,
}
