//! Arguments of `exeunt explain`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::{ConnectArgs, Form};

/// Arguments of `exeunt explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A pod, a node or a budget: NAME, pod/NAME, node/NAME or pdb/NAME; may be repeated.
    #[arg(value_name = "POD | NODE | PDB", required = true)]
    pub(crate) targets: Vec<String>,

    /// Look in all namespaces.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,

    /// Read the cluster from files that `kubectl get … -o yaml` wrote; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Also ask the server with a dry-run eviction, which changes nothing, and show its answer.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) ask: bool,

    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
