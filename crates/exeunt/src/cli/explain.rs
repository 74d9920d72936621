//! Arguments of `exeunt explain`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::{ConnectArgs, ReportFormat};

/// Arguments of `exeunt explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Pods, nodes or budgets, as NAME, pod/NAME, node/NAME or pdb/NAME.
    #[arg(value_name = "POD | NODE | PDB", required = true)]
    pub(crate) targets: Vec<String>,

    /// Search all namespaces [default: the one of --namespace].
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,

    /// Read the cluster from a file that `kubectl get … -o yaml` wrote, or a directory of such
    /// files [default: ask the API server]; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Read the directories of --filename with all directories below them.
    #[arg(short = 'R', long, requires = "files")]
    pub(crate) recursive: bool,

    /// Also send the API server a dry-run eviction, which changes nothing, and print its answer.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) ask: bool,

    /// Exit with code 0 although the server refused to list something that the result depends on.
    #[arg(long)]
    pub(crate) ignore_unreadable: bool,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) output: ReportFormat,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
