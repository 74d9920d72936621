//! Arguments of `exeunt lint`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{ConnectArgs, duration};

/// Arguments of `exeunt lint`.
#[derive(Debug, Args)]
#[command(after_long_help = ::drain::lint::help())]
pub(crate) struct Lint {
    /// Read manifests or snapshots from files instead of a cluster; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Look in all namespaces.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,

    /// The longest grace period that is not reported.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    pub(crate) max_grace: Duration,

    /// Exit with 1 when there are findings of this severity or above.
    #[arg(long, value_enum, default_value_t = Severity::Error)]
    pub(crate) fail_on: Severity,

    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Severity {
    /// Worth knowing.
    Note,
    /// Will hurt somebody.
    Warning,
    /// A drain will be stuck.
    Error,
}

/// How to print findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For code scanners (SARIF 2.1.0).
    Sarif,
}
