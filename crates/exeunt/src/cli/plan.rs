//! Arguments of `exeunt plan`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::drain::SelectionArgs;
use super::{ConnectArgs, ReportFormat, duration};

/// Arguments of `exeunt plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,

    /// Grace period in seconds; negative uses each pod's own value.
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) grace_period: i64,

    /// Read the cluster from a file that `kubectl get … -o yaml` wrote, or a directory of such
    /// files [default: ask the API server]; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Read the directories of --filename with all directories below them.
    #[arg(short = 'R', long, requires = "files")]
    pub(crate) recursive: bool,

    /// Assumed time from scheduling to Ready, for pods whose controller has no Ready pod to
    /// measure.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub(crate) start_time: Duration,

    /// Assumed time from the stop signal to the end of a container, at most its grace period.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    pub(crate) stop_time: Duration,

    /// Exit with code 0 although the server refused to list something that the result depends on.
    #[arg(long)]
    pub(crate) ignore_unreadable: bool,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) output: ReportFormat,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
