//! Arguments of `exeunt serve` and `exeunt demo`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

/// Arguments of `exeunt serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Directory for objects, certificates and the kubeconfig, which nobody but its user may access
    /// [default: $XDG_DATA_HOME/exeunt, then ~/.local/share/exeunt].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Address and port to listen on; port 0 picks a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6443")]
    pub(crate) listen: SocketAddr,

    /// Number of simulated nodes; without any, pods stay Pending.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) nodes: u32,

    /// Where to store objects.
    #[arg(long, value_enum, default_value_t = StoreKind::Disk)]
    pub(crate) store: StoreKind,

    /// CSV file of bearer tokens, one `token,user,uid,"group1,group2"` on each line [default: none;
    /// clients use certificates].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,

    /// Feature gates to change, in kube-apiserver's syntax: `Name=true,Other=false`.
    #[arg(long, value_name = "NAME=BOOL,…", value_delimiter = ',')]
    pub(crate) feature_gates: Vec<String>,

    /// Return a warning, which kubectl prints, when a budget that can never allow a disruption is
    /// written. Kubernetes returns none.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(crate) budget_warnings: bool,

    /// Emit events about refused evictions for the pod and its budget. Kubernetes emits none.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(crate) eviction_events: bool,
}

/// Where objects are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    /// In the data directory; survives restarts and crashes.
    Disk,
    /// In memory; lost when the process ends.
    Memory,
}

/// Arguments of `exeunt demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep the server running after the drain, for kubectl; end it with Ctrl-C.
    #[arg(long)]
    pub(crate) keep: bool,
}
