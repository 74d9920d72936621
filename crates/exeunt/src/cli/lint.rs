//! Arguments of `exeunt lint`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{ConnectArgs, duration};

/// Arguments of `exeunt lint`.
#[derive(Debug, Args)]
#[command(after_long_help = ::drain::lint::help())]
pub(crate) struct LintArgs {
    /// Check manifests or snapshots in a file or directory [default: the objects of the API
    /// server]; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Read the directories of --filename with all directories below them.
    #[arg(short = 'R', long, requires = "files")]
    pub(crate) recursive: bool,

    /// Check all namespaces [default: the one of --namespace].
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,

    /// Report pods with a longer grace period.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    pub(crate) max_grace: Duration,

    /// Exit with code 1 if there are findings of at least this severity.
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    pub(crate) fail_on: FailOn,

    /// Exit with code 0 although the server refused to list something that the result depends on.
    #[arg(long)]
    pub(crate) ignore_unreadable: bool,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t = FindingsFormat::Text)]
    pub(crate) output: FindingsFormat,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// The lowest severity that makes the command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum FailOn {
    /// Worth knowing.
    Note,
    /// Causes an outage or a delay when a node is drained.
    Warning,
    /// Blocks every drain.
    Error,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FindingsFormat {
    /// One line for each finding, with a hint.
    Text,
    /// A JSON array.
    Json,
    /// SARIF 2.1.0, for code scanners.
    Sarif,
}
